"""A training from scratch, to its end or to the step at which it breaks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from eigbench.errors import in_one_line
from eigbench.kinds.train import TrainCase
from eigbench.measure.measurement import Measurement
from eigbench.measure.process import PeakMemory, keep_freed_memory
from eigbench.measure.trial import ImageSets, Trial, determinism

SECONDS_BETWEEN_CHECKPOINTS = 20.0
NORMS_SHOWN = 3

Watch = Callable[[TrainCase, int, int, float], None]
"""Called after each step with the case, the steps done and planned, and the loss."""


class Checkpoints(Protocol):
    """Where the state of the trial in flight is kept, by the case's id."""

    def load(self, case_id: str) -> dict[str, Any] | None:
        """What was saved last, or None."""
        ...

    def save(self, case_id: str, state: dict[str, Any]) -> None:
        """Replace what was saved before."""
        ...

    def own(self, case_id: str) -> AbstractContextManager[None]:
        """Inside, whatever is raised ends the run: what was saved is not of this case."""
        ...


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
        **trial.history.series,
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


def _train(trial: Trial, checkpoints: Checkpoints | None, watch: Watch | None) -> None:
    saved_at = time.monotonic()
    while trial.step < trial.steps:
        loss = _step(trial)
        trial.step += 1
        if trial.step % trial.epoch_steps == 0 or trial.step == trial.steps:
            error, validation_loss = trial.evaluate(trial.validation)
            trial.history.note(
                validation_error=error, validation_loss=validation_loss, epoch_steps=trial.step
            )
        if watch is not None:
            watch(trial.case, trial.step, trial.steps, loss)
        if checkpoints is not None and time.monotonic() - saved_at >= SECONDS_BETWEEN_CHECKPOINTS:
            checkpoints.save(trial.case.id, trial.state())
            saved_at = time.monotonic()


def _step(trial: Trial) -> float:
    """One step: forward, backward, update; returns the loss. Raises `_Diverged`."""
    images, labels = trial.next_batch()
    started = _clock(trial.device)
    try:
        with trial.autocast():
            scores = trial.network(images)
        loss_tensor = trial.criterion(scores.to(trial.dtype), labels)
        trial.optimiser.zero_grad()
        loss_tensor.backward()
        trial.optimiser.step()
        trial.scheduler.step()
    except LinAlgError as error:
        reason = in_one_line(error).partition(": ")[2]
        raise _Diverged(_cause(trial, f"decomposition did not converge: {reason}")) from error
    # What follows is diagnosis. A step that was not finite has spoiled the weights by now, but it
    # is the last one.
    seconds = _clock(trial.device) - started
    loss: float = loss_tensor.item()
    norm = trial.gradient_norm()
    trial.history.note(
        loss=loss,
        gradient_norm=norm,
        layer_gradient_norm=trial.probe.gradient_norm(),
        step_seconds=seconds,
        **trial.probe.spectrum(),
    )
    if not math.isfinite(loss):
        raise _Diverged(_cause(trial, "loss not finite"))
    if not math.isfinite(norm):
        raise _Diverged(_cause(trial, "gradient not finite"))
    return loss


def _cause(trial: Trial, what: str) -> str:
    """What broke, at which step (from 0), and what stood before it."""
    losses = [loss for loss in trial.history.series["loss"] if math.isfinite(loss)]
    norms = trial.history.series["gradient_norm"][: trial.step][-NORMS_SHOWN:]
    last = f"{losses[-1]:.4g}" if losses else "none"
    before = ", ".join(f"{norm:.3g}" for norm in norms) or "none"
    stood = f"last finite loss {last}; gradient norms before it {before}"
    return f"{what} at step {trial.step}; {stood}"


def _clock(device: torch.device) -> float:
    """Seconds, once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
