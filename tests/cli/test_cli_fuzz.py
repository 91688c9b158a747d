"""Whatever the words, a command line ends in 0, or in 2 with one line."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.cli.commandline import call

COMMANDS = ["stability", "run", "report", "methods", "env"]
OPTIONS = [
    *("--d", "--gap", "--dtype", "--eps", "--method", "--iterations", "--spectrum", "--loss"),
    *("--matrix-scale", "--matrices", "--seeds", "--device", "--out", "--resume", "--quiet", "-q"),
    *("--no-progress", "--nope", "-x", "--", "-"),
]
VALUES = [
    *("4", "0.1", "0", "-0", "-3", "1e999", "-1e999", "1e-999", "0x10", "1_0", "nan", "-nan"),
    *("inf", "", " ", ",", ",,4", "4,", "=", "٣", "½", "9" * 5000, "a" * 5000, "\x1b[31m", "\n"),
    *("\r\n", "\t", "\u2028", "\x85", "\u202e", "😀", "\udcff", "eigh", "float32", "gap"),
    *("whitening", "stability", "paper-table1", "cpu", "cuda", "auto", "cuda:99", "cuda:x", "."),
    *("..", "/", "x.npy", "x.toml"),
]
# A word with a NUL byte cannot be passed to any program.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
WORDS = st.one_of(
    st.sampled_from(OPTIONS),
    st.sampled_from(VALUES),
    st.builds("{}={}".format, st.sampled_from(OPTIONS), st.sampled_from(VALUES)),
    st.floats().map(str),
    st.integers().map(str),
    TEXT,
)


@pytest.fixture(scope="module", autouse=True)
def _measure_nothing() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for command in ("stability", "run"):
            patch.setattr(f"eigbench.cli.{command}.execute", lambda *_, **__: None)
        yield


def _check(words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        outcome = call(*words)
        assert os.listdir(folder) == []  # noqa: PTH208
    assert outcome.code in {0, 2}
    if outcome.code == 2:
        assert outcome.complaint
    else:
        assert outcome.err == ""


@given(st.sampled_from(COMMANDS), st.lists(WORDS, max_size=6))
@settings(max_examples=200)
@example("stability", ["--d", "4", "--gap", "0.1", "--method", "eigh"])
@example("stability", ["--device", "cuda:" + "9" * 5000])
def test_any_words_after_a_command(command: str, words: list[str]) -> None:
    _check([command, *words])


@given(TEXT, st.lists(WORDS, max_size=3))
@settings(max_examples=50)
@example("", [])
@example("--", ["stability"])
def test_any_command(command: str, words: list[str]) -> None:
    _check([command, *words])


@given(st.sampled_from(OPTIONS[:9]), st.lists(st.sampled_from(VALUES), min_size=1, max_size=3))
@settings(max_examples=100)
def test_any_values_of_an_axis(option: str, values: list[str]) -> None:
    _check(["stability", option, *values])


def test_some_lines_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("stability", "--d", "4", "--method", "eigh").code == 0
    assert call("run", "stability", "--seeds", "1").code == 0
