"""The exact gradient of a function of M at any gap, which the eigenvectors do not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from eigbench.methods.analytic import eigenvalues_alone
from eigbench.methods.base import HERMITIAN, Eigenpairs, Method, Promise, product
from eigbench.methods.calling import call, conventions, recording
from eigbench.methods.coefficients import choose_arithmetic
from eigbench.methods.decomposition import decompose
from eigbench.methods.differences import apart, is_known
from eigbench.methods.functions import SpectralFunction, in_double
from eigbench.methods.higher import derivative, turned_back
from eigbench.methods.no_gradient import once_forward, stopped
from eigbench.phases import phase

_NOT_TWICE = (
    "spectral has no second derivative of this function, of which it knows no second divided "
    "differences: differentiate once, or take eigbench.methods.smooth.Smooth(f, derivative)"
)


class _MatrixFunction(torch.autograd.Function):
    """`V diag(f(λ)) Vᴴ` forward, `V (F ∘ VᴴWV) Vᴴ` both as backward and as forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - what autograd must see
        M: Tensor,
        values: Tensor,
        V: Tensor,
        F: Tensor,
        eigenvalues: Tensor,
        cut: Tensor | None,
        function: SpectralFunction,
    ) -> Tensor:
        with phase("products"):
            return product(V * values.unsqueeze(-2), V.mH)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        M, _, V, F, eigenvalues, cut, ctx.function = inputs
        ctx.save_for_backward(M, V, F, eigenvalues, cut)
        ctx.save_for_forward(M, V, F, eigenvalues, cut)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _derivative(ctx, gradients[0]), None, None, None, None, None, None

    @staticmethod
    def tangent(ctx: Any, *tangents: Tensor) -> Tensor:
        """The same map: it is its own transpose."""
        return _derivative(ctx, once_forward(tangents[0], ctx.saved_tensors[0]))


def _derivative(ctx: Any, W: Tensor) -> Tensor:
    """`∂L/∂M` of `∂L/∂f(M)`, and `df(M)` of `dM`."""
    M, V, F, eigenvalues, cut = ctx.saved_tensors
    if recording():
        # A compiler takes no derivative of this one, and refuses to be asked for it.
        if is_known(ctx.function) and not torch.compiler.is_compiling():
            return derivative(M, V, eigenvalues, cut, ctx.function, W)
        # V and F depend on M without a record of it: a second derivative would be wrong.
        V = stopped(V, M, _NOT_TWICE)
    with phase("products"):
        VH = V.mH
        core = product(product(VH, W), V)
        mul = choose_arithmetic().mul
        # In place it is a part of W, which may be batched where the tables are not.
        core = mul(core + core.mH, 0.5)
        if ctx.function.unbounded:
            return turned_back(V, F, core, unbounded=True)
        return product(product(V, mul(core, F)), VH)


_MATRIX_FUNCTION = conventions(_MatrixFunction)


@dataclass(frozen=True)
class Spectral(Method):
    """`f(M)` from `torch.linalg.eigh`, differentiated by the theorem of Daleckii and Krein.

    With `W = ∂L/∂f(M)` the gradient is `V (F ∘ VᴴWV) Vᴴ`, where `F[i,j]` is the divided
    difference of f between λi and λj. It is exact at any gap, zero included, wherever f itself is
    differentiable: no series, no cut, no tolerance. Eigenvectors of a tie have no derivative, and
    asking for one raises; eigenvalues have theirs, `V diag(∂L/∂λ) Vᴴ`, exact where λ is simple.
    Second and higher derivatives of `f(M)` are exact too (`eigbench.methods.higher`). Of
    complex Hermitian M the coefficients are the same, and real.
    """

    name: ClassVar[str] = "spectral"
    summary: ClassVar[str] = "eigh forward; exact gradient of functions of M, at any gap"
    source: ClassVar[str] = "Daleckii and Krein, 1965; Higham, Functions of Matrices, 2008, Ch. 3"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    differentiates: ClassVar[Literal["eigenpairs", "functions"]] = "functions"
    # This gradient needs no protection, and a cut inside a tie would have no derivative.
    truncation: ClassVar[str] = "none"
    promises: ClassVar[frozenset[Promise]] = frozenset(
        {"functions", "scale", "continuous", "isolated", "subspace"}
    )
    precision: ClassVar[Literal["input", "float64"]] = "float64"

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`; only the eigenvalues have a gradient."""
        return eigenvalues_alone(self.name, M)

    def matrix_function(self, M: Tensor, function: SpectralFunction) -> Tensor:
        """`f(M)` `(..., n, n)` of Hermitian `M`; the constants of `function` get no gradient."""
        with phase("decomposition"):
            eigenvalues, V = decompose(M.detach())
        with phase("coefficients"):
            values = function.values(eigenvalues)
            if torch.compiler.is_compiling():
                values = values.clone()  # it takes no tensor twice, and f may return its argument
            F = function.divided_differences(eigenvalues)
        constant, cut = apart(function, eigenvalues)
        composed: Tensor = call(_MATRIX_FUNCTION, M, values, V, F, eigenvalues, cut, constant)
        return composed


@dataclass(frozen=True)
class SpectralFloat64(Spectral):
    """`spectral` whose functions of M are computed in float64, and come out in the dtype of M.

    The rounding of M itself is what is left of their error. Eigenvalues alone are as `spectral`'s.
    `eigbench.matrix_function` does so by default; this name is for layers and comparisons.
    """

    name: ClassVar[str] = "spectral-float64"
    summary: ClassVar[str] = "spectral, with functions of M computed in float64"

    def matrix_function(self, M: Tensor, function: SpectralFunction) -> Tensor:
        """`f(M)` `(..., n, n)` of Hermitian `M`; the constants of `function` get no gradient."""
        composed: Tensor = in_double(M, function, super().matrix_function)
        return composed
