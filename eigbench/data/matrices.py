"""The user's own matrices, read from a file without executing anything in it."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
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


def load_matrices(path: Path) -> LoadedMatrices:
    """Read `.npy`, `.npz`, `.pt` (weights only) or `.safetensors`: one matrix or stacks of them.

    Every array must be `(..., n, n)`, real, finite and symmetric within rounding. `InputError`
    says which is not. Nothing in the file is executed: no pickles, weights only.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"cannot read {path}: the ending must be {', '.join(_READERS)}")
    try:
        content = path.read_bytes()
        arrays = list(reader(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except InputError:
        raise
    except Exception as error:
        # Each library has errors of its own for a damaged file, or for one that wants to execute.
        kind = path.suffix.lower()
        reason = f"not a valid {kind} file ({_first_sentence(error)})"
        raise InputError(f"cannot read {path}: {reason}") from error
    if not arrays:
        raise InputError(f"{path} holds no matrices")
    notes: list[str] = []
    stacks: dict[int, list[Floats]] = {}
    for name, array in arrays:
        matrices = _checked(f"{path}{name}", array, notes)
        stacks.setdefault(matrices.shape[-1], []).append(matrices)
    by_size = {n: np.concatenate(stack) for n, stack in sorted(stacks.items())}
    return LoadedMatrices(by_size, hashlib.sha256(content).hexdigest(), tuple(notes))


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


def _npy(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    with path.open("rb") as file:
        yield "", np.lib.format.read_array(file, allow_pickle=False)


def _npz(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    # Not np.load: it takes any kind of file, and leaves a damaged archive open.
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if not member.endswith(".npy"):
                raise InputError(
                    f"cannot read {path}: it holds {member!r}; an .npz holds .npy files only"
                )
            with archive.open(member) as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
            yield f"[{member.removesuffix('.npy')}]", array


def _pt(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    named = content if isinstance(content, dict) else {"": content}
    for key, value in named.items():
        name = "" if key == "" else f"[{key}]"
        if not isinstance(value, torch.Tensor):
            raise InputError(f"{path}{name} is a {type(value).__name__}, not a tensor")
        yield name, _numpy(value)


def _safetensors(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    from safetensors.torch import load_file

    for key, value in load_file(path).items():
        yield f"[{key}]", _numpy(value)


def _numpy(tensor: Any) -> NDArray[Any]:
    import torch

    plain = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
    # NumPy has no bfloat16; every real type fits into float64.
    array: NDArray[Any] = (plain if plain.is_complex() else plain.to(torch.float64)).numpy()
    return array


_READERS: dict[str, Callable[[Path], Iterator[tuple[str, NDArray[Any]]]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".pt": _pt,
    ".safetensors": _safetensors,
}
