"""The promises of a method: accuracy by what NumPy knows, and gradients of hard matrices."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eigbench.contract.check import Log, check
from eigbench.contract.subject import (
    TRUTH,
    Subject,
    gradient,
    losses,
    name_of,
    pair_loss,
    relative,
    sample,
    separated,
    weights,
)
from eigbench.errors import NotApplicable
from eigbench.losses import LOSSES, exact_gradient
from eigbench.measure.differentiate import differentiate, directions_of
from eigbench.methods.functions import InverseSquareRoot, Projector, SpectralFunction
from eigbench.spectra import Numbers, Sample

STEP = 1e-5
DIFFERENCES = 1e-8
"""How far from central differences of that step, which are themselves good to about 1e-10."""
OPEN = (0.1, 0.2, 0.5, 1.1)
TIED = {
    "two tied": (0.2, 0.5, 0.5, 1.1),
    "three tied": (0.3, 0.9, 0.9, 0.9),
    "all tied": (0.7, 0.7, 0.7, 0.7),
}
BASES: dict[str, dict[str, bool]] = {
    "along the axes": {"rotate_basis": False},
    "in a random basis": {},
    "in a complex basis": {"hermitian": True},
}


@check("exact", "the analytic gradient of the eigenpairs wherever gaps are open")
def exact(subject: Subject, log: Log) -> None:
    """Against central differences, and for each spectral loss against Daleckii–Krein."""
    subject.require_pairs()
    if not subject.method.converged:
        subject.require_promise("exact")
    for dtype in subject.double:
        with log.at(f"central differences, {name_of(dtype)}"):
            _compare_with_differences(subject, log, dtype)
    known = sample(OPEN)
    for name in ("whitening", "subspace", "reconstruction", "eigenvector"):
        function = LOSSES[name].function(known.eigenvalues)
        _compare(subject, log, name, known, function)


def _compare_with_differences(subject: Subject, log: Log, dtype: torch.dtype) -> None:
    """Of the values of the loss that NumPy's eigenpairs have."""
    M, W, ranks = separated(5, dtype=dtype), weights(5, dtype).numpy(), np.arange(5.0)

    def loss(stack: Numbers) -> Any:
        return pair_loss(*np.linalg.eigh(stack), W, ranks)

    directions = directions_of(5, hermitian=dtype.is_complex)
    rise = loss(M.numpy() + STEP * directions) - loss(M.numpy() - STEP * directions)
    found = gradient(losses(subject, subject.converged, 5, dtype)["eigenpairs"], M)
    slopes = (torch.from_numpy(directions).conj() * found).sum((-2, -1)).real
    truth = torch.from_numpy(rise / (2 * STEP))
    log.within("relative error", relative(slopes, truth), DIFFERENCES)


def _compare(
    subject: Subject, log: Log, place: str, known: Sample, function: SpectralFunction
) -> None:
    """Hold the gradient of ⟨W, f(M)⟩ to the one that follows from known eigenpairs."""
    M = torch.from_numpy(known.matrices())
    if M.is_complex() and M.dtype not in subject.method.dtypes:
        return
    subject.require_dtype(M.dtype)
    W = weights(M.shape[-1], M.dtype).numpy()[None]
    with log.at(place):
        found = differentiate(subject.converged, M, function, torch.from_numpy(W)).gradient
        truth = torch.from_numpy(exact_gradient(known, function, W))
        log.within("relative error", relative(found, truth), TRUTH)


@check("functions", "the exact gradient of f(M) at any gap, zero included (Daleckii–Krein)")
def functions(subject: Subject, log: Log) -> None:
    """At open gaps and, of what promises it, at ties: exact ones, and rounded ones."""
    promised = "functions" in subject.method.promises
    if subject.has_pairs or not subject.method.converged:
        subject.require_promise("functions")
    # What only converges to the exact gradient need not do so at a tie.
    for spectrum, values in {"open gaps": OPEN, **(TIED if promised else {})}.items():
        for basis, how in BASES.items():
            known = sample(values, **how)
            for name, function in subject.functions.items():
                _compare(subject, log, f"{name}, {spectrum}, {basis}", known, function)


