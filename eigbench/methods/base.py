"""The interface that every method of differentiating an eigendecomposition stands behind."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from eigbench.errors import NotApplicable
from eigbench.methods.functions import SpectralFunction, Whitening
from eigbench.phases import phase

Promise = Literal["exact", "functions", "finite", "scale", "continuous", "isolated", "subspace"]
"""What the source of a method claims of its gradient; `eigbench check` tests it.

exact: the gradient of the eigenpairs wherever gaps are open; functions: that of functions of M at
any gap, zero included; finite: some gradient, never NaN or infinite, at any gap; scale: no
constant that is not relative to M; continuous: no jump where two eigenvalues cross; isolated: the
gradient of a well separated eigenvector, whatever repeats elsewhere; subspace: that of the
projector on a leading subspace, whatever repeats on either side of the cut.
"""

Parameter = int | float | bool | None


REAL = frozenset({torch.float32, torch.float64})
HERMITIAN = REAL | {torch.complex64, torch.complex128}
"""The dtypes of symmetric matrices, and of Hermitian ones, which may be real."""


SQUARE_ROOT, CHOLESKY = "inverse square root", "inverse Cholesky factor"
"""The two matrices that methods whiten by."""


class Eigenpairs(NamedTuple):
    """Eigenvalues `(..., n)`, ascending, and eigenvectors `(..., n, n)`, in columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


@dataclass(frozen=True)
class Method(abc.ABC):
    """One way to decompose symmetric matrices `(..., n, n)` and to differentiate the result.

    Complex matrices are Hermitian, and with `Vᴴ` for `Vᵀ` all is said of them as well.

    A subclass is a frozen dataclass: its fields are the method's parameters, so that a suite can
    sweep them. The forward contract is that of `torch.linalg.eigh`; what differs is the gradient.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    dtypes: ClassVar[frozenset[torch.dtype]] = REAL
    """What M may be of; `HERMITIAN` of a method with a rule for complex M, too."""
    real_only: ClassVar[str] = "its rule is for real M"
    """Why, in one line, of a method that takes no complex M."""
    device_types: ClassVar[frozenset[str]] = frozenset({"cpu", "cuda"})
    differentiates: ClassVar[Literal["eigenpairs", "functions"]] = "eigenpairs"
    """What has a gradient: the eigenpairs, or only functions of M through `matrix_function`.

    A method of the second kind gives eigenpairs too, but raises when a gradient reaches the
    eigenvectors.
    """
    decomposes: ClassVar[bool] = True
    """Whether there are eigenpairs at all. Without, `eigh` raises `NotApplicable`."""
    truncation: ClassVar[str] = "algorithm-1"
    """The rule of `eigbench.truncation` by which a whitening layer truncates unless told."""
    whitens_by: ClassVar[str] = SQUARE_ROOT
    """What `whitening` gives."""
    promises: ClassVar[frozenset[Promise]] = frozenset()
    converged: ClassVar[Mapping[str, Parameter]] = {}
    """Parameters with which an approximation has reached what it approximates, where gaps are open.

    `eigbench.contract` holds the method to the exact gradient with these. Empty if there are none.
    """

    precision: ClassVar[Literal["input", "float64"]] = "input"
    """What `eigbench.matrix_function` computes in, unless it is asked for something else."""
    once: ClassVar[str | None] = None
    """Why there is never a second derivative, of a method that `pairwise_eigh` differentiates."""
    cancellation: ClassVar[float] = 1.0
    """By how much more a float32 gradient may lose to rounding than the terms of Eq. 1 would.

    More than 1 of a rule that is known to subtract large terms from each other.
    """

    @abc.abstractmethod
    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`; its gradient is a symmetric matrix."""

    def matrix_function(self, M: Tensor, function: SpectralFunction) -> Tensor:
        """`f(M) = V diag(f(λ)) Vᵀ` `(..., n, n)`, by default built on `eigh`."""
        return reconstruct(self.eigh(M), function)

    def whitening(self, M: Tensor) -> Tensor:
        """A matrix W `(..., n, n)` with `W M Wᵀ = I`: here `M^(−1/2)`, the symmetric one."""
        return self.matrix_function(M, Whitening())

    def function_refusal(self, function: SpectralFunction) -> str | None:  # noqa: ARG002
        """Why this method cannot give `function` of a matrix, or None if it can."""
        return None

    def refusal(self, M: Tensor) -> str | None:
        """Why this method cannot take `M`, or None if it can."""
        if M.dtype not in self.dtypes:
            ordered = sorted(self.dtypes, key=lambda dtype: (dtype.is_complex, dtype.itemsize))
            names = ", ".join(str(dtype).removeprefix("torch.") for dtype in ordered)
            why = f": {self.real_only}" if M.is_complex() else ""
            return f"{self.name} takes {names}, not {str(M.dtype).removeprefix('torch.')}{why}"
        # To ask for the name of a device takes 7 µs among other work.
        if not (M.is_cpu and "cpu" in self.device_types) and M.device.type not in self.device_types:
            return f"{self.name} runs on {', '.join(sorted(self.device_types))}, not {M.device}"
        return None

    @classmethod
    def parameter_names(cls) -> tuple[str, ...]:
        """The names of the parameters that this method takes."""
        # What a dataclass's constructor takes; unlike `fields`, a compiler can follow it.
        return cls.__match_args__


