"""Exact gradients, from eigenpairs in float64 or, where that is in doubt, in 50 digits.

The route is another one than that of any method: NumPy's or mpmath's decomposition, and the
formulas of Daleckii and Krein (Higham, Functions of Matrices, 2008, Theorem 3.11). Complex
gradients follow torch's convention: `dL = Re ⟨gradient, dM⟩`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from eigbench.diagnosis.matrices import Numbers
from eigbench.diagnosis.spectrum import hermitian_part, unit
from eigbench.methods.functions import SpectralFunction

LARGEST_IN_MPMATH = 12
"""Up to this size mpmath's decomposition takes a fraction of a second."""
DIGITS, FLOAT64_DIGITS = 50, 16
DOUBT = 1e-3
"""A gradient in float64 with a larger relative error cannot decide on an error of 1 %."""


@dataclass(frozen=True)
class Pairs:
    """Eigenvalues `(n,)`, ascending, and eigenvectors `(n, n)`: of float64, or of mpmath."""

    values: Any
    vectors: Any
    digits: int
    """In which they were computed."""


@dataclass(frozen=True)
class Triples:
    """Left and right singular vectors `(m, m)`, `(n, n)`; values `(k,)`, descending."""

    left: Numbers
    values: Numbers
    right: Numbers


@dataclass(frozen=True)
class Target:
    """What a loss is made of: a function of M + shift·I, or an odd one of a rectangular M.

    An odd function is `U f(Σ) Vᴴ`, with `f` given as its values on the singular values `(k,)`,
    ascending, and their differences; see `of_odd_function`.
    """

    function: SpectralFunction | None = None
    shift: float = 0.0
    odd: str = ""
    """"power" (f(σ) = σ) or "sign" (f(σ) = 1), on the leading `kept` singular values."""
    kept: int = 0


def pairs_of(entries: Numbers, smallest: float) -> Pairs:
    """The eigenpairs of the Hermitian part of a matrix, of which gaps down to `smallest` count."""
    exact = in_more_digits(entries, smallest)
    if exact is not None:
        return exact
    M = hermitian_part(entries)
    norm = float(np.abs(M).max(initial=0)) or 1.0
    values, vectors = np.linalg.eigh(M / norm)
    return Pairs(values * norm, vectors, FLOAT64_DIGITS)


def in_more_digits(entries: Numbers, smallest: float) -> Pairs | None:
    """The same in 50 digits, where float64 leaves a doubt and the matrix is small; else None."""
    M = hermitian_part(entries)
    norm = float(np.abs(M).max(initial=0)) or 1.0
    doubtful = len(M) * unit("float64") / DOUBT * norm > smallest
    if doubtful and len(M) <= LARGEST_IN_MPMATH:
        # Where its iteration does not converge, float64 is all that there is.
        with contextlib.suppress(RuntimeError, ZeroDivisionError):
            return _by_mpmath(M)
    return None


def triples_of(entries: Numbers) -> Triples:
    """All singular triples of a matrix, those of zero beside them."""
    norm = float(np.abs(entries).max(initial=0)) or 1.0
    left, values, right = np.linalg.svd(entries / norm, full_matrices=True)
    return Triples(left, values * norm, right.conj().T)


def _by_mpmath(M: Numbers) -> Pairs:
    """Eigenpairs as arrays of mpmath's numbers: NumPy's arithmetic keeps their digits."""
    import mpmath  # late; torch brings it along

    # Numbers of a context of its own keep its digits in all computations.
    context = mpmath.MPContext()
    context.dps = DIGITS
    solve = context.eighe if np.iscomplexobj(M) else context.eigsy
    # By a power of two, which rounds nothing: near 1e308 its iteration does not converge.
    scale = 2.0 ** np.floor(np.log2(np.abs(M).max() or 1))
    values, vectors = solve(context.matrix((M / scale).tolist()))
    values = np.array(values.tolist(), dtype=object).ravel() * context.mpf(scale)
    order = np.argsort(values)
    columns = np.array(vectors.tolist(), dtype=object)
    return Pairs(values[order], columns[:, order], DIGITS)


