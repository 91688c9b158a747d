"""Questions for `eigbench.diagnose`, drawn at random: a matrix, a use and a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[Any]

DTYPES = {
    torch.float32: 0.40,
    torch.float64: 0.30,
    torch.bfloat16: 0.10,
    torch.float16: 0.05,
    torch.complex64: 0.08,
    torch.complex128: 0.07,
}
"""And how often each is drawn."""
HALF = (torch.bfloat16, torch.float16)
SYMMETRIC_USES = (
    "inverse-square-root",
    "square-root",
    "leading-subspace",
    "leading-vector",
    "smallest-vector",
    "second-smallest-vector",
    "closest-vector",
    "eigenvalues",
)
INDEFINITE_USES = ("negative-subspace", *SYMMETRIC_USES[2:])
RECTANGULAR_USES = ("low-rank", "polar", "singular-values", "leading-singular-vectors")
ROOTS = SYMMETRIC_USES[:2]
VALUES = ("eigenvalues", "singular-values")
INDEFINITE = ("indefinite", "shifted graph Laplacian")
YOURS = ("function", "subspace", "vector", "entries")
"""What the loss of "yours" depends on: cos(M), a projector, one vector, each of the vectors.

Of singular triples: the polar factor, what is kept of M at a rank, one or each pair of vectors.
M^(±1/2), where M has them, is drawn too.
"""
NOT_SQUARE = "not square, "


@dataclass(frozen=True, eq=False)
class Question:
    """One matrix, and what a loss does with it."""

    seed: int
    kind: str
    """Of matrices, a key of `KINDS`."""
    M: Tensor
    """`(n, n)`, exactly Hermitian, or `(m, n)`."""
    digits: torch.dtype
    """In which its entries were rounded: float32 for some that were converted to float64."""
    use: str
    loss: str
    """The use itself, or for "yours" one of `YOURS`."""
    W: Numbers
    """Its weights, exact in every dtype; of vectors in columns, a left above a right one."""
    phase: tuple[float, float, float]
    """a, b and s of `cos(a λ/s + b)`, the function in losses of values and of f(M)."""
    chosen: int
    """For "yours": the index of the vector, or the size of the leading subspace."""

    @property
    def about_vectors(self) -> bool:
        """Whether the loss depends on vectors as they are."""
        return "vector" in self.loss or self.loss == "entries"

    @property
    def svd(self) -> bool:
        """Whether it is one of singular triples."""
        return self.kind.startswith(NOT_SQUARE)


# Spectra, all non-negative or of both signs, ascending


def _open(rng: np.random.Generator, n: int) -> Numbers:
    sums = np.cumsum(rng.uniform(0.1, 1, n))
    values: Numbers = sums / sums[-1]
    return values


def _near_tie(rng: np.random.Generator, n: int) -> Numbers:
    values = _open(rng, n)
    lower = rng.integers(n - 1)
    values[lower + 1] = values[lower] + 10 ** rng.uniform(-16, -1)
    return np.sort(values)


def _ties(rng: np.random.Generator, n: int) -> Numbers:
    """n eigenvalues of at most n − 1 different ones."""
    return _open(rng, n)[np.sort(rng.integers(0, n - 1, n))]


def _deficient(rng: np.random.Generator, n: int) -> Numbers:
    values = _open(rng, n)
    values[: rng.integers(1, n)] = 0
    return values


def _ill_conditioned(rng: np.random.Generator, n: int) -> Numbers:
    exponents = np.sort(rng.uniform(0, 1, n))
    exponents[0], exponents[-1] = 0, 1
    values: Numbers = 10 ** (rng.uniform(1, 16) * (exponents - 1))
    return values


def _indefinite(rng: np.random.Generator, n: int) -> Numbers:
    signs = rng.permutation([1.0, -1.0, *rng.choice([1.0, -1.0], n - 2)])
    return np.sort(_open(rng, n) * signs)


def _basis(rng: np.random.Generator, n: int, *, is_complex: bool) -> Numbers:
    A = rng.standard_normal((n, n))
    Q: Numbers = np.linalg.qr(A + 1j * rng.standard_normal((n, n)) if is_complex else A)[0]
    return Q


SPECTRA: dict[str, Callable[[np.random.Generator, int], Numbers]] = {
    "open gaps": _open,
    "one near-tie": _near_tie,
    "exact ties": _ties,
    "rank deficient": _deficient,
    "ill-conditioned": _ill_conditioned,
    "indefinite": _indefinite,
}


def _of_spectrum(rng: np.random.Generator, kind: str, n: int, dtype: torch.dtype) -> Tensor:
    values = SPECTRA[kind](rng, n)
    if rng.random() < 0.25:
        return torch.from_numpy(np.diag(rng.permutation(values)))
    V = _basis(rng, n, is_complex=dtype.is_complex)
    return torch.from_numpy((V * values) @ V.conj().T)


def _rectangle(rng: np.random.Generator, kind: str, n: int, dtype: torch.dtype) -> Tensor:
    small = max(2, n // 2)
    values = SPECTRA[kind.removeprefix(NOT_SQUARE)](rng, small)
    m = small + int(rng.integers(1, 4))
    U, V = (_basis(rng, size, is_complex=dtype.is_complex) for size in (m, small))
    if rng.random() < 0.25:
        U, V = np.eye(m), np.eye(small)
    M = (U[:, :small] * values) @ V.conj().T
    return torch.from_numpy(M if rng.random() < 0.5 else M.T.copy())


def _covariance(rng: np.random.Generator, kind: str, n: int, dtype: torch.dtype) -> Tensor:
    """Computed in its own dtype, as in a network."""
    samples = int(rng.integers(2, n + 1)) if kind == "few samples" else 4 * n
    x = rng.standard_normal((samples, n))
    if dtype.is_complex:
        x = x + 1j * rng.standard_normal((samples, n))
    x *= rng.uniform(0.3, 1, n)
    if kind == "dead or repeated channels":
        victims = rng.permutation(n)[: rng.integers(1, n)]
        x[:, victims] = 0 if rng.random() < 0.5 else x[:, [victims[0]]]
    X = torch.from_numpy(x).to(dtype)
    X = X - X.mean(0)
    return X.mH @ X / (samples - 1)


def _laplacian(rng: np.random.Generator, kind: str, n: int, dtype: torch.dtype) -> Tensor:
    """Of a cycle, a star, a complete graph or a random one, which may be in parts."""
    shape = rng.integers(4)
    A = np.zeros((n, n))
    if shape == 0:
        A[np.arange(n), (np.arange(n) + 1) % n] = 1
    elif shape == 1:
        A[0, 1:] = 1
    else:
        A = (rng.random((n, n)) < (1 if shape == 2 else 0.4)).astype(float)
    A[0, 1] = 1
    A = np.maximum(A, A.T) * (1 - np.eye(n))
    shift = rng.uniform(0.1, 2) if kind == "shifted graph Laplacian" else 0
    return torch.from_numpy(np.diag(A.sum(0) - shift) - A)


Maker = Callable[[np.random.Generator, str, int, torch.dtype], Tensor]
KINDS: dict[str, Maker] = {
    **dict.fromkeys(SPECTRA, _of_spectrum),
    "few samples": _covariance,
    "dead or repeated channels": _covariance,
    "graph Laplacian": _laplacian,
    "shifted graph Laplacian": _laplacian,
    **{NOT_SQUARE + kind: _rectangle for kind in SPECTRA if kind != "indefinite"},
}


def draw(seed: int) -> Question:
    """Question number `seed`, always the same."""
    rng = np.random.default_rng([13, seed])
    dtype = list(DTYPES)[rng.choice(len(DTYPES), p=list(DTYPES.values()))]
    kind = list(KINDS)[rng.integers(len(KINDS))]
    svd = kind.startswith(NOT_SQUARE)
    M = KINDS[kind](rng, kind, int(rng.integers(2, 13)), dtype)
    if rng.random() < 0.4:  # a power of two, which rounds nothing
        most = 6 if dtype == torch.float16 else 100
        M = M * 2.0 ** int(rng.integers(-most, most + 1))
    converted = dtype == torch.float64 and rng.random() < 0.15
    digits = torch.float32 if converted else dtype
    M = M.to(digits).to(dtype)
    if not svd:
        M = M.tril(-1) + M.tril(-1).mH + torch.diag(M.diagonal().real).to(dtype)
    square = INDEFINITE_USES if kind in INDEFINITE else SYMMETRIC_USES
    uses = RECTANGULAR_USES if svd else square
    use = str(rng.choice([*uses, "yours"]))
    loss = use
    if use == "yours":
        loss = str(rng.choice([*YOURS, *(ROOTS if "square-root" in uses else ())]))
    shape = _weights_of(loss, M, svd=svd)
    W = rng.integers(-64, 64, (2, *shape)) + 0.5  # exact in every dtype
    s = float(2.0 ** np.round(np.log2(torch.linalg.matrix_norm(M.to(torch.complex128)).item())))
    phase = (float(rng.uniform(0.5, 2)), 0.0 if svd else float(rng.uniform(0, 6)), s)
    chosen = int(rng.integers(1, min(M.shape)))
    weights = (W[0] + 1j * W[1] if dtype.is_complex else W[0]) / 32
    return Question(seed, kind, M, digits, use, loss, weights, phase, chosen)


def _weights_of(loss: str, M: Tensor, *, svd: bool) -> tuple[int, ...]:
    """The shape of the weights: of the matrix, or of a left vector above a right one."""
    m, n = M.shape
    length = m + n if svd else n
    if loss == "entries":
        return (length, min(m, n))
    return (length, 1) if "vector" in loss else (m, n)
