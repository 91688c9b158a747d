"""The timing of pairs, with a clock that stands still between ticks of our own."""

from __future__ import annotations

import statistics

import pytest

from tests.benchmarks.fakes import FakeClock
from tests.benchmarks.interval import median_interval
from tests.benchmarks.paired import Paired, repeated, time_in_turn


def test_seconds_belong_to_the_callable_that_took_them() -> None:
    clock = FakeClock()
    timed = time_in_turn(
        clock.taking("a", 3.0), clock.taking("b", 2.0), pairs=5, warm_up=0, clock=clock
    ).wall
    assert timed.first_seconds == (3.0,) * 5
    assert timed.second_seconds == (2.0,) * 5
    assert timed.ratio == 1.5


def test_order_alternates() -> None:
    clock = FakeClock()
    time_in_turn(clock.taking("a", 1.0), clock.taking("b", 1.0), pairs=4, warm_up=0, clock=clock)
    assert "".join(clock.calls) == "abbaabba"


def test_warm_up_is_not_timed() -> None:
    clock = FakeClock()
    timed = time_in_turn(
        clock.taking("a", 100.0, 100.0, 1.0),
        clock.taking("b", 50.0, 50.0, 2.0),
        pairs=3,
        warm_up=2,
        clock=clock,
    ).wall
    assert len(clock.calls) == 2 * (2 + 3)
    assert timed.first_seconds == (1.0,) * 3
    assert timed.second_seconds == (2.0,) * 3


def test_one_pause_does_not_move_the_ratio() -> None:
    clock = FakeClock()
    timed = time_in_turn(
        clock.taking("a", 1.0, 1000.0, 1.0), clock.taking("b", 2.0), pairs=5, warm_up=0, clock=clock
    ).wall
    assert max(timed.ratios) == 500.0
    assert timed.ratio == 0.5


def test_ratio_is_the_median_of_ratios_not_the_ratio_of_medians() -> None:
    # A machine that slows down to a tenth half way: every pair still says 2.
    assert Paired((2.0, 20.0, 4.0), (1.0, 10.0, 2.0)).ratio == 2.0
    assert Paired((1.0, 2.0, 9.0), (1.0, 4.0, 3.0)).ratio == 1.0


def test_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="pairs must be 1 or more, not 0"):
        time_in_turn(lambda: None, lambda: None, pairs=0)


def test_work_and_what_others_do_are_told_apart() -> None:
    wall, cpu = FakeClock(), FakeClock()
    works, waits = cpu.taking("a", 2.0), wall.taking("a", 10.0)

    def first() -> None:
        works()
        waits()

    second = repeated(cpu.taking("b", 1.0), 1)
    wall_second = wall.taking("b", 1.0)
    timed = time_in_turn(
        first, lambda: (second(), wall_second()), pairs=4, warm_up=0, clock=wall, cpu=cpu
    )
    assert timed.cpu.ratio == 2.0
    assert timed.wall.ratio == 10.0


def test_it_stops_when_the_work_is_done() -> None:
    cpu = FakeClock()
    timed = time_in_turn(
        cpu.taking("a", 1.0),
        cpu.taking("b", 1.0),
        pairs=100,
        least=3,
        seconds=10,
        warm_up=1,
        clock=lambda: 0.0,
        cpu=cpu,
    )
    assert len(timed.cpu.ratios) == 5


def test_it_loses_patience_with_a_busy_machine_but_not_before_the_least_pairs() -> None:
    clock = FakeClock()
    calls = [clock.taking(name, 1.0) for name in "ab"]
    for least, pairs in [(3, 15), (20, 20)]:
        timed = time_in_turn(
            *calls, pairs=100, least=least, seconds=10, clock=clock, cpu=lambda: 0.0, warm_up=0
        )
        assert len(timed.wall.first_seconds) == pairs


def test_repeated_calls_so_often() -> None:
    clock = FakeClock()
    repeated(clock.taking("a", 1.0), 4)()
    assert clock.calls == ["a"] * 4


@pytest.mark.parametrize(
    ("n", "rank"),
    # From the tables of the sign test at the two-sided level 0.01: the critical value plus 1.
    [(8, 1), (10, 1), (12, 2), (20, 4), (25, 6), (50, 16), (100, 37)],
)
def test_interval_is_that_of_the_sign_test(n: int, rank: int) -> None:
    samples = list(range(1, n + 1))
    assert median_interval(samples[::-1]) == (rank, n + 1 - rank)


def test_interval_of_thousands_of_samples_is_that_of_the_normal_distribution() -> None:
    n = 2002  # as many pairs as the gate takes at most, when it measures again
    low, high = median_interval(range(1, n + 1))
    reach = 2.576 * n**0.5 / 2
    assert low == pytest.approx(n / 2 - reach, abs=1.5)
    assert low + high == n + 1


def test_interval_of_few_samples_is_all_of_them() -> None:
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert median_interval([1.0]) == (1.0, 1.0)
    with pytest.raises(ValueError, match="one sample or more"):
        median_interval([])


def test_interval_holds_the_median_as_often_as_it_says() -> None:
    import numpy as np

    generator = np.random.default_rng(0)
    draws = generator.standard_exponential((2000, 31))  # skew, as times are
    intervals = [median_interval(list(draw)) for draw in draws]
    missed = statistics.mean(not low <= np.log(2) <= high for low, high in intervals)
    assert missed <= 0.01
    assert missed >= 0.002  # nor is it needlessly wide
