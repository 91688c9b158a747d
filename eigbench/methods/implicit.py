"""Each eigenvector differentiated for itself, by the linear system that it solves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from eigbench.methods.base import (
    HERMITIAN,
    Eigenpairs,
    Method,
    Promise,
    one_batch,
    require_positive,
    symmetric_part,
)
from eigbench.methods.calling import call, conventions, recording
from eigbench.methods.coefficients import with_diagonal
from eigbench.methods.decomposition import Decomposition
from eigbench.methods.no_gradient import too_close, unless, unresolved, without_phases
from eigbench.phases import phase


@dataclass(frozen=True)
class Implicit(Method):
    """`(M − λi I) xi = −(I − Vi Viᴴ) ∂L/∂vi` for each i, and `∂L/∂M = Σ xi viᴴ`, symmetrised.

    Vi holds the eigenvectors whose eigenvalues lie within `atol + rtol |λi|` of λi, which count as
    repeated; none given, they are ε^0.6 and ε^0.4 of the dtype. Eigenvalues that repeat elsewhere
    do no harm to a separated eigenvector. Where a loss does depend on the basis of a repeated
    eigenspace (`|A − Aᴴ| ≥ atol` inside it, with `A = Vᴴ ∂L/∂V`) the eigenvectors have no
    derivative: the gradient of that matrix is NaN. Otherwise the pair is left out, as at an exact
    tie, also where it is only close. Costs n linear systems of size n for each matrix.
    """

    name: ClassVar[str] = "implicit"
    summary: ClassVar[str] = "eigh forward; one projected linear solve per eigenvector backward"
    source: ClassVar[str] = "Kasim, arXiv:2011.04366, 2020; xitorch.linalg.symeig"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset({"exact", "isolated"})

    atol: float | None = None
    rtol: float | None = None

    def __post_init__(self) -> None:
        for name in ("atol", "rtol"):
            if getattr(self, name) is not None:
                require_positive(name, getattr(self, name))

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        return Eigenpairs(*call(_IMPLICIT_EIGH, symmetric_part(M), self))

    def tolerances(self, dtype: torch.dtype) -> tuple[float, float]:
        """Absolute and relative distance within which eigenvalues count as repeated."""
        epsilon = torch.finfo(dtype).eps
        atol = epsilon**0.6 if self.atol is None else self.atol
        return atol, epsilon**0.4 if self.rtol is None else self.rtol


class _ImplicitEigh(Decomposition):
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Implicit], output: Any) -> None:
        ctx.tolerances = inputs[1].tolerances(inputs[0].dtype)
        ctx.save_for_backward(inputs[0], *output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        M, eigenvalues, V = ctx.saved_tensors
        by_eigenvalues, by_eigenvectors = gradients
        if not M.numel():
            return torch.zeros_like(M), None
        atol, rtol = ctx.tolerances
        with phase("products"):
            A = V.mH @ by_eigenvectors
            if A.is_complex():
                A = without_phases(A, by_eigenvectors)
        with phase("coefficients"):
            distance = (eigenvalues.unsqueeze(-1) - eigenvalues.unsqueeze(-2)).abs()
            near = distance < atol + rtol * eigenvalues.abs().unsqueeze(-2)
            if recording():
                # What is left out of the first derivative is missing from the second.
                wrong = unresolved(eigenvalues) | (near.sum((-2, -1)) > M.shape[-1])
                V = unless(V, wrong, torch.Tensor.bool, too_close(Implicit.name))
            turned = torch.where(near, (A - A.mH).abs(), 0).amax((-2, -1), keepdim=True)
            X = _solve(M, eigenvalues, V, V @ torch.where(near, 0, A), near)
        with phase("products"):
            G = symmetric_part((V * by_eigenvalues.unsqueeze(-2) - X) @ V.mH)
            return torch.where(turned < atol, G, torch.nan), None


_IMPLICIT_EIGH = conventions(_ImplicitEigh)


def _solve(M: Tensor, eigenvalues: Tensor, V: Tensor, right: Tensor, near: Tensor) -> Tensor:
    """Columns x with `(M − λi I) x = right[:, i]`, orthogonal to the `near` vectors of column i.

    On those, where M − λi I is singular, the system has the scale of M instead.
    """
    n = M.shape[-1]
    magnitude = eigenvalues.abs().amax(-1)[..., None, None]
    scale = torch.where(magnitude > 0, magnitude, 1)
    own = V.unsqueeze(-3) * (near.mT * scale).unsqueeze(-2)
    # All systems of a matrix M below each other, so that one product makes them.
    tall = (*M.shape[:-2], n * n, n)
    above = one_batch(M.unsqueeze(-3).expand(own.shape).reshape(tall))
    systems = torch.baddbmm(above, one_batch(own.reshape(tall)), one_batch(V.mH)).reshape(own.shape)
    shifted = systems.diagonal(dim1=-2, dim2=-1) - eigenvalues.unsqueeze(-1)
    # Transposed, since LAPACK reads by columns. Not `solve`, which waits for a GPU to say whether a
    # system was singular. The solution is not finite then, as that of a tie is.
    systems = with_diagonal(systems, shifted).mH
    solutions: Tensor = torch.linalg.solve_ex(systems, right.mT.unsqueeze(-1))[0]
    columns = solutions.squeeze(-1).mT
    # What rounding leaves of the near vectors.
    return columns - V @ torch.where(near, V.mH @ columns, 0)
