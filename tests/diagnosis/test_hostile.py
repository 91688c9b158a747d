"""Files that are damaged, or made or named to harm: one line each, and nothing left behind."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import eigbench
from eigbench.diagnosis.matrices import given_matrices
from tests.cli.commandline import call, call_apart, contents

MOST = 400
"""Characters of a line that somebody may read."""


def refusal(*words: str) -> str:
    """The one line that `diagnose` answers."""
    line = call("diagnose", *words).complaint
    assert len(line) < MOST
    assert line.isprintable()
    return line


def npy_header(*shape: int, dtype: str = "<f8") -> bytes:
    """That of a `.npy` file, without its numbers."""
    file = io.BytesIO()
    fields = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, fields)
    return file.getvalue()


def zipped(path: Path, **members: bytes) -> None:
    """An archive of compressed `.npy` files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


# Larger than they look


@pytest.mark.parametrize("dtype", ["<f8", "|i1", "<c16"])
@pytest.mark.parametrize("shape", [(60_000, 60_000), (10**9, 2, 2), (10**9, 10**9)])
def test_a_header_that_announces_more_than_fits(
    cwd: Path, shape: tuple[int, ...], dtype: str
) -> None:
    header = npy_header(*shape, dtype=dtype)
    (cwd / "M.npy").write_bytes(header)
    zipped(cwd / "M.npz", a=npy_header(2, 2) + bytes(32), b=header)
    for name in ("M.npy", "M.npz"):
        assert "GiB, and at most" in refusal(name)
        assert "cannot read" in call("stability", "--matrices", name).complaint


def test_many_arrays_that_do_not_fit_together(cwd: Path) -> None:
    zipped(cwd / "M.npz", **{f"a{i}": npy_header(20_000, 20_000) for i in range(4)})
    assert "its arrays take 11.9 GiB" in refusal("M.npz")


def test_a_compressed_header_without_end(cwd: Path) -> None:
    length = 50_000_000
    content = b"\x93NUMPY\x02\x00" + length.to_bytes(4, "little") + b" " * length
    zipped(cwd / "M.npz", a=content)
    assert "reading array header" in refusal("M.npz")


def test_views_that_are_larger_than_their_file(cwd: Path) -> None:
    large = torch.ones(1, 1).expand(60_000, 60_000)
    torch.save(large, "one.pt")
    torch.save([torch.eye(2), large], "two.pt")
    torch.save({"format": "eigbench-watch-1", "matrix": large}, "call.pt")
    torch.save({"format": "eigbench-watch-2", "outputs": {"left": large}}, "outputs.pt")
    for name in ("one.pt", "two.pt", "call.pt", "outputs.pt"):
        assert (cwd / name).stat().st_size < 5000
        assert "its arrays take 26.8 GiB" in refusal(name)


