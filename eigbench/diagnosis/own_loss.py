"""The user's own loss, known by the gradients that reached the decomposition: which lines give it.

What of a cluster of tied vectors turns against the other ones is the derivative of the projector on
it, exactly; a loss that depends on no basis inside of a cluster needs no more. The loss is executed
again with the vectors that a cure computes, whose signs, phases and bases may be other ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from eigbench.diagnosis import page
from eigbench.diagnosis.matrices import OUTPUTS, Numbers
from eigbench.diagnosis.questions import (
    DILATION,
    TORCH,
    YOURS,
    Cure,
    Question,
    cast,
    polar,
)
from eigbench.diagnosis.sees import EXISTS, NAMED, LossView, turns
from eigbench.diagnosis.spectrum import Spectrum, ascending, wide

FEW = 4
"""Up to so many clusters each is worth a decomposition of its own."""
_BY_CLUSTERS = """\
from eigbench.methods.functions import Projector
values, V = torch.linalg.eigh({M})
V = V.detach().clone()
for a, b in CLUSTERS:  # vectors a to b - 1 go together
    chosen = (torch.arange(SIZE) >= a) & (torch.arange(SIZE) < b)
    V[..., a:b] = eigbench.matrix_function({M}, Projector(chosen)) @ V[..., a:b].clone()"""
_BY_TRIPLES = f"""\
{DILATION}\
D = torch.cat([above, below])
U, s, Vh = torch.linalg.svd(X, full_matrices=False)
U, Vh, index = U.detach().clone(), Vh.detach().clone(), torch.arange(m + n)
for a, b in CLUSTERS:  # triples a to b - 1 go together
    chosen = (index >= m + n - b) & (index < m + n - a)
    P, V = eigbench.matrix_function(D, Projector(chosen)), Vh[a:b].mH.clone()
    U[:, a:b], Vh[a:b] = 2 * P[:m, m:] @ V, (2 * P[m:, m:] @ V).mH"""


def own_question(spectrum: Spectrum, seen: LossView) -> Question:
    """The user's own loss: the call that gives the gradient that it has."""
    if seen.kind not in EXISTS:
        reason = page.render("answers", f"seen_{seen.kind}", seen=seen, spectrum=spectrum)
        return Question(YOURS, seen.indices, reason=reason)
    if spectrum.svd:
        call, result = "U, s, Vh = torch.linalg.svd({M}, full_matrices=False)", "U, s, Vh"
        if not seen.vectors:
            call, result = "s = torch.linalg.svdvals({M})", "s"
    else:
        call, result = "values, V = torch.linalg.eigh({M})", "values, V"
        if not seen.vectors:
            call, result = "values = torch.linalg.eigvalsh({M})", "values"
    plain = cast(spectrum, Cure(TORCH, call, result))
    cures = plain
    if seen.vectors and spectrum.svd:
        cures = _of_triples(spectrum, seen, plain)
    elif seen.vectors and seen.kind != "separated":
        cures = _of_pairs(spectrum, seen)
    return Question(YOURS, seen.indices, cures, torch=plain[0])


def _of_pairs(spectrum: Spectrum, seen: LossView) -> tuple[Cure, ...]:
    """The lines for a loss of tied eigenpairs that has a gradient."""
    if seen.function:
        function = NAMED[seen.function]
        line = f'S = eigbench.matrix_function({{M}}, "{seen.function}")'
        # Of a loss of f(M) ∂L/∂V is 2 (∂L/∂f(M)) V f(Λ).
        half = spectrum.upstream["left"] / (2 * function.values(spectrum.values))
        weight = half @ spectrum.given["left"].conj().T
        return cast(spectrum, Cure("spectral", line, "S", function=function, weight=weight))
    clusters = [(one.start, one.stop) for one in _clusters_seen(spectrum)]
    lines = _BY_CLUSTERS.replace("CLUSTERS", str(clusters)).replace("SIZE", str(spectrum.size))
    exact = cast(spectrum, Cure("spectral", lines, "values, V"))
    # 1/gap with a width in the middle between rounding and the narrowest gap that counts, by ‖M‖.
    gaps = np.diff(spectrum.values)
    narrowest = float(gaps[gaps > spectrum.floor].min(initial=spectrum.norm))
    eta = math.sqrt(spectrum.floor * narrowest) / spectrum.norm
    line = f'values, V = eigbench.eigh({{M}}, method="lorentzian-relative", eta={eta:.0e})'
    smooth = cast(spectrum, Cure("lorentzian-relative", line, "values, V"))
    return (*exact, *smooth) if len(clusters) <= FEW else (*smooth, *exact)


