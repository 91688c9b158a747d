"""What the user's own loss sees of a decomposition, and the right gradient where there is one.

The gradients that reached `eigh` are rewritten over clusters of tied eigenvalues. With
`A = Vᴴ ∂L/∂V` a rotation of two tied eigenvectors changes the loss by `A[i,j] − conj A[j,i]`. Where
that is zero in every cluster the loss depends on no basis, and its gradient is the sum over
separated pairs, and what the tied ones add: nothing if the loss does not see them, and for a
function of M the derivative of that function. An svd has the same frame twice (see `_svd`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eigbench.diagnosis.matrices import FUNCTION, Numbers
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
    "separated", "blind", "function", "free", "zeros", "singular", "basis", "values", "phase"
]
"""separated: nothing ties; blind: the loss does not see the tied vectors; function: it fits a
function of M; free: it depends on no basis, and what was saved does not determine its gradient;
zeros: the same, at singular values of zero; singular: it is one of a root or a logarithm of M,
which is singular; basis: it depends on which basis of a tie it gets;
values: on which of some tied eigenvalues; phase: on the phase of a complex eigenvector."""
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
    """What the loss of a matrix with upstream gradients sees; None without finite ones."""
    upstream = spectrum.matrix.upstream
    if not upstream.of_outputs or not upstream.finite:
        return None
    gradients = {k: v for k, v in upstream.gradients.items() if k != FUNCTION}
    with np.errstate(over="ignore", invalid="ignore"):
        return _svd(spectrum, gradients) if spectrum.svd else _eigh(spectrum, gradients)


def gauge_residual(spectrum: Spectrum) -> float | None:
    """How much a loss depends on phases of vectors, and on bases inside ties; 0 if it may.

    The largest |Im A[i,i]|, and |A[i,j] − conj A[j,i]| of tied i and j, divided by ‖A‖, with
    `A = Vᴴ ∂L/∂V`, or of an svd `Uᴴ ∂L/∂U + Vᴴ ∂L/∂V`. None without gradients by vectors.
    """
    upstream = spectrum.matrix.upstream
    named = upstream.gradients.keys() & {"eigenvectors", "left", "right"}
    if not named or not upstream.finite:
        return None
    k, outputs = spectrum.size, spectrum.outputs
    A: Numbers = np.zeros((k, k), dtype=np.complex128)
    for name in named:
        pair = (outputs[name], upstream.gradients[name])
        V, by_V = (one.conj().T[:, :k] for one in pair) if name == "right" else (
            one[:, :k] for one in pair
        )  # fmt: skip
        A += V.conj().T @ by_V
    if spectrum.svd:
        A = A[::-1, ::-1]  # ascending, as clusters are
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


def transported(
    given: Numbers, gradient: Numbers, new: Numbers, turned: Numbers, null: int
) -> Numbers:
    """The gradient `(n, k)` by new vectors, from that by the given ones that it belongs to.

    Vectors of a narrow gap differ by a rotation that is rounding. `Vᴴ ∂L/∂V` is what the loss
    says in the basis that it was given, and so it is that which is kept; but for the first `null`
    vectors, of which any others are as good.
    """
    A = given.conj().T @ gradient
    A[:null] = 0
    beyond = gradient - given @ A
    moved: Numbers = new @ (turned.conj().T @ A @ turned) + beyond @ turned
    return moved


def _same(spectrum: Spectrum) -> Numbers:
    """Whether two values are of one cluster, `(k, k)`."""
    labels = np.concatenate([[i] * len(c) for i, c in enumerate(spectrum.clusters)])
    same: Numbers = labels[:, None] == labels[None, :]
    return same


def _eigh(spectrum: Spectrum, gradients: Mapping[str, Numbers]) -> LossView:
    by_values = np.real(gradients.get("eigenvalues", np.zeros(spectrum.size)))
    if "eigenvectors" not in gradients:
        return _of_values(spectrum, by_values)
    given = spectrum.outputs["eigenvectors"]
    (turned,) = turns([spectrum.vectors], [given], spectrum)
    V = spectrum.vectors @ turned
    A = given.conj().T @ gradients["eigenvectors"]
    found = _channel(spectrum, A, by_values)
    if isinstance(found, LossView):
        return found
    core, kind, indices, function = found
    gradient = in_float64(lambda: V @ core @ V.conj().T)
    return LossView(kind, gradient, indices, function=function)


def _of_values(spectrum: Spectrum, by_values: Numbers) -> LossView:
    """A loss of eigenvalues alone: of tied ones only what treats them alike has a derivative."""
    large = np.abs(by_values).max(initial=0)
    for tie in spectrum.ties:
        own = by_values[tie]
        if np.ptp(own) > ROUNDING * unit(spectrum.precision) * large:
            return LossView("values", None, tuple(tie), float(np.ptp(own) / large), vectors=False)
    V = spectrum.vectors
    gradient = (V * by_values) @ (spectrum.right if spectrum.svd else V).conj().T
    kind: Kind = "blind" if spectrum.ties else "separated"
    return LossView(kind, gradient, _tied(spectrum), vectors=False)


def _tied(spectrum: Spectrum) -> tuple[int, ...]:
    return tuple(i for tie in spectrum.ties for i in tie)


def _channel(
    spectrum: Spectrum, A: Numbers, by_values: Numbers
) -> LossView | tuple[Numbers, Kind, tuple[int, ...], str]:
    """The gradient in the basis of eigenvectors, and of which kind it is; or why there is none."""
    values, same = spectrum.values, _same(spectrum)
    largest = float(np.abs(A).max(initial=0)) or 1.0
    tolerance = ROUNDING * unit(spectrum.precision)
    skew = A - A.conj().T
    phase = float(np.abs(np.diagonal(A).imag).max(initial=0)) / largest
    if phase > tolerance:
        where = tuple(map(int, np.flatnonzero(np.abs(np.diagonal(A).imag) > tolerance * largest)))
        return LossView("phase", None, where, phase)
    inside = np.abs(np.where(same, skew, 0))
    residual = float(inside.max(initial=0)) / largest
    if residual > tolerance:
        where = tuple(map(int, np.flatnonzero(inside.max(axis=0) > tolerance * largest)))
        return LossView("basis", None, where, residual)
    gap = np.where(same, 1.0, values[None, :] - values[:, None])
    # What is zero to rounding is zero: a narrow gap would make a gradient of it.
    skew = np.where(np.abs(skew) <= tolerance * largest, 0, skew)
    core = np.where(same, 0, skew / (2 * gap)) + np.diag(by_values)
    function = _fitting(spectrum, A, by_values)
    if spectrum.zeros and (function not in {"", "identity"} or _steep(spectrum, by_values)):
        return LossView("singular", None, tuple(range(spectrum.zeros)), function=function)
    if not spectrum.ties:
        return core, "separated", (), function
    if function:
        weight = A / (2 * NAMED[function].values(values))
        core = NAMED[function].divided_differences(values) * (weight + weight.conj().T) / 2
        return core, "function", _tied(spectrum), function
    return _inside_ties(spectrum, A, by_values, core)


def _inside_ties(
    spectrum: Spectrum, A: Numbers, by_values: Numbers, core: Numbers
) -> LossView | tuple[Numbers, Kind, tuple[int, ...], str]:
    """What tied vectors add to the gradient of a loss that depends on no basis of theirs."""
    largest = float(np.abs(A).max(initial=0)) or 1.0
    tolerance = ROUNDING * unit(spectrum.precision)
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
    return core, kind, _tied(spectrum), ""


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


def _product(
    values: Numbers, A_left: Numbers, A_right: Numbers, by_values: Numbers, zeros: int
) -> bool:
    """Whether the gradients fit a loss of the product U Σ Vᴴ, which is M.

    Then `Uᴴ∂L/∂U = W Σ` and `Vᴴ∂L/∂V = Wᴴ Σ` with one W, and `∂L/∂σi = W[i,i]`.
    """
    rest = slice(zeros, None)
    W, mirrored = A_left[rest, rest] / values, A_right[rest, rest] / values
    size = np.abs(W).max(initial=0)
    apart = np.abs(W - mirrored.conj().T).max(initial=0)
    off = np.abs(np.real(np.diagonal(W)) - by_values[rest]).max(initial=0)
    return bool(size > 0 and max(apart, off) <= FITS * size)


def _svd(spectrum: Spectrum, gradients: Mapping[str, Numbers]) -> LossView:
    """The gradient by singular triples: two channels.

    With `A = Uᴴ∂L/∂U + Vᴴ∂L/∂V` and `B` their difference, the Hermitian part of UᴴdMV rotates U and
    V alike, by 1/(σj − σi): as eigenvectors. Its skew part rotates them against each other, by
    1/(σi + σj): there ties do no harm. What lies outside is divided by σ.
    """
    by_values = np.real(gradients.get("singular values", np.zeros(spectrum.size)))[::-1]
    zeros, k = spectrum.zeros, spectrum.size
    if not {"left", "right"} & gradients.keys():
        if zeros and np.abs(by_values[:zeros]).max() > 0:
            return LossView("zeros", None, tuple(range(zeros)), vectors=False)
        return _of_values(spectrum, by_values)
    given = spectrum.outputs
    left = given["left"][:, :k][:, ::-1]
    right = given["right"].conj().T[:, :k][:, ::-1]
    U, V = spectrum.vectors, spectrum.right
    turned = turns([U, V], [left, right], spectrum)
    U, V = U @ turned[0], V @ turned[1]
    # Any vectors of the null space are as good as others: those that the gradients belong to.
    U[:, :zeros], V[:, :zeros] = left[:, :zeros], right[:, :zeros]
    by_left, by_right = (np.zeros_like(one) for one in (U, V))
    if "left" in gradients:
        by_left = gradients["left"][:, :k][:, ::-1]
    if "right" in gradients:
        by_right = gradients["right"].conj().T[:, :k][:, ::-1]
    A_left, A_right = left.conj().T @ by_left, right.conj().T @ by_right
    if zeros:
        at_zero = max(
            np.abs(part[:, :zeros]).max(initial=0) for part in (by_left, by_right, by_values[None])
        )
        largest = max(np.abs(by_left).max(), np.abs(by_right).max(), np.abs(by_values).max())
        if at_zero > ROUNDING * unit(spectrum.precision) * largest:
            fits = _product(values := spectrum.values[zeros:], A_left, A_right, by_values, zeros)
            function = "product" if fits and len(values) else ""
            residual = float(at_zero / largest)
            return LossView("zeros", None, tuple(range(zeros)), residual, function)
    found = _channel(spectrum, A_left + A_right, by_values)
    if isinstance(found, LossView):
        return found
    core, kind, indices, function = found
    if not by_values.any() and not core.any() and not zeros:
        function = "polar"  # U and V turn against each other alone, as in U Vᴴ
    difference = A_left - A_right
    values = spectrum.values
    both_zero = np.arange(k) < zeros
    total = np.where(both_zero[:, None] & both_zero, np.inf, values[:, None] + values)
    core = core + (difference - difference.conj().T) / (2 * total)
    inverse = np.where(both_zero, 0, 1 / np.where(both_zero, 1, values))
    beyond_left = _beyond(left, by_left, A_left)
    beyond_right = _beyond(right, by_right, A_right)
    gradient = in_float64(
        lambda: (
            U @ core @ V.conj().T
            + (beyond_left * inverse) @ V.conj().T
            + (U * inverse) @ beyond_right.conj().T
        )
    )
    return LossView(kind, gradient, indices, function=function)


def _beyond(vectors: Numbers, gradient: Numbers, A: Numbers) -> Numbers:
    """What of a gradient lies outside of the span of the vectors `(n, k)`; nothing at k = n."""
    outside: Numbers = (gradient - vectors @ A) * (vectors.shape[0] > vectors.shape[1])
    return outside
