"""Which method for which use, the Pareto front, and promises kept or broken."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eigbench.measure import measurer
from eigbench.report import write_report
from eigbench.report.field import pareto, promises, uses
from eigbench.report.field.measured import Measured
from eigbench.report.field.uses import USES, Standing, answers, leaders, standings
from eigbench.report.rows import differ
from eigbench.report.stats import Interval
from eigbench.runs.environment import describe
from eigbench.runs.runner import run as run_cases
from eigbench.runs.store import Run, open_run, read_run
from eigbench.runs.structure import Axes, Grid, Suite
from eigbench.runs.suite import cases

METHODS = ["eigh", "hybrid", "spectral", "clip", "newton-schulz", "cholesky"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small run that asks every question of the field but for time."""
    folder = tmp_path_factory.mktemp("field")
    axes = Axes(
        method=METHODS, d=[4], spectrum=["gap"], gap=[0.1], scale=[1.0], dtype=["float32"],
        epsilon=[1e-4], iterations=[19], loss=["whitening"], start=[0],
    )  # fmt: skip
    grids = [
        Grid(gap=[0.3, 0.1, 0.0], dtype=["float32", "float64"]),
        Grid(loss=["eigenvector", "subspace"], spectrum=["cluster"], gap=[0.0]),
        Grid(d=[2], gap=[0.5, 0.1, 1e-6], dtype=["float64"], loss=["closing-eigenvector"]),
        Grid(d=[3], gap=[0.3]),
        Grid(scale=[1e-5, 1.0, 1e5], epsilon=[0.0]),
        Grid(kind="path", dtype=["float64"]),
        Grid(kind="invariance"),
    ]
    suite = Suite(name="field", kind="stability", seeds=3, axes=axes, grids=grids)
    with open_run(folder, suite, describe("cpu", 0), resume=False) as writer:
        run_cases(cases(suite), measurer(suite), writer)
    return read_run(folder)


def found(run: Run, title: str) -> dict[str, Standing]:
    use = next(use for use in USES if use.title == title)
    return {standing.method: standing for standing in standings(Measured(run), use)}


def test_a_method_stands_in_the_uses_that_it_can_take(run: Run) -> None:
    assert set(found(run, "ZCA whitening")) == set(METHODS) - {"cholesky"}
    assert set(found(run, "whitening by any matrix")) == set(METHODS)
    assert set(found(run, "PCA")) == {"eigh", "hybrid", "spectral", "clip"}
    assert found(run, "second-order pooling") == {}


def test_shares_are_those_of_the_records(run: Run) -> None:
    whitening = found(run, "ZCA whitening")
    assert (whitening["spectral"].right, whitening["spectral"].finite) == (1, 1)
    # One of the three gaps is an exact tie.
    assert 0 < whitening["eigh"].right < 1
    # In float32 no tie survives rounding: a gradient is there, and wrong.
    assert whitening["hybrid"].finite == 1
    assert whitening["hybrid"].right < 0.5
    assert found(run, "tensor networks and physics")["eigh"].finite < 1


def test_the_answers_name_who_is_right(run: Run) -> None:
    rows = [line for line in answers(Measured(run)).splitlines() if "ZCA" in line]
    assert len(rows) == 1
    assert "`spectral` (100 %)" in rows[0].split("|")[3]


@pytest.mark.parametrize(
    ("method", "promise", "words"),
    [
        ("eigh", "exact", "kept"),
        ("spectral", "functions", "kept"),
        ("spectral", "continuous", "kept"),
        ("cholesky", "continuous", "kept"),
        ("clip", "scale", "("),
        ("eigh", "isolated", "(not finite)"),
        ("newton-schulz", "isolated", "–"),
    ],
)
def test_promises_are_held_to_numbers(run: Run, method: str, promise: str, words: str) -> None:
    criterion = next(c for c in promises.CRITERIA if c.promise == promise)
    assert promises.cell(Measured(run), method, criterion).startswith(words)


def test_a_hidden_constant_shows(run: Run) -> None:
    scale = next(c for c in promises.CRITERIA if c.promise == "scale")
    measured = Measured(run)
    assert scale.measure(measured, "clip") > 0.1
    assert scale.measure(measured, "eigh") < 1e-4


def test_what_a_method_cannot_do_is_said(run: Run) -> None:
    refused = Measured(run).refused
    assert set(refused["newton-schulz"]) == {"eigenvector", "subspace", "closing-eigenvector"}
    assert "whitening" not in refused["cholesky"]


