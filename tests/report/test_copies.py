"""Whatever becomes of a copy, its work is done."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from eigbench.report import copies
from eigbench.report.copies import Copies
from eigbench.report.plots import panels, save

HERE = os.getpid()
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="copies are made on Linux alone")


def written(path: Path, in_a_copy: Callable[[], object]) -> Callable[[], None]:
    """Work that writes which process did it, after what happens in a copy alone."""

    def work() -> None:
        if os.getpid() != HERE:
            in_a_copy()
        path.write_text(str(os.getpid()), encoding="ascii")

    return work


def test_work_is_done_beside_this_process(tmp_path: Path) -> None:
    some = Copies(most=2)
    for name in "abc":
        some.do(written(tmp_path / name, lambda: time.sleep(0.3)))
    some.finish()
    by = [int((tmp_path / name).read_text("ascii")) for name in "abc"]
    assert by[2] == HERE  # two are enough
    assert len({*by}) == 3


@pytest.mark.parametrize(
    "ends",
    [
        lambda: os._exit(3),
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        lambda: 1 / 0,
        sys.exit,
        lambda: time.sleep(30),
    ],
)
def test_what_a_copy_does_not_do_is_done_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: Callable[[], object]
) -> None:
    monkeypatch.setattr(copies, "LONGEST_SECONDS", 1.0)
    some = Copies(most=1)
    some.do(written(tmp_path / "a", ends))
    some.finish()
    assert (tmp_path / "a").read_text("ascii") == str(HERE)


def test_where_no_copy_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise OSError("too many processes")

    monkeypatch.setattr(os, "fork", refuse)
    Copies(most=1).do(written(tmp_path / "a", lambda: None))
    assert (tmp_path / "a").read_text("ascii") == str(HERE)


def test_an_error_of_the_work_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})

    def work() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), copies.beside():
        copies.do(work)
    with pytest.raises(OSError, match="the disk is full"):
        copies.do(work)


def test_no_copy_outlives_what_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    before = {*psutil.Process().children()}  # of tests before this one

    def interrupted() -> None:
        with copies.beside():
            copies.do(written(tmp_path / "a", lambda: time.sleep(30)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not {*psutil.Process().children()} - before
    assert not (tmp_path / "a").exists()


def test_pictures_are_the_same_wherever_they_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for cores in (1, 2):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: {*range(cores)})
        figure, (panel,) = panels(1)
        panel.plot([1, 2], [3, 4])
        with copies.beside():
            save(figure, tmp_path / str(cores), "one")
        found.append((tmp_path / str(cores) / "figures" / "one.png").read_bytes())
    assert found[0] == found[1]


def test_a_closed_picture_can_be_drawn_again(tmp_path: Path) -> None:
    figure, (panel,) = panels(1)
    panel.plot([1, 2], [3, 4])
    first, again = (
        (save(figure, tmp_path / name, "one"), (tmp_path / name / "figures/one.png").read_bytes())
        for name in "ab"
    )
    assert first == again
