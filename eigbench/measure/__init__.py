"""One case in, one measurement out; nothing here knows of run folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from eigbench.errors import InputError
from eigbench.runs.case import Case, SeriesCase
from eigbench.runs.suite import Matrices, Suite

if TYPE_CHECKING:
    from eigbench.measure.measurement import Measurement
    from eigbench.measure.problem import UserMatrices


def measurer(suite: Suite) -> Callable[[Case], Measurement]:
    """The function that measures each case of `suite`, whatever its kind."""
    from eigbench.measure.series import measure_series
    from eigbench.measure.stability import measure_stability

    user = _user_matrices(suite.matrices)

    def measure(case: Case) -> Measurement:
        if isinstance(case, SeriesCase):
            return measure_series(case)
        return measure_stability(case, user)

    return measure


def _user_matrices(remembered: Matrices | None) -> UserMatrices:
    """The matrices of a suite; `InputError` if the file has changed since it was resolved."""
    if remembered is None:
        return {}
    from eigbench.data.matrices import load_matrices

    loaded = load_matrices(Path(remembered.file))
    if loaded.sha256 != remembered.sha256:
        raise InputError(f"{remembered.file} has changed since this run was started")
    return loaded.by_size
