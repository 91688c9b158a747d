"""What a matrix is used for, whether that has a derivative, and the lines that theory gives for it.

A cure is Python to paste. The lines are what is measured (`eigbench.diagnosis.trials` executes
them), and what is shown. They are in the order in which theory prefers them: what is right for
every matrix with this spectrum comes before what is right for this one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from eigbench.diagnosis import page
from eigbench.diagnosis.matrices import Numbers
from eigbench.diagnosis.spectrum import DOUBLE, Spectrum, unit
from eigbench.methods.functions import (
    Identity,
    InverseSquareRoot,
    Projector,
    SpectralFunction,
    SquareRoot,
    Truncated,
)
from eigbench.methods.smooth import Exponential

TORCH = "eigh"
"""The method that is `torch.linalg.eigh`."""
YOURS = "yours"
ADDED = 1e-4
"""ε on the diagonal: the paper's, for channels of variance 1, and so a share of the mean one."""
STEADY = 1e3
"""ε in rounding units of ‖M‖: a condition number of which float32 keeps three digits."""
LARGE = 1000
"""Above this size only the questions that are asked most are measured."""
EXPONENT = 80.0
"""exp of a larger number does not fit into float32."""


class Use(NamedTuple):
    """One use of a matrix, in words."""

    title: str
    noun: str = ""
    """In a sentence of a finding."""


USES = {
    "inverse-square-root": Use("the inverse square root M^(−1/2) (whitening)", "M^(−1/2)"),
    "square-root": Use("the square root M^(1/2)", "M^(1/2)"),
    "negative-subspace": Use(
        "the projector on the eigenvectors with negative eigenvalues", "the negative subspace"
    ),
    "function": Use("another function of M, here exp(M)", "exp(M)"),
    "leading-subspace": Use(
        "the projector on the leading eigenvectors, cut at the widest relative gap",
        "the leading subspace",
    ),
    "leading-vector": Use("the eigenvector of the largest eigenvalue", "the leading eigenvector"),
    "smallest-vector": Use(
        "the eigenvector of the smallest eigenvalue", "the smallest eigenvector"
    ),
    "second-smallest-vector": Use(
        "the eigenvector of the second smallest eigenvalue", "the second smallest eigenvector"
    ),
    "closest-vector": Use(*["an eigenvector of the closest pair"] * 2),
    "eigenvalues": Use("the eigenvalues alone"),
    "low-rank": Use(
        "M cut to a lower rank, U Σ Vᴴ of the leading singular values", "the low-rank part"
    ),
    "polar": Use("the polar factor U Vᴴ", "the polar factor"),
    "singular-values": Use("the singular values alone"),
    "leading-singular-vectors": Use(
        "the leading pair of singular vectors", "the leading singular vectors"
    ),
    YOURS: Use("your own loss, known by the gradients that were given"),
}
_ASKED_MOST = {
    *("inverse-square-root", "negative-subspace", "leading-subspace", "leading-vector"),
    *("low-rank", "polar"),
}


@dataclass(frozen=True)
class Lines:
    """Python to paste for one use."""

    method: str = ""
    """Of eigbench, or "eigh" for torch's own functions; empty if there is nothing to paste."""
    code: str = ""
    """Of the names M, torch and eigbench."""
    result: str = ""
    """The name, or names, that the lines bind."""
    precision: str = ""
    """In which they compute."""
    regularised: float = 0.0
    """The number that they add to the diagonal."""
    kept: int = 0
    """How many leading pairs they keep; 0 for all."""


@dataclass(frozen=True)
class Cure(Lines):
    """Lines that may be right, and what they compute."""

    function: SpectralFunction | None = None
    """Of M, or of an svd of [[0, M], [Mᴴ, 0]], that the result is, or whose vector it is; None for
    values, and for the user's own loss."""
    weight: Numbers | None = None
    """∂L/∂result of the user's own loss, where it is a function of M."""


@dataclass(frozen=True)
class Question:
    """One use of one matrix."""

    use: str
    """A key of `USES`."""
    chosen: tuple[int, ...] = ()
    """The eigenpairs that it takes, ascending, of those that take a few."""
    cures: tuple[Cure, ...] = ()
    reason: str = ""
    """Markdown: why it has no derivative, or no answer; empty if it has."""
    torch: Cure | None = field(default=None, compare=False)
    """What everybody writes, with `torch.linalg.eigh`."""


def questions_of(spectrum: Spectrum) -> tuple[Question, ...]:
    """Every use that the matrix has; those that most people ask first."""
    some = _singular(spectrum) if spectrum.svd else _symmetric(spectrum)
    return tuple(one for one in some if spectrum.size <= LARGE or one.use in _ASKED_MOST)


def cast(spectrum: Spectrum, cure: Cure) -> tuple[Cure, ...]:
    """The cure in each precision that is worth a try: M in it takes the place of `{M}`."""
    dtype = spectrum.matrix.dtype
    casts = {"float64": "M" if dtype in DOUBLE else "M.double()"}
    if spectrum.precision == "float32":
        casts = {
            "float32": "M" if dtype in {"float32", "complex64"} else "M.float()",
            "float64": "M.to(torch.complex128)" if spectrum.complex else "M.double()",
        }
    codes = {p: cure.code.replace("{M}", M).removeprefix("M = M\n") for p, M in casts.items()}
    return tuple(replace(cure, precision=p, code=code) for p, code in codes.items())


