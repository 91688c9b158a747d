"""Symmetric matrices whose eigenpairs are known: built in float64, with real ones among them.

Every matrix is put together from its eigenpairs, `M = V diag(λ) Vᴴ`, so that the exact gradient
of a loss is known at any gap, zero included. The real ones are covariances of CIFAR-10 features:
they are decomposed once, and put together again from that decomposition.

A complex Hermitian matrix is `D M Dᴴ` of a symmetric one, with random phases on the diagonal of D:
a unitary basis, and the eigenvalues, ties, zeros and magnitudes that the family has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigbench.algorithm_1 import NEIGHBOUR_RATIO
from eigbench.data import mini
from eigbench.errors import NotApplicable

Floats = NDArray[np.float64]
Numbers = NDArray[Any]
"""Of float64 or complex128."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Eigenvalues `(seeds, n)`, ascending, and eigenvectors `(seeds, n, n)`, in columns."""

    eigenvalues: Floats
    eigenvectors: Numbers

    def shifted(self, scale: float, epsilon: float) -> Sample:
        """The eigenpairs of `scale · M + ε I`."""
        return Sample(self.eigenvalues * scale + epsilon, self.eigenvectors)

    def matrices(self) -> Numbers:
        """`V diag(λ) Vᴴ` `(seeds, n, n)`, exactly Hermitian."""
        V = self.eigenvectors
        M: Numbers = (V * self.eigenvalues[:, None, :]) @ adjoint(V)
        return (M + adjoint(M)) / 2


def adjoint(X: Numbers) -> Numbers:
    """`Xᴴ` `(..., n, m)` of `X` `(..., m, n)`."""
    turned: Numbers = X.conj().swapaxes(-1, -2)
    return turned


def phases(d: int, seed: int) -> Numbers:
    """Random complex numbers `(d,)` of magnitude 1."""
    angles = np.random.default_rng([seed, d, 4]).uniform(0, 2 * np.pi, d)
    drawn: Numbers = np.exp(1j * angles)
    return drawn


@dataclass(frozen=True)
class Spectrum:
    """A family of spectra. `build(d, gap, seed)` gives one matrix's eigenpairs."""

    name: str
    uses_gap: bool
    build: Callable[[int, float, int], tuple[Floats, Floats]]


def draw(
    spectrum: Spectrum, d: int, gap: float | None, seeds: range, *, hermitian: bool = False
) -> Sample:
    """One matrix for each seed, complex if `hermitian`; it does not depend on the others."""
    pairs = [spectrum.build(d, 0.0 if gap is None else gap, seed) for seed in seeds]
    values = np.stack([values for values, _ in pairs])
    vectors = np.stack([vectors for _, vectors in pairs])
    if hermitian:
        vectors = np.stack([phases(d, seed) for seed in seeds])[..., None] * vectors
    return ascending(values, vectors)


def decompose(matrices: Numbers) -> Sample:
    """The eigenpairs of Hermitian matrices `(seeds, n, n)`, by LAPACK through NumPy."""
    values, vectors = np.linalg.eigh(matrices)
    return ascending(values, vectors)


def ascending(values: Floats, vectors: Numbers) -> Sample:
    """Eigenpairs sorted by eigenvalue."""
    order = np.argsort(values, axis=-1, kind="stable")
    return Sample(
        np.take_along_axis(values, order, axis=-1),
        np.take_along_axis(vectors, order[:, None, :], axis=-1),
    )


def relative_gaps(eigenvalues: Any) -> Any:
    """`(λ_{i+1} − λ_i)/λ_{i+1}` of ascending eigenvalues `(..., n)`: `(..., n−1)`.

    0 where both are zero.
    """
    upper, lower = eigenvalues[..., 1:], eigenvalues[..., :-1]
    safe = np.where(upper == 0, 1, np.abs(upper))
    with np.errstate(over="ignore"):  # infinitely wide is as good as very wide
        return (upper - lower) / safe


