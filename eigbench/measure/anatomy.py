"""What one run consists of, apart from its time: work, memory, operators, phases, a timeline."""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, shape_wrapper

from eigbench.measure.measurement import Measurement
from eigbench.measure.timing import Contestant, clock_for
from eigbench.measure.trace import (
    Event,
    Trace,
    enclosing,
    inside,
    parents,
    peak_bytes,
    record,
    self_seconds,
)
from eigbench.methods.decomposition import OVERLOADS

OTHER = "other"
LONGEST_OPERATORS = 12
LONGEST_EVENTS = 400


def anatomy(
    contestant: Contestant, device: torch.device, *, compiled: bool, timeline: bool
) -> Measurement:
    """Metrics of one traced run. A compiled run's operations are not those that were counted."""
    samples: dict[str, list[float]] = {}
    if not compiled:
        samples.update({f"{name}_flops": [n] for name, n in flops(contestant).items() if n})
    samples["saved_bytes"] = [saved_bytes(contestant)]
    trace = record(contestant, device)
    parts = [_counts(trace, device), _phases(trace), _operators(trace)]
    if timeline:
        parts.append(_timeline(trace))
    labels: dict[str, list[str]] = {}
    for part in parts:
        samples.update(part.samples)
        labels.update(part.labels)
    return Measurement(samples, labels)


def _counts(trace: Trace, device: torch.device) -> Measurement:
    on_host = device.type != "cuda"
    samples: dict[str, list[float]] = {"peak_bytes": [peak_bytes(trace.memory, on_host=on_host)]}
    leaves = _leaves(trace.operators)
    for one in trace.passes:
        samples[f"{one.name}_operators"] = [len(inside(leaves, [one]))]
    if not on_host:
        samples["kernels"] = [len(trace.kernels)]
        samples["synchronisations"] = [len(trace.waits)]
    return Measurement(samples, {})


def _leaves(operators: Sequence[Event]) -> list[Event]:
    """The operators that call no other; what only wraps others is none."""
    with_children = {parent for parent in parents(operators) if parent is not None}
    return [
        operator
        for position, operator in enumerate(operators)
        if position not in with_children and not _wraps(operator)
    ]


def _called_directly(operators: Sequence[Event]) -> list[Event]:
    """The operators that no other operator called."""
    return [
        operator
        for operator, parent in zip(operators, parents(operators), strict=True)
        if not _wraps(operator) and (parent is None or _wraps(operators[parent]))
    ]


def _wraps(operator: Event) -> bool:
    """Whether it is a node of autograd's, or the call of a function, and no operator itself."""
    return operator.name.startswith("autograd::") or "::" not in operator.name


def _phases(trace: Trace) -> Measurement:
    """Time by pass and phase: of the device if it worked, else of the host; each once."""
    spent: dict[tuple[str, str], float] = defaultdict(float)
    passes, phases = trace.passes, trace.phases
    if trace.kernels:
        for kernel in trace.kernels:
            operator = trace.launcher(kernel)
            around = enclosing(operator, passes) if operator else None
            if operator is None or around is None:
                continue
            phase = enclosing(operator, [p for p in phases if p.lane == operator.lane])
            spent[around.name, phase.name if phase else OTHER] += kernel.seconds
    else:
        for phase, seconds in zip(phases, self_seconds(phases), strict=True):
            around = enclosing(phase, passes)
            if around is not None:
                spent[around.name, phase.name] += seconds
        for one in passes:
            named = sum(seconds for (name, _), seconds in spent.items() if name == one.name)
            spent[one.name, OTHER] = max(0.0, one.seconds - named)
    return Measurement(
        {"phase_seconds": list(spent.values())},
        {
            "phase": [phase for _, phase in spent],
            "phase_pass": [name for name, _ in spent],
            "phase_clock": ["device" if trace.kernels else "host"],
        },
    )


def _operators(trace: Trace) -> Measurement:
    """The operators that took longest by themselves, or whose kernels did."""
    seconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    operators = trace.operators
    if trace.kernels:
        for kernel in trace.kernels:
            launcher = trace.launcher(kernel)
            if launcher is not None:
                seconds[launcher.name] += kernel.seconds
    else:
        for operator, own in zip(operators, self_seconds(operators), strict=True):
            seconds[operator.name] += own
    for operator in operators:
        calls[operator.name] += 1
    longest = sorted(seconds, key=lambda name: -seconds[name])[:LONGEST_OPERATORS]
    return Measurement(
        {
            "operator_self_seconds": [seconds[name] for name in longest],
            "operator_calls": [calls[name] for name in longest],
        },
        {"operator": longest},
    )


