"""One call of a decomposition: its record, its tensors, and the numbers of both.

What a device computes is read without waiting for the device.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from eigbench.diagnosis.calls import Aside, values_of
from eigbench.diagnosis.matrices import OUTPUTS, Decomposition, SavedCall, write_call
from eigbench.runs.record import number

PSEUDO_INVERSE = "pseudo-inverse"
"""The name of the gradient by what `pinv` returns."""
_BY_M = "M"
VECTORS = frozenset({"eigenvectors", "left", "right"})
"""The outputs that have signs, or phases."""
MOST_PENDING = 64
"""The largest number of readings that may be under way, and keep their matrices."""


@dataclass
class CallRecord:
    """What is known of one call. A number that has not arrived, or never will, is None."""

    step: int
    module: str
    operation: str
    """The function of torch, such as "eigh", "svdvals" or "pinv"."""
    shape: tuple[int, ...]
    dtype: str
    """In which it was decomposed."""
    device: str
    given_dtype: str = ""
    """In which M was before it was cast to be decomposed; empty if it was not cast."""
    smallest_relative_gap: float | None = None
    smallest_gap_by_norm: float | None = None
    """Divided by ‖M‖, the largest magnitude of an eigenvalue."""
    outputs_finite: bool | None = None
    upstream_norms: dict[str, float] = field(default_factory=dict)
    """Of the loss's gradients by the outputs, by the names of these."""
    gradient_norm: float | None = None
    """Of the gradient by M that the call gave."""
    gauge_residual: float | None = None
    """How much the loss depends on phases of complex vectors: |Im A[i,i]|/‖A‖, `A = Vᴴ ∂L/∂V`."""

    def line(self) -> bytes:
        """As a line of JSON; NaN and infinities are words, as in a run's records."""

        def encoded(values: Mapping[str, object]) -> dict[str, object]:
            return {k: number(v) if isinstance(v, float) else v for k, v in values.items()}

        content = encoded(asdict(self)) | {"upstream_norms": encoded(self.upstream_norms)}
        return msgspec.json.encode(content) + b"\n"


Told = Callable[["Call", dict[str, Tensor], Tensor], None]
"""Is called with gradients by outputs, and numbers that they have."""


