"""The tables of a stability run: success, and accuracy beside it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from eigbench.report.markdown import NOTHING, axis_value, percent, scientific, table
from eigbench.report.paper import TABLE_2_DIMENSIONS, TABLE_2_SUCCESS_PERCENT
from eigbench.report.rows import (
    RIGHT,
    Row,
    median,
    median_error,
    point,
    pooled,
    right_rate,
    seed_count,
    success_rate,
    values_of,
    where,
)
from eigbench.runs.suite import Suite

Summary = Callable[[Sequence[Row]], float]
AXIS_TITLES = {
    "d": "matrix size d",
    "gap": "relative eigengap",
    "dtype": "precision",
    "epsilon": "ε",
    "spectrum": "spectrum",
    "loss": "loss",
    "scale": "scale of M",
}


def how_to_read(suite: Suite) -> list[str]:
    """What the words in the tables mean."""
    batch = f"a batch of {suite.seeds} random matrices (seeds) of one kind"
    if suite.matrices is not None:
        sizes = ", ".join(f"{count} of {n}×{n}" for n, count in suite.matrices.count.items())
        batch = f"the matrices of one size (seeds) from `{suite.matrices.file}`: {sizes}"
    return [
        "## How to read it",
        f"Every case is {batch}, differentiated once. A seed **succeeds** if its eigenpairs and "
        "its gradient are finite and the gradient is inside the bound of Eq. 12 of the paper, "
        "(nK/λmin)·max‖∂L/∂v‖ + ‖∂L/∂λ‖ (K = 19 for a method without K). Its **error** is "
        "‖G − G\\*‖/‖G\\*‖ against the exact gradient G\\*, known at any gap from the eigenpairs "
        "that the matrix was built from (Daleckii–Krein), in float64; up to "
        f"{percent(RIGHT)} it counts as **right**. Bounded is not the same as right: read both. "
        "Medians count what is not finite as infinite. The tables compare methods on the same "
        "cases only.",
    ]


def success(rows: Sequence[Row]) -> list[str]:
    """Success by method × d, in the shape of the paper's Table 2, and by gap."""
    gapped = balanced([row for row in rows if row.case.gap is not None], "gap")
    parts = [
        "## Success rate",
        "Share of seeds that succeed, by matrix size. All spectra, losses, gaps and precisions "
        "that were measured are in it.",
        _by(rows, "d", lambda chosen: percent(success_rate(chosen))),
        "The paper's Table 2 has this shape. It prints the share of 15 *trainings* (ResNet18, "
        "ZCA, CIFAR-10, 350 epochs) that did not fail, which is another experiment:",
        _paper_table_2(),
    ]
    if len(values_of(gapped, "gap")) > 1:
        parts += [
            f"By relative eigengap ({_fixed(gapped)}):",
            _by(gapped, "gap", lambda chosen: percent(success_rate(chosen))),
        ]
    return parts


def left_out(fair: Sequence[Row], by_loss: Sequence[Row]) -> list[str]:
    """Which methods are not in the tables over several losses."""
    missing = [m for m in values_of(by_loss, "method") if m not in values_of(fair, "method")]
    if not missing:
        return []
    return [
        f"{', '.join(f'`{method}`' for method in missing)} cannot take every loss, or were not "
        "measured on nine of ten cases: they are in the tables and pictures of single losses and "
        "of uses, and not in those over several losses."
    ]


