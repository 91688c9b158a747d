"""The claims of the paper's section 2, one by one, with what was measured of each."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from eigbench.algorithm_1 import ITERATIONS
from eigbench.kinds.series import COEFFICIENT_TERMS, SeriesCase
from eigbench.kinds.stability import StabilityCase
from eigbench.report import situations
from eigbench.report.chapters.accuracy import low_rank, one_gap, share_table
from eigbench.report.frame import POINT, Frames, metric, values_of
from eigbench.report.judgement import judged
from eigbench.report.names import setting
from eigbench.report.numbers import NOTHING, axis_value, percent, scientific
from eigbench.report.paper import NEIGHBOUR_RATIO, TABLE_1
from eigbench.report.plots import legend_below, panels, save
from eigbench.report.render import Chapter, Part, details, figure, pivot, render, table

THRESHOLD = 0.05
"""Of Eq. 14: a power of the ratio that the paper takes for 0."""
METHODS = ("eigh", "svd", "pi", "hybrid", "hybrid-loop", "hybrid-eq10", "spectral")
"""Of which the paper speaks, and the exact gradient of functions of M."""


def chapters(frames: Frames, frame: pl.DataFrame) -> list[Chapter | None]:
    """One chapter of the claims about gradients, each of which is folded; one of Table 1."""
    frame = _of_paper(frame)
    tests = {
        "The forward pass of a decomposition is stable and accurate; that of power iteration is "
        "not (§2)": _forward(frames, frame),
        "Power iteration depends on the number of iterations and on the random start (§2)":
            _starts(frames.every_stability),
        "When eigenvalues come close, the analytic gradient becomes very large (Eq. 1)":
            _explosion(frame),
        "As K grows, the gradient tends to the analytic one (Eq. 7)": _limit(frames),
        "∂L/∂λ can be ignored (Eq. 10)": _without_values(frames.usual),
        "The bound: the gradient is at most nK/λmin ≤ nK/ε (Eq. 12, 13)":
            _bound(frame, frames.iterations),
        "qᴷ ≤ 0.05 is a good approximation to qᴷ = 0 (§2.4)": _closing_pair(frame),
        "The mean ratio of neighbouring eigenvalues on CIFAR-10 is 0.84 to 0.86 (§2.4)":
            _ratios(frame),
        "With ε added every eigenvalue should be ≥ ε; in single precision some are not (§2.5)":
            _below_epsilon(frame),
        "Hence the truncation of Algorithm 1 (§2.5)": _truncation(frame),
        "The gradient is reproducible up to rounding (§1, §2.5)": _reproducible(frame),
    }  # fmt: skip
    body = "\n\n".join(details(title, text) for title, text in tests.items() if text)
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
    sentence = _agreement(_series(frames))
    return Part("Table 1 of the paper", sentence, chapters_of, [sentence])


def _at(frame: pl.DataFrame, **axes: object) -> pl.DataFrame:
    return frame.filter(*(pl.col(name) == value for name, value in axes.items()))


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Whitening at the paper's ε and scale 1."""
    return _at(frame, loss="whitening", scale=1.0, epsilon=situations.EPSILON)


def _by_gap(frame: pl.DataFrame, name: str) -> str:
    median = pl.col(name).fill_nan(math.inf).median()
    return pivot(frame, ("contestant", "gap"), median, corner="method \\ gap")


def _forward(frames: Frames, frame: pl.DataFrame) -> str:
    own = _at(_plain(frame), dtype="float32")
    own = own.filter(metric(own, "forward_residual").is_not_null())
    if own.is_empty():
        return ""
    worst = pl.col("forward_residual").fill_nan(math.inf).max()
    failed = len(frames.records(StabilityCase, "failed"))
    return render("claims-forward", table=pivot(own, ("method", "d"), worst), failed=failed,
                  measured=len(frames.records(StabilityCase, "measured")))  # fmt: skip


def _starts(frame: pl.DataFrame) -> str:
    own = _at(frame, method="pi", loss="whitening", spectrum="gap")
    keys = ["d", "gap", "dtype", "epsilon", "scale", "iterations"]
    own = own.filter(pl.col("start").n_unique().over(keys) > 1)
    if own.is_empty():
        return ""
    middles = own.group_by("iterations", "start").agg(
        pl.col("forward_residual").fill_nan(math.inf).median().alias("residual"),
        pl.col("error").median(),
    )
    ends = middles.group_by("iterations").agg(
        pl.len(), pl.col("residual").min(), pl.col("residual").max().alias("most residual"),
        pl.col("error").min(), pl.col("error").max().alias("most error"),
    ).sort("iterations")  # fmt: skip
    body = [[str(K), str(n), *map(scientific, numbers)] for K, n, *numbers in ends.iter_rows()]
    headers = ["K", "starts", "least residual", "largest", "least error", "largest"]
    return render("claims-starts", table=table(headers, body),
                  where=setting(own, ("d", "gap", "dtype")))  # fmt: skip


