"""One watched call of `torch.linalg.eigh` or `svd`: its numbers, and those of its gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from eigbench.diagnosis.saved import OUTPUTS


class Call:
    """The tensors of one call, detached, for as long as its graph or its reading needs them.

    `outputs` and `gradients` go by the names in `OUTPUTS`.
    """

    def __init__(self, operation: str, M: Tensor) -> None:
        self.operation = operation
        # A copy: what the caller later writes into M must not change what is saved.
        self.matrix = M.detach().clone()
        self.outputs: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}

    def returned(self, results: Sequence[Tensor], *, gives_v: bool) -> Tensor:
        """Take over the results; gives both smallest gaps and whether all is finite, `(3,)`."""
        names = OUTPUTS[self.operation]
        for name, result in zip(names, results, strict=True):
            turn = gives_v and name == "right"
            self.outputs[name] = result.detach().mT if turn else result.detach()
        values = results[1] if self.operation == "svd" else results[0]
        gaps = smallest_gaps(values.detach(), descending=self.operation == "svd")
        finite = torch.stack([result.detach().isfinite().all() for result in results]).all()
        return torch.stack([*gaps.double().unbind(), finite.double()])

    def watch_gradients(
        self,
        seen: Tensor,
        results: Sequence[Tensor],
        then: Callable[[Tensor], None],
        *,
        gives_v: bool,
    ) -> None:
        """Call `then` in each backward pass, with the norms `(outputs + 1,)` of its gradients.

        The last one is that of the gradient by M, `seen`; an output without a gradient has 0.
        """
        names = OUTPUTS[self.operation]
        for name, result in zip(names, results, strict=True):
            if result.requires_grad:
                hook = self._arrived(name, turn=gives_v and name == "right")
                result.register_hook(hook)  # type: ignore[no-untyped-call]

        def passed(gradient: Tensor | None) -> None:
            if gradient is None:
                return
            with torch.no_grad():
                zero = gradient.new_zeros((), dtype=torch.float64)
                norms = [_norm(self.gradients[n]) if n in self.gradients else zero for n in names]
                then(torch.stack([*norms, _norm(gradient)]))

        seen.register_hook(passed)  # type: ignore[no-untyped-call]

    def _arrived(self, name: str, *, turn: bool) -> Callable[[Tensor | None], None]:
        def arrived(gradient: Tensor | None) -> None:
            if gradient is None:  # of an output that the loss does not depend on
                return
            self.gradients[name] = gradient.detach().mT if turn else gradient.detach()

        return arrived


def smallest_gaps(values: Tensor, *, descending: bool) -> Tensor:
    """The smallest gaps `(2,)` of a batch `(..., n)`, by the larger of two neighbours and by ‖M‖.

    As `eigbench.spectra.relative_gaps` and `Pair.share` have them, on the device of `values`.
    Both are infinite where n is 1.
    """
    if values.shape[-1] < 2:
        return values.new_full((2,), torch.inf)
    lower, upper = values[..., :-1], values[..., 1:]
    if descending:
        lower, upper = upper, lower
    gaps = upper - lower
    magnitudes = torch.stack([upper.abs(), values.abs().amax(-1, keepdim=True).expand_as(upper)])
    scaled: Tensor = gaps / torch.where(magnitudes == 0, 1, magnitudes)
    return scaled.flatten(1).amin(1)


def _norm(gradient: Tensor) -> Tensor:
    """In float64, in which the squares of what float32 holds do not overflow."""
    norm: Tensor = torch.linalg.vector_norm(gradient.detach(), dtype=torch.float64)
    return norm
