"""Every method, forward and backward, on one matrix: how far its gradient is from the exact one.

A gradient needs a loss, and a loss depends on something that is made of the matrix: on a function
of it, on a subspace, on an eigenvector. These are the uses of a matrix.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigbench.diagnosis.facts import (
    PRECISIONS,
    Facts,
    Truth,
    epsilon,
    symmetric_part,
    truth_of,
    turned,
)
from eigbench.diagnosis.matrices import GivenMatrix
from eigbench.diagnosis.page import first_line
from eigbench.errors import NotApplicable
from eigbench.losses import LOSSES, weights
from eigbench.measure.differentiate import differentiate
from eigbench.methods.base import Method
from eigbench.methods.functions import InverseSquareRoot, Whitening
from eigbench.methods.registry import available, configured
from eigbench.report.frame import RIGHT
from eigbench.spectra import Floats

FUNCTIONS_OF_M = ("whitening", "reconstruction")
"""Of these only the first that the matrix has is measured: other smooth functions behave alike."""
YOURS = "yours"
PROBE_SIZE = 64
PATIENCE_SECONDS = 2.0
"""A pass that would take longer, judging by its time at `PROBE_SIZE`, is not made."""


class UseWords(NamedTuple):
    """The names of a use of a matrix: at the head of a column, in a sentence, and what it is."""

    title: str
    noun: str
    meaning: str


USES = {
    "whitening": UseWords(
        "M^(−1/2)", "M^(−1/2)", "the inverse square root M^(−1/2), which whitens"
    ),
    "reconstruction": UseWords("V Λ Vᵀ", "V Λ Vᵀ", "M put together again from its eigenpairs"),
    "subspace": UseWords(
        "subspace",
        "the leading subspace",
        "the projector on the leading eigenvectors, cut at the widest relative gap",
    ),
    "eigenvector": UseWords(
        "best vector",
        "the best separated eigenvector",
        "the single eigenvector that is best separated from the others",
    ),
    "closing-eigenvector": UseWords(
        "closest vector",
        "an eigenvector of the closest pair",
        "a single eigenvector of the closest pair",
    ),
    YOURS: UseWords(
        "yours", "your own loss", "the eigenpairs, with the upstream gradients that were given"
    ),
}
"""By the name of the loss in `eigbench.losses`, or `YOURS`."""


@dataclass(frozen=True, eq=False)
class MatrixUse:
    """One use of one matrix, and the exact gradient of its loss."""

    name: str
    """A key of `USES`."""
    gradient: Callable[[Method, Tensor], Tensor] | None = None
    """`∂L/∂M` `(n, n)` by a method, of M `(n, n)` in any precision; raises what the method raises.

    None where the matrix cannot be used so; `reason` says why.
    """
    touched: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """The eigenvectors `(n,)` that have a gradient in the backward pass of `eigh`."""
    exact: Floats | None = None
    """`(n, n)`, float64; None where there is no derivative, or none that is known."""
    reason: str = ""

    def estimate(self, facts: Facts, precision: str) -> float:
        """The relative error of `eigh`'s gradient: ε·‖M‖ by the smallest gap that it divides by."""
        if self.gradient is None or facts.n < 2:
            return np.nan
        if facts.smallest_share == 0:
            return np.inf  # 0/0, even where the numerator belongs to no eigenvector in use
        near = self.touched[1:] | self.touched[:-1]
        shares = np.diff(facts.eigenvalues / facts.largest)[near]
        return float(epsilon(precision) / shares.min(initial=np.inf))


def uses_of(matrix: GivenMatrix, facts: Facts, truth: Truth, seed: int) -> list[MatrixUse]:
    """Every use of one finite matrix; the loss is drawn from `seed`, or is the user's own."""
    given = matrix.upstream.by_function
    W = weights(facts.n, range(seed, seed + 1))[0] if given is None else (given + given.T) / 2
    functions = [_of_function(name, facts, truth, W) for name in FUNCTIONS_OF_M]
    uses = [next(use for use in functions if use.gradient is not None)]
    if facts.n > 1:
        others = ("subspace", "eigenvector", "closing-eigenvector")
        uses += [_of_function(name, facts, truth, W) for name in others]
    return [*uses, _yours(matrix, truth)] if matrix.upstream.of_pairs else uses