def _timeline(trace: Trace) -> Measurement:
    """The longest events in their lanes, from the start of the first pass."""
    called = _called_directly(trace.operators)
    lanes = {"pass": trace.passes, "phase": trace.phases, "operators": called}
    for kernel in trace.kernels:
        lanes.setdefault(f"stream {kernel.lane[1]}", []).append(kernel)
    names = [name for name, events in lanes.items() if events]
    events = [(names.index(name), event) for name in names for event in lanes[name]]
    longest = sorted(events, key=lambda pair: -pair[1].seconds)[:LONGEST_EVENTS]
    longest.sort(key=lambda pair: (pair[0], pair[1].start))
    begin = min((one.start for one in trace.passes), default=0.0)
    return Measurement(
        {
            "event_start_seconds": [event.start - begin for _, event in longest],
            "event_seconds": [event.seconds for _, event in longest],
            "event_lane": [lane for lane, _ in longest],
        },
        {"event": [event.name for _, event in longest], "lane": names},
    )


_aten = torch.ops.aten

EIGH_FLOPS = 9
"""Times n³: the symmetric QR algorithm with eigenvectors (Golub and Van Loan, §8.3)."""
SVD_FLOPS = 21
"""Times n³: the Golub–Reinsch algorithm with both factors (Golub and Van Loan, §8.6)."""

PEAK_SAMPLES = 5
PEAK_SECONDS = 0.02
"""A sample of the peak lasts so long at least."""
PEAK_SIZE = {"cpu": 1024, "cuda": 8192}


def flops(contestant: Contestant) -> dict[str, int]:
    """By pass: products of matrices and convolutions exactly, decompositions by convention.

    Elementwise operations are not counted.
    """
    counted = {}
    state: Any = contestant.prepare()
    for name, step in contestant.passes.items():
        with _Counter() as counter:  # type: ignore[no-untyped-call]
            state = step(state)
        counted[name] = counter.found
    return counted


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts by torch's rules and by ours; torch's own imports the compiler, for a second."""

    found = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the first call imports it

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        rule = _RULES.get(func.overloadpacket)
        if rule is not None:
            self.found += rule(*args, **(kwargs or {}), out_val=out)
        return out


def _cubes(shape: Any) -> int:
    return int(math.prod(shape) * shape[-1])


_OURS = {
    _aten._linalg_eigh: lambda shape, *_, **__: EIGH_FLOPS * _cubes(shape),
    OVERLOADS: lambda shape, *_, **__: EIGH_FLOPS * _cubes(shape),
    _aten._linalg_svd: lambda shape, *_, **__: SVD_FLOPS * _cubes(shape),
    # A product of batches of matrices, added in place.
    _aten.baddbmm_: lambda _, left, right, *__, **___: 2 * math.prod(left) * right[-1],
}
_shaped: Callable[[Any], Any] = shape_wrapper
_RULES = {**flop_registry, **{operator: _shaped(rule) for operator, rule in _OURS.items()}}


def saved_bytes(contestant: Contestant) -> int:
    """Memory that the forward pass keeps for the backward pass, beyond inputs and parameters."""
    inputs = contestant.prepare()
    theirs = {_address(tensor) for tensor in (*inputs, *contestant.parameters)}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if _address(tensor) not in theirs:
            saved[_address(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    forward, *later = contestant.passes.values()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        state = forward(inputs)
    for step in later:  # the tensors are alive until here, so that no address counts for two
        state = step(state)
    return sum(saved.values())


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@functools.cache
def matmul_flops_per_second(dtype: torch.dtype, device: torch.device) -> tuple[float, ...]:
    """What a product of large matrices reaches here: raw samples, measured once a process."""
    n = PEAK_SIZE[device.type]
    if dtype == torch.float64 and device.type == "cuda":
        n //= 2
    # Random numbers: of ones a GPU makes a product faster than of anybody's data.
    generator = torch.Generator(device).manual_seed(0)
    left, right = (
        torch.randn(n, n, dtype=dtype, device=device, generator=generator) for _ in range(2)
    )
    clock = clock_for(device)

    def seconds(runs: int) -> float:
        clock.settle()
        first = clock.mark()
        for _ in range(runs):
            torch.mm(left, right)
        last = clock.mark()
        clock.settle()
        return clock.seconds(first, last) / runs

    seconds(1)
    runs = max(1, round(PEAK_SECONDS / max(seconds(1), 1e-9)))
    return tuple(2 * n**3 / seconds(runs) for _ in range(PEAK_SAMPLES))
