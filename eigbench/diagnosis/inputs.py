"""The matrices to diagnose, as they were given, with their upstream gradients if there are any."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigbench.data.matrices import NamedArray, as_numpy, dtype_name, read_arrays
from eigbench.diagnosis.page import one_line
from eigbench.errors import InputError
from eigbench.spectra import Floats


@dataclass(frozen=True, eq=False)
class Upstream:
    """The loss's gradients as they reach the decomposition, in float64."""

    by_function: Floats | None = None
    """`∂L/∂f(M)` `(n, n)`."""
    by_eigenvalues: Floats | None = None
    """`∂L/∂λ` `(n,)`, ascending."""
    by_eigenvectors: Floats | None = None
    """`∂L/∂V` `(n, n)`."""
    eigenvectors: Floats | None = None
    """The V `(n, n)` to which `by_eigenvectors` belongs; None: that of `torch.linalg.eigh`."""

    @property
    def finite(self) -> bool:
        """Whether every gradient is finite."""
        return all(np.isfinite(array).all() for array in self.given().values())

    def given(self) -> dict[str, Floats]:
        """Each gradient that there is, by its name in formulas."""
        named = {
            "∂L/∂f(M)": self.by_function,
            "∂L/∂λ": self.by_eigenvalues,
            "∂L/∂V": self.by_eigenvectors,
        }
        return {name: array for name, array in named.items() if array is not None}

    @property
    def of_pairs(self) -> bool:
        """Whether there is a gradient by eigenvalues or eigenvectors."""
        return self.by_eigenvalues is not None or self.by_eigenvectors is not None


@dataclass(frozen=True)
class Origin:
    """The call in which `eigbench.watch` saw a matrix."""

    operation: str
    """"eigh" or "svd"."""
    cause: str
    """Why it was saved, in words."""
    step: int
    module: str
    """The innermost module of the model that made the call; empty if none is known."""
    shape: tuple[int, ...]
    """Of the batch that the call was given."""
    place: tuple[int, ...]
    """The index of this matrix in that batch."""


@dataclass(frozen=True, eq=False)
class GivenMatrix:
    """One matrix `(n, n)` as it was given, in float64, and the dtype that it was given in."""

    label: str
    entries: Floats
    dtype: str
    upstream: Upstream = field(default_factory=Upstream)
    origin: Origin | None = None
    gram: bool = False
    """Whether it is XᵀX of the X that was decomposed by `svd`."""


def from_file(path: Path, gradients: Path | None) -> list[GivenMatrix]:
    """The matrices of a file and, from another of the same kinds, their upstream gradients.

    Matrices are labelled by their keys in the file, and by M where there is none.
    """
    upstream = None if gradients is None else read_arrays(gradients)[0]
    return from_arrays(read_arrays(path)[0], upstream)


def from_value(M: Any, gradients: Any) -> list[GivenMatrix]:
    """The matrices of a tensor or an array `(..., n, n)`, and their upstream gradients.

    `gradients` is an array of M's shape, or a mapping with `eigenvalues`, `eigenvectors` or both.
    """
    if gradients is None:
        upstream = None
    elif isinstance(gradients, Mapping):
        upstream = [_array(str(key), value) for key, value in gradients.items()]
    else:
        upstream = [_array("M", gradients)]
    return from_arrays([_array("M", M)], upstream)


def from_arrays(
    arrays: Sequence[NamedArray], upstream: Sequence[NamedArray] | None
) -> list[GivenMatrix]:
    """Every matrix of every array; `InputError` where a shape or a type is not right."""
    gradients = {array.key or "M": _real(array) for array in upstream or ()}
    matrices: list[GivenMatrix] = []
    for array in arrays:
        key = array.key or "M"
        name = one_line(key)
        stack = _real(array)
        if stack.ndim < 2 or stack.shape[-1] != stack.shape[-2] or stack.size == 0:
            raise InputError(
                f"{array.name} has shape {stack.shape}; matrices must be square: (..., n, n)"
            )
        parts = _parts(key, stack, gradients, only=len(arrays) == 1)
        for place in itertools.product(*map(range, stack.shape[:-2])):
            label = f"{name}[{', '.join(map(str, place))}]" if place else name
            own = Upstream(**{part: values[place] for part, values in parts.items()})
            matrices.append(GivenMatrix(label, stack[place], array.dtype, own))
    return matrices


def _parts(
    key: str, stack: Floats, gradients: Mapping[str, Floats], *, only: bool
) -> dict[str, Floats]:
    """The upstream gradients of a stack `(..., n, n)`, by the names of `Upstream`'s fields."""
    if not gradients:
        return {}
    if only and gradients.keys() <= {"eigenvalues", "eigenvectors"}:
        shapes = {"eigenvalues": stack.shape[:-1], "eigenvectors": stack.shape}
        for name, values in gradients.items():
            _require_shape(f"the gradient by {name}", values, shapes[name])
        return {f"by_{name}": values for name, values in gradients.items()}
    if only and len(gradients) == 1:  # there is nothing that it could be mistaken for
        (own,) = gradients.values()
    elif not only and key in gradients:
        own = gradients[key]
    else:
        raise InputError(
            f"no gradient for {key}: there are {', '.join(gradients)}; right are the same keys as "
            "the matrices have, or for a single array eigenvalues and eigenvectors"
        )
    _require_shape(f"the gradient of {key}", own, stack.shape)
    return {"by_function": own}


def _require_shape(what: str, values: Floats, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise InputError(f"{what} has shape {values.shape}; {shape} is right")


def _array(key: str, value: Any) -> NamedArray:
    import torch  # late: an array in NumPy needs none

    if isinstance(value, torch.Tensor):
        return NamedArray(key, as_numpy(value), dtype_name(value), key)
    try:
        array: NDArray[Any] = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{key} is not an array: {error}") from error
    return NamedArray(key, array, str(array.dtype), key)


def _real(array: NamedArray) -> Floats:
    if array.values.dtype.kind not in "fiub":
        raise InputError(f"{array.name} is of type {array.dtype}; real numbers are right")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, which is a finding
        values: Floats = array.values.astype(np.float64)
    return values
