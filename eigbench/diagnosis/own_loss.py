"""The user's own loss, known by the gradients that reached the decomposition: which lines give it.

What of a cluster of tied vectors turns against the other ones is the derivative of the projector on
it, exactly; a loss that depends on no basis inside of a cluster needs no more.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from eigbench.diagnosis.matrices import Numbers
from eigbench.diagnosis.questions import (
    DILATION,
    TORCH,
    YOURS,
    Cure,
    Question,
    because,
    casts,
    singular_questions,
)
from eigbench.diagnosis.sees import EXISTS, NAMED, LossView
from eigbench.diagnosis.spectrum import Spectrum
from eigbench.diagnosis.truth import Target
from eigbench.methods.functions import SpectralFunction

FEW = 4
"""Up to so many clusters each is worth a decomposition of its own."""


def own_question(spectrum: Spectrum, seen: LossView) -> Question:
    """The user's own loss: the call that gives the gradient that it has."""
    if seen.kind not in EXISTS or seen.gradient is None:
        return Question(
            YOURS, seen.indices, reason=because(f"seen_{seen.kind}", seen=seen, spectrum=spectrum)
        )
    some = list(casts(spectrum))
    if spectrum.svd:
        cures = _of_triples(spectrum, seen, some)
        naive = next(cure for cure in cures if cure.method == TORCH)
        return Question(YOURS, seen.indices, cures, torch=naive)
    call = "values, V = torch.linalg.eigh({M})"
    if not seen.vectors:
        call = "values = torch.linalg.eigvalsh({M})"
    result = call.partition(" =")[0]
    plain = [Cure(TORCH, p, call.format(M=M), result) for p, M in some]
    if seen.kind == "separated" or not seen.vectors:
        return Question(YOURS, cures=tuple(plain), torch=plain[0])
    if seen.function:
        function = NAMED[seen.function]
        weight = _weight(spectrum, function)
        cures = tuple(
            Cure(
                "spectral",
                precision,
                f'S = eigbench.matrix_function({M}, "{seen.function}")',
                "S",
                Target(function),
                weight=weight,
            )
            for precision, M in some
        )
        return Question(YOURS, seen.indices, cures, torch=plain[0])
    exact = tuple(_by_clusters(spectrum, *cast) for cast in some)
    smooth = tuple(_smoothed(spectrum, *cast) for cast in some)
    few = len(_clusters_seen(spectrum)) <= FEW
    cures = (*exact, *smooth) if few else (*smooth, *exact)
    return Question(YOURS, seen.indices, cures, torch=plain[0])


_BY_CLUSTERS = """\
from eigbench.methods.functions import Projector
values, V = torch.linalg.eigh({M})
V = V.detach().clone()
for a, b in {clusters}:  # vectors a to b - 1 go together
    chosen = (torch.arange({n}) >= a) & (torch.arange({n}) < b)
    V[..., a:b] = eigbench.matrix_function({M}, Projector(chosen)) @ V[..., a:b].clone()
"""


def _by_clusters(spectrum: Spectrum, precision: str, M: str) -> Cure:
    """Eigenvectors with the gradient of a loss that depends on no basis inside a tie."""
    clusters = [(cluster.start, cluster.stop) for cluster in _clusters_seen(spectrum)]
    code = _BY_CLUSTERS.format(M=M, clusters=clusters, n=spectrum.size).rstrip()
    return Cure("spectral", precision, code, "values, V")


def _clusters_seen(spectrum: Spectrum) -> list[range]:
    """The clusters of which the user's own loss sees a vector."""
    by_vectors = spectrum.matrix.upstream.gradients["eigenvectors"]
    sizes = np.abs(by_vectors).max(axis=0)
    return [one for one in spectrum.clusters if sizes[one].max() > 0]


def _smoothed(spectrum: Spectrum, precision: str, M: str) -> Cure:
    """Eigenvectors by 1/gap with a width between rounding and the narrowest open gap."""
    call = f'eigbench.eigh({M}, method="lorentzian-relative", eta={_eta(spectrum):.0e})'
    return Cure("lorentzian-relative", precision, f"values, V = {call}", "values, V")


def _weight(spectrum: Spectrum, function: SpectralFunction) -> Numbers:
    """∂L/∂f(M), of a loss that is known by ∂L/∂V to be one of f(M): ½ (∂L/∂V) f(Λ)⁻¹ Vᴴ."""
    V = spectrum.outputs["eigenvectors"]
    by_vectors = spectrum.matrix.upstream.gradients["eigenvectors"]
    half = by_vectors / (2 * function.values(spectrum.values))
    W: Numbers = half @ V.conj().T
    return W


def _eta(spectrum: Spectrum) -> float:
    """A width between rounding and the narrowest gap that counts, by ‖M‖, in the middle."""
    gaps = np.diff(spectrum.values)
    open_gaps = gaps[gaps > spectrum.floor]
    narrowest = float(open_gaps.min(initial=spectrum.norm))
    return float(f"{math.sqrt(spectrum.floor * narrowest) / spectrum.norm:.0e}")


def _of_triples(
    spectrum: Spectrum, seen: LossView, some: list[tuple[str, str]]
) -> tuple[Cure, ...]:
    """The call for a loss of singular triples that has a gradient."""
    call, result = "U, s, Vh = torch.linalg.svd({M}, full_matrices=False)", "U, s, Vh"
    if not seen.vectors:
        call, result = "s = torch.linalg.svdvals({M})", "s"
    plain = tuple(Cure(TORCH, p, call.format(M=M), result) for p, M in some)
    gradients = spectrum.matrix.upstream.gradients
    if seen.function == "polar" and "left" in gradients:
        (polar,) = [one for one in singular_questions(spectrum) if one.use == "polar"]
        outputs = spectrum.outputs
        weight = gradients["left"][:, : spectrum.size] @ outputs["right"][: spectrum.size]
        return tuple(replace(cure, weight=weight) for cure in polar.cures) + plain
    if not seen.vectors or not (spectrum.ties or spectrum.zeros):
        return plain
    return (*(_by_triples(spectrum, *cast) for cast in some), *plain)


_BY_TRIPLES = f"""\
{DILATION}\
D = torch.cat([above, below])
U, s, Vh = torch.linalg.svd(X, full_matrices=False)
U, Vh, index = U.detach().clone(), Vh.detach().clone(), torch.arange(m + n)
for a, b in {{clusters}}:  # triples a to b - 1 go together
    chosen = (index >= m + n - b) & (index < m + n - a)
    P, V = eigbench.matrix_function(D, Projector(chosen)), Vh[a:b].mH.clone()
    U[:, a:b], Vh[a:b] = 2 * P[:m, m:] @ V, (2 * P[m:, m:] @ V).mH
"""


def _by_triples(spectrum: Spectrum, precision: str, M: str) -> Cure:
    """Singular vectors with the gradient of a loss that depends on no basis inside a tie."""
    gradients, k = spectrum.matrix.upstream.gradients, spectrum.size
    sizes = np.zeros(k)
    if "left" in gradients:
        sizes = np.maximum(sizes, np.abs(gradients["left"][:, :k]).max(axis=0))
    if "right" in gradients:
        sizes = np.maximum(sizes, np.abs(gradients["right"][:k]).max(axis=1))
    seen = [one for one in spectrum.clusters if sizes[k - one.stop : k - one.start].max() > 0]
    clusters = [(k - one.stop, k - one.start) for one in reversed(seen)]
    code = _BY_TRIPLES.format(M=M, clusters=clusters).rstrip()
    return Cure("spectral", precision, code, "U, s, Vh")