def _no(use: str, because: str, chosen: tuple[int, ...] = (), **facts: object) -> Question:
    """A use without a derivative, or without an answer: a block of the template says why."""
    return Question(use, chosen, reason=page.render("answers", because, **facts))


def _symmetric(spectrum: Spectrum) -> Iterator[Question]:
    n, negative, cut = spectrum.size, spectrum.negative, spectrum.cut
    if negative:
        chosen = range(negative) if negative < n else None
        yield _projector(spectrum, "negative-subspace", chosen, "all_negative")
        if spectrum.norm < EXPONENT:
            yield _function(spectrum, "function", "values.exp()", Exponential())
    else:
        yield _function(spectrum, "inverse-square-root", "values ** -0.5", InverseSquareRoot())
        yield _function(spectrum, "square-root", "values ** 0.5", SquareRoot())
    if n > 1:
        chosen = range(n - cut, n) if cut else None
        yield _projector(spectrum, "leading-subspace", chosen, "all_tied")
        yield from _vectors(spectrum)
    yield _values(spectrum, "eigenvalues", "torch.linalg.eigvalsh")


def _values(spectrum: Spectrum, use: str, function: str) -> Question:
    line = f"values = {function}({{M}})"
    return Question(use, cures=cast(spectrum, Cure(TORCH, line, "values")))


def _function(spectrum: Spectrum, use: str, of_values: str, function: SpectralFunction) -> Question:
    """A function of M; of a singular M, which has no root, that of M + εI, or on its range."""
    name = "exponential" if use == "function" else use
    line = f'S = eigbench.matrix_function({{M}}, "{name}")'
    cures = cast(spectrum, Cure("spectral", line, "S", function=function))
    if use != "function" and spectrum.norm == 0:
        return _no(use, "all_zero")
    if use != "function" and spectrum.zeros:
        rank, added = spectrum.rank, f"{_epsilon(spectrum):.0e}"
        lines = f"M = {{M}}\nM = M + {added} * torch.eye({spectrum.size}).to(M)\n"
        shifted = replace(cures[0], code=lines + line.replace("{M}", "M"), regularised=float(added))
        chosen = Truncated(function, (np.arange(spectrum.size) >= spectrum.zeros).astype(float))
        line = f'S = eigbench.matrix_function({{M}}, "{name}", rank={rank})'
        on_range = Cure("spectral", line, "S", kept=rank, function=chosen)
        cures = cast(spectrum, shifted) + cast(spectrum, on_range)
    naive = f"values, V = torch.linalg.eigh({{M}})\nS = (V * ({of_values}).unsqueeze(-2)) @ V.mH"
    torch = cast(spectrum, Cure(TORCH, naive, "S", function=function))[0]
    return Question(use, cures=cures, torch=torch)


def _epsilon(spectrum: Spectrum) -> float:
    """What to add to the diagonal, above what rounding makes of a zero; one digit."""
    lowest = max(0.0, -float(spectrum.values[0]))
    noise = max(STEADY * unit(spectrum.precision), 2 * spectrum.unit) * spectrum.norm
    added = max(ADDED * float(spectrum.values.mean()), noise, 2 * lowest)
    exponent = math.floor(math.log10(added))
    return float(math.ceil(added / 10.0**exponent) * 10.0**exponent)


def _projector(spectrum: Spectrum, use: str, chosen: range | None, because: str) -> Question:
    """The projector on the first or the last eigenvectors, whose own basis does not matter."""
    if chosen is None:
        return _no(use, because)
    n, count = spectrum.size, len(chosen)
    condition = f">= {chosen.start}" if chosen.start else f"< {chosen.stop}"
    words = f"the {'last' if chosen.start else 'first'} {count if count > 1 else 'one'}"
    lines = (
        "from eigbench.methods.functions import Projector\n"
        f"chosen = (torch.arange({n}) {condition}).float()  # {words}\n"
        "P = eigbench.matrix_function({M}, Projector(chosen))"
    )
    projector = Projector(np.isin(np.arange(n), chosen).astype(float))
    cure = Cure("spectral", lines, "P", function=projector)
    naive = f"V = torch.linalg.eigh({{M}})[1][..., {chosen.start}:{chosen.stop}]\nP = V @ V.mH"
    torch = cast(spectrum, replace(cure, method=TORCH, code=naive))[0]
    return Question(use, tuple(chosen), cast(spectrum, cure), torch=torch)


def masked(spectrum: Spectrum, function: str) -> str:
    """A call of eigbench that leaves out the pairs which tie, and no other."""
    gaps = np.diff(spectrum.values)
    narrowest = float(gaps[gaps > spectrum.floor].min(initial=spectrum.norm))
    # In the middle between rounding and the narrowest gap that counts: that is right to either
    # side. A gap of less than 100 units of rounding has lost the digits of a gradient anyway.
    middle = math.sqrt(spectrum.floor * narrowest) / (spectrum.norm or 1)
    most = max(100 * spectrum.unit, 2 * spectrum.floor / (spectrum.norm or 1))
    return f'eigbench.{function}({{M}}, method="mask", tolerance={min(middle, most):.1e})'


