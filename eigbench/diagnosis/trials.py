"""Every method, forward and backward, on the user's own matrix: what comes out, and how right."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch

from eigbench.diagnosis.facts import PRECISIONS, Facts, symmetric_part
from eigbench.diagnosis.subjects import Subject
from eigbench.diagnosis.truth import truth_of
from eigbench.diagnosis.uses import Use, uses_of
from eigbench.errors import NotApplicable
from eigbench.methods.base import Method
from eigbench.methods.registry import available, configured
from eigbench.report.rows import RIGHT
from eigbench.spectra import Floats

PROBE_SIZE = 64
PATIENCE_SECONDS = 2.0
"""A pass that would take longer, by its time at `PROBE_SIZE`, is not made."""


class Outcome(Enum):
    """How one backward pass ended."""

    RIGHT = "right"
    WRONG = "wrong"
    UNKNOWN = "finite"
    INFINITE = "infinite"
    NAN = "NaN"
    RAISED = "raised"
    REFUSED = "refused"


@dataclass(frozen=True)
class Trial:
    """One method on one use in one precision."""

    method: str
    use: str
    precision: str
    outcome: Outcome
    error: float = np.nan
    """`‖G − G*‖/‖G*‖` against the exact gradient; NaN where there is none."""
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured on one matrix."""

    subject: Subject
    facts: Facts
    arithmetic: str
    """In which the exact gradients were computed."""
    uses: tuple[Use, ...]
    trials: tuple[Trial, ...]

    def trial(self, method: str, use: str, precision: str) -> Trial:
        """The trial of this name; `KeyError` if there is none."""
        for trial in self.trials:
            if (trial.method, trial.use, trial.precision) == (method, use, precision):
                return trial
        raise KeyError((method, use, precision))

    def of(self, method: str, precision: str) -> list[Trial]:
        """All trials of a method in a precision, in the order of the uses."""
        return [
            trial for trial in self.trials if (trial.method, trial.precision) == (method, precision)
        ]

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method, in the order of the trials."""
        return tuple(dict.fromkeys(trial.method for trial in self.trials))


def measure(subject: Subject, facts: Facts, seed: int) -> Measured:
    """Try every method on one finite matrix, in both precisions, for each of its uses."""
    truth = truth_of(subject, facts)
    uses = uses_of(subject, facts, truth, seed)
    M = symmetric_part(subject.entries)
    trials = tuple(_trials(M, uses))
    return Measured(subject, facts, truth.arithmetic, tuple(uses), trials)


def _trials(M: Floats, uses: Iterable[Use]) -> Iterable[Trial]:
    applicable = [use for use in uses if use.loss is not None]
    for name in available():
        method = configured(name)
        slow = _too_slow(method, len(M))
        for precision in PRECISIONS:
            for use in applicable:
                yield _attempt(method, use, M, precision, slow)


def _attempt(method: Method, use: Use, M: Floats, precision: str, slow: str) -> Trial:
    """One pass. Here a method that fails becomes a row."""
    about = (method.name, use.name, precision)
    if use.loss is None:
        return Trial(*about, Outcome.REFUSED, reason=use.reason)
    if slow:
        return Trial(*about, Outcome.REFUSED, reason=slow)
    X = torch.as_tensor(M, dtype=getattr(torch, precision))
    if not X.isfinite().all():
        return Trial(*about, Outcome.REFUSED, reason=f"M does not fit into {precision}")
    try:
        gradient = use.loss.gradient(method, X)
    except NotApplicable as reason:
        return Trial(*about, Outcome.REFUSED, reason=str(reason))
    # Whatever a method raises is a row of the table.
    except Exception as error:  # noqa: BLE001
        first = next(iter(str(error).splitlines()), "no message")
        return Trial(*about, Outcome.RAISED, reason=f"{type(error).__name__}: {first}")
    return Trial(*about, *judge(gradient.detach().double().numpy(), use.exact))


def judge(gradient: Floats, exact: Floats | None) -> tuple[Outcome, float]:
    """How a gradient `(n, n)` compares with the exact one, and its relative error."""
    if np.isnan(gradient).any():
        return Outcome.NAN, np.nan
    if np.isinf(gradient).any():
        return Outcome.INFINITE, np.nan
    if exact is None:
        return Outcome.UNKNOWN, np.nan
    scale = max(np.abs(exact).max(), np.abs(gradient).max())
    if scale == 0:
        return Outcome.RIGHT, 0.0
    # Scaled, so that squares do not overflow.
    distance, norm = np.linalg.norm((gradient - exact) / scale), np.linalg.norm(exact / scale)
    error = float(distance / norm) if norm > 0 else np.inf
    return (Outcome.RIGHT if error <= RIGHT else Outcome.WRONG), error


def _too_slow(method: Method, n: int) -> str:
    """Why a pass at size n would take too long, or nothing."""
    if n <= PROBE_SIZE:
        return ""
    seconds = _probe_seconds(method) * (n / PROBE_SIZE) ** 3
    if seconds <= PATIENCE_SECONDS:
        return ""
    return f"at this size a pass would take about {seconds:.0f} s"


@functools.cache
def _probe_seconds(method: Method) -> float:
    """A whitening, forward and backward, at the size of the probe."""
    M = torch.diag(torch.linspace(1, 2, PROBE_SIZE))

    def once() -> float:
        before = time.perf_counter()
        X = M.clone().requires_grad_()
        torch.autograd.grad(method.whitening(X).sum(), X)
        return time.perf_counter() - before

    try:
        once()  # of which the loading of libraries is part
        return once()
    except Exception:  # noqa: BLE001 - what it raises on the matrix itself is a row there
        return 0.0
