"""What is right for a drawn question, and what became of advice that was followed to the letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from mpmath import mp
from torch import Tensor

import eigbench
from eigbench.diagnosis.advice import Recommendation
from eigbench.diagnosis.diagnose import Diagnosis
from tests.diagnosis.exact import DIGITS, Eigenpairs, Function, Gradient, exact
from tests.diagnosis.questions import HALF, ROOTS, VALUES, Numbers, Question

RIGHT = 1e-2
"""The largest relative error of a gradient that is right."""
KNOWN = 3e-3
"""A gradient is determined if half a unit in the last place of M moves it by no more (relative).

In half precision, whose units are as large as that: by no more than ten times half a unit.
"""
PERTURBATIONS = 3

Status = Literal["determined", "not determined", "no derivative", "not representable"]
FAILURES = {
    "wrong": "its gradient is off by more than 1 %",
    "not finite": "its gradient is NaN or infinite",
    "raised": "diagnose or the lines that it gives raised an exception",
    "refused": "nothing was recommended, and the digits of M determine the gradient",
    "promised": "lines were given for what has no derivative",
}


class Target(NamedTuple):
    """Which function of a use: what an advice chose."""

    regularised: float = 0.0
    kept: int = 0
    chosen: tuple[int, ...] = ()


class Answer(NamedTuple):
    """The exact gradient of a target, and how far the digits of M determine it."""

    status: Status
    G: Numbers
    scale: float
    """The norm of G; where that is zero, the norm of the weights over that of M."""
    spread: float

    def error(self, G: Numbers) -> float:
        """Of another gradient, relative; NaN if it is not finite."""
        if not np.isfinite(G).all():
            return np.nan
        return float(np.linalg.norm((G - self.G) / self.scale))


class Outcome(NamedTuple):
    """What became of one question."""

    outcome: str
    status: Status
    error: float = np.nan
    spread: float = np.nan
    target: Target = Target()
    note: str = ""
    method: str = ""
    code: str = ""


def numbers(M: Tensor) -> Numbers:
    """The same numbers in float64 or complex128."""
    wide = M.detach().to(torch.complex128 if M.is_complex() else torch.float64)
    array: Numbers = wide.resolve_conj().numpy()
    return array


# The loss, of what torch computes


def _seen(question: Question, results: Sequence[Tensor]) -> Tensor:
    """What the loss depends on: eigenvalues, vectors `(n, k)` or a matrix.

    For "yours" the results are all eigenpairs, or all singular triples as torch returns them, or
    the one matrix that the loss is of.
    """
    if question.use != "yours" or len(results) == 1:
        columns = [one[:, None] if "vector" in question.loss else one for one in results]
        return torch.cat(columns)
    if question.svd:
        U, sigma, Vh = results
        k = question.chosen if question.loss == "subspace" else len(sigma)
        matrix = (U[:, :k] * sigma[:k]) @ Vh[:k] if question.loss == "subspace" else U @ Vh
        V = torch.cat([U, Vh.mH]).flip(1)
    else:
        values, V = results
        matrix = (V * _weights_of_pairs(question, values)) @ V.mH
    if not question.about_vectors:
        return matrix
    return V[:, [question.chosen]] if question.loss == "vector" else V


def _weights_of_pairs(question: Question, values: Tensor) -> Tensor:
    """f(λ) of the function of M that a loss of eigenpairs is of."""
    if question.loss in ROOTS:
        return values ** (0.5 if question.loss == "square-root" else -0.5)
    if question.loss == "function":
        a, b, s = question.phase
        return torch.cos(values * (a / s) + b)
    return (torch.arange(len(values)) >= len(values) - question.chosen).to(values)


def loss_of(question: Question, results: Sequence[Tensor]) -> Tensor:
    """The drawn loss, summed in float64. Of a vector v it is `|⟨w, v⟩|`, which has no sign."""
    seen = _seen(question, results)
    if question.loss in VALUES:
        a, b, s = question.phase
        return torch.cos(seen.double() * (a / s) + b).sum()
    seen = seen.to(torch.complex128 if seen.is_complex() else torch.float64)
    products = torch.from_numpy(question.W).conj() * seen
    if question.about_vectors:
        return products.sum(0).abs().sum()
    return products.real.sum()


def diagnosed(question: Question) -> Diagnosis:
    """What `eigbench.diagnose` finds, with the loss's gradients for "yours"."""
    M = question.M
    if question.use != "yours":
        return eigbench.diagnose(M.clone())
    called = M.float() if M.dtype in HALF else M
    names: tuple[str, ...] = ("left", "singular values", "right")
    outputs: Sequence[Tensor]
    if question.svd:
        outputs = torch.linalg.svd(called, full_matrices=False)
    else:
        names, outputs = ("eigenvalues", "eigenvectors"), torch.linalg.eigh(called)
    leaves = [one.detach().clone().requires_grad_() for one in outputs]
    found: Sequence[Tensor | None] = torch.autograd.grad(
        loss_of(question, leaves), leaves, allow_unused=True
    )
    given = [
        torch.zeros_like(leaf) if one is None else one
        for leaf, one in zip(leaves, found, strict=True)
    ]
    return eigbench.diagnose(M.clone(), gradients=dict(zip(names, given, strict=True)))