def accuracy(rows: Sequence[Row], by_loss: Sequence[Row]) -> list[str]:
    """Error by method × gap for each spectrum, loss and precision."""
    parts = [
        "## Accuracy",
        f"Share of seeds that are right (error ≤ {percent(RIGHT)}), by matrix size:",
        _by(rows, "d", lambda chosen: percent(right_rate(chosen))),
    ]
    by_gap: list[str] = []
    gapped = [row for row in by_loss if row.case.gap is not None]
    axes = ("spectrum", "loss", "dtype")
    for spectrum, loss, dtype in itertools.product(*(values_of(gapped, axis) for axis in axes)):
        chosen = balanced(where(gapped, spectrum=spectrum, loss=loss, dtype=dtype), "gap")
        if len(values_of(chosen, "gap")) > 1:
            by_gap += [
                f"**{loss}**, spectrum {spectrum}, {dtype} (d {_listed(chosen, 'd')}):",
                _by(chosen, "gap", lambda some: scientific(median_error(some)), _floor(chosen)),
            ]
    if by_gap:
        parts.append(
            "Median error by gap, for each loss. The row *rounding of M* is the error that "
            "rounding M to its precision causes by itself: no method can do better."
        )
    return parts + by_gap


def other_axes(rows: Sequence[Row]) -> list[str]:
    """Success, right and error by each further axis that takes more than one value."""
    parts = ["## By precision, ε, spectrum, loss and scale"]
    for axis in ("dtype", "epsilon", "spectrum", "loss", "scale"):
        chosen = balanced(rows, axis)
        if len(values_of(chosen, axis)) > 1:
            parts += [
                f"### By {AXIS_TITLES[axis]}",
                f"Over {_fixed(chosen)}.",
                _three(chosen, axis),
            ]
    return parts if len(parts) > 1 else []


def iterations(rows: Sequence[Row]) -> list[str]:
    """Error by K × gap for each method that has K and was measured at several."""
    parts: list[str] = []
    for method in values_of(rows, "method"):
        own = where(rows, method=method, loss="whitening", spectrum="gap", scale=1.0)
        own = [row for row in own if row.case.parameters.get("seed", 0) == 0]
        if len(values_of(own, "iterations")) < 3:
            continue
        d, dtype = _most_common(own)
        chosen = where(own, d=d, dtype=dtype, epsilon=own[0].case.epsilon)
        gaps = _gaps_of(chosen)
        body = [
            [str(K), *(_cell(where(chosen, iterations=K, gap=gap)) for gap in gaps)]
            for K in values_of(own, "iterations")
        ]
        parts += [
            f"Median error of `{method}` by K and gap (whitening, d = {d}, {dtype}):",
            table(["K", *map(axis_value, gaps)], body),
        ]
    return ["## The number of iterations", *parts] if parts else []


def reference(rows: Sequence[Row]) -> list[str]:
    """The literal loop beside its closed form, at the cases that both have."""
    pairs = [
        (own, twin)
        for own in where(rows, method="hybrid-loop")
        for twin in where(rows, method="hybrid", parameters=own.case.parameters)
        if point(own.case) == point(twin.case)
    ]
    if not pairs:
        return []
    body = [
        [
            f"d = {own.case.d}, gap {axis_value(own.case.gap)}, {own.case.dtype}",
            scientific(median_error([own])),
            scientific(median_error([twin])),
            scientific(median(own.metric("gradient_norm") / twin.metric("gradient_norm"))),
        ]
        for own, twin in pairs
        if len(own.metric("gradient_norm")) == len(twin.metric("gradient_norm")) > 0
    ]
    headers = ["case", "hybrid-loop: median error", "hybrid: median error", "ratio of norms"]
    return [
        "## The literal Algorithm 1 beside its closed form",
        "`hybrid-loop` deflates pair by pair as Algorithm 1 is printed; `hybrid` is the closed "
        "form. The two are the same gradient, so their errors agree.",
        table(headers, body),
    ]


def _by(
    rows: Sequence[Row], axis: str, cell: Callable[[Sequence[Row]], str], extra: Any = None
) -> str:
    """A table of methods × the values of one axis."""
    values = values_of(rows, axis)
    body = [
        [method, *(cell(where(rows, method=method, **{axis: value})) for value in values)]
        for method in values_of(rows, "method")
    ]
    if extra is not None:
        body.append(["*rounding of M*", *(extra(value) for value in values)])
    body.append(["*seeds each*", *(_seeds_each(where(rows, **{axis: value})) for value in values)])
    return table([_title(axis), *(axis_value(value) for value in values)], body)