@check("isolated", "the gradient of a separated eigenvector while others repeat")
def isolated(subject: Subject, log: Log) -> None:
    """Its projector's; the tie is elsewhere."""
    subject.require_promise("isolated")
    for spectrum in ("two tied", "three tied"):
        _compare_both(subject, log, "eigenvector", spectrum, TIED[spectrum])


@check("subspace", "the gradient of the leading subspace, whatever repeats on either side")
def subspace(subject: Subject, log: Log) -> None:
    """The projector's on what lies above the widest relative gap."""
    subject.require_promise("subspace")
    places = {"two below": (0.2, 0.2, 1.0, 1.4), "two above": (0.2, 0.3, 1.1, 1.1),
              "both": (0.2, 0.2, 1.1, 1.1)}  # fmt: skip
    for place, values in places.items():
        _compare_both(subject, log, "subspace", place, values)


def _compare_both(
    subject: Subject, log: Log, loss: str, place: str, values: tuple[float, ...]
) -> None:
    """A spectrum with a tie: exact, along the axes, and rounded, in another basis."""
    for basis, how in BASES.items():
        known = sample(values, **how)
        _compare(subject, log, f"{place}, {basis}", known, LOSSES[loss].function(known.eigenvalues))


HARD = {
    "two tied": (0.3, 1.0, 1.0),
    "all tied": (1.0, 1.0, 1.0),
    "all tied, small": (1e-4, 1e-4, 1e-4),
    "nearly tied": (0.3, 1.0, 1.0 + 4 * float(np.finfo(np.float32).eps)),
    "two of zero": (0.0, 0.0, 1.0),
    "two of zero, raised by 1e-4": (1e-4, 1e-4, 1.0001),
}
PLACES = (
    ("along the axes, float64", False, torch.float64),
    ("in a random basis, float64", True, torch.float64),
    ("in a random basis, float32", True, torch.float32),
)
SCALES = (1e-5, 1e-3, 1e3, 1e5)
SCALE_ERROR = 1e-9
"""Rounding of M at the relative gap of 1e-3 that is looked at: 1e-13, and some thousand of it."""
JUMP = 1e-2
NARROWEST = 1e-14
"""Share of an eigenvalue: some fifty roundings of float64."""

NOTHING = "there are neither eigenpairs nor a whitening to differentiate"


@check("finite", "some gradient at any gap, never NaN or infinite")
def finite(subject: Subject, log: Log) -> None:
    """At ties, at zeros and at the identity; for cotangents that no loss need have."""
    subject.require_promise("finite")
    for (spectrum, values), (basis, rotate_basis, dtype) in itertools.product(HARD.items(), PLACES):
        subject.require_dtype(dtype)
        M = torch.tensor(sample(values, rotate_basis=rotate_basis).matrices()[0]).to(dtype)
        for route, gradient_at in _routes(subject, definite=values[0] > 0).items():
            with log.at(f"{route}, {spectrum}, {basis}"):
                count = int((~torch.isfinite(gradient_at(M))).sum())
                log.equal("entries not finite", count, 0)
    if not log.readings:
        raise NotApplicable(NOTHING)


def _routes(subject: Subject, *, definite: bool) -> dict[str, Callable[[Tensor], Tensor]]:
    """The gradients of a method by what comes back, a cotangent without any symmetry."""
    uneven = torch.arange(1.0, 10).reshape(3, 3)

    def through_pairs(M: Tensor) -> Tensor:
        X = M.clone().requires_grad_()
        values, V = subject.method.eigh(X)
        return torch.autograd.grad((values, V), X, (torch.ones_like(values), uneven.to(M)))[0]

    routes: dict[str, Callable[[Tensor], Tensor]] = {}
    if subject.has_pairs:
        routes["eigenpairs"] = through_pairs
    if subject.whitens and definite:
        routes["whitening"] = lambda M: _through_whitening(subject, M, uneven.to(M))
    return routes


