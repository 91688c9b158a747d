"""Names of cases: nothing that tells two cases apart is left out, nothing else is said."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from eigbench.kinds import Case
from eigbench.report.compare.naming import named, shared
from eigbench.runs.store import read_run
from eigbench.runs.suite import cases
from tests.report import trainings
from tests.report.compare.making import profile_suite, stability_case

SAMPLES = Path(__file__).parents[3] / "reports"


@pytest.mark.parametrize("sample", ["stability", "train-stress", "paper-table5"])
def test_cases_of_a_run_have_names_of_their_own(sample: str) -> None:
    """Trials of one cell share theirs."""
    own = {_unit(record.case).id: _unit(record.case) for record in
           read_run(SAMPLES / sample).records}  # fmt: skip
    names = named(list(own.values()))
    assert len(set(names)) == len(own)


def _unit(case: Case) -> Case:
    cell: Case = getattr(case, "cell", case)
    return cell


def test_what_all_share_is_said_once() -> None:
    own = cases(profile_suite(d=[16]))
    assert named(own) == ["torch.linalg.eigh", "eigh", "hybrid"]
    words = "K = 19, operation, d = 16, batch 64, fresh inputs, float32, cpu"
    assert shared(own) == {"profile": words}


def test_what_differs_is_said_of_each() -> None:
    own = cases(profile_suite(compiled=[False, True], iterations=[3, 19], d=[4, 16]))
    names = named(own)
    assert len(set(names)) == len(own)
    assert "hybrid, K = 3, d = 4, compiled" in names
    assert "hybrid, K = 3, d = 4" in names
    assert "eigh, d = 16" in names


def test_batch_normalisation_is_named_once() -> None:
    names = named([case.cell for case in cases(trainings.suite()) if hasattr(case, "cell")])
    assert "bn" in names


def test_a_gap_of_nothing_is_a_gap() -> None:
    own = [stability_case(gap=gap) for gap in (0.0, 0.1)]
    assert named(own) == ["eigh, gap 0", "eigh, gap 0.1"]


def test_a_start_of_power_iteration_is_named() -> None:
    pi = msgspec.structs.replace(stability_case(), method="pi")
    own = [msgspec.structs.replace(pi, parameters={"iterations": 3, "seed": s}) for s in (0, 1)]
    assert named(own) == ["pi, start 0", "pi, start 1"]


def test_kinds_do_not_mix() -> None:
    own = [stability_case(), *cases(profile_suite(d=[16]))]
    assert named(own) == ["eigh, stability", "torch.linalg.eigh", "eigh, profile", "hybrid"]
    assert set(shared(own)) == {"stability", "profile"}
