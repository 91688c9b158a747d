"""What a matrix is used for, whether that has a derivative, and the lines that theory gives for it.

A cure is Python to paste. The lines are what is measured (`eigbench.diagnosis.trials` executes
them), and what is shown. They are in the order in which theory prefers them: what is right for
every matrix with this spectrum comes before what is right for this one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from eigbench.diagnosis import page
from eigbench.diagnosis.matrices import Numbers
from eigbench.diagnosis.spectrum import DOUBLE, Spectrum, unit
from eigbench.diagnosis.truth import Target
from eigbench.methods.functions import (
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

USES = {
    "inverse-square-root": "the inverse square root M^(−1/2) (whitening)",
    "square-root": "the square root M^(1/2)",
    "negative-subspace": "the projector on the eigenvectors with negative eigenvalues",
    "function": "another function of M, here exp(M)",
    "leading-subspace": "the projector on the leading eigenvectors, cut at the widest relative gap",
    "leading-vector": "the eigenvector of the largest eigenvalue",
    "smallest-vector": "the eigenvector of the smallest eigenvalue",
    "second-smallest-vector": "the eigenvector of the second smallest eigenvalue",
    "closest-vector": "an eigenvector of the closest pair",
    "eigenvalues": "the eigenvalues alone",
    "low-rank": "M cut to a lower rank, U Σ Vᴴ of the leading singular values",
    "polar": "the polar factor U Vᴴ",
    "singular-values": "the singular values alone",
    "leading-singular-vectors": "the leading pair of singular vectors",
    YOURS: "your own loss, known by the gradients that were given",
}
"""Every use of a matrix, and what it is; the first four are functions of M."""


@dataclass(frozen=True)
class Cure:
    """Lines to paste for one use, and what they compute."""

    method: str
    """Of eigbench, or "eigh" for torch's own functions."""
    precision: str
    """In which the lines compute."""
    code: str
    """Of the names M, torch and eigbench."""
    result: str
    """The name, or names, that the lines bind."""
    target: Target | None = None
    """The function of M that the result is; None for values, and for the user's own loss."""
    regularised: float = 0.0
    """The number that the lines add to the diagonal."""
    kept: int = 0
    """How many leading pairs the lines keep; 0 for all."""
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
    some = list(singular_questions(spectrum) if spectrum.svd else _symmetric(spectrum))
    if spectrum.size > LARGE:
        some = [one for one in some if one.use in _ASKED_MOST]
    return tuple(some)


_ASKED_MOST = {
    "inverse-square-root",
    "negative-subspace",
    "leading-subspace",
    "leading-vector",
    "low-rank",
    "polar",
}


def because(block: str, **values: object) -> str:
    """Why there is no derivative, or no answer: a block of the template `answers`; Markdown."""
    return page.render("answers", block, **values)


def casts(spectrum: Spectrum) -> Iterator[tuple[str, str]]:
    """Each precision that is worth a try, and M in it."""
    dtype = spectrum.matrix.dtype
    if spectrum.precision == "float64":
        yield "float64", "M" if dtype in DOUBLE else "M.double()"
        return
    yield "float32", "M" if dtype in {"float32", "complex64"} else "M.float()"
    yield "float64", "M.to(torch.complex128)" if spectrum.complex else "M.double()"


def _symmetric(spectrum: Spectrum) -> Iterator[Question]:
    if spectrum.negative:
        yield _negative(spectrum)
        if spectrum.norm < EXPONENT:
            yield _function(spectrum, "function", "exponential", Exponential())
    else:
        yield _function(spectrum, "inverse-square-root", "", InverseSquareRoot())
        yield _function(spectrum, "square-root", "", SquareRoot())
    if spectrum.size > 1:
        yield _leading(spectrum)
        yield from _vectors(spectrum)
    yield _values(spectrum, "eigenvalues", "torch.linalg.eigvalsh")


def _values(spectrum: Spectrum, use: str, function: str) -> Question:
    cures = tuple(
        Cure(TORCH, precision, f"values = {function}({M})", "values")
        for precision, M in casts(spectrum)
    )
    return Question(use, cures=cures)


