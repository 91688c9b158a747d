"""The geometric series behind the power-iteration gradient, against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import torch

from eigbench.kinds.base import Measure, Tools
from eigbench.kinds.series import COEFFICIENT_TERMS, FIGURE_1_POWERS, SeriesCase
from eigbench.measure.measurement import Measurement
from eigbench.measure.process import one_thread
from eigbench.methods.coefficients import geometric_series


@one_thread()
def measure_series(case: SeriesCase) -> Measurement:
    """Eq. 7 and Eq. 14 at one ratio q of eigenvalues.

    `least_terms` is found by multiplying until qᵏ ≤ threshold, in exact arithmetic, not by the
    logarithm of Eq. 14. `coefficient_error` is |λ·c⁺ − 1/(1 − q)|·(1 − q), the share of the
    analytic coefficient that K terms leave out, as the library's own sum gives it in `dtype`;
    `sum_rounding_error` is what that sum loses to rounding against the exact partial sum.
    """
    ratio = Fraction(str(case.ratio))
    dtype = getattr(torch, case.dtype).to_real()  # as eigenvalues are
    q = torch.tensor([float(ratio)], dtype=dtype)
    stored = Fraction(q.item())
    shares, roundings = [], []
    for terms in COEFFICIENT_TERMS:
        total = Fraction(geometric_series(q, terms)[0].item())
        exact = (1 - stored**terms) / (1 - stored)
        shares.append(float(abs(total * (1 - stored) - 1)))
        roundings.append(float(abs(total - exact) / exact))
    return Measurement(
        {
            "least_terms": [float(_least_terms(ratio, Fraction(str(case.threshold))))],
            "powers": [float(ratio**k) for k in FIGURE_1_POWERS],
            "coefficient_error": shares,
            "sum_rounding_error": roundings,
        },
        {},
    )


def _least_terms(ratio: Fraction, threshold: Fraction) -> int:
    """The least k with qᵏ ≤ threshold, by multiplication, rounded upwards at 60 digits."""
    digits = 10**60
    power, k = digits, 0
    limit = threshold * digits
    while power > limit:
        # Exact fractions grow by a digit a step; 60 of them are far more than the answer needs.
        power = -(-power * ratio.numerator // ratio.denominator)
        k += 1
    return k


def measurer(_tools: Tools) -> Measure:
    """Measures series cases."""
    return measure_series
