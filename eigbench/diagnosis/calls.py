"""Calls of `torch.linalg.eigh` and `svd`: how they are seen, and the numbers of one.

While something observes, the names by which modules know these functions are bound to other ones;
all else is as fast as before. A `torch.overrides.TorchFunctionMode` would see every other call of
torch too, which costs 3 µs each: a fifth of a step of ResNet18 on a small batch. What a device
computes is read without waiting for the device.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from eigbench.diagnosis.matrices import OUTPUTS, Origin, write_call
from eigbench.runs.record import number

MOST_PENDING = 64
"""The largest number of readings that may be under way, and keep their matrices."""


@dataclass(frozen=True)
class Operation:
    """A function of torch that decomposes matrices."""

    name: str
    """"eigh" or "svd"."""
    function: Callable[..., Any]
    gives_v: bool = False
    """Whether it returns V where `torch.linalg.svd` returns Vᴴ, as the older two do."""


OPERATIONS = (
    Operation("eigh", torch.linalg.eigh),
    Operation("svd", torch.linalg.svd),
    Operation("svd", torch.svd, gives_v=True),
)
METHOD = Operation("svd", torch.Tensor.svd, gives_v=True)
"""The method of a tensor."""

Observer = Callable[..., Any]
"""Called as `observer(operation, function, *args, **kwargs)` in place of a watched function.

It calls `function`, that of `operation` or another observer's, once, and returns its result.
"""


class _Local(threading.local):
    unobserved = False


_observers: list[Observer] = []
_lock = threading.Lock()
_bindings = ExitStack()
_local = _Local()


@contextmanager
def intercepted(observer: Observer) -> Iterator[None]:
    """Inside, `observer` makes the calls of all threads; one that is added later comes first."""
    with _lock:
        if not _observers:
            _bind()
        _observers.append(observer)
    try:
        yield
    finally:
        with _lock:
            _observers.remove(observer)
            if not _observers:
                _bindings.close()


@contextmanager
def unobserved() -> Iterator[None]:
    """Inside, no observer sees the calls of this thread: a diagnosis makes calls itself."""
    before, _local.unobserved = _local.unobserved, True
    try:
        yield
    finally:
        _local.unobserved = before


def _bind() -> None:
    """Put an observed twin in the place of each function, in every module and under every name."""
    twins = {id(operation.function): _observed(operation) for operation in OPERATIONS}
    for name, module in list(sys.modules.items()):
        # Inside torch they are looked up in these two.
        if name.startswith("torch.") and name != "torch.linalg":
            continue
        for key, value in list(getattr(module, "__dict__", {}).items()):
            twin = twins.get(id(value))
            if twin is not None:
                setattr(module, key, twin)
                _bindings.callback(setattr, module, key, value)
    # The method is inherited: to delete the twin is to have it back.
    torch.Tensor.svd = _observed(METHOD)  # type: ignore[method-assign]
    _bindings.callback(delattr, torch.Tensor, "svd")


def _observed(operation: Operation) -> Callable[..., Any]:
    @functools.wraps(operation.function)
    def observed(*args: Any, **kwargs: Any) -> Any:
        function = operation.function
        for observer in () if _local.unobserved else tuple(_observers):
            function = functools.partial(observer, operation, function)
        return function(*args, **kwargs)

    return observed


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
                result.register_hook(functools.partial(self._arrived, name))  # type: ignore[no-untyped-call]

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

    def save(self, path: Path, cause: str, gradients: Mapping[str, Tensor], index: int) -> None:
        """Write one matrix of the batch, by its index in the flattened batch."""
        batch, record = self.matrix.shape[:-2], self.record
        place = tuple(map(int, torch.unravel_index(torch.tensor(index), batch))) if batch else ()
        write_call(
            path,
            self.matrix[place],
            {name: value[place] for name, value in self.outputs.items()},
            {name: value[place] for name, value in gradients.items()},
            Origin(record.operation, cause, record.step, record.module, record.shape, place),
        )

    def first_failing(self, gradients: Mapping[str, Tensor]) -> int:
        """The index in the flattened batch of the first matrix of which something is not finite.

        If all numbers are finite, then its own backward pass was not, at the closest pair.
        """
        count = self.matrix.shape[:-2].numel()
        for tensor in (self.matrix, *gradients.values(), *self.outputs.values()):
            finite = tensor.isfinite().reshape(count, -1).all(dim=-1)
            if not finite.all():
                return int(finite.logical_not().int().argmax())
        return int(self.smallest_gaps()[1].argmin())

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
