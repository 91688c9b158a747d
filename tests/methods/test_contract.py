"""Every method holds the contract; and what `eigbench.eigh` itself refuses."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

import eigbench
from eigbench.contract import CHECKS
from eigbench.contract.check import Check
from eigbench.contract.subject import Subject
from eigbench.methods import available, get
from tests.methods.matrices import gradient, relative, separated, symmetric

ALL = available()
DECOMPOSING = tuple(name for name in ALL if get(name).decomposes)
ITERATED = ("pi", "hybrid", "hybrid-loop")
CONVERGED = {name: dict(get(name).converged) for name in ALL}
"""Where a method is as good as its limit, by its own declaration."""


def eigh(method: str, **parameters: Any) -> Any:
    return partial(eigbench.eigh, method=method, **(parameters or CONVERGED[method]))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("method", ALL)
def test_holds_the_contract(method: str, check: Check) -> None:
    finding = check(Subject.of(method, get(method)))
    assert finding.state != "violated", finding.worst


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_check_applies_to_a_method(check: Check) -> None:
    """Otherwise it would pass whatever it says."""
    states = (check(Subject.of(method, get(method))).state for method in ALL)
    assert "held" in states


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 3, 4), ()])
def test_what_is_not_square_is_refused(method: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"square matrices .*, not shape"):
        eigbench.eigh(torch.zeros(shape), method=method)


@pytest.mark.parametrize("method", DECOMPOSING)
def test_other_dtypes_are_refused(method: str) -> None:
    with pytest.raises(TypeError, match=f"{method} takes float32, float64.*, not int64"):
        eigbench.eigh(torch.eye(3, dtype=torch.int64), method=method)


def test_other_devices_are_refused() -> None:
    with pytest.raises(TypeError, match="hybrid runs on cpu, cuda, not meta"):
        eigbench.eigh(torch.eye(3, device="meta"))


def test_unknown_names_are_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="unknown method 'qr'; available are eigh, svd"):
        eigbench.eigh(torch.eye(3), method="qr")
    with pytest.raises(ValueError, match="'eigh' has no parameter 'iterations'; it takes: none"):
        eigbench.eigh(torch.eye(3), method="eigh", iterations=3)


@pytest.mark.parametrize("method", ITERATED)
@pytest.mark.parametrize("iterations", [0, -1, 1.5, True, "3"])
def test_iterations_are_whole_numbers_from_one(method: str, iterations: Any) -> None:
    with pytest.raises(ValueError, match="iterations must be a whole number, 1 or more"):
        eigbench.eigh(torch.eye(3), method=method, iterations=iterations)


def test_indefinite_matrices_have_the_right_gradient() -> None:
    """A drop-in for torch.linalg.eigh must not fail in silence where λ < 0."""
    M = symmetric(torch.tensor([-3.0, -1.0, 0.5, 2.0], dtype=torch.float64))
    truth = gradient(torch.linalg.eigh, M)
    for method in ("eigh", "svd", "hybrid"):
        assert relative(gradient(eigh(method), M), truth) < 1e-10, method


def test_the_default_is_the_papers_hybrid() -> None:
    M = separated(4)
    assert torch.equal(gradient(eigbench.eigh, M), gradient(eigh("hybrid", iterations=19), M))
