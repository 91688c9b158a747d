"""The opening of a stability report: who is right in which situation, and what to use."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import polars as pl

from eigbench.kinds.stability import StabilityCase
from eigbench.report import judgement, situations
from eigbench.report.chapters import accuracy, claims, properties
from eigbench.report.chapters.profile import function_times
from eigbench.report.costs import SUBJECTS, costs_of
from eigbench.report.frame import Frames, comparable, values_of
from eigbench.report.judgement import (
    Advice,
    advise,
    differences,
    judged,
    standings,
    whitens_otherwise,
)
from eigbench.report.numbers import (
    NOISY_MARK,
    NOTHING,
    axis_value,
    significant,
    span,
)
from eigbench.report.plots import SMALL_SET, legend_below, panels, save, style
from eigbench.report.render import Chapter, Part, figure, render, table

PAPERS = ("svd", "pi", "hybrid", "spectral", "spectral-float64")
"""What the paper is about: SVD, power iteration, its hybrid; and the exact gradient of f(M)."""

TITLES = {"svd": "SVD", "pi": "PI", "hybrid": "hybrid", "spectral": "exact rule (`spectral`)",
          "spectral-float64": "the same, in float64 inside"}  # fmt: skip
REFERENCE = "spectral"
ENOUGH_PAIRS = 6
"""With fewer matrices McNemar's test shows no difference, whatever it finds: 2 · 0.5⁵ > 0.05."""


def part(frames: Frames) -> Part | None:
    """The part of a report that is about stability; None if nothing of it was measured."""
    usual = frames.usual
    if usual.is_empty():
        return _nothing(frames) or claims.of_series(frames)
    by_loss = usual.partition_by("loss", maintain_order=True)
    frame = pl.concat([comparable(own)[0] for own in by_loss])
    verdicts = judged(frame)
    loss, dtype = (
        usual_one if usual_one in values_of(frame, axis) else values_of(frame, axis)[0]
        for axis, usual_one in (("loss", "whitening"), ("dtype", "float32"))
    )
    at = (pl.col("loss") == loss) & (pl.col("dtype") == dtype)
    main = verdicts.filter(at)
    shown = _shown(values_of(main, "contestant"))
    times = function_times(frames)
    written = _written(times)
    of_dtype = verdicts.filter(pl.col("dtype") == dtype)
    advice = advise(of_dtype, whitens_otherwise(frame), _slower(frames))
    sentences = _sentences(verdicts, loss, dtype, shown)
    uses = [
        [one.use.depends_on, *render("stability-use", one=one, few=judgement.ENOUGH).split("\n"),
         str(one.matrices)]
        for one in advice
    ]  # fmt: skip
    headers = ["your loss depends on", "use", "dependable too", "worst situation of the first",
               "matrices"]  # fmt: skip
    head = render(
        "stability",
        picture=_picture(frames, frame.filter(at), shown) if len(main) else "",
        table=_table(frames, main, shown, written) if len(main) else "",
        loss=loss,
        dtype=dtype,
        epsilon=situations.usual_epsilon(usual),
        has_scaled=situations.SCALED in situations.present(main),
        lost=(main["finite"] < 1).any(),
        has_sizes=main["lost_d"].is_not_null().any(),
        more_right=[one for one in advice if one.more_right],
        sentences=sentences,
        advice=table(headers, uses) if uses else "",
        has_truncated="whitening-truncated" in values_of(frame, "loss"),
        nearly_all=judgement.NEARLY_ALL,
        sound=judgement.SOUND,
        left_out=[m for m in values_of(usual, "method") if m not in values_of(frame, "method")],
        timed=_timed(times),
    )
    chapters = [
        *accuracy.chapters(frames, frame, verdicts, shown, dtype),
        _every_method(advice, times),
        _trade_off(frames, advice, times),
        *properties.chapters(frames, frame),
        *claims.chapters(frames, frame),
    ]
    advised = (f"If your loss depends on {use.split(':')[0]}: {which}." for use, which, *_ in uses)
    return Part(
        title="Stability and accuracy",
        head=head,
        chapters=[chapter for chapter in chapters if chapter is not None],
        sentences=[*sentences, *advised],
    )


