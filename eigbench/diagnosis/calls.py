"""One call of `torch.linalg.eigh` or `svd` that `watch` sees, and its numbers.

What a device computes is read without waiting for the device.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

import msgspec
import torch
from torch import Tensor

from eigbench.diagnosis.interception import Operation
from eigbench.diagnosis.saved import OUTPUTS
from eigbench.runs.record import number

MOST_PENDING = 64
"""The largest number of readings that may be under way, and keep their matrices."""


@dataclass
class CallRecord:
    """What is known of one call. A number that has not arrived, or never will, is None."""

    step: int
    module: str
    operation: str
    shape: tuple[int, ...]
    dtype: str
    device: str
    smallest_relative_gap: float | None = None
    smallest_gap_by_norm: float | None = None
    """Divided by ‖M‖, the largest magnitude of an eigenvalue."""
    outputs_finite: bool | None = None
    upstream_norms: dict[str, float] = field(default_factory=dict)
    """Of the loss's gradients by the outputs, by the names of these."""
    gradient_norm: float | None = None
    """Of the gradient by M that the call gave."""

    def line(self) -> bytes:
        """As a line of JSON; NaN and infinities are words, as in a run's records."""

        def encoded(values: Mapping[str, object]) -> dict[str, object]:
            return {k: number(v) if isinstance(v, float) else v for k, v in values.items()}

        content = encoded(asdict(self)) | {"upstream_norms": encoded(self.upstream_norms)}
        return msgspec.json.encode(content) + b"\n"


class Call:
    """The tensors of one call, detached, for as long as its graph or its reading needs them.

    `outputs` and `gradients` go by the names in `OUTPUTS`.
    """

    def __init__(self, operation: Operation, M: Tensor, record: CallRecord, *, again: bool) -> None:
        self.operation = operation
        self.record = record
        self.again = again
        """Whether it repeats an earlier call for a backward pass, as a checkpoint does."""
        # A copy: what the caller later writes into M must not change what is saved.
        self.matrix = M.detach().clone()
        self.outputs: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}

    def returned(self, results: Sequence[Tensor]) -> Tensor:
        """Take over the results; gives both smallest gaps and whether all is finite, `(3,)`."""
        for name, result in zip(OUTPUTS[self.operation.name], results, strict=True):
            self.outputs[name] = self._as_torch_linalg(name, result)
        finite = torch.stack([output.isfinite().all() for output in self.outputs.values()]).all()
        return torch.stack([*self.smallest_gaps().double().amin(1).unbind(), finite.double()])

    def smallest_gaps(self) -> Tensor:
        """The smallest gap of each matrix, by the larger neighbour and by ‖M‖: `(2, batch)`.

        As `eigbench.spectra.relative_gaps` and `Neighbours.share` have them; infinite at n = 1.
        """
        svd = self.operation.name == "svd"
        values = self.outputs["singular values" if svd else "eigenvalues"]
        values = values.reshape(-1, values.shape[-1])
        if values.shape[-1] < 2:
            return values.new_full((2, len(values)), torch.inf)
        ascending = values.flip(-1) if svd else values
        upper = ascending[:, 1:]
        norms = values.abs().amax(-1, keepdim=True).expand_as(upper)
        magnitudes = torch.stack([upper.abs(), norms])
        gaps: Tensor = ascending.diff() / torch.where(magnitudes == 0, 1, magnitudes)
        return gaps.amin(-1)

    def watch_gradients(
        self, seen: Tensor, results: Sequence[Tensor], then: Callable[[Tensor], None]
    ) -> None:
        """Call `then` in each backward pass, with the norms `(outputs + 1,)` of its gradients.

        The last one is that of the gradient by M, `seen`; an output without a gradient has 0.
        """
        names = OUTPUTS[self.operation.name]
        for name, result in zip(names, results, strict=True):
            if result.requires_grad:
                result.register_hook(partial(self._arrived, name))  # type: ignore[no-untyped-call]

        def passed(gradient: Tensor | None) -> None:
            if gradient is None:
                return
            with torch.no_grad():
                zero = gradient.new_zeros((), dtype=torch.float64)
                norms = [_norm(self.gradients[n]) if n in self.gradients else zero for n in names]
                then(torch.stack([*norms, _norm(gradient)]))

        seen.register_hook(passed)  # type: ignore[no-untyped-call]

    def _arrived(self, name: str, gradient: Tensor | None) -> None:
        if gradient is not None:  # None: the loss does not depend on this output
            self.gradients[name] = self._as_torch_linalg(name, gradient)

    def _as_torch_linalg(self, name: str, tensor: Tensor) -> Tensor:
        turn = self.operation.gives_v and name == "right"
        return tensor.detach().mT if turn else tensor.detach()


