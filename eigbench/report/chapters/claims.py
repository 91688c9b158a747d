"""The claims of the paper's section 2, one by one, with what was measured of each."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import polars as pl

from eigbench.algorithm_1 import ITERATIONS
from eigbench.kinds.series import COEFFICIENT_TERMS, SeriesCase
from eigbench.kinds.stability import StabilityCase
from eigbench.report import situations
from eigbench.report.frame import Frames, metric, values_of
from eigbench.report.names import setting
from eigbench.report.numbers import NOTHING, axis_value, percent, scientific
from eigbench.report.paper import NEIGHBOUR_RATIO, TABLE_1
from eigbench.report.plots import legend_below, panels, save
from eigbench.report.render import Chapter, Part, details, figure, pivot, render, table

THRESHOLD = 0.05
"""Of Eq. 14: a power of the ratio that the paper takes for 0."""
USUAL_D = 16
METHODS = ("eigh", "svd", "pi", "hybrid", "hybrid-loop", "hybrid-eq10", "spectral")
"""Of which the paper speaks, and the exact gradient of functions of M."""


def chapters(frames: Frames, frame: pl.DataFrame) -> list[Chapter | None]:
    """One chapter of the claims about gradients, each of which is folded; one of Table 1."""
    usual, frame = _of_paper(frames.usual), _of_paper(frame)
    tests: list[tuple[str, Callable[[], str]]] = [
        ("The forward pass of a decomposition is stable and accurate; that of power iteration is "
         "not (§2)", lambda: _forward(frames, usual)),
        ("Power iteration depends on the number of iterations and on the random start (§2)",
         lambda: _starts(frames.every_stability)),
        ("When eigenvalues come close, the analytic gradient becomes very large (Eq. 1)",
         lambda: _explosion(frame)),
        ("As K grows, the gradient tends to the analytic one (Eq. 7)", lambda: _limit(frames)),
        ("∂L/∂λ can be ignored (Eq. 10)", lambda: _without_values(usual)),
        ("The bound: the gradient is at most nK/λmin ≤ nK/ε (Eq. 12, 13)",
         lambda: _bound(usual, frames.iterations)),
        ("qᴷ ≤ 0.05 is a good approximation to qᴷ = 0 (§2.4)", lambda: _closing_pair(usual)),
        ("The mean ratio of neighbouring eigenvalues on CIFAR-10 is 0.84 to 0.86 (§2.4)",
         lambda: _ratios(usual)),
        ("With ε added every eigenvalue should be ≥ ε; in single precision some are not (§2.5)",
         lambda: _below_epsilon(usual)),
        ("Hence the truncation of Algorithm 1 (§2.5)", lambda: _truncation(usual)),
        ("The gradient is reproducible up to rounding (§1, §2.5)", lambda: _reproducible(usual)),
    ]  # fmt: skip
    written = [(title, text()) for title, text in tests]
    body = "\n\n".join(details(title, text) for title, text in written if text)
    found = [Chapter("The claims of the paper's section 2, measured", body)] if body else []
    return [*found, *table_1(frames)]


def _of_paper(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of the paper's methods and of the exact gradient; all where there are none."""
    own = frame.filter(pl.col("method").is_in(METHODS))
    return frame if own.is_empty() else own


def of_series(frames: Frames) -> Part | None:
    """The part of a run that holds Table 1 and Figure 1 alone."""
    chapters_of = table_1(frames)
    if not chapters_of:
        return None
    same, all_of = _agreement(frames)
    sentence = render("claims-table-1-sentence", same=same, compared=all_of)
    return Part("Table 1 of the paper", sentence, chapters_of, [sentence.replace("**", "")])


def _at(frame: pl.DataFrame, **axes: object) -> pl.DataFrame:
    return frame.filter(*(pl.col(name) == value for name, value in axes.items()))


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Whitening at the paper's ε and scale 1, of matrices larger than those of the formulas."""
    own = _at(frame, loss="whitening", scale=1.0, epsilon=situations.EPSILON)
    return own.filter(pl.col("situation").is_not_null())


