"""What `watch` remembers: a line for each of the last calls, and sums over all of them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from eigbench.diagnosis.document import Block, Grid, Paragraph
from eigbench.diagnosis.writing import number
from eigbench.report.markdown import NOTHING
from eigbench.runs.record import number as encoded


@dataclass
class CallRecord:
    """One call. A number that has not arrived, or never will, is None."""

    step: int
    module: str
    operation: str
    shape: tuple[int, ...]
    dtype: str
    device: str
    smallest_relative_gap: float | None = None
    smallest_gap_by_norm: float | None = None
    """By ‖M‖, the largest magnitude of an eigenvalue."""
    outputs_finite: bool | None = None
    upstream_norms: dict[str, float] = field(default_factory=dict)
    """Of the loss's gradients by the outputs, by the names of these."""
    gradient_norm: float | None = None
    """Of the gradient by M that the call gave."""
    again: bool = False
    """Whether it repeats an earlier call for a backward pass, as a checkpoint does."""

    def line(self) -> bytes:
        """As a line of JSON; NaN and infinities are words, as in a run's records."""
        content = {
            "step": self.step,
            "module": self.module,
            "operation": self.operation,
            "shape": self.shape,
            "dtype": self.dtype,
            "device": self.device,
            "smallest_relative_gap": _encoded(self.smallest_relative_gap),
            "smallest_gap_by_norm": _encoded(self.smallest_gap_by_norm),
            "outputs_finite": self.outputs_finite,
            "upstream_norms": {k: _encoded(v) for k, v in self.upstream_norms.items()},
            "gradient_norm": _encoded(self.gradient_norm),
        }
        return msgspec.json.encode(content)


@dataclass
class Sums:
    """Over all calls of one module and operation at one size."""

    calls: int = 0
    relative_gap: float = math.inf
    relative_gap_step: int = 0
    share: float = math.inf
    """The smallest gap by ‖M‖."""
    share_step: int = 0
    differentiated: int = 0
    largest_gradient: float = 0.0
    largest_gradient_step: int = 0
    not_finite: int = 0
    """Calls of which an output or a gradient was not finite, or that raised."""


class Journal:
    """The last `keep` calls, and sums."""

    def __init__(self, keep: int) -> None:
        self.records: deque[CallRecord] = deque(maxlen=keep)
        self.sums: dict[tuple[str, str, str, str], Sums] = {}

    @property
    def calls(self) -> int:
        """How many calls there were."""
        return sum(one.calls for one in self.sums.values())

    @property
    def differentiated(self) -> int:
        """Through how many of them a gradient came."""
        return sum(one.differentiated for one in self.sums.values())

    def sums_of(self, record: CallRecord) -> Sums:
        """The sums that a call belongs to."""
        size = "×".join(map(str, record.shape[-2:]))
        key = (record.module, record.operation, size, record.dtype)
        return self.sums.setdefault(key, Sums())

    def called(self, record: CallRecord) -> None:
        """A call was made; one that repeats another is not counted."""
        if not record.again:
            self.records.append(record)
            self.sums_of(record).calls += 1

    def returned(self, record: CallRecord, relative: float, share: float, *, finite: bool) -> None:
        """The numbers of the forward pass."""
        record.smallest_relative_gap, record.smallest_gap_by_norm = relative, share
        record.outputs_finite = finite
        if record.again:
            return
        sums = self.sums_of(record)
        sums.not_finite += not finite
        if relative < sums.relative_gap:
            sums.relative_gap, sums.relative_gap_step = relative, record.step
        if share < sums.share:
            sums.share, sums.share_step = share, record.step

    def passed(self, record: CallRecord, upstream: dict[str, float], norm: float) -> None:
        """The numbers of a backward pass."""
        record.upstream_norms, record.gradient_norm = upstream, norm
        sums = self.sums_of(record)
        sums.differentiated += 1
        if not all(map(math.isfinite, (*upstream.values(), norm))):
            sums.not_finite += 1
        elif norm > sums.largest_gradient:
            sums.largest_gradient, sums.largest_gradient_step = norm, record.step

    def lines(self) -> bytes:
        """The records as JSON lines."""
        return b"".join(record.line() + b"\n" for record in self.records)

    def blocks(self) -> Iterator[Block]:
        """The sums as a table, and what is missing in it."""
        if self.calls == 0:
            yield Paragraph(
                "No call of `torch.linalg.eigh` or `torch.linalg.svd` was seen. Calls in compiled "
                "code or under a transform of `torch.func` cannot be seen."
            )
            return
        yield Grid(
            (
                "module, operation",
                "size",
                "calls",
                "smallest relative gap",
                "smallest gap by ‖M‖",
                "largest gradient by M",
                "not finite",
            ),
            tuple(self._rows()),
        )
        if self.differentiated == 0:
            yield Paragraph(
                "No gradient came through any of these calls. That is so in evaluation, before "
                "`backward()`, and inside methods that have a backward pass of their own, as "
                "those of eigbench have."
            )

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for (module, operation, size, dtype), sums in self.sums.items():
            relative = share = gradient = NOTHING
            if math.isfinite(sums.relative_gap):
                relative = f"{number(sums.relative_gap)} at step {sums.relative_gap_step}"
                share = f"{number(sums.share)} at step {sums.share_step}"
            if sums.differentiated:
                gradient = f"{number(sums.largest_gradient)} at step {sums.largest_gradient_step}"
            name = f"`{module}`, {operation}" if module else operation
            what = f"{size}, {dtype}"
            yield name, what, str(sums.calls), relative, share, gradient, str(sums.not_finite)


def _encoded(value: float | None) -> float | str | None:
    return None if value is None else encoded(value)