def _function(spectrum: Spectrum, use: str, name: str, function: SpectralFunction) -> Question:
    """A function of M; of a singular one that has none there, of M + εI or on its range."""
    name = name or use
    singular = bool(spectrum.zeros) and use != "function"
    if singular and spectrum.norm == 0:
        return Question(use, reason=because("all_zero"))
    naive = "values ** -0.5" if use == "inverse-square-root" else "values ** 0.5"
    if use == "function":
        naive = "values.exp()"
    torch = Cure(
        TORCH,
        spectrum.precision,
        f"values, V = torch.linalg.eigh({next(casts(spectrum))[1]})\n"
        f"S = (V * ({naive}).unsqueeze(-2)) @ V.mH",
        "S",
        Target(function),
    )
    cures: list[Cure] = []
    for precision, M in casts(spectrum):
        if not singular:
            line = f'S = eigbench.matrix_function({M}, "{name}")'
            cures.append(Cure("spectral", precision, line, "S", Target(function)))
            continue
        added = _epsilon(spectrum)
        cast = "" if M == "M" else f"M = {M}\n"
        lines = (
            f"{cast}M = M + {added:.0e} * torch.eye({spectrum.size}).to(M)\n"
            f'S = eigbench.matrix_function(M, "{name}")'
        )
        target = Target(function, shift=float(f"{added:.0e}"))
        cures.append(Cure("spectral", precision, lines, "S", target, regularised=target.shift))
    if singular:
        cures += [_on_range(spectrum, function, name, *cast) for cast in casts(spectrum)]
    return Question(use, cures=tuple(cures), torch=torch)


def _epsilon(spectrum: Spectrum) -> float:
    """What to add to the diagonal, above what rounding makes of a zero; one digit."""
    lowest = max(0.0, -float(spectrum.values[0]))
    steady = STEADY * unit("float32" if spectrum.precision == "float32" else "float64")
    noise = max(steady, 2 * spectrum.unit) * spectrum.norm
    added = max(ADDED * float(spectrum.values.mean()), noise, 2 * lowest)
    exponent = math.floor(math.log10(added))
    return float(math.ceil(added / 10.0**exponent) * 10.0**exponent)


def _on_range(
    spectrum: Spectrum, function: SpectralFunction, name: str, precision: str, M: str
) -> Cure:
    """The function on the range of M, 0 elsewhere: the cut is at the rank."""
    rank, zeros = spectrum.rank, spectrum.zeros
    chosen = Truncated(function, (np.arange(spectrum.size) >= zeros).astype(float))
    line = f'S = eigbench.matrix_function({M}, "{name}", rank={rank})'
    return Cure("spectral", precision, line, "S", Target(chosen), kept=rank)


def _projector(spectrum: Spectrum, use: str, chosen: range, words: str) -> Question:
    """The projector on consecutive eigenvectors, whose own basis does not matter."""
    n = spectrum.size
    condition = f">= {chosen.start}" if chosen.stop == n and chosen.start else f"< {chosen.stop}"
    target = Target(Projector(np.isin(np.arange(n), chosen).astype(float)))
    cures = tuple(
        Cure(
            "spectral",
            precision,
            "from eigbench.methods.functions import Projector\n"
            f"chosen = (torch.arange({n}) {condition}).float()  # {words}\n"
            f"P = eigbench.matrix_function({M}, Projector(chosen))",
            "P",
            target,
        )
        for precision, M in casts(spectrum)
    )
    naive = (
        f"V = torch.linalg.eigh({next(casts(spectrum))[1]})[1][..., "
        f"{chosen.start}:{chosen.stop}]\nP = V @ V.mH"
    )
    torch = Cure(TORCH, spectrum.precision, naive, "P", target)
    return Question(use, tuple(chosen), cures, torch=torch)


def _negative(spectrum: Spectrum) -> Question:
    use, count = "negative-subspace", spectrum.negative
    if count == spectrum.size:
        return Question(use, reason=because("all_negative"))
    words = f"the {count} with negative eigenvalues" if count > 1 else "the negative one"
    return _projector(spectrum, use, range(count), words)


def _leading(spectrum: Spectrum) -> Question:
    use, count = "leading-subspace", spectrum.cut
    if not count:
        return Question(use, reason=because("all_tied", symbol=spectrum.symbol))
    words = f"the last {count}" if count > 1 else "the last one"
    return _projector(spectrum, use, range(spectrum.size - count, spectrum.size), words)


def _vectors(spectrum: Spectrum) -> Iterator[Question]:
    """Single eigenvectors, each once."""
    n = spectrum.size
    wanted = {"leading-vector": n - 1, "smallest-vector": 0}
    if n > 2:
        wanted["second-smallest-vector"] = 1
    if spectrum.narrowest is not None:
        wanted["closest-vector"] = spectrum.narrowest.lower
    said: set[int] = set()
    for use, index in wanted.items():
        if index not in said:
            said.add(index)
            yield _vector(spectrum, use, index)


