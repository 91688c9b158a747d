"""The timing of pairs, with a clock that stands still between ticks of our own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.benchmarks.paired import Paired, time_in_turn


class FakeClock:
    """Seconds pass only where a call says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def taking(self, name: str, *seconds: float) -> Callable[[], None]:
        """A callable that takes these seconds, one call after the other, then the last again."""
        left = list(seconds)

        def call() -> None:
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


def test_seconds_belong_to_the_callable_that_took_them() -> None:
    clock = FakeClock()
    timed = time_in_turn(
        clock.taking("a", 3.0), clock.taking("b", 2.0), pairs=5, warm_up=0, clock=clock
    )
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
    )
    assert len(clock.calls) == 2 * (2 + 3)
    assert timed.first_seconds == (1.0,) * 3
    assert timed.second_seconds == (2.0,) * 3


def test_one_pause_does_not_move_the_ratio() -> None:
    clock = FakeClock()
    timed = time_in_turn(
        clock.taking("a", 1.0, 1000.0, 1.0), clock.taking("b", 2.0), pairs=5, warm_up=0, clock=clock
    )
    assert max(timed.ratios) == 500.0
    assert timed.ratio == 0.5


def test_ratio_is_the_median_of_ratios_not_the_ratio_of_medians() -> None:
    # A machine that slows down to a tenth half way: every pair still says 2.
    assert Paired((2.0, 20.0, 4.0), (1.0, 10.0, 2.0)).ratio == 2.0
    assert Paired((1.0, 2.0, 9.0), (1.0, 4.0, 3.0)).ratio == 1.0


def test_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="pairs must be 1 or more, not 0"):
        time_in_turn(lambda: None, lambda: None, pairs=0)