def _nothing(frames: Frames) -> Part | None:
    """What is said where every stability case was skipped; None if there is none at all."""
    skipped = frames.records(StabilityCase, "skipped")
    if not skipped:
        return None
    reasons = Counter(record.reason or "no reason recorded" for _, record in skipped)
    head = render("stability-nothing", n=len(skipped), reasons=reasons.most_common(3))
    sentences = [line for line in head.splitlines() if line]
    return Part("Stability and accuracy", head, claims.table_1(frames), sentences)


def _shown(contestants: Sequence[str]) -> list[str]:
    """The four of the paper's question; with fewer than two of them, the first of the run."""
    papers = [name for name in PAPERS if name in contestants]
    return papers if len(papers) > 1 else [*contestants[: SMALL_SET - 1]]


def _picture(frames: Frames, own: pl.DataFrame, shown: Sequence[str]) -> str:
    """A performance profile for each situation."""
    link = accuracy.profiles(frames, own.filter(pl.col("contestant").is_in(shown)),
                             ("situation", "contestant"), 4)  # fmt: skip
    return figure(
        link,
        f"Share of matrices by the error of the gradient, for {', '.join(shown)}",
        f"A panel a situation (matrices). The further left and the higher a curve, the better. A "
        f"curve that ends below 100 % was not finite for the rest, or off by more than "
        f"{axis_value(accuracy.CEILING)}. The line is 1 %.",
    )


def _table(
    frames: Frames, main: pl.DataFrame, shown: Sequence[str], times: Mapping[str, str]
) -> str:
    """Situations down, methods with their K across, and the time last."""
    K = dict(frames.usual.drop_nulls("iterations").select("contestant", "iterations").iter_rows())
    heads = [TITLES.get(one, f"`{one}`") + (f", K = {K[one]}" if one in K else "") for one in shown]
    body = []
    for name in situations.present(main):
        own = main.filter(pl.col("situation") == name).to_dicts()
        rows = {row["contestant"]: row for row in own}
        cells = (accuracy.share_cell(rows[one]) if one in rows else NOTHING for one in shown)
        body.append([f"{name} ({own[0]['n']})", *cells])
    body.append(["*time over `torch.linalg.eigh`*", *(times.get(one, NOTHING) for one in shown)])
    return table(["situation (matrices)", *heads], body)


def _written(times: pl.DataFrame) -> dict[str, str]:
    """By method from the least to the largest median ratio of any workload; ≈ if one is noisy."""
    return {
        own["method"][0]: (NOISY_MARK if own["noisy"].any() else "")
        + span(own["ratio"].to_list(), lambda ratio: significant(ratio, 2))
        for own in times.partition_by("method", maintain_order=True)
    }


def _timed(times: pl.DataFrame) -> str:
    """What the times are of."""
    if times.is_empty():
        return ""
    sizes, batches = (", ".join(map(axis_value, values_of(times, axis))) for axis in ("d", "batch"))
    what = "⟨W, M^(−1/2)⟩" if "whitening" in values_of(times, "subject") else "the decomposition"
    return f"{what}, forward and backward, d = {sizes}, batch {batches}"


def _slower(frames: Frames) -> dict[tuple[str, str], bool]:
    """Whether one method is shown to take more time than another in every workload of both."""
    costs = costs_of(frames)
    own = costs.timed.filter(~pl.col("reference"), pl.col("subject").is_in(SUBJECTS[:2]))
    own = own.filter(pl.col("subject") == pl.col("subject").first())
    own = own.select("workload", pl.col("contestant").cast(pl.String), "id")
    found: dict[tuple[str, str], bool] = {}
    for _, one, key, other, other_key in own.join(own, on="workload", suffix="_other").iter_rows():
        found[one, other] = found.get((one, other), True) and costs.is_slower(key, other_key)
    return found


