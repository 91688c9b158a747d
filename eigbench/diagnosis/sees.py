"""What the user's own loss sees of a decomposition, and the right gradient where there is one.

The gradients that reached `eigh` are rewritten over clusters of tied eigenvalues. With
`A = Vᴴ ∂L/∂V` a rotation of two tied eigenvectors changes the loss by `A[i,j] − conj A[j,i]`. Where
that is zero in every cluster the loss depends on no basis, and its gradient is the sum over
separated pairs, and what the tied ones add: nothing if the loss does not see them, and for a
function of M the derivative of that function. An svd has the same frame twice (see `_svd`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from eigbench.diagnosis.matrices import Numbers
from eigbench.diagnosis.spectrum import Spectrum, unit
from eigbench.diagnosis.truth import in_float64
from eigbench.methods.functions import (
    Identity,
    InverseSquareRoot,
    SpectralFunction,
    SquareRoot,
)
from eigbench.methods.smooth import Logarithm

ROUNDING = 100
"""Up to this number of rounding units, by the largest entry of A, a difference counts as zero."""
FITS = 1e-2
"""A function of M is recognised by its gradients, if they agree with it as well as this."""
STEEP = 1e3
"""λ^(1/2) is as much steeper at 1e-6 of another eigenvalue than there."""
NAMED: dict[str, SpectralFunction] = {
    "inverse-square-root": InverseSquareRoot(),
    "square-root": SquareRoot(),
    "logarithm": Logarithm(),
    "identity": Identity(),
}

Kind = Literal[
    "separated",
    "blind",
    "function",
    "free",
    "zeros",
    "overflow",
    "singular",
    "basis",
    "values",
    "phase",
]
"""separated: nothing ties; blind: the loss does not see the tied vectors; function: it fits a
function of M; free: it depends on no basis, and what was saved does not determine its gradient;
zeros: the same, at singular values of zero; overflow: float64 cannot hold its gradient; singular:
it is one of a root or a logarithm of M, which is singular; basis: it depends on which basis of a
tie it gets; values: on which of some tied eigenvalues; phase: on the phase of a complex vector."""
EXISTS = frozenset({"separated", "blind", "function"})
NO_DERIVATIVE = frozenset({"singular", "basis", "values", "phase"})


@dataclass(frozen=True, eq=False)
class LossView:
    """What a loss sees, known by its gradients."""

    kind: Kind
    gradient: Numbers | None = None
    """∂L/∂M, of M's shape; None where there is none, or none that is known."""
    indices: tuple[int, ...] = ()
    """The tied values, of which the loss sees what it should not see, or that it does not see."""
    residual: float = 0.0
    """How much a rotation of tied vectors changes the loss, by its largest derivative."""
    function: str = ""
    """The name of the function of M that the gradients fit."""
    vectors: bool = True
    """Whether the loss depends on vectors at all."""


def view(spectrum: Spectrum) -> LossView | None:
    """What the loss of a matrix sees; None without gradients by its values or vectors."""
    if not spectrum.upstream:
        return None
    by_values = np.real(spectrum.upstream.get("values", np.zeros(spectrum.size)))
    with np.errstate(over="ignore", invalid="ignore"):
        if not spectrum.upstream.keys() & {"left", "right"}:
            return _of_values(spectrum, by_values)
        found = (_svd if spectrum.svd else _eigh)(spectrum, by_values)
    unknown = found.kind in EXISTS and found.gradient is None
    return replace(found, kind="overflow") if unknown else found


def gauge_residual(spectrum: Spectrum) -> float | None:
    """How much a loss depends on phases of vectors, and on bases inside ties; 0 if it may.

    The largest |Im A[i,i]|, and |A[i,j] − conj A[j,i]| of tied i and j, divided by ‖A‖, with
    `A = Vᴴ ∂L/∂V`, or of an svd `Uᴴ ∂L/∂U + Vᴴ ∂L/∂V`. None without gradients by vectors.
    """
    by = spectrum.upstream
    named = [name for name in ("left", "right") if name in by]
    if not named:
        return None
    A = np.sum([spectrum.given[name].conj().T @ by[name] for name in named], axis=0)
    inside = np.abs(np.where(_same(spectrum), A - A.conj().T, 0))
    np.fill_diagonal(inside, np.abs(np.diagonal(A).imag))
    norm = float(np.linalg.norm(A))
    return float(inside.max()) / norm if norm > 0 else 0.0


def turns(
    own: Sequence[Numbers], other: Sequence[Numbers], spectrum: Spectrum
) -> tuple[Numbers, ...]:
    """How other vectors `(n, k)` of the same matrix are turned inside clusters: `(k, k)`, unitary.

    `own @ turn` are the own vectors in the signs, phases and bases of the other ones. Left and
    right singular vectors turn together, but for those of zero singular values.
    """
    turned = tuple(np.zeros((spectrum.size, spectrum.size), dtype=one.dtype) for one in own)
    for cluster in spectrum.clusters:
        products = [a[:, cluster].conj().T @ b[:, cluster] for a, b in zip(own, other, strict=True)]
        if not (spectrum.svd and cluster.start < spectrum.zeros):
            products = [np.sum(products, axis=0)] * len(products)
        for block, product in zip(turned, products, strict=True):
            left, _, right = np.linalg.svd(product)
            block[np.ix_(cluster, cluster)] = left @ right
    return turned