def _norm(gradient: Tensor) -> Tensor:
    """In float64, in which the squares of float32 numbers do not overflow."""
    norm: Tensor = torch.linalg.vector_norm(gradient.detach(), dtype=torch.float64)
    return norm


class Reading:
    """Numbers `(k,)` on their way to the host: on CUDA copied to pinned memory, and an event."""

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self._event = None
        if values.is_cuda:
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(values.device))

    def ready(self) -> bool:
        """Whether `numbers` would not wait."""
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call]

    def numbers(self) -> list[float]:
        """The numbers, once they have arrived."""
        if self._event is not None:
            self._event.synchronize()
        numbers: list[float] = self._values.tolist()
        return numbers


class Queue:
    """Readings in the order in which they were started, each with what to do with its numbers."""

    def __init__(self) -> None:
        self._pending: deque[tuple[Reading, Callable[[list[float]], None]]] = deque()

    def push(self, reading: Reading, then: Callable[[list[float]], None]) -> None:
        """Add one, and deal with those that are ready."""
        self._pending.append((reading, then))
        self.drain()

    def drain(self, *, wait: bool = False) -> None:
        """Deal with the first ones that are ready; with all of them if `wait`."""
        while self._pending:
            reading, then = self._pending[0]
            if not (wait or len(self._pending) > MOST_PENDING or reading.ready()):
                return
            self._pending.popleft()
            then(reading.numbers())


@dataclass
class Sums:
    """Sums over all calls of one module and operation at one size; extremes with their step."""

    calls: int = 0
    differentiated: int = 0
    not_finite: int = 0
    """Calls of which an output or a gradient was not finite, or that raised."""
    smallest_relative_gap: tuple[float, int] = (math.inf, 0)
    smallest_gap_by_norm: tuple[float, int] = (math.inf, 0)
    largest_gradient: tuple[float, int] = (0.0, 0)


class Journal:
    """The last `keep` calls, and sums over all of them."""

    def __init__(self, keep: int) -> None:
        self.records: deque[CallRecord] = deque(maxlen=keep)
        self.sums: dict[tuple[str, str, str, str], Sums] = {}

    def _sums(self, record: CallRecord) -> Sums:
        size = "×".join(map(str, record.shape[-2:]))
        key = (record.module, record.operation, size, record.dtype)
        return self.sums.setdefault(key, Sums())

    def called(self, call: Call) -> None:
        """A call was made; one that repeats another is not counted."""
        if not call.again:
            self.records.append(call.record)
            self._sums(call.record).calls += 1

    def returned(self, call: Call, relative: float, share: float, *, finite: bool) -> None:
        """The numbers of the forward pass arrived."""
        record, sums = call.record, self._sums(call.record)
        record.smallest_relative_gap, record.smallest_gap_by_norm = relative, share
        record.outputs_finite = finite
        if call.again:
            return
        sums.not_finite += not finite
        # The earlier one first: it stays in a tie, and where the other is NaN.
        step = record.step
        sums.smallest_relative_gap = min(sums.smallest_relative_gap, (relative, step), key=_value)
        sums.smallest_gap_by_norm = min(sums.smallest_gap_by_norm, (share, step), key=_value)

    def passed(self, call: Call, upstream: dict[str, float], norm: float) -> None:
        """The numbers of a backward pass arrived."""
        record, sums = call.record, self._sums(call.record)
        record.upstream_norms, record.gradient_norm = upstream, norm
        sums.differentiated += 1
        if all(map(math.isfinite, (*upstream.values(), norm))):
            sums.largest_gradient = max(sums.largest_gradient, (norm, record.step), key=_value)
        else:
            sums.not_finite += 1


def _value(value_and_step: tuple[float, int]) -> float:
    return value_and_step[0]