def test_a_compressed_file_of_torch(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eigbench.data.matrices.MOST_BYTES", 2**20)
    torch.save(torch.zeros(2**9, 2**9), "plain.pt")
    with (
        zipfile.ZipFile("plain.pt") as plain,
        zipfile.ZipFile("small.pt", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in plain.namelist():
            small.writestr(name, plain.read(name))
    assert (cwd / "small.pt").stat().st_size < 20_000
    assert "GiB, and at most" in refusal("small.pt")


# What is no file of matrices


def test_what_is_no_regular_file(cwd: Path) -> None:
    os.mkfifo("pipe.npy")
    os.mkfifo("pipe.pt")
    (cwd / "zero.npz").symlink_to("/dev/zero")
    (cwd / "folder.safetensors").mkdir()
    np.save("M.npy", np.eye(2))
    for name in ("pipe.npy", "pipe.pt", "zero.npz", "folder.safetensors"):
        assert f"cannot read {name}: it is no regular file" in refusal(name)
        assert f"cannot read {name}: it is no regular file" in refusal("M.npy", "--gradients", name)


def test_other_things_that_torch_saves(cwd: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save("program.pt")  # type: ignore[no-untyped-call]
        torch.save(torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested.pt")
        torch.save(torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8), "quantised.pt")
        torch.save(torch.eye(3).to_sparse_csr(), "sparse.pt")
        torch.save(torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "vector.pt")
    torch.save(torch.nn.Linear(2, 2), "module.pt")
    torch.save(torch.eye(3, device="meta"), "meta.pt")
    torch.save({"a": {"b": torch.eye(2)}}, "deep.pt")
    assert "TorchScript" in refusal("program.pt")
    for name in ("nested.pt", "module.pt", "meta.pt", "deep.pt", "vector.pt"):
        assert name in refusal(name)
    for name in ("quantised.pt", "sparse.pt"):
        assert np.array_equal(given_matrices(name, None)[0].entries, np.eye(3))
    # torch and its C++ warn on the real standard error.
    assert "shape (3,)" in call_apart("diagnose", "vector.pt", cwd=cwd).complaint


# Damaged files of watch


def saved_call(**changes: Any) -> dict[str, Any]:
    """What `watch` saves, with changes."""
    return {
        "format": "eigbench-watch-2",
        "matrix": torch.ones(4, 3),
        "decomposition": "svd",
        "outputs": {"singular values": torch.ones(3), "left": torch.ones(4, 3)},
        "gradients": {"singular values": torch.ones(3)},
        "operation": "pinv",
        "cause": "it raised",
        "step": 3,
        "module": "",
        "shape": (4, 3),
        "place": (),
        "given_dtype": "",
        **changes,
    }


def test_a_saved_call_is_read(cwd: Path) -> None:
    torch.save(saved_call(), "call.pt")
    one = given_matrices("call.pt", None)[0]
    assert (one.decomposition, one.entries.shape, one.dtype) == ("svd", (4, 3), "float32")
    assert one.outputs.keys() == {"singular values", "left"}
    assert one.origin is not None
    assert one.origin.operation == "pinv"


def test_a_call_that_an_older_version_saved_is_read(cwd: Path) -> None:
    older = saved_call(
        format="eigbench-watch-1",
        operation="eigh",
        matrix=torch.eye(3, dtype=torch.float64),
        outputs={"eigenvalues": torch.ones(3), "eigenvectors": torch.eye(3)},
        gradients={"eigenvectors": torch.ones(3, 3)},
    )
    del older["decomposition"], older["given_dtype"]
    torch.save(older, "call.pt")
    one = given_matrices("call.pt", None)[0]
    assert (one.decomposition, one.dtype) == ("eigh", "float64")
    assert one.gradients["eigenvectors"].shape == (3, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"matrix": "a string"},
        {"matrix": None},
        {"matrix": [[1.0]]},
        {"matrix": torch.ones(3)},
        {"matrix": torch.ones(0, 3)},
        {"matrix": torch.ones(3, 3, device="meta")},
        {"matrix": torch.ones(3, 4)},
        {"matrix": torch.ones(4, 3), "decomposition": "eigh", "outputs": {}, "gradients": {}},
        {"decomposition": ["svd"]},
        {"decomposition": "qr"},
        {"outputs": None},
        {"outputs": [torch.ones(3)]},
        {"outputs": {"left": "a string"}},
        {"outputs": {"left": torch.ones(2, 2)}},
        {"outputs": {"eigenvalues": torch.ones(3)}},
        {"outputs": {"x" * 5000: torch.ones(3)}},
        {"gradients": {3: torch.ones(3)}},
        {"gradients": {"singular values": torch.ones(3, 3)}},
        {"gradients": {"singular values": torch.ones(3, dtype=torch.complex64)}},
        {"gradients": {"left": torch.ones(4, 3, device="meta")}},
        {"step": "many"},
        {"shape": None},
        {"place": torch.ones(2)},
        {"module": 3},
        {"cause": {"a": 1}},
        {"operation": None},
    ],
)
def test_a_damaged_call_is_refused(cwd: Path, changes: dict[str, Any]) -> None:
    torch.save(saved_call(**changes), "call.pt")
    assert "cannot read call.pt: " in refusal("call.pt")


# Names


NAMES = ("[/a]", "[red]x", r"$\frac{$", "a|b\n# <b>", "\x1b[2J\x07", "`&amp;*", "ä" * 200)


@pytest.mark.parametrize("name", NAMES)
def test_names_in_errors_are_text(cwd: Path, name: str) -> None:
    torch.save({name: torch.ones(3)}, "M.pt")
    assert "has shape (3,)" in refusal("M.pt")


def test_a_file_whose_name_is_not_utf_8(cwd: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.npy")
    np.save(name, np.diag([1.0, 2]))
    before = contents(cwd)
    assert "UTF-8" in refusal(name, "--out", "found")
    assert contents(cwd) == before
    report = eigbench.diagnose(name).write(Path("found"))
    assert report.read_text("utf-8").startswith("# Diagnosis of")


# Numbers


@pytest.mark.parametrize("scale", [5e307, 1e-320])
def test_numbers_at_the_ends_of_float64(cwd: Path, scale: float) -> None:
    M = np.array([[1.0, 0.25, 0], [0.25, 1.5, 1], [0, 1, 1.75]]) * scale
    np.save("M.npy", M)
    outcome = call("diagnose", "M.npy")
    assert (outcome.code, outcome.err) == (0, "")


def test_out_is_a_new_folder(cwd: Path) -> None:
    save_file({"a": torch.eye(2)}, "M.safetensors")
    (cwd / "full").mkdir()
    (cwd / "full" / "suite.toml").touch()
    line = refusal("M.safetensors", "--out", "full")
    assert "choose another --out" in line
    assert "--resume" not in line
