"""`eigbench.eigh` and `eigbench.matrix_function`: any method, called as torch's own are."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from eigbench.methods.base import Eigenpairs, Method, no_eigenpairs
from eigbench.methods.functions import (
    Identity,
    InverseSquareRoot,
    SpectralFunction,
    SquareRoot,
)
from eigbench.methods.registry import configured, load_built_in
from eigbench.methods.smooth import Exponential, Logarithm

load_built_in()

FUNCTIONS: dict[str, SpectralFunction] = {
    "inverse-square-root": InverseSquareRoot(),
    "square-root": SquareRoot(),
    "logarithm": Logarithm(),
    "exponential": Exponential(),
    "identity": Identity(),
}
"""The spectral functions that have a name."""


def eigh(M: Tensor, UPLO: str = "L", *, method: str = "hybrid", **parameters: Any) -> Eigenpairs:
    """Decompose symmetric matrices, with the gradient of a chosen method.

    A drop-in for `torch.linalg.eigh`: eigenvalues `(..., n)` ascending and eigenvectors
    `(..., n, n)` in columns, for `M` `(..., n, n)` in float32 or float64 on any device. `M` must
    be symmetric; `UPLO` is accepted and ignored. The gradient is a symmetric matrix.

    `parameters` are the method's own, such as `iterations=19` for `hybrid` (Wang et al.,
    NeurIPS 2019, Eq. 4). Raises `ValueError` for an unknown method, parameter or a shape that is
    not square, and `TypeError` for a dtype or device that the method does not take. A method that
    computes functions of M without eigenpairs raises `ValueError`: see `matrix_function`.
    """
    if UPLO not in ("L", "U", "l", "u"):
        raise ValueError(f"UPLO must be 'L' or 'U', not {UPLO!r}")
    chosen = _method_for(M, method, parameters)
    if not chosen.decomposes:
        raise ValueError(str(no_eigenpairs(chosen)))
    return chosen.eigh(M)


def matrix_function(
    M: Tensor, function: SpectralFunction | str, *, method: str = "spectral", **parameters: Any
) -> Tensor:
    """A function of symmetric matrices, `f(M) = V diag(f(λ)) Vᵀ`, with the gradient of a method.

    `(..., n, n)` for `M` `(..., n, n)` in float32 or float64 on any device. `M` must be
    symmetric, and the gradient is a symmetric matrix. `function` is "inverse-square-root",
    "square-root", "logarithm", "exponential" or "identity", or a
    `eigbench.methods.functions.SpectralFunction`: `eigbench.methods.smooth.Smooth(f, derivative)`
    makes one of any smooth function. By default the gradient is
    the exact one at any gap, zero included (Daleckii–Krein), with which there are no second
    derivatives; those that other methods have are theirs.

    `parameters` are the method's own. Raises `ValueError` for an unknown function, method or
    parameter, a function that the method does not have, or a shape that is not square, and
    `TypeError` for a dtype or device that the method does not take.
    """
    if isinstance(function, str):
        if function not in FUNCTIONS:
            raise ValueError(f"unknown function {function!r}; there are {', '.join(FUNCTIONS)}")
        function = FUNCTIONS[function]
    chosen = _method_for(M, method, parameters)
    reason = chosen.function_refusal(function)
    if reason is not None:
        raise ValueError(reason)
    return chosen.matrix_function(M, function.like(M))


def _method_for(M: Tensor, method: str, parameters: dict[str, Any]) -> Method:
    """The method with these parameters, once it is clear that it can take `M`."""
    shape = M.shape
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"M must be square matrices (..., n, n), not shape {tuple(shape)}")
    chosen = configured(method, **parameters)
    reason = chosen.refusal(M)
    if reason is not None:
        raise TypeError(reason)
    return chosen
