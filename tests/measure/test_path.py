"""Along a crossing the exact gradient is smooth, and what jumps is seen to jump."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eigbench.errors import NotApplicable
from eigbench.kinds.path import PathCase
from eigbench.measure.invariance import POSITIONS, measure_path
from eigbench.methods import get


def samples(method: str, **changes: Any) -> dict[str, np.ndarray[Any, Any]]:
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
    found = samples(method, d=d)
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
        assert near(samples(method), "moved").max() > 0.01, method
    # A closing pair: Eq. 4 with 19 terms points the other way (docs/mathematics.md).
    middle = np.abs(POSITIONS) == np.abs(POSITIONS[POSITIONS != 0]).min()
    assert (samples("hybrid")["crossing_ratio"][middle] < 0).all()


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
    whole = samples("spectral")
    monkeypatch.setattr("eigbench.measure.invariance.MOST_ENTRIES", entries)
    for name, values in samples("spectral").items():
        assert values == pytest.approx(whole[name], rel=1e-6, abs=1e-12, nan_ok=True), name


def test_a_single_eigenvalue_cannot_cross() -> None:
    with pytest.raises(NotApplicable, match="d must be 2 or more"):
        samples("eigh", d=1)
