"""Which calls `watch` keeps as files: the first that fails, and the one with the smallest gap."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from eigbench.diagnosis import saved
from eigbench.diagnosis.calls import Call, smallest_gaps
from eigbench.diagnosis.journal import CallRecord
from eigbench.diagnosis.saved import SavedCall
from eigbench.diagnosis.subjects import Origin

FAILURE = "first-failure.pt"
FROM_ABOVE = "first-from-above.pt"
"""Of a gradient that was not finite before it reached the decomposition."""
CLOSEST = "closest.pt"


class Keeper:
    """Writes at most one file of each name into a folder that exists."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._closest: tuple[float, Call, CallRecord] | None = None

    def consider(self, call: Call, record: CallRecord, share: float) -> None:
        """Remember the call with the smallest gap by ‖M‖, and its matrices alone."""
        if self._closest is None or share < self._closest[0]:
            self._closest = (share, call, record)

    def failed(
        self,
        call: Call,
        record: CallRecord,
        cause: str,
        gradients: dict[str, Tensor],
        index: int | None,
    ) -> Path | None:
        """Write the first failure of its kind, at once; returns the file, or None if there is one.

        `index` is the place in the flattened batch, if it is known.
        """
        from_above = not all(bool(value.isfinite().all()) for value in gradients.values())
        path = self._folder / (FROM_ABOVE if from_above else FAILURE)
        if path.exists():
            return None
        if index is None:
            index = _first_failing(call, gradients)
        saved.write(path, one_of(call, record, cause, gradients, index))
        return path

    def close(self) -> None:
        """If nothing failed, write the call with the smallest gap."""
        failures = (self._folder / FAILURE, self._folder / FROM_ABOVE)
        if self._closest is None or any(path.exists() for path in failures):
            return
        _, call, record = self._closest
        cause = "nothing failed; this is the smallest gap by ‖M‖ that was met"
        saved.write(self._folder / CLOSEST, one_of(call, record, cause, {}, _closest_place(call)))


def one_of(
    call: Call, record: CallRecord, cause: str, gradients: dict[str, Tensor], index: int
) -> SavedCall:
    """One matrix of the batch of a call."""
    batch = call.matrix.shape[:-2]
    place = tuple(int(i) for i in torch.unravel_index(torch.tensor(index), batch)) if batch else ()
    origin = Origin(call.operation, cause, record.step, record.module, record.shape, place)
    return SavedCall(
        call.matrix[place],
        {name: value[place] for name, value in call.outputs.items()},
        {name: value[place] for name, value in gradients.items()},
        origin,
    )


def _first_failing(call: Call, gradients: dict[str, Tensor]) -> int:
    """The first matrix of the flattened batch that something is wrong with.

    If all numbers are finite, then its own backward pass was not, at the closest pair.
    """
    count = call.matrix.shape[:-2].numel()
    for tensors in ((call.matrix,), gradients.values(), call.outputs.values()):
        for tensor in tensors:
            finite = tensor.isfinite().reshape(count, -1).all(dim=-1)
            if not finite.all():
                return int(finite.logical_not().int().argmax())
    return _closest_place(call)


def _closest_place(call: Call) -> int:
    """The matrix of the flattened batch with the smallest gap."""
    svd = call.operation == "svd"
    values = call.outputs["singular values" if svd else "eigenvalues"]
    flat = values.reshape(-1, values.shape[-1])
    shares = [float(smallest_gaps(one, descending=svd)[1]) for one in flat]
    return min(range(len(shares)), key=shares.__getitem__)
