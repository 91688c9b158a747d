"""The lines that theory gives, executed on the matrix and on its copies, against exact gradients.

Beside them every method runs on the matrix itself.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from eigbench.diagnosis.bench import Bench
from eigbench.diagnosis.matrices import Numbers
from eigbench.diagnosis.own_loss import own_loss, own_question
from eigbench.diagnosis.questions import YOURS, Cure, Question, questions_of
from eigbench.diagnosis.sees import LossView, view
from eigbench.diagnosis.spectrum import COMPLEX, Spectrum, hermitian_part, wide
from eigbench.diagnosis.truth import relative_error
from eigbench.errors import NotApplicable, in_one_line
from eigbench.measure.differentiate import differentiate
from eigbench.methods.base import Method
from eigbench.methods.registry import available, configured
from eigbench.report.frame import RIGHT

EVERY_METHOD = 100
"""Up to this size every method runs on the worst matrix."""
PRECISIONS = ("float32", "float64")

Loss = Callable[[Sequence[Tensor]], Tensor]
"""Of what a cure computes."""


class GradientOutcome(Enum):
    """How one backward pass ended."""

    RIGHT = "right"
    WRONG = "wrong"
    UNKNOWN = "finite"
    INFINITE = "infinite"
    NAN = "NaN"
    RAISED = "raised"
    REFUSED = "refused"


@dataclass(frozen=True)
class Attempt:
    """One backward pass."""

    outcome: GradientOutcome
    error: float = np.nan
    """`‖G − G*‖/‖G*‖` against the exact gradient; NaN where there is none."""
    reason: str = ""
    forward_finite: bool = True


@dataclass(frozen=True, eq=False)
class Trial:
    """One cure on M, the first, and on its copies."""

    cure: Cure
    attempts: tuple[Attempt, ...]

    @property
    def right(self) -> int:
        """On how many of them it was right."""
        return sum(one.outcome is GradientOutcome.RIGHT for one in self.attempts)

    @property
    def always_right(self) -> bool:
        """Whether it was right on all."""
        return self.right == len(self.attempts)

    @property
    def largest_error(self) -> float:
        """The largest error where there is one; NaN where there is none."""
        return max((one.error for one in self.attempts if one.error >= 0), default=np.nan)

    def count(self, *outcomes: GradientOutcome) -> int:
        """How many attempts ended in one of these ways."""
        return sum(one.outcome in outcomes for one in self.attempts)


@dataclass(frozen=True, eq=False)
class Answer:
    """What was measured for one question: cures until one was right on all, and what torch does."""

    question: Question
    trials: tuple[Trial, ...]
    torch: Trial | None

    @property
    def best(self) -> Trial | None:
        """The first cure that was right on all; None if there is none."""
        return next((trial for trial in self.trials if trial.always_right), None)


@dataclass(frozen=True, eq=False)
class MatrixMeasurement:
    """What was measured on one matrix."""

    spectrum: Spectrum
    seen: LossView | None
    """What the user's own loss sees; None if it is not known."""
    answers: dict[str, Answer]
    """By use; the user's own loss first, if it is known."""
    digits: int
    """In which the exact gradients were computed."""
    copies: int
    methods: dict[str, dict[tuple[str, str], Attempt]]
    """By method, and by use and precision; empty where only the answers were measured."""


def measure(spectrum: Spectrum, *, every_method: bool) -> MatrixMeasurement:
    """Ask every question of one finite matrix, and try the answers."""
    seen = view(spectrum)
    own = [] if seen is None else [own_question(spectrum, seen)]
    questions = (*own, *questions_of(spectrum))
    bench = Bench(spectrum)
    answers = {one.use: _answer(one, bench, seen) for one in questions}
    table = every_method and not spectrum.svd and spectrum.size <= EVERY_METHOD
    methods = _every_method(questions, bench) if table else {}
    copies = len(bench.matrices) - 1
    return MatrixMeasurement(spectrum, seen, answers, bench.digits, copies, methods)


def _answer(question: Question, bench: Bench, seen: LossView | None) -> Answer:
    """Try the cures in their order; of each family up to the first that is right on all."""
    trials: list[Trial] = []
    cured: set[tuple[float, int]] = set()
    for cure in question.cures:
        family = (cure.regularised, cure.kept)
        if family not in cured:
            trials.append(_trial(question, cure, bench, seen))
            if trials[-1].always_right:
                cured.add(family)
    torch = None
    if question.torch is not None:
        torch = next((one for one in trials if one.cure == question.torch), None)
        torch = torch or _trial(question, question.torch, bench, seen)
    return Answer(question, tuple(trials), torch)


