"""The method that is checked, the losses through which it is, and the matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eigbench import losses as matrix_losses
from eigbench.errors import NotApplicable
from eigbench.functional import FUNCTIONS
from eigbench.methods.base import Method, Promise
from eigbench.methods.functions import SpectralFunction, Whitening
from eigbench.spectra import Numbers, Sample, phases, random_orthogonal

ROUNDING = 1e-12
"""What two ways to the same float64 number may differ by: some thousand roundings."""
TRUTH = 1e-10
"""How far a float64 gradient may be from one known in closed form."""


def weights(n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """One random Hermitian matrix `(n, n)` of norm 1."""
    W = matrix_losses.weights(n, range(7, 8), hermitian=dtype.is_complex)[0]
    return torch.tensor(W, dtype=dtype)


def sample(
    values: Sequence[float], *, rotate_basis: bool = True, hermitian: bool = False
) -> Sample:
    """Eigenpairs `(1, n)`, `(1, n, n)` with these ascending eigenvalues.

    In a random basis, complex if `hermitian`; or along the axes, where a tie survives the rounding
    of M.
    """
    basis = _basis(len(values), hermitian=hermitian) if rotate_basis else np.eye(len(values))
    return Sample(np.asarray(values, dtype=np.float64)[None], basis[None])


def _basis(n: int, *, hermitian: bool) -> Numbers:
    basis = random_orthogonal(n, 0)
    return phases(n, 0)[:, None] * basis if hermitian else basis


CONDITION = 20.0
"""Of the largest matrix of `separated`, n = 5."""


def separated(n: int, batch: tuple[int, ...] = (), dtype: torch.dtype = torch.float64) -> Tensor:
    """Positive definite `(*batch, n, n)`, n ≤ 5: each eigenvalue is half of the next.

    But for the second largest, which is 0.4 of the largest: so one gap is the widest. In a batch
    of several the matrices differ by a factor of up to 1.3.
    """
    values = np.append(0.4 * 0.5 ** np.arange(n - 2, -1, -1), 1.0)
    count = math.prod(batch)
    scales = np.linspace(1, 1.3, max(1, count))[:count, None]
    basis = np.broadcast_to(_basis(n, hermitian=dtype.is_complex), (count, n, n))
    matrices = Sample(values * scales, basis).matrices()
    return torch.tensor(matrices.reshape(*batch, n, n), dtype=dtype)


def name_of(dtype: torch.dtype) -> str:
    """Such as `float32`."""
    return str(dtype).removeprefix("torch.")


Loss = Callable[[Tensor], Tensor]
"""A number from symmetric matrices `(..., n, n)`; over a batch the sum."""


@dataclass(frozen=True)
class Subject:
    """One method under the name by which it is known."""

    name: str
    method: Method
    """With its default parameters."""
    converged: Method
    """With those at which its approximations have converged, if it declares any."""

    @classmethod
    def of(cls, name: str, method: type[Method]) -> Subject:
        """The method's instances; raises whatever its constructor does."""
        return cls(name, method(), method(**method.converged))

    @property
    def has_pairs(self) -> bool:
        """Whether the eigenpairs have a gradient."""
        return self.method.decomposes and self.method.differentiates == "eigenpairs"

    @property
    def functions(self) -> dict[str, SpectralFunction]:
        """The named functions of M that the method does not refuse."""
        refusal = self.method.function_refusal
        return {name: f for name, f in FUNCTIONS.items() if refusal(f) is None}

    @property
    def whitens(self) -> bool:
        """Whether `whitening` is there: by M^(−1/2), or by a matrix of its own."""
        return self.method.function_refusal(Whitening()) is None

    @property
    def is_accurate(self) -> bool:
        """Whether what the method computes forward is right, up to rounding, when converged.

        A root without a decomposition may be a polynomial that is only near it. What has no
        function at all to be near to, as a Cholesky factor, is right by itself.
        """
        method = self.method
        return bool(
            method.decomposes
            or method.converged
            or "functions" in method.promises
            or not self.functions
        )

    @property
    def double(self) -> tuple[torch.dtype, ...]:
        """Those of float64 and complex128 that the method takes."""
        return tuple(x for x in (torch.float64, torch.complex128) if x in self.method.dtypes)

    def require_pairs(self) -> None:
        """`NotApplicable` if the eigenpairs have no gradient."""
        if not self.has_pairs:
            raise NotApplicable("there are no eigenpairs that have a gradient")

    def require_dtype(self, dtype: torch.dtype) -> None:
        """`NotApplicable` if the method does not take the precision in which a check is made."""
        if dtype not in self.method.dtypes:
            raise NotApplicable(f"it does not take {name_of(dtype)}, in which this is checked")

    def require_promise(self, promise: Promise) -> None:
        """`NotApplicable` if the method does not promise it."""
        if promise not in self.method.promises:
            raise NotApplicable(f"it does not promise “{promise}”")

    def require_accuracy(self) -> None:
        """`NotApplicable` if the forward pass is an approximation that never converges."""
        if not self.is_accurate:
            raise NotApplicable("an approximation, and no parameters with which it converges")


def losses(subject: Subject, method: Method, n: int, dtype: torch.dtype) -> dict[str, Loss]:
    """What `method`, an instance of the subject, can be differentiated through, by name."""
    subject.require_dtype(dtype)
    W, ranks = weights(n, dtype), torch.arange(n, dtype=dtype.to_real())
    found: dict[str, Loss] = {}
    if subject.has_pairs:
        found["eigenpairs"] = lambda M: pair_loss(*method.eigh(M), W, ranks)
    if subject.has_pairs and "subspace" in method.promises:

        def leading(M: Tensor) -> Tensor:
            v = method.eigh(M).eigenvectors[..., -1:]
            return _inner(W, v @ v.mH)

        found["leading eigenvector"] = leading
    name = next(iter(subject.functions), None)
    if name is None:
        found["whitening"] = lambda M: _inner(W, method.whitening(M))
    else:
        function = FUNCTIONS[name]
        found[name] = lambda M: _inner(W, method.matrix_function(M, function))
    return found


def _inner(W: Tensor, X: Tensor) -> Tensor:
    """`Re⟨W, X⟩`."""
    inner: Tensor = (W.conj() * X).sum().real
    return inner


def pair_loss(eigenvalues: Any, V: Any, W: Any, ranks: Any) -> Any:
    """`Re⟨W, V diag(1/(1 + λ²)) Vᴴ⟩ + Σ i·λi`, which depends on no sign, phase or basis.

    Of NumPy arrays and tensors alike, `(..., n)` and `(..., n, n)`; over a batch of tensors the
    sum, over one of arrays `(...)`.
    """
    f_of_M = (V * (1 / (1 + eigenvalues**2))[..., None, :]) @ V.conj().swapaxes(-1, -2)
    each = (W.conj() * f_of_M).sum((-2, -1)).real + (ranks * eigenvalues).sum(-1)
    return each.sum() if isinstance(each, Tensor) else each


def gradient(loss: Loss, M: Tensor) -> Tensor:
    """`∂L/∂M` `(..., n, n)`."""
    X = M.detach().clone().requires_grad_()
    found: Tensor = torch.autograd.grad(loss(X), X)[0]
    return found


def relative(found: Tensor, truth: Tensor) -> float:
    """‖found − truth‖/‖truth‖, in float64."""
    found, truth = in_double(found), in_double(truth)
    return float(torch.linalg.vector_norm(found - truth) / torch.linalg.vector_norm(truth))


def in_double(X: Tensor) -> Tensor:
    """In float64, or complex128."""
    return X.detach().to(torch.complex128 if X.is_complex() else torch.float64)
