"""How the numbers of trainings are written."""

from __future__ import annotations

import math

import numpy as np

from eigbench.report.markdown import NOT_FINITE, NOTHING, percent, scientific
from eigbench.report.training.cells import Floats
from eigbench.report.training.inference import wilson


def error(share: float) -> str:
    """An error in per cent, to the two decimals that the paper prints."""
    return f"{100 * share:.2f}" if math.isfinite(share) else NOT_FINITE


def errors(values: Floats) -> str:
    """Mean ± standard deviation of errors in per cent; the mean alone of one trial."""
    if not len(values):
        return NOTHING
    if len(values) == 1 or not np.isfinite(values).all():
        return error(float(values.mean()))
    return f"{error(float(values.mean()))} ± {100 * float(values.std(ddof=1)):.2f}"


def plain(values: Floats) -> str:
    """Mean ± standard deviation to three decimals."""
    if not len(values):
        return NOTHING
    if not np.isfinite(values).all():
        return NOT_FINITE
    spread = f" ± {float(values.std(ddof=1)):.3f}" if len(values) > 1 else ""
    return f"{float(values.mean()):.3f}{spread}"


def least_error(values: Floats) -> str:
    """The smallest error in per cent."""
    return error(float(values.min())) if len(values) else NOTHING


def share(success: tuple[int, int]) -> str:
    """A success rate; nothing of no trials."""
    finished, trials = success
    return percent(finished / trials) if trials else NOTHING


def interval(success: tuple[int, int]) -> str:
    """The Wilson interval of a success rate, in whole per cent."""
    if not success[1]:
        return NOTHING
    low, high = (round(100 * end) for end in wilson(*success))
    return f"{low}–{high} %"


def counted(success: tuple[int, int]) -> str:
    """A success rate with its trials and its interval."""
    if not success[1]:
        return "no trials"
    return f"{success[0]} of {success[1]} trials ({share(success)}, {interval(success)})"


def milliseconds(seconds: float) -> str:
    """A time of a step."""
    if not math.isfinite(seconds):
        return NOTHING
    value = 1000 * seconds
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def times(ratio: float) -> str:
    """How many times as much."""
    return f"{ratio:.2f}" if math.isfinite(ratio) else NOTHING


def factor(ratio: float) -> str:
    """A ratio that may be large, or infinite."""
    return NOTHING if math.isnan(ratio) else scientific(ratio)


def trials(count: int) -> str:
    """A number of trials in words."""
    return f"{count} trial" + ("" if count == 1 else "s")