def followed(question: Question, advice: Recommendation) -> Numbers:
    """The gradient by M that the pasted lines and the drawn loss give."""
    M = question.M.clone().requires_grad_()
    names: dict[str, Any] = {"M": M, "torch": torch, "eigbench": eigbench}
    exec(compile(advice.code, "advice", "exec", dont_inherit=True), names)  # noqa: S102
    results = [names[name.strip()] for name in advice.result.split(",")]
    G = numbers(torch.autograd.grad(loss_of(question, results), [M])[0])
    if question.svd or not np.isfinite(G).all():
        return G
    return (G + G.conj().T) / 2  # what changes of a Hermitian matrix can see of it


# The truth


def gradient(question: Question, pairs: Eigenpairs, target: Target) -> Gradient:
    """`∂L/∂M` of the drawn loss; within `mp.workdps`."""
    n, small = pairs.n, min(question.M.shape)
    a, b, s = map(mp.mpf, question.phase)
    W = exact(question.W)
    if question.loss in VALUES:
        slopes = [-mp.sin(a * x / s + b) * a / s for x in pairs.values]
        return pairs.of_values([0] * (n - small) + slopes[n - small :])
    if question.about_vectors:
        by_vector = {}
        for place, w in zip(_places(question, target), W.T, strict=True):
            z = pairs.V[:, n - small + place] * mp.sqrt(2 if question.svd else 1)
            seen = np.conj(w) @ z
            by_vector[n - small + place] = w * seen / abs(seen) * mp.sqrt(2 if question.svd else 1)
        return pairs.of_vectors(by_vector)
    return pairs.of_function(W, _function(question, pairs.values, target))


def _places(question: Question, target: Target) -> Sequence[int]:
    """The indices, in ascending order, of the vectors that the loss depends on."""
    small = min(question.M.shape)
    fixed = {"smallest-vector": 0, "second-smallest-vector": 1, "vector": question.chosen}
    if question.loss == "entries":
        return range(small)
    if question.loss == "closest-vector":
        return target.chosen
    return [fixed.get(question.loss, small - 1)]