def _through_whitening(subject: Subject, M: Tensor, W: Tensor) -> Tensor:
    return gradient(lambda X: (W * subject.method.whitening(X)).sum(), M)


@check("scale", "no constant that is not relative to M: of s·M the gradient of M, rescaled")
def scale(subject: Subject, log: Log) -> None:
    """A whitening has degree −½ in M, an eigenvector degree 0; their gradients one less."""
    subject.require_promise("scale")
    subject.require_dtype(torch.float64)
    known = sample((0.3, 0.999, 1.0, 1.7))
    M, W = torch.tensor(known.matrices()), weights(4)[None]
    # One of the close pair: its gradient is the coefficient of that pair, and little besides.
    closest = Projector(np.array([[0.0, 0.0, 1.0, 0.0]]))

    def of_vector(M: Tensor) -> Tensor:
        return differentiate(subject.method, M, closest, W).gradient

    def of_whitening(M: Tensor) -> Tensor:
        return _through_whitening(subject, M, W)

    routes = [(of_vector, "eigenvector", -1.0)] if subject.has_pairs else []
    if subject.whitens:
        routes.append((of_whitening, "whitening", -1.5))
    for route, name, degree in routes:
        for s in SCALES:
            with log.at(f"{name}, s = {s:g}"):
                error = relative(route(s * M), s**degree * route(M))
                log.within("relative difference", error, SCALE_ERROR)
    if not log.readings:
        raise NotApplicable(NOTHING)


@check("continuous", "no jump of the gradient where two eigenvalues cross")
def continuous(subject: Subject, log: Log) -> None:
    """Of ⟨W, M^(−1/2)⟩ as one eigenvalue passes another, every interval of the way halved.

    What is continuous, however steep, changes less and less over an interval that shrinks; a jump
    stays. Along the axes, where gaps are resolved to the last digit.
    """
    subject.require_promise("continuous")
    subject.require_dtype(torch.float64)
    if not subject.whitens:
        raise NotApplicable("it does not whiten")
    reach = 10.0 ** np.arange(-1, -15, -1)
    edges = torch.tensor(np.concatenate([-reach, [0.0], reach[::-1]]))
    low, high = edges[:-1], edges[1:]
    with log.at("λ2 from 0.9 to 1.1 past λ3 = 1"):
        while float((high - low).max()) > NARROWEST:
            middle = (low + high) / 2
            first, second = _change(subject, low, middle), _change(subject, middle, high)
            left = first >= second
            low, high = torch.where(left, low, middle), torch.where(left, middle, high)
        changes = _change(subject, low, high)
        size = float(torch.linalg.vector_norm(_crossing_gradient(subject, low[:1])))
        log.within("relative jump", float(changes.max()) / size, JUMP)


def _change(subject: Subject, low: Tensor, high: Tensor) -> Tensor:
    """Norm of the gradient's change over each interval `(count,)`."""
    change = _crossing_gradient(subject, high) - _crossing_gradient(subject, low)
    norm: Tensor = torch.linalg.vector_norm(change, dim=(-2, -1))
    return norm


def _crossing_gradient(subject: Subject, t: Tensor) -> Tensor:
    """At diag(0.4, 1 + t, 1, 1.9): `(count, 4, 4)`."""
    M = torch.diag_embed(torch.tensor([0.4, 1.0, 1.0, 1.9], dtype=torch.float64)).repeat(
        len(t), 1, 1
    )
    M[:, 1, 1] += t
    W = weights(4)
    function = InverseSquareRoot()
    if subject.method.function_refusal(function) is None:
        return differentiate(subject.method, M, function, W).gradient
    return _through_whitening(subject, M, W)
