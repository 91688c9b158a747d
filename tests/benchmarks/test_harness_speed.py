"""What the harness costs: the loop around a measurement, and the start of the command line."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from eigbench.kinds import Case
from eigbench.kinds.stability import StabilityCase
from eigbench.runs import store
from eigbench.runs.place import Job, Place, here
from eigbench.runs.runner import measurer, run
from eigbench.runs.suite import cases, load
from tests.benchmarks.bars import Bar, Missed
from tests.benchmarks.gate import Gate
from tests.benchmarks.problems import Call

pytestmark = pytest.mark.speed

SUITE = load(Path(__file__).parents[2] / "suites" / "stability.toml")


@contextmanager
def run_and_measure(chosen: list[Case], folder: Path) -> Iterator[tuple[Call, Call]]:
    """These cases through the loop of a run into `folder`, and the same measured alone."""
    plan = cases(SUITE)
    measure = measurer(SUITE, plan)
    place = Place(Job(suite=SUITE, folder=folder), plan)
    session = place.session(chosen[0])
    with store.open_run(folder, SUITE, session, resume=False) as writer:

        def recorded() -> None:
            writer.done.clear()  # or the cases would be skipped the second time
            run(chosen, partial(here, place, lambda: None), writer)

        yield recorded, lambda: [measure(case) for case in chosen]


def of_size(d: int, *methods: str) -> list[Case]:
    """The first case of each method in the default suite: whitening with a wide gap."""
    found = [case for case in cases(SUITE) if isinstance(case, StabilityCase) and case.d == d]
    return [next(case for case in found if case.method == method) for method in methods]


@pytest.mark.usefixtures("one_thread")
def test_loop_around_the_smallest_case(gate: Gate, tmp_path: Path) -> None:
    with run_and_measure(of_size(4, "hybrid"), tmp_path / "run") as (recorded, alone):
        gate(recorded, alone, seconds=3)


CASE = (
    "1.07 to 1.10: 0.3 ms a case, to set the threads of each library for it, to round 190 values "
    "to the digits of a record, and to write it at once into a file that is still this run's"
)


@pytest.mark.usefixtures("one_thread")
def test_a_run_costs_little_more_than_its_measurements(bar: Bar, tmp_path: Path) -> None:
    # The methods of the default suite at its middle size.
    chosen = of_size(16, "eigh", "svd", "pi", "hybrid")
    with run_and_measure(chosen, tmp_path / "run") as (recorded, alone):
        bar(recorded, alone, Missed(1.05, 1.2, CASE), seconds=5)


def children_seconds() -> float:
    """CPU time of the processes that were started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def python(*arguments: str) -> Call:
    """A Python of its own."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def test_command_line_starts_about_as_fast_as_its_libraries(gate: Gate) -> None:
    libraries = python("-c", "import typer.main, typer.rich_utils, msgspec")
    gate(python("-m", "eigbench", "--help"), libraries, clock=children_seconds, seconds=8)