def random_orthogonal(d: int, seed: int) -> Floats:
    """A Haar-distributed orthogonal matrix `(d, d)`: QR of a Gaussian, signs fixed."""
    rng = np.random.default_rng([seed, d])
    Q, R = np.linalg.qr(rng.standard_normal((d, d)))
    basis: Floats = Q * np.where(np.diagonal(R) < 0, -1.0, 1.0)
    return basis


def _require_pair(d: int) -> None:
    if d < 2:
        raise NotApplicable("an eigengap needs two eigenvalues: d must be 2 or more")


def _gap(d: int, gap: float, seed: int) -> tuple[Floats, Floats]:
    """A geometric decay with one pair, in the middle, at the chosen relative gap.

    Every other neighbour is at 1 − 0.85 = 0.15, so a chosen gap above that is not the smallest.
    """
    _require_pair(d)
    ratios = np.full(d - 1, NEIGHBOUR_RATIO)
    ratios[d // 2 - 1] = 1 - gap
    return _from_ratios(ratios), random_orthogonal(d, seed)


def _cluster(d: int, gap: float, seed: int) -> tuple[Floats, Floats]:
    """Half of the eigenvalues lead, within one relative gap of each other; the rest decay."""
    _require_pair(d)
    members = max(2, d // 2)
    tail = 0.5 * NEIGHBOUR_RATIO ** np.arange(d - members)
    values = np.concatenate([1 - gap * np.linspace(0, 1, members), tail])
    return values, random_orthogonal(d, seed)


def _geometric(d: int, gap: float, seed: int) -> tuple[Floats, Floats]:
    """Every neighbouring pair at the chosen relative gap."""
    _require_pair(d)
    return _from_ratios(np.full(d - 1, 1 - gap)), random_orthogonal(d, seed)


def _from_ratios(ratios: Floats) -> Floats:
    """Descending eigenvalues from 1 on, each a ratio times the one before."""
    values: Floats = np.concatenate([[1.0], np.cumprod(ratios)])
    return values


def _rank_deficient(d: int, _gap_unused: float, seed: int) -> tuple[Floats, Floats]:
    """Half of the channels are dead: their rows and columns are zero."""
    _require_pair(d)
    alive = (d + 1) // 2
    values = np.concatenate([NEIGHBOUR_RATIO ** np.arange(alive), np.zeros(d - alive)])
    basis = np.eye(d)
    basis[:alive, :alive] = random_orthogonal(alive, seed)
    return values, basis


def _laplacian(d: int, _gap_unused: float, seed: int) -> tuple[Floats, Floats]:
    """A random weighted graph and two nodes without an edge: the eigenvalue 0 comes three times.

    The rows of the two nodes are zero, so that these ties survive any rounding.
    """
    if d < 4:
        raise NotApplicable("two nodes beside a graph of two need d = 4 or more")
    joined = d - 2
    drawn = np.triu(np.random.default_rng([seed, d, 3]).uniform(0.1, 1, (joined, joined)), 1)
    edges = drawn + drawn.T
    values, vectors = np.linalg.eigh(np.diag(edges.sum(axis=1)) - edges)
    values[0] = 0  # but for rounding, and known
    basis = np.eye(d)
    basis[2:, 2:] = vectors
    return np.concatenate([[0.0, 0.0], values / values[-1]]), basis


def _identity(d: int, _gap_unused: float, _seed: int) -> tuple[Floats, Floats]:
    """All eigenvalues equal: what a whitened feature's covariance tends to."""
    return np.ones(d), np.eye(d)


ULP = 2.0**-23
"""The unit in the last place of float32: by so much the eigenvalues of LAPACK's families differ."""


def _lapack(
    magnitudes: Callable[[int], Floats], finish: Callable[[Floats, int], Floats]
) -> Callable[[int, float, int], tuple[Floats, Floats]]:
    """Eigenvalues of random signs, and the vectors that `finish` makes of them and of a seed."""

    def build(d: int, _gap_unused: float, seed: int) -> tuple[Floats, Floats]:
        signs = np.random.default_rng([seed, d, 4]).choice([-1.0, 1.0], d)
        values = signs * magnitudes(d)
        return values, finish(values, seed)

    return build


def _lapack_even(d: int) -> Floats:
    return np.linspace(1, ULP, d)


def _lapack_geometric(d: int) -> Floats:
    return np.geomspace(1, ULP, d)


def _lapack_clustered(d: int) -> Floats:
    return np.where(np.arange(d) == 0, 1.0, ULP)


def _along_axes(values: Floats, _seed: int) -> Floats:
    return np.eye(len(values))


def _dense(values: Floats, seed: int) -> Floats:
    return random_orthogonal(len(values), seed)


def _banded(values: Floats, seed: int) -> Floats:
    """Of a matrix of a random half bandwidth: a dense one, reduced column by column."""
    d = len(values)
    band = int(np.random.default_rng([seed, d, 5]).integers(d))
    if band == 0:
        return np.eye(d)
    V = _dense(values, seed)
    for column in range(d - band - 1):
        first = column + band
        x = (V[first:] * values) @ V[column]
        x[0] += math.copysign(float(np.linalg.norm(x)), x[0])
        length = x @ x
        if length > 0:  # Householder's reflection, of rows of M and so of V
            V[first:] -= np.outer(2 / length * x, x @ V[first:])
    return V


def _lapack_random(d: int, _gap_unused: float, seed: int) -> tuple[Floats, Floats]:
    """Entries between −1 and 1."""
    drawn = np.triu(np.random.default_rng([seed, d, 6]).uniform(-1, 1, (d, d)))
    values, vectors = np.linalg.eigh(drawn + np.triu(drawn, 1).T)
    return values, vectors


def _zero(d: int, _gap_unused: float, _seed: int) -> tuple[Floats, Floats]:
    return np.zeros(d), np.eye(d)


# The types of matrices of LAPACK's DDRVST. What it multiplies by the root of the overflow or the
# underflow threshold is here the same family with another `scale`; type 2 is `identity`.
_LAPACK = {
    "lapack-zero": _zero,  # type 1
    "lapack-even-diagonal": _lapack(_lapack_even, _along_axes),  # 3
    "lapack-geometric-diagonal": _lapack(_lapack_geometric, _along_axes),  # 4, 6, 7
    "lapack-clustered-diagonal": _lapack(_lapack_clustered, _along_axes),  # 5
    "lapack-even": _lapack(_lapack_even, _dense),  # 8, 11, 12
    "lapack-geometric": _lapack(_lapack_geometric, _dense),  # 9
    "lapack-clustered": _lapack(_lapack_clustered, _dense),  # 10
    "lapack-random": _lapack_random,  # 13, 14, 15
    "lapack-banded": _lapack(_lapack_even, _banded),  # 16, 17, 18
}


def _covariance_of(
    extract: Callable[[int], Floats],
) -> Callable[[int, float, int], tuple[Floats, Floats]]:
    """The covariance of one group of d channels of real features, the seed choosing which."""

    def build(d: int, _gap_unused: float, seed: int) -> tuple[Floats, Floats]:
        channels = extract(seed)
        groups = channels.shape[1] // d
        if groups == 0:
            raise NotApplicable(f"these features have {channels.shape[1]} channels, fewer than {d}")
        first = seed % groups * d
        group = channels[:, first : first + d]
        centred = group - group.mean(axis=0)
        values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
        # Rounding leaves a singular covariance with eigenvalues a little below zero.
        return np.maximum(values, 0), vectors

    return build


SPECTRA = {
    spectrum.name: spectrum
    for spectrum in (
        Spectrum("gap", uses_gap=True, build=_gap),
        Spectrum("cluster", uses_gap=True, build=_cluster),
        Spectrum("geometric", uses_gap=True, build=_geometric),
        Spectrum("rank-deficient", uses_gap=False, build=_rank_deficient),
        Spectrum("laplacian", uses_gap=False, build=_laplacian),
        Spectrum("identity", uses_gap=False, build=_identity),
        Spectrum("cifar-patches", uses_gap=False, build=_covariance_of(mini.image_patches)),
        Spectrum("cifar-conv", uses_gap=False, build=_covariance_of(mini.first_convolution)),
        *(Spectrum(name, uses_gap=False, build=build) for name, build in _LAPACK.items()),
    )
}
