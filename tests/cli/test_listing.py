"""`eigbench methods` and `eigbench env`."""

from __future__ import annotations

import json
import re

import pytest

from eigbench.methods import available, get
from tests.cli.commandline import call


def test_methods_lists_each_with_parameters_and_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    outcome = call("methods")
    assert outcome.code == 0
    for name in available():
        line = next(line for line in outcome.out.splitlines() if f" {name} " in line)
        assert get(name).summary in line
        assert get(name).source in line
        for parameter in get(name).parameter_names():
            assert f"{parameter}=" in line


def test_methods_loses_no_words_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    outcome = call("methods")
    assert "…" not in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 50


def test_env_is_what_a_run_records() -> None:
    outcome = call("env", "--device", "cpu")
    assert outcome.code == 0
    printed = json.loads(outcome.out)
    for key in ("python", "packages", "processor", "logical_cores", "torch_threads", "device"):
        assert printed[key], key
    assert printed["packages"]["torch"][0].isdigit()


def test_noise_is_a_table_and_a_sentence() -> None:
    outcome = call("env", "--device", "cpu", "--noise", "--seconds", "1")
    assert outcome.code == 0
    for name in ("threads of torch", "beside a second thread", "stolen by other machines"):
        assert name in outcome.out
    said = r"Differences below [0-9.]+ % cannot be told apart .* of \d+ comparisons"
    assert re.search(said, outcome.out)
    assert call("env", "--noise", "--seconds", "0").code == 2


def test_version() -> None:
    from eigbench import __version__

    assert call("--version").out == f"eigbench {__version__}\n"
