"""What every gradient is, whatever it approximates: symmetric, the same again, and its rule's.

A second derivative is right, or refused; never wrong in silence.
"""

from __future__ import annotations

import itertools
import warnings
from functools import partial

import torch
from torch import Tensor

from eigbench.contract.check import Log, check
from eigbench.contract.formulas import FORMULAS, formula_gradients
from eigbench.contract.subject import (
    ROUNDING,
    Loss,
    Subject,
    gradient,
    in_double,
    losses,
    name_of,
    pair_loss,
    relative,
    sample,
    separated,
    weights,
)
from eigbench.errors import NotApplicable, in_one_line
from eigbench.losses import LOSSES
from eigbench.measure.differentiate import differentiate, directions_of

SINGLE_ROUNDINGS = 200
"""Condition number 20 and gaps of a half: some hundred roundings of float32 at most."""


OWN_LOSSES = ("whitening", "square-root", "reconstruction", "subspace", "eigenvector")
OWN = (
    ("wide gaps, float64", (0.3, 0.6, 1.0), torch.float64, 1e-12),
    ("wide gaps, float32", (0.3, 0.6, 1.0), torch.float32, 1e-3),
    ("a gap of 1e-4, float64", (0.3, 1.0, 1.0001), torch.float64, 1e-6),
    ("wide gaps, complex128", (0.3, 0.6, 1.0), torch.complex128, 1e-12),
)
"""A gap of 1e-4 costs four digits of sixteen, and `implicit`, which solves by it, eight."""


def _losses(subject: Subject, n: int, dtype: torch.dtype = torch.float64) -> dict[str, Loss]:
    return losses(subject, subject.method, n, dtype)


@check("symmetric gradient", "∂L/∂M is a symmetric or Hermitian matrix, whatever the loss")
def symmetric(subject: Subject, log: Log) -> None:
    """Through losses that are not symmetric themselves; of real vectors they depend on signs."""
    n = 5
    subject.require_dtype(torch.float64)
    W = torch.arange(float(n * n), dtype=torch.float64).reshape(n, n) / n

    def of_pairs(M: Tensor) -> Tensor:
        values, V = subject.method.eigh(M)
        return ((V.abs() ** 2 if M.is_complex() else V) * W).sum() + values.sum()

    def of_whitening(M: Tensor) -> Tensor:
        return (W * subject.method.whitening(M)).sum().real

    chosen = {"eigenpairs": of_pairs} if subject.has_pairs else {}
    if subject.whitens:
        chosen["whitening"] = of_whitening
    for dtype in subject.double:
        for name, loss in chosen.items() or _losses(subject, n, dtype).items():
            with log.at(f"{name}, {name_of(dtype)}"):
                G = gradient(loss, separated(n, (3,), dtype))
                log.within("‖G − Gᴴ‖/‖G‖", relative(G.mH, G), ROUNDING)


@check("phases", "of complex M a loss that depends on phases raises, or warns, or gives NaN")
def phases(subject: Subject, log: Log) -> None:
    """Eigenvectors are known up to a phase, so such a loss has no derivative."""
    subject.require_pairs()
    subject.require_dtype(torch.complex128)
    for share in (1.0, 1e-5):
        with log.at(f"{share:g} Re v, and λ"), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            X = separated(5, dtype=torch.complex128).requires_grad_()
            values, V = subject.method.eigh(X)
            W = weights(5, V.dtype)
            loss = _with_phases(share, values, V, W)
            try:
                (G,) = torch.autograd.grad(loss, X)
            except RuntimeError as refusal:
                said = "phase" in str(refusal)
            else:
                about = any("phase" in str(one.message) for one in warned)
                said = about or bool(G.isnan().any())
            log.holds("outcome", condition=said, found=said, allowed="an error or a warning")


def _with_phases(share: float, values: Tensor, V: Tensor, W: Tensor) -> Tensor:
    invariant: Tensor = pair_loss(values, V, W, torch.arange(5))
    return share * V.real.sum() + (share != 1) * invariant


@check("own formula", "the gradient that the method's own formula gives in 60 digits")
def own_formula(subject: Subject, log: Log) -> None:
    """For each spectral loss, at wide gaps and beside a narrow one; with the default parameters.

    A method need not have a formula.
    """
    method = subject.method
    if method.name not in FORMULAS:
        raise NotApplicable("it has no formula in 60 digits, which is optional")
    for (spectrum, values, dtype, allowed), name in itertools.product(OWN, OWN_LOSSES):
        W = weights(3, torch.complex128 if dtype.is_complex else torch.float64)[None]
        known = sample(values, hermitian=dtype.is_complex)
        function = LOSSES[name].function(known.eigenvalues)
        if dtype not in method.dtypes or method.function_refusal(function) is not None:
            continue
        with log.at(f"{name}, {spectrum}"):
            M = torch.tensor(known.matrices()).to(dtype)
            found = differentiate(method, M, function, W.to(dtype)).gradient
            rounding = torch.finfo(dtype).eps
            exact = (in_double(M).numpy(), W.numpy())
            own = formula_gradients(method, *exact, function, rounding)
            assert own is not None  # noqa: S101  # these losses are known there
            log.within("relative error", relative(found, torch.from_numpy(own)), allowed)
    if not log.readings:
        raise NotApplicable("it takes none of the losses")


