"""Second derivatives: right, or refused; never wrong in silence."""

from __future__ import annotations

import torch
from torch import Tensor

from eigbench.contract.check import check
from eigbench.contract.finding import Log, in_one_line
from eigbench.contract.matrices import separated, weights
from eigbench.contract.subject import Loss, Subject, gradient, losses, relative
from eigbench.errors import NotApplicable
from eigbench.measure.differentiate import symmetric_directions

STEP = 1e-3
"""Of a five-point stencil: its own error is about (1e-3/gap)⁴, 1e-9 at the gaps of 1/4 here."""
ERROR = 1e-6
ALLOWANCE = 100
"""Of an approximate gradient's own error. One that forgets a dependence on M is off by tenths."""


@check("second derivative", "that of the method's own gradient, or NotImplementedError")
def second(subject: Subject, log: Log) -> None:
    """Against differences of its own gradient.

    Autograd takes the second derivative through the first. Where that is approximate this may be,
    and by more: every factor of it has the coefficient of the closest pair. To refuse is to raise
    `NotImplementedError`; torch's `once_differentiable` is not enough, since `torch.autograd.grad`
    goes round it.
    """
    n = 3
    M = separated(n)
    truths = losses(subject, subject.converged, n, M.dtype)
    refusals = []
    for name, loss in truths.items():
        smooth = _with_another_part(loss)
        with log.at(name):
            try:
                found = _slopes_by_autograd(smooth, M)
            except NotImplementedError as error:
                refusals.append(in_one_line(error))
                continue
            allowed = max(ERROR, ALLOWANCE * _first_error(loss, M))
            truth = _slopes_by_differences(smooth, M)
            log.within("relative error", relative(found, truth), allowed)
    if not log.readings:
        raise NotApplicable(f"refused: {refusals[0]}")


def _with_another_part(loss: Loss) -> Loss:
    """A part that has a second derivative, so that a method without one cannot hide behind it."""
    return lambda M: loss(M) + (M**3).sum()


def _slopes_by_autograd(loss: Loss, M: Tensor) -> Tensor:
    """The derivative of ⟨E, ∂L/∂M⟩ in each symmetric direction."""
    X = M.clone().requires_grad_()
    (G,) = torch.autograd.grad(loss(X), X, create_graph=True)
    (slope,) = torch.autograd.grad((_direction(M) * G).sum(), X)
    return (_directions(M) * slope).sum((-2, -1))


def _slopes_by_differences(loss: Loss, M: Tensor) -> Tensor:
    """The same from four gradients in each direction."""

    def at(steps: int) -> Tensor:
        moved = M + steps * STEP * _directions(M)
        return torch.stack([(_direction(M) * gradient(loss, one)).sum() for one in moved])

    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * STEP)


def _first_error(loss: Loss, M: Tensor) -> float:
    """Of the gradient, against differences of the loss that it is the gradient of."""

    def at(steps: int) -> Tensor:
        return torch.stack([loss(one).detach() for one in M + steps * STEP * _directions(M)])

    slopes = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * STEP)
    found = (_directions(M) * gradient(loss, M)).sum((-2, -1))
    return relative(found, slopes)


def _direction(M: Tensor) -> Tensor:
    return torch.tensor(weights(M.shape[-1]), dtype=M.dtype)


def _directions(M: Tensor) -> Tensor:
    return torch.tensor(symmetric_directions(M.shape[-1]), dtype=M.dtype)
