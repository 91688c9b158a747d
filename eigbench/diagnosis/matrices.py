"""The matrices to diagnose and their gradients: of a caller, a file, or a call that was watched."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigbench.data.matrices import (
    SYMMETRY_TOLERANCE,
    NamedArray,
    as_numpy,
    dtype_name,
    read_arrays,
    reading,
)
from eigbench.diagnosis.page import one_line
from eigbench.errors import InputError
from eigbench.runs.store import write_whole
from eigbench.spectra import Floats

FORMAT = "eigbench-watch-1"
OUTPUTS = {
    "eigh": ("eigenvalues", "eigenvectors"),
    "svd": ("left", "singular values", "right"),
}
"""The names of what each operation returns, in its order; `right` is Vᴴ."""
FUNCTION = "function"
"""The name of a gradient by f(M), of M's shape."""

Numbers = NDArray[Any]
"""An array of float64 or complex128."""


@dataclass(frozen=True, eq=False)
class Upstream:
    """The loss's gradients as they reach the decomposition, in float64 or complex128.

    Complex gradients follow torch's convention: `dL = Re ⟨gradient, d output⟩`.
    """

    gradients: Mapping[str, Numbers] = field(default_factory=dict)
    """By the names in `OUTPUTS`, or `FUNCTION`: each of its output's shape, without batch."""
    outputs: Mapping[str, Numbers] = field(default_factory=dict)
    """What the watched call returned, to which the gradients belong; empty if it is not known.

    Then gradients by vectors belong to those that torch returns for the matrix in its own dtype.
    """

    @property
    def finite(self) -> bool:
        """Whether every gradient is finite."""
        return all(np.isfinite(array).all() for array in self.gradients.values())

    @property
    def of_outputs(self) -> bool:
        """Whether there is a gradient by values or vectors of a decomposition."""
        return bool(self.gradients.keys() - {FUNCTION})


@dataclass(frozen=True)
class Origin:
    """The call in which `eigbench.watch` saw a matrix."""

    operation: str
    """Of torch.linalg, such as "eigh", "svdvals" or "pinv"."""
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
    """One matrix `(m, n)` as it was given, and the dtype that it was given in."""

    label: str
    entries: Numbers
    """Float64, or complex128 if it was given complex."""
    dtype: str
    """Of torch, such as "bfloat16" or "complex64"."""
    decomposition: Literal["eigh", "svd"] = "eigh"
    """Its problem: eigenpairs of a square matrix that should be Hermitian, or singular triples.

    "svd" of what is not square, and of what a watched `svd`, `svdvals` or `pinv` was given.
    """
    upstream: Upstream = field(default_factory=Upstream)
    origin: Origin | None = None

    @property
    def usable(self) -> GivenMatrix:
        """Without gradients that are not finite: every method would give NaN of them."""
        return self if self.upstream.finite else replace(self, upstream=Upstream())


def given_matrices(M: Any, gradients: Any) -> list[GivenMatrix]:
    """What `eigbench.diagnose` is given, as matrices; it says which arguments are right.

    Matrices of a file are labelled by their keys, and by M where there is none.
    """
    if not isinstance(M, str | Path):
        named = gradients if isinstance(gradients, Mapping) else {"M": gradients}
        some = () if gradients is None else [_array(str(key), one) for key, one in named.items()]
        return _from_arrays([_array("M", M)], some)
    path = Path(M)
    if gradients is not None and not isinstance(gradients, str | Path):
        raise InputError("gradients: where M is the path of a file, the path of another is right")
    call = read_call(path)
    if call is None:
        others = () if gradients is None else read_arrays(Path(gradients))[0]
        return _from_arrays(read_arrays(path)[0], others)
    if gradients is not None:
        raise InputError(f"--gradients: {path} brings its gradients along")
    return [call]


