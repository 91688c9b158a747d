"""What can be made of a matrix and differentiated: a function of M, a subspace, an eigenvector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from eigbench.diagnosis.facts import Facts, epsilon
from eigbench.diagnosis.subjects import Subject, Upstream
from eigbench.diagnosis.truth import Truth, turned
from eigbench.errors import NotApplicable
from eigbench.losses import LOSSES, weights
from eigbench.measure.differentiate import differentiate
from eigbench.methods.base import Method
from eigbench.methods.functions import InverseSquareRoot, SpectralFunction, Whitening
from eigbench.spectra import Floats

FUNCTIONS_OF_M = ("whitening", "reconstruction")
"""Of these the first that the matrix has is measured: one stands for every smooth function."""
OTHERS = ("subspace", "eigenvector", "closing-eigenvector")
YOURS = "yours"
TITLES = {
    "whitening": "M^(−1/2)",
    "reconstruction": "V Λ Vᵀ",
    "subspace": "subspace",
    "eigenvector": "best vector",
    "closing-eigenvector": "closest vector",
    YOURS: "yours",
}
"""Heads of columns."""
MEANINGS = {
    "whitening": "the inverse square root M^(−1/2), which whitens",
    "reconstruction": "M put together again from its eigenpairs",
    "subspace": "the projector on the leading eigenvectors, cut at the widest relative gap",
    "eigenvector": "the single eigenvector that is best separated from the others",
    "closing-eigenvector": "a single eigenvector of the closest pair",
    YOURS: "the eigenpairs, with the upstream gradients that were given",
}
NOUNS = {
    "whitening": "M^(−1/2)",
    "reconstruction": "V Λ Vᵀ",
    "subspace": "the leading subspace",
    "eigenvector": "the best separated eigenvector",
    "closing-eigenvector": "an eigenvector of the closest pair",
    YOURS: "your own loss",
}
"""In sentences."""


class Loss(Protocol):
    """A loss of a matrix `(n, n)` that a method can be differentiated under."""

    def gradient(self, method: Method, M: Tensor) -> Tensor:
        """`∂L/∂M` `(n, n)` as the method has it; raises what the method raises."""
        ...

    def touches(self, eigenvalues: Floats) -> Any:
        """Which eigenvectors `(n,)` get a gradient, as `eigh`'s backward sees it."""
        ...


@dataclass(frozen=True, eq=False)
class Use:
    """One use of one matrix, and the exact gradient of its loss."""

    name: str
    loss: Loss | None
    """None where the matrix does not have it; `reason` says why."""
    exact: Floats | None
    """`(n, n)`, float64; None where there is no derivative, or none that is known."""
    reason: str = ""

    def estimate(self, facts: Facts, precision: str) -> float:
        """The accuracy that `eigh`'s backward loses: ε·‖M‖ by the smallest gap that it meets."""
        if self.loss is None or facts.n < 2:
            return np.nan
        if facts.smallest_share == 0:
            return np.inf  # 0/0, even where the numerator belongs to no eigenvector in use
        touched = self.loss.touches(facts.eigenvalues)
        shares = np.diff(facts.eigenvalues / facts.largest)[touched[1:] | touched[:-1]]
        return float(epsilon(precision) / shares.min(initial=np.inf))


@dataclass(frozen=True, eq=False)
class FunctionLoss:
    """`⟨W, f(M)⟩`."""

    function: SpectralFunction
    W: Floats

    def gradient(self, method: Method, M: Tensor) -> Tensor:
        """Through eigenpairs, or through functions of M if the method has only those."""
        W = torch.as_tensor(self.W).to(M)
        return differentiate(method, M[None], self.function, W[None]).gradient[0]

    def touches(self, eigenvalues: Floats) -> Any:
        """Those on which f is not zero."""
        return np.broadcast_to(self.function.values(eigenvalues) != 0, (1, len(eigenvalues)))[0]


@dataclass(frozen=True, eq=False)
class PairsLoss:
    """The user's own loss of the eigenpairs, known by its gradients."""

    upstream: Upstream
    vectors: Floats
    """The eigenvectors `(n, n)` to which these gradients belong."""

    def gradient(self, method: Method, M: Tensor) -> Tensor:
        """Through the method's eigenpairs, its signs and bases allowed for."""
        if method.differentiates == "functions":
            raise NotApplicable(f"{method.name} differentiates functions of M, not eigenpairs")
        reason = method.refusal(M)
        if reason is not None:
            raise NotApplicable(reason)
        M = M.detach().requires_grad_()
        pairs = method.eigh(M)
        outputs, gradients = [], []
        if self.upstream.by_eigenvalues is not None:
            outputs.append(pairs.eigenvalues)
            gradients.append(self.upstream.by_eigenvalues)
        if self.upstream.by_eigenvectors is not None:
            V = pairs.eigenvectors.detach().double().numpy()
            outputs.append(pairs.eigenvectors)
            gradients.append(turned(self.upstream.by_eigenvectors, self.vectors, V))
        given = [torch.as_tensor(gradient).to(M) for gradient in gradients]
        return torch.autograd.grad(outputs, M, given)[0]

    def touches(self, eigenvalues: Floats) -> Any:
        """All, if there is a gradient by eigenvectors."""
        return np.full(len(eigenvalues), self.upstream.by_eigenvectors is not None)


def uses_of(subject: Subject, facts: Facts, truth: Truth, seed: int) -> list[Use]:
    """Every use of one finite matrix; the loss is drawn from `seed`, or is the user's own."""
    given = subject.upstream.by_function
    W = weights(facts.n, range(seed, seed + 1))[0] if given is None else (given + given.T) / 2
    functions = [_of_function(name, facts, truth, W) for name in FUNCTIONS_OF_M]
    uses = [next(use for use in functions if use.loss is not None)]
    if facts.n > 1:
        uses += [_of_function(name, facts, truth, W) for name in OTHERS]
    return [*uses, _yours(subject, truth)] if subject.upstream.of_pairs else uses


def _of_function(name: str, facts: Facts, truth: Truth, W: Floats) -> Use:
    if name == "whitening" and facts.rank("float64") < facts.n:
        return Use(name, None, None, "M is singular to rounding: M^(−1/2) does not exist")
    try:
        function = LOSSES[name].function(facts.eigenvalues[None])
    except NotApplicable as refusal:
        return Use(name, None, None, str(refusal))
    if isinstance(function, Whitening):
        function = InverseSquareRoot()  # and nothing else that whitens
    if name not in FUNCTIONS_OF_M and not truth.open(function):
        reason = "the gap is zero to rounding: there is no derivative"
        return Use(name, None, None, reason)
    exact = truth.gradient(function, W)
    reason = "float64 does not hold the exact gradient" if exact is None else ""
    return Use(name, FunctionLoss(function, W), exact, reason)


def _yours(subject: Subject, truth: Truth) -> Use:
    vectors = subject.upstream.eigenvectors
    if vectors is None:
        vectors = vectors_of_torch(subject)
    loss = PairsLoss(subject.upstream, vectors)
    exact = truth.gradient_by_pairs(subject.upstream, vectors)
    if exact is None:
        reason = "at a tie the gradients by eigenpairs do not say what the derivative is, if any"
        return Use(YOURS, loss, None, reason)
    return Use(YOURS, loss, exact)


def vectors_of_torch(subject: Subject) -> Floats:
    """The eigenvectors that `torch.linalg.eigh` gives of a matrix in its own precision."""
    dtype = torch.float64 if subject.dtype == "float64" else torch.float32
    V: Floats = torch.linalg.eigh(torch.as_tensor(subject.entries, dtype=dtype))[1].double().numpy()
    return V
