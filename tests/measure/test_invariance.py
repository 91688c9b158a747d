"""A gradient that depends on its neighbours or the threads, or jumps on a path, is seen to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from eigbench.errors import NotApplicable
from eigbench.kinds.invariance import InvarianceCase
from eigbench.kinds.path import PathCase
from eigbench.measure.invariance import POSITIONS, measure_invariance, measure_path
from eigbench.methods import get, registry
from eigbench.methods.base import Eigenpairs, Method


def case(method: str, **changes: Any) -> InvarianceCase:
    settings: dict[str, Any] = {
        "method": method, "parameters": {}, "d": 8, "spectrum": "gap", "gap": 0.1,
        "dtype": "float64", "epsilon": 1e-4, "loss": "whitening", "seeds": 3, "seed": 0,
        "device": "cpu",
    }  # fmt: skip
    return InvarianceCase(**{**settings, **changes})


def changes(method: str, **axes: Any) -> dict[str, np.ndarray[Any, Any]]:
    samples = measure_invariance(case(method, **axes), {}).samples
    return {name: np.array(values) for name, values in samples.items()}


@dataclass(frozen=True)
class Sociable(Method):
    """Its gradient is scaled by the norm of the whole batch over that of its own matrix."""

    name: ClassVar[str] = "sociable"
    summary: ClassVar[str] = "for tests"
    source: ClassVar[str] = "here"

    def eigh(self, M: Tensor) -> Eigenpairs:
        own = torch.linalg.vector_norm(M, dim=(-2, -1), keepdim=True)
        share = (torch.linalg.vector_norm(M) / own).detach()
        values, V = torch.linalg.eigh(M.detach() + share * (M - M.detach()))
        return Eigenpairs(values, V)


@pytest.mark.parametrize("loss", ["whitening", "eigenvector"])
def test_what_does_not_change_is_seen_not_to(loss: str) -> None:
    found = changes("eigh", loss=loss)
    assert {len(values) for values in found.values()} == {3}
    assert found["neighbour_change"].max() < 1e-12
    assert found["repeat_change"].max() == 0
    assert found["thread_change"].max() < 1e-12
    # Float32's rounding, over gaps of a tenth and eigenvalues of a third.
    assert 1e-8 < found["precision_change"].min() <= found["precision_change"].max() < 1e-4


def test_a_gradient_that_depends_on_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._loaded, "sociable", Sociable)
    monkeypatch.setattr(registry, "_entries", lambda: {"sociable": None})
    # Beside the same matrix times 1000, the norm of the batch is 1000 times its own.
    assert changes("sociable")["neighbour_change"] == pytest.approx([999, 999, 999], rel=1e-2)


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    changes("spectral")
    assert torch.get_num_threads() == before


def test_where_there_is_no_gradient_the_change_is_nan() -> None:
    found = changes("eigh", spectrum="identity", gap=None)
    assert np.isnan(found["neighbour_change"]).all()


def test_a_function_that_a_method_does_not_have_is_skipped() -> None:
    with pytest.raises(NotApplicable, match="no other function"):
        measure_invariance(case("newton-schulz", loss="eigenvector"), {})


def along_path(method: str, **changes: Any) -> dict[str, np.ndarray[Any, Any]]:
    settings: dict[str, Any] = {
        "method": method, "parameters": {}, "d": 5, "dtype": "float64", "epsilon": 1e-4,
        "loss": "whitening", "seed": 0, "device": "cpu",
    }  # fmt: skip
    measured = measure_path(PathCase(**{**settings, **changes}))
    return {name: np.array(values) for name, values in measured.samples.items()}


def near(found: dict[str, np.ndarray[Any, Any]], metric: str) -> Any:
    """Of the moves between two positions that are both within 1e-5 of the crossing."""
    close = np.abs(POSITIONS) <= 1e-5
    return found[metric][close[1:] & close[:-1]]


@pytest.mark.parametrize("d", [2, 3, 8])
@pytest.mark.parametrize("method", ["spectral", "cholesky"])
def test_the_exact_gradient_goes_on_through_the_crossing(method: str, d: int) -> None:
    found = along_path(method, d=d)
    assert found["gradient_error"].max() < 1e-11
    assert near(found, "moved").max() < 1e-4
    assert near(found, "exact_moved").max() < 1e-4
    if method == "spectral":
        assert found["crossing_ratio"] == pytest.approx(np.ones(len(POSITIONS)), abs=1e-8)


def test_the_positions_lead_through_the_crossing_and_back() -> None:
    assert (np.diff(POSITIONS) > 0).all()
    assert np.array_equal(POSITIONS, -POSITIONS[::-1])
    assert 0 in POSITIONS


def test_what_jumps_is_seen_to_jump() -> None:
    for method in ("hybrid", "clip"):
        assert near(along_path(method), "moved").max() > 0.01, method
    # A closing pair: Eq. 4 with 19 terms points the other way (docs/mathematics.md).
    middle = np.abs(POSITIONS) == np.abs(POSITIONS[POSITIONS != 0]).min()
    assert (along_path("hybrid")["crossing_ratio"][middle] < 0).all()


def test_a_record_remembers_what_was_promised() -> None:
    case = PathCase(
        method="taylor", parameters={}, d=3, dtype="float64", epsilon=1e-4, loss="whitening",
        seed=0, device="cpu",
    )  # fmt: skip
    assert measure_path(case).labels == {"promises": sorted(get("taylor").promises)}


@pytest.mark.parametrize("entries", [1, 60, 500])
def test_a_path_in_stretches_is_the_same_path(
    monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    """As a long path of large matrices is measured, which do not fit into memory together."""
    whole = along_path("spectral")
    monkeypatch.setattr("eigbench.measure.invariance.MOST_ENTRIES", entries)
    for name, values in along_path("spectral").items():
        assert values == pytest.approx(whole[name], rel=1e-6, abs=1e-12, nan_ok=True), name


def test_a_single_eigenvalue_cannot_cross() -> None:
    with pytest.raises(NotApplicable, match="d must be 2 or more"):
        along_path("eigh", d=1)