def _sentences(verdicts: pl.DataFrame, loss: str, dtype: str, shown: Sequence[str]) -> list[str]:
    """What each method does; where SVD is as right as the exact gradient; where float64 helps."""
    own = verdicts.filter(pl.col("loss") == loss)
    found = {one.contestant: one for one in standings(own.filter(pl.col("dtype") == dtype))}
    double = own.filter((pl.col("dtype") == "float64") & (pl.col("contestant") == REFERENCE))
    pair = [(found["svd"], found[REFERENCE])] if {"svd", REFERENCE} <= set(shown) else []
    text = render(
        "stability-sentences",
        standings=[found[name] for name in shown],
        same=[where for _, where, decision in differences(pair) if not decision.shown],
        enough=ENOUGH_PAIRS,
        double={row["situation"]: row for row in double.to_dicts()} if dtype != "float64" else {},
        reference=REFERENCE,
    )
    return [re.sub(r"\s+", " ", line).strip() for line in text.split("\n\n") if line.strip()]


def _every_method(advice: Sequence[Advice], times: pl.DataFrame) -> Chapter | None:
    """Why a method is recommended or not, for each use."""
    written = _written(times)
    parts = []
    for one in advice:
        groups = {
            "recommended": one.recommended,
            "dependable, slower": one.slower,
            "dependable, less often right": one.less_right,
            "not dependable": one.others,
            "avoid": one.avoid,
        }
        body = [
            [f"`{standing.contestant}`", group, render("stability-because", one=standing),
             written.get(standing.contestant, NOTHING)]
            for group, some in groups.items()
            for standing in some
            # The others have stood under M^(−1/2) already.
            if not one.use.whitening_matrix or standing.dependable
        ]  # fmt: skip
        headers = ["method", "judgement", "because", "time"]
        parts.append({"title": one.use.depends_on, "table": table(headers, body)})
    if not parts:
        return None
    text = render("stability-every", parts=parts, sound=judgement.SOUND, timed=_timed(times),
                  nearly_all=judgement.NEARLY_ALL)  # fmt: skip
    return Chapter("Every method, by what your loss depends on", text)


def _trade_off(frames: Frames, advice: Sequence[Advice], times: pl.DataFrame) -> Chapter | None:
    """How sound each method is in its worst situation, against its median time."""
    ratios = dict(times.group_by("method").agg(pl.col("ratio").median()).iter_rows())
    found = {
        one.use.loss: {
            standing.contestant: (ratios[standing.contestant], 100 * standing.sound)
            for standing in one.everyone
            if standing.contestant in ratios
        }
        for one in advice
        if not one.use.whitening_matrix
    }
    found = {loss: points for loss, points in found.items() if len(points) > 1}
    if not found:
        return None
    picture, axes = panels(len(found), 3.9, 2.8, same=True)
    body = []
    for panel, (loss, points) in zip(axes, found.items(), strict=True):
        front = _front(points)
        body.append([loss, ", ".join(f"`{name}`" for name in front)])
        panel.plot(*zip(*(points[name] for name in front), strict=True), color="0.7", zorder=0)
        for name, (x, y) in points.items():
            known = len(points) <= SMALL_SET or name in (*PAPERS, *front)
            look = {**style(name), "label": name} if known else {"color": "0.75", "marker": "."}
            panel.plot([x], [y], **{**look, "linestyle": "none"})
        panel.set(xscale="log", ylim=(-5, 105))
        panel.set_title(loss, fontsize=9)
    low, high = axes[0].get_xlim()
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100) if low < tick < high]
    axes[0].set_xticks(ticks, map(axis_value, ticks))
    for panel in axes[-3:]:
        panel.set_xlabel("time over torch.linalg.eigh", fontsize=8)
        panel.tick_params(labelbottom=True)
    picture.supylabel("within 10 % in the worst situation, % of matrices", fontsize=8)
    legend_below(picture, axes)
    link = save(picture, frames.folder, "trade-off")
    alt = "Share within 10 % in the worst situation against time, a panel a loss"
    text = render("stability-trade-off", figure=figure(link, alt), timed=_timed(times),
                  table=table(["loss", "not dominated"], body))  # fmt: skip
    return Chapter("Soundness against time", text)


def _front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Those that no other is as good as in both and better in one, fastest first."""
    return sorted(
        (name for name, (x, y) in points.items()
         if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in points.values())),
        key=points.__getitem__,
    )  # fmt: skip