def _of_function(name: str, facts: Facts, truth: Truth, W: Floats) -> MatrixUse:
    """The loss `⟨W, f(M)⟩`, where f is the function of a loss of `eigbench.losses`."""
    if name == "whitening" and facts.rank("float64") < facts.n:
        return MatrixUse(name, reason="M is singular to rounding: M^(−1/2) does not exist")
    try:
        function = LOSSES[name].function(facts.eigenvalues[None])
    except NotApplicable as refusal:
        return MatrixUse(name, reason=str(refusal))
    if isinstance(function, Whitening):
        function = InverseSquareRoot()  # and nothing else that whitens
    if name not in FUNCTIONS_OF_M and not truth.open(function):
        return MatrixUse(name, reason="the gap is zero to rounding: there is no derivative")

    def gradient(method: Method, M: Tensor) -> Tensor:
        weight = torch.as_tensor(W).to(M)
        return differentiate(method, M[None], function, weight[None]).gradient[0]

    touched = np.broadcast_to(function.values(facts.eigenvalues) != 0, (1, facts.n))[0]
    exact = truth.gradient(function, W)
    reason = "float64 does not hold the exact gradient" if exact is None else ""
    return MatrixUse(name, gradient, touched, exact, reason)


def _yours(matrix: GivenMatrix, truth: Truth) -> MatrixUse:
    """The user's own loss of the eigenpairs, known by its gradients."""
    upstream, vectors = matrix.upstream, own_vectors(matrix)

    def gradient(method: Method, M: Tensor) -> Tensor:
        if method.differentiates == "functions":
            raise NotApplicable(f"{method.name} differentiates functions of M, not eigenpairs")
        reason = method.refusal(M)
        if reason is not None:
            raise NotApplicable(reason)
        M = M.detach().requires_grad_()
        pairs = method.eigh(M)
        outputs, gradients = [], []
        if upstream.by_eigenvalues is not None:
            outputs.append(pairs.eigenvalues)
            gradients.append(upstream.by_eigenvalues)
        if upstream.by_eigenvectors is not None:
            # The signs of the method's eigenvectors, and their basis in a tie, may be other ones.
            V = pairs.eigenvectors.detach().double().numpy()
            outputs.append(pairs.eigenvectors)
            gradients.append(turned(upstream.by_eigenvectors, vectors, V))
        given = [torch.as_tensor(one).to(M) for one in gradients]
        return torch.autograd.grad(outputs, M, given)[0]

    touched = np.full(len(matrix.entries), upstream.by_eigenvectors is not None)
    exact = truth.gradient_by_pairs(upstream, vectors)
    reason = "at a tie the gradients by eigenpairs do not say what the derivative is, if any"
    return MatrixUse(YOURS, gradient, touched, exact, reason if exact is None else "")


def own_vectors(matrix: GivenMatrix) -> Floats:
    """The eigenvectors `(n, n)` to which a matrix's upstream gradients by eigenvectors belong.

    Those that were saved with it, or else those of `torch.linalg.eigh` in its own precision.
    """
    if matrix.upstream.eigenvectors is not None:
        return matrix.upstream.eigenvectors
    dtype = torch.float64 if matrix.dtype == "float64" else torch.float32
    V: Floats = torch.linalg.eigh(torch.as_tensor(matrix.entries, dtype=dtype))[1].double().numpy()
    return V


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
    """One method on one use in one precision."""

    method: str
    use: str
    precision: str
    outcome: GradientOutcome
    error: float = np.nan
    """`‖G − G*‖/‖G*‖` against the exact gradient; NaN where there is none."""
    reason: str = ""