def _explosion(frame: pl.DataFrame) -> str:
    parts = []
    for loss in ("closing-eigenvector", "whitening"):
        own = one_gap(_at(frame, loss=loss, dtype="float32"))
        if own.is_empty():
            continue
        truth = own.unique(["gap", "matrix"], keep="first", maintain_order=True).with_columns(
            contestant=pl.lit("*exact*"), gradient_norm="exact_gradient_norm"
        )
        own = own.filter(pl.col("method").is_in(("svd", "pi", "hybrid")))
        norms = _by_gap(pl.concat([truth, own], how="vertical_relaxed"), "gradient_norm")
        parts.append({"loss": loss, "d": truth["d"][0], "table": norms})
    return render("claims-explosion", parts=parts) if parts else ""


def _limit(frames: Frames) -> str:
    """Error of `pi` and `hybrid` by K and gap, at the size and precision with the most K."""
    own = _at(frames.stability, loss="whitening", spectrum="gap", scale=1.0)
    own = own.filter(pl.col("method").is_in(("pi", "hybrid")))
    own = own.with_columns(
        several=pl.col("iterations").n_unique().over("d", "dtype"),
        at_gap=pl.col("iterations").n_unique().over("d", "dtype", "gap"),
    ).filter(pl.col("at_gap") > 2)
    if own.is_empty():
        return ""
    best = own.sort("several", "d", descending=True, maintain_order=True).row(0, named=True)
    own = _at(own, d=best["d"], dtype=best["dtype"])
    methods = values_of(own, "method")
    picture, axes = panels(len(methods), 4.4, 3.4, same=True)
    for panel, method in zip(axes, methods, strict=True):
        for place, gap in enumerate(values_of(own, "gap")):
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
    own = own.filter(pl.col("iterations") >= ITERATIONS)
    shown = figure(link, "Median error of whitening by K and gap", "The line is K = 19.")
    return render("claims-limit", where=setting(own, ("d", "dtype")), figure=shown,
                  table=_by_gap(own, "error"))  # fmt: skip


def _without_values(frame: pl.DataFrame) -> str:
    own = frame.filter(pl.col("method").is_in(("hybrid", "hybrid-eq10")))
    own = _at(own, dtype="float32").filter(pl.col("loss").is_in(("whitening", "square-root")))
    own = judged(own.filter(pl.col("method").n_unique().over(POINT) == 2))
    parts = [{"loss": rows["loss"][0], "table": share_table(rows)}
             for rows in own.partition_by("loss", maintain_order=True)]  # fmt: skip
    return render("claims-without-values", parts=parts) if parts else ""


def _bound(frame: pl.DataFrame, iterations: int) -> str:
    bound = metric(frame, "gradient_bound")
    own = frame.filter(pl.col("situation").is_not_null() & bound.is_finite() & (bound > 0))
    own = _at(own, method="hybrid", dtype="float32")
    if own.is_empty():
        return ""
    own = own.with_columns(
        ratio=(pl.col("gradient_norm") / pl.col("gradient_bound")).fill_nan(math.inf),
        beyond=pl.col("exact_gradient_norm") > pl.col("gradient_bound"),
    )
    own = own.sort(pl.col("situation").cast(pl.Enum(situations.NAMES)), maintain_order=True)
    outside = own.group_by("loss", "situation", maintain_order=True).agg(
        pl.len().alias("n"), pl.col("beyond").sum()
    )
    return render(
        "claims-bound",
        table=pivot(own, ("loss", "situation"), pl.col("ratio").median()),
        n=len(own),
        inside=len(own.filter(pl.col("ratio") <= 1)),
        largest=own["ratio"].max(),
        outside=outside.filter(pl.col("beyond") > 0).to_dicts(),
        iterations=iterations,
    )


def _closing_pair(frame: pl.DataFrame) -> str:
    own = _at(_plain(frame), spectrum="gap", dtype="float64").filter(pl.col("d") <= 8)
    own = own.filter(metric(own, "closing_pair_ratio").is_not_null())
    own = own.filter(pl.col("d") == pl.col("d").max())
    if len(values_of(own, "gap")) < 2:
        return ""
    return render(
        "claims-closing-pair",
        d=own["d"][0],
        threshold=THRESHOLD,
        table=_by_gap(own, "closing_pair_ratio"),
    )


