"""Rules that leave out the pairs inside clusters, and differ in what a loss may see of those.

A cluster is a run of eigenvalues of which each is within `tolerance` of the next, relative to the
largest |λ|. The basis inside is arbitrary, so a loss with a gradient does not depend on it. What
depends on it is the **gauge part** of the incoming gradient, with `A = VᴴV̄` and `g = λ̄`:

    inside clusters ½(A − Aᴴ), and what g differs by from its mean over each cluster.

Its size beside that of A and of g, the latter times the largest |λ|, is the gauge residual. A
function of M has one, too, at a tie, though its gradient exists: it is in what no rule of pairs
sees, the slope by which A[i,j] − A[j,i] vanishes.
"""

from __future__ import annotations

import abc
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from eigbench.methods.base import HERMITIAN, Eigenpairs, Method, Promise, require_positive
from eigbench.methods.calling import call, composing, conventions, is_wrapped, recording
from eigbench.methods.coefficients import gaps_above
from eigbench.methods.no_gradient import GAP_ERROR
from eigbench.methods.pairwise import pairwise_eigh
from eigbench.phases import phase


@dataclass(frozen=True)
class Mask(Method):
    """`1/gap` where the gap is more than `tolerance` times the largest |λ|, else 0.

    By default ε^¾ of the dtype. The commonest rule of users' programs: right where a loss does not
    depend on the basis inside the pairs that are left out, and silently wrong where it does.
    """

    name: ClassVar[str] = "mask"
    summary: ClassVar[str] = "eigh forward; 1/gap backward, and 0 of pairs that are close"
    source: ClassVar[str] = "MatrixAlgebraKit.jl, pullbacks/eigh.jl (ε^¾); pyscfad (1e-9, absolute)"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset(
        {"exact", "finite", "scale", "isolated", "subspace"}
    )

    tolerance: float | None = None

    def __post_init__(self) -> None:
        if self.tolerance is not None:
            require_positive("tolerance", self.tolerance)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose Hermitian `M` `(..., n, n)`."""
        return pairwise_eigh(M, self)

    def half_coefficients(self, eigenvalues: Tensor) -> tuple[Tensor, None]:
        """`½/gap`, or 0."""
        gap = gaps_above(eigenvalues)
        closed = _tolerance(self.tolerance, eigenvalues.dtype)
        is_open = gap > _width(eigenvalues, closed).unsqueeze(-1)
        return torch.where(is_open, 0.5 / torch.where(is_open, gap, 1), 0), None


class Gauge(NamedTuple):
    """The gradients that come in, and their gauge part: `(..., n)` and `(..., n, n)`."""

    V: Tensor
    by_values: Tensor
    by_vectors: Tensor
    spread: Tensor
    """Of `by_values` its gauge part."""
    turned: Tensor
    """Of `Vᴴ by_vectors` its gauge part."""
    residual: Tensor
    """Of each matrix, `(...)`; NaN where nothing comes in."""


@dataclass(frozen=True)
class _Looking(Method, abc.ABC):
    """`mask` behind a look at the gauge part of what comes in."""

    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset({"exact", "scale", "isolated", "subspace"})

    tolerance: float | None = None
    gauge_tolerance: float | None = None

    def __post_init__(self) -> None:
        for name in ("tolerance", "gauge_tolerance"):
            if getattr(self, name) is not None:
                require_positive(name, getattr(self, name))

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose Hermitian `M` `(..., n, n)`."""
        return Eigenpairs(*call(_LOOK, *Mask(self.closed(M.dtype)).eigh(M), self))

    def closed(self, dtype: torch.dtype) -> float:
        """The widest gap that counts as closed, relative to the largest |λ|."""
        return _tolerance(self.tolerance, dtype)

    def sees_too_much(self, residual: Tensor) -> Tensor:
        """Whether a gauge residual is more than `gauge_tolerance`, by default √ε: `(...)`."""
        allowed = self.gauge_tolerance or torch.finfo(residual.dtype).eps ** 0.5
        return residual > allowed

    @abc.abstractmethod
    def passed(self, gauge: Gauge) -> tuple[Tensor, Tensor]:
        """What goes on to `mask`, by eigenvalues and by eigenvectors."""

    @abc.abstractmethod
    def pushed(
        self, same: Tensor, V: Tensor, of_values: Tensor, of_V: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What comes from the forward mode of `mask`; `same` says which two are of one cluster."""


@dataclass(frozen=True)
class MaskChecked(_Looking):
    """`mask` where the loss does not see the basis inside clusters, and NaN where it does.

    The gradient of a matrix is NaN if its gauge residual is more than `gauge_tolerance`, by default
    √ε. With `strict` that is a `RuntimeError` which says so; to raise it, a GPU is waited for, and
    `torch.func.vmap`, `torch.compile` have NaN instead. By default gaps up to 100 ε count as
    closed: beyond that rounding changes them by less than 1 %. Forward mode, which no loss has
    seen yet, gives NaN for every pair in a cluster.
    """

    name: ClassVar[str] = "mask-checked"
    summary: ClassVar[str] = "mask; NaN where the loss sees the basis inside a cluster"
    source: ClassVar[str] = "github.com/sethaxen/CAGPJax, linalg/eigh.py, which leaves 1/gap there"

    strict: bool = False

    def closed(self, dtype: torch.dtype) -> float:
        """The widest gap that counts as closed, relative to the largest |λ|."""
        return self.tolerance or torch.finfo(dtype).eps / GAP_ERROR

    def passed(self, gauge: Gauge) -> tuple[Tensor, Tensor]:
        """NaN of the matrices whose loss has no gradient."""
        wrong = self.sees_too_much(gauge.residual)
        if self.strict and not _hidden(wrong) and bool(wrong.any()):
            raise RuntimeError(
                "mask-checked: the loss depends on the basis inside a cluster of eigenvalues (gauge"
                f" residual {gauge.residual[wrong].max():.0e}), where eigenvectors have no"
                " derivative. If it is a function of M, call eigbench.matrix_function"
            )
        by_values = torch.where(wrong.unsqueeze(-1), torch.nan, gauge.by_values)
        return by_values, torch.where(wrong[..., None, None], torch.nan, gauge.by_vectors)

    def pushed(
        self,
        same: Tensor,
        V: Tensor,  # noqa: ARG002
        of_values: Tensor,
        of_V: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """NaN of every pair that is in a cluster."""
        wrong = same.sum(-1) > 1
        of_values = torch.where(wrong, torch.nan, of_values)
        return of_values, torch.where(wrong.unsqueeze(-2), torch.nan, of_V)


@dataclass(frozen=True)
class GaugeProjected(_Looking):
    """`mask` of what is left without the gauge part: a gradient that no choice of basis changes.

    On a CPU a `RuntimeWarning` gives the gauge residual, to a digit, where it is more than
    `gauge_tolerance`, by default √ε. On a GPU, and under `torch.func` and `torch.compile`, nobody
    waits to look.
    """

    name: ClassVar[str] = "gauge-projected"
    summary: ClassVar[str] = "mask without what depends on the basis inside clusters; warns of it"
    source: ClassVar[str] = "MatrixAlgebraKit.jl, remove_eigh_gauge_dependence! (of eigenvectors)"
    promises: ClassVar[frozenset[Promise]] = Mask.promises

    def passed(self, gauge: Gauge) -> tuple[Tensor, Tensor]:
        """The gradients without their gauge part."""
        residual = gauge.residual
        if residual.is_cpu and not _hidden(residual):
            seen = residual.detach()[self.sees_too_much(residual)]
            if seen.numel():
                warnings.warn(
                    "gauge-projected: the loss depends on the basis inside a cluster, or on phases"
                    f" (gauge residual {seen.max():.0e}); that part of its gradient is left out",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return gauge.by_values - gauge.spread, gauge.by_vectors - gauge.V @ gauge.turned

    def pushed(
        self, same: Tensor, V: Tensor, of_values: Tensor, of_V: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same projection, which is its own transpose."""
        turned = _turned(same, V.mH @ of_V)
        return of_values - _spread(same, of_values), of_V - V @ turned


class _Look(torch.autograd.Function):
    """Eigenpairs as they are; of their gradients what the method lets pass."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, V: Tensor, method: _Looking) -> tuple[Tensor, Tensor]:
        return values.clone(), V.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, _Looking], output: Any) -> None:
        ctx.method, ctx.again = inputs[2], False
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        values, V = ctx.saved_tensors
        by_values, by_vectors = gradients
        # Those of a second derivative are a part of it, which may depend on the basis.
        if V.numel() and not ctx.again:
            with phase("coefficients"):
                gauge = _gauge(_clusters(values, ctx.method), values, V, by_values, by_vectors)
                by_values, by_vectors = ctx.method.passed(gauge)
        ctx.again = ctx.again or recording()
        return by_values, by_vectors, None

    @staticmethod
    def tangent(ctx: Any, *tangents: Tensor) -> tuple[Tensor, Tensor]:
        """`dλ` and `dV`, of which no loss is known yet."""
        values, V = ctx.saved_tensors
        found: tuple[Tensor, Tensor] = ctx.method.pushed(
            _clusters(values, ctx.method), V, *tangents[:2]
        )
        return found


_LOOK = conventions(_Look)


def _clusters(values: Tensor, method: _Looking) -> Tensor:
    """Which two eigenvalues are of one cluster, and each with itself: `(..., n, n)`."""
    apart = values.diff() > _width(values, method.closed(values.dtype))
    cluster = torch.nn.functional.pad(apart.cumsum(-1), (1, 0))
    return cluster.unsqueeze(-1) == cluster.unsqueeze(-2)


def _spread(same: Tensor, x: Tensor) -> Tensor:
    """What `x` `(..., n)` differs by from its mean over each cluster."""
    return x - torch.where(same, x.unsqueeze(-2), 0).sum(-1) / same.sum(-1)


def _turned(same: Tensor, A: Tensor) -> Tensor:
    """The skew part of `A` `(..., n, n)` inside clusters."""
    return torch.where(same, (A - A.mH) / 2, 0)


def _gauge(same: Tensor, values: Tensor, V: Tensor, by_values: Tensor, by_V: Tensor) -> Gauge:
    A = V.mH @ by_V
    turned, spread = _turned(same, A), _spread(same, by_values)
    scale = values.abs().amax(-1)

    def size(of_vectors: Tensor, of_values: Tensor) -> Tensor:
        return torch.maximum(of_vectors.abs().amax((-2, -1)), scale * of_values.abs().amax(-1))

    residual = size(turned, spread) / size(A, by_values)
    return Gauge(V, by_values, by_V, spread, turned, residual)


def _hidden(X: Tensor) -> bool:
    """Whether nobody can see the numbers of `X` now."""
    return composing() or is_wrapped(X)


def _tolerance(given: float | None, dtype: torch.dtype) -> float:
    """By default ε^¾, at which 1/gap multiplies the rounding of A to ε^¼."""
    return torch.finfo(dtype).eps ** 0.75 if given is None else given


def _width(eigenvalues: Tensor, closed: float) -> Tensor:
    """The widest gap `(..., 1)` that counts as closed, of ascending eigenvalues."""
    return closed * torch.maximum(eigenvalues[..., :1].abs(), eigenvalues[..., -1:].abs())