def _trial(question: Question, cure: Cure, bench: Bench, seen: LossView | None) -> Trial:
    if question.use == YOURS:
        assert seen is not None  # noqa: S101 - there is such a question only then
        own = functools.partial(own_loss, cure, bench.spectrum)
        return Trial(cure, (_attempt(cure, own, bench, 0, seen.gradient),))
    attempts = []
    for which in range(len(bench.matrices)):
        drawn = functools.partial(_drawn_loss, cure, bench.weight(cure, which))
        attempts.append(_attempt(cure, drawn, bench, which, bench.exact(cure, which)))
    return Trial(cure, tuple(attempts))


def execute(cure: Cure, M: Tensor) -> tuple[Tensor, ...]:
    """What the lines of a cure make of M: each of the names that they bind."""
    # As a user has it: the package itself, in which this module is far below.
    scope = {"torch": torch, "eigbench": importlib.import_module("eigbench"), "M": M}
    exec(cure.code, scope)  # noqa: S102 - our own lines, which a user is told to paste
    return tuple(scope[name] for name in cure.result.split(", "))  # type: ignore[misc]


def _drawn_loss(cure: Cure, weight: Numbers, results: Sequence[Tensor]) -> Tensor:
    """Of all values, a matrix, a vector, or the two vectors of a triple."""
    product = results[0]
    if cure.function is None:
        return (product**2).sum()
    if product.ndim == 1:
        product = torch.outer(product, results[-1].conj())
    total: Tensor = (torch.as_tensor(weight).to(product).conj() * product).sum().real
    return total


def _attempt(cure: Cure, loss: Loss, bench: Bench, which: int, exact: Numbers | None) -> Attempt:
    """One pass forward and backward by pasted lines, and what became of it."""
    M = torch.as_tensor(bench.matrices[which]).to(bench.dtype).requires_grad_()
    try:
        results = execute(cure, M)
        (gradient,) = torch.autograd.grad(loss(results), M)
    # Whatever is raised is what would happen to the user.
    except Exception as error:  # noqa: BLE001
        return Attempt(GradientOutcome.RAISED, reason=in_one_line(error))
    finite = all(bool(one.isfinite().all()) for one in results)
    found = wide(gradient)
    return _judged(found if bench.spectrum.svd else hermitian_part(found), exact, finite)


def _judged(gradient: Numbers, exact: Numbers | None, forward_finite: bool = True) -> Attempt:  # noqa: FBT001, FBT002
    """How a gradient `(m, n)` compares with the exact one."""
    outcome, error = GradientOutcome.UNKNOWN, np.nan
    if np.isnan(gradient).any():
        outcome = GradientOutcome.NAN
    elif np.isinf(gradient).any():
        outcome = GradientOutcome.INFINITE
    elif exact is not None:
        error = relative_error(gradient, exact)
        outcome = GradientOutcome.RIGHT if error <= RIGHT else GradientOutcome.WRONG
    return Attempt(outcome, error, forward_finite=forward_finite)


_TABLED = ("inverse-square-root", "negative-subspace", "leading-subspace", "leading-vector")


def _every_method(
    questions: Sequence[Question], bench: Bench
) -> dict[str, dict[tuple[str, str], Attempt]]:
    """Every method on M itself, in both precisions, for the functions of M that have a gradient."""
    tabled = {one.use: one.cures[0] for one in questions if one.use in _TABLED and one.cures}
    found: dict[str, dict[tuple[str, str], Attempt]] = {}
    for name in available() if tabled else ():
        method, row = configured(name), found.setdefault(name, {})
        for precision in PRECISIONS:
            dtype = getattr(torch, COMPLEX[precision] if bench.spectrum.complex else precision)
            for use, cure in tabled.items():
                row[use, precision] = _method_attempt(method, cure, bench, dtype)
    return found


def _method_attempt(method: Method, cure: Cure, bench: Bench, dtype: torch.dtype) -> Attempt:
    assert cure.function is not None  # noqa: S101 - of `_TABLED`
    M = hermitian_part(bench.matrices[0])
    X = torch.as_tensor(M + cure.regularised * np.eye(len(M)), dtype=dtype)
    if not X.isfinite().all():
        return Attempt(GradientOutcome.REFUSED, reason=f"M does not fit into {dtype}")
    W = torch.as_tensor(hermitian_part(bench.weight(cure, 0))).to(X)
    try:
        with warnings.catch_warnings():
            # A user who asks about one matrix is told of it in the table.
            warnings.simplefilter("ignore", RuntimeWarning)
            gradient = differentiate(method, X[None], cure.function, W[None]).gradient[0]
    except NotApplicable as refusal:
        return Attempt(GradientOutcome.REFUSED, reason=str(refusal))
    # Whatever a method raises is a row of the table.
    except Exception as error:  # noqa: BLE001
        return Attempt(GradientOutcome.RAISED, reason=in_one_line(error))
    return _judged(wide(gradient), bench.exact(cure, 0))