class WithoutEigenpairs(Method, abc.ABC):
    """A method that computes functions of M, and no eigenpairs on the way."""

    differentiates: ClassVar[Literal["eigenpairs", "functions"]] = "functions"
    decomposes: ClassVar[bool] = False
    truncation: ClassVar[str] = "none"

    def eigh(self, M: Tensor) -> Eigenpairs:  # noqa: ARG002
        """Raises `NotApplicable`: there are no eigenpairs."""
        raise no_eigenpairs(self)


def reconstruct(pairs: Eigenpairs, function: SpectralFunction) -> Tensor:
    """`V diag(f(λ)) Vᵀ` `(..., n, n)` of eigenpairs."""
    with phase("coefficients"):
        values = function.values(pairs.eigenvalues)
    with phase("products"):
        V = pairs.eigenvectors
        return product(V * values[..., None, :], V.mH)


def no_eigenpairs(method: Method) -> NotApplicable:
    """What `eigh` raises of a method that computes functions of M without eigenpairs."""
    return NotApplicable(
        f"{method.name} computes no eigenpairs: call eigbench.matrix_function, "
        "or choose another method"
    )


def symmetric_part(M: Tensor) -> Tensor:
    """`(M + Mᴴ)/2`, through which every gradient becomes a symmetric matrix."""
    return (M + M.mH) / 2


def real_part(X: Tensor) -> Tensor:
    """`Re X`, of a real `X` itself."""
    return X.real if X.is_complex() else X


def real_diagonal(X: Tensor) -> Tensor:
    """The diagonal `(..., n)` of a Hermitian `X` `(..., n, n)`, which is real."""
    return real_part(X.diagonal(dim1=-2, dim2=-1))


def product(A: Tensor, B: Tensor) -> Tensor:
    """`A @ B`, which for batches of matrices takes several operators of torch more."""
    return torch.bmm(A, B) if A.dim() == 3 == B.dim() else A @ B


def one_batch(X: Tensor) -> Tensor:
    """`X` `(..., n, n)` as `(batch, n, n)`: products of those take the fewest operators."""
    return X if X.dim() == 3 else X.reshape(math.prod(X.shape[:-2]), *X.shape[-2:])


def frobenius_norm(X: Tensor) -> Tensor:
    """Frobenius norms `(..., 1, 1)` of `X` `(..., n, n)`."""
    norms: Tensor = torch.linalg.vector_norm(X, dim=(-2, -1), keepdim=True)
    return norms


def require_count(name: str, count: object) -> None:
    """Refuse what is not a whole number from 1 on."""
    if type(count) is not int or count < 1:  # a bool is an int, but no number here
        raise ValueError(f"{name} must be a whole number, 1 or more, not {count!r}")


def require_positive(name: str, number: Any) -> None:
    """Refuse what is not a finite number above 0."""
    real = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not (real and 0 < number < math.inf):
        raise ValueError(f"{name} must be a number above 0, not {number!r}")
