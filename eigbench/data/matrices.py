"""The user's own matrices, read from a file without executing anything in it."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigbench.errors import InputError

Floats = NDArray[np.float64]

SYMMETRY_TOLERANCE = 1e-4
"""Relative asymmetry up to which a matrix counts as symmetric but for rounding: about √d float32
rounding errors of a covariance, with room."""


@dataclass(frozen=True, eq=False)
class LoadedMatrices:
    """Matrices by size, `(count, n, n)` float64, and what was done to them."""

    by_size: Mapping[int, Floats]
    sha256: str
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class NamedArray:
    """One array of a file: `FILE[KEY]`, its values, and the type in which the file holds them."""

    name: str
    values: NDArray[Any]
    dtype: str
    key: str = ""
    """Empty where the file holds a single array without a key."""


def load_matrices(path: Path) -> LoadedMatrices:
    """Read `.npy`, `.npz`, `.pt` (weights only) or `.safetensors`: one matrix or stacks of them.

    Every array must be `(..., n, n)`, real, finite and symmetric within rounding. `InputError`
    says which is not. Nothing in the file is executed: no pickles, weights only.
    """
    named, sha256 = read_arrays(path)
    notes: list[str] = []
    stacks: dict[int, list[Floats]] = {}
    for array in named:
        matrices = _checked(array.name, array.values, notes)
        stacks.setdefault(matrices.shape[-1], []).append(matrices)
    by_size = {n: np.concatenate(stack) for n, stack in sorted(stacks.items())}
    return LoadedMatrices(by_size, sha256, tuple(notes))


def read_arrays(path: Path) -> tuple[tuple[NamedArray, ...], str]:
    """The arrays of a file as they stand in it, whatever their values, and its SHA-256.

    `.npy`, `.npz`, `.pt` (weights only) or `.safetensors`. Nothing in the file is executed.
    `InputError` if it cannot be read, or holds no array.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"cannot read {path}: the ending must be {', '.join(_READERS)}")
    with reading(path):
        content = path.read_bytes()
        arrays = tuple(
            NamedArray(f"{path}[{key}]" if key else str(path), values, dtype, key)
            for key, values, dtype in reader(path)
        )
    if not arrays:
        raise InputError(f"{path} holds no matrices")
    return arrays, hashlib.sha256(content).hexdigest()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Inside, whatever a library raises of a damaged file is an `InputError` that names it."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except InputError:
        raise
    except Exception as error:
        # Each library has errors of its own for a damaged file, or for one that wants to execute.
        kind = path.suffix.lower()
        reason = f"not a valid {kind} file ({_first_sentence(error)})"
        raise InputError(f"cannot read {path}: {reason}") from error


def _checked(name: str, array: NDArray[Any], notes: list[str]) -> Floats:
    """The matrices of one array as `(count, n, n)` float64, exactly symmetric."""
    if array.ndim < 2 or array.shape[-1] != array.shape[-2] or array.size == 0:
        raise InputError(f"{name} has shape {array.shape}; matrices must be square: (..., n, n)")
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} is of type {array.dtype}; matrices must hold real numbers")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused below
        matrices = array.astype(np.float64).reshape(-1, *array.shape[-2:])
    if not np.isfinite(matrices).all():
        count = int((~np.isfinite(matrices)).sum())
        raise InputError(f"{name} holds {count} values that are NaN or infinite")
    transposed = matrices.swapaxes(-1, -2)
    largest = np.abs(matrices).max(axis=(-2, -1))
    # Halves, so that neither a difference nor a sum overflows.
    difference = np.abs(matrices / 2 - transposed / 2).max(axis=(-2, -1))
    asymmetry = difference / np.where(largest / 2 > 0, largest / 2, 1)
    worst = int(asymmetry.argmax())
    if asymmetry[worst] > SYMMETRY_TOLERANCE:
        raise InputError(
            f"{name}, matrix {worst}, is not symmetric: entries differ from their mirror image by "
            f"{asymmetry[worst]:.1e} of the largest; up to {SYMMETRY_TOLERANCE:.0e} is rounding"
        )
    if asymmetry[worst] > 0:
        notes.append(f"{name}: symmetrised, (M + Mᵀ)/2; asymmetry was {asymmetry[worst]:.1e}")
    # Where the two agree they are left alone: halving would round the smallest numbers.
    return np.where(matrices == transposed, matrices, matrices / 2 + transposed / 2)


def _first_sentence(error: Exception) -> str:
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return line.split(". ")[0]


_Arrays = Iterator[tuple[str, NDArray[Any], str]]
"""The key of an array in its file, its values, and its type in the file."""


def _npy(path: Path) -> _Arrays:
    with path.open("rb") as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    yield "", array, str(array.dtype)


def _npz(path: Path) -> _Arrays:
    # Not np.load: it takes any kind of file, and leaves a damaged archive open.
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if not member.endswith(".npy"):
                raise InputError(
                    f"cannot read {path}: it holds {member!r}; an .npz holds .npy files only"
                )
            with archive.open(member) as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
            yield member.removesuffix(".npy"), array, str(array.dtype)


def _pt(path: Path) -> _Arrays:
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    named = content if isinstance(content, dict) else {"": content}
    for key, value in named.items():
        if not isinstance(value, torch.Tensor):
            name = f"[{key}]" if key != "" else ""
            raise InputError(f"{path}{name} is a {type(value).__name__}, not a tensor")
        yield str(key), as_numpy(value), dtype_name(value)


def _safetensors(path: Path) -> _Arrays:
    from safetensors.torch import load_file

    for key, value in load_file(path).items():
        yield key, as_numpy(value), dtype_name(value)


def as_numpy(tensor: Any) -> NDArray[Any]:
    """A tensor of any layout as a NumPy array of float64 or complex128."""
    import torch

    plain = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
    # NumPy has no bfloat16; every real type fits into float64.
    plain = plain.cpu().resolve_conj().resolve_neg()
    plain = plain.to(torch.complex128 if plain.is_complex() else torch.float64)
    array: NDArray[Any] = plain.numpy()
    return array


def dtype_name(tensor: Any) -> str:
    """The dtype of a tensor in NumPy's words, such as `float32`."""
    return str(tensor.dtype).removeprefix("torch.")


_READERS: dict[str, Callable[[Path], _Arrays]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".pt": _pt,
    ".safetensors": _safetensors,
}
