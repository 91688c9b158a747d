"""Spectral functions f(M) = V diag(f(λ)) Vᵀ: their values and their divided differences.

Nothing is used that NumPy arrays and torch tensors do not have alike: the float64 truth and a
method under test share the definition of f, not a gradient rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, ClassVar, Protocol

import numpy as np

from eigbench.errors import InputError

Array = Any  # numpy.ndarray or torch.Tensor: the arithmetic is the same


class SpectralFunction(Protocol):
    """A function of a symmetric matrix that acts on its eigenvalues `(..., n)`, ascending."""

    unbounded: ClassVar[bool] = False
    """Whether divided differences may be infinite where the values are finite, as of x log x at 0.

    `spectral` then keeps what is infinite apart from the rest of a gradient.
    """

    def values(self, eigenvalues: Array) -> Array:
        """`f(λ)` `(..., n)`."""
        ...

    def divided_differences(self, eigenvalues: Array) -> Array:
        """`F[i,j] = (f(λi) − f(λj))/(λi − λj)`, `F[i,i] = f′(λi)`: `(..., n, n)`.

        The coefficients of the exact gradient (Daleckii–Krein), free of cancellation.
        """
        ...

    def like(self, M: Any) -> SpectralFunction:  # noqa: ARG002
        """The same function with its constants in the dtype and on the device of a tensor `M`."""
        return self


@dataclass(frozen=True)
class InverseSquareRoot(SpectralFunction):
    """`M^(−1/2)`: ZCA whitening. `M` must be positive definite."""

    def values(self, eigenvalues: Array) -> Array:
        """`λ^(−1/2)`."""
        return eigenvalues**-0.5

    def divided_differences(self, eigenvalues: Array) -> Array:
        """`−1/(√λi √λj (√λi + √λj))`."""
        roots = eigenvalues**0.5
        row, column = roots[..., None], roots[..., None, :]
        return (-row * column * (row + column)) ** -1


@dataclass(frozen=True)
class Whitening(InverseSquareRoot):
    """The matrix that whitens: `M^(−1/2)`, or what a method has in its place.

    A method that whitens by another matrix, as `cholesky` does, takes this and refuses
    `InverseSquareRoot`.
    """


@dataclass(frozen=True)
class InverseRoot(SpectralFunction):
    """`M^(−1/p)` for a whole p, the `order`: 4 in Shampoo. `M` must be positive definite."""

    order: int

    def __post_init__(self) -> None:
        if type(self.order) is not int or self.order < 1:
            raise InputError(f"order must be a whole number, 1 or more, not {self.order!r}")

    def values(self, eigenvalues: Array) -> Array:
        """`λ^(−1/p)`."""
        return eigenvalues ** (-1 / self.order)

    def divided_differences(self, eigenvalues: Array) -> Array:
        """`−1/(r_i r_j Σ_k r_iᵏ r_j^(p−1−k))` with `r = λ^(1/p)`."""
        roots = eigenvalues ** (1 / self.order)
        row, column = roots[..., :, None], roots[..., None, :]
        total = sum(row**k * column ** (self.order - 1 - k) for k in range(self.order))
        return -1 / (row * column * total)


@dataclass(frozen=True)
class SquareRoot(SpectralFunction):
    """`M^(1/2)`: second-order pooling. `M` must be positive semi-definite.

    A negative eigenvalue that is 0 but for rounding counts as 0; `epsilon` is that of the dtype in
    which M was computed, by default that of the eigenvalues. Between two zeros the derivative is
    infinite: of a matrix that is singular for a reason take the root `OnRange`.
    """

    epsilon: float | None = None

    def values(self, eigenvalues: Array) -> Array:
        """`λ^(1/2)`; NaN below `−n·ε·λmax`."""
        library, n = library_of(eigenvalues), eigenvalues.shape[-1]
        # Numbers of more digits, mpmath's, are known to float64's where they came from it.
        exact = eigenvalues.dtype == object
        own = float(library.finfo("float64" if exact else eigenvalues.dtype).eps)
        epsilon = self.epsilon or own
        least = eigenvalues[..., -1:] * (-n * epsilon)
        return library.where(eigenvalues < least, eigenvalues, eigenvalues.clip(0)) ** 0.5

    def divided_differences(self, eigenvalues: Array) -> Array:
        """`1/(√λi + √λj)`; a negative eigenvalue counts as 0."""
        roots = eigenvalues.clip(0) ** 0.5
        return 1 / (roots[..., :, None] + roots[..., None, :])


@dataclass(frozen=True)
class Identity(SpectralFunction):
    """`M` itself, put together again from its eigenpairs."""

    def values(self, eigenvalues: Array) -> Array:
        """`λ`."""
        return eigenvalues

    def divided_differences(self, eigenvalues: Array) -> Array:
        """One everywhere."""
        ones = eigenvalues * 0 + 1
        return ones[..., :, None] * ones[..., None, :]


@dataclass(frozen=True, eq=False)
class Projector(SpectralFunction):
    """The projector on chosen eigenvectors: `f` is 1 on them and 0 on the others.

    `chosen` `(..., n)` holds 1 and 0, over the ascending order; for `eigbench.matrix_function` it
    may be a list and hold booleans, too. Only gaps between a chosen and another eigenvalue count.
    """

    chosen: Array

    def values(self, eigenvalues: Array) -> Array:  # noqa: ARG002
        """The 0 and 1 of `chosen`, whatever the eigenvalues are."""
        return self.chosen

    def divided_differences(self, eigenvalues: Array) -> Array:
        """`±1/(λi − λj)` between a chosen and another, else 0."""
        rise = self.chosen[..., :, None] - self.chosen[..., None, :]
        gap = eigenvalues[..., :, None] - eigenvalues[..., None, :]
        # Where nothing rises the gap may be anything, zero included: there it is divided by 1.
        return rise / (gap * (rise != 0) + (rise == 0))

    def like(self, M: Any) -> Projector:
        """With `chosen` as a tensor like `M`."""
        return replace(self, chosen=_tensor_like(self.chosen, M))


@dataclass(frozen=True, eq=False)
class Truncated(SpectralFunction):
    """`function` on the kept eigenpairs and 0 on the others, as after Algorithm 1's truncation.

    `kept` `(..., n)` holds 1 and 0, over the ascending order, and is a constant: the cut does not
    move with M. `function` must be defined at the kept eigenvalues and at 1, which stands in for
    each dropped one; a dropped eigenvalue may be anything finite, zero or negative included.
    """

    function: SpectralFunction
    kept: Array

    def values(self, eigenvalues: Array) -> Array:
        """`f(λ)` where kept, else exactly 0."""
        return self.kept * self.function.values(self._defined(eigenvalues))

    def divided_differences(self, eigenvalues: Array) -> Array:
        """Those of f between two kept, 0 between two dropped, `±f(λ)/(λi − λj)` across the cut."""
        row, column = self.kept[..., :, None], self.kept[..., None, :]
        inside = self.function.divided_differences(self._defined(eigenvalues))
        values = self.values(eigenvalues)
        rise = values[..., :, None] - values[..., None, :]
        gap = eigenvalues[..., :, None] - eigenvalues[..., None, :]
        cut = row != column
        # Off the cut the gap may be anything, zero included: there it is divided by 1.
        return row * column * inside + cut * rise / (gap * cut + (row == column))

    def like(self, M: Any) -> Truncated:
        """With `kept`, and the constants of `function`, as tensors like `M`."""
        return replace(self, function=self.function.like(M), kept=_tensor_like(self.kept, M))

    def _defined(self, eigenvalues: Array) -> Array:
        """The eigenvalues with 1 for each dropped one, where f need not be defined."""
        # Before f is applied, not after: autograd would multiply the 0 by an infinite f′.
        return eigenvalues * self.kept + (1 - self.kept)


@dataclass(frozen=True)
class OnRange(SpectralFunction):
    """`function` on the range of a positive semi-definite M, and 0 on its null space.

    Of a covariance of fewer samples than dimensions this is M^(1/2), the root of the
    pseudo-inverse, or what else `function` is. The range is spanned by the `rank` leading
    eigenvectors; without `rank` by those whose eigenvalue is above `n·epsilon·λmax`. `epsilon` is
    that of the dtype in which M was computed, by default that of the eigenvalues.

    The derivative is the exact one in every direction that keeps the rank of M: so it is for the
    factor X of `M = XᵀX`, of whatever shape. In other directions there may be none.
    """

    function: SpectralFunction
    rank: int | None = None
    epsilon: float | None = None

    def values(self, eigenvalues: Array) -> Array:
        """`f(λ)` on the range, else exactly 0."""
        return self.cut(eigenvalues).values(eigenvalues)

    def divided_differences(self, eigenvalues: Array) -> Array:
        """Those of `Truncated`."""
        return self.cut(eigenvalues).divided_differences(eigenvalues)

    def like(self, M: Any) -> OnRange:
        """With the constants of `function` as tensors like `M`."""
        return replace(self, function=self.function.like(M))

    def cut(self, eigenvalues: Array) -> Truncated:
        """The function with the range of these eigenvalues."""
        library, n = library_of(eigenvalues), eigenvalues.shape[-1]
        ones = library.ones_like(eigenvalues)
        if self.rank is not None:
            return Truncated(self.function, (library.cumsum(ones, -1) > n - self.rank) * ones)
        epsilon = self.epsilon or library.finfo(eigenvalues.dtype).eps
        return Truncated(self.function, (eigenvalues > n * epsilon * eigenvalues[..., -1:]) * ones)


def computed_in(function: SpectralFunction, epsilon: float) -> SpectralFunction:
    """The function of an M that was computed in a dtype with this `epsilon`, if it matters."""
    if isinstance(function, (Truncated, OnRange)):
        function = replace(function, function=computed_in(function.function, epsilon))
    if getattr(function, "epsilon", epsilon) is None:
        rounded: Any = function
        function = replace(rounded, epsilon=epsilon)
    return function


def in_double(M: Any, function: SpectralFunction, compute: Callable[[Any, Any], Any]) -> Any:
    """`compute(M, function)` in double precision, in the dtype of the tensor `M` again.

    Its gradient comes back in that dtype too: what is left of the error is that of rounding M.
    """
    import torch  # late: the truth in NumPy needs none

    dtype = M.dtype
    inside = torch.complex128 if dtype.is_complex else torch.float64
    if dtype != inside:
        # What is zero but for rounding depends on the dtype in which M was computed.
        M, function = M.to(inside), computed_in(function, torch.finfo(dtype).eps)
    return compute(M, function.like(M)).to(dtype)


def library_of(array: Array) -> Any:
    """NumPy or torch, whichever the array belongs to."""
    if isinstance(array, np.ndarray):
        return np
    import torch  # late: the truth in NumPy needs none

    library: ModuleType = torch
    return library


def _tensor_like(array: Array, M: Any) -> Any:
    import torch  # late: the truth in NumPy needs none

    # Not `to_real` of the dtype, which a compiler does not follow.
    tensor = torch.as_tensor(array).to(M.real if M.is_complex() else M)
    if tensor.shape[-1:] != M.shape[-1:]:
        raise InputError(
            f"one number for each of the {M.shape[-1]} ascending eigenvalues must say whether it "
            f"is chosen, not shape {tuple(tensor.shape)}"
        )
    return tensor
