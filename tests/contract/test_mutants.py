"""Every check can fail: for each there is a method that breaks what it looks at."""

from __future__ import annotations

import pytest

from eigbench.contract import CHECKS, Finding, findings
from eigbench.contract.check import Check
from eigbench.contract.subject import Subject
from eigbench.methods.base import Method
from eigbench.methods.subspace import Subspace
from tests.contract import mutants

BY_NAME = {check.name: check for check in CHECKS}

BREAKS: list[tuple[str, type[Method]]] = [
    ("parameters", mutants.WithoutDecorator),
    ("parameters", mutants.Unhashable),
    ("names", mutants.WithoutSummary),
    ("names", mutants.OtherName),
    ("refusals", mutants.RefusesNothing),
    ("eigenpairs", mutants.Descending),
    ("eigenpairs", mutants.InRows),
    ("eigenpairs", mutants.WrongShape),
    ("eigenpairs", mutants.Raises),
    ("functions of M", mutants.OtherFunction),
    ("whitening", mutants.WhitensToTwo),
    ("edges of shape", mutants.NoEmptyBatch),
    ("own formula", mutants.OneTermLess),
    ("symmetric gradient", mutants.Asymmetric),
    ("phases", mutants.DropsPhases),
    ("precision", mutants.HalfPrecision),
    ("neighbours", mutants.OneNormForTheBatch),
    ("reproducible", mutants.DrawsAtRandom),
    ("vmap", mutants.LooksAtNumbers),
    ("torch.compile", mutants.LooksAtNumbers),
    ("second derivative", mutants.ForgetsADependence),
    ("second derivative", mutants.MarkedOnce),
    ("inputs untouched", mutants.WritesIntoM),
    ("global state", mutants.Seeds),
    ("global state", mutants.DrawsAtRandom),
    ("exact", mutants.NineTenths),
    ("functions", mutants.PromisesAll),
    ("isolated", mutants.PromisesAll),
    ("subspace", mutants.PromisesAll),
    ("finite", mutants.PromisesAll),
    ("scale", mutants.HiddenEpsilon),
    ("continuous", mutants.HardCutoff),
]


def outcome(check: Check, method: type[Method]) -> Finding:
    return check(Subject.of("mutant", method))


@pytest.mark.parametrize(("name", "mutant"), BREAKS, ids=lambda x: getattr(x, "__name__", x))
def test_a_broken_promise_is_found(name: str, mutant: type[Method]) -> None:
    found = outcome(BY_NAME[name], mutant)
    assert found.state == "violated"
    assert found.worst is not None
    assert found.worst.place
    assert not found.worst.holds
    assert "\n" not in found.worst.found


def test_every_check_is_broken_by_a_mutant() -> None:
    assert {name for name, _ in BREAKS} == set(BY_NAME)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("method", [mutants.Whole, mutants.Steep], ids=lambda x: x.__name__)
def test_what_breaks_nothing_is_not_blamed(method: type[Method], check: Check) -> None:
    found = outcome(check, method)
    assert found.state != "violated", found.worst
    assert found.state == "held" or found.reason


def test_what_raises_is_told_in_one_line_with_its_place() -> None:
    worst = outcome(BY_NAME["eigenpairs"], mutants.Raises).worst
    assert worst is not None
    assert worst.found == "RuntimeError: first line"
    assert worst.place == "float32, batch ()"


def test_nothing_that_a_method_raises_comes_through() -> None:
    found = list(findings("mutant", mutants.Raises))
    assert [finding.check for finding in found] == list(BY_NAME)
    assert {"eigenpairs", "exact", "scale"} <= {f.check for f in found if f.state == "violated"}


def test_declarations_that_make_no_sense_are_a_finding() -> None:
    found = {finding.check: finding for finding in findings("mutant", mutants.PromisesNonsense)}
    assert found["names"].state == found["finite"].state == "violated"
    worst = found["finite"].worst
    assert worst is not None
    assert worst.place == "before anything is computed"
    assert "TypeError" in worst.found
    assert found["eigenpairs"].state == "held"


def test_without_an_instance_nothing_else_applies() -> None:
    first, *others = findings("mutant", mutants.NeedsAnArgument)
    assert (first.check, first.state) == ("parameters", "violated")
    assert first.worst is not None
    assert "missing 1 required positional argument: 'eta'" in first.worst.found
    assert {finding.state for finding in others} == {"not applicable"}
    assert len(others) == len(CHECKS) - 1


def test_a_second_derivative_may_be_refused() -> None:
    found = BY_NAME["second derivative"](Subject.of("subspace", Subspace))
    assert found.state == "not applicable"
    assert "NotImplementedError: subspace has no second derivative" in found.reason


def test_a_precision_that_is_not_taken_is_not_asked_for() -> None:
    for check in CHECKS:
        found = outcome(check, mutants.OnlySingle)
        assert found.state != "violated", found
    assert outcome(BY_NAME["eigenpairs"], mutants.OnlySingle).state == "held"
    assert "float64" in outcome(BY_NAME["neighbours"], mutants.OnlySingle).reason


def test_a_check_that_looks_at_nothing_is_an_error_of_its_own() -> None:
    empty = Check("empty", "nothing", lambda _subject, _log: None)
    with pytest.raises(AssertionError, match="'empty' has looked at nothing"):
        outcome(empty, mutants.Whole)
