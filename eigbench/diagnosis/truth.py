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
    digits: int = FLOAT64_DIGITS
    """In which they were computed."""


def pairs_of(entries: Numbers, smallest: float) -> Pairs:
    """The eigenpairs of the Hermitian part of a matrix, of which gaps down to `smallest` count.

    In 50 digits where float64 leaves a doubt and the matrix is small.
    """
    M = hermitian_part(entries)
    norm = float(np.abs(M).max(initial=0)) or 1.0
    doubtful = len(M) * unit("float64") / DOUBT * norm > smallest
    if doubtful and len(M) <= LARGEST_IN_MPMATH:
        # Where its iteration does not converge, float64 is all that there is.
        with contextlib.suppress(RuntimeError, ZeroDivisionError):
            return _by_mpmath(M)
    values, vectors = np.linalg.eigh(M / norm)
    return Pairs(values * norm, vectors)


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


def dilated(left: Numbers, values: Numbers, right: Numbers) -> Pairs:
    """Eigenpairs of `[[0, M], [Mᴴ, 0]]`, of the singular triples of M, descending.

    Of `values` `(k,)`, and of `left` `(m, p)` and `right` `(n, q)`, of which the columns after the
    first k are orthogonal to these; there are p + q pairs.
    """
    k = len(values)
    u, v = left[:, :k] / np.sqrt(2), right[:, :k] / np.sqrt(2)
    none = np.zeros(left.shape[1] + right.shape[1] - 2 * k)
    upper = [-u, left[:, k:], np.zeros((len(left), right.shape[1] - k)), u[:, ::-1]]
    lower = [v, np.zeros((len(right), left.shape[1] - k)), right[:, k:], v[:, ::-1]]
    return Pairs(np.concatenate([-values, none, values[::-1]]), np.block([upper, lower]))


def of_function(
    pairs: Pairs, function: SpectralFunction, shift: float, W: Numbers
) -> Numbers | None:
    """`∂ Re⟨W, f(M + shift·I)⟩/∂M`, by Daleckii–Krein; None where float64 cannot hold it.

    W is `(n, n)`. Of pairs of a dilation it is `(m, n)`, in the span of their vectors: of the upper
    right block of f, as the gradient is.
    """
    m, n = W.shape
    V, U = pairs.vectors[-n:], pairs.vectors[:m]
    blocks = 1 if len(pairs.vectors) == n else 2  # in how many dM is

    def composed() -> Numbers:
        core = function.divided_differences(pairs.values + shift)
        G: Numbers = U @ (core * hermitian_part(U.conj().T @ W @ V)) @ V.conj().T
        return blocks * G

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
