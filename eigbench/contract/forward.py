"""What a method computes: eigenpairs, functions of M, and a whitening, for every shape."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from eigbench.contract.check import Log, check
from eigbench.contract.subject import CONDITION, Subject, in_double, relative, separated
from eigbench.errors import NotApplicable
from eigbench.methods.functions import SpectralFunction
from eigbench.spectra import adjoint

BATCHES: tuple[tuple[int, ...], ...] = ((), (1,), (2, 3))
SIZE = 5
RESIDUAL_ROUNDINGS = 50
FUNCTION_ROUNDINGS = 100 * CONDITION
"""Roundings of M count as often as the condition number says, those of a product once."""


def _places(subject: Subject) -> list[tuple[str, Tensor]]:
    """A matrix of every dtype and batch shape, and where it is."""
    dtypes = sorted(subject.method.dtypes, key=str)
    return [
        (f"{str(dtype).removeprefix('torch.')}, batch {batch}", separated(SIZE, batch, dtype))
        for dtype, batch in itertools.product(dtypes, BATCHES)
    ]


@check("eigenpairs", "ascending eigenvalues, orthonormal eigenvectors in columns, MV = VΛ")
def eigenpairs(subject: Subject, log: Log) -> None:
    """Against NumPy's eigenvalues, and against M itself."""
    if not subject.method.decomposes:
        raise NotApplicable("there are no eigenpairs")
    for place, M in _places(subject):
        with log.at(place):
            values, V = subject.converged.eigh(M)
            log.equal("shape of λ", tuple(values.shape), tuple(M.shape[:-1]))
            log.equal("shape of V", tuple(V.shape), tuple(M.shape))
            log.equal("dtypes", (values.dtype, V.dtype), (M.dtype.to_real(), M.dtype))
            epsilon = torch.finfo(M.dtype).eps
            rounding = RESIDUAL_ROUNDINGS * epsilon
            X, values, V = (in_double(x) for x in (M, values, V))
            log.within("descent of λ", _largest(-values.diff(dim=-1).clamp(max=0)), rounding)
            reference = torch.from_numpy(np.linalg.eigvalsh(X.numpy()))
            log.within("error of λ", _largest(values - reference), rounding)
            log.within("|MV − VΛ|", _largest(X @ V - V * values[..., None, :]), rounding)
            identity = torch.eye(SIZE, dtype=X.dtype)
            log.within("|VᴴV − I|", _largest(V.mH @ V - identity), epsilon**0.5)


def _largest(X: Tensor) -> float:
    return float(X.abs().max())


@check("functions of M", "f(M) = V diag(f(λ)) Vᵀ for each function that is not refused")
def functions(subject: Subject, log: Log) -> None:
    """Against NumPy's eigenpairs."""
    if not subject.functions:
        raise NotApplicable("it refuses every function")
    subject.require_accuracy()
    for (name, function), (place, M) in itertools.product(
        subject.functions.items(), _places(subject)
    ):
        with log.at(f"{name}, {place}"):
            found = subject.converged.matrix_function(M, function.like(M))
            log.equal("shape", tuple(found.shape), tuple(M.shape))
            log.equal("dtype", found.dtype, M.dtype)
            allowed = FUNCTION_ROUNDINGS * torch.finfo(M.dtype).eps
            log.within("relative error", relative(found, _exact(M, function)), allowed)


def _exact(M: Tensor, function: SpectralFunction) -> Tensor:
    values, V = np.linalg.eigh(in_double(M).numpy())
    f_of_M = (V * function.values(values)[..., None, :]) @ adjoint(V)
    return torch.from_numpy(f_of_M)


@check("whitening", "a matrix W with W M Wᴴ = I")
def whitening(subject: Subject, log: Log) -> None:
    """As a whitening layer calls it."""
    if not subject.whitens:
        raise NotApplicable("it does not whiten")
    subject.require_accuracy()
    for place, M in _places(subject):
        with log.at(place):
            W = subject.converged.whitening(M)
            log.equal("shape", tuple(W.shape), tuple(M.shape))
            allowed = FUNCTION_ROUNDINGS * torch.finfo(M.dtype).eps
            W, identity = in_double(W), torch.eye(SIZE, dtype=torch.float64)
            whitened = W @ in_double(M) @ W.mH
            log.within("relative error", relative(whitened, identity.expand_as(W)), allowed)


@check("edges of shape", "1×1 matrices and batches of none are taken")
def edges(subject: Subject, log: Log) -> None:
    """What a layer with one channel, or a filter that kept nothing, passes on."""
    subject.require_dtype(torch.float32)
    one, none = torch.tensor([[4.0]]), torch.zeros(0, 4, 4)
    method = subject.converged
    if method.decomposes:
        with log.at("1×1"):
            values, V = method.eigh(one)
            log.within("error of λ = 4", abs(values.item() - 4), 1e-5)
            log.within("error of |v| = 1", abs(abs(V.item()) - 1), 1e-6)
        with log.at("batch (0,)"):
            values, V = method.eigh(none)
            log.equal("shapes", (tuple(values.shape), tuple(V.shape)), ((0, 4), (0, 4, 4)))
    if subject.whitens:
        with log.at("1×1, whitening"):
            log.within("error of |W| = ½", abs(abs(method.whitening(one).item()) - 0.5), 1e-6)
        with log.at("batch (0,), whitening"):
            log.equal("shape", tuple(method.whitening(none).shape), (0, 4, 4))
    if not log.readings:
        raise NotApplicable("there are neither eigenpairs nor a whitening")
