"""One case in, one measurement out; nothing here knows of run folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eigbench.errors import InputError
from eigbench.runs.case import Case, SeriesCase, TrainCase
from eigbench.runs.structure import Matrices, Suite

if TYPE_CHECKING:
    from eigbench.measure.measurement import Measurement
    from eigbench.measure.problem import UserMatrices
    from eigbench.measure.training import Checkpoints, Watch


class NoCheckpoints:
    """Keeps nothing: a trial that is interrupted starts again."""

    def load(self, case_id: str) -> dict[str, Any] | None:  # noqa: ARG002
        """Nothing."""
        return None

    def save(self, case_id: str, state: dict[str, Any]) -> None:
        """Forget it."""


def _unwatched(_case: TrainCase, _step: int, _steps: int, _loss: float) -> None:
    pass


def measurer(
    suite: Suite, checkpoints: Checkpoints | None = None, watch: Watch = _unwatched
) -> Callable[[Case], Measurement]:
    """The function that measures each case of `suite`, whatever its kind.

    A training keeps its state in `checkpoints` and tells `watch` of every step. `InputError` if
    the matrices or images of the suite cannot be had.
    """
    if suite.training is not None:
        return _training_measurer(suite, checkpoints or NoCheckpoints(), watch)
    from eigbench.measure.series import measure_series
    from eigbench.measure.stability import measure_stability

    user = _user_matrices(suite.matrices)

    def measure(case: Case) -> Measurement:
        if isinstance(case, SeriesCase):
            return measure_series(case)
        assert not isinstance(case, TrainCase)  # noqa: S101  # such a suite has a `training`
        return measure_stability(case, user)

    return measure


def _training_measurer(
    suite: Suite, checkpoints: Checkpoints, watch: Watch
) -> Callable[[Case], Measurement]:
    from eigbench.measure.training import measure_training
    from eigbench.measure.trial import image_sets

    assert suite.training is not None  # noqa: S101
    images = image_sets(suite.training)

    def measure(case: Case) -> Measurement:
        assert isinstance(case, TrainCase)  # noqa: S101
        return measure_training(case, images, checkpoints, watch)

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