@check("precision", "the float32 gradient is the float64 one up to rounding")
def precision(subject: Subject, log: Log) -> None:
    """On a well-conditioned matrix with wide gaps."""
    M = separated(5, dtype=torch.float32)
    allowed = SINGLE_ROUNDINGS * torch.finfo(M.dtype).eps * subject.method.cancellation
    double, single = (
        losses(subject, subject.converged, 5, dtype) for dtype in (torch.float64, torch.float32)
    )
    for name, loss in single.items():
        with log.at(name):
            G = gradient(loss, M)
            log.equal("dtype", G.dtype, torch.float32)
            error = relative(G, gradient(double[name], M.double()))
            log.within("relative error", error, allowed)


@check("neighbours", "a gradient does not depend on the other matrices of its batch")
def neighbours(subject: Subject, log: Log) -> None:
    """Among them larger and smaller ones, and an exact tie, which must not spread its NaN."""
    own = separated(5, (2, 2))
    around = torch.stack([own[0, 0] * 1e3, torch.eye(5, dtype=own.dtype), own[0, 1] * 1e-3])
    for name, loss in _losses(subject, 5).items():
        with log.at(name):
            together = gradient(loss, torch.cat([own[1], around]))[:2]
            apart = torch.stack([gradient(loss, one) for one in own[1]])
            log.within("relative difference", relative(together, apart), ROUNDING)


@check("reproducible", "the same call gives the same bits")
def reproducible(subject: Subject, log: Log) -> None:
    """Twice in one process."""
    M = separated(5, (2,))
    for name, loss in _losses(subject, 5).items():
        with log.at(name):
            same = torch.equal(gradient(loss, M), gradient(loss, M))
            log.equal("same gradient", same, wanted=True)


@check("vmap", "torch.func.vmap of torch.func.grad is the loop over the batch")
def vmap(subject: Subject, log: Log) -> None:
    """As for gradients per sample."""
    M = separated(4, (3,))
    for name, loss in _losses(subject, 4).items():
        with log.at(name):
            mapped: Tensor = torch.func.vmap(torch.func.grad(loss))(M)
            looped = torch.stack([gradient(loss, one) for one in M])
            log.within("relative difference", relative(mapped, looped), ROUNDING)


@check("torch.compile", "compiles without a graph break to the same loss and gradient")
def compiles(subject: Subject, log: Log) -> None:
    """By backend `aot_eager`: all of the tracing, no code generation."""
    M = separated(3)
    # One is enough, and tracing takes seconds where a method unrolls its iterations.
    name, loss = next(iter(_losses(subject, 3).items()))
    with log.at(name):
        torch.compiler.reset()
        compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
        values = (float(compiled(M)), float(loss(M)))
        log.within("difference of losses", abs(values[0] - values[1]), ROUNDING * abs(values[1]))
        log.within("relative difference of gradients",
                   relative(gradient(compiled, M), gradient(loss, M)), ROUNDING)  # fmt: skip


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
    E = weights(n)
    directions = torch.tensor(directions_of(n))
    refusals = []
    for name, loss in losses(subject, subject.converged, n, M.dtype).items():
        # With a second part, so that a method without a derivative cannot hide behind it.
        smooth = partial(_with_cubes, loss)
        with log.at(name):
            X = M.clone().requires_grad_()
            try:
                (G,) = torch.autograd.grad(smooth(X), X, create_graph=True)
                (found,) = torch.autograd.grad((E * G).sum(), X)
            except NotImplementedError as refusal:
                refusals.append(in_one_line(refusal))
                continue
            slopes = (directions * gradient(loss, M)).sum((-2, -1))
            allowed = max(ERROR, ALLOWANCE * relative(slopes, _slopes(loss, M, directions)))
            truth = _slopes(partial(_along, smooth, E), M, directions)
            error = relative((directions * found).sum((-2, -1)), truth)
            log.within("relative error", error, allowed)
    if not log.readings:
        raise NotApplicable(f"refused: {refusals[0]}")


def _with_cubes(loss: Loss, M: Tensor) -> Tensor:
    return loss(M) + (M**3).sum()


def _along(loss: Loss, E: Tensor, M: Tensor) -> Tensor:
    return (E * gradient(loss, M)).sum()


def _slopes(value: Loss, M: Tensor, directions: Tensor) -> Tensor:
    """The derivative of a number in each direction, by a five-point stencil."""

    def at(steps: int) -> Tensor:
        return torch.stack([value(X).detach() for X in M + steps * STEP * directions])

    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * STEP)