def _title(axis: str) -> str:
    return f"method \\ {AXIS_TITLES[axis]}"


def _seeds_each(rows: Sequence[Row]) -> str:
    """How many seeds each method has in a cell; a range if they differ."""
    counts = {seed_count(where(rows, method=method)) for method in values_of(rows, "method")}
    return "–".join(str(count) for count in sorted({min(counts), max(counts)})) if counts else "0"


def _floor(rows: Sequence[Row]) -> Callable[[Any], str]:
    def at(gap: Any) -> str:
        chosen = where(rows, gap=gap)
        return scientific(median(pooled(chosen, lambda row: row.metric("rounding_floor"))))

    return at


def _three(rows: Sequence[Row], axis: str) -> str:
    """Success, right and median error side by side."""
    summaries: list[tuple[str, Callable[[Sequence[Row]], str]]] = [
        ("success", lambda chosen: percent(success_rate(chosen))),
        ("right", lambda chosen: percent(right_rate(chosen))),
        ("median error", lambda chosen: scientific(median_error(chosen))),
    ]
    body = []
    for value in values_of(rows, axis):
        for method in values_of(rows, "method"):
            chosen = where(rows, method=method, **{axis: value})
            if chosen:
                cells = [summary(chosen) for _, summary in summaries]
                body.append([axis_value(value), method, *cells, str(seed_count(chosen))])
    return table([AXIS_TITLES[axis], "method", *(name for name, _ in summaries), "seeds"], body)


def balanced(rows: Sequence[Row], axis: str) -> list[Row]:
    """The rows whose case was measured along the axis, all else being equal.

    At three quarters of the values or more: a value may be missing where a case does not apply.
    """
    enough = 0.75 * len({getattr(row.case, axis) for row in rows})
    seen: dict[Any, set[Any]] = {}
    for row in rows:
        seen.setdefault(_elsewhere(row, axis), set()).add(getattr(row.case, axis))
    return [row for row in rows if len(seen[_elsewhere(row, axis)]) >= enough]


def _elsewhere(row: Row, axis: str) -> tuple[Any, ...]:
    """The case without one axis. A spectrum brings its own gap, so that goes with it."""
    case = row.case
    left_out = {axis, "gap"} if axis == "spectrum" else {axis}
    names = ("method", "d", "spectrum", "gap", "scale", "dtype", "epsilon", "loss")
    return tuple(getattr(case, name) for name in names if name not in left_out)


def _fixed(rows: Sequence[Row]) -> str:
    """What the rows have in common or range over, in words."""
    axes = ("loss", "spectrum", "d", "gap", "dtype", "epsilon", "scale")
    return "; ".join(
        f"{AXIS_TITLES[axis].removeprefix('matrix size ')} {_listed(rows, axis)}"
        for axis in axes
        if values_of(rows, axis)
    )


def _listed(rows: Sequence[Row], axis: str) -> str:
    return ", ".join(axis_value(value) for value in values_of(rows, axis))


def _paper_table_2() -> str:
    body = [
        [method, *(f"{value:g} %" for value in printed)]
        for method, printed in TABLE_2_SUCCESS_PERCENT.items()
    ]
    return table(["paper: method \\ d", *map(str, TABLE_2_DIMENSIONS)], body)


def _cell(rows: Sequence[Row]) -> str:
    return scientific(median_error(rows)) if rows else NOTHING


def _most_common(rows: Sequence[Row]) -> tuple[int, str]:
    """The d and precision at which a method was measured with the most values of K."""
    counts: dict[tuple[int, str], set[Any]] = {}
    for row in rows:
        counts.setdefault((row.case.d, row.case.dtype), set()).add(row.case.iterations)
    return max(counts, key=lambda key: len(counts[key]))


def _gaps_of(rows: Sequence[Row]) -> list[Any]:
    """The gaps at which more than two values of K were measured."""
    return [
        gap
        for gap in values_of(rows, "gap")
        if len(values_of(where(rows, gap=gap), "iterations")) > 2
    ]
