"""Contestants timed in turn, round by round, so that what the machine does meanwhile hits all."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Clock:
    """Marks moments of the work that is timed; marks are read after `settle`."""

    name: str
    mark: Callable[[], Any]
    """This moment."""
    settle: Callable[[], None]
    """Return when all the work before is done."""
    seconds: Callable[[Any, Any], float]
    """From one mark to another."""


def clock_for(device: torch.device) -> Clock:
    """The clock of a device: for a GPU one of events, since its work is queued when a call returns.

    An event is a mark in the stream itself: the device notes when it gets there, to half a
    microsecond. The queue is empty before the first mark, so that work that the host launches too
    slowly to keep the device busy counts as the time it takes.
    """
    if device.type != "cuda":
        return Clock(
            "wall", time.perf_counter, lambda: None, lambda earlier, later: later - earlier
        )

    def mark() -> torch.cuda.Event:
        event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(device))
        return event

    return Clock(
        name="cuda events",
        mark=mark,
        settle=lambda: torch.cuda.synchronize(device),
        seconds=lambda earlier, later: float(earlier.elapsed_time(later)) / 1000,
    )


Key = TypeVar("Key", bound=Hashable)

WARM_UP_RUNS = 3
FEWEST_ROUNDS = 11
"""Of fewer than six a median has no interval; of an odd number it is one that was measured."""
BLOCK_SECONDS = 1e-3
"""Between two readings of the clock; a reading takes less than a ten-thousandth of it."""
LARGEST_BLOCK = 256
COLLECT_SECONDS = 0.5
"""Python's garbage is collected between blocks, after so long; never inside of one."""


@dataclass(frozen=True)
class Contestant:
    """What is timed: passes of one run, such as forward and backward.

    `prepare` makes the inputs of a run and resets what a run leaves behind; it is never timed. The
    first pass takes the inputs, each later one what the pass before it returned.
    """

    prepare: Callable[[], tuple[Tensor, ...]]
    passes: Mapping[str, Callable[[Any], Any]]
    parameters: tuple[Tensor, ...] = ()
    alone: bool = False
    """Whether a run must end before the next begins, as a training step."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """One run, not timed."""
        state: Any = self.prepare()
        for step in self.passes.values():
            state = step(state)


@dataclass
class Times:
    """Raw seconds of one contestant."""

    first_call_seconds: float
    block_runs: int = 1
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """By pass: seconds of one run, one value a round."""

    @property
    def rounds(self) -> int:
        """In how many rounds it was timed."""
        return min(map(len, self.seconds.values()), default=0)


Outcome = Times | BaseException


def interleave(
    contestants: Mapping[Key, Callable[[], Contestant]],
    clock: Clock,
    rounds: int,
    seconds: float,
    now: Callable[[], float] = time.monotonic,
) -> tuple[dict[Key, Contestant], dict[Key, Outcome]]:
    """Build and time each contestant once a round; what raises has its exception as outcome.

    The first call of each is timed apart; then come untimed runs, then `rounds` rounds, or fewer,
    of `FEWEST_ROUNDS` at least, if `seconds` are over before. The order turns from round to round,
    forwards and backwards, so that nobody always runs after the same neighbour.
    """
    built: dict[Key, Contestant] = {}
    outcomes: dict[Key, Outcome] = {}
    for key, build in contestants.items():
        with _kept(outcomes, key):
            built[key] = build()
            outcomes[key] = _first_calls(built[key], clock)
    started = now()
    with _collected_between_blocks(now) as collect:
        for number in range(rounds):
            if number >= FEWEST_ROUNDS and now() - started > seconds:
                break
            running = {key: times for key, times in outcomes.items() if isinstance(times, Times)}
            for key in _order(list(running), number):
                collect()
                with _kept(outcomes, key):
                    timed = _timed(built[key], running[key].block_runs, clock)
                    for name, taken in timed.items():
                        running[key].seconds[name].append(taken)
    return built, outcomes


@contextmanager
def _kept(outcomes: dict[Key, Outcome], key: Key) -> Iterator[None]:
    """Whatever a contestant raises is its outcome; the others go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001
        outcomes[key] = error.with_traceback(None)  # which would hold on to its tensors


def _first_calls(contestant: Contestant, clock: Clock) -> Times:
    """Time the first run, warm up, and choose how many runs make a block."""
    first = sum(_timed(contestant, 1, clock).values())
    taken = [sum(_timed(contestant, 1, clock).values()) for _ in range(WARM_UP_RUNS)]
    shortest = max(min(taken), BLOCK_SECONDS / LARGEST_BLOCK)
    block = 1 if contestant.alone else math.ceil(BLOCK_SECONDS / shortest)
    return Times(first, block, {name: [] for name in contestant.passes})


def _timed(contestant: Contestant, runs: int, clock: Clock) -> dict[str, float]:
    """Seconds per run by pass: of all runs the first pass, then of all the second, and so on."""
    states: list[Any] = [contestant.prepare() for _ in range(runs)]
    clock.settle()
    marks = [clock.mark()]
    for step in contestant.passes.values():
        states = [step(state) for state in states]
        marks.append(clock.mark())
    clock.settle()
    lengths = map(clock.seconds, marks, marks[1:])
    return {name: length / runs for name, length in zip(contestant.passes, lengths, strict=True)}


def _order(running: Sequence[Key], number: int) -> list[Key]:
    """Turned by one place every second round, and backwards in every second."""
    turn = (number // 2) % max(1, len(running))
    rotated = [*running[turn:], *running[:turn]]
    return rotated if number % 2 == 0 else rotated[::-1]


@contextmanager
def _collected_between_blocks(now: Callable[[], float]) -> Iterator[Callable[[], None]]:
    """No garbage is collected but where the function that this gives is called."""
    enabled = gc.isenabled()
    gc.disable()
    gc.collect()
    last = now()

    def collect() -> None:
        nonlocal last
        if now() - last > COLLECT_SECONDS:
            gc.collect()
            last = now()

    try:
        yield collect
    finally:
        if enabled:
            gc.enable()
