"""The matrices to diagnose and their gradients: of a caller, a file, or a call that was watched."""

from __future__ import annotations

import bisect
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigbench.data.matrices import (
    LONGEST_NAME,
    NamedArray,
    as_numpy,
    bytes_of,
    dtype_name,
    load_pt,
    read_arrays,
    reading,
    require_room,
)
from eigbench.diagnosis.page import first_line
from eigbench.errors import InputError, at, printable
from eigbench.runs.store import write_whole

FORMATS = "eigbench-watch-1", "eigbench-watch-2"
"""Of files of `watch`, the last one of those that it writes; the first knew eigh and svd only."""
OUTPUTS = {
    "eigh": ("eigenvalues", "eigenvectors"),
    "svd": ("left", "singular values", "right"),
}
"""The names of what each operation returns, in its order; `right` is Vᴴ."""
FUNCTION = "function"
"""The name of a gradient by f(M), of M's shape."""

Decomposition = Literal["eigh", "svd"]
Numbers = NDArray[Any]
"""An array of float64 or complex128."""


@dataclass(frozen=True, kw_only=True)
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
    given_dtype: str = ""
    """In which the caller had M, if it was cast to be decomposed, as autocast does."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedCall(Origin):
    """One matrix of a call, as `watch` saves it."""

    matrix: Tensor
    """`(m, n)`."""
    decomposition: str = ""
    """"eigh" or "svd"; empty in older files, where it is the operation."""
    outputs: dict[str, Tensor]
    """By the names in `OUTPUTS`; the gradients by them too."""
    gradients: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class GivenMatrix:
    """One matrix `(m, n)` as it was given, and the loss's gradients as they reach it."""

    label: str
    entries: Numbers
    """Float64, or complex128 if it was given complex."""
    dtype: str
    """In which it was given: of torch, such as "bfloat16" or "complex64"."""
    decomposition: Decomposition = "eigh"
    """Its problem: eigenpairs of a square matrix that should be Hermitian, or singular triples.

    "svd" of what is not square, and of what a watched `svd`, `svdvals` or `pinv` was given.
    """
    gradients: Mapping[str, Numbers] = field(default_factory=dict)
    """By the names in `OUTPUTS`, or `FUNCTION`: each of its output's shape, without batch.

    Complex ones follow torch's convention: `dL = Re ⟨gradient, d output⟩`.
    """
    outputs: Mapping[str, Numbers] = field(default_factory=dict)
    """What the watched call returned, to which the gradients belong; empty if it is not known.

    Then gradients by vectors belong to those that torch returns for the matrix in its own dtype.
    """
    origin: Origin | None = None

    @property
    def of_outputs(self) -> bool:
        """Whether there is a gradient by values or vectors of a decomposition."""
        return bool(self.gradients.keys() - {FUNCTION})

    @property
    def usable(self) -> GivenMatrix:
        """Without gradients that are not finite: every method would give NaN of them."""
        finite = all(np.isfinite(array).all() for array in self.gradients.values())
        return self if finite else replace(self, gradients={}, outputs={})


@dataclass(frozen=True, eq=False)
class Stack:
    """Matrices of one size and kind, as they were given, and what belongs to each of them."""

    name: str
    entries: Numbers
    """`(count, m, n)`."""
    dtype: str
    decomposition: Decomposition
    batch: tuple[int, ...] = ()
    """The shape that the count was given in; empty for a single matrix."""
    gradients: Mapping[str, Numbers] = field(default_factory=dict)
    """`(count, ...)`, by the names of `GivenMatrix.gradients`; so are the outputs."""
    outputs: Mapping[str, Numbers] = field(default_factory=dict)
    origin: Origin | None = None

    def label(self, i: int) -> str:
        """The name of a matrix, such as `M` or `features[2, 0]`."""
        if not self.batch:
            return self.name
        return f"{self.name}[{', '.join(map(str, np.unravel_index(i, self.batch)))}]"

    def matrix(self, i: int) -> GivenMatrix:
        """One of them, with its label and its gradients."""
        parts = self.gradients, self.outputs
        gradients, outputs = ({name: one[i] for name, one in some.items()} for some in parts)
        kind = self.dtype, self.decomposition
        return GivenMatrix(self.label(i), self.entries[i], *kind, gradients, outputs, self.origin)


