"""Streams that are closed or full, signals, values without an end, programs that misbehave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from eigbench.cli import execute
from eigbench.cli.surroundings import interruption
from eigbench.kinds.profile import ProfileCase
from eigbench.methods import registry
from eigbench.runs import executors, store
from eigbench.runs.suite import Axes, Grid, Suite, cases, find, load, override
from tests.cli.commandline import ROOT, SMALL, call

PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar

from eigbench.methods.eigh import Eigh


@dataclass(frozen=True)
class Mine(Eigh):
    name: ClassVar[str] = "mine"
    summary: ClassVar[str] = "[/x] [red]summary[/red]"

    def eigh(self, M):
        {body}
        return super().eigh(M)
"""


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(interruption, "number", None)


# Streams


def _shell(line: str, cwd: Path) -> tuple[int, str, str]:
    """A line of bash, in which `eigbench` is this one; its exit code is the first command's."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    text = f'eigbench() {{ "$PYTHON" -m eigbench "$@"; }}\n{line}\nexit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["/bin/bash", "-c", text],
        cwd=cwd,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&1 | true", ">&- 2>&-"])
def test_progress_that_cannot_be_shown_stops_no_measurement(small: Path, stderr: str) -> None:
    code, _, err = _shell(f"eigbench run small.toml --out run {stderr}", small)
    assert (code, err) == (0, "")
    assert len((small / "run" / "records.jsonl").read_bytes().splitlines()) == 2
    assert (small / "run" / "report.md").is_file()


def test_a_reader_that_has_gone_is_no_error_and_a_full_disk_is(cwd: Path) -> None:
    assert _shell("eigbench --help | true", cwd) == (0, "", "")
    code, _, err = _shell("eigbench --version > /dev/full", cwd)
    assert (code, err) == (2, "eigbench: standard output: No space left on device\n")


def test_a_stream_that_is_not_utf_8_shows_what_it_can(cwd: Path) -> None:
    code, out, err = _shell("PYTHONIOENCODING=ascii eigbench stability --help", cwd)
    assert (code, err) == (0, "")
    assert "--resume" in out
    assert "\\u03b5" in out


@pytest.mark.parametrize(
    "words",
    [
        ["run", "small.toml", "--out", "\udcff"],
        ["run", "\udcfe.toml"],
        ["train", "--data", "\udcff"],
        ["stability", "--plugin", "a\udcff.py"],
        ["report", "\udcff"],
    ],
    ids=lambda words: words[0],
)
def test_a_name_that_is_not_utf_8_is_refused(small: Path, words: list[str]) -> None:
    complaint = call(*words).complaint
    assert "\\udcf" in complaint
    assert "is not UTF-8" in complaint
    assert [path.name for path in small.iterdir()] == ["small.toml"]


# Signals


class Swallowing:
    """Like a callback that cannot raise: the signal arrives in it, and Python drops the error."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, *_: Any) -> None:
        with suppress(KeyboardInterrupt):
            interruption._arrived(self.number, None)


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")],
)
def test_a_signal_that_was_swallowed_ends_the_run_after_its_case(
    small: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int, said: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(execute.PlainLines, "__call__", Swallowing(number))
        outcome = call("run", "small.toml", "--out", "run")
    assert outcome.code == code
    assert f"eigbench: {said}; what was measured is kept" in outcome.err
    assert "--resume --out run" in outcome.err
    assert len((small / "run" / "records.jsonl").read_bytes().splitlines()) == 1
    assert "Partial report" in (small / "run" / "report.md").read_text(encoding="utf-8")
    monkeypatch.setattr(interruption, "number", None)
    assert call("run", "small.toml", "--out", "run", "--resume", "-q").code == 0
    assert len((small / "run" / "records.jsonl").read_bytes().splitlines()) == 2


def test_what_a_library_makes_of_an_interruption_is_one(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        Swallowing(signal.SIGINT)()
        raise ImportError("numpy could not be loaded")

    monkeypatch.setattr("eigbench.cli.stability.execute", failing)
    assert call("stability").code == 130


# Values


@pytest.mark.parametrize(
    ("setting", "accepted"),
    [
        ("iterations=inf", "whole numbers from 1 to 1000000"),
        ("iterations=nan", "whole numbers from 1 to 1000000"),
        ("iterations=0", "whole numbers from 1 to 1000000"),
        ("iterations=true", "whole numbers from 1 to 1000000"),
        (f"iterations={10**26}", "whole numbers from 1 to 1000000"),
        (f"degree={10**26}", "whole numbers from -1000000 to 1000000"),
        ("threshold=-inf", "finite numbers"),
        ("seed=-1", "whole numbers from 0"),
    ],
)
def test_a_parameter_has_limits_as_an_axis_has(cwd: Path, setting: str, accepted: str) -> None:
    name, _, value = setting.partition("=")
    complaint = call("stability", "--set", setting).complaint
    for part in (f"--set {name}", value.title() if value == "true" else value, accepted):
        assert part in complaint
    assert list(cwd.iterdir()) == []


TRAINING = """
name = "t"
kind = "train"
[training]
{}
[axes]
model = ["resnet18"]
layer = ["bn"]
[[grids]]
"""


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (TRAINING.format("learning_rate = inf"), "training.learning_rate: inf"),
        (TRAINING.format("weight_decay = inf"), "training.weight_decay: inf"),
        (TRAINING.format('data = "a\\u0000b"'), r"training.data: 'a\x00b'"),
        (f"{SMALL}\n[profiling]\nseconds = inf\n", "profiling.seconds: inf"),
        (f"{SMALL}\n[parameters]\nthreshold = nan\n", "parameters.threshold: nan"),
        (f"{SMALL}\n[parameters]\niterations = inf\n", "parameters.iterations: inf"),
        (f"{SMALL}\n[scales.s.training]\nx = inf\n", "scales.s"),
        (SMALL.replace("seeds = 2", "most_cases = 0"), "most_cases: 0"),
    ],
)
def test_a_suite_holds_finite_numbers_and_names_of_files(cwd: Path, text: str, place: str) -> None:
    (cwd / "my.toml").write_text(text)
    assert f"my.toml: {place}" in call("run", "my.toml").complaint
    assert [path.name for path in cwd.iterdir()] == ["my.toml"]


