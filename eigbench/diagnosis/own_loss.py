"""The user's own loss, known by the gradients that reached the decomposition: which lines give it.

A loss that depends on no basis inside of a cluster of tied vectors needs the pairs of different
clusters alone. The loss is executed again with the vectors that a cure computes, whose signs,
phases and bases may be other ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from eigbench.diagnosis import page
from eigbench.diagnosis.matrices import OUTPUTS, Numbers
from eigbench.diagnosis.questions import (
    TORCH,
    YOURS,
    Cure,
    Question,
    cast,
    masked,
    polar,
)
from eigbench.diagnosis.sees import EXISTS, NAMED, LossView, turns
from eigbench.diagnosis.spectrum import Spectrum, ascending, wide


def own_question(spectrum: Spectrum, seen: LossView) -> Question:
    """The user's own loss: the call that gives the gradient that it has."""
    if seen.kind not in EXISTS:
        reason = page.render("answers", f"seen_{seen.kind}", seen=seen, spectrum=spectrum)
        return Question(YOURS, seen.indices, reason=reason)
    names = "U, s, Vh" if spectrum.svd else "values, V"
    if not seen.vectors:
        names = "s" if spectrum.svd else "values"
        call = f"torch.linalg.{'svdvals' if spectrum.svd else 'eigvalsh'}({{M}})"
    elif spectrum.svd:
        call = "torch.linalg.svd({M}, full_matrices=False)"
    else:
        call = "torch.linalg.eigh({M})"
    plain = cast(spectrum, Cure(TORCH, f"{names} = {call}", names))
    cures = plain
    tied = bool(spectrum.ties or (spectrum.svd and spectrum.zeros))
    if seen.vectors and (seen.function == "polar" or (seen.function in NAMED and tied)):
        cures = cast(spectrum, _of_function(spectrum, seen.function)) + plain
    elif seen.vectors and tied:
        # The sum over separated pairs is all of its gradient.
        call = masked(spectrum, "svd" if spectrum.svd else "eigh")
        cures = cast(spectrum, Cure("mask", f"{names} = {call}", names)) + plain
    return Question(YOURS, seen.indices, cures, torch=plain[0])


def _of_function(spectrum: Spectrum, name: str) -> Cure:
    """The lines for a loss that its gradients show to be of a function of M, and ∂L/∂f(M)."""
    given, upstream = spectrum.given, spectrum.upstream
    if name == "polar":
        weight = upstream["left"] @ given["right"].conj().T
        return replace(polar(spectrum), weight=weight)
    function = NAMED[name]
    # ∂L/∂V is 2 (∂L/∂f(M)) V f(Λ).
    half = upstream["left"] / (2 * function.values(spectrum.values))
    line = f'S = eigbench.matrix_function({{M}}, "{name}")'
    return Cure("spectral", line, "S", function=function, weight=half @ given["left"].conj().T)


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
