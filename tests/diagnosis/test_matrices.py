"""Matrices and gradients as they are given: shapes, dtypes, labels, and whose gradient is whose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import eigbench
from eigbench.diagnosis import matrices
from eigbench.diagnosis.matrices import GivenMatrix, given_matrices
from eigbench.errors import InputError
from tests.diagnosis.making import upstream, with_spectrum


def test_a_stack_makes_a_matrix_when_it_is_asked_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make(label: str, *rest: Any) -> GivenMatrix:
        made.append(label)
        return GivenMatrix(label, *rest)

    monkeypatch.setattr(matrices, "GivenMatrix", make)
    batch = np.zeros((1000, 1000, 2, 2), np.float32)
    batch[999, 998] = 7
    given = given_matrices(batch, None)
    assert (len(given), made) == (10**6, [])
    assert given[999_998].entries.tolist() == [[7, 7], [7, 7]]
    assert given[10**6 - 1].label == "M[999, 999]"
    assert len(made) == 2
    (stack,) = given.stacks
    assert (stack.entries.shape, stack.label(1000)) == ((10**6, 2, 2), "M[1, 0]")
    with pytest.raises(IndexError):
        given[10**6]


def test_arrays_of_a_file_follow_each_other(tmp_path: Path) -> None:
    np.savez(tmp_path / "M.npz", one=np.eye(2), wide=np.ones((2, 1, 3)), last=np.eye(4)[None])
    given = given_matrices(tmp_path / "M.npz", None)
    some = [given[i] for i in range(len(given))]
    assert [one.label for one in some] == ["one", "wide[0]", "wide[1]", "last[0]"]
    assert [one.decomposition for one in some] == ["eigh", "svd", "svd", "eigh"]
    assert some[3].entries.shape == (4, 4)


@pytest.mark.parametrize(
    ("given", "dtype", "entries"),
    [
        (np.ones((2, 2), np.int32), "int32", np.float64),
        (np.ones((2, 3), bool), "bool", np.float64),
        (torch.ones(2, 2, dtype=torch.bfloat16), "bfloat16", np.float64),
        (torch.ones(3, 2, dtype=torch.complex64), "complex64", np.complex128),
        (torch.ones(2, 2, dtype=torch.complex128).mH, "complex128", np.complex128),
        (torch.eye(2).to_sparse(), "float32", np.float64),
        ([[1, 2j], [0, 1]], "complex128", np.complex128),
    ],
)
def test_every_type_of_number_is_taken(given: Any, dtype: str, entries: Any) -> None:
    one = given_matrices(given, None)[0]
    assert one.dtype == dtype
    assert one.entries.dtype == entries


@pytest.mark.parametrize(
    ("M", "words"),
    [
        (np.ones(3), r"shape \(3,\); \(\.\.\., m, n\)"),
        (np.ones((0, 0)), "not empty"),
        (np.ones((0, 2, 2)), "not empty"),
        ([[1], [1, 2]], "not an array"),
        ([["a"]], "numbers are right"),
        (None, "numbers are right"),
        (torch.eye(2, device="meta"), "meta"),
    ],
)
def test_what_is_no_matrix_is_refused(M: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        given_matrices(M, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_gradients_by_singular_triples(full: bool, dtype: Any) -> None:
    M = np.ones((5, 4, 3), dtype)
    gradients = {
        "left": np.ones((5, 4, 4 if full else 3), dtype),
        "singular_values": np.ones((5, 3)),
        "right": np.ones((5, 3, 3)),
    }
    one = given_matrices(M, gradients)[4]
    assert tuple(one.gradients) == ("left", "singular values", "right")
    assert one.gradients["left"].shape == (4, 4 if full else 3)
    square = given_matrices(np.eye(3), {"right": np.ones((3, 3))})[0]
    assert square.decomposition == "svd"


def test_gradients_come_from_a_file(tmp_path: Path) -> None:
    M = torch.tensor(with_spectrum(1, 2, 3, 5))
    gradients = upstream(M, lambda values, V: values.square().sum() + (V**3).sum())
    torch.save(gradients, tmp_path / "gradients.pt")
    np.save(tmp_path / "M.npy", M)
    one = given_matrices(tmp_path / "M.npy", tmp_path / "gradients.pt")[0]
    assert tuple(sorted(one.gradients)) == ("eigenvalues", "eigenvectors")
    assert np.array_equal(one.gradients["eigenvectors"], gradients["eigenvectors"])


def test_gradients_go_by_the_keys_of_the_matrices(tmp_path: Path) -> None:
    one, two = np.eye(2), with_spectrum(1, 2, 3)
    np.savez(tmp_path / "M.npz", one=one, two=two)
    np.savez(tmp_path / "W.npz", two=two * 3, one=one * 2)
    given = given_matrices(tmp_path / "M.npz", tmp_path / "W.npz")
    assert np.array_equal(given[1].gradients["function"], two * 3)
    np.savez(tmp_path / "W.npz", three=two)
    with pytest.raises(InputError, match="no gradient for one: there are three"):
        given_matrices(tmp_path / "M.npz", tmp_path / "W.npz")


@pytest.mark.parametrize(
    ("shape", "gradients", "words"),
    [
        ((2, 2), np.eye(3), r"shape \(3, 3\); \(2, 2\) is right"),
        ((2, 2), {"eigenvalues": np.ones(3)}, r"shape \(3,\); \(2,\) is right"),
        ((2, 2), {"eigenvectors": np.ones((2, 3))}, "is right"),
        ((2, 2), {"eigenvectors": 1j * np.ones((2, 2))}, "is complex"),
        ((2, 2), {"eigenvalue": np.ones(2), "x": np.ones(2)}, "no gradient for M"),
        ((2, 2), {"eigenvalues": np.ones(2), "left": np.ones((2, 2))}, "no gradient for M"),
        ((2, 3), {"eigenvalues": np.ones(2)}, "has left, singular values, right"),
        ((2, 3), {"left": np.ones((3, 3))}, r"\(2, 2\) is right"),
        ((7, 2, 3), {"right": np.ones((6, 2, 3))}, r"\(7, 2, 3\) or \(7, 3, 3\) is right"),
        ((2, 2), {f"{i}" * 99: np.ones(2) for i in range(99)}, "…"),
    ],
)
def test_gradients_that_do_not_fit_are_refused(
    shape: tuple[int, ...], gradients: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        given_matrices(np.ones(shape), gradients)
    assert len(str(caught.value)) < 400


def test_the_gradient_of_the_users_own_loss_is_the_exact_one() -> None:
    M = torch.tensor(with_spectrum(1, 2, 3, 5))
    weights = torch.arange(16.0, dtype=M.dtype).reshape(4, 4).sin()

    def loss(values: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
        return (weights * V * V).sum() + values.square().sum()

    found = eigbench.diagnose(M, upstream(M, loss))
    X = M.clone().requires_grad_()
    (truth,) = torch.autograd.grad(loss(*torch.linalg.eigh((X + X.mT) / 2)), X)
    seen = found.measured[0].seen
    assert seen is not None
    assert seen.gradient is not None
    assert np.allclose(seen.gradient, truth.numpy(), rtol=1e-11, atol=1e-12)
