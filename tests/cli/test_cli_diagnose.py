"""`eigbench diagnose`: what it prints, what it writes, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.commandline import call, call_apart, contents


@pytest.fixture
def identity(cwd: Path) -> str:
    """A file with the identity."""
    np.save(cwd / "identity.npy", np.eye(3))
    return "identity.npy"


def test_it_prints_what_it_found_and_writes_nothing(identity: str, cwd: Path) -> None:
    outcome = call("diagnose", identity)
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out.startswith("Diagnosis of identity.npy\n")
    assert "NaN in the backward pass" in outcome.out
    assert 'eigbench.matrix_function(M, "inverse-square-root")' in outcome.out
    assert list(contents(cwd)) == ["identity.npy"]


def test_out_writes_the_report_and_says_where(identity: str, cwd: Path) -> None:
    outcome = call("diagnose", identity, "--out", "found")
    assert outcome.out.splitlines()[-1] == "found/report.md"
    assert {"found/report.md", "found/figures/spectrum.png"} <= contents(cwd).keys()


def test_quiet_is_one_line(identity: str) -> None:
    verdict = call("diagnose", identity, "-q").out
    assert verdict.startswith("torch.linalg.eigh: NaN in the backward pass")
    assert verdict.count("\n") == 1
    assert call("diagnose", identity, "-q", "--out", "found").out == "found/report.md\n"


def test_gradients(identity: str, cwd: Path) -> None:
    np.savez(cwd / "gradients.npz", eigenvectors=np.arange(9.0).reshape(3, 3))
    outcome = call("diagnose", identity, "--gradients", "gradients.npz")
    assert outcome.code == 0
    assert "Your loss has no derivative here" in outcome.out


def test_in_a_pipe_there_are_no_colours(identity: str, cwd: Path) -> None:
    outcome = call_apart("diagnose", identity, cwd=cwd)
    assert outcome.code == 0
    assert "\x1b" not in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nowhere.npy"], "cannot read nowhere.npy"),
        (["text.txt"], "the ending must be"),
        (["broken.npy"], "not a valid .npy file"),
        (["broken.pt"], "not a valid .pt file"),
        (["identity.npy", "--gradients", "wide.npy"], "shape (3, 4)"),
        (["identity.npy", "--gradients", "nowhere.npy"], "cannot read nowhere.npy"),
        (["vector.npy"], "vector.npy has shape (3,); (..., m, n) is right"),
        (["two.npz"], "two.npz[vector] has shape (3,); (..., m, n) is right"),
        (["identity.npy", "--out", "full"], "not empty"),
        (["identity.npy", "--out", "text.txt"], "is a file"),
        ([], "Missing argument 'FILE'"),
    ],
)
def test_wrong_input_is_one_line(
    identity: str, cwd: Path, words: list[str], complaint: str
) -> None:
    (cwd / "text.txt").touch()
    (cwd / "broken.npy").write_bytes(b"no array")
    (cwd / "broken.pt").write_bytes(b"no archive")
    np.save(cwd / "wide.npy", np.zeros((3, 4)))
    np.save(cwd / "vector.npy", np.zeros(3))
    np.savez(cwd / "two.npz", square=np.eye(2), vector=np.zeros(3))
    (cwd / "full").mkdir()
    (cwd / "full" / "file").touch()
    assert complaint in call("diagnose", *words).complaint
