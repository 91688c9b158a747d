"""The file in which `eigbench.watch` keeps a call: written whole, read without executing it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eigbench.data.matrices import SYMMETRY_TOLERANCE, as_numpy, dtype_name, reading
from eigbench.diagnosis.inputs import GivenMatrix, Origin, Upstream
from eigbench.errors import InputError
from eigbench.runs.store import write_whole
from eigbench.spectra import Floats

FORMAT = "eigbench-watch-1"
OUTPUTS = {
    "eigh": ("eigenvalues", "eigenvectors"),
    "svd": ("left", "singular values", "right"),
}
"""The names of what each operation returns, in its order; `right` is Vᴴ."""


@dataclass(frozen=True, eq=False)
class SavedCall:
    """One matrix `(m, n)` of a call, with what the call gave and the gradients that reached it."""

    matrix: Tensor
    outputs: Mapping[str, Tensor]
    """By the names in `OUTPUTS`; empty if the call raised."""
    gradients: Mapping[str, Tensor]
    """The loss's gradients by these outputs, as far as they have one."""
    origin: Origin


def write(path: Path, call: SavedCall) -> None:
    """Write `call`, whole or not at all; `torch.load(path, weights_only=True)` reads it."""
    origin = call.origin
    content = {
        "format": FORMAT,
        "matrix": call.matrix.cpu().clone(),
        "outputs": {name: value.cpu().clone() for name, value in call.outputs.items()},
        "gradients": {name: value.cpu().clone() for name, value in call.gradients.items()},
        "operation": origin.operation,
        "cause": origin.cause,
        "step": origin.step,
        "module": origin.module,
        "shape": list(origin.shape),
        "place": list(origin.place),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def read(path: Path) -> SavedCall | None:
    """The call in a file, or None if the file is another kind; `InputError` if it is damaged."""
    if path.suffix.lower() != ".pt":
        return None
    with reading(path):
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    if not (isinstance(content, dict) and content.get("format") == FORMAT):
        return None
    try:
        origin = Origin(
            content["operation"],
            content["cause"],
            content["step"],
            content["module"],
            tuple(content["shape"]),
            tuple(content["place"]),
        )
        call = SavedCall(content["matrix"], content["outputs"], content["gradients"], origin)
        names = OUTPUTS[origin.operation]
    except (KeyError, TypeError) as error:
        raise InputError(f"cannot read {path}: a part of the saved call is missing") from error
    if not ({*call.outputs, *call.gradients} <= {*names} and call.matrix.ndim == 2):
        raise InputError(f"cannot read {path}: its parts are not those of a saved call")
    return call


def matrix_of(call: SavedCall) -> GivenMatrix:
    """What there is to diagnose: the matrix, or XᵀX if `svd` decomposed an X that is not symmetric.

    The gradients by the singular triples of a symmetric matrix are those by its eigenpairs: a left
    and a right singular vector are one eigenvector, up to the sign of its eigenvalue.
    """
    entries: Floats = as_numpy(call.matrix)
    dtype = dtype_name(call.matrix)
    if call.origin.operation == "eigh":
        return GivenMatrix("M", entries, dtype, _upstream_of_eigh(call), call.origin)
    if _symmetric(entries):
        return GivenMatrix("M", entries, dtype, _upstream_of_svd(call), call.origin)
    X = entries if entries.shape[0] >= entries.shape[1] else entries.T
    with np.errstate(over="ignore", invalid="ignore"):
        gram: Floats = X.T @ X
    return GivenMatrix("XᵀX", gram, dtype, Upstream(), call.origin, gram=True)


def _symmetric(entries: Floats) -> bool:
    if entries.shape[0] != entries.shape[1]:
        return False
    largest = np.abs(entries).max(initial=0)
    return not np.abs(entries - entries.T).max(initial=0) > SYMMETRY_TOLERANCE * largest


def _upstream_of_eigh(call: SavedCall) -> Upstream:
    arrays = {name: as_numpy(value) for name, value in call.gradients.items()}
    vectors = call.outputs.get("eigenvectors")
    return Upstream(
        by_eigenvalues=arrays.get("eigenvalues"),
        by_eigenvectors=arrays.get("eigenvectors"),
        eigenvectors=None if vectors is None else as_numpy(vectors),
    )


def _upstream_of_svd(call: SavedCall) -> Upstream:
    if not (call.outputs and call.gradients):
        return Upstream()
    left, values, right = (as_numpy(call.outputs[name]) for name in OUTPUTS["svd"])
    V = right.T
    signs = np.where((left * V).sum(axis=0) < 0, -1.0, 1.0)
    order = np.argsort(signs * values, kind="stable")
    arrays = {name: as_numpy(value) for name, value in call.gradients.items()}
    by_left, by_values = arrays.get("left"), arrays.get("singular values")
    by_vectors = np.zeros_like(V) if by_left is None else by_left
    if "right" in arrays:
        by_vectors = by_vectors + arrays["right"].T * signs
    return Upstream(
        by_eigenvalues=None if by_values is None else (by_values * signs)[order],
        by_eigenvectors=by_vectors[:, order] if {"left", "right"} & arrays.keys() else None,
        eigenvectors=left[:, order],
    )