def _ratios(frame: pl.DataFrame) -> str:
    own = _at(_plain(frame), dtype="float32").filter(pl.col("spectrum").is_in(situations.REAL))
    if own.is_empty():
        return ""
    each = own.unique(["spectrum", "d", "matrix"], keep="first", maintain_order=True)
    middles = (metric(each, name).alias(name).median() for name in
               ("mean_neighbour_ratio", "smallest_relative_gap", "condition_number"))  # fmt: skip
    rows = each.group_by("spectrum", "d").agg(pl.len(), *middles).sort("spectrum", "d")
    body = [[spectrum, str(d), str(n), *map(scientific, numbers)]
            for spectrum, d, n, *numbers in rows.iter_rows()]  # fmt: skip
    headers = ["real covariances", "d", "matrices", "mean ratio", "smallest relative gap",
               "condition number"]  # fmt: skip
    return render("claims-ratios", table=table(headers, body), printed=NEIGHBOUR_RATIO)


def _below_epsilon(frame: pl.DataFrame) -> str:
    own = _at(low_rank(frame), epsilon=situations.EPSILON)
    own = own.filter(metric(own, "eigenvalues_below_epsilon").is_not_null())
    if own.is_empty():
        return ""
    below = (pl.col("eigenvalues_below_epsilon") > 0).mean()
    return render("claims-below-epsilon", table=pivot(own, ("matrices", "method"), below, percent))


def _truncation(frame: pl.DataFrame) -> str:
    own = _plain(frame).filter(pl.col("method").is_in(("svd", "pi", "hybrid")))
    by = metric(own, "truncated_by").is_not_null()
    own = own.filter(pl.col("situation").is_not_null() & by)
    if own.is_empty():
        return ""
    counts = own.group_by("method").agg(
        pl.len(), pl.col("truncated_by").str.contains("Rayleigh").sum().alias("rayleigh")
    )  # fmt: skip
    kept = (pl.col("rank_kept") / pl.col("d")).median()
    shares = pivot(_at(own, dtype="float32"), ("situation", "method"), kept, percent)
    return render("claims-truncation", counts=counts.sort("method").to_dicts(), table=shares)


def _reproducible(frame: pl.DataFrame) -> str:
    own = one_gap(_at(frame, loss="whitening", dtype="float32"))
    if own.is_empty() or "disturbed_change" not in own.columns:
        return ""
    return render("claims-reproducible", d=own["d"][0], table=_by_gap(own, "disturbed_change"))


def _series(frames: Frames) -> dict[float, dict[str, list[float]]]:
    """The samples of each ratio, float64 where there is one."""
    found: dict[float, dict[str, list[float]]] = {}
    for case, record in frames.records(SeriesCase, "measured"):
        if case.ratio not in found or case.dtype == "float64":
            found[case.ratio] = {name: record.values(name) for name in record.samples}
    return dict(sorted(found.items()))


def _agreement(found: dict[float, dict[str, list[float]]]) -> str:
    """How many entries of Table 1 come out as printed, of how many: a sentence."""
    equal = [int(own["least_terms"][0]) == TABLE_1[ratio]
             for ratio, own in found.items() if ratio in TABLE_1]  # fmt: skip
    return render("claims-table-1-sentence", same=sum(equal), compared=len(equal))


def table_1(frames: Frames) -> list[Chapter]:
    """Table 1, the error that K terms leave, and Figure 1."""
    found = _series(frames)
    if not found:
        return []
    places = {terms: COEFFICIENT_TERMS.index(terms) for terms in (ITERATIONS, 100, 1000)}
    body = [
        [axis_value(ratio), str(int(own["least_terms"][0])), str(TABLE_1.get(ratio, NOTHING)),
         *(scientific(own["coefficient_error"][place]) for place in places.values())]
        for ratio, own in found.items()
    ]  # fmt: skip
    left = (f"K = {terms}" for terms in places)
    text = render(
        "claims-table-1",
        sentence=_agreement(found),
        table=table(["q = λi/λ1", "k, counted", "k, printed", *left], body),
        figure=_figure_1(frames, found),
    )
    return [Chapter("Table 1 and Figure 1: how many terms the series needs (Eq. 14)", text)]


def _figure_1(frames: Frames, found: dict[float, dict[str, list[float]]]) -> str:
    """qᵏ over q and k: the exact function on a fine grid, with the counted terms as points."""
    k, q = np.meshgrid(np.linspace(1, 100, 200), np.linspace(0.1, 0.999, 200))
    picture, (shades, contour) = panels(2, 4.8, 3.8)
    image = shades.imshow(q**k, cmap="cividis", vmin=0, vmax=1, origin="lower", aspect="auto",
                          extent=(1, 100, 0.1, 0.999))  # fmt: skip
    picture.colorbar(image, ax=shades, label="qᵏ")
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
