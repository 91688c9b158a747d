"""What is true of a matrix before anything is differentiated: its spectrum, zeros, ties, symmetry.

All of it is computed in float64 or complex128, and judged by the rounding unit of the dtype in
which the entries were computed: digits that are not in M cannot be had by converting M.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eigbench.diagnosis.matrices import OUTPUTS, GivenMatrix, Numbers
from eigbench.spectra import Floats

DOUBLE = frozenset({"float64", "complex128"})
COMPLEX = {"float32": "complex64", "float64": "complex128"}
SHORT = 2.0**-12
"""Entries with no more bits than this are written by hand: they say nothing of their dtype."""
FEW_DIGITS = 1e-2
"""From this relative rounding error on a number counts as lost."""


def unit(dtype: str) -> float:
    """The rounding unit of a dtype of torch: the distance from 1 to the next number."""
    return float(torch.finfo(getattr(torch, dtype)).eps)


@dataclass(frozen=True)
class Neighbours:
    """Two neighbouring eigenvalues, λ[lower] and λ[lower + 1], ascending, counted from 0."""

    lower: int
    gap: float
    """Their difference, in M's own unit."""
    share: float
    """The gap divided by ‖M‖, the largest magnitude of an eigenvalue."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The facts of one finite matrix `(m, n)`; of a square one those of its Hermitian part.

    For the problem "svd" values are singular values, and what is said of eigenvalues is said of
    them. Everything is counted from 0 in ascending order.
    """

    matrix: GivenMatrix
    unit: float
    """The rounding unit of the dtype in which M was computed: float32's for float32 numbers that
    were converted to float64 afterwards."""
    values: Floats
    """`(k,)`, ascending; k = min(m, n)."""
    vectors: Numbers
    """`(n, n)` eigenvectors; of an svd the left singular vectors `(m, k)`."""
    right: Numbers
    """The right singular vectors `(n, k)`; for eigenpairs the eigenvectors again."""

    @property
    def label(self) -> str:
        """The matrix's name."""
        return self.matrix.label

    @property
    def size(self) -> int:
        """The number of values, k."""
        return len(self.values)

    @property
    def svd(self) -> bool:
        """Whether the problem is a singular value decomposition."""
        return self.matrix.decomposition == "svd"

    @property
    def symbol(self) -> str:
        """λ or σ."""
        return "σ" if self.svd else "λ"

    @property
    def complex(self) -> bool:
        """Whether M has complex entries."""
        return bool(np.iscomplexobj(self.matrix.entries))

    @property
    def precision(self) -> str:
        """The precision that the user works in: float64 for float64 and complex128."""
        return "float64" if self.matrix.dtype in DOUBLE else "float32"

    @functools.cached_property
    def norm(self) -> float:
        """‖M‖, the largest magnitude of a value."""
        return float(np.abs(self.values).max(initial=0))

    @functools.cached_property
    def floor(self) -> float:
        """n·ε·‖M‖ in the dtype in which M was computed: a smaller value, or gap, is rounding."""
        return float(max(self.matrix.entries.shape) * self.unit * self.norm)

    @functools.cached_property
    def zeros(self) -> int:
        """How many values are zero to rounding."""
        return int((np.abs(self.values) <= self.floor).sum())

    @functools.cached_property
    def negative(self) -> int:
        """How many eigenvalues are negative by more than rounding."""
        return int((self.values < -self.floor).sum())

    @property
    def rank(self) -> int:
        """How many values are not zero to rounding."""
        return self.size - self.zeros

    @property
    def condition(self) -> float:
        """The largest divided by the smallest magnitude of a value; infinite if that is 0."""
        smallest = float(np.abs(self.values).min(initial=np.inf))
        return self.norm / smallest if smallest > 0 else np.inf

    @functools.cached_property
    def clusters(self) -> tuple[range, ...]:
        """Consecutive values whose neighbours tie: no further apart than rounding."""
        starts = [0, *(np.flatnonzero(np.diff(self.values) > self.floor) + 1), self.size]
        return tuple(range(int(a), int(b)) for a, b in itertools.pairwise(starts) if b > a)

    @property
    def ties(self) -> tuple[range, ...]:
        """The clusters of more than one value."""
        return tuple(cluster for cluster in self.clusters if len(cluster) > 1)

    def cluster_of(self, index: int) -> range:
        """The cluster in which a value is."""
        return next(cluster for cluster in self.clusters if index in cluster)

    @functools.cached_property
    def given(self) -> Mapping[str, Numbers]:
        """Values and vectors that the loss's gradients belong to, as `ascending` has them.

        What was saved of the watched call, or what torch returns in M's own dtype.
        """
        outputs = self.matrix.outputs
        if not outputs:
            dtype = getattr(torch, COMPLEX[self.precision] if self.complex else self.precision)
            M = torch.as_tensor(self.matrix.entries).to(dtype)
            parts = torch.linalg.svd(M, full_matrices=False) if self.svd else torch.linalg.eigh(M)
            named = zip(OUTPUTS[self.matrix.decomposition], map(wide, parts), strict=True)
            outputs = dict(named)
        return ascending(outputs, self.size)

    @functools.cached_property
    def upstream(self) -> Mapping[str, Numbers]:
        """The loss's gradients by values and vectors, as `ascending` has them."""
        return ascending(self.matrix.gradients, self.size)

    @functools.cached_property
    def narrowest(self) -> Neighbours | None:
        """The pair with the smallest gap; None if there is no pair."""
        gaps = np.diff(self.values)
        if not len(gaps):
            return None
        at = int(gaps.argmin())
        return Neighbours(at, float(gaps[at]), float(gaps[at]) / (self.norm or 1))

    @functools.cached_property
    def cut(self) -> int:
        """How many leading values are above the widest relative gap; 0 if all tie.

        Zeros are one: what is smaller than rounding has no relative gap.
        """
        magnitudes = np.where(np.abs(self.values) <= self.floor, 0, self.values)
        gaps = np.diff(self.values)
        size = np.maximum(np.abs(magnitudes[1:]), np.abs(magnitudes[:-1]))
        relative = np.where(gaps > self.floor, gaps / np.where(size > 0, size, 1), 0)
        return 0 if not relative.any() else self.size - 1 - int(relative.argmax())


