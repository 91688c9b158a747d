"""Times of profiles: which of them decides, and what is shown."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from eigbench.compare.model import Comparison
from eigbench.kinds.profile import ProfileCase
from eigbench.runs.environment import Session
from eigbench.runs.record import Record, number
from tests.compare.making import (
    Factors,
    case_of,
    compared,
    effect_of,
    here,
    profile_suite,
    profiles,
)

OTHER_TORCH = (here(), here(packages={"torch": "2.15.0"}))
OTHER_MACHINE = (here(), here(processor="Intel"))
OTHER_BOTH = (here(), here(processor="Intel", packages={"torch": "2.15.0"}))
SLOW = "hybrid, d = 64"


def slower(factor: float, *passes: str, method: str = "hybrid", d: int = 64) -> Factors:
    def factors(case: ProfileCase, name: str) -> float:
        return factor if (case.method, case.d) == (method, d) and name in passes else 1.0

    return factors


def everything(factor: float) -> Factors:
    return lambda _case, _name: factor


def found(factors: Factors, **options: Any) -> Comparison:
    of = profile_suite()
    return compared(profiles(of, 1), profiles(of, 2, factors), of, **options)


@pytest.mark.parametrize("factor", [1.15, 1.3, 0.85, 0.5])
def test_a_change_is_found_with_its_size(factor: float) -> None:
    result = found(slower(factor, "forward", "backward"))
    case = case_of(result, SLOW)
    time = effect_of(case, "time")
    assert time.answer == ("slower" if factor > 1 else "faster")
    assert case.verdict == ("worse" if factor > 1 else "better")
    assert time.relative_to == "torch.linalg.eigh"
    assert time.low < factor < time.high
    assert time.change == pytest.approx(factor, rel=0.06)
    assert case.regression is (factor > 1)
    others = [other for other in result.cases if other.name != SLOW]
    assert {other.verdict for other in others} == {"no difference shown", "not judged"}


def test_one_pass_alone_is_found() -> None:
    case = case_of(found(slower(1.2, "backward")), SLOW)
    assert effect_of(case, "backward").answer == "slower"
    assert effect_of(case, "forward").answer == "no difference shown"


def test_one_pass_slower_and_another_faster_is_mixed() -> None:
    def factors(case: ProfileCase, name: str) -> float:
        return slower(1.5, "backward")(case, name) * slower(0.6, "forward")(case, name)

    case = case_of(found(factors), SLOW)
    assert case.verdict == "mixed"
    assert case.regression


def test_a_machine_that_is_slower_at_everything_is_no_regression() -> None:
    result = found(everything(1.5))
    assert result.regressions == ()
    times = [effect_of(case, "time", judged=False).change for case in result.cases]
    assert min(times) > 1  # it is seen, and not judged


REFERENCE = "torch.linalg.eigh"


@pytest.mark.parametrize(
    ("where", "method", "answer", "relative_to"),
    [
        ((here(), here()), "hybrid", "slower", REFERENCE),
        (OTHER_MACHINE, "hybrid", "slower", REFERENCE),
        (OTHER_BOTH, "hybrid", "slower", REFERENCE),
        (OTHER_TORCH, "hybrid", "slower", None),
        (OTHER_TORCH, REFERENCE, "slower", None),
        # Elsewhere it is the same program, and what changes is the machine.
        ((here(), here()), REFERENCE, "not judged", None),
        (OTHER_MACHINE, REFERENCE, "not judged", None),
    ],
)
def test_what_is_judged_where(
    where: tuple[Session, Session], method: str, answer: str,
    relative_to: str | None,
) -> None:  # fmt: skip
    """All of the other machine's times are a tenth, which is no change of the program."""
    slow, speed = slower(4, "forward", "backward", method=method), 1.0
    if where in (OTHER_MACHINE, OTHER_BOTH):
        speed = 0.1
    result = found(lambda case, name: speed * slow(case, name), where=where)
    name = f"{method}, d = 64"
    time = effect_of(case_of(result, name), "time", judged=answer != "not judged")
    assert (time.answer, time.relative_to) == (answer, relative_to)
    assert [case.name for case in result.regressions] == ([name] if answer == "slower" else [])


def test_another_torch_is_judged_by_times() -> None:
    """The reference became three times faster: that is its own doing, and not of the others."""
    fast = slower(1 / 3, "forward", "backward", method="torch.linalg.eigh", d=64)
    result = found(fast, where=OTHER_TORCH)
    reference = case_of(result, "torch.linalg.eigh, d = 64")
    assert effect_of(reference, "time").answer == "faster"
    assert result.regressions == ()
    ratio = effect_of(case_of(result, SLOW), "time", judged=False)
    assert ratio.relative_to == "torch.linalg.eigh"
    assert ratio.change > 2.5


