"""The user's own matrices, read from a file without executing anything in it."""

from __future__ import annotations

import hashlib
import io
import math
import os
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from eigbench.errors import InputError, printable

Numbers = NDArray[Any]
"""Of float64 or complex128."""

SYMMETRY_TOLERANCE = 1e-4
"""Relative asymmetry up to which a matrix counts as symmetric but for rounding: about √d float32
rounding errors of a covariance, with room."""


MOST_BYTES = 8 * 2**30
"""A file whose arrays take more in float64 is refused, as one that takes half of the memory is."""
LONGEST_NAME = 100
"""Characters of an array's name that are shown."""


@dataclass(frozen=True, eq=False)
class LoadedMatrices:
    """Matrices by size, `(count, n, n)` float64 or complex128, and what was done to them."""

    by_size: Mapping[int, Numbers]
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

    Every array must be `(..., n, n)`, finite, and symmetric or Hermitian within rounding.
    `InputError` says which is not. Nothing in the file is executed: no pickles, weights only.
    """
    named, sha256 = read_arrays(path)
    notes: list[str] = []
    stacks: dict[int, list[Numbers]] = {}
    for array in named:
        matrices = _checked(array, notes)
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
        arrays = tuple(
            NamedArray(_name(path, key), values, dtype, key) for key, values, dtype in reader(path)
        )
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if not arrays:
        raise InputError(f"{path} holds no matrices")
    return arrays, sha256


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Inside, whatever a library raises of a damaged file is an `InputError` that names it.

    The file must be regular: others never end. What libraries warn of is not shown, since what
    they refuse is said in one line.
    """
    try:
        _require_regular(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"cannot read {path}: there is not enough memory") from error
    except Exception as error:
        # Each library has errors of its own for a damaged file, or for one that wants to execute.
        kind = path.suffix.lower()
        reason = f"not a valid {kind} file ({_first_sentence(error)})"
        raise InputError(f"cannot read {path}: {reason}") from error


def _require_regular(path: Path) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"cannot read {path}: it is no regular file")
    require_room(path, [status.st_size])


