"""What counts as a gradient spike, against the definition step by step."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigbench.report.training.spikes import NONE, Spikes, spike_ratios, spikes


@given(st.lists(st.floats(1e-6, 1e6), max_size=130))
@settings(deadline=None)
def test_ratios_are_those_of_the_definition(norms: list[float]) -> None:
    expected = [
        norm / statistics.median(norms[max(0, step - 50) : step])
        for step, norm in enumerate(norms)
        if step >= 5
    ]
    assert spike_ratios(np.array(norms)) == pytest.approx(expected, rel=1e-12)


def test_a_spike_is_over_ten_times_the_median() -> None:
    assert spikes(np.array([1.0] * 5 + [10.0, 10.1])) == Spikes(1, 2, 10.1)


def test_the_first_steps_are_not_judged() -> None:
    assert spikes(np.array([1.0, 1e9, 1.0, 1.0, 1.0])) == NONE
    assert spikes(np.array([])) == NONE


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_a_spike_without_end(value: float) -> None:
    assert spikes(np.array([1.0] * 5 + [value])) == Spikes(1, 1, math.inf)
    assert spikes(np.array([value] * 6)).count == 1


def test_a_gradient_of_zero_is_no_spike() -> None:
    assert spikes(np.zeros(8)) == Spikes(0, 3, 0.0)
    assert spikes(np.array([0.0] * 6 + [1.0])).largest == math.inf


def test_trials_add_up() -> None:
    total = NONE + Spikes(1, 10, 12.0) + Spikes(0, 30, 2.0)
    assert total == Spikes(1, 40, 12.0)
    assert total.per_thousand == 25
    assert math.isnan(NONE.per_thousand)
