"""Gradients of losses of one matrix in mpmath, from the eigenpairs of exactly the M given.

Nothing here shares code with the package. A matrix that is not square stands in its Hermitian
dilation `[[0, M], [Mᴴ, 0]]`, whose eigenvalues are ±σ: then every question is one of eigenpairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from mpmath import mp
from numpy.typing import NDArray

DIGITS = 50
CLOSE = mp.mpf(10) ** -22
"""At a smaller gap, relative to where f changes, a divided difference is the derivative."""
Exact = NDArray[Any]
"""An array of mpmath's numbers."""


class Function(NamedTuple):
    """One function of eigenvalues, ascending, which is smooth inside each group of them."""

    values: Sequence[Any]
    """f(λᵢ)."""
    slope: Callable[[int, Any], Any]
    """f′ at the place i, of a value."""
    groups: Sequence[Any]
    """Equal for eigenvalues of one group."""
    margin: Any = mp.inf
    """How far the eigenvalues are from where f has no derivative."""
    width: Any = mp.mpf(0)
    """Over which f changes; 0 where it changes over |λ| itself."""


@dataclass(frozen=True, eq=False)
class Gradient:
    """`∂L/∂M`, rounded to complex128, and what it divides by."""

    G: NDArray[np.complex128]
    """Of the shape of M; the Hermitian part if M is Hermitian."""
    margin: float
    """The smallest distance of eigenvalues by which it divides, or that an order rests on."""


def exact(array: Any) -> Exact:
    """The same numbers in mpmath."""
    given = np.asarray(array)
    if np.iscomplexobj(given):
        flat = [mp.mpc(float(x.real), float(x.imag)) for x in given.ravel()]
    else:
        flat = [mp.mpf(float(x)) for x in given.ravel()]
    result = np.empty(len(flat), dtype=object)
    result[:] = flat
    return result.reshape(given.shape)


def rounded(array: Exact) -> NDArray[np.complex128]:
    """To the nearest complex128."""
    return np.array([complex(x) for x in array.ravel()], np.complex128).reshape(array.shape)


def _adjoint(A: Exact) -> Exact:
    return np.conj(A.T)


class Eigenpairs:
    """Those of M or of its dilation, ascending, and derivatives with respect to M.

    All methods are called, as this is made, within `mp.workdps(DIGITS)`.
    """

    def __init__(self, M: Exact, *, dilated: bool) -> None:
        self.rows = len(M) if dilated else 0
        H = M
        if dilated:
            self.values, self.V = _singular(M)
            H = 2 * self._corner(M)
        else:
            solve = mp.eighe if isinstance(M[0, 0], mp.mpc) else mp.eigsy
            values, V = solve(mp.matrix(M.tolist()))
            order = sorted(range(len(M)), key=lambda i: values[i])
            self.values = [mp.re(values[i]) for i in order]
            self.V = np.array(V.tolist(), dtype=object)[:, order]
        self.largest = max(map(abs, self.values))
        worst = max(map(abs, (H @ self.V - self.V * np.array(self.values, dtype=object)).ravel()))
        turned = _adjoint(self.V) @ self.V - exact(np.eye(len(H)))
        if worst > self.largest * mp.mpf(10) ** -40 or max(map(abs, turned.ravel())) > 1e-40:
            raise ArithmeticError("mpmath's own decomposition is off")

    @property
    def n(self) -> int:
        """The size of M, or of its dilation."""
        return len(self.values)

    def of_function(self, W: Exact, f: Function) -> Gradient:
        """Of `Re⟨W, f(M)⟩`, by Daleckii and Krein; of a dilation f is odd."""
        if self.rows:
            W = self._corner(W)
        B = _adjoint(self.V) @ (W + _adjoint(W)) @ self.V / 2
        margin = f.margin
        for i, x in enumerate(self.values):
            for j, y in enumerate(self.values):
                together = f.groups[i] == f.groups[j]
                if not together:
                    margin = min(margin, abs(x - y))
                if abs(x - y) > CLOSE * max(abs(x), abs(y), f.width):
                    B[i, j] *= (f.values[i] - f.values[j]) / (x - y)
                else:
                    B[i, j] *= f.slope(i, (x + y) / 2) if together else 1 / CLOSE**2
        return self._turned_back(B, margin)

    def of_vectors(self, by_vector: dict[int, Exact]) -> Gradient:
        """Of a loss with these gradients `(n,)` by eigenvectors."""
        core = exact(np.zeros((self.n, self.n)))
        margin = mp.inf
        for i, a in by_vector.items():
            seen = _adjoint(self.V) @ a
            for j in set(range(self.n)) - {i}:
                gap = self.values[i] - self.values[j]
                margin = min(margin, abs(gap))
                core[j, i] += seen[j] / (gap or CLOSE**2 * self.largest)
        return self._turned_back((core + _adjoint(core)) / 2, margin)

    def of_values(self, slopes: Sequence[Any]) -> Gradient:
        """Of a loss with these derivatives by eigenvalues."""
        core = exact(np.zeros((self.n, self.n)))
        np.fill_diagonal(core, slopes)
        return self._turned_back(core, mp.inf)

    def _corner(self, W: Exact) -> Exact:
        """`[[0, W], [Wᴴ, 0]]/2`."""
        zeros = [exact(np.zeros((size, size))) for size in W.shape]
        return np.block([[zeros[0], W], [_adjoint(W), zeros[1]]]) / 2

    def _turned_back(self, core: Exact, margin: Any) -> Gradient:
        G = self.V @ core @ _adjoint(self.V)
        if self.rows:  # dM is in two blocks of the dilation
            G = 2 * G[: self.rows, self.rows :]
        return Gradient(rounded(G), float(margin))


def _singular(M: Exact) -> tuple[list[Any], Exact]:
    """The eigenpairs of the dilation, ascending: −σ, zeros of what is not square, σ."""
    m, n = M.shape
    if m < n:
        values, V = _singular(_adjoint(M))
        return values, np.concatenate([V[n:], V[:n]])
    solve = mp.svd_c if isinstance(M[0, 0], mp.mpc) else mp.svd_r
    U, s, Vh = solve(mp.matrix(M.tolist()), full_matrices=True)
    left, right = (np.array(A.tolist(), dtype=object) for A in (U, Vh.H))
    columns = [(s[i], left[:, i] / mp.sqrt(2), right[:, i] / mp.sqrt(2)) for i in range(n)]
    whole = [
        *((-sigma, np.concatenate([-u, v])) for sigma, u, v in columns),
        *((mp.mpf(0), np.concatenate([left[:, i], 0 * right[:, 0]])) for i in range(n, m)),
        *((sigma, np.concatenate([u, v])) for sigma, u, v in reversed(columns)),
    ]
    return [value for value, _ in whole], np.stack([vector for _, vector in whole], axis=1)