def test_a_suite_of_very_many_cases_is_refused_before_it_is_in_memory(small: Path) -> None:
    hundred = ", ".join(str(n) for n in range(1, 101))
    text = SMALL.replace("d = [4]", f"d = [{hundred}]")
    text = text.replace("iterations = [3]", f"iterations = [{hundred}]")
    text = text.replace("start = [0]", f"start = [{hundred}]").replace('"hybrid"', '"pi"')
    (small / "huge.toml").write_text(text)  # a million of `pi`, and a hundred of `eigh`
    complaint = call("run", "huge.toml").complaint
    assert "more than 100000 cases" in complaint
    assert "--most-cases" in complaint
    assert "more than 1 cases" in call("run", "small.toml", "--most-cases", "1").complaint
    assert not (small / "reports").exists()
    assert call("run", "small.toml", "--most-cases", "2", "--out", "run", "-q").code == 0
    assert store.read_run(small / "run").suite.most_cases == 2


def test_a_case_says_what_memory_it_takes() -> None:
    suite = override(load(find("stability")), {"d": [8, 2000], "method": ["eigh"]})
    needed = {case.__struct_config__.tag: executors.memory(case) for case in cases(suite)}
    assert needed["series"] == 0
    large = [c for c in cases(suite) if getattr(c, "d", 0) == 2000 and hasattr(c, "seeds")]
    assert max(map(executors.memory, large)) > executors.SMALL_MEMORY
    assert "matrices 2000 × 2000" in execute.described(large[0])
    grid = Grid(subject=["step"], layer=["zca"], d=[16], energy=[0.9], batch=[8], compiled=[False])
    axes = Axes(method=["eigh"], dtype=["float32"], iterations=[19])
    steps = cases(Suite(name="s", kind="profile", axes=axes, grids=[grid]))
    assert {executors.memory(case) for case in steps if isinstance(case, ProfileCase)} == {0}


# Programs of other people


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise BaseException('x' * 10**6)", "BaseException: xxx"),
        ("raise type('Odd', (Exception,), {'__str__': lambda _: 1 / 0})", "Odd: its message"),
        (r"raise ValueError('\x1b[31m\udcff')", r"ValueError: \x1b[31m\udcff"),
    ],
)
def test_a_method_that_fails_in_any_way_is_a_row(small: Path, body: str, reason: str) -> None:
    (small / "mine.py").write_text(PLUGIN.format(body=body))
    (small / "small.toml").write_text(SMALL.replace('"hybrid"', '"mine"'))
    words = ["run", "small.toml", "--plugin", "mine.py", "--out", "run", "-q"]
    assert (call(*words).code, call("report", "run", "-q").code) == (0, 0)
    measured, failed = sorted(store.read_run(small / "run").records, key=lambda r: r.reason or "")
    assert (measured.status, failed.status) == ("measured", "failed")
    assert failed.reason is not None
    assert failed.reason.startswith(reason)
    assert len(failed.reason) <= 300


def test_a_summary_is_text_and_not_markup(cwd: Path) -> None:
    (cwd / "mine.py").write_text(PLUGIN.format(body="pass"))
    outcome = call("methods", "--plugin", "mine.py")
    assert (outcome.code, outcome.err) == (0, "")
    assert "[/x]" in outcome.out
    assert "hybrid" in outcome.out


def test_a_run_does_not_go_on_with_another_text_of_a_plug_in(small: Path) -> None:
    plugin = small / "mine.py"
    plugin.write_text(PLUGIN.format(body="pass"))
    (small / "small.toml").write_text(SMALL.replace('"hybrid"', '"mine"'))
    words = ["run", "small.toml", "--plugin", "mine.py", "--out", "run"]
    assert call(*words, "-q").code == 0
    assert call(*words, "--resume", "-q").code == 0
    plugin.write_text(PLUGIN.format(body="M = 2 * M"))
    complaint = call(*words, "--resume").complaint
    assert "the program of mine is another one" in complaint
    registry._registered.clear()
    assert call("report", "run", "-q").code == 0  # needs no method


# Folders


def test_a_folder_whose_suite_is_not_text_is_passed_over(small: Path) -> None:
    assert call("run", "small.toml", "--out", "reports/small-1", "-q").code == 0
    (small / "reports" / "small-2").mkdir()
    (small / "reports" / "small-2" / "suite.toml").write_bytes(b"\xff\xfe")
    outcome = call("run", "small.toml", "--resume", "-q")
    assert (outcome.code, outcome.out) == (0, "reports/small-1/report.md\n")
    assert "reports/small-2 is passed over" in outcome.err
