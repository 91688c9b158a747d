"""A diagnosis as a document: blocks that a terminal, a file and a notebook show each in its way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eigbench.diagnosis.facts import PRECISIONS, Facts, epsilon
from eigbench.diagnosis.findings import Evidence, Finding
from eigbench.diagnosis.recommend import Recommendation
from eigbench.diagnosis.trials import Measured, Outcome, Trial
from eigbench.diagnosis.uses import MEANINGS, TITLES
from eigbench.diagnosis.writing import listed, number
from eigbench.report.markdown import NOTHING, percent, scientific
from eigbench.report.rows import RIGHT

SHOWN = 8
"""So many matrices have a row in the table of facts."""


@dataclass(frozen=True)
class Heading:
    """A heading of the second level."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Plain text; what stands between backticks is code."""

    text: str


@dataclass(frozen=True)
class Grid:
    """A table; its cells are text."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """The place of the picture of the spectrum."""

    caption: str


Block = Heading | Paragraph | Grid | Figure | Finding | Recommendation


@dataclass(frozen=True)
class Document:
    """A title and blocks."""

    title: str
    blocks: tuple[Block, ...]


def compose(
    title: str,
    evidence: Evidence,
    findings: Sequence[Finding],
    advice: Sequence[Recommendation],
    *,
    everything: bool,
) -> Document:
    """The whole diagnosis; the methods on the worst matrix, or on all that were measured."""
    blocks: list[Block] = [*findings]
    if advice:
        blocks += [Heading("What to use"), *advice]
    blocks += [Heading("The spectrum"), *_spectrum(evidence)]
    if evidence.total > len(evidence.measured) > 0:
        named = listed([one.facts.label for one in evidence.measured])
        limit = (
            f"Of {evidence.total} matrices only {named} were differentiated: those with the "
            "smallest gaps and the largest condition numbers."
        )
        blocks.append(Paragraph(limit))
    for measured in evidence.measured if everything else evidence.measured[:1]:
        blocks += _methods(measured)
    return Document(title, tuple(blocks))


def _spectrum(evidence: Evidence) -> Iterator[Block]:
    rows = sorted(evidence.facts, key=lambda facts: facts.smallest_share)[:SHOWN]
    yield Grid(
        ("", *(facts.label for facts in rows)),
        tuple((name, *map(cell, rows)) for name, cell in _FACTS.items()),
    )
    if evidence.total > len(rows):
        yield Paragraph(f"The {len(rows)} with the smallest gaps of {evidence.total} matrices.")
    if any(facts.decomposed for facts in rows):
        yield Paragraph(
            "Eigenvalues are counted from 0 in ascending order, as `torch.linalg.eigh` has them. "
            "The relative gap is the difference of two neighbours by the larger. ε·‖M‖/gap, with "
            "the narrowest gap, estimates the relative error of a gradient that is divided by it: "
            "from 1 on no digit is left."
        )
        yield Figure("Eigenvalues and gaps; the closest pair is marked.")


def _finite(text: str, facts: Facts) -> str:
    return text if facts.decomposed else NOTHING


def _relative_gap(facts: Facts) -> str:
    pair = facts.closest
    return NOTHING if pair is None else f"{number(pair.relative)} at {pair.lower}, {pair.lower + 1}"


def _share(facts: Facts) -> str:
    pair = facts.narrowest
    return NOTHING if pair is None else f"{number(pair.share)} at {pair.lower}, {pair.lower + 1}"


def _lost(facts: Facts, precision: str) -> str:
    pair = facts.narrowest
    if pair is None:
        return NOTHING
    return number(epsilon(precision) / pair.share) if pair.share > 0 else "∞"


_FACTS = {
    "size, dtype": lambda f: f"{f.n}×{f.n}, {f.dtype}",
    "NaN or infinite entries": lambda f: str(f.not_finite),
    "asymmetry": lambda f: number(f.asymmetry),
    "largest eigenvalue": lambda f: _finite(scientific(f.eigenvalues[-1:].sum()), f),
    "smallest eigenvalue": lambda f: _finite(scientific(f.eigenvalues[:1].sum()), f),
    "condition number": lambda f: _finite(number(f.condition), f),
    "rank in float32, float64": lambda f: _finite(
        ", ".join(f"{f.rank(precision)}" for precision in PRECISIONS), f
    ),
    "smallest relative gap": _relative_gap,
    "narrowest gap by ‖M‖": _share,
    "ε·‖M‖/gap in float32": lambda f: _lost(f, "float32"),
    "ε·‖M‖/gap in float64": lambda f: _lost(f, "float64"),
}


def _methods(measured: Measured) -> Iterator[Block]:
    """Every method on one matrix, precision by precision."""
    label = measured.facts.label
    uses = [use for use in measured.uses if use.loss is not None]
    yield Heading(f"Every method on {label}")
    yield Paragraph(
        "Forward and backward on this matrix, and the relative error of the gradient against the "
        f"exact one ({measured.arithmetic}); more than {percent(RIGHT)} counts as wrong. "
        + " ".join(f"*{TITLES[use.name]}*: {MEANINGS[use.name]}." for use in uses)
    )
    refused: dict[str, list[str]] = {}
    for precision in PRECISIONS:
        rows = []
        for method in measured.methods:
            trials = measured.of(method, precision)
            if all(trial.outcome is Outcome.REFUSED for trial in trials):
                refused.setdefault(trials[0].reason, []).append(method)
            else:
                rows.append((f"`{method}`", *map(_cell, trials)))
        estimates = [number(use.estimate(measured.facts, precision)) for use in uses]
        rows.append(("*estimate*", *estimates))
        yield Grid((precision, *(TITLES[use.name] for use in uses)), tuple(rows))
    yield Paragraph(
        "*estimate*: ε·‖M‖ by the smallest gap that the backward pass of `torch.linalg.eigh` "
        "divides by. A dash: the method does not compute this."
    )
    for reason, methods in refused.items():
        named = listed([f"`{method}`" for method in dict.fromkeys(methods)])
        yield Paragraph(f"Not measured: {named}: {reason}.")
    for use in measured.uses:
        if use.loss is None:
            yield Paragraph(f"No column *{TITLES[use.name]}*: {use.reason}.")
        elif use.exact is None:
            yield Paragraph(f"*{TITLES[use.name]}*, without an exact gradient: {use.reason}.")


def is_bad(cell: str) -> bool:
    """Whether a cell tells of a gradient that is of no use."""
    kinds = (Outcome.WRONG, Outcome.NAN, Outcome.INFINITE, Outcome.RAISED)
    return cell.startswith(tuple(kind.value for kind in kinds))


def _cell(trial: Trial) -> str:
    match trial.outcome:
        case Outcome.RIGHT:
            return scientific(trial.error)
        case Outcome.WRONG:
            return f"{trial.outcome.value} {scientific(trial.error)}"
        case Outcome.REFUSED:
            return NOTHING
        case _:
            return str(trial.outcome.value)
