"""The edges of a stability case: beyond the bound, infinite, undefined, refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from eigbench.errors import NotApplicable
from eigbench.kinds.stability import StabilityCase
from eigbench.measure.stability import measure_stability
from eigbench.methods import registry
from eigbench.methods.base import Eigenpairs, Method, symmetric_part
from eigbench.spectra import Floats


def case(**axes: Any) -> StabilityCase:
    values: dict[str, Any] = {
        "method": "hybrid", "parameters": {"iterations": 19}, "d": 8, "spectrum": "gap",
        "gap": 0.1, "scale": 1.0, "dtype": "float64", "epsilon": 0.0, "loss": "whitening",
        "seeds": 8, "seed": 0, "device": "cpu",
    }  # fmt: skip
    values.update(axes)
    if values["method"] in ("eigh", "svd", "mine"):
        values["parameters"] = {}
    return StabilityCase(**values)


def measured(**axes: Any) -> dict[str, Floats]:
    return {name: np.array(v) for name, v in measure_stability(case(**axes), {}).samples.items()}


def test_the_analytic_gradient_leaves_the_bound_where_the_truth_does() -> None:
    metrics = measured(method="eigh", loss="closing-eigenvector", gap=1e-8)
    assert not metrics["inside_bound"].any()
    assert metrics["exact_gradient_norm"].min() > metrics["gradient_bound"].max()


def test_the_bound_is_infinite_where_an_eigenvalue_is_zero() -> None:
    metrics = measured(spectrum="rank-deficient", gap=None, loss="subspace")
    assert np.isinf(metrics["gradient_bound"]).all()
    assert np.isinf(metrics["condition_number"]).all()


def test_the_disturbance_is_of_the_size_of_rounding() -> None:
    double, single = (measured(dtype=dtype)["disturbed_change"] for dtype in ("float64", "float32"))
    assert 1e-17 < np.median(double) < 1e-13
    assert 1e-8 < np.median(single) < 1e-4


@dataclass(frozen=True)
class _Mine(Method):
    """eigh with a gradient that is spoilt in a chosen way."""

    name: ClassVar[str] = "mine"
    summary: ClassVar[str] = ""
    source: ClassVar[str] = ""
    spoil: ClassVar[float] = 1.0

    def eigh(self, M: Tensor) -> Eigenpairs:
        values, V = torch.linalg.eigh(symmetric_part(M))
        V.register_hook(lambda gradient: gradient * self.spoil)
        return Eigenpairs(values, V)


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> type[_Mine]:
    monkeypatch.setitem(registry._loaded, "mine", _Mine)
    return _Mine


def test_nan_stays_nan(mine: type[_Mine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mine, "spoil", math.nan)
    metrics = measured(method="mine")
    assert not metrics["gradient_finite"].any()
    assert not metrics["inside_bound"].any()
    for name in ("gradient_error", "gradient_norm", "gradient_cosine", "disturbed_change"):
        assert np.isnan(metrics[name]).all(), name
    assert metrics["forward_finite"].all()


def test_infinite_is_not_finite(mine: type[_Mine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mine, "spoil", math.inf)
    metrics = measured(method="mine")
    assert not metrics["gradient_finite"].any()
    assert not metrics["inside_bound"].any()


def test_what_a_method_cannot_take_does_not_apply(
    mine: type[_Mine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mine, "dtypes", frozenset({torch.float64}))
    with pytest.raises(NotApplicable, match="mine takes float64, not float32"):
        measured(method="mine", dtype="float32")


def test_eigenvalues_outside_the_function_s_domain_are_told() -> None:
    """Float32 finds eigenvalues below zero where they are 1e-9 of the largest."""
    metrics = measured(
        spectrum="rank-deficient", gap=None, epsilon=1e-9, dtype="float32", method="svd", d=32
    )
    assert set(metrics["function_finite"]) <= {0.0, 1.0}
    undefined = metrics["function_finite"] == 0
    assert not metrics["gradient_finite"][undefined].any()
