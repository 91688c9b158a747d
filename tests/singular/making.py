"""Matrices that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import mpmath
import torch
from torch import Tensor


def relative(found: Tensor, truth: Tensor) -> float:
    """‖found − truth‖/‖truth‖, in double precision."""
    wide = torch.complex128 if truth.is_complex() else torch.float64
    found, truth = found.detach().to(wide), truth.detach().to(wide)
    return float(torch.linalg.vector_norm(found - truth) / torch.linalg.vector_norm(truth))


def rectangular(
    values: Tensor, m: int, n: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """`M = U diag(values) Wᴴ` `(m, n)`, and U and W, orthonormal to rounding."""
    generator = torch.Generator().manual_seed(seed)
    r = len(values)
    U, _ = torch.linalg.qr(torch.randn(m, r, generator=generator, dtype=dtype))
    W, _ = torch.linalg.qr(torch.randn(n, r, generator=generator, dtype=dtype))
    return (U * values.to(dtype)) @ W.mH, U, W


def literal(functions: Iterable[Any], M: Tensor, G: Tensor) -> list[tuple[Tensor, Tensor]]:
    """`F` and `∂⟨G, F⟩/∂M` of each function in 40 digits, by eigenpairs of the dilation.

    A function is odd, of whether its slope is asked for and of x.
    """
    m, n = M.shape
    with mpmath.workdps(40):
        D = mpmath.zeros(m + n, m + n)
        E = mpmath.zeros(m + n, m + n)
        for i in range(m):
            for j in range(n):
                D[i, m + j] = mpmath.mpmathify(complex(M[i, j]))
                D[m + j, i] = mpmath.conj(D[i, m + j])
                E[i, m + j] = mpmath.mpmathify(complex(G[i, j]))
                E[m + j, i] = mpmath.conj(E[i, m + j])
        values, V = mpmath.eighe(D)
        inside = V.H * E * V
        found = []
        for function in functions:
            core = inside.copy()
            for i, a in enumerate(values):
                for j, b in enumerate(values):
                    if abs(a - b) < 1e-15:  # a tie, but for what rounding M left of it
                        core[i, j] *= function(mpmath.taylor, (a + b) / 2)
                    else:
                        core[i, j] *= (function(0, a) - function(0, b)) / (a - b)
            F = V * mpmath.diag([function(0, a) for a in values]) * V.H
            found.append([_block(X, m, n) for X in (F, V * core * V.H)])
    return [(F, L) if M.is_complex() else (F.real, L.real) for F, L in found]


def _block(X: Any, m: int, n: int) -> Tensor:
    entries = [[complex(X[i, m + j]) for j in range(n)] for i in range(m)]
    return torch.tensor(entries, dtype=torch.complex128)
