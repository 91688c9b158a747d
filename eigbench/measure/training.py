"""A training from scratch, to its end or to the step at which it breaks."""

from __future__ import annotations

import math
import time

import torch
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from eigbench.errors import in_one_line
from eigbench.kinds.base import Measure, Tools
from eigbench.kinds.train import (
    BEFORE_A_FAILURE,
    BY_STEP,
    BY_STEP_WITH_PAIRS,
    Checkpoints,
    TrainCase,
    Watch,
)
from eigbench.measure.measurement import Measurement
from eigbench.measure.probe import moment
from eigbench.measure.process import PeakMemory, keep_freed_memory
from eigbench.measure.trial import ImageSets, Trial, determinism, image_sets

SECONDS_BETWEEN_CHECKPOINTS = 20.0
STEPS_BETWEEN_READS = {"cpu": 1, "cuda": 32}
"""The host waits for a device when it reads; on a CPU there is nothing to wait for."""
NORMS_SHOWN = 3


class CompilerError(Exception):
    """torch.compile does not work here, or not for this network."""


class _Diverged(Exception):
    """The training cannot go on. The message says what broke and at which step."""


def measure_training(
    case: TrainCase,
    images: ImageSets,
    checkpoints: Checkpoints | None = None,
    watch: Watch | None = None,
) -> Measurement:
    """Train one network; every series holds one value a step or an epoch.

    A training that breaks is a result: its series end where it broke, and `cause` says why. It
    breaks when the loss or a gradient is not finite, or a decomposition does not converge. The
    test set is read once, after the last step. Without `checkpoints` one that is interrupted starts
    again.
    """
    if case.device == "cpu":
        keep_freed_memory()
    with determinism(case):
        memory = PeakMemory(torch.device(case.device))
        trial = Trial(case, images)
        if checkpoints is not None and (saved := checkpoints.load(case.id)) is not None:
            with checkpoints.own(case.id):
                trial.restore(saved)
        cause = ""
        try:
            _train(trial, checkpoints, watch)
        except _Diverged as broke:
            cause = str(broke)
        test = [] if cause else [trial.evaluate(trial.test)[0]]
    samples = {
        **_recorded(trial.history.series, case.record_every, broke=bool(cause)),
        "test_error": test,
        "peak_bytes": [float(memory.peak_bytes())],
        "steps_planned": [float(trial.steps)],
    }
    labels = {
        "outcome": ["diverged" if cause else "finished"],
        "cause": [cause],
        "data": [images.train.name, images.train.sha256, images.test.sha256],
        "peak_of": [memory.of],
    }
    return Measurement(samples, labels)


def _recorded(series: dict[str, list[float]], every: int, *, broke: bool) -> dict[str, list[float]]:
    """The series of a record: those by step at the steps that `TrainCase.record_every` asks for."""
    if every == 1:
        return series
    count = len(series["loss"])
    ending = BEFORE_A_FAILURE if broke else 1
    steps = [step for step in range(count) if step % every == 0 or step >= count - ending]
    thin = {
        name: [values[step] for step in steps]
        for name in (*BY_STEP, *BY_STEP_WITH_PAIRS)
        if (values := series[name])
    }
    return {**series, **thin, "step": [float(step) for step in steps]}


def _train(trial: Trial, checkpoints: Checkpoints | None, watch: Watch | None) -> None:
    saved_at = time.monotonic()
    losses = trial.history.series["loss"]
    while trial.step < trial.steps:
        _step(trial)
        trial.step += 1
        if len(trial.probe.kept) >= STEPS_BETWEEN_READS[trial.device.type]:
            _read(trial)
        if trial.step % trial.epoch_steps == 0 or trial.step == trial.steps:
            _read(trial)
            error, validation_loss = trial.evaluate(trial.validation)
            trial.history.note(
                validation_error=error, validation_loss=validation_loss, epoch_steps=trial.step
            )
        if watch is not None:
            watch(trial.case, trial.step, trial.steps, losses[-1] if losses else math.nan)
        if checkpoints is not None and time.monotonic() - saved_at >= SECONDS_BETWEEN_CHECKPOINTS:
            _read(trial)
            checkpoints.save(trial.case.id, trial.state())
            saved_at = time.monotonic()


def _step(trial: Trial) -> None:
    """One step: forward, backward, update. Raises `_Diverged` if a decomposition fails."""
    images, labels = trial.next_batch()
    began = moment(trial.device)
    try:
        with trial.autocast():
            scores = trial.scores(images)
        loss = trial.criterion(scores.to(trial.dtype), labels)
        trial.optimiser.zero_grad()
        loss.backward()
        trial.optimiser.step()
        trial.scheduler.step()
    except Exception as error:
        # A step that broke before, and was not read yet, is what made this one fail.
        _read(trial)
        if not isinstance(error, LinAlgError):
            if trial.case.compiled:
                _raise_if_compiler(error)
            raise
        reason = in_one_line(error).partition(": ")[2]
        what = f"decomposition did not converge: {reason}"
        raise _Diverged(_cause(trial, what, trial.step)) from error
    trial.probe.keep(loss, trial.gradient_norm(), began, moment(trial.device))


def _raise_if_compiler(error: Exception) -> None:
    """`CompilerError` if it is torch.compile that failed."""
    from torch._dynamo.exc import TorchDynamoException  # late: takes a second

    if isinstance(error, TorchDynamoException):
        # The first line of the outer one says no more than that there is an inner one.
        why = in_one_line(getattr(error, "inner_exception", error))
        raise CompilerError(f"torch.compile failed; train without --compile ({why})") from error


def _read(trial: Trial) -> None:
    """Note what the last steps left on the device. Raises `_Diverged` at the first that broke.

    Such a step has spoiled the weights, and those after it are of no training: they are dropped.
    """
    for numbers in trial.probe.read():
        trial.history.note(**numbers)
        step = len(trial.history.series["loss"]) - 1
        for name, what in (("loss", "loss"), ("gradient_norm", "gradient")):
            if not math.isfinite(numbers[name]):
                raise _Diverged(_cause(trial, f"{what} not finite", step))


def _cause(trial: Trial, what: str, step: int) -> str:
    """What broke, at which step (from 0), and what stood before it."""
    losses = [loss for loss in trial.history.series["loss"] if math.isfinite(loss)]
    norms = trial.history.series["gradient_norm"][:step][-NORMS_SHOWN:]
    last = f"{losses[-1]:.4g}" if losses else "none"
    before = ", ".join(f"{norm:.3g}" for norm in norms) or "none"
    return f"{what} at step {step}; last finite loss {last}; gradient norms before it {before}"


def measurer(tools: Tools) -> Measure:
    """Runs the trials of a suite, whose images are read once."""
    assert tools.training is not None  # noqa: S101  # without it there is no such case
    given = image_sets(tools.training), tools.checkpoints, tools.watch
    return lambda case: measure_training(case, *given)