class Matrices:
    """Every matrix that was given, in order; one is made when it is asked for.

    There may be millions: what looks at all of them takes the arrays in `stacks`.
    """

    def __init__(self, stacks: Iterable[Stack]) -> None:
        self.stacks = tuple(stacks)
        self._ends = list(itertools.accumulate(len(stack.entries) for stack in self.stacks))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> GivenMatrix:
        which = bisect.bisect_right(self._ends, index)
        return self.stacks[which].matrix(index - (self._ends[which - 1] if which else 0))


def given_matrices(M: Any, gradients: Any) -> Matrices:
    """What `eigbench.diagnose` is given, as matrices; it says which arguments are right.

    Matrices of a file are labelled by their keys, and by M where there is none.
    """
    if not isinstance(M, str | Path):
        named = gradients if isinstance(gradients, Mapping) else {"M": gradients}
        some = () if gradients is None else [_array(str(key), one) for key, one in named.items()]
        return Matrices(_stacks([_array("M", M)], some))
    path = Path(M)
    if gradients is not None and not isinstance(gradients, str | Path):
        raise InputError("gradients: where M is the path of a file, the path of another is right")
    call = read_call(path)
    if call is None:
        others = () if gradients is None else read_arrays(Path(gradients))[0]
        return Matrices(_stacks(read_arrays(path)[0], others))
    if gradients is not None:
        raise InputError(f"--gradients: {path} brings its gradients along")
    return Matrices([call])


def _stacks(arrays: Sequence[NamedArray], upstream: Sequence[NamedArray]) -> list[Stack]:
    """One for every array; `InputError` where a shape or a type is not right."""
    given = {array.key or "M": array for array in upstream}
    return [_stack(array, _own(array, given, only=len(arrays) == 1)) for array in arrays]


def _own(
    array: NamedArray, given: Mapping[str, NamedArray], *, only: bool
) -> dict[str, NamedArray]:
    """Those of the given gradients that belong to an array, by the names in `OUTPUTS`."""
    key = array.key or "M"
    renamed = {name.replace("_", " "): one for name, one in given.items()}
    if only and any(renamed.keys() <= {*names} for names in OUTPUTS.values()):
        return renamed
    if only and len(given) == 1:  # there is nothing that it could be mistaken for
        return {FUNCTION: next(iter(given.values()))}
    if not only and key in given:
        return {FUNCTION: given[key]}
    if not given:
        return {}
    outputs = " or ".join(f"({', '.join(names)})" for names in OUTPUTS.values())
    raise InputError(
        f"no gradient for {printable(key, LONGEST_NAME)}: there are "
        f"{printable(', '.join(given), LONGEST_NAME)}; right are the same keys as the "
        f"matrices have, or for a single array some of {outputs}"
    )


def _stack(array: NamedArray, gradients: Mapping[str, NamedArray]) -> Stack:
    entries = _numbers(array)
    if entries.ndim < 2 or entries.size == 0:
        raise InputError(f"{array.name} has shape {entries.shape}; (..., m, n) is right, not empty")
    *batch, m, n = entries.shape
    decomposition: Decomposition = "eigh"
    if m != n or gradients.keys() & OUTPUTS["svd"]:
        decomposition = "svd"
    of_M = {name: _numbers(one) for name, one in gradients.items()}
    _require_fitting(f"the gradient of {array.key or 'M'}, ", of_M, entries, decomposition)
    return Stack(
        printable(array.key, LONGEST_NAME) or "M",
        entries.reshape(-1, m, n),
        array.dtype,
        decomposition,
        tuple(batch),
        {name: one.reshape(-1, *one.shape[len(batch) :]) for name, one in of_M.items()},
    )


