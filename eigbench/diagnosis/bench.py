"""What a matrix is measured on: itself and copies, each with a drawn loss and its exact gradient.

The copies are what rounding could have made of M as well, and M in other bases: what is right on
all of them does not hang on one rounding.
"""

from __future__ import annotations

import numpy as np
import torch

from eigbench.diagnosis.matrices import FUNCTION, Numbers
from eigbench.diagnosis.questions import Cure
from eigbench.diagnosis.spectrum import Spectrum, hermitian_part, wide
from eigbench.diagnosis.truth import FLOAT64_DIGITS, Pairs, dilated, of_function, pairs_of
from eigbench.spectra import phases, random_orthogonal

COPIES = ((16, 24), (64, 16), (160, 6), (600, 2))
"""Up to this size, so many copies are measured; above, none."""
FEW_COPIES = 6
"""So many are measured where the exact gradients take 50 digits."""


class Bench:
    """M and its copies, each with its eigenpairs and the loss that it is differentiated by."""

    def __init__(self, spectrum: Spectrum) -> None:
        self.spectrum = spectrum
        dtype = getattr(torch, spectrum.matrix.dtype, torch.float64)
        self.dtype = dtype if dtype.is_floating_point or dtype.is_complex else torch.float64
        self.matrices = [spectrum.matrix.entries, *copies(spectrum, self.dtype)]
        gaps = np.diff(spectrum.values)
        self._smallest = float(gaps[gaps > spectrum.floor].min(initial=spectrum.norm))
        self.pairs: list[Pairs] = []
        """The eigenpairs of each matrix, of an svd those of its dilation."""
        self._weights: list[tuple[Numbers, Numbers]] = []
        for entries in self.matrices:
            if len(self.pairs) > FEW_COPIES and self.digits > FLOAT64_DIGITS:  # slow
                break
            self._prepare(entries)
        del self.matrices[len(self.pairs) :]

    @property
    def digits(self) -> int:
        """In which the eigenpairs of M were computed."""
        return self.pairs[0].digits

    def _prepare(self, entries: Numbers) -> None:
        """Compute its pairs, and draw ∂L/∂result: `(m, n)` of matrices, `(n,)` of vectors.

        The loss sees all pairs of vectors about alike. One that hardly sees the vectors of a narrow
        gap would measure how rounding turns these, and not how good a gradient is.
        """
        rng = np.random.default_rng(entries.shape)
        if self.spectrum.svd:
            norm = float(np.abs(entries).max(initial=0)) or 1.0
            left, values, right = np.linalg.svd(entries / norm, full_matrices=False)
            left, right = _with_others(left, rng), _with_others(right.conj().T, rng)
            self.pairs.append(dilated(left, values * norm, right))
        else:
            self.pairs.append(pairs_of(entries, self._smallest))
            dtype = np.complex128 if self.spectrum.complex else np.float64
            left = right = np.asarray(self.pairs[-1].vectors, dtype=dtype)
        shape = left.shape[1], right.shape[1]
        seen = rng.uniform(0.5, 1, shape) * rng.choice([-1.0, 1.0], shape)
        seen = seen if self.spectrum.svd else np.triu(seen) + np.triu(seen, 1).T
        w = left @ rng.choice([-1.0, 1.0], shape[0])
        self._weights.append((left @ seen @ right.conj().T, w))

    def exact(self, cure: Cure, which: int) -> Numbers | None:
        """The exact gradient of the loss of a cure's result, by a matrix `(m, n)`."""
        if cure.function is None:
            # The sum of squares of all values: ‖M‖².
            entries = self.matrices[which]
            return 2 * (entries if self.spectrum.svd else hermitian_part(entries))
        weight = self.weight(cure, which)
        return of_function(self.pairs[which], cure.function, cure.regularised, weight)

    def weight(self, cure: Cure, which: int) -> Numbers:
        """∂L/∂result: of a vector v of the loss |⟨w, v⟩|², w wᴴ."""
        given = self.spectrum.matrix.gradients.get(FUNCTION)
        if cure.result == "S" and given is not None:
            return given
        W, w = self._weights[which]
        return w[:, None] * w.conj() if cure.result == "v" else W


def _with_others(vectors: Numbers, rng: np.random.Generator) -> Numbers:
    """Singular vectors `(n, k)` and others beside them that a loss may see: `(n, min(n, 2k))`."""
    n, k = vectors.shape
    others = rng.standard_normal((n, min(n, 2 * k) - k))
    others = np.linalg.qr(np.concatenate([vectors, others], axis=1))[0][:, k:]
    return np.concatenate([vectors, others], axis=1)


def copies(spectrum: Spectrum, dtype: torch.dtype) -> list[Numbers]:
    """What rounding could have made of M, and M in other bases, rounded to its dtype."""
    entries = spectrum.matrix.entries
    count = next((count for size, count in COPIES if max(entries.shape) <= size), 0)
    rng = np.random.default_rng(entries.shape)
    largest = np.abs(entries).max(initial=0)
    copied = []
    for i in range(count):
        one = entries
        if i % 2:
            left = random_orthogonal(entries.shape[0], i)
            right = random_orthogonal(entries.shape[1], i + 1000) if spectrum.svd else left
            if spectrum.complex:
                left = phases(len(left), i)[:, None] * left
                right = phases(len(right), i + 1000)[:, None] * right if spectrum.svd else left
            one = left @ one @ right.conj().T
        noise: Numbers = rng.uniform(-0.5, 0.5, entries.shape)
        if spectrum.complex:
            noise = noise + 1j * rng.uniform(-0.5, 0.5, entries.shape)
        one = one + noise * spectrum.unit * largest
        one = one if spectrum.svd else hermitian_part(one)
        copied.append(wide(torch.as_tensor(one).to(dtype)))
    # Near the largest number a copy may overflow.
    return [one for one in copied if np.isfinite(one).all()]