@dataclass(frozen=True, eq=False)
class MatrixMeasurement:
    """What every method gave on one matrix."""

    matrix: GivenMatrix
    facts: Facts
    arithmetic: str
    """In which the exact gradients were computed."""
    uses: tuple[MatrixUse, ...]
    attempts: tuple[Attempt, ...]

    def attempt(self, method: str, use: str, precision: str) -> Attempt:
        """The attempt of this name; `KeyError` if there is none."""
        named = {(one.method, one.use, one.precision): one for one in self.attempts}
        return named[method, use, precision]

    def of(self, method: str, precision: str) -> list[Attempt]:
        """All attempts of a method in a precision, in the order of the uses."""
        return [a for a in self.attempts if (a.method, a.precision) == (method, precision)]

    def use(self, name: str) -> MatrixUse:
        """The use of this name; `KeyError` if there is none."""
        return {use.name: use for use in self.uses}[name]

    def has(self, name: str) -> bool:
        """Whether the matrix can be used so."""
        return any(use.name == name and use.gradient is not None for use in self.uses)

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method, in the order of the attempts."""
        return tuple(dict.fromkeys(attempt.method for attempt in self.attempts))


def measure(matrix: GivenMatrix, facts: Facts, seed: int) -> MatrixMeasurement:
    """Try every method on one finite matrix, in both precisions, for each of its uses."""
    truth = truth_of(matrix, facts)
    uses = tuple(uses_of(matrix, facts, truth, seed))
    attempts = tuple(_attempts(symmetric_part(matrix.entries), uses))
    return MatrixMeasurement(matrix, facts, truth.arithmetic, uses, attempts)


def _attempts(M: Floats, uses: Iterable[MatrixUse]) -> Iterable[Attempt]:
    for name in available():
        method = configured(name)
        slow = _too_slow(method, len(M))
        for precision in PRECISIONS:
            X = torch.as_tensor(M, dtype=getattr(torch, precision))
            refusal = slow or ("" if X.isfinite().all() else f"M does not fit into {precision}")
            for use in uses:
                if use.gradient is not None:
                    outcome = (GradientOutcome.REFUSED, np.nan, refusal)
                    tried = outcome if refusal else _tried(use, method, X)
                    yield Attempt(name, use.name, precision, *tried)


def _tried(use: MatrixUse, method: Method, X: Tensor) -> tuple[GradientOutcome, float, str]:
    """The outcome of one pass, its error, and why it failed."""
    assert use.gradient is not None  # noqa: S101 - no other is tried
    try:
        gradient = use.gradient(method, X)
    except NotApplicable as reason:
        return GradientOutcome.REFUSED, np.nan, str(reason)
    # Whatever a method raises is a row of the table.
    except Exception as error:  # noqa: BLE001
        return GradientOutcome.RAISED, np.nan, f"{type(error).__name__}: {first_line(error)}"
    return *judge(gradient.detach().double().numpy(), use.exact), ""


def judge(gradient: Floats, exact: Floats | None) -> tuple[GradientOutcome, float]:
    """How a gradient `(n, n)` compares with the exact one, and its relative error."""
    if np.isnan(gradient).any():
        return GradientOutcome.NAN, np.nan
    if np.isinf(gradient).any():
        return GradientOutcome.INFINITE, np.nan
    if exact is None:
        return GradientOutcome.UNKNOWN, np.nan
    scale = max(np.abs(exact).max(), np.abs(gradient).max())
    if scale == 0:
        return GradientOutcome.RIGHT, 0.0
    # Scaled, so that squares do not overflow.
    distance, norm = np.linalg.norm((gradient - exact) / scale), np.linalg.norm(exact / scale)
    error = float(distance / norm) if norm > 0 else np.inf
    return (GradientOutcome.RIGHT if error <= RIGHT else GradientOutcome.WRONG), error


def _too_slow(method: Method, n: int) -> str:
    """Why a pass at size n would take too long; empty if it would not."""
    seconds = _probe_seconds(method) * (n / PROBE_SIZE) ** 3 if n > PROBE_SIZE else 0.0
    slow = seconds > PATIENCE_SECONDS
    return f"at this size a pass would take about {seconds:.0f} s" if slow else ""


@functools.cache
def _probe_seconds(method: Method) -> float:
    """The time of a whitening, forward and backward, at the size of the probe."""
    M = torch.diag(torch.linspace(1, 2, PROBE_SIZE))

    def once() -> float:
        before = time.perf_counter()
        X = M.clone().requires_grad_()
        torch.autograd.grad(method.whitening(X).sum(), X)
        return time.perf_counter() - before

    try:
        once()  # the first call loads libraries
        return once()
    except Exception:  # noqa: BLE001 - what it raises on the matrix itself is a row there
        return 0.0