def _same(spectrum: Spectrum) -> Numbers:
    """Whether two values are of one cluster, `(k, k)`."""
    labels = np.concatenate([[i] * len(c) for i, c in enumerate(spectrum.clusters)])
    same: Numbers = labels[:, None] == labels[None, :]
    return same


def _of_values(spectrum: Spectrum, by_values: Numbers) -> LossView:
    """A loss of values alone: of tied ones only what treats them alike has a derivative."""
    zeros = spectrum.zeros if spectrum.svd else 0
    if zeros and np.abs(by_values[:zeros]).max() > 0:
        return LossView("zeros", None, tuple(range(zeros)), vectors=False)
    large = np.abs(by_values).max(initial=0)
    for tie in spectrum.ties:
        spread = np.ptp(by_values[tie])
        if spread > ROUNDING * unit(spectrum.precision) * large:
            return LossView("values", None, tuple(tie), float(spread / large), vectors=False)
    gradient = (spectrum.vectors * by_values) @ spectrum.right.conj().T
    kind: Kind = "blind" if spectrum.ties else "separated"
    return LossView(kind, gradient, _tied(spectrum), vectors=False)


def _tied(spectrum: Spectrum) -> tuple[int, ...]:
    return tuple(i for tie in spectrum.ties for i in tie)


def _eigh(spectrum: Spectrum, by_values: Numbers) -> LossView:
    given = spectrum.given["left"]
    (turned,) = turns([spectrum.vectors], [given], spectrum)
    V = spectrum.vectors @ turned
    found = _channel(spectrum, given.conj().T @ spectrum.upstream["left"], by_values)
    core = found.gradient
    if core is None:
        return found
    return replace(found, gradient=in_float64(lambda: V @ core @ V.conj().T))


def _channel(spectrum: Spectrum, A: Numbers, by_values: Numbers) -> LossView:
    """The gradient in the basis of the vectors, or why there is none."""
    values, same = spectrum.values, _same(spectrum)
    largest = float(np.abs(A).max(initial=0)) or 1.0
    tolerance = ROUNDING * unit(spectrum.precision) * largest
    skew = A - A.conj().T
    phase = np.abs(np.diagonal(A).imag)
    inside = np.abs(np.where(same, skew, 0)).max(axis=0)
    kinds: list[tuple[Kind, Numbers]] = [("phase", phase), ("basis", inside)]
    for kind, seen in kinds:
        if seen.max() > tolerance:
            where = tuple(map(int, np.flatnonzero(seen > tolerance)))
            return LossView(kind, None, where, float(seen.max()) / largest)
    gap = np.where(same, 1.0, values[None, :] - values[:, None])
    # What is zero to rounding is zero: a narrow gap would make a gradient of it.
    skew = np.where(np.abs(skew) <= tolerance, 0, skew)
    core = np.where(same, 0, skew / (2 * gap)) + np.diag(by_values)
    function = _fitting(spectrum, A, by_values)
    if spectrum.zeros and (function not in {"", "identity"} or _steep(spectrum, by_values)):
        return LossView("singular", None, tuple(range(spectrum.zeros)), function=function)
    if not spectrum.ties:
        return LossView("separated", core, function=function)
    if function:
        weight = A / (2 * NAMED[function].values(values))
        core = NAMED[function].divided_differences(values) * (weight + weight.conj().T) / 2
        return LossView("function", core, _tied(spectrum), function=function)
    return _inside_ties(spectrum, A, by_values, core)


def _inside_ties(spectrum: Spectrum, A: Numbers, by_values: Numbers, core: Numbers) -> LossView:
    """What tied vectors add to the gradient of a loss that depends on no basis of theirs."""
    tolerance = ROUNDING * unit(spectrum.precision)
    largest = float(np.abs(A).max(initial=0)) or 1.0
    most = float(np.abs(by_values).max()) or 1.0
    kind: Kind = "blind"
    for tie in spectrum.ties:
        at = np.ix_(tie, tie)
        block = (A[at] + A[at].conj().T) / 2
        own, diagonal = by_values[tie], np.real(np.diagonal(block))
        if np.abs(block).max() <= tolerance * largest:
            if np.ptp(own) > tolerance * most:
                return LossView("values", None, tuple(tie), float(np.ptp(own) / most))
            continue
        kind = "function"
        # Of a function of M both are W's diagonal, by f′ and by 2f: one ratio for all of a tie.
        ratio = float(own @ diagonal / (diagonal @ diagonal)) if diagonal.any() else 0.0
        if np.abs(own - ratio * diagonal).max() > FITS * (np.abs(own).max() or 1):
            return LossView("free", None, tuple(tie))
        core[at] = ratio * block
    return LossView(kind, core, _tied(spectrum))


