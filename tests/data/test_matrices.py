"""The user's own matrices: what is read, what is refused, and that no file is executed."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from eigbench.data.matrices import SYMMETRY_TOLERANCE, LoadedMatrices, load_matrices
from eigbench.errors import InputError

ENDINGS = ("npy", "npz", "pt", "safetensors")


def _symmetric(*shape: int, seed: int = 0) -> Any:
    """Random symmetric matrices `(..., n, n)` that float16 holds exactly."""
    drawn = np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float64)
    return drawn + drawn.swapaxes(-1, -2)


def _write(path: Path, array: Any) -> Path:
    """One array in a file of the kind that its ending says."""
    array = np.ascontiguousarray(array)
    match path.suffix:
        case ".npy":
            np.save(path, array)
        case ".npz":
            np.savez(path, mine=array)
        case ".pt":
            torch.save(torch.from_numpy(array), path)
        case ".safetensors":
            save_file({"mine": torch.from_numpy(array)}, path)
    return path


def _refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_matrices(path)
    message = str(caught.value)
    assert str(path) in message
    return message


# What is read


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("shape", [(3, 3), (1, 1), (5, 4, 4), (2, 3, 6, 6)])
def test_one_matrix_or_stacks(tmp_path: Path, ending: str, shape: tuple[int, ...]) -> None:
    matrices = _symmetric(*shape)
    path = _write(tmp_path / f"mine.{ending}", matrices)
    loaded = load_matrices(path)
    n = shape[-1]
    assert list(loaded.by_size) == [n]
    assert loaded.by_size[n].dtype == np.float64
    assert np.array_equal(loaded.by_size[n], matrices.reshape(-1, n, n))
    assert loaded.notes == ()
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "int32", "int64", "uint8", "bool"]
)
def test_real_types(tmp_path: Path, ending: str, dtype: str) -> None:
    matrices = np.abs(_symmetric(4, 4)).astype(dtype)
    loaded = load_matrices(_write(tmp_path / f"mine.{ending}", matrices))
    assert np.array_equal(loaded.by_size[4][0], matrices.astype(np.float64))


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_bfloat16(tmp_path: Path, ending: str) -> None:
    tensor = torch.from_numpy(_symmetric(4, 4)).to(torch.bfloat16)
    path = tmp_path / f"mine.{ending}"
    if ending == "pt":
        torch.save(tensor, path)
    else:
        save_file({"a": tensor}, path)
    loaded = load_matrices(path)
    assert np.array_equal(loaded.by_size[4][0], tensor.to(torch.float64).numpy())


def _several(path: Path, arrays: dict[str, Any]) -> Path:
    match path.suffix:
        case ".npz":
            np.savez(path, **arrays)
        case ".pt":
            torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
        case ".safetensors":
            save_file({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    return path


@pytest.mark.parametrize("ending", ["npz", "pt", "safetensors"])
def test_several_sizes(tmp_path: Path, ending: str) -> None:
    arrays = {"a": _symmetric(2, 5, 5), "b": _symmetric(3, 3, seed=1), "c": _symmetric(1, 5, 5)}
    loaded = load_matrices(_several(tmp_path / f"mine.{ending}", arrays))
    assert {n: len(stack) for n, stack in loaded.by_size.items()} == {3: 1, 5: 3}
    assert list(loaded.by_size) == [3, 5]
    assert np.array_equal(loaded.by_size[3][0], arrays["b"])
    assert np.array_equal(loaded.by_size[5], np.concatenate([arrays["a"], arrays["c"]]))


@pytest.mark.parametrize("ending", ["npz", "pt", "safetensors"])
def test_the_wrong_one_of_several_is_named(tmp_path: Path, ending: str) -> None:
    arrays = {"fine": _symmetric(3, 3), "wrong": np.full((3, 3), np.nan)}
    path = _several(tmp_path / f"mine.{ending}", arrays)
    assert f"{path}[wrong]" in _refusal(path)


def test_tensors_in_a_list_and_from_a_network(tmp_path: Path) -> None:
    tensor = torch.from_numpy(_symmetric(3, 3))
    torch.save([tensor, torch.nn.Parameter(tensor)], tmp_path / "mine.pt")
    assert load_matrices(tmp_path / "mine.pt").by_size[3].shape == (2, 3, 3)


def test_the_older_format_of_torch(tmp_path: Path) -> None:
    matrices = _symmetric(3, 3)
    path = tmp_path / "mine.pt"
    torch.save(torch.from_numpy(matrices), path, _use_new_zipfile_serialization=False)
    assert np.array_equal(load_matrices(path).by_size[3][0], matrices)


def test_the_ending_may_be_in_capitals(tmp_path: Path) -> None:
    path = _write(tmp_path / "mine.npy", _symmetric(3, 3)).rename(tmp_path / "MINE.NPY")
    assert 3 in load_matrices(path).by_size


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", ">i4"])
def test_layouts_of_numpy(tmp_path: Path, order: Any, dtype: str) -> None:
    matrices = _symmetric(2, 3, 3)
    np.save(tmp_path / "mine.npy", np.asarray(matrices, dtype=dtype, order=order))
    assert np.array_equal(load_matrices(tmp_path / "mine.npy").by_size[3], matrices)


# Symmetry


@pytest.mark.parametrize("ending", ENDINGS)
def test_rounding_is_symmetrised_with_a_note(tmp_path: Path, ending: str) -> None:
    matrices = _symmetric(3, 4, 4)
    matrices[1, 0, 2] *= 1 + 1e-6
    path = _write(tmp_path / f"mine.{ending}", matrices)
    loaded = load_matrices(path)
    (stack,) = loaded.by_size.values()
    assert np.array_equal(stack, stack.swapaxes(-1, -2))
    assert np.array_equal(stack[1], (matrices[1] + matrices[1].T) / 2)
    assert np.array_equal(stack[[0, 2]], matrices[[0, 2]])
    (note,) = loaded.notes
    assert str(path) in note
    assert "symmetrised" in note


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_not_symmetric_is_refused_by_name(tmp_path: Path, ending: str) -> None:
    matrices = _symmetric(3, 4, 4)
    matrices[2, 0, 1] += 1
    message = _refusal(_write(tmp_path / f"mine.{ending}", matrices))
    assert "matrix 2, is not symmetric" in message


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1.0, 1e12, 1e300])
def test_symmetry_is_judged_relative_to_the_largest_entry(tmp_path: Path, scale: float) -> None:
    matrix = np.array([[1.0, 0.5], [0.5 + SYMMETRY_TOLERANCE / 2, 1.0]])
    within = _write(tmp_path / "within.npy", scale * matrix)
    assert load_matrices(within).notes
    matrix[1, 0] = 0.5 + SYMMETRY_TOLERANCE * 2
    assert "not symmetric" in _refusal(_write(tmp_path / "beyond.npy", scale * matrix))


def test_a_matrix_of_zeros_is_symmetric(tmp_path: Path) -> None:
    loaded = load_matrices(_write(tmp_path / "mine.npy", np.zeros((2, 3, 3))))
    assert np.array_equal(loaded.by_size[3], np.zeros((2, 3, 3)))


@pytest.mark.parametrize("largest", [9e307, 1.7e308])
def test_the_largest_numbers_stay_finite(tmp_path: Path, largest: float) -> None:
    """Or are refused: what is read is finite."""
    path = _write(tmp_path / "mine.npy", np.full((2, 2), largest))
    assert _finite_and_symmetric(path) in {None, 2}


@pytest.mark.parametrize("smallest", [5e-324, 1.5e-323, 1e-310])
def test_the_smallest_numbers_are_read_as_they_are(tmp_path: Path, smallest: float) -> None:
    path = _write(tmp_path / "mine.npy", np.full((2, 2), smallest))
    assert np.array_equal(load_matrices(path).by_size[2][0], np.full((2, 2), smallest))


@pytest.mark.parametrize(
    "matrix",
    [np.array([[1, 1.5e308], [-1.5e308, 1]]), np.full((2, 2), np.longdouble("1e400"))],
    ids=["far from symmetric", "beyond float64"],
)
def test_numbers_too_large_are_refused_without_a_warning(tmp_path: Path, matrix: Any) -> None:
    np.save(tmp_path / "mine.npy", matrix)
    _refusal(tmp_path / "mine.npy")


# What is refused


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite(tmp_path: Path, ending: str, value: float) -> None:
    matrices = _symmetric(2, 3, 3)
    matrices[1, 0, 0] = value
    message = _refusal(_write(tmp_path / f"mine.{ending}", matrices))
    assert "1 values that are NaN or infinite" in message


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (9,), (), (0, 0), (0, 3, 3)])
def test_what_is_not_square(tmp_path: Path, ending: str, shape: tuple[int, ...]) -> None:
    message = _refusal(_write(tmp_path / f"mine.{ending}", np.zeros(shape)))
    assert "square" in message
    if shape:
        assert str(shape) in message


@pytest.mark.parametrize("ending", ENDINGS)
def test_complex_numbers_are_hermitian(tmp_path: Path, ending: str) -> None:
    M = np.array([[2, 1j], [-1j, 3]], dtype=np.complex64)
    loaded = load_matrices(_write(tmp_path / f"mine.{ending}", M))
    assert loaded.by_size[2].dtype == np.complex128
    assert np.array_equal(loaded.by_size[2], M[None])
    message = _refusal(
        _write(tmp_path / f"other.{ending}", (M + 1j * np.eye(2)).astype(np.complex64))
    )
    assert "not Hermitian" in message


@pytest.mark.parametrize("dtype", ["U3", "S3", "datetime64[s]", [("a", "f8")]])
def test_other_types_of_numpy(tmp_path: Path, dtype: Any) -> None:
    np.save(tmp_path / "mine.npy", np.zeros((3, 3), dtype=dtype))
    assert "must hold numbers" in _refusal(tmp_path / "mine.npy")


@pytest.mark.parametrize("content", ["text", 3, None, [[torch.eye(3)]], {"a": "text"}])
def test_other_things_of_torch(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "mine.pt")
    assert "not a tensor" in _refusal(tmp_path / "mine.pt")


@pytest.mark.parametrize("content", [[], {}])
def test_nothing_inside(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "mine.pt")
    assert "holds no matrices" in _refusal(tmp_path / "mine.pt")
    np.savez(tmp_path / "mine.npz")
    assert "holds no matrices" in _refusal(tmp_path / "mine.npz")
    save_file({}, tmp_path / "mine.safetensors")
    assert "holds no matrices" in _refusal(tmp_path / "mine.safetensors")


@pytest.mark.parametrize("name", ["mine.txt", "mine", "mine.npy.gz", ".npy", "mine.pth"])
def test_another_ending(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    assert ".npy, .npz, .pt, .safetensors" in _refusal(tmp_path / name)


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_not_there_or_a_folder(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"mine.{ending}"
    assert "cannot read" in _refusal(path)
    path.mkdir()
    assert "cannot read" in _refusal(path)


@pytest.mark.parametrize("written", ENDINGS)
@pytest.mark.parametrize("called", ENDINGS)
def test_one_kind_under_the_name_of_another(tmp_path: Path, written: str, called: str) -> None:
    matrices = _symmetric(3, 3)
    path = _write(tmp_path / f"mine.{written}", matrices).rename(tmp_path / f"it.{called}")
    if written == called:
        assert np.array_equal(load_matrices(path).by_size[3][0], matrices)
    else:
        assert "cannot read" in _refusal(path)


def test_an_archive_that_holds_other_files_too(tmp_path: Path) -> None:
    path = _write(tmp_path / "mine.npz", _symmetric(3, 3))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "about these matrices")
    assert "readme.txt" in _refusal(path)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("tenth", range(10))
def test_a_file_that_was_cut_off(tmp_path: Path, ending: str, tenth: int) -> None:
    path = _write(tmp_path / f"mine.{ending}", _symmetric(4, 16, 16))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * tenth // 10])
    assert "cannot read" in _refusal(path)
    path.write_bytes(whole)
    assert 16 in load_matrices(path).by_size


def test_a_header_that_promises_more_than_there_is_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**9)}
    )
    (tmp_path / "mine.npy").write_bytes(header.getvalue())
    assert "cannot read" in _refusal(tmp_path / "mine.npy")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_complaint_about_garbage_says_more_than_a_number(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"mine.{ending}"
    path.write_bytes(b"hello, this is a text " * 10)
    reason = _refusal(path).removeprefix(f"cannot read {path}: ")
    assert len(reason.split()) > 2


# Nothing is executed


class Payload:
    """Creates a folder as soon as it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.place),)


