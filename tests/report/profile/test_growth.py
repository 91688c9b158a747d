"""Exponents and cliffs, on times that are known powers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigbench.report.chapters import growth
from eigbench.report.stats import Interval
from eigbench.runs.record import Record
from tests.report.profile import profiled

SIZES = (4, 8, 16, 32, 33, 64, 128)
BATCHES = (1, 4, 16, 64)


def at(time: float, share: float = 0.01) -> Interval:
    return Interval(time, time * (1 - share), time * (1 + share))


def points(*times: float, sizes: tuple[int, ...] = SIZES) -> growth.Points:
    return [(size, at(time)) for size, time in zip(sizes, times, strict=True)]


def fitted(some: growth.Points) -> tuple[Interval, list[int]]:
    found = growth.exponent(some)
    assert found is not None
    return found


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_an_exact_power_is_found(power: float) -> None:
    found, _ = fitted(points(*(1e-9 * size**power for size in SIZES)))
    assert found.value == pytest.approx(power, abs=1e-9)
    assert found.low == pytest.approx(power, abs=1e-6)
    assert found.high == pytest.approx(power, abs=1e-6)


def test_overhead_is_left_out() -> None:
    """1 + (d/32)³: at least twice the time of d = 4 from d = 33 on, not at 32."""
    times = [1 + (size / 32) ** 3 for size in SIZES]
    assert times[3] < 2 * times[0] < times[4]
    found, sizes = fitted(points(*times))
    assert sizes == [33, 64, 128]
    assert 2.5 < found.value < 3
    everything = np.polyfit(np.log(SIZES), np.log(times), 1)[0]
    assert everything < 1.5


def test_a_dip_back_to_overhead_starts_the_upper_sizes_anew() -> None:
    found, sizes = fitted(points(1, 4, 9, 1.5, 4, 8, 16, sizes=(1, 2, 3, 4, 8, 16, 32)))
    assert sizes == [8, 16, 32]
    assert found.value == pytest.approx(1.0)


def test_the_interval_is_students() -> None:
    """By hand: (0, 0), (1, 1), (2, 3) have slope 3/2, its error √(1/12), and t = 12.706."""
    e = np.e
    times = (1.0, 1.0, e, e**3)  # the first is dropped: it is the smallest itself
    found, sizes = fitted([(1, at(0.1))] + [
        (size, at(time)) for size, time in zip((10, 100, 1000), times[1:], strict=True)
    ])  # fmt: skip
    unit = np.log(10)
    assert sizes == [10, 100, 1000]
    assert found.value == pytest.approx(1.5 / unit)
    assert found.high - found.value == pytest.approx(12.7062 * (1 / 12) ** 0.5 / unit, rel=1e-4)
    assert found.value - found.low == pytest.approx(found.high - found.value)


@pytest.mark.parametrize("times", [(), (1.0,), (1.0, 1.1, 1.2, 1.3), (1.0, 1.0, 8.0, 64.0)])
def test_too_few_upper_sizes_have_no_exponent(times: tuple[float, ...]) -> None:
    assert growth.exponent(points(*times, sizes=SIZES[: len(times)])) is None


def test_the_known_cliff_is_found() -> None:
    times = [size**3 * (5 if size > 32 else 1) for size in SIZES]
    ((start, end, ratio),) = growth.jumps(points(*times), 3)
    assert (start, end) == (32, 33)
    assert ratio == pytest.approx(5 * (33 / 32) ** 3)


def test_a_fall_is_found() -> None:
    times = [size**2 * (0.3 if size > 32 else 1) for size in SIZES]
    assert [(start, end) for start, end, _ in growth.jumps(points(*times), 3)] == [(32, 33)]


def test_a_jump_that_the_samples_do_not_support_is_none() -> None:
    """Twice the time, but with intervals that allow for less than 1.5 times."""
    wide = [(32, at(1.0, 0.3)), (33, at(2.0, 0.3))]
    assert not list(growth.jumps(wide, 3))
    assert list(growth.jumps([(32, at(1.0)), (33, at(2.0))], 3))
    few = [(32, Interval(1.0, np.nan, np.nan)), (33, Interval(9.0, np.nan, np.nan))]
    assert not list(growth.jumps(few, 3))


@given(
    power=st.floats(0, 3),
    overhead=st.floats(0, 1e3),
    noise=st.lists(st.floats(-0.05, 0.05), min_size=len(SIZES), max_size=len(SIZES)),
)
def test_no_cliff_is_invented_on_a_smooth_power(
    power: float, overhead: float, noise: list[float]
) -> None:
    times = [(overhead + size**power) * (1 + z) for size, z in zip(SIZES, noise, strict=True)]
    assert not list(growth.jumps(points(*times), 3))


def records(**changes: Any) -> list[Record]:
    """Operations of all sizes whose time is exactly cubic in d and linear in the batch."""
    made = []
    for d in SIZES:
        for batch in BATCHES:
            case = profiled.profile_case(d=d, batch=batch, **changes)
            seconds = 1e-9 * d**3 * batch * profiled.factors()
            passes = {f"{name}_seconds": list(share * seconds)
                      for name, share in profiled.SHARES["operation"].items()}  # fmt: skip
            made.append(profiled.record(case, **passes))
    return made


@pytest.mark.usefixtures("undrawn")
def test_the_table_holds_the_exponents_of_the_records() -> None:
    (chapter,) = growth.chapters(profiled.costs(*records()))
    lines = [line for line in chapter.body.splitlines() if "| hybrid " in line]
    in_d = [line for line in lines if "| 3.00 " in line and "8 to 128" in line]
    in_batch = [line for line in lines if "| 1.00 " in line and "4 to 64" in line]
    assert (len(in_d), len(in_batch)) == (len(BATCHES), len(SIZES))


@pytest.mark.usefixtures("undrawn")
def test_an_exponent_that_says_nothing_is_not_shown() -> None:
    """A line through three sizes whose slopes are 0.1 and 3: 1.5, give or take 20."""
    made = []
    for d, factor in ((4, 0.1), (8, 1.0), (16, 1.1), (32, 9.0)):
        passes = {f"{name}_seconds": list(factor * profiled.factors())
                  for name in ("forward", "backward")}  # fmt: skip
        made.append(profiled.record(profiled.profile_case(d=d), **passes))
    (chapter,) = growth.chapters(profiled.costs(*made))
    assert "Exponents" not in chapter.body


@pytest.mark.usefixtures("undrawn")
def test_records_of_a_power_law_have_no_cliff_and_no_word_of_it() -> None:
    costs = profiled.costs(*records())
    assert growth.cliffs(costs) == []
    assert "liff" not in "".join(chapter.body for chapter in growth.chapters(costs))


@pytest.mark.usefixtures("undrawn")
def test_a_cliff_of_the_records_is_named_with_its_place() -> None:
    made = [
        profiled.record(one.case, **{
            name: [5 * value if getattr(one.case, "d", 0) > 32 else value
                   for value in one.values(name)]
            for name in ("forward_seconds", "backward_seconds")
        })
        for one in records()
    ]  # fmt: skip
    costs = profiled.costs(*made)
    found = growth.cliffs(costs)
    assert {(cliff.axis, cliff.start, cliff.end, cliff.place) for cliff in found} == {
        ("d", 32, 33, f"float32, batch {batch}") for batch in BATCHES
    }
    assert [one["step"] for one in growth.largest_cliffs(costs)] == ["d = 32 to 33"]
    (chapter,) = growth.chapters(costs)
    rows = [line for line in chapter.body.splitlines() if "d = 32 to 33" in line]
    assert len(rows) == len(BATCHES)
    assert "bare decomposition, float32, batch 16" in rows[2]