def _function(question: Question, values: Sequence[Any], target: Target) -> Function:
    """The function whose matrix the loss depends on."""
    n, small = len(values), min(question.M.shape)
    if question.loss in ROOTS:
        dropped = n - (target.kept or n)
        shifted = [x + mp.mpf(target.regularised) for x in values]
        power = mp.mpf(-1 if question.loss == "inverse-square-root" else 1) / 2
        if shifted[dropped] <= 0:
            return Function([mp.nan] * n, lambda *_: mp.nan, [0] * n, mp.mpf(0))

        def slope(i: int, x: Any) -> Any:
            return power * (x + mp.mpf(target.regularised)) ** (power - 1) if i >= dropped else 0

        f = [x**power if i >= dropped else 0 for i, x in enumerate(shifted)]
        # What is added to the diagonal is chosen, so that there is a derivative, known or not.
        margin = mp.inf if target.regularised else 2 * shifted[dropped]
        kept = [i >= dropped for i in range(n)]
        return Function(f, slope, kept, margin, mp.mpf(target.regularised))
    if question.loss == "polar" or (question.loss == "function" and question.svd):
        signs = [-1] * small + [0] * (n - 2 * small) + [1] * small
        return Function(signs, lambda *_: 0, signs)
    if question.loss == "function":
        a, b, s = map(mp.mpf, question.phase)
        f = [mp.cos(a * x / s + b) for x in values]
        return Function(f, lambda _, x: -mp.sin(a * x / s + b) * a / s, [0] * n, width=s / a)
    if question.svd:  # of low rank
        k = question.chosen if question.use == "yours" else target.kept
        inside = [i < k or i >= n - k or k == small for i in range(n)]
        f = [x if one else 0 for x, one in zip(values, inside, strict=True)]
        return Function(f, lambda i, _: int(inside[i]), inside)
    mine = range(n - question.chosen, n)
    inside = [i in (mine if question.use == "yours" else target.chosen) for i in range(n)]
    return Function([int(one) for one in inside], lambda *_: 0, inside)


class Truth:
    """The exact gradients of one question, and whether the digits of M determine them."""

    def __init__(self, question: Question) -> None:
        self.question = question
        M = numbers(question.M)
        unit = torch.finfo(question.digits).eps / 2
        largest = max(np.abs(M.real).max(), np.abs(M.imag).max())
        half = unit * 2.0 ** np.floor(np.log2(largest))
        rng = np.random.default_rng([14, question.seed])
        moves = []
        for _ in range(PERTURBATIONS):
            E = half * rng.choice([-1.0, 1.0], M.shape)
            if np.iscomplexobj(M):
                E = E + 1j * half * rng.choice([-1.0, 1.0], M.shape)
            if not question.svd:
                E = np.tril(E, -1) + np.tril(E, -1).conj().T + np.diag(np.diag(E).real)
            moves.append(E)
        self.rounding = max(float(np.linalg.norm(E, 2)) for E in moves)
        self.limit = max(KNOWN, 10 * unit)
        with mp.workdps(DIGITS):
            several = [exact(M), *(exact(M) + exact(E) for E in moves)]
            self.pairs = [Eigenpairs(one, dilated=question.svd) for one in several]
        self.values = np.array([float(x) for x in self.pairs[0].values])[-min(M.shape) :]
        """Those of M, ascending."""

    def of(self, target: Target) -> Answer:
        """The gradient by M of the loss of this function."""
        with mp.workdps(DIGITS):
            found = [gradient(self.question, pairs, target) for pairs in self.pairs]
        G = found[0].G
        if not np.isfinite(G).all():  # a root of a negative number
            return Answer("no derivative", G, np.nan, np.inf)
        scale = float(np.linalg.norm(G))
        if scale == 0:
            scale = float(np.linalg.norm(self.question.W) / np.abs(self.values).max())
        spread = max(float(np.linalg.norm((one.G - G) / scale)) for one in found[1:])
        dtype = self.question.M.dtype
        stored = numbers(torch.from_numpy(G if dtype.is_complex else G.real).to(dtype))
        lost = np.linalg.norm((stored - G) / scale) if np.isfinite(stored).all() else np.inf
        status: Status = "determined"
        if not found[0].margin > 2 * self.rounding:
            status = "no derivative"
        elif not spread <= self.limit:
            status = "not determined"
        elif lost > RIGHT / 2:
            status = "not representable"
        return Answer(status, G, scale, spread)

    def usual(self) -> Target:
        """What to ask for where nothing was recommended: the cut at the widest gap."""
        gaps = np.diff(self.values)
        size = len(self.values)
        if self.question.use == "leading-subspace":
            return Target(chosen=tuple(range(int(gaps.argmax()) + 1, size)))
        if self.question.use == "low-rank":
            return Target(kept=size - 1 - int(gaps.argmax()))
        if self.question.use == "closest-vector":
            return Target(chosen=(int(gaps.argmin()),))
        if self.question.use == "negative-subspace":
            return Target(chosen=tuple(range(int((self.values < 0).sum()))))
        return Target()

    @property
    def needs_function(self) -> bool:
        """Whether the loss is of a function of M, but written with eigenvectors that tie."""
        of_function = self.question.loss in {"function", *ROOTS}
        closest = float(np.diff(self.values).min())
        rounding = 2 * self.rounding + 1e-13 * float(np.abs(self.values).max())
        return self.question.use == "yours" and of_function and closest <= rounding

    def complaint(self, target: Target) -> str:
        """What is wrong with the vectors that an advice chose; empty if they are those asked."""
        size, use = len(self.values), self.question.use
        chosen = tuple(target.chosen)
        if "vector" in use and use != "closest-vector" and not self.question.svd:
            right = tuple(_places(self.question, target))
        elif use == "leading-subspace":
            right = tuple(range(size - len(chosen), size)) or (size - 1,)
        elif use == "negative-subspace":
            certain = self.values < -self.rounding
            possible = int((self.values < self.rounding).sum())
            right = tuple(range(max(int(certain.sum()), min(len(chosen), possible))))
        elif use == "closest-vector":
            right = chosen[:1] or (0,)
        else:
            return "" if use != "low-rank" or 0 < target.kept <= size else "kept is missing"
        return "" if chosen == right else f"chosen {chosen}, right is {right}"