class Call:
    """The tensors of one call, detached, for as long as its graph or its reading needs them.

    `outputs` go by the names in `OUTPUTS`; without vectors where only values were computed.
    """

    def __init__(
        self, kind: Decomposition, M: Tensor, record: CallRecord, passed: Told, arrived: Told
    ) -> None:
        self.kind = kind
        self.record = record
        self.again = torch._C._current_graph_task_id() != -1
        """Whether it repeats an earlier call for a backward pass, as a checkpoint does."""
        # A copy: what the caller later writes into M must not change what is saved.
        self.matrix = M.detach().clone()
        self.outputs: dict[str, Tensor] = {}
        self._passed, self._arrived = passed, arrived
        self._ranks: Tensor | None = None
        """Of a pseudo-inverse, one of each matrix of the batch."""

    def returned(self, results: Sequence[Tensor]) -> Tensor:
        """Take over the results; gives both smallest gaps and whether all is finite, `(3,)`."""
        for name, result in zip(OUTPUTS[self.kind], results, strict=True):
            if result.numel() > 0:
                self.outputs[name] = result.detach()
        finite = torch.stack([output.isfinite().all() for output in self.outputs.values()]).all()
        return torch.stack([*self.smallest_gaps().double().amin(1).unbind(), finite.double()])

    def smallest_gaps(self) -> Tensor:
        """The smallest gap of each matrix, by the larger neighbour and by ‖M‖: `(2, batch)`.

        As `eigbench.spectra.relative_gaps` and `Neighbours.share` have them; infinite at n = 1.
        """
        svd = self.kind == "svd"
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

    def follow(self, node: Any, M: Tensor, results: Sequence[Tensor]) -> None:
        """Call `passed` in each backward pass, with the gradients and their norms.

        The norms are one for each gradient, and last that of the gradient by M that `node` gave.
        Of complex vectors `arrived` is called before, since torch may refuse to go on, with the
        gradients and the gauge residual of each matrix.
        """
        inside = values_of(M)
        if inside is None or inside.shape != self.matrix.shape:
            return
        self.record.given_dtype = cast_from(M)
        names: Sequence[str] = OUTPUTS[self.kind]
        if len(results) == 1:
            names = (PSEUDO_INVERSE,)
            inverse = values_of(results[0])
            if inverse is not None:  # the trace of a projector is its rank
                self._ranks = (self.matrix * inverse.mT).sum((-2, -1)).real.reshape(-1)

        def passed(by_M: Sequence[Tensor | None], upstream: Sequence[Tensor | None]) -> None:
            with _apart():
                gradients = _values([*names, _BY_M], [*upstream, *by_M])
                if _BY_M in gradients:
                    norms = torch.stack([*map(_norm, gradients.values())])
                    del gradients[_BY_M]
                    self._passed(self, gradients, norms)

        def arriving(upstream: Sequence[Tensor | None]) -> None:
            with _apart():
                gradients = _values(names, upstream)
                if gradients.keys() & VECTORS:
                    self._arrived(self, gradients, self._gauge_residuals(gradients))

        if self.matrix.is_complex() and self.outputs.keys() & VECTORS and len(results) > 1:
            node.register_prehook(arriving)
        node.register_hook(passed)

    def _gauge_residuals(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """The largest |Im A[i,i]| by the norm of the gradients, of each matrix: `(batch,)`."""
        phases, norms = [], []
        for name in gradients.keys() & VECTORS:
            V, by_V = self.outputs[name], gradients[name]
            if name == "right":
                V, by_V = V.mH, by_V.mH
            k = min(self.matrix.shape[-2:])
            phases.append((V.conj() * by_V).sum(-2).imag[..., :k])
            norms.append(torch.linalg.vector_norm(by_V, dim=(-2, -1)))
        largest = torch.stack(phases).sum(0).abs().amax(-1)
        norm = torch.stack(norms).sum(0)
        residuals: Tensor = largest / torch.where(norm == 0, 1, norm)
        return residuals.reshape(-1)

    def save(self, path: Path, cause: str, gradients: Mapping[str, Tensor], index: int) -> None:
        """Write one matrix of the batch, by its index in the flattened batch."""
        batch, record = self.matrix.shape[:-2], self.record
        place = tuple(map(int, torch.unravel_index(torch.tensor(index), batch))) if batch else ()
        outputs = {name: value[place] for name, value in self.outputs.items()}
        chosen = {name: value[place] for name, value in gradients.items()}
        if PSEUDO_INVERSE in chosen:
            rank = torch.inf if self._ranks is None else float(self._ranks[index])
            chosen = _through_pairs(outputs, chosen[PSEUDO_INVERSE], rank)
        saved = SavedCall(
            operation=record.operation,
            cause=cause,
            step=record.step,
            module=record.module,
            shape=record.shape,
            place=place,
            given_dtype=record.given_dtype,
            matrix=self.matrix[place],
            decomposition=self.kind,
            outputs=outputs,
            gradients=chosen,
        )
        write_call(path, saved)

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


@contextmanager
def _apart() -> Iterator[None]:
    """`Aside` in a backward pass, where transforms may be at work."""
    transformed = torch._C._are_functorch_transforms_active()
    with Aside(), temporarily_clear_interpreter_stack() if transformed else nullcontext():
        yield


def _values(names: Sequence[str], gradients: Sequence[Tensor | None]) -> dict[str, Tensor]:
    """The plain tensors of gradients; none where vmap batches outside of this call."""
    given = {n: values_of(one) for n, one in zip(names, gradients, strict=True) if one is not None}
    found = {name: one.detach() for name, one in given.items() if one is not None}
    return found if len(found) == len(given) else {}


def cast_from(M: Tensor) -> str:
    """The dtype that M was cast from just before, as by autocast; empty if its graph shows none."""
    node = M.grad_fn
    if node is None or node.name() != "ToCopyBackward0":
        return ""
    source, output = node.next_functions[0]
    if source is None:
        return ""
    leaf = getattr(source, "variable", None)
    before = source._input_metadata[output].dtype if leaf is None else leaf.dtype
    return "" if before == M.dtype else str(before).removeprefix("torch.")


def _through_pairs(
    outputs: Mapping[str, Tensor], gradient: Tensor, rank: float
) -> dict[str, Tensor]:
    """The gradients by a matrix's eigenpairs or triples, of that by its pseudo-inverse `(n, m)`."""
    parts = {name: value.clone().requires_grad_() for name, value in outputs.items()}
    with torch.enable_grad():
        *left, values, right = parts.values()
        U, V = (left[0], right.mH) if left else (right, right)
        # The rank that torch found, by its own tolerance or the caller's.
        order = values.detach().abs().argsort(descending=True).argsort()
        kept = order < (torch.inf if math.isnan(rank) else round(rank))
        inverse = (V * torch.where(kept, values, torch.inf).reciprocal()) @ U.mH
        found = torch.autograd.grad(inverse, list(parts.values()), gradient)
    return dict(zip(parts, found, strict=True))


def _norm(gradient: Tensor) -> Tensor:
    """In float64, in which the squares of float32 numbers do not overflow."""
    double = torch.complex128 if gradient.is_complex() else torch.float64
    norm: Tensor = torch.linalg.vector_norm(gradient, dtype=double)
    return norm


class Reading:
    """Numbers `(k,)` on their way to the host: on CUDA copied to pinned memory, and an event."""

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self._event = None
        if values.is_cuda:
            self._values = torch.empty(
                values.shape, dtype=values.dtype, device="cpu", pin_memory=True
            )
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