def _near_usual(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of the size next to 16."""
    sizes = values_of(frame, "d")
    return _at(frame, d=min(sizes, key=lambda d: abs(d - USUAL_D))) if sizes else frame


def _median(name: str) -> pl.Expr:
    return pl.col(name).fill_nan(math.inf).median()


def _forward(frames: Frames, frame: pl.DataFrame) -> str:
    own = _at(_plain(frame), dtype="float32")
    if own.is_empty() or "forward_residual" not in own.columns:
        return ""
    own = own.filter(pl.col("forward_residual").is_not_null())
    worst = pl.col("forward_residual").fill_nan(math.inf).max()
    failed = len(frames.records(StabilityCase, "failed"))
    return render("claims-forward", table=pivot(own, ("method", "d"), worst), failed=failed,
                  measured=len(frames.records(StabilityCase, "measured")))  # fmt: skip


def _starts(frame: pl.DataFrame) -> str:
    own = _at(frame, method="pi", loss="whitening", spectrum="gap")
    keys = ["d", "gap", "dtype", "epsilon", "scale", "iterations"]
    several = own.group_by(keys).agg(pl.col("start").n_unique().alias("starts"))
    own = own.join(several.filter(pl.col("starts") > 1), on=keys, how="semi")
    if own.is_empty():
        return ""
    by_start = own.group_by("iterations", "start").agg(
        _median("forward_residual").alias("residual"), pl.col("error").median()
    )
    ends = by_start.group_by("iterations").agg(
        pl.len(), pl.col("residual").min().alias("a"), pl.col("residual").max().alias("b"),
        pl.col("error").min().alias("c"), pl.col("error").max().alias("d"),
    ).sort("iterations")  # fmt: skip
    body = [[str(row["iterations"]), str(row["len"]),
             *(scientific(row[name]) for name in "abcd")] for row in ends.to_dicts()]  # fmt: skip
    headers = ["K", "starts", "least residual", "largest", "least error", "largest"]
    return render("claims-starts", table=table(headers, body),
                  where=setting(own, ("d", "gap", "dtype")))  # fmt: skip


def _explosion(frame: pl.DataFrame) -> str:
    parts = []
    for loss in ("closing-eigenvector", "whitening"):
        own = _at(frame, loss=loss, spectrum="gap", dtype="float32", scale=1.0,
                  epsilon=situations.EPSILON)  # fmt: skip
        own = _near_usual(own.filter(pl.col("d") > 3))
        if len(values_of(own, "gap")) < 2:
            continue
        truth = own.unique(["gap", "matrix"], keep="first", maintain_order=True).with_columns(
            contestant=pl.lit("*exact*"), gradient_norm="exact_gradient_norm"
        )
        rows = pl.concat([truth, own], how="vertical_relaxed")
        norms = pivot(rows, ("contestant", "gap"), _median("gradient_norm"))
        parts.append({"loss": loss, "d": own["d"][0], "table": norms})
    return render("claims-explosion", parts=parts) if parts else ""


def _limit(frames: Frames) -> str:
    """Error by K and gap, of each method that has K and was measured at three or more."""
    own = _at(frames.stability, loss="whitening", spectrum="gap", scale=1.0)
    own = own.filter(pl.col("iterations").is_not_null() & (pl.col("d") > 3))
    several = own.group_by("d", "dtype").agg(pl.col("iterations").n_unique().alias("n"))
    if own.is_empty() or several["n"].max() < 3:  # type: ignore[operator]
        return ""
    best = several.sort("n", "d", descending=True).row(0, named=True)
    own = _at(own, d=best["d"], dtype=best["dtype"])
    counts = own.group_by("gap").agg(pl.col("iterations").n_unique().alias("n"))
    own = own.join(counts.filter(pl.col("n") > 2), on="gap", how="semi", maintain_order="left")
    methods = [m for m in values_of(own, "method") if m in ("pi", "hybrid")]
    gaps = values_of(own, "gap")
    picture, axes = panels(len(methods), 4.4, 3.4, same=True)
    for panel, method in zip(axes, methods, strict=True):
        for place, gap in enumerate(gaps):
            rows = _at(own, method=method, gap=gap).group_by("iterations").agg(
                pl.col("error").median()).sort("iterations")  # fmt: skip
            panel.plot(rows["iterations"], rows["error"].clip(1e-16, 1e3), marker="o", markersize=4,
                       color=f"C{place}", label=f"smallest gap {axis_value(gap)}")  # fmt: skip
        panel.axvline(ITERATIONS, color="0.6", linewidth=0.8)
        panel.set(xscale="log", yscale="log", xlabel="K, iterations")
        panel.set_title(method, fontsize=9)
    axes[0].set_ylabel("median relative error")
    legend_below(picture, axes)
    link = save(picture, frames.folder, "error-by-iterations")
    shown = figure(link, "Median error of whitening by K and gap", "The line is K = 19.")
    parts = [{"method": m, "table": pivot(_at(own, method=m), ("iterations", "gap"),
                                          pl.col("error").median())} for m in methods]  # fmt: skip
    return render("claims-limit", figure=shown, parts=parts,
                  where=setting(own, ("d", "dtype")))  # fmt: skip


def _without_values(frame: pl.DataFrame) -> str:
    own = frame.filter(pl.col("method").is_in(("hybrid", "hybrid-eq10"))
                       & pl.col("situation").is_not_null())  # fmt: skip
    if len(values_of(own, "method")) < 2:
        return ""
    keys = ("loss", "situation", "dtype")
    shared = own.filter(pl.col("method") == "hybrid-eq10").select(keys).unique()
    own = own.join(shared, on=list(keys), how="semi", maintain_order="left")
    rows = own.group_by(*keys, "method", maintain_order=True).agg(
        pl.len(), pl.col("error").median(),
        metric(own, "gradient_cosine").fill_nan(None).median().alias("cosine"))  # fmt: skip
    body = [[row["loss"], row["situation"], row["dtype"], f"`{row['method']}`", str(row["len"]),
             scientific(row["error"]), scientific(row["cosine"])]
            for row in rows.sort(*keys, maintain_order=True).to_dicts()]  # fmt: skip
    headers = ["loss", "situation", "precision", "method", "matrices", "median error",
               "median cosine"]  # fmt: skip
    return render("claims-without-values", table=table(headers, body))


def _bound(frame: pl.DataFrame, iterations: int) -> str:
    if "gradient_bound" not in frame.columns:
        return ""
    usable = pl.col("gradient_bound").is_finite() & (pl.col("gradient_bound") > 0)
    own = frame.filter(pl.col("situation").is_not_null() & usable)
    own = _at(own, method="hybrid", dtype="float32")
    rows = own.with_columns(
        ratio=(pl.col("gradient_norm") / pl.col("gradient_bound")).fill_nan(math.inf),
        exact=pl.col("exact_gradient_norm") / pl.col("gradient_bound"),
    )
    body = []
    for loss in values_of(rows, "loss"):
        for situation in situations.present(_at(rows, loss=loss)):
            there = _at(rows, loss=loss, situation=situation).select(
                n=pl.len(), inside=(pl.col("ratio") <= 1).mean(), middle=pl.col("ratio").median(),
                most=pl.col("ratio").max(), beyond=(pl.col("exact") > 1).mean(),
            ).row(0, named=True)  # fmt: skip
            body.append([loss, situation, str(there["n"]), percent(there["inside"]),
                         scientific(there["middle"]), scientific(there["most"]),
                         percent(there["beyond"])])  # fmt: skip
    if not body:
        return ""
    headers = ["loss", "situation", "matrices", "inside", "median norm/bound", "largest",
               "exact gradient outside"]  # fmt: skip
    return render("claims-bound", table=table(headers, body), iterations=iterations)


def _closing_pair(frame: pl.DataFrame) -> str:
    own = _at(_plain(frame), spectrum="gap", dtype="float64").filter(pl.col("d") <= 8)
    if own.is_empty() or "closing_pair_ratio" not in own.columns:
        return ""
    own = _at(own, d=max(values_of(own, "d"))).filter(pl.col("closing_pair_ratio").is_not_null())
    if len(values_of(own, "gap")) < 2:
        return ""
    return render("claims-closing-pair", d=own["d"][0], threshold=THRESHOLD,
                  table=pivot(own, ("method", "gap"), _median("closing_pair_ratio")))  # fmt: skip


def _ratios(frame: pl.DataFrame) -> str:
    own = _at(_plain(frame), dtype="float32").filter(pl.col("spectrum").is_in(situations.REAL))
    if own.is_empty():
        return ""
    each = own.unique(["spectrum", "d", "matrix"], keep="first", maintain_order=True)
    rows = each.group_by("spectrum", "d").agg(
        pl.len(), pl.col("mean_neighbour_ratio").median().alias("ratio"),
        pl.col("smallest_relative_gap").median().alias("gap"),
        pl.col("condition_number").median().alias("condition")).sort("spectrum", "d")  # fmt: skip
    low, high = NEIGHBOUR_RATIO
    body = [[row["spectrum"], str(row["d"]), str(row["len"]), scientific(row["ratio"]),
             f"{low}–{high}", scientific(row["gap"]), scientific(row["condition"])]
            for row in rows.to_dicts()]  # fmt: skip
    headers = ["real covariances", "d", "matrices", "mean ratio", "printed",
               "smallest relative gap", "condition number"]  # fmt: skip
    return render("claims-ratios", table=table(headers, body))


def _below_epsilon(frame: pl.DataFrame) -> str:
    own = _at(frame, loss="whitening", scale=1.0).filter(
        (pl.col("epsilon") > 0) & pl.col("spectrum").is_in(("rank-deficient", "cifar-conv"))
        & metric(frame, "eigenvalues_below_epsilon").is_not_null())  # fmt: skip
    sizes = values_of(own.filter(pl.col("epsilon") != situations.EPSILON), "d")
    own = own.filter(pl.col("d").is_in(sizes))
    if own.is_empty():
        return ""
    parts = [
        {"title": f"{spectrum}, d = {d}, {dtype}",
         "table": pivot(rows, ("method", "epsilon"),
                        (pl.col("eigenvalues_below_epsilon") > 0).mean(), percent)}
        for (spectrum, d, dtype), rows in own.group_by("spectrum", "d", "dtype",
                                                       maintain_order=True)
    ]  # fmt: skip
    return render("claims-below-epsilon", parts=parts)


def _truncation(frame: pl.DataFrame) -> str:
    if "truncated_by" not in frame.columns:
        return ""
    own = _plain(frame).filter(pl.col("truncated_by").is_not_null())
    own = own.filter(pl.col("method").is_in(("svd", "pi", "hybrid")))
    if own.is_empty():
        return ""
    share = (pl.col("rank_kept") / pl.col("d")).median().alias("share")
    rows = own.group_by("situation", "dtype", "method", "truncated_by").agg(pl.len(), share)
    rows = rows.sort("situation", "dtype", "method", -pl.col("len").cast(int), "truncated_by")
    body = [[row["situation"], row["dtype"], f"`{row['method']}`", row["truncated_by"],
             str(row["len"]), percent(row["share"])] for row in rows.to_dicts()]  # fmt: skip
    counts = own.group_by("method").agg(
        pl.len(), pl.col("truncated_by").str.contains("Rayleigh").sum().alias("rayleigh")
    )
    headers = ["situation", "precision", "method", "stopped by", "matrices",
               "median share of pairs kept"]  # fmt: skip
    return render("claims-truncation", table=table(headers, body),
                  counts=counts.sort("method").to_dicts())  # fmt: skip


def _reproducible(frame: pl.DataFrame) -> str:
    own = _at(_plain(frame), spectrum="gap")
    own = _near_usual(own)
    if len(values_of(own, "gap")) < 2 or "disturbed_change" not in own.columns:
        return ""
    parts = [{"dtype": dtype,
              "table": pivot(rows, ("method", "gap"), _median("disturbed_change"))}
             for (dtype,), rows in own.group_by("dtype", maintain_order=True)]  # fmt: skip
    return render("claims-reproducible", parts=parts, d=own["d"][0])


def _series(frames: Frames) -> dict[float, dict[str, list[float]]]:
    """The samples of each ratio, float64 where there is one."""
    found: dict[float, dict[str, list[float]]] = {}
    for case, record in frames.records(SeriesCase, "measured"):
        if case.ratio not in found or case.dtype == "float64":
            found[case.ratio] = {name: record.values(name) for name in record.samples}
    return dict(sorted(found.items()))


def _agreement(frames: Frames) -> tuple[int, int]:
    """How many entries of Table 1 come out as printed, of how many."""
    terms = {ratio: int(own["least_terms"][0]) for ratio, own in _series(frames).items()}
    compared = [ratio for ratio in TABLE_1 if ratio in terms]
    return sum(TABLE_1[ratio] == terms[ratio] for ratio in compared), len(compared)


def table_1(frames: Frames) -> list[Chapter]:
    """Table 1, the error that K terms leave, and Figure 1."""
    found = _series(frames)
    if not found:
        return []
    body = []
    for ratio, own in found.items():
        terms, printed = int(own["least_terms"][0]), TABLE_1.get(ratio)
        same = NOTHING if printed is None else "yes" if printed == terms else "**no**"
        body.append([axis_value(ratio), str(terms), str(printed or NOTHING), same])
    shares = [[axis_value(ratio), *map(scientific, own["coefficient_error"])]
              for ratio, own in found.items()]  # fmt: skip
    same_count, compared = _agreement(frames)
    text = render(
        "claims-table-1",
        sentence=render("claims-table-1-sentence", same=same_count, compared=compared),
        table=table(["q = λi/λ1", "k, counted", "k, printed", "equal"], body),
        shares=table(["q \\ K", *map(str, COEFFICIENT_TERMS)], shares),
        figure=_figure_1(frames, found),
    )
    return [Chapter("Table 1 and Figure 1: how many terms the series needs (Eq. 14)", text)]


def _figure_1(frames: Frames, found: dict[float, dict[str, list[float]]]) -> str:
    """qᵏ over q and k: the exact function on a fine grid, with the counted terms as points."""
    k, q = np.meshgrid(np.linspace(1, 100, 200), np.linspace(0.1, 0.999, 200))
    picture, (shades, contour) = panels(2, 4.8, 3.8)
    mesh = shades.pcolormesh(k, q, q**k, cmap="cividis", vmin=0, vmax=1, shading="gouraud")
    picture.colorbar(mesh, ax=shades, label="qᵏ")
    shades.set(xlabel="k, iterations", ylabel="q = λi/λ1", title="(a) qᵏ")
    lines = contour.contour(k, q, q**k, levels=[0.01, 0.05, 0.2, 0.4, 0.6, 0.8], cmap="cividis")
    contour.clabel(lines, fmt="%g", fontsize=7)
    terms = {ratio: own["least_terms"][0] for ratio, own in found.items()}
    shown = {ratio: count for ratio, count in terms.items() if count <= 100}
    contour.plot(list(shown.values()), list(shown), "k.", label="least k with qᵏ ≤ 0.05, counted")
    contour.set(
        xlabel="k, iterations", ylabel="q = λi/λ1", xlim=(1, 100), title="(b) contours of qᵏ"
    )
    contour.legend(fontsize=8, loc="lower right")
    link = save(picture, frames.folder, "figure-1")
    return figure(link, "Figure 1 of the paper, computed: qᵏ over the ratio q and the power k")