def _answering(
    question: Question, recommendations: Sequence[Recommendation], usual: Target
) -> Recommendation | None:
    """The recommendation for the use of the question; each eigenvector is answered once."""
    mine = [one for one in recommendations if one.use == question.use]
    if not mine and question.use.endswith("vector"):
        index = usual.chosen or _places(question, usual)
        mine = [
            one
            for one in recommendations
            if one.use.endswith("vector") and tuple(one.chosen) == tuple(index)
        ]
    return mine[0] if mine else None


def judged(question: Question, recommendations: Sequence[Recommendation]) -> Outcome:
    """What becomes of the recommendation for the question's use."""
    truth = Truth(question)
    usual = truth.of(truth.usual())
    advice = _answering(question, recommendations, truth.usual())
    if advice is None or not advice.method:
        outcome = {"determined": "refused", "no derivative": "rightly refused"}.get(
            usual.status, f"{usual.status}, refused"
        )
        if outcome == "refused" and truth.needs_function:
            outcome = "determined, to be written as a function"
        note = advice.why if advice else "this use was not answered"
        return Outcome(outcome, usual.status, spread=usual.spread, note=note)
    target = Target(advice.regularised, advice.kept, tuple(advice.chosen))
    # Where M^(±1/2) itself is determined, there is nothing to regularise.
    plain = question.loss in ROOTS and usual.status == "determined"
    answer = usual if plain else truth.of(target)
    known = (answer.spread, target)
    lines = (advice.method, advice.code)
    try:
        error = answer.error(followed(question, advice))
    except Exception as raised:  # noqa: BLE001
        note = f"{type(raised).__name__}: {raised}"
        return Outcome("raised", answer.status, np.nan, *known, note, *lines)
    complaint = truth.complaint(target)
    outcome = "right" if error <= RIGHT and not complaint else "wrong"
    if not np.isfinite(error):
        outcome = "not finite"
    if answer.status == "no derivative":
        outcome = "promised"
    elif answer.status != "determined":
        outcome = f"{answer.status}, {outcome}"
    return Outcome(outcome, answer.status, error, *known, complaint, *lines)


def asked(question: Question) -> Outcome:
    """Ask `eigbench.diagnose` and follow it."""
    try:
        found = diagnosed(question)
    except Exception as raised:  # noqa: BLE001
        return Outcome("raised", "determined", note=f"diagnose: {type(raised).__name__}: {raised}")
    return judged(question, found.recommendations)
