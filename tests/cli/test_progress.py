"""Progress: lines where there is no terminal, a bar with time left where there is one."""

from __future__ import annotations

import io
import os
import pty
import re
import threading
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from rich.progress import Progress

from eigbench.cli.execute import SECONDS_BETWEEN_LINES, PlainLines, _Bars, progress
from eigbench.kinds.series import SeriesCase
from eigbench.runs.record import SCHEMA, Record
from tests.cli.commandline import SMALL, start
from tests.measure.profiles import BASE

CASE = SeriesCase(ratio=0.5, threshold=0.05, dtype="float32")
MEASURED = Record(schema=SCHEMA, id=CASE.id, case=CASE, status="measured")
TIMED = msgspec.structs.replace(MEASURED, case=BASE)
FAILED = Record(schema=SCHEMA, id=CASE.id, case=CASE, status="failed", reason="no luck")


class Clock:
    """A clock that stands still until it is told to go on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = PlainLines(total=10, done=0, timed=0, clock=clock)
    assert capsys.readouterr().err == ""
    clock.now += SECONDS_BETWEEN_LINES - 1
    for _ in range(3):
        lines(MEASURED)
        clock.now += 0.3
    assert capsys.readouterr().err == ""
    clock.now = 101.5 + SECONDS_BETWEEN_LINES
    lines(FAILED)
    out, err = capsys.readouterr()
    # Three cases took 2.5 s since the first, before which workers start: six take 5 s.
    assert err == "4/10 cases, 1 failed, 3 measured, about 5 s left\n"
    assert out == ""
    clock.now += SECONDS_BETWEEN_LINES - 0.1
    lines(MEASURED)
    assert capsys.readouterr().err == ""


def test_the_last_case_always_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = PlainLines(total=2, done=0, timed=0, clock=Clock())
    lines(MEASURED)
    assert capsys.readouterr().err == ""
    lines(MEASURED)
    assert capsys.readouterr().err == "2/2 cases, 2 measured\n"


def test_what_was_done_before_does_not_count_as_fast(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = PlainLines(total=110, done=100, timed=0, clock=clock)
    clock.now += 10
    lines(MEASURED)
    assert capsys.readouterr().err == "101/110 cases, 1 measured\n"
    clock.now += 10
    lines(MEASURED)
    # One case in 10 s leaves eight of them, whatever an earlier session did.
    assert capsys.readouterr().err == "102/110 cases, 2 measured, about 80 s left\n"


def test_timed_cases_are_estimated_by_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    """They come last, and take seconds where others take milliseconds."""
    clock = Clock()
    lines = PlainLines(total=6, done=0, timed=3, clock=clock)
    for seconds, one in [(10, MEASURED), (10, MEASURED), (10, MEASURED)] + 3 * [(40, TIMED)]:
        clock.now += seconds
        lines(one)
    told = [line.partition("measured")[2] for line in capsys.readouterr().err.splitlines()]
    assert told == ["", ", about 10 s left before 3 timed ones", "", "", ", about 40 s left", ""]


def test_timed_cases_have_a_bar_of_their_own() -> None:
    bar = Progress(console=Console(file=io.StringIO()))
    bars = _Bars(bar, total=5, done=1, timed=2)
    for one in (MEASURED, MEASURED):
        bars(one)
    first, last = bar.tasks
    assert (first.completed, first.total) == (3, 3)
    assert (last.completed, last.total, last.started) == (0, 2, True)
    bars(TIMED)
    assert (first.completed, last.completed) == (3, 1)


@pytest.mark.parametrize("timed", [0, 2])
def test_cases_of_one_sort_have_one_bar(timed: int) -> None:
    bar = Progress(console=Console(file=io.StringIO()))
    bars = _Bars(bar, total=3, done=1, timed=timed)
    bars(TIMED if timed else MEASURED)
    assert [(task.completed, task.total) for task in bar.tasks] == [(2, 3)]


def test_no_terminal_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(1, 0, 0, show=True) as observe:
        observe(MEASURED)
    assert capsys.readouterr().err == "1/1 cases, 1 measured\n"


def test_hidden_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(1, 0, 0, show=False) as observe:
        observe(MEASURED)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_with_time_left(cwd: Path) -> None:
    dimensions = "d = [" + ", ".join(str(d) for d in range(4, 19)) + "]"
    text = SMALL.replace("d = [4]", dimensions).replace('"hybrid"', '"hybrid-loop"')
    (cwd / "small.toml").write_text(text)
    ours, theirs = pty.openpty()
    terminal = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    process = start(
        "run", "small.toml", "--out", "run", cwd=cwd, stderr=theirs, environment=terminal
    )
    os.close(theirs)
    screen = io.BytesIO()
    reader = threading.Thread(target=_drain, args=(ours, screen))
    reader.start()
    out, _ = process.communicate(timeout=120)
    reader.join(timeout=30)
    os.close(ours)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue().decode())
    assert process.returncode == 0, shown
    assert "━" in shown
    assert re.search(r"\b0/30\b", shown)
    assert re.search(r"\d+/30 +\d+:\d\d +left +\S+", shown)
    assert "cases," not in shown  # no plain lines beside the bar
    assert out.endswith("run/report.md\n")


def _drain(terminal: int, screen: io.BytesIO) -> None:
    """Read what a terminal shows until nothing writes there any more."""
    while True:
        try:
            shown = os.read(terminal, 4096)
        except OSError:  # Linux says so when the last writer has gone
            return
        if not shown:
            return
        screen.write(shown)
