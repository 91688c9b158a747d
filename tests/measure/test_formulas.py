"""Every built-in rule against its own formula in 60 digits, which shares no code with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eigbench.errors import NotApplicable
from eigbench.kinds.stability import StabilityCase
from eigbench.measure.formulas import FORMULAS, LARGEST, formula_gradients
from eigbench.measure.stability import measure_stability
from eigbench.methods.functions import InverseSquareRoot
from eigbench.methods.registry import built_in, configured, parameter_names
from eigbench.methods.roots import RootMethod

LOSSES = ("whitening", "square-root", "reconstruction", "subspace", "eigenvector")


def case(method: str, loss: str, **changes: Any) -> StabilityCase:
    settings: dict[str, Any] = {
        "method": method,
        "parameters": {"iterations": 7} if "iterations" in parameter_names(method) else {},
        "d": LARGEST,
        "spectrum": "gap",
        "gap": 0.3,
        "scale": 1.0,
        "dtype": "float64",
        "epsilon": 1e-4,
        "loss": loss,
        "seeds": 2,
        "seed": 0,
        "device": "cpu",
    }
    return StabilityCase(**{**settings, **changes})


def taken_by(method: str) -> tuple[str, ...]:
    if method == "cholesky":
        return LOSSES[:1]
    return LOSSES[:2] if isinstance(configured(method), RootMethod) else LOSSES


def test_every_built_in_method_has_its_formula() -> None:
    assert set(FORMULAS) == set(built_in())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("method", FORMULAS)
def test_a_gradient_is_that_of_its_own_formula(method: str, loss: str) -> None:
    if loss not in taken_by(method):
        with pytest.raises(NotApplicable, match=r"no other function|no function of the"):
            measure_stability(case(method, loss), {})
        return
    errors = measure_stability(case(method, loss), {}).samples["formula_error"]
    # Condition number 7, gaps of 0.15 and 0.3: some hundred roundings at most.
    assert max(errors) < 1e-13


@pytest.mark.parametrize("method", [name for name in FORMULAS if name != "pi"])
def test_in_float32_too_and_with_a_gap_that_closes(method: str) -> None:
    errors = measure_stability(case(method, "whitening", dtype="float32"), {}).samples
    assert max(errors["formula_error"]) < 1e-4
    closing = measure_stability(case(method, "whitening", gap=1e-4), {}).samples
    # The gap has lost four of sixteen digits, and the linear systems of `implicit` eight.
    assert max(closing["formula_error"]) < (1e-7 if method == "implicit" else 1e-10)


class Other(InverseSquareRoot):
    pass


def test_what_has_no_formula_is_not_compared() -> None:
    M = np.eye(2)[None]
    assert formula_gradients(configured("eigh"), M, M, Other(), 0) is None
    samples = measure_stability(case("eigh", "whitening", d=LARGEST + 1), {}).samples
    assert "formula_error" not in samples


def test_a_formula_that_divides_by_zero_gives_nan() -> None:
    M, W = np.eye(2)[None], np.array([[[1.0, 2.0], [2.0, 3.0]]])
    found = formula_gradients(configured("eigh"), M, W, InverseSquareRoot(), 0)
    assert found is not None
    assert np.isnan(found).all()
    exact = formula_gradients(configured("spectral"), M, W, InverseSquareRoot(), 0)
    assert exact == pytest.approx(-W / 2)