def _pickle(path: Path, payload: Payload) -> None:
    path.write_bytes(pickle.dumps(payload))


def _objects(payload: Payload) -> Any:
    return np.array([[payload]], dtype=object)


ATTACKS: dict[str, tuple[str, Callable[[Path, Payload], None]]] = {
    "objects in .npy": ("npy", lambda path, it: np.save(path, _objects(it), allow_pickle=True)),
    "objects in .npz": ("npz", lambda path, it: np.savez(path, mine=_objects(it))),
    "an object in .pt": ("pt", lambda path, it: torch.save(it, path)),
    "an object in an older .pt": (
        "pt",
        lambda path, it: torch.save({"a": it}, path, _use_new_zipfile_serialization=False),
    ),
    **{f"a pickle called .{ending}": (ending, _pickle) for ending in ENDINGS},
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_in_a_file_is_executed(tmp_path: Path, attack: str) -> None:
    ending, write = ATTACKS[attack]
    place, path = tmp_path / "executed", tmp_path / f"mine.{ending}"
    write(path, Payload(place))
    assert "cannot read" in _refusal(path)
    assert not place.exists()
    # It is a live one: whoever does unpickle it executes it.
    if ending == "pt" and write is not _pickle:
        torch.load(path, weights_only=False)
    elif isinstance(content := np.load(path, allow_pickle=True), np.lib.npyio.NpzFile):
        with content:
            assert content["mine"] is not None
    assert place.exists()


# Whatever the bytes


def _finite_and_symmetric(path: Path) -> int | None:
    """The largest size in a file whose matrices are fine; None for one that is refused."""
    try:
        loaded: LoadedMatrices = load_matrices(path)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017
        return None
    for n, stack in loaded.by_size.items():
        assert stack.shape == (len(stack), n, n)
        assert len(stack) > 0
        assert np.isfinite(stack).all()
        assert np.array_equal(stack, stack.swapaxes(-1, -2))
    return max(loaded.by_size)


STARTS = {
    "npy": [b"", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00\x10\x00\x00\x00", b"\x80\x04"],
    "npz": [b"", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18],
    "pt": [b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04\x95"],
    "safetensors": [b"", b"\x02" + b"\0" * 7 + b"{}", b"\x10" + b"\0" * 7 + b'{"a":'],
}


@pytest.mark.parametrize("ending", ENDINGS)
@given(st.data())
def test_random_bytes_are_refused(
    tmp_path_factory: pytest.TempPathFactory, ending: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / f"random.{ending}"
    start = data.draw(st.sampled_from(STARTS[ending]))
    path.write_bytes(start + data.draw(st.binary(max_size=200)))
    assert _finite_and_symmetric(path) is None


@pytest.mark.parametrize("ending", ENDINGS)
@given(st.data())
@settings(max_examples=150)
def test_damaged_files_are_refused_or_fine(
    tmp_path_factory: pytest.TempPathFactory, ending: str, data: st.DataObject
) -> None:
    path = _write(tmp_path_factory.getbasetemp() / f"damaged.{ending}", _symmetric(4, 4))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    assert _finite_and_symmetric(path) in {None, 1, 2, 4, 8, 16}
