"""`eigbench methods`, `eigbench env`, and `--device` with a fake CUDA, as tests run anywhere."""

from __future__ import annotations

import json
import re

import pytest
import torch

from eigbench.cli.options import resolve_device
from eigbench.errors import InputError
from eigbench.methods import available, get
from eigbench.runs.environment import describe
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


@pytest.fixture(params=[0, 2])
def devices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    count: int = request.param
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A Fast One")
    return count


def test_auto_takes_cuda_where_there_is_one(devices: int) -> None:
    assert resolve_device("auto") == ("cuda" if devices else "cpu")
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_cuda_is_refused_where_there_is_none(devices: int, name: str) -> None:
    if devices:
        assert resolve_device(name) == name
    else:
        with pytest.raises(InputError, match=f"--device: '{name}' is not available"):
            resolve_device(name)


def test_a_device_beyond_the_last_is_refused(devices: int) -> None:
    words = "does not exist; there are 2" if devices else "is not available"
    with pytest.raises(InputError, match=words):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "", "CUDA"])
def test_other_names_are_refused_with_what_is_accepted(devices: int, name: str) -> None:
    with pytest.raises(InputError, match="accepted: cpu, cuda, cuda:N"):
        resolve_device(name)
    assert devices in (0, 2)


def test_the_environment_names_the_device(devices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eigbench.runs.environment._accelerator", lambda _: {"driver": "1"})
    if devices:
        assert describe("cuda", 0, []).device.startswith("cuda: A Fast One, CUDA")
    assert describe("cpu", 0, []).device == "cpu"
