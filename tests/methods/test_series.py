"""The geometric series against arithmetic of eighty digits."""

from __future__ import annotations

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eigbench.methods.coefficients import geometric_series

TERMS = st.one_of(st.integers(0, 40), st.sampled_from([100, 1000]))


@given(q=st.floats(0, 1), terms=TERMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sum_and_power(q: float, terms: int, dtype: torch.dtype) -> None:
    stored = torch.tensor([q], dtype=dtype)
    before = stored.clone()
    total, power = geometric_series(stored, terms)
    eps, tiny = torch.finfo(dtype).eps, torch.finfo(dtype).tiny
    # Each of the 2·log₂ doublings rounds sum and power once or twice, and a power's error doubles
    # with it: terms·eps in the worst case.
    allowed = 2 * (terms + 2) * eps
    with mpmath.workdps(80):
        ratio = mpmath.mpf(stored.item())
        exact_power = ratio**terms
        exact = terms if ratio == 1 else (1 - exact_power) / (1 - ratio)
        assert abs(total.item() - exact) <= allowed * exact
        assert abs(power.item() - exact_power) <= allowed * exact_power + tiny
    assert torch.equal(stored, before)


@pytest.mark.parametrize("terms", [0, 1, 2, 3, 5, 18, 19, 29])
def test_in_place_and_recorded_arithmetic_agree(terms: int) -> None:
    q = torch.linspace(0, 1, 11, dtype=torch.float64)
    recorded = geometric_series(q, terms)
    with torch.no_grad():
        in_place = geometric_series(q, terms)
    for one, other in zip(recorded, in_place, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-15, atol=0)


def test_results_are_new_tensors() -> None:
    q = torch.tensor([0.5])
    for terms in range(5):
        for result in geometric_series(q, terms):
            assert result.data_ptr() != q.data_ptr()