def test_small_and_sure_is_no_regression() -> None:
    """A change of 15 % is shown; whether it counts is the threshold's to say."""
    factors = slower(1.15, "forward", "backward")
    strict = found(factors, threshold=0.0)
    loose = found(factors, threshold=0.5)
    assert case_of(strict, SLOW).regression
    assert case_of(loose, SLOW).verdict == "worse"
    assert loose.regressions == ()


def test_without_a_reference_times_decide_on_the_same_machine() -> None:
    def bare(records: list[Record]) -> list[Record]:
        return [
            msgspec.structs.replace(
                one, samples={k: v for k, v in one.samples.items() if "reference" not in k}
            )
            for one in records
        ]

    of = profile_suite()
    a, b = bare(profiles(of, 1)), bare(profiles(of, 2, slower(9, "forward", "backward")))
    here_ = compared(a, b, of)
    there = compared(a, b, of, where=OTHER_MACHINE)
    assert [case.name for case in here_.regressions] == [SLOW]
    assert there.regressions == ()
    assert case_of(there, SLOW).verdict == "not judged"


@pytest.mark.parametrize(
    ("metric", "before", "after", "answer"),
    [
        ("saved_bytes", 1e6, 2e6, "more"),
        ("saved_bytes", 1e6, 1.005e6, "no difference shown"),
        ("peak_bytes", 3e6, 1e6, "less"),
        ("peak_bytes", 0.0, 1e6, "more"),
        ("kernels", 40.0, 41.0, "more"),
        ("synchronisations", 2.0, 0.0, "less"),
        ("forward_operators", 12.0, 12.0, "equal"),
        ("backward_operators", 12.0, 11.0, "less"),
    ],
)
def test_amounts(metric: str, before: float, after: float, answer: str) -> None:
    def with_amount(records: list[Record], value: float) -> list[Record]:
        return [
            msgspec.structs.replace(one, samples={**one.samples, metric: [value]})
            for one in records
        ]

    of = profile_suite(d=[16])
    a, b = (with_amount(profiles(of, seed), v) for seed, v in ((1, before), (2, after)))
    result = compared(a, b, of)
    case = case_of(result, "hybrid")
    effect = effect_of(case, metric.replace("_", " "))
    assert (effect.answer, effect.a, effect.b) == (answer, before, after)
    assert math.isnan(effect.p)
    assert result.regressions == ()
    assert case.verdict == ("changed" if answer in {"more", "less"} else "no difference shown")


@pytest.mark.parametrize("rounds", [0, 1])
def test_too_few_rounds_are_not_tested(rounds: int) -> None:
    of = profile_suite(d=[16])
    result = compared(profiles(of, 1), profiles(of, 2, rounds=rounds), of)
    assert case_of(result, "hybrid").verdict == "not tested"
    assert result.regressions == ()


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_is_none_is_not_tested(wrong: float) -> None:
    of = profile_suite(d=[16])
    a, b = profiles(of, 1), profiles(of, 2, slower(2, "forward", "backward", d=16))
    seconds = [*b[-1].samples["forward_seconds"]]
    seconds[7] = number(wrong)
    b[-1] = msgspec.structs.replace(b[-1], samples={**b[-1].samples, "forward_seconds": seconds})
    case = case_of(compared(a, b, of), "hybrid")
    assert effect_of(case, "forward").answer == "not tested"
    assert effect_of(case, "time").answer == "not tested"
    assert effect_of(case, "backward").answer == "slower"


def test_a_name_does_not_say_the_device_of_one_run() -> None:
    of = profile_suite()
    fast = profiles(msgspec.structs.replace(of, device="cuda"), 2, everything(0.05))
    result = compared(profiles(of, 1)[:-1], fast, of)
    assert len(result.b.only) == 1
    assert not any("device" in case.name for case in result.cases)


def test_processor_against_cuda() -> None:
    """Cases that differ in their device and in how they were timed are compared all the same."""
    of = profile_suite()
    there = msgspec.structs.replace(of, device="cuda")
    where = (here(), here(device="cuda: NVIDIA H100"))
    fast = profiles(there, 2, everything(0.05))
    result = compared(profiles(of, 1), fast, of, where=where)
    assert len(result.cases) == 6
    assert {tuple(case.differs) for case in result.cases} == {("device",)}
    assert result.regressions == ()
    assert list(result.environment) == ["device"]
