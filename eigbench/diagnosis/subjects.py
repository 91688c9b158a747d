"""What is to be diagnosed: matrices as they were given, with their upstream gradients if any."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigbench.data.matrices import NamedArray, as_numpy, dtype_name, read_arrays
from eigbench.errors import InputError
from eigbench.spectra import Floats

BY_PAIRS = frozenset({"eigenvalues", "eigenvectors"})
"""The keys of upstream gradients that belong to eigenpairs; others belong to a function of M."""


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
        """Whether every gradient is."""
        return all(np.isfinite(array).all() for _, array in self.given())

    def given(self) -> Iterator[tuple[str, Floats]]:
        """Each gradient that there is, with its name."""
        named = (
            ("∂L/∂f(M)", self.by_function),
            ("∂L/∂λ", self.by_eigenvalues),
            ("∂L/∂V", self.by_eigenvectors),
        )
        yield from ((name, array) for name, array in named if array is not None)

    @property
    def of_pairs(self) -> bool:
        """Whether there is a gradient by eigenvalues or eigenvectors."""
        return self.by_eigenvalues is not None or self.by_eigenvectors is not None


@dataclass(frozen=True)
class Origin:
    """Where `eigbench.watch` met a matrix."""

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
class Subject:
    """One matrix `(n, n)` as it was given, in float64, and the dtype that it was given in."""

    label: str
    entries: Floats
    dtype: str
    upstream: Upstream = field(default_factory=Upstream)
    origin: Origin | None = None
    gram: bool = False
    """Whether it is XᵀX of the X that was decomposed by `svd`."""


def from_file(path: Path, gradients: Path | None) -> list[Subject]:
    """The matrices of a file and, from another of the same kinds, their upstream gradients.

    A file that `eigbench.watch` saved brings its gradients along.
    """
    named = _short(path, read_arrays(path)[0])
    upstream = None if gradients is None else _short(gradients, read_arrays(gradients)[0])
    return from_arrays(named, upstream)


def from_value(M: Any, gradients: Any) -> list[Subject]:
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
    named: Sequence[NamedArray], upstream: Sequence[NamedArray] | None
) -> list[Subject]:
    """A subject for each matrix; `InputError` where a shape or a type is not right."""
    stacks = [_stack(array) for array in named]
    gradients = {array.name: _real(array) for array in upstream or ()}
    subjects: list[Subject] = []
    for array, stack in zip(named, stacks, strict=True):
        parts = _parts(array.name, stack, gradients, only=len(named) == 1)
        for place in itertools.product(*map(range, stack.shape[:-2])):
            label = f"{array.name}[{', '.join(map(str, place))}]" if place else array.name
            own = Upstream(**{part: values[place] for part, values in parts.items()})
            subjects.append(Subject(label, stack[place], array.dtype, own))
    if not subjects:
        raise InputError(f"{named[0].name} holds no matrices")
    return subjects


def _parts(
    name: str, stack: Floats, gradients: Mapping[str, Floats], *, only: bool
) -> dict[str, Floats]:
    """The upstream gradients of a stack `(..., n, n)`, by the names that `Upstream` has."""
    if not gradients:
        return {}
    if only and gradients.keys() <= BY_PAIRS:
        shapes = {"eigenvalues": stack.shape[:-1], "eigenvectors": stack.shape}
        for key, values in gradients.items():
            _require_shape(f"the gradient by {key}", values, shapes[key])
        return {f"by_{key}": values for key, values in gradients.items()}
    own = dict.fromkeys([name], next(iter(gradients.values()))) if only else gradients
    if name not in own or (only and len(gradients) > 1):
        raise InputError(
            f"no gradient for {name}: there are {', '.join(gradients)}; right are the same keys "
            "as the matrices have, or for a single array eigenvalues and eigenvectors"
        )
    _require_shape(f"the gradient of {name}", own[name], stack.shape)
    return {"by_function": own[name]}


def _require_shape(what: str, values: Floats, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise InputError(f"{what} has shape {values.shape}; {shape} is right")


def _short(path: Path, arrays: Sequence[NamedArray]) -> list[NamedArray]:
    """The arrays of a file under their keys alone: M where there is none."""
    names = [array.name.removeprefix(str(path))[1:-1] or "M" for array in arrays]
    return [
        NamedArray(name, array.values, array.dtype)
        for name, array in zip(names, arrays, strict=True)
    ]


def _array(name: str, value: Any) -> NamedArray:
    import torch  # late: an array in NumPy needs none

    if isinstance(value, torch.Tensor):
        return NamedArray(name, as_numpy(value), dtype_name(value))
    try:
        array: NDArray[Any] = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name} is not an array: {error}") from error
    return NamedArray(name, array, str(array.dtype))


def _stack(array: NamedArray) -> Floats:
    values = _real(array)
    if values.ndim < 2 or values.shape[-1] != values.shape[-2] or values.size == 0:
        raise InputError(
            f"{array.name} has shape {values.shape}; matrices must be square: (..., n, n)"
        )
    return values


def _real(array: NamedArray) -> Floats:
    if array.values.dtype.kind not in "fiub":
        raise InputError(f"{array.name} is of type {array.dtype}; real numbers are right")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, which is a finding
        values: Floats = array.values.astype(np.float64)
    return values
