"""Contestants timed in turn, by a clock that stands still between ticks of our own."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from eigbench.measure.timing import (
    BLOCK_SECONDS,
    FEWEST_ROUNDS,
    LARGEST_BLOCK,
    WARM_UP_RUNS,
    Clock,
    Contestant,
    Outcome,
    Times,
    clock_for,
    interleave,
)

UNTIMED = 1 + WARM_UP_RUNS
"""Runs before the first round: the first call, and the warm-up."""


class Machine:
    """Time passes only where work says so; it also notes who worked, pass by pass."""

    def __init__(self) -> None:
        self.now = Fraction()  # sums of it have no rounding
        self.calls: list[str] = []
        self.settled = 0

    def mark(self) -> Fraction:
        return self.now

    def settle(self) -> None:
        self.settled += 1

    def seconds(self, earlier: Fraction, later: Fraction) -> float:
        return float(later - earlier)

    def contestant(
        self,
        name: str,
        forward: float = 1.0,
        backward: float = 2.0,
        *,
        first: float = 0.0,
        alone: bool = False,
        breaks_after: int | None = None,
    ) -> Callable[[], Contestant]:
        """Takes so many seconds a pass, and `first` more in its first run."""
        runs: Iterator[int] = iter(range(10**9))

        def work(kind: str, seconds: float) -> Callable[[Any], Any]:
            def call(state: Any) -> Any:
                self.calls.append(f"{name} {kind}")
                run = next(runs) if kind == "forward" else None
                if breaks_after is not None and run is not None and run >= breaks_after:
                    raise RuntimeError(f"{name} broke")
                self.now += Fraction(seconds) + Fraction(first if run == 0 else 0)
                return state

            return call

        def prepare() -> tuple[Tensor, ...]:
            self.now += 100  # which is never timed
            return ()

        passes = {"forward": work("forward", forward), "backward": work("backward", backward)}
        return lambda: Contestant(prepare, passes, alone=alone)


def run(
    machine: Machine,
    contestants: dict[str, Callable[[], Contestant]],
    rounds: int = 7,
    **options: Any,
) -> dict[str, Outcome]:
    options = {"seconds": 1e9, "now": lambda: 0.0, **options}
    clock = Clock("machine", machine.mark, machine.settle, machine.seconds)
    return interleave(contestants, clock, rounds, **options)[1]


def times(outcome: Outcome) -> Times:
    assert isinstance(outcome, Times), outcome
    return outcome


def test_each_pass_has_its_own_seconds_and_preparing_has_none() -> None:
    machine = Machine()
    found = run(machine, {"a": machine.contestant("a"), "b": machine.contestant("b", 3.0, 5.0)})
    assert times(found["a"]).seconds == {"forward": [1.0] * 7, "backward": [2.0] * 7}
    assert times(found["b"]).seconds == {"forward": [3.0] * 7, "backward": [5.0] * 7}
    assert times(found["a"]).rounds == 7


def test_the_first_call_stands_apart() -> None:
    machine = Machine()
    found = times(run(machine, {"a": machine.contestant("a", first=50.0)})["a"])
    assert found.first_call_seconds == 53.0
    assert found.seconds["forward"] == [1.0] * 7


def test_everybody_runs_once_a_round_and_nobody_always_after_the_same_neighbour() -> None:
    machine = Machine()
    names = ["a", "b", "c"]
    run(machine, {name: machine.contestant(name) for name in names}, rounds=6)
    order = [call[0] for call in machine.calls if call.endswith("forward")][UNTIMED * len(names) :]
    by_round = ["".join(order[k : k + 3]) for k in range(0, len(order), 3)]
    assert by_round == ["abc", "cba", "bca", "acb", "cab", "bac"]
    neighbours = {pair for turn in by_round for pair in itertools.pairwise(turn)}
    assert len(neighbours) == 6  # every ordered pair


@pytest.mark.parametrize(
    ("run_seconds", "runs"),
    [
        (BLOCK_SECONDS * 2, 1),
        (BLOCK_SECONDS, 1),
        (BLOCK_SECONDS / 4, 4),
        (BLOCK_SECONDS / 3.5, 4),
        (BLOCK_SECONDS / 1e6, LARGEST_BLOCK),
        (0.0, LARGEST_BLOCK),
    ],
)
def test_a_block_has_as_many_runs_as_make_it_long_enough(run_seconds: float, runs: int) -> None:
    machine = Machine()
    made = machine.contestant("a", run_seconds / 2, run_seconds / 2)
    found = times(run(machine, {"a": made}, rounds=5)["a"])
    assert found.block_runs == runs
    assert found.seconds["forward"] == pytest.approx([run_seconds / 2] * 5, rel=1e-12)
    assert machine.calls.count("a forward") == UNTIMED + 5 * runs


def test_what_must_end_before_it_begins_again_has_blocks_of_one() -> None:
    machine = Machine()
    found = run(machine, {"a": machine.contestant("a", 1e-9, 1e-9, alone=True)})
    assert times(found["a"]).block_runs == 1


def test_a_pass_is_timed_for_all_runs_of_a_block_together() -> None:
    machine = Machine()
    run(machine, {"a": machine.contestant("a", BLOCK_SECONDS / 4, BLOCK_SECONDS / 4)}, rounds=1)
    assert machine.calls[2 * UNTIMED :] == ["a forward"] * 2 + ["a backward"] * 2


@pytest.mark.parametrize(("elapsed", "rounds"), [(0.0, 20), (0.5, 17), (5.0, FEWEST_ROUNDS)])
def test_time_ends_it_but_not_before_a_few_rounds(elapsed: float, rounds: int) -> None:
    machine = Machine()

    def now() -> float:
        rounds_done = machine.calls.count("a forward") - UNTIMED
        return elapsed * rounds_done

    found = run(machine, {"a": machine.contestant("a")}, rounds=20, seconds=8.1, now=now)
    assert times(found["a"]).rounds == rounds


def test_what_raises_is_an_outcome_and_the_others_go_on() -> None:
    machine = Machine()

    def not_built() -> Contestant:
        raise ValueError("cannot be built")

    found = run(
        machine,
        {
            "no": not_built,
            "first": machine.contestant("first", breaks_after=0),
            "late": machine.contestant("late", breaks_after=UNTIMED + 3),
            "a": machine.contestant("a"),
        },
    )
    assert str(found["no"]) == "cannot be built"
    assert str(found["first"]) == "first broke"
    assert str(found["late"]) == "late broke"
    assert times(found["a"]).rounds == 7
    # Whoever is out is not called again.
    assert machine.calls.count("first forward") == 1
    assert machine.calls.count("late forward") == UNTIMED + 4


def test_an_interruption_is_nobodys_outcome() -> None:
    machine = Machine()

    def interrupted() -> Contestant:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(machine, {"a": interrupted})


def test_no_garbage_is_collected_within_a_block() -> None:
    machine, seen = Machine(), []
    made = machine.contestant("a")()
    watched = {
        "forward": lambda state: seen.append(gc.isenabled()),
    }
    assert gc.isenabled()
    run(machine, {"a": lambda: Contestant(made.prepare, watched)}, rounds=3)
    assert seen[UNTIMED:] == [False] * (len(seen) - UNTIMED)
    assert gc.isenabled()


def test_the_device_is_waited_for_before_the_first_mark_and_before_reading() -> None:
    machine = Machine()
    run(machine, {"a": machine.contestant("a")}, rounds=5)
    assert machine.settled == 2 * (UNTIMED + 5)


# Clocks


def test_a_cpu_has_the_wall_clock() -> None:
    clock = clock_for(torch.device("cpu"))
    assert clock.name == "wall"
    first = clock.mark()
    clock.settle()
    assert clock.seconds(first, clock.mark()) >= 0
    assert clock.seconds(1.0, 3.5) == 2.5


class Event:
    """What a CUDA event is, without CUDA: milliseconds on a device of our own."""

    made: ClassVar[list[Event]] = []

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        self.at: float | None = None
        Event.made.append(self)

    def record(self, stream: str) -> None:
        assert stream == "the current stream"
        self.at = 4.0 * len(Event.made)

    def elapsed_time(self, other: Event) -> float:
        assert self.at is not None
        assert other.at is not None
        return other.at - self.at


def test_a_gpu_has_events_in_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "the current stream")
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    device = torch.device("cuda:1")
    clock = clock_for(device)
    assert clock.name == "cuda events"
    first, second = clock.mark(), clock.mark()
    clock.settle()
    assert waited == [device]
    assert clock.seconds(first, second) == pytest.approx(0.004)