def ascending(parts: Mapping[str, Any], k: int) -> dict[str, Any]:
    """Parts of a decomposition in the order of a spectrum, of arrays or tensors alike.

    By the names in `OUTPUTS`; others are left out. It gives "values" `(k,)`, and "left" and
    "right", vectors in k columns; eigenvectors are left ones.
    """
    order, found = [*range(k)][::-1], dict[str, Any]()
    for name, part in parts.items():
        if name in OUTPUTS["eigh"]:
            found["values" if name == "eigenvalues" else "left"] = part
        elif name == "singular values":
            found["values"] = part[order]
        elif name in OUTPUTS["svd"]:
            found[name] = (part.conj().T if name == "right" else part)[:, order]
    return found


def wide(tensor: Tensor) -> Numbers:
    """A tensor in float64, or complex128."""
    dtype = torch.complex128 if tensor.is_complex() else torch.float64
    array: Numbers = tensor.detach().to(dtype).resolve_conj().numpy()
    return array


def unit_of(matrix: GivenMatrix) -> float:
    """The rounding unit of the dtype in which a matrix was computed.

    Entries of float64 that are all float32 numbers were computed in float32 and converted, unless
    they are short numbers, as those that are written by hand.
    """
    dtype = (matrix.origin.given_dtype if matrix.origin else "") or matrix.dtype
    if dtype not in DOUBLE:
        return unit(dtype if "float" in dtype or "complex" in dtype else "float64")
    entries = matrix.entries
    narrow = np.complex64 if np.iscomplexobj(entries) else np.float32
    if not (entries.astype(narrow) == entries).all():
        return unit("float64")
    fraction, _ = np.frexp(np.concatenate([entries.real.ravel(), entries.imag.ravel()]))
    short = (np.remainder(fraction, SHORT) == 0).all()
    return unit("float64" if short else "float32")


def hermitian_part(entries: Numbers) -> Numbers:
    """`(M + Mᴴ)/2` `(..., n, n)`, rounding nothing where M is Hermitian."""
    mirrored = entries.conj().swapaxes(-1, -2)
    # Halves, so that the sum does not overflow; they would round the smallest numbers.
    return np.where(entries == mirrored, entries, entries / 2 + mirrored / 2)


def spectrum_of(matrix: GivenMatrix) -> Spectrum:
    """The spectrum of one finite matrix; of a square one that of a Hermitian matrix in its place.

    With gradients of a decomposition that of the lower triangle, which is what torch decomposed;
    else `(M + Mᴴ)/2`.
    """
    entries, square = matrix.entries, matrix.decomposition == "eigh"
    if square and matrix.of_outputs:
        lower = np.tril(entries, -1)
        entries = lower + lower.conj().T + np.diag(np.diagonal(entries).real)
    elif square:
        entries = hermitian_part(entries)
    # Scaled, so that nothing overflows on the way.
    scale = float(np.abs(entries).max(initial=0)) or 1.0
    if square:
        values, left = np.linalg.eigh(entries / scale)
        right = left
    else:
        left, values, right = np.linalg.svd(entries / scale, full_matrices=False)
        values, left, right = values[::-1], left[:, ::-1], right.conj().T[:, ::-1]
    matrix = replace(matrix, entries=entries)
    return Spectrum(matrix, unit_of(matrix), values * scale, left, right)
