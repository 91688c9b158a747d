"""One case in, one measurement out; nothing here knows of run folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eigbench.errors import InputError
from eigbench.runs.case import (
    Case,
    InvarianceCase,
    PathCase,
    ProfileCase,
    SeriesCase,
    StabilityCase,
    TrainCase,
)
from eigbench.runs.structure import Matrices, Suite
from eigbench.runs.suite import cases

if TYPE_CHECKING:
    from eigbench.measure.differentiate import UserMatrices
    from eigbench.measure.measurement import Measurement
    from eigbench.measure.profile import Traces
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
    suite: Suite,
    checkpoints: Checkpoints | None = None,
    watch: Watch = _unwatched,
    traces: Traces | None = None,
) -> Callable[[Case], Measurement]:
    """The function that measures each case of `suite`, whatever its kind.

    A training keeps its state in `checkpoints` and tells `watch` of every step; a profile keeps
    its trace in `traces`. `InputError` if the matrices or images of the suite cannot be had.
    """
    from eigbench.measure.invariance import measure_invariance, measure_path
    from eigbench.measure.series import measure_series
    from eigbench.measure.stability import measure_stability

    user = _user_matrices(suite.matrices)
    train = _training_measurer(suite, checkpoints or NoCheckpoints(), watch)
    profile = _profiler(suite, traces)

    def measure(case: Case) -> Measurement:
        if isinstance(case, SeriesCase):
            return measure_series(case)
        if isinstance(case, StabilityCase):
            return measure_stability(case, user)
        if isinstance(case, InvarianceCase):
            return measure_invariance(case, user)
        if isinstance(case, PathCase):
            return measure_path(case)
        return train(case) if isinstance(case, TrainCase) else profile(case)

    return measure


def _training_measurer(
    suite: Suite, checkpoints: Checkpoints, watch: Watch
) -> Callable[[TrainCase], Measurement]:
    if suite.training is None:
        return _refused
    from eigbench.measure.training import measure_training
    from eigbench.measure.trial import image_sets

    images = image_sets(suite.training)
    return lambda case: measure_training(case, images, checkpoints, watch)


def _profiler(suite: Suite, traces: Traces | None) -> Callable[[ProfileCase], Measurement]:
    planned = [case for case in cases(suite) if isinstance(case, ProfileCase)]
    if not planned:
        return _refused
    from eigbench.measure.profile import NoTraces, Profiler

    return Profiler(planned, traces or NoTraces())


def _refused(case: Case) -> Measurement:
    raise InputError(f"the suite has no case {case.id}")


def _user_matrices(remembered: Matrices | None) -> UserMatrices:
    """The matrices of a suite; `InputError` if the file has changed since it was resolved."""
    if remembered is None:
        return {}
    from eigbench.data.matrices import load_matrices

    loaded = load_matrices(Path(remembered.file))
    if loaded.sha256 != remembered.sha256:
        raise InputError(f"{remembered.file} has changed since this run was started")
    return loaded.by_size
