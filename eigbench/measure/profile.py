"""Times the cases of one workload in turn, and takes each of them apart."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial

import torch

from eigbench.errors import RunStopped, in_one_line
from eigbench.kinds.base import Measure, Tools
from eigbench.kinds.profile import REFERENCES, Keep, ProfileCase
from eigbench.measure import noise
from eigbench.measure.anatomy import anatomy, matmul_flops_per_second
from eigbench.measure.contestants import make
from eigbench.measure.measurement import Measurement
from eigbench.measure.process import (
    forget_old_objects,
    give_back_freed_memory,
    keep_freed_memory,
)
from eigbench.measure.timing import Clock, Contestant, Outcome, Times, clock_for, interleave
from eigbench.measure.trace import record_file


class Profiler:
    """Measures the cases of a suite, a whole workload as soon as its first case is asked for.

    `planned` are all cases of the suite; without `keep` no traces are made. Of a workload of which
    some cases are recorded already all are timed again, so that those which are missing run beside
    the same neighbours.
    """

    def __init__(
        self,
        planned: Sequence[ProfileCase],
        keep: Keep | None = None,
        build: Callable[[ProfileCase], Contestant] = make,
    ) -> None:
        self._by_workload: dict[str, list[ProfileCase]] = {}
        for case in planned:
            self._by_workload.setdefault(case.workload.id, []).append(case)
        self._keep = keep
        self._build = build
        self._found: dict[str, Measurement | BaseException] = {}

    def __call__(self, case: ProfileCase) -> Measurement:
        """One case's measurement; raises what its contestant raised."""
        if case.id not in self._found:
            self._found = self._measure(self._by_workload[case.workload.id])
        outcome = self._found.pop(case.id)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _measure(self, cases: Sequence[ProfileCase]) -> dict[str, Measurement | BaseException]:
        device = torch.device(cases[0].device)
        keep_freed_memory()
        give_back_freed_memory()
        forget_old_objects()
        clock = clock_for(device)
        compiled = any(case.compiled for case in cases)
        with _compiled_anew() if compiled else nullcontext(), _cudnn_chooses_once():
            by_id = {case.id: case for case in cases}
            contestants, outcomes = interleave(
                {name: partial(self._build, case) for name, case in by_id.items()},
                clock,
                cases[0].rounds,
                cases[0].seconds,
            )
            clocks = _clock_rates(device)  # while the device is still warm from the work
            reference = _reference(cases, outcomes)
            found: dict[str, Measurement | BaseException] = {}
            for name, outcome in outcomes.items():
                if isinstance(outcome, BaseException):
                    found[name] = outcome
                    continue
                one = self._record(by_id[name], contestants[name], outcome, reference, clock)
                found[name] = one._replace(samples=one.samples | clocks)
            return found

    def _record(
        self,
        case: ProfileCase,
        contestant: Contestant,
        outcome: Times,
        reference: Times | None,
        clock: Clock,
    ) -> Measurement:
        samples = {
            "first_call_seconds": [outcome.first_call_seconds],
            "block_runs": [float(outcome.block_runs)],
            **{f"{name}_seconds": seconds for name, seconds in outcome.seconds.items()},
        }
        if reference is not None and reference is not outcome:
            for name, seconds in reference.seconds.items():
                samples[f"reference_{name}_seconds"] = seconds[: outcome.rounds]
        labels = {"clock": [clock.name], "contest": [case.workload.id]}
        labels.update({name: [word] for name, word in contestant.labels.items()})
        try:
            self._take_apart(case, contestant, samples, labels)
        except (RunStopped, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - the times stand, whatever a profiler meets
            labels["anatomy_failed"] = [in_one_line(error)]
        return Measurement(samples, labels)

    def _take_apart(
        self,
        case: ProfileCase,
        contestant: Contestant,
        samples: dict[str, list[float]],
        labels: dict[str, list[str]],
    ) -> None:
        device = torch.device(case.device)
        peak = matmul_flops_per_second(getattr(torch, case.dtype), device)
        samples["matmul_flops_per_second"] = list(peak)
        samples["self_ratio"] = list(noise.short(device))
        found = anatomy(contestant, device, compiled=case.compiled, timeline=case.trace)
        samples.update(found.samples)
        labels.update(found.labels)
        if case.trace and self._keep is not None:
            labels["trace"] = [self._keep(case, record_file(contestant, device))]


def _clock_rates(device: torch.device) -> dict[str, list[float]]:
    """How fast a GPU runs now, where its driver can be asked; nothing of a CPU."""
    if device.type == "cuda":
        # torch asks by a package that is not everywhere, and of a driver that may refuse.
        with suppress(Exception):
            return {"sm_clock_hertz": [1e6 * torch.cuda.clock_rate(device)]}
    return {}


def _reference(cases: Sequence[ProfileCase], outcomes: dict[str, Outcome]) -> Times | None:
    """What the ratios of this workload are taken to, if it ran to the end."""
    first = REFERENCES[cases[0].subject][0]
    found = next((outcomes[case.id] for case in cases if case.method == first), None)
    return found if isinstance(found, Times) else None


@contextmanager
def _compiled_anew() -> Iterator[None]:
    """Nothing that was compiled before is found, so that first calls show what compiling costs."""
    name = "TORCHINDUCTOR_CACHE_DIR"
    before = os.environ.get(name)
    torch.compiler.reset()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before


@contextmanager
def _cudnn_chooses_once() -> Iterator[None]:
    """Convolutions are chosen in the warm-up, as a training on a GPU has it."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def measurer(tools: Tools) -> Measure:
    """Measures profile cases, a workload at a time."""
    planned = [case for case in tools.plan if isinstance(case, ProfileCase)]
    return Profiler(planned, tools.keep_trace)