def of_function(pairs: Pairs, target: Target, W: Numbers) -> Numbers | None:
    """`∂ Re⟨W, f(M + shift·I)⟩/∂M` `(n, n)` (Daleckii–Krein); None where float64 cannot hold it."""
    assert target.function is not None  # noqa: S101 - the other kind of target is below
    V, function = pairs.vectors, target.function

    def composed() -> Numbers:
        core = function.divided_differences(pairs.values + target.shift)
        product: Numbers = V @ (core * (V.conj().T @ hermitian_part(W) @ V)) @ V.conj().T
        return product

    return in_float64(composed)


def of_odd_function(triples: Triples, target: Target, W: Numbers) -> Numbers | None:
    """`∂ Re⟨W, U f(Σ) Vᴴ⟩/∂M` `(m, n)`, f odd: U (S ∘ D⁻ + K ∘ D⁺) Vᴴ.

    S and K are the Hermitian and the skew part of UᴴWV; D⁻ holds the divided differences
    (f(σi) − f(σj))/(σi − σj), D⁺ the quotients (f(σi) + f(σj))/(σi + σj). What lies outside of
    both subspaces is divided by a zero singular value of its own.
    """
    U, values, V = triples.left, triples.values, triples.right
    k = len(values)
    kept = np.arange(k) < target.kept
    f = kept * (values if target.odd == "power" else 1.0)
    slope = kept * (1.0 if target.odd == "power" else 0.0)

    def composed() -> Numbers:
        G = U.conj().T @ W @ V
        square = G[:k, :k]
        same = (kept[:, None] == kept[None, :]) | (values[:, None] == values[None, :])
        gap = np.where(same, 1.0, values[:, None] - values[None, :])
        minus = np.where(same, (slope[:, None] + slope) / 2, (f[:, None] - f) / gap)
        total = values[:, None] + values
        bare = (f[:, None] == 0) & (f == 0)
        flat = (slope[:, None] + slope) / 2
        plus = np.where(bare, flat, (f[:, None] + f) / np.where(bare, 1.0, total))
        mirrored = square.conj().T
        core = G.copy()
        core[:k, :k] = minus * (square + mirrored) / 2 + plus * (square - mirrored) / 2
        quotient = np.where(values == 0, slope, f / np.where(values == 0, 1.0, values))
        core[k:, :k] *= quotient
        core[:k, k:] *= quotient[:, None]
        gradient: Numbers = U @ core @ V.conj().T
        return gradient

    return in_float64(composed)


def in_float64(compute: Callable[[], Any]) -> Numbers | None:
    """What `compute` gives, in float64; None if anything on the way does not fit into that."""
    try:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            found = _narrowed(np.asarray(compute()))
    except (FloatingPointError, ZeroDivisionError, OverflowError):
        return None
    return found if np.isfinite(found).all() else None


def _narrowed(found: Numbers) -> Numbers:
    """An array of mpmath's numbers as one of float64, or of complex128."""
    if found.dtype != object:
        return found
    numbers: Numbers = np.vectorize(complex, otypes=[np.complex128])(found)
    return numbers if np.abs(numbers.imag).max(initial=0) > 0 else numbers.real


def relative_error(gradient: Numbers, exact: Numbers) -> float:
    """`‖G − G*‖/‖G*‖`; infinite if only G* is zero, and 0 if both are."""
    scale = max(np.abs(exact).max(initial=0), np.abs(gradient).max(initial=0))
    if scale == 0:
        return 0.0
    # Scaled, so that squares do not overflow.
    distance, norm = np.linalg.norm((gradient - exact) / scale), np.linalg.norm(exact / scale)
    return float(distance / norm) if norm > 0 else np.inf