def test_the_report_answers_every_question(run: Run, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", run.suite, run.environment.sessions[0], resume=False) as writer:
        for record in run.records:
            writer.append(record)
    write_report(tmp_path / "run")
    text = (tmp_path / "run" / "report.md").read_text("utf-8")
    for title in (
        "Which one for which use", "What each promises, and what was measured",
        "The coefficient of one pair", "Each rule against its own formula", "Through a crossing",
        "What must not change a gradient", "The scale of M", "Repeated eigenvalues elsewhere",
        "The condition number before and after whitening", "What some methods cannot do",
    ):  # fmt: skip
        assert f"## {title}\n" in text
    # Nothing was timed.
    assert "Pareto" not in text


@dataclass(frozen=True)
class Timed:
    ratio: Interval = field(default_factory=lambda: Interval(1.0, 0.9, 1.1))


def standing(method: str, right: float, finite: float = 1.0, time: float = 1.0) -> Standing:
    timed: Any = Timed(Interval(time, 0.9 * time, 1.1 * time))
    return Standing(method, by_case(right), by_case(finite), timed)


def by_case(share: float, cases: int = 400) -> Any:
    """So many cases of which a share is right."""
    return (np.arange(cases) < round(share * cases)).astype(float)


def test_the_front_is_who_is_not_beaten() -> None:
    some = [
        standing("right", 1.0),
        standing("fast", 0.5, time=0.5),
        standing("wrong", 0.5),
        standing("as right, slower", 1.0, time=2.0),
        standing("not shown", 0.9975, time=1.05),
    ]
    front, beaten = pareto.split(some)
    assert [one.method for one in front] == ["right", "fast", "not shown"]
    assert {one.method: better.method for one, better in beaten} == {
        "wrong": "right",
        "as right, slower": "right",
    }


def test_a_front_is_never_empty() -> None:
    """To be beaten is an order: no three can beat each other in a ring."""
    some = [
        standing("a", 0.60, 0.50, 1.5),
        standing("b", 0.50, 0.55, 0.9),
        standing("c", 0.55, 0.60, 1.4),
    ]
    assert pareto.split(some)[0]


def test_who_leads_and_who_is_slower() -> None:
    first, slower = leaders(
        [
            standing("slow", 1.0, time=3.0),
            standing("quick", 0.9975),
            standing("wrong", 0.5, time=0.1),
        ]
    )
    assert [one.method for one in first] == ["quick"]
    assert [one.method for one in slower] == ["slow"]


def test_a_difference_is_shown_from_case_to_case() -> None:
    # One case of a hundred, however many seeds it has, shows nothing; ten do.
    assert not differ(by_case(1.0, 100), by_case(0.99, 100))
    assert differ(by_case(1.0, 100), by_case(0.9, 100))
    assert not differ(by_case(0.0, 10), by_case(0.0, 10))
    # The same everywhere, and always by a little.
    assert differ(by_case(1.0), by_case(1.0) - 0.01)
    assert not differ(by_case(1.0, 1), by_case(0.0, 1))


def test_what_is_seldom_right_is_recommended_to_nobody() -> None:
    chosen, slower = uses.recommended([standing("better", 0.6), standing("worse", 0.2, time=0.5)])
    assert chosen == "none of these; the best is `better` (60 %, 1 ×)"
    assert slower == ""
    assert uses.recommended([standing("good", 0.95)])[0] == "`good` (95 %, 1 ×)"


def test_whitening_by_any_matrix_is_asked_where_there_is_another(run: Run) -> None:
    without = [r for r in run.records if getattr(r.case, "method", "") != "cholesky"]
    alone = Run(run.suite, run.environment, without)
    assert found(alone, "whitening by any matrix") == {}
    assert found(alone, "ZCA whitening")


def test_too_few_cases_are_not_a_refusal(run: Run) -> None:
    """As of a reference, which is measured here and there."""
    kept = [
        record
        for record in run.records
        if getattr(record.case, "method", "") != "clip" or getattr(record.case, "gap", 0) == 0.3
    ]
    text = "\n".join(uses.sections(Measured(Run(run.suite, run.environment, kept))))
    of_clip = next(line for line in text.splitlines() if line.startswith("| clip "))
    assert [cell.strip() for cell in of_clip.split("|")[2:-2]] == ["–"] * 5
    of_roots = next(line for line in text.splitlines() if line.startswith("| newton-schulz "))
    assert "cannot" in of_roots