def _vectors(spectrum: Spectrum) -> Iterator[Question]:
    """Single eigenvectors, each once, up to its sign."""
    n, pair = spectrum.size, spectrum.narrowest
    wanted = {"leading-vector": n - 1, "smallest-vector": 0, "second-smallest-vector": 1}
    if pair is not None:
        wanted["closest-vector"] = pair.lower
    first = {index: use for use, index in reversed(wanted.items())}
    for use, index in wanted.items():
        if first[index] == use:
            last = f"\nv = V[..., {index}]"
            alone = Projector((np.arange(n) == index).astype(float))
            plain = Cure(TORCH, f"values, V = torch.linalg.eigh({{M}}){last}", "v", function=alone)
            exact = f"values, V = {masked(spectrum, 'eigh')}{last}"
            yield _vector(spectrum, use, index, plain, exact)


def _vector(spectrum: Spectrum, use: str, index: int, plain: Cure, exact: str) -> Question:
    """A vector by torch, or without the pairs that tie."""
    cluster = spectrum.cluster_of(index)
    if len(cluster) > 1:
        zero, whole = spectrum.zeros > 1 and not spectrum.svd, len(cluster) == spectrum.size
        facts = {"cluster": cluster, "symbol": spectrum.symbol, "zero": zero, "whole": whole}
        return _no(use, "tied", (index,), **facts)
    cures = [plain, replace(plain, method="mask", code=exact)]
    # torch divides by every gap, also by those of other vectors: one tie makes all NaN.
    if spectrum.ties or (spectrum.svd and spectrum.zeros):
        cures.reverse()
    some = [one for cure in cures for one in cast(spectrum, cure)]
    some.sort(key=lambda cure: cure.precision != spectrum.precision)
    return Question(use, (index,), tuple(some), torch=cast(spectrum, plain)[0])


def _singular(spectrum: Spectrum) -> Iterator[Question]:
    """The uses of singular values and vectors: odd functions of M, U f(Σ) Vᴴ."""
    k, cut, total = spectrum.size, spectrum.cut, _dilated_size(spectrum)
    if cut in {0, k}:
        yield _no("low-rank", "no_cut")
    else:
        above = (np.arange(total) >= total - cut).astype(float)
        lines = (
            "from eigbench.methods.functions import Identity, Truncated\n"
            f"kept = (torch.arange({k}) >= {k - cut}).float()  # the last {cut}, ascending\n"
            "L = eigbench.svd_function({M}, Truncated(Identity(), kept))"
        )
        power = Truncated(Identity(), above + above[::-1])
        cure = Cure("spectral", lines, "L", kept=cut, function=power)
        yield _of_triples(spectrum, "low-rank", cure, f"(U[:, :{cut}] * s[:{cut}]) @ Vh[:{cut}]")
    if spectrum.zeros:
        yield _no("polar", "no_polar", zeros=spectrum.zeros)
    else:
        yield _of_triples(spectrum, "polar", polar(spectrum), "U @ Vh")
    yield _values(spectrum, "singular-values", "torch.linalg.svdvals")
    last = "\nu, v = U[:, 0], Vh[0].conj()"
    lines = f"U, s, Vh = torch.linalg.svd({{M}}, full_matrices=False){last}"
    plain = Cure(TORCH, lines, "u, v", function=_sign(total, 1))
    exact = f"U, s, Vh = {masked(spectrum, 'svd')}{last}"
    yield _vector(spectrum, "leading-singular-vectors", k - 1, plain, exact)


def polar(spectrum: Spectrum) -> Cure:
    """The lines for U Vᴴ."""
    sign = _sign(_dilated_size(spectrum), spectrum.size)
    return Cure("spectral", "Q = eigbench.polar({M})", "Q", function=sign)


def _dilated_size(spectrum: Spectrum) -> int:
    """How many eigenpairs of [[0, M], [Mᴴ, 0]] a loss may see; of more a long M has zeros."""
    return sum(min(side, 2 * spectrum.size) for side in spectrum.matrix.entries.shape)


def _sign(total: int, kept: int) -> Projector:
    """The function of the dilation that holds U Vᴴ of the leading triples."""
    above = (np.arange(total) >= total - kept).astype(float)
    return Projector(above - above[::-1])


def _of_triples(spectrum: Spectrum, use: str, cure: Cure, product: str) -> Question:
    """By a function of eigbench, or as a product after torch's svd."""
    kept = cure.kept or spectrum.size
    naive = f"U, s, Vh = torch.linalg.svd({{M}}, full_matrices=False)\n{cure.result} = {product}"
    torch = cast(spectrum, replace(cure, method=TORCH, code=naive, kept=0))[0]
    chosen = tuple(range(spectrum.size - kept, spectrum.size))
    return Question(use, chosen, cast(spectrum, cure), torch=torch)
