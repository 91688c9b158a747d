"""The claims of the paper's section 2, one by one, with what was measured of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from eigbench.report.markdown import axis_value, percent, scientific, table
from eigbench.report.paper import NEIGHBOUR_RATIO
from eigbench.report.rows import Row, median, median_error, pooled, values_of, where

DECOMPOSITIONS = ("eigh", "svd", "hybrid", "hybrid-loop")


def sections(rows: Sequence[Row], fair: Sequence[Row]) -> list[str]:
    """Every claim that the rows have data for."""
    claims: list[tuple[str, Callable[[], str]]] = [
        ("The forward pass of the decomposition is stable and accurate; that of power iteration "
         "is not (§2)", lambda: _forward(fair)),
        ("Power iteration depends on the number of iterations and on the random start (§2)",
         lambda: _starts(rows)),
        ("When eigenvalues come close, the analytic gradient becomes very large (Eq. 1)",
         lambda: _explosion(fair)),
        ("As K grows, the gradient tends to the analytic one (Eq. 7)", lambda: _limit(rows)),
        ("The gradient is bounded by nK/λmin ≤ nK/ε (Eq. 12, 13)", lambda: _bound(rows)),
        ("qᴷ ≤ 0.05 is a good approximation to qᴷ = 0 (§2.4)", lambda: _closing_pair(fair)),
        ("The mean ratio of neighbouring eigenvalues on CIFAR-10 is 0.84 to 0.86 (§2.4)",
         lambda: _ratios(fair)),
        ("With ε added every eigenvalue should be ≥ ε; in single precision some are not (§2.5)",
         lambda: _below_epsilon(fair)),
        ("Hence the truncation of Algorithm 1 (§2.5)", lambda: _truncation(fair)),
        ("A rounding error more or less: is the gradient reproducible? (§1, §2.5)",
         lambda: _reproducible(fair)),
    ]  # fmt: skip
    written = [(title, text()) for title, text in claims]
    parts = [f"### {title}\n\n{text}" for title, text in written if text]
    return ["## The claims of the paper's section 2, measured", *parts] if parts else []


def _forward(rows: Sequence[Row]) -> str:
    rows = [row for row in rows if row.case.dtype == "float32" and _plain(row)]
    body = [
        [method, *(_worst(where(rows, method=method, d=d), "forward_residual")
                   for d in values_of(rows, "d"))]
        for method in values_of(rows, "method")
    ]  # fmt: skip
    if not body:
        return ""
    return (
        "Largest residual ‖MV − VΛ‖/‖M‖ over all seeds, whitening at ε > 0, float32, by d:\n\n"
        + table(["method \\ d", *map(str, values_of(rows, "d"))], body)
    )


def _starts(rows: Sequence[Row]) -> str:
    own = [row for row in where(rows, method="pi", loss="whitening") if _plain(row)]
    by_start = [row for row in own if len(_starts_at(own, row)) > 1]
    body = []
    for K in values_of(by_start, "iterations"):
        chosen = where(by_start, iterations=K)
        residuals = [median(row.metric("forward_residual")) for row in chosen]
        errors = [median_error([row]) for row in chosen]
        ends = (min(residuals), max(residuals), min(errors), max(errors))
        body.append([str(K), str(len(chosen)), *map(scientific, ends)])
    if not body:
        return ""
    headers = ["K", "starts", "least residual", "largest", "least error", "largest"]
    first = by_start[0].case
    return (
        f"Medians over seeds of the same matrices (d = {first.d}, gap {axis_value(first.gap)}, "
        f"{first.dtype}), from different random starts:\n\n{table(headers, body)}"
    )


def _starts_at(rows: Sequence[Row], like: Row) -> set[int]:
    from eigbench.report.rows import point

    same = [
        r for r in where(rows, iterations=like.case.iterations) if point(r.case) == point(like.case)
    ]
    return {int(row.case.parameters.get("seed", 0) or 0) for row in same}


def _explosion(rows: Sequence[Row]) -> str:
    parts = []
    for loss, remark in (
        (
            "closing-eigenvector",
            "one eigenvector of the closing pair: the truth itself grows as 1/gap",
        ),
        ("whitening", "a function of M: the truth does not grow"),
    ):
        chosen = where(rows, loss=loss, spectrum="gap", dtype="float32", scale=1.0)
        chosen = where(chosen, d=min(values_of(chosen, "d"), key=lambda d: abs(d - 16), default=0))
        gaps = values_of(chosen, "gap")
        if len(gaps) < 2:
            continue
        exact = [
            "*exact*",
            *(_middle(where(chosen, gap=gap), "exact_gradient_norm") for gap in gaps),
        ]
        body = [exact] + [
            [m, *(_middle(where(chosen, method=m, gap=gap), "gradient_norm") for gap in gaps)]
            for m in values_of(chosen, "method")
        ]
        headers = [f"‖∂L/∂M‖, {loss} \\ gap", *map(axis_value, gaps)]
        parts.append(f"{loss} ({remark}), d = {chosen[0].case.d}, float32, medians:\n\n"
                     + table(headers, body))  # fmt: skip
    return "\n\n".join(parts)


def _limit(rows: Sequence[Row]) -> str:
    own = where(rows, method="hybrid", loss="whitening", spectrum="gap", dtype="float64")
    lines = []
    for gap in values_of(own, "gap"):
        chosen = where(own, gap=gap)
        K = values_of(chosen, "iterations")
        if len(K) < 3:
            continue
        chosen = where(chosen, d=where(chosen, iterations=max(K))[0].case.d)
        ends = [median_error(where(chosen, iterations=k)) for k in (min(K), max(K))]
        lines.append(
            f"- gap {axis_value(gap)}: median error {scientific(ends[0])} at K = {min(K)}, "
            f"{scientific(ends[1])} at K = {max(K)}."
        )
    return "\n".join(lines)


def _bound(rows: Sequence[Row]) -> str:
    lines = []
    for method in values_of(rows, "method"):
        own = where(rows, method=method)
        norms, bounds = (
            pooled(own, lambda row, name=name: row.metric(name))  # type: ignore[misc]
            for name in ("gradient_norm", "gradient_bound")
        )
        usable = np.isfinite(bounds) & (bounds > 0)
        if not usable.any():
            continue
        share = norms[usable] / bounds[usable]
        worst = scientific(float(np.where(np.isnan(share), np.inf, share).max()))
        inside = percent(float((norms[usable] <= bounds[usable]).mean()))
        lines.append([method, str(int(usable.sum())), inside, scientific(median(share)), worst])
    if not lines:
        return ""
    headers = ["method", "seeds", "inside", "median norm/bound", "largest norm/bound"]
    return (
        "Over every measured seed at which the bound is finite. For the methods without K the "
        "bound is that of K = 19, as a yardstick of size; only the series methods promise it.\n\n"
        + table(headers, lines)
    )


def _closing_pair(rows: Sequence[Row]) -> str:
    chosen = [
        row
        for row in where(rows, loss="whitening", spectrum="gap", scale=1.0)
        if row.case.d <= 8 and row.case.dtype == "float64"
    ]
    chosen = where(chosen, d=max(values_of(chosen, "d"), default=0))
    gaps = values_of(chosen, "gap")
    if len(gaps) < 2:
        return ""
    body = [
        [m, *(_middle(where(chosen, method=m, gap=gap), "closing_pair_ratio") for gap in gaps)]
        for m in values_of(chosen, "method")
    ]
    return (
        "The gradient's component on the closing pair, as a multiple of the exact one (1 is "
        "right, negative is the wrong direction). "
        f"Whitening, d = {chosen[0].case.d}, float64, medians:\n\n"
        + table(["method \\ gap", *map(axis_value, gaps)], body)
        + "\n\nThe series leaves out qᴷ of the antisymmetric part, but it also adds "
        "½q^(K−1)/λ times the *symmetric* part of Vᵀ ∂L/∂V, which the exact gradient of a "
        "function of M does not contain. That term is what turns the sign."
    )


def _ratios(rows: Sequence[Row]) -> str:
    low, high = NEIGHBOUR_RATIO
    body = []
    for spectrum in ("cifar-patches", "cifar-conv"):
        chosen = where(rows, spectrum=spectrum, loss="whitening", dtype="float32", epsilon=1e-4)
        for d in values_of(chosen, "d"):
            own = where(chosen, d=d)
            own = where(own, method=values_of(own, "method")[0])
            body.append([spectrum, str(d), _middle(own, "mean_neighbour_ratio"),
                         _middle(own, "smallest_relative_gap"), f"{low}–{high}"])  # fmt: skip
    if not body:
        return ""
    headers = ["real covariances", "d", "mean ratio", "smallest relative gap", "printed"]
    return (
        "Medians over seeds, ε = 1e-4. These features are of the images and of an untrained first "
        "convolution; the paper's are of a network in training.\n\n" + table(headers, body)
    )


def _below_epsilon(rows: Sequence[Row]) -> str:
    chosen = [row for row in rows if row.case.epsilon > 0 and row.case.loss == "whitening"]
    chosen = [row for row in chosen if row.case.spectrum in ("rank-deficient", "cifar-conv")]
    body = []
    for epsilon in values_of(chosen, "epsilon"):
        for dtype in values_of(chosen, "dtype"):
            cells = []
            for method in values_of(chosen, "method"):
                own = where(chosen, method=method, dtype=dtype, epsilon=epsilon)
                some = pooled(own, lambda row: row.metric("eigenvalues_below_epsilon") > 0)
                cells.append(percent(float(some.mean())) if len(some) else "–")
            body.append([axis_value(epsilon), dtype, *cells])
    if not body:
        return ""
    headers = ["ε", "precision", *values_of(chosen, "method")]
    return (
        "Share of seeds with a computed eigenvalue below ε, on singular matrices (dead channels, "
        "and the first convolution, of rank 27 at most):\n\n" + table(headers, body)
    )


def _truncation(rows: Sequence[Row]) -> str:
    chosen = [row for row in rows if row.case.loss == "whitening" and _plain(row)]
    chosen = [row for row in chosen if row.case.method in DECOMPOSITIONS]
    chosen = where(chosen, method="hybrid") or chosen
    body = []
    for spectrum in values_of(chosen, "spectrum"):
        for dtype in values_of(chosen, "dtype"):
            own = where(chosen, spectrum=spectrum, dtype=dtype, epsilon=1e-4)
            own = where(own, d=max(values_of(own, "d"), default=0))
            labels = [label for row in own for label in row.record.labels.get("truncated_by", [])]
            if labels:
                common = max(sorted(set(labels)), key=labels.count)
                often = f"{common} ({percent(labels.count(common) / len(labels))})"
                rank = _middle(own, "rank_kept")
                body.append([spectrum, dtype, str(own[0].case.d), rank, often])
    if not body:
        return ""
    headers = ["spectrum", "precision", "d", "median rank kept", "stopped by, most often"]
    return f"By `{chosen[0].case.method}`'s eigenpairs, ε = 1e-4:\n\n{table(headers, body)}"


def _reproducible(rows: Sequence[Row]) -> str:
    chosen = where(rows, loss="whitening", spectrum="gap", scale=1.0)
    chosen = where(chosen, d=min(values_of(chosen, "d"), key=lambda d: abs(d - 16), default=0))
    gaps = values_of(chosen, "gap")
    if len(gaps) < 2:
        return ""
    body = []
    for dtype in values_of(chosen, "dtype"):
        for method in values_of(chosen, "method"):
            own = where(chosen, method=method, dtype=dtype)
            cells = (_middle(where(own, gap=gap), "disturbed_change") for gap in gaps)
            body.append([f"{method}, {dtype}", *cells])
    return (
        "Median relative change of the gradient when every entry of M changes by up to one "
        f"rounding error (whitening, d = {chosen[0].case.d}):\n\n"
        + table(["method \\ gap", *map(axis_value, gaps)], body)
    )


def _plain(row: Row) -> bool:
    return row.case.epsilon > 0 and row.case.scale == 1 and row.case.loss == "whitening"


def _middle(rows: Sequence[Row], metric: str) -> str:
    values = pooled(rows, lambda row: row.metric(metric))
    return scientific(median(values)) if len(values) else "–"


def _worst(rows: Sequence[Row], metric: str) -> str:
    values = pooled(rows, lambda row: row.metric(metric))
    return (
        scientific(float(np.where(np.isnan(values), np.inf, values).max())) if len(values) else "–"
    )
