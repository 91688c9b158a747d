"""The series against Table 1 of the paper and against q^K itself."""

from __future__ import annotations

import pytest
import torch

from eigbench.kinds.series import COEFFICIENT_TERMS, FIGURE_1_POWERS, SeriesCase
from eigbench.measure.series import measure_series

# Wang et al., NeurIPS 2019, Table 1: the least k with q^k ≤ 0.05.
TABLE_1 = {
    0.1: 2, 0.2: 2, 0.3: 3, 0.4: 4, 0.5: 5, 0.6: 6, 0.7: 9, 0.8: 14, 0.85: 19, 0.9: 29, 0.95: 59,
    0.99: 299, 0.995: 598, 0.999: 2995,
}  # fmt: skip


def case(ratio: float, threshold: float = 0.05, dtype: str = "float64") -> SeriesCase:
    return SeriesCase(ratio=ratio, threshold=threshold, dtype=dtype)


@pytest.mark.parametrize(("ratio", "terms"), TABLE_1.items())
def test_table_1(ratio: float, terms: int) -> None:
    assert measure_series(case(ratio)).samples["least_terms"] == [terms]


@pytest.mark.parametrize(
    ("ratio", "threshold", "terms"),
    # Equality counts as reached, and a ratio above the next power does not.
    [(0.5, 0.5, 1), (0.5, 0.25, 2), (0.1, 1e-3, 3), (0.5, 0.24, 3), (0.9, 1.0, 0)],
)
def test_least_terms_at_the_threshold_itself(ratio: float, threshold: float, terms: int) -> None:
    assert measure_series(case(ratio, threshold)).samples["least_terms"] == [terms]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ratio", TABLE_1)
def test_terms_left_out_are_the_power_of_the_ratio(ratio: float, dtype: str) -> None:
    found = measure_series(case(ratio, dtype=dtype)).samples["coefficient_error"]
    precision = torch.finfo(getattr(torch, dtype)).eps
    stored = torch.tensor(ratio, dtype=getattr(torch, dtype)).item()
    assert len(found) == len(COEFFICIENT_TERMS)
    for terms, error in zip(COEFFICIENT_TERMS, found, strict=True):
        # (1 − q)·S is at most 1, and S is a sum of `terms` products: as many roundings at most.
        assert error == pytest.approx(stored**terms, rel=1e-12, abs=(terms + 1) * precision), terms


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ratio", TABLE_1)
def test_the_sum_rounds_little(ratio: float, dtype: str) -> None:
    roundings = measure_series(case(ratio, dtype=dtype)).samples["sum_rounding_error"]
    precision = torch.finfo(getattr(torch, dtype)).eps
    for terms, error in zip(COEFFICIENT_TERMS, roundings, strict=True):
        assert 0 <= error <= (terms + 1) * precision, terms


@pytest.mark.parametrize("ratio", [0.1, 0.85, 0.999])
def test_powers_are_those_of_figure_1(ratio: float) -> None:
    powers = measure_series(case(ratio)).samples["powers"]
    # Python's power of the nearest double: off by k roundings of the ratio.
    assert powers == pytest.approx([ratio**k for k in FIGURE_1_POWERS], rel=1e-13)