def _from_arrays(arrays: Sequence[NamedArray], upstream: Sequence[NamedArray]) -> list[GivenMatrix]:
    """Every matrix of every array; `InputError` where a shape or a type is not right."""
    gradients = {array.key or "M": _real(array) for array in upstream}
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
        parts = {f"by_{name}": values for name, values in gradients.items()}
    elif only and len(gradients) == 1:  # there is nothing that it could be mistaken for
        parts = {"by_function": next(iter(gradients.values()))}
    elif not only and key in gradients:
        parts = {"by_function": gradients[key]}
    else:
        raise InputError(
            f"no gradient for {key}: there are {', '.join(gradients)}; right are the same keys as "
            "the matrices have, or for a single array eigenvalues and eigenvectors"
        )
    for name, values in parts.items():
        shape = stack.shape[:-1] if name == "by_eigenvalues" else stack.shape
        if values.shape != shape:
            what = f"the gradient of {key}, {name.replace('_', ' ')},"
            raise InputError(f"{what} has shape {values.shape}; {shape} is right")
    return parts


def _array(key: str, value: Any) -> NamedArray:
    if isinstance(value, Tensor):
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


def write_call(
    path: Path,
    matrix: Tensor,
    outputs: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
    origin: Origin,
) -> None:
    """Write tensors of one call, whole or not at all; `torch.load(weights_only=True)` reads it.

    The matrix is `(m, n)`; outputs, and the loss's gradients by them, go by the names in `OUTPUTS`.
    """
    content = {
        "format": FORMAT,
        "matrix": matrix.cpu().clone(),
        "outputs": {name: value.cpu().clone() for name, value in outputs.items()},
        "gradients": {name: value.cpu().clone() for name, value in gradients.items()},
        **asdict(origin),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def read_call(path: Path) -> GivenMatrix | None:
    """The matrix of a saved call, or None if the file is another kind; `InputError` if damaged.

    Where `svd` decomposed an X that is not symmetric, it is XᵀX.
    """
    if path.suffix.lower() != ".pt":
        return None
    with reading(path):
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    if not (isinstance(content, dict) and content.get("format") == FORMAT):
        return None
    try:
        origin = Origin(**{part.name: content[part.name] for part in fields(Origin)})
        entries, dtype = as_numpy(content["matrix"]), dtype_name(content["matrix"])
        outputs, gradients = (
            {name: as_numpy(value) for name, value in content[part].items()}
            for part in ("outputs", "gradients")
        )
        names = OUTPUTS[origin.operation]
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"cannot read {path}: a part of the saved call is missing") from error
    if not ({*outputs, *gradients} <= {*names} and entries.ndim == 2):
        raise InputError(f"cannot read {path}: its parts are not those of a saved call")
    if origin.operation == "eigh":
        by_values, by_vectors = gradients.get("eigenvalues"), gradients.get("eigenvectors")
        upstream = Upstream(None, by_values, by_vectors, outputs.get("eigenvectors"))
    elif _symmetric(entries):
        upstream = _upstream_of_svd(outputs, gradients)
    else:
        X = entries if entries.shape[0] >= entries.shape[1] else entries.T
        with np.errstate(over="ignore", invalid="ignore"):
            return GivenMatrix("XᵀX", X.T @ X, dtype, Upstream(), origin, gram=True)
    return GivenMatrix("M", entries, dtype, upstream, origin)


def _symmetric(entries: Floats) -> bool:
    if entries.shape[0] != entries.shape[1]:
        return False
    largest = np.abs(entries).max(initial=0)
    return not np.abs(entries - entries.T).max(initial=0) > SYMMETRY_TOLERANCE * largest


def _upstream_of_svd(outputs: Mapping[str, Floats], gradients: Mapping[str, Floats]) -> Upstream:
    """The gradients by the eigenpairs of a symmetric matrix, from those by its singular triples.

    A left and a right singular vector are one eigenvector, up to the sign of its eigenvalue.
    """
    if not (outputs and gradients):
        return Upstream()
    left, values, right = (outputs[name] for name in OUTPUTS["svd"])
    V = right.T
    signs = np.where((left * V).sum(axis=0) < 0, -1.0, 1.0)
    order = np.argsort(signs * values, kind="stable")
    by_values = gradients.get("singular values")
    by_vectors = gradients.get("left", np.zeros_like(V))
    if "right" in gradients:
        by_vectors = by_vectors + gradients["right"].T * signs
    return Upstream(
        by_eigenvalues=None if by_values is None else (by_values * signs)[order],
        by_eigenvectors=by_vectors[:, order] if {"left", "right"} & gradients.keys() else None,
        eigenvectors=left[:, order],
    )