def _of_triples(spectrum: Spectrum, seen: LossView, plain: tuple[Cure, ...]) -> tuple[Cure, ...]:
    """The lines for a loss of singular triples that has a gradient."""
    if seen.function == "polar" and "left" in spectrum.upstream:
        weight = spectrum.upstream["left"] @ spectrum.given["right"].conj().T
        return cast(spectrum, replace(polar(spectrum), weight=weight)) + plain
    if not (spectrum.ties or spectrum.zeros):
        return plain
    k = spectrum.size  # torch has them in descending order
    clusters = [(k - one.stop, k - one.start) for one in reversed(_clusters_seen(spectrum))]
    lines = _BY_TRIPLES.replace("CLUSTERS", str(clusters))
    return cast(spectrum, Cure("spectral", lines, "U, s, Vh")) + plain


def _clusters_seen(spectrum: Spectrum) -> list[range]:
    """The clusters of which the user's own loss sees a vector."""
    by_vectors = [part for name, part in spectrum.upstream.items() if name != "values"]
    sizes = np.max([np.abs(part).max(axis=0) for part in by_vectors], axis=0)
    return [one for one in spectrum.clusters if sizes[one].max() > 0]


def own_loss(cure: Cure, spectrum: Spectrum, results: Sequence[Tensor]) -> Tensor:
    """A loss with the user's own gradients by what a cure computed."""
    if cure.weight is not None:
        weights, found = {"result": cure.weight}, {"result": results[0]}
    else:
        names: tuple[str, ...] = OUTPUTS[spectrum.matrix.decomposition]
        if len(results) == 1:
            names = tuple(name for name in names if name.endswith("values"))
        found = ascending(dict(zip(names, results, strict=True)), spectrum.size)
        # A phase is no matter of any loss that has a gradient: what is there of it is rounding,
        # which a loss that is computed in more digits does not have.
        wider = cure.precision != spectrum.precision
        computed = {name: wide(part) for name, part in found.items()}
        weights = _gradients_by(spectrum, computed, without_phase=wider)
    total = torch.zeros((), dtype=torch.float64)
    for name, weight in weights.items():
        products = torch.as_tensor(weight).to(found[name]).conj() * found[name]
        total = total + products.sum().real.double()
    return total


def _gradients_by(
    spectrum: Spectrum, computed: Mapping[str, Numbers], *, without_phase: bool
) -> dict[str, Numbers]:
    """The user's own gradients by what was computed, all as `ascending` has them.

    Vectors of a narrow gap differ by a rotation that is rounding. `Vᴴ ∂L/∂V` is what the loss
    says in the basis that it was given, and so it is that which is kept; but for vectors of zero
    singular values, of which any others are as good.
    """
    given, upstream = spectrum.given, spectrum.upstream
    sides = [name for name in ("left", "right") if name in computed]
    turned = turns([given[side] for side in sides], [computed[side] for side in sides], spectrum)
    moved: dict[str, Numbers] = {}
    for side, turn in zip(sides, turned, strict=True):
        if side in upstream:
            A = given[side].conj().T @ upstream[side]
            A[: spectrum.zeros if spectrum.svd else 0] = 0
            beyond = upstream[side] - given[side] @ A
            moved[side] = computed[side] @ (turn.conj().T @ A @ turn) + beyond @ turn
    if without_phase and spectrum.complex and moved:
        diagonals = [np.diagonal(computed[side].conj().T @ by) for side, by in moved.items()]
        phases = np.mean([one.imag for one in diagonals], axis=0)
        moved = {side: by - computed[side] * (1j * phases) for side, by in moved.items()}
    return {**upstream, **moved}