def _require_fitting(
    what: str, parts: Mapping[str, Numbers], entries: Numbers, decomposition: str
) -> None:
    """Refuse outputs of `(..., m, n)`, or gradients by them, that are not this decomposition's."""
    *batch, m, n = entries.shape
    k = min(m, n)
    shapes: dict[str, list[tuple[int, ...]]] = {
        FUNCTION: [(m, n)],
        "eigenvalues": [(n,)],
        "eigenvectors": [(n, n)],
        "singular values": [(k,)],
        "left": [(m, k), (m, m)],
        "right": [(k, n), (n, n)],
    }
    for name, values in parts.items():
        if name not in (FUNCTION, *OUTPUTS[decomposition]):
            names, short = ", ".join(OUTPUTS[decomposition]), printable(name, LONGEST_NAME)
            raise InputError(f"{what}{short}: a matrix of shape {(m, n)} has {names}")
        right = dict.fromkeys((*batch, *shape) for shape in shapes[name])
        if values.shape not in right:
            words = " or ".join(map(str, right))
            raise InputError(f"{what}{name}, has shape {values.shape}; {words} is right")
        if values.dtype.kind == "c" and (name.endswith("values") or entries.dtype.kind != "c"):
            raise InputError(f"{what}{name}, is complex; real numbers are right")


def _reason(error: Exception) -> str:
    return printable(first_line(error), 2 * LONGEST_NAME)


def _array(key: str, value: Any) -> NamedArray:
    try:
        if isinstance(value, Tensor):
            return NamedArray(key, as_numpy(value), dtype_name(value), key)
        array: NDArray[Any] = np.asarray(value)
    # Each kind of tensor has its own error for what has no values, such as one on meta.
    except Exception as error:
        raise InputError(f"{key} is not an array of numbers: {_reason(error)}") from error
    return NamedArray(key, array, str(array.dtype), key)


def _numbers(array: NamedArray) -> Numbers:
    if array.values.dtype.kind not in "fiubc":
        raise InputError(f"{array.name} is of type {array.dtype}; numbers are right")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, which is a finding
        complex_ = array.values.dtype.kind == "c"
        return array.values.astype(np.complex128 if complex_ else np.float64, copy=False)


def write_call(path: Path, call: SavedCall) -> None:
    """Write one call, whole or not at all; `torch.load(weights_only=True)` reads it."""

    def kept(value: Any) -> Any:  # without the batch that it may be a view of
        if isinstance(value, dict):
            return {name: kept(one) for name, one in value.items()}
        if isinstance(value, Tensor):
            return value.cpu().resolve_conj().resolve_neg().clone()
        return value

    buffer = io.BytesIO()
    torch.save({"format": FORMATS[-1], **kept(vars(call))}, buffer)
    write_whole(path, buffer.getvalue())


def read_call(path: Path) -> Stack | None:
    """The matrix of a saved call, or None if the file is another kind; `InputError` if damaged."""
    if path.suffix.lower() != ".pt":
        return None
    with reading(path):
        content = load_pt(path)
        parts = content.values() if isinstance(content, dict) else ()
        nested = (x for one in parts for x in (one.values() if isinstance(one, dict) else [one]))
        require_room(path, [bytes_of(one) for one in nested if isinstance(one, Tensor)])
    if not (isinstance(content, dict) and str(content.get("format")) in FORMATS):
        return None
    with at(f"cannot read {path}"):
        try:
            return _stack_of(msgspec.convert(content, SavedCall))
        except msgspec.ValidationError as error:
            raise InputError(f"a part of the saved call is not right: {_reason(error)}") from error


def _stack_of(call: SavedCall) -> Stack:
    kind = call.decomposition or call.operation
    if kind not in OUTPUTS:
        raise InputError(f"its decomposition is {printable(kind, 9)}; eigh or svd is right")
    decomposition: Decomposition = "svd" if kind == "svd" else "eigh"
    M = _numbers(_array("its matrix", call.matrix))
    if M.ndim != 2 or M.size == 0 or (kind == "eigh" and M.shape[0] != M.shape[1]):
        raise InputError(f"its matrix has shape {M.shape}; (m, n) is right, (n, n) for eigh")
    parts: dict[str, dict[str, Numbers]] = {}
    for what, tensors in (("gradients", call.gradients), ("outputs", call.outputs)):
        named = {
            name: _numbers(_array(f"its {what}, {printable(name, LONGEST_NAME)},", value))
            for name, value in tensors.items()
        }
        _require_fitting(f"its {what}, ", named, M, decomposition)
        parts[what] = {name: values[None] for name, values in named.items()}
    gradients, outputs = parts["gradients"], parts["outputs"]
    of_M = "M", M[None], dtype_name(call.matrix), decomposition
    return Stack(*of_M, gradients=gradients, outputs=outputs, origin=call)