def require_room(path: Path, sizes: Sequence[int]) -> None:
    """Refuse a file whose arrays, of these numbers of bytes, do not fit into the memory."""
    most = MOST_BYTES
    if hasattr(os, "sysconf"):
        most = min(most, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    if sum(sizes) > most:
        size, limit = (f"{count / 2**30:,.1f} GiB" for count in (sum(sizes), most))
        raise InputError(
            f"cannot read {path}: its arrays take {size}, and at most {limit} fit here"
        )


def _name(path: Path, key: str) -> str:
    return f"{path}[{printable(key, LONGEST_NAME)}]" if key else str(path)


def _checked(given: NamedArray, notes: list[str]) -> Numbers:
    """The matrices of one array as `(count, n, n)`, exactly Hermitian."""
    name, array = given.name, given.values
    if array.ndim < 2 or array.shape[-1] != array.shape[-2] or array.size == 0:
        raise InputError(f"{name} has shape {array.shape}; matrices must be square: (..., n, n)")
    kind = array.dtype.kind
    if kind not in "fiubc":
        raise InputError(f"{name} is of type {given.dtype}; matrices must hold numbers")
    wide = np.complex128 if kind == "c" else np.float64
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused below
        matrices: Numbers = array.astype(wide).reshape(-1, *array.shape[-2:])
    if not np.isfinite(matrices).all():
        count = int((~np.isfinite(matrices)).sum())
        raise InputError(f"{name} holds {count} values that are NaN or infinite")
    transposed = matrices.conj().swapaxes(-1, -2)
    largest = np.abs(matrices).max(axis=(-2, -1))
    # Halves, so that neither a difference nor a sum overflows.
    difference = np.abs(matrices / 2 - transposed / 2).max(axis=(-2, -1))
    asymmetry = difference / np.where(largest / 2 > 0, largest / 2, 1)
    worst = int(asymmetry.argmax())
    if asymmetry[worst] > SYMMETRY_TOLERANCE:
        what = "Hermitian" if kind == "c" else "symmetric"
        raise InputError(
            f"{name}, matrix {worst}, is not {what}: entries differ from their mirror image by "
            f"{asymmetry[worst]:.1e} of the largest; up to {SYMMETRY_TOLERANCE:.0e} is rounding"
        )
    if asymmetry[worst] > 0:
        part = "Mᴴ" if kind == "c" else "Mᵀ"
        notes.append(f"{name}: symmetrised, (M + {part})/2; asymmetry was {asymmetry[worst]:.1e}")
    # Where the two agree they are left alone: halving would round the smallest numbers.
    return np.where(matrices == transposed, matrices, matrices / 2 + transposed / 2)


def _first_sentence(error: Exception) -> str:
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return printable(line.split(". ")[0], 2 * LONGEST_NAME)


_Arrays = Iterator[tuple[str, NDArray[Any], str]]
"""The key of an array in its file, its values, and its type in the file."""


def _npy_bytes(file: IO[bytes]) -> int:
    """The bytes of the array that a `.npy` file announces, as it is and in float64."""
    header = io.BytesIO(file.read(2**16))  # no more: it can be compressed, and huge
    version = np.lib.format.read_magic(header)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    # Version 3 differs in the encoding of field names, which no matrix has.
    shape, _, dtype = read.get(version, read[2, 0])(header)
    return math.prod(shape) * max(dtype.itemsize, np.dtype(np.float64).itemsize)


def _npy(path: Path) -> _Arrays:
    with path.open("rb") as file:
        require_room(path, [_npy_bytes(file)])
        file.seek(0)
        array = np.lib.format.read_array(file, allow_pickle=False)
    yield "", array, str(array.dtype)


def _npz(path: Path) -> _Arrays:
    # Not np.load: it takes any kind of file, and leaves a damaged archive open.
    with zipfile.ZipFile(path) as archive:
        sizes = []
        for member in archive.namelist():
            if not member.endswith(".npy"):
                what = printable(repr(member), LONGEST_NAME)
                raise InputError(
                    f"cannot read {path}: it holds {what}; an .npz holds .npy files only"
                )
            with archive.open(member) as file:
                sizes.append(_npy_bytes(file))
        require_room(path, sizes)
        for member in archive.namelist():
            with archive.open(member) as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
            yield member.removesuffix(".npy"), array, str(array.dtype)


def load_pt(path: Path) -> Any:
    """What a `.pt` file holds, on the CPU; tensors in it may be larger than the file: views."""
    import torch

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:  # its parts can be compressed
            require_room(path, [part.file_size for part in archive.infolist()])
            if any(part.filename.endswith("/constants.pkl") for part in archive.infolist()):
                raise InputError(f"cannot read {path}: it is a TorchScript program, not tensors")
    return torch.load(path, map_location="cpu", weights_only=True)


def _pt(path: Path) -> _Arrays:
    import torch

    content = load_pt(path)
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    named = content if isinstance(content, dict) else {"": content}
    for key, value in named.items():
        if not isinstance(value, torch.Tensor):
            name = _name(path, str(key))
            raise InputError(f"{name} is a {type(value).__name__}, not a tensor")
    require_room(path, [bytes_of(value) for value in named.values()])
    for key, value in named.items():
        yield str(key), as_numpy(value), dtype_name(value)


def _safetensors(path: Path) -> _Arrays:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
        require_room(path, [math.prod(shape) * 8 for shape in shapes])
        for key in file.keys():  # noqa: SIM118
            value = file.get_tensor(key)
            yield key, as_numpy(value), dtype_name(value)


def bytes_of(tensor: Any) -> int:
    """What a tensor takes in float64 or complex128, dense."""
    count: int = math.prod(tensor.shape)
    return count * (16 if tensor.is_complex() else 8)


def as_numpy(tensor: Any) -> NDArray[Any]:
    """A tensor of any layout as a NumPy array of float64 or complex128."""
    import torch

    plain = tensor.detach()
    if plain.is_quantized:
        plain = plain.dequantize()
    elif plain.layout != torch.strided:
        plain = plain.to_dense()
    # NumPy has no bfloat16; every real type fits into float64.
    plain = plain.cpu().resolve_conj().resolve_neg()
    array: NDArray[Any] = plain.to(
        torch.complex128 if plain.is_complex() else torch.float64
    ).numpy()
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
