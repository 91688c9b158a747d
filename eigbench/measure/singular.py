"""Functions of singular values through each method, beside their derivative by differences.

Each `F(M) = U f(Σ) Wᴴ` is the gradient of a function of M, of `Σ φ(σi)` with φ′ = f. So its
derivative is a Hessian, and equals its transpose: `∂⟨G, F⟩/∂M` is the derivative of F along G. That
is taken in double precision by central differences of F, which need no rule and no gap.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eigbench.errors import NotApplicable
from eigbench.kinds.base import Measure, Tools
from eigbench.kinds.singular import SingularCase
from eigbench.measure.differentiate import RESOLUTION, STEP
from eigbench.measure.measurement import Measurement, are_finite, as_list, float64, norms
from eigbench.measure.process import one_thread
from eigbench.methods.functions import Identity, SquareRoot, Truncated
from eigbench.methods.smooth import Smooth
from eigbench.singular.polar import polar
from eigbench.singular.svd_function import svd_function
from eigbench.singular.triples import has_table, svd
from eigbench.spectra import Floats

THRESHOLD = 0.37
"""What `shrink` takes from each σ; the largest is 1."""
SMALLEST = 1e-5
"""The smallest σ of ill-conditioned matrices."""

Triples = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Function:
    """`U f(Σ) Wᴴ` as users write it, its function in this package, and where it has no derivative.

    M is `(..., m, n)`, S `(..., r)` its singular values, descending.
    """

    factors: Callable[[Tensor, Tensor, Tensor], Tensor]
    """`f(σ)` `(..., r)` of U, S and Wᴴ."""
    exact: Callable[[Tensor], Tensor]
    distance: Callable[[Tensor, Tensor], Tensor]
    """How far M is from having no derivative `(...)`, of M and S."""
    rotates: bool = False
    """Whether it is of real square matrices alone."""

    def composed(self, U: Tensor, S: Tensor, Wh: Tensor) -> Tensor:
        """`(..., m, n)`."""
        return (U * self.factors(U, S, Wh).to(U.dtype).unsqueeze(-2)) @ Wh


def _kept(S: Tensor) -> Tensor:
    """The larger half, 1 or 0 `(r,)`."""
    return (torch.arange(S.shape[-1], device=S.device) < S.shape[-1] // 2).to(S.dtype)


def _turned(U: Tensor, S: Tensor, Wh: Tensor) -> Tensor:
    """1, of the last the sign of `det(U Wᵀ)`."""
    sign = torch.linalg.det((U @ Wh).detach()).sign().unsqueeze(-1)
    return torch.cat([torch.ones_like(S[..., 1:]), sign], -1)


def _of_half(M: Tensor) -> Tensor:
    r = min(M.shape[-2:])
    return svd_function(M, Truncated(Identity(), [i >= r - r // 2 for i in range(r)]))


FUNCTIONS = {
    "polar": Function(
        lambda _u, S, _w: torch.ones_like(S), polar, lambda _, S: S[..., -1],
    ),
    "rotation": Function(
        _turned, functools.partial(polar, determinant=1),
        lambda M, S: S[..., -2] + torch.linalg.det(M).sign() * S[..., -1], rotates=True,
    ),
    "shrink": Function(
        lambda _u, S, _w: (S - THRESHOLD).clamp(min=0),
        lambda M: svd_function(M, Smooth(lambda x: (x - THRESHOLD).clamp(min=0),
                                         lambda x: (x > THRESHOLD).to(x.dtype))),
        lambda _, S: (S - THRESHOLD).abs().amin(-1),
    ),
    "square-root": Function(
        lambda _u, S, _w: S.sqrt(), functools.partial(svd_function, function=SquareRoot()),
        lambda _, S: S[..., -1],
    ),
    "low-rank": Function(
        lambda _u, S, _w: S * _kept(S), _of_half,
        lambda _, S: S[..., S.shape[-1] // 2 - 1] - S[..., S.shape[-1] // 2],
    ),
}  # fmt: skip


def _spread(d: int) -> Tensor:
    return torch.linspace(1, 0.1, d, dtype=torch.float64)


def _with_zeros(d: int, zeros: int) -> Tensor:
    values = _spread(d)
    values[d - zeros :] = 0
    return values


SITUATIONS: dict[str, Callable[[int], Tensor]] = {
    "separated": _spread,
    "tall": _spread,
    "wide": _spread,
    "reflection": _spread,
    "ill-conditioned": lambda d: torch.logspace(0, np.log10(SMALLEST), d, dtype=torch.float64),
    "tied-pair": lambda d: _spread(d).index_fill(0, torch.arange(min(d, 2)), 1.0),
    "all-tied": lambda d: torch.ones(d, dtype=torch.float64),
    "identity": lambda d: torch.ones(d, dtype=torch.float64),
    "one-zero": lambda d: _with_zeros(d, 1),
    "rank-deficient": lambda d: _with_zeros(d, d - d // 2),
    "zero-columns": lambda d: _with_zeros(d, d - d // 2),
}
"""The singular values of each, descending."""


@functools.lru_cache(1)
def matrices(situation: str, d: int, dtype: str, seeds: range) -> tuple[Tensor, Tensor]:
    """M and the random cotangents G, `(seeds, m, n)`, rounded to the dtype.

    `det M ≥ 0` where M is real and square, but for reflections.
    """
    kind: torch.dtype = getattr(torch, dtype)
    wide = torch.complex128 if kind.is_complex else torch.float64
    shape = {"wide": (d, 2 * d), **dict.fromkeys(("tall", "zero-columns"), (2 * d, d))}
    m, n = shape.get(situation, (d, d))
    values = SITUATIONS[situation](d).to(wide)
    stacks: list[tuple[Tensor, Tensor]] = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        draw = functools.partial(torch.randn, dtype=wide, generator=generator)
        U, W = (torch.linalg.qr(draw(k, d))[0] for k in (m, n))
        if situation == "zero-columns":
            W = torch.eye(d, dtype=wide)
        if not kind.is_complex and m == n:
            wanted = -1 if situation == "reflection" else 1
            U[:, -1] *= wanted * torch.linalg.det(U @ W.mT).sign()
        M = torch.eye(d, dtype=wide) if situation == "identity" else (U * values) @ W.mH
        stacks.append((M, draw(m, n)))
    M, G = (torch.stack(each).to(kind) for each in zip(*stacks, strict=True))
    return M, G


def derivative(function: Function, M: Tensor, G: Tensor) -> Tensor:
    """The derivative of F at M along G, by central differences of fourth order.

    `NotApplicable` where there is none, or differences cannot resolve it.
    """
    S = torch.linalg.svdvals(M)
    step = STEP * function.distance(M, S)
    if not bool((step * RESOLUTION > torch.finfo(S.dtype).eps * S[..., 0]).all()):
        raise NotApplicable("the function has no derivative there")
    step = (step / torch.linalg.matrix_norm(G, 2))[..., None, None]

    def slope(k: int) -> Tensor:
        ahead, behind = (
            function.composed(*torch.linalg.svd(M + x * step * G, full_matrices=False))
            for x in (k, -k)
        )
        central: Tensor = (ahead - behind) / (2 * k * step)
        return central

    return (4 * slope(1) - slope(2)) / 3


@functools.lru_cache(1)
def _truth(name: str, situation: str, d: int, dtype: str, seeds: range) -> tuple[Tensor, Tensor]:
    """F and the exact gradient of ⟨G, F⟩ in double precision: `(seeds, m, n)`."""
    M, G = matrices(situation, d, dtype, seeds)
    function, square = FUNCTIONS[name], M.shape[-1] == M.shape[-2]
    if function.rotates and (M.is_complex() or not square):
        raise NotApplicable("a rotation is a real square matrix")
    if d < 2:
        raise NotApplicable("a gap takes d = 2 or more")
    if M.dtype in (torch.float16, torch.bfloat16):
        raise NotApplicable("torch.linalg.svd takes no half precision")
    M, G = (X.to(torch.complex128 if X.is_complex() else torch.float64) for X in (M, G))
    return function.composed(*torch.linalg.svd(M, full_matrices=False)), derivative(function, M, G)


def through(case: SingularCase, M: Tensor) -> Tensor:
    """F of M by the method of a case; `NotApplicable` of one without a rule for singular vectors.

    `spectral` is the exact function of this package, `svd` is torch's own.
    """
    function = FUNCTIONS[case.function]
    if case.method == "spectral":
        return function.exact(M)
    if case.method == "svd":
        return function.composed(*torch.linalg.svd(M, full_matrices=False))
    if not has_table(case.method):
        raise NotApplicable(f"{case.method} is no table of coefficients for singular vectors")
    return function.composed(*svd(M, method=case.method, **case.parameters))


@one_thread()
def measure_singular(case: SingularCase) -> Measurement:
    """Differentiate one case's matrices and compare with the truth; a value a seed."""
    problem = (case.situation, case.d, case.dtype, range(case.seed, case.seed + case.seeds))
    value, exact = (_real(X) for X in _truth(case.function, *problem))
    M, G = (X.to(case.device) for X in matrices(*problem))
    M = M.clone().requires_grad_()
    F = through(case, M)
    found, F64 = _real(torch.autograd.grad(F, M, G)[0]), _real(F)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        samples = {
            "gradient_finite": are_finite(found),
            "gradient_error": norms(found - exact) / norms(exact),
            "gradient_cosine": (found * exact).sum((-2, -1)) / (norms(found) * norms(exact)),
            "function_error": norms(F64 - value) / norms(value),
        }
    return Measurement({name: as_list(values) for name, values in samples.items()}, {})


def _real(X: Tensor) -> Floats:
    """Real and imaginary parts beside one another, in float64."""
    return float64(torch.cat([X.real, X.imag], -1) if X.is_complex() else X)


def measurer(_tools: Tools) -> Measure:
    """Measures singular cases."""
    return measure_singular
