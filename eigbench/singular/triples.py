"""Singular triples with the gradient that a method's table of coefficients gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from eigbench.errors import InputError
from eigbench.methods.calling import call, conventions
from eigbench.methods.coefficients import above_diagonal, gaps_above
from eigbench.methods.no_gradient import save, saved, without_phases
from eigbench.methods.pairwise import CoefficientRule, tables
from eigbench.methods.registry import available, configured, get, load_built_in
from eigbench.phases import phase
from eigbench.singular.inputs import matrices, without_autocast

load_built_in()


class SingularTriples(NamedTuple):
    """`U` `(..., m, r)`, singular values `S` `(..., r)`, descending, and `Vh` `(..., r, n)`."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def svd(M: Tensor, *, method: str = "hybrid", **parameters: Any) -> SingularTriples:
    """Singular values and vectors of `M`, with the gradient of a chosen method.

    As `torch.linalg.svd(M, full_matrices=False)`: real or complex `M` `(..., m, n)` on any device,
    `r = min(m, n)`. The derivative of the vectors has two coefficients for each pair of singular
    values. In place of `1/(σi − σj)` stands what `method` has for eigenvalues σ; `1/(σi + σj)`,
    which no tie makes large, is left as it is, and so is `1/σ` towards what lies outside of the
    two subspaces. What does not depend on those has no part of them where σ is zero. Of a symmetric
    positive definite M it is the gradient of `eigbench.eigh`. `parameters` are the method's own.

    float32, float64, complex64 and complex128 come out as they go in; float16 and bfloat16 are
    converted to float32, which comes out; autocast is off inside. Raises `ValueError` for what is
    no matrix, an unknown method, or one without a table of coefficients, and `TypeError` for
    another dtype. A gradient that depends on the phases of complex vectors raises `RuntimeError`;
    a second one where it would be wrong, as of a tie, `NotImplementedError`.
    """
    M, rule = matrices(M), _rule(method, parameters)
    with without_autocast(M):
        return SingularTriples(*call(_TRIPLES, M, rule))


_ANALYTIC = ("eigh", "svd")
"""Methods that are torch's own rule."""


@dataclass(frozen=True)
class _Analytic:
    """`1/(σi − σj)` itself."""

    name: ClassVar[str] = "eigh"
    once: ClassVar[str | None] = None

    def half_coefficients(self, values: Tensor) -> tuple[Tensor, None]:
        return 0.5 / gaps_above(values), None


def _rule(method: str, parameters: dict[str, Any]) -> CoefficientRule:
    chosen: Any = configured(method, **parameters)
    if method in _ANALYTIC:
        return _Analytic()
    if not has_table(method):
        raise InputError(
            f"method {method!r} is no table of coefficients for singular vectors; "
            f"these are: {', '.join(filter(has_table, available()))}"
        )
    rule: CoefficientRule = chosen
    return rule


def has_table(method: str) -> bool:
    """Whether its coefficients are all that a method changes: two change eigenvalues, too."""
    if method in ("topn", "hybrid-eq10"):
        return False
    return method in _ANALYTIC or hasattr(get(method), "half_coefficients")


class _Triples(torch.autograd.Function):
    """Written for ascending singular values, as the tables are.

    With `P = UᴴdM W = S + K`, Hermitian and skew: `dU = U (Z + N)`, `dW = W (Z − N)` and
    `dσ = diag S`, where `N[i,j] = K[i,j]/(σi + σj)` and Z is what the table makes of S, the
    analytic one `S[i,j]/(σj − σi)`.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(M: Tensor, rule: CoefficientRule) -> tuple[Tensor, Tensor, Tensor]:
        with phase("decomposition"):
            U, S, Vh = torch.linalg.svd(M, full_matrices=False)
            return U, S, Vh

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, CoefficientRule], output: Any) -> None:
        ctx.rule = inputs[1]
        save(ctx, inputs[0], *output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        U, values, W = _ascending(*saved(ctx))
        by_U, by_values, by_W = _ascending(*gradients)
        U, minus, surplus = tables(ctx.rule, values, U)
        A, B = U.mH @ by_U, W.mH @ by_W
        both = A + B
        if both.is_complex():
            both = without_phases(both, by_U, by_W)
        weighted = minus * (both - both.mH)
        if surplus is not None:
            weighted = weighted + surplus * both
        upper = weighted * above_diagonal(weighted, minus.dtype)
        core = upper + upper.mH + torch.diag_embed(by_values).to(upper.dtype)
        core = core + _by_sums(A - B, values)
        found = U @ core @ W.mH
        m, n = U.shape[-2], W.shape[-2]
        if m > n:
            found = found + _quotient(by_U - U @ A, values.unsqueeze(-2)) @ W.mH
        if n > m:
            found = found + U @ _quotient(by_W - W @ B, values.unsqueeze(-2)).mH
        return found, None

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> tuple[Tensor, Tensor, Tensor]:
        """`dU`, `dS` and `dVh`."""
        U, values, W = _ascending(*saved(ctx, forward=True))
        U, minus, surplus = tables(ctx.rule, values, U)
        dM = tangents[0]
        P = U.mH @ dM @ W
        S = (P + P.mH) / 2
        lower = 2 * minus * S
        upper = lower if surplus is None else lower + 2 * surplus * S
        mask = above_diagonal(S, minus.dtype)
        Z, N = upper * mask - (lower * mask).mH, _by_sums(P, values)
        dU, dW = U @ (Z + N), W @ (Z - N)
        m, n = dM.shape[-2:]
        if m > n:
            dU = dU + _quotient(dM @ W - U @ P, values.unsqueeze(-2))
        if n > m:
            dW = dW + _quotient(dM.mH @ U - W @ P.mH, values.unsqueeze(-2))
        changes = S.diagonal(dim1=-2, dim2=-1).real
        return dU.flip(-1), changes.flip(-1), dW.flip(-1).mH


_TRIPLES = conventions(_Triples)


def _ascending(U: Tensor, S: Tensor, Vh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`U`, singular values and `V`, from the smallest on."""
    return U.flip(-1), S.flip(-1), Vh.mH.flip(-1)


def _by_sums(X: Tensor, values: Tensor) -> Tensor:
    """The skew part of `X`, each entry divided by `σi + σj`."""
    return _quotient((X - X.mH) / 2, values.unsqueeze(-1) + values.unsqueeze(-2))


def _quotient(X: Tensor, Y: Tensor) -> Tensor:
    """`X / Y`, in which nothing divided by zero is nothing."""
    nothing = X == 0
    return torch.where(nothing, 0, X / torch.where(nothing, 1, Y))
