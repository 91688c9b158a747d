"""The pencil A v = λ B v, by way of the eigenpairs of one Hermitian matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from eigbench.methods.base import Eigenpairs, Method
from eigbench.phases import phase


def pencil_eigh(method: Method, A: Tensor, B: Tensor) -> Eigenpairs:
    """Eigenvalues `(..., n)`, ascending, and `V` `(..., n, n)` with `A V = B V Λ`, `VᴴBV = I`.

    With `B = L Lᴴ` the eigenpairs `U`, Λ of `C = L⁻¹ A L⁻ᴴ` are those of `method`, and
    `V = L⁻ᴴ U`. All but the decomposition of C is differentiated as it is, so the gradients by
    Hermitian A and by B are Hermitian, and as exact as the method's own.
    """
    with phase("products"):
        L = torch.linalg.cholesky(B)
        half = torch.linalg.solve_triangular(L, A, upper=False)
        C = torch.linalg.solve_triangular(L, half.mH, upper=False)
    eigenvalues, U = method.eigh(C)
    with phase("products"):
        V = torch.linalg.solve_triangular(L.mH, U, upper=True)
    return Eigenpairs(eigenvalues, V)