def _vector(spectrum: Spectrum, use: str, index: int) -> Question:
    """One eigenvector, up to its sign, with the derivative of the projector on it."""
    n, cluster = spectrum.size, spectrum.cluster_of(index)
    if len(cluster) > 1:
        reason = because("tied", cluster=cluster, symbol="λ", index=index, zero=spectrum.zeros > 1)
        return Question(use, (index,), reason=reason)
    target = Target(Projector((np.arange(n) == index).astype(float)))
    plain, exact = [], []
    for precision, M in casts(spectrum):
        lines = f"values, V = torch.linalg.eigh({M})\nv = V[..., {index}]"
        plain.append(Cure(TORCH, precision, lines, "v", target))
        lines = (
            "from eigbench.methods.functions import Projector\n"
            f"alone = (torch.arange({n}) == {index}).float()\n"
            f"P = eigbench.matrix_function({M}, Projector(alone))  # v vᴴ\n"
            f"v = P @ torch.linalg.eigh({M})[1][..., {index}].detach()"
        )
        exact.append(Cure("spectral", precision, lines, "v", target))
    # torch divides by every gap, also by those of other eigenvectors: one tie makes all NaN.
    cures = _in_order(spectrum, *((exact, plain) if spectrum.ties else (plain, exact)))
    return Question(use, (index,), cures, torch=plain[0])


def _in_order(spectrum: Spectrum, first: list[Cure], then: list[Cure]) -> tuple[Cure, ...]:
    """Two ways to the same, the user's own precision before the other one."""
    some = [*first, *then]
    return tuple(sorted(some, key=lambda cure: cure.precision != spectrum.precision))


DILATION = """\
from eigbench.methods.functions import Projector
X = {M}
m, n = X.shape
above = torch.cat([X.new_zeros(m, m), X], 1)
below = torch.cat([X.mH, X.new_zeros(n, n)], 1)
"""
"""[[0, M], [Mᴴ, 0]], with the eigenvalues ±σ: its projectors hold ½ U Uᴴ and ½ U Vᴴ."""
_DILATED = f"""\
{DILATION}\
chosen = (torch.arange(m + n) >= m + n - {{kept}}).float()
P = eigbench.matrix_function(torch.cat([above, below]), Projector(chosen))
"""


def singular_questions(spectrum: Spectrum) -> Iterator[Question]:
    """The uses of singular values and vectors."""
    k, cut = spectrum.size, spectrum.cut
    if cut in {0, k}:
        yield Question("low-rank", reason=because("no_cut"))
    else:
        yield _dilated(spectrum, "low-rank", "L = 2 * P[:m, :m] @ X", Target(odd="power", kept=cut))
    if spectrum.zeros:
        yield Question("polar", reason=because("no_polar", zeros=spectrum.zeros))
    else:
        yield _dilated(spectrum, "polar", "Q = 2 * P[:m, m:]", Target(odd="sign", kept=k))
    yield _values(spectrum, "singular-values", "torch.linalg.svdvals")
    yield _leading_triple(spectrum)


def _dilated(spectrum: Spectrum, use: str, last: str, target: Target) -> Question:
    """An odd function of M, by the projector on the leading eigenvectors of the dilation."""
    kept, result = target.kept, last.partition(" ")[0]
    cures = tuple(
        Cure(
            "spectral",
            precision,
            _DILATED.format(M=M, kept=kept) + last,
            result,
            target,
            kept=kept if use == "low-rank" else 0,
        )
        for precision, M in casts(spectrum)
    )
    middle = f"(U[:, :{kept}] * s[:{kept}])" if target.odd == "power" else f"U[:, :{kept}]"
    naive = (
        f"U, s, Vh = torch.linalg.svd({next(casts(spectrum))[1]}, full_matrices=False)\n"
        f"{result} = {middle} @ Vh[:{kept}]"
    )
    chosen = tuple(range(spectrum.size - kept, spectrum.size))
    return Question(
        use, chosen, cures, torch=Cure(TORCH, spectrum.precision, naive, result, target)
    )


def _leading_triple(spectrum: Spectrum) -> Question:
    use, last = "leading-singular-vectors", spectrum.size - 1
    cluster = spectrum.cluster_of(last)
    if len(cluster) > 1:
        return Question(
            use, (last,), reason=because("tied", cluster=cluster, symbol="σ", zero=False)
        )
    target = Target(odd="sign", kept=1)
    plain, exact = [], []
    for precision, M in casts(spectrum):
        lines = (
            f"U, s, Vh = torch.linalg.svd({M}, full_matrices=False)\nu, v = U[:, 0], Vh[0].conj()"
        )
        plain.append(Cure(TORCH, precision, lines, "u, v", target))
        lines = (
            _DILATED.format(M=M, kept=1)
            + "v0 = torch.linalg.svd(X, full_matrices=False)[2][0].conj().detach()\n"
            "u, v = 2 * P[:m, m:] @ v0, 2 * P[m:, m:] @ v0"
        )
        exact.append(Cure("spectral", precision, lines, "u, v", target))
    troubled = bool(spectrum.ties or spectrum.zeros)
    cures = _in_order(spectrum, *((exact, plain) if troubled else (plain, exact)))
    return Question(use, (last,), cures, torch=plain[0])
