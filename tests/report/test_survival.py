"""Who survives where, and what became of the paper's failures."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from eigbench.kinds.train import TrainCase
from eigbench.report.training.cells import Cell, Trial, gather
from eigbench.report.training.returned import sentences as returned
from eigbench.report.training.survival import against_reference, sections, sentences
from eigbench.runs.record import Record
from eigbench.runs.suite import cases
from tests.report import trainings
from tests.report.test_naming import stress
from tests.report.trainings import record


def ended(one: Record, outcome: str) -> Record:
    """The record of a trial that ended so, in the given state of affairs."""
    if outcome == "failed":
        return msgspec.structs.replace(one, status="failed", reason="RuntimeError: no memory")
    return msgspec.structs.replace(
        one, status="measured", labels={"outcome": [outcome], "cause": [""]}
    )


def stressed() -> list[Cell]:
    """PI diverges without truncation, the hybrid and spectral with ε = 1e-6 on top of it."""

    def outcome(case: TrainCase) -> str:
        bare = case.truncation == "none"
        fragile = case.method == "pi" or (case.method != "svd" and case.epsilon == 1e-6)
        return "diverged" if bare and fragile else "finished"

    planned = stress()
    return gather(planned, [ended(record(case), outcome(case)) for case in planned])


def test_the_table_has_a_row_a_condition_and_a_column_a_method() -> None:
    _, about, table = sections(stressed())
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")]
                        for line in table.splitlines())  # fmt: skip
    assert header == ["condition", "svd", "pi", "hybrid", "spectral"]
    assert len(rows) == 8
    found = {row[0]: row[1:] for row in rows}
    whole, lost = "3 of 3", "**0 of 3**"
    assert found["d = 4, ε = 0.0001, truncation algorithm-1"] == [whole] * 4
    assert found["d = 32, ε = 0.0001, no truncation"] == [whole, lost, whole, whole]
    assert found["d = 32, ε = 1e-06, no truncation"] == [whole, lost, lost, lost]
    assert "bn: 3 of 3" in about


def test_one_condition_has_no_such_table() -> None:
    planned = [case for case in stress() if place_of(case) == (4, 1e-4, "none")]
    assert len(planned) == 4 * 3
    assert sections(gather(planned, [record(case) for case in planned])) == []


def place_of(case: TrainCase) -> tuple[object, ...]:
    return case.d, case.epsilon, case.truncation


def test_what_was_not_started_or_was_skipped_is_said() -> None:
    planned = [case for case in stress() if case.layer == "zca"]
    first, second, *_ = planned
    skipped = msgspec.structs.replace(record(second), status="skipped", reason="none")
    _, _, table = sections(gather(planned, [record(first), skipped]))
    assert table.count("1 of 1") == 1
    assert table.count("skipped") == 1
    assert table.count("–") == 4 * 8 - 2


def test_the_verdict_says_what_the_lost_trials_share() -> None:
    whole, lost, tested = sentences(stressed())
    assert whole == "Every trial finished: **bn** 3 of 3 (44–100 %), **svd** 24 of 24 (86–100 %)."
    assert "**pi** finished 12 of 24 trials (50 %, 31–69 %): in 4 of 8 cells, all with no " in lost
    assert "**hybrid** finished 18 of 24 trials (75 %, 55–88 %): in 2 of 8 cells, all with " in lost
    assert lost.endswith("all with ε = 1e-06 and no truncation.")
    assert "condition by condition" in tested


def test_success_is_paired_condition_by_condition() -> None:
    pairs = against_reference(stressed(), "pi")
    assert len(pairs) == 8
    assert pairs.count(((0, 3), (3, 3))) == 2
    assert pairs.count(((0, 3), (0, 3))) == 2


SVD_16 = "svd", 16
"""Of which the paper prints 0 %."""
PI_16 = "pi", 16
SVD_4 = "svd", 4
"""Of which it prints 46.7 %: 7 of 15."""


def answer(own: tuple[str, int], outcomes: list[str]) -> str:
    """What is said of one cell of Table 2 whose trials ended so."""
    planned = cases(trainings.suite())
    case = next(
        case for case in planned if isinstance(case, TrainCase) and (case.method, case.d) == own
    )
    trials = []
    for seed, outcome in enumerate(outcomes):
        one = msgspec.structs.replace(case, seed=seed)
        trials.append(Trial(ended(record(one), outcome), one))
    cell = replace(gather([case], [])[0], trials=tuple(trials))
    return " ".join(returned("table-2", [cell], papers=False))


@pytest.mark.parametrize(
    ("own", "outcomes", "said"),
    [
        (SVD_16, ["finished"], "not told"),
        (SVD_16, ["finished"] * 2, "not told"),
        (SVD_16, ["finished"] * 3, "did not come back"),
        (SVD_16, ["finished"] * 20 + ["failed"], "not told"),
        (SVD_16, ["finished"] * 20 + ["diverged"], "came back"),
        (SVD_16, ["failed", "diverged"], "came back"),
        (SVD_16, ["failed"] * 3, "not told"),
        (SVD_4, ["finished"] * 4, "did not come back"),  # Wilson from 51 %
        (SVD_4, ["finished"] * 3, "not told"),  # Wilson from 44 %
    ],
)
def test_a_failure_is_gone_only_if_enough_trials_say_so(
    own: tuple[str, int], outcomes: list[str], said: str
) -> None:
    text = answer(own, outcomes)
    finished = outcomes.count("finished")
    assert f"{finished} of {len(outcomes)}" in text
    answers = [words for words in ("not told", "did not come back", "came back") if words in text]
    assert answers == [said]


def test_cells_that_are_alike_are_said_together() -> None:
    planned = [c for c in cases(trainings.suite()) if isinstance(c, TrainCase)]
    whole = [ended(record(c), "finished") for c in planned if (c.method, c.d) == PI_16]
    larger = [msgspec.structs.replace(r, case=msgspec.structs.replace(r.case, d=32)) for r in whole]
    text = " ".join(returned("table-2", gather([], [*whole, *larger]), papers=True))
    assert "**pi** (d = 16, 32: printed 0 %, measured 100 %, 3 of 3 each)" in text
    assert "not the paper's" not in text