def _steep(spectrum: Spectrum, by_values: Numbers) -> bool:
    """Whether a loss depends on eigenvalues that are zero far more than on others, as 1/λ does."""
    zero = np.abs(spectrum.values) <= spectrum.floor
    others = np.abs(by_values[~zero]).max(initial=0)
    return bool(np.abs(by_values[zero]).max(initial=0) > STEEP * others > 0)


def _fitting(spectrum: Spectrum, A: Numbers, by_values: Numbers) -> str:
    """The function f for which the loss may be one of `V f(λ) Vᴴ`; empty if none fits.

    Then `A[i,j] = 2 W[i,j] f(λj)` with a Hermitian W, and `∂L/∂λi = W[i,i] f′(λi)`.
    """
    values = spectrum.values
    if values[0] <= 0 or not by_values.any() or spectrum.size < 2:
        return ""
    for name, function in NAMED.items():
        f = function.values(values)
        if not f.all() or not np.isfinite(f).all():
            continue
        weight = A / (2 * f)
        slope = np.diagonal(function.divided_differences(values))
        of_values = np.real(np.diagonal(weight)) * slope
        apart = np.abs(weight - weight.conj().T).max() / (np.abs(weight).max() or 1)
        off = np.abs(of_values - by_values).max() / np.abs(by_values).max()
        if max(apart, off) <= FITS:
            return name
    return ""


def _svd(spectrum: Spectrum, by_values: Numbers) -> LossView:
    """The gradient by singular triples: two channels.

    With `A = Uᴴ∂L/∂U + Vᴴ∂L/∂V` and `B` their difference, the Hermitian part of UᴴdMV rotates U and
    V alike, by 1/(σj − σi): as eigenvectors. Its skew part rotates them against each other, by
    1/(σi + σj): there ties do no harm. What lies outside is divided by σ.
    """
    zeros, k, values = spectrum.zeros, spectrum.size, spectrum.values
    given = [spectrum.given[side] for side in ("left", "right")]
    own = spectrum.vectors, spectrum.right
    U, V = (a @ turned for a, turned in zip(own, turns(own, given, spectrum), strict=True))
    # Any vectors of the null space are as good as others: those that the gradients belong to.
    U[:, :zeros], V[:, :zeros] = (vectors[:, :zeros] for vectors in given)
    sides = ("left", given[0]), ("right", given[1])
    by = [spectrum.upstream.get(side, np.zeros_like(vectors)) for side, vectors in sides]
    A = [vectors.conj().T @ g for vectors, g in zip(given, by, strict=True)]
    if zeros:
        at_zero = max(np.abs(part[..., :zeros]).max(initial=0) for part in (*by, by_values))
        largest = max(np.abs(part).max() for part in (*by, by_values))
        if at_zero > ROUNDING * unit(spectrum.precision) * largest:
            function = "product" if _product(spectrum, A, by_values) else ""
            residual = float(at_zero / largest)
            return LossView("zeros", None, tuple(range(zeros)), residual, function)
    found = _channel(spectrum, A[0] + A[1], by_values)
    core = found.gradient
    if core is None:
        return found
    if "left" in spectrum.upstream and not (by_values.any() or core.any() or zeros):
        found = replace(found, function="polar")  # U and V turn against each other alone
    difference = A[0] - A[1]
    both_zero = np.arange(k) < zeros
    total = np.where(both_zero[:, None] & both_zero, np.inf, values[:, None] + values)
    core = core + (difference - difference.conj().T) / (2 * total)
    inverse = np.where(both_zero, 0, 1 / np.where(both_zero, 1, values))
    # What of a gradient lies outside of the span of the vectors; nothing of a square matrix.
    beyond = [
        (g - vectors @ a) * inverse * (len(vectors) > k)
        for vectors, g, a in zip(given, by, A, strict=True)
    ]
    gradient = in_float64(
        lambda: (U @ core + beyond[0]) @ V.conj().T + U @ beyond[1].conj().T,
    )
    return replace(found, gradient=gradient)


def _product(spectrum: Spectrum, A: Sequence[Numbers], by_values: Numbers) -> bool:
    """Whether the gradients fit a loss of the product U Σ Vᴴ, which is M.

    Then `Uᴴ∂L/∂U = W Σ` and `Vᴴ∂L/∂V = Wᴴ Σ` with one W, and `∂L/∂σi = W[i,i]`.
    """
    rest = slice(spectrum.zeros, None)
    W, mirrored = (one[rest, rest] / spectrum.values[rest] for one in A)
    size = np.abs(W).max(initial=0)
    apart = np.abs(W - mirrored.conj().T).max(initial=0)
    off = np.abs(np.real(np.diagonal(W)) - by_values[rest]).max(initial=0)
    return bool(size > 0 and max(apart, off) <= FITS * size)
