"""The opening of a stability report: who is right in which situation, and what to use."""

from __future__ import annotations

import itertools
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl

from eigbench.kinds.stability import StabilityCase
from eigbench.report import judgement, situations
from eigbench.report.chapters import accuracy, claims, properties
from eigbench.report.chapters.profile import function_times
from eigbench.report.costs import Costs
from eigbench.report.frame import Frames, comparable, values_of
from eigbench.report.judgement import (
    Advice,
    Standing,
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
    cosine,
    percent,
    significant,
    span,
)
from eigbench.report.plots import SMALL_SET, legend_below, panels, save, style
from eigbench.report.render import Chapter, Part, figure, render, table

PAPERS = ("svd", "pi", "hybrid", "spectral")
"""What the paper is about: SVD, power iteration, its hybrid; and the exact gradient of f(M)."""

TITLES = {"svd": "SVD", "pi": "PI", "hybrid": "hybrid", "spectral": "exact rule (`spectral`)"}
REFERENCE = "spectral"
ENOUGH_PAIRS = 6
"""With fewer matrices McNemar's test shows no difference, whatever it finds: 2 · 0.5⁵ > 0.05."""


def part(frames: Frames) -> Part | None:
    """The part of a report that is about stability; None if nothing of it was measured."""
    if frames.usual.is_empty():
        return _nothing(frames) or claims.of_series(frames)
    frame, left_out = _settled(frames)
    verdicts = judged(frame)
    times = function_times(frames)
    loss, dtype = _main(frame)
    at = (pl.col("loss") == loss) & (pl.col("dtype") == dtype)
    main = verdicts.filter(at)
    shown = _shown(values_of(main, "contestant"))
    of_dtype = verdicts.filter(pl.col("dtype") == dtype)
    advice = advise(of_dtype, whitens_otherwise(frame), _slower(frames))
    sentences = _sentences(verdicts, loss, dtype, shown)
    head = render(
        "stability",
        picture=_picture(frames, frame.filter(at), shown) if len(main) else "",
        table=_table(frames, main, shown, times) if len(main) else "",
        loss=loss,
        dtype=dtype,
        epsilon=situations.usual_epsilon(frames.usual),
        has_scaled=situations.SCALED in situations.present(main),
        has_times=len(times) > 0,
        lost=(main["finite"] < 1).any(),
        has_sizes=main["lost_d"].is_not_null().any(),
        more_right=[one for one in advice if one.more_right],
        sentences=sentences,
        advice=_advice_table(advice) if advice else "",
        has_truncated="whitening-truncated" in values_of(frame, "loss"),
        nearly_all=judgement.NEARLY_ALL,
        sound=judgement.SOUND,
        left_out=left_out,
        timed=_timed(times),
    )
    chapters = [
        *accuracy.chapters(frames, frame, verdicts, shown, dtype),
        _every_method(advice, times),
        _trade_off(frames, advice, times),
        *properties.chapters(frames, frame),
        *claims.chapters(frames, frame),
    ]
    return Part(
        title="Stability and accuracy",
        head=head,
        chapters=[chapter for chapter in chapters if chapter is not None],
        summary=[_plain(sentence) for sentence in [*sentences, *_advised(advice)]],
    )


def _nothing(frames: Frames) -> Part | None:
    """What is said where every stability case was skipped; None if there is none at all."""
    skipped = frames.records(StabilityCase, "skipped")
    if not skipped:
        return None
    reasons = Counter(record.reason or "no reason recorded" for _, record in skipped)
    head = render("stability-nothing", n=len(skipped), reasons=reasons.most_common(3))
    summary = [_plain(line) for line in head.splitlines() if line]
    return Part("Stability and accuracy", head, claims.table_1(frames), summary)


def _settled(frames: Frames) -> tuple[pl.DataFrame, list[str]]:
    """The rows on which contestants are compared, loss by loss, and who was left out of all."""
    parts = [comparable(own) for _, own in frames.usual.group_by("loss", maintain_order=True)]
    frame = pl.concat([rows for rows, _ in parts])
    return frame, [m for m in values_of(frames.usual, "method")
                   if m not in values_of(frame, "method")]  # fmt: skip


def _main(frame: pl.DataFrame) -> tuple[str, str]:
    """The loss and precision of the opening: whitening in float32, or the first that there are."""
    losses, dtypes = values_of(frame, "loss"), values_of(frame, "dtype")
    return (
        "whitening" if "whitening" in losses else losses[0],
        "float32" if "float32" in dtypes else dtypes[0],
    )


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


def _table(frames: Frames, main: pl.DataFrame, shown: Sequence[str], times: pl.DataFrame) -> str:
    """Situations down, methods across, and the time last."""
    body = []
    for name in situations.present(main):
        rows = {row["contestant"]: row
                for row in main.filter(pl.col("situation") == name).to_dicts()}  # fmt: skip
        cells = (accuracy.share_cell(rows[one]) if one in rows else NOTHING for one in shown)
        body.append([f"{name} ({max(row['n'] for row in rows.values())})", *cells])
    body.append(["*time over `torch.linalg.eigh`*", *(_time(times, method) for method in shown)])
    heads = [_title(frames, method) for method in shown]
    return table(["situation (matrices)", *heads], body)


def _title(frames: Frames, method: str) -> str:
    """A method as the head of a column, with its K."""
    own = frames.usual.filter(pl.col("contestant") == method)["iterations"].drop_nulls()
    K = f", K = {own[0]}" if len(own) else ""
    return TITLES.get(method, f"`{method}`") + K


def _time(times: pl.DataFrame, method: str) -> str:
    """From the least to the largest median ratio over sizes and batches; ≈ if any is noisy."""
    own = times.filter(pl.col("method") == method) if len(times) else times
    if own.is_empty():
        return NOTHING
    mark = NOISY_MARK if own["noisy"].any() else ""
    return mark + span(own["ratio"].to_list(), lambda ratio: significant(ratio, 2))


def _timed(times: pl.DataFrame) -> str:
    """What the times are of."""
    if times.is_empty():
        return ""
    sizes = ", ".join(map(axis_value, values_of(times, "d")))
    batches = ", ".join(map(axis_value, values_of(times, "batch")))
    what = "⟨W, M^(−1/2)⟩" if "whitening" in values_of(times, "subject") else "the decomposition"
    return f"{what}, forward and backward, d = {sizes}, batch {batches}"


def _slower(frames: Frames) -> dict[tuple[str, str], bool]:
    """Whether one method is shown to take more time than another in every workload of both."""
    if frames.profiles.is_empty():
        return {}
    costs = Costs(frames)
    timed = costs.timed
    subject = "whitening" if "whitening" in values_of(timed, "subject") else "operation"
    own = timed.filter((pl.col("subject") == subject) & ~pl.col("reference"))
    by_method = {
        str(name): dict(rows.select("workload", "id").iter_rows())
        for (name,), rows in own.group_by("contestant", maintain_order=True)
    }
    found = {}
    for (one, mine), (other, theirs) in itertools.permutations(by_method.items(), 2):
        shared = [workload for workload in mine if workload in theirs]
        found[one, other] = bool(shared) and all(
            costs.is_slower(mine[workload], theirs[workload]) for workload in shared
        )
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


def _advice_table(advice: Sequence[Advice]) -> str:
    body = []
    for one in advice:
        best = f"none is dependable; the best: {_named(one.best)}"
        few = f"too few matrices to say ({judgement.ENOUGH} are needed)"
        body.append([
            one.use.depends_on,
            (_named(one.recommended) or best) if one.enough else few,
            _named([*one.slower, *one.less_right]) or NOTHING,
            _worst((one.recommended or one.best)[0]),
            str(one.matrices),
        ])  # fmt: skip
    headers = ["your loss depends on", "use", "dependable too", "worst situation of the first",
               "matrices"]  # fmt: skip
    return table(headers, body)


def _named(some: Sequence[Standing]) -> str:
    return ", ".join(f"`{one.contestant}`" for one in some)


def _worst(one: Standing) -> str:
    row = one.worst
    if row["right"] == 1:
        return "all within 1 %"
    return (
        f"{row['situation']}: {percent(row['right'])} of {row['n']} within 1 %, "
        f"{percent(row['sound'])} within 10 %"
    )


def _advised(advice: Sequence[Advice]) -> list[str]:
    return [
        f"For {one.use.depends_on} use {_named(one.recommended) or 'none of these'}."
        for one in advice
        if one.enough
    ]


def _every_method(advice: Sequence[Advice], times: pl.DataFrame) -> Chapter | None:
    """Why a method is recommended or not, for each use."""
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
            [f"`{standing.contestant}`", group, _because(standing),
             _time(times, standing.contestant)]
            for group, some in groups.items()
            for standing in some
            # The others have stood under M^(−1/2) already.
            if not one.use.whitening_matrix or standing.dependable
        ]  # fmt: skip
        headers = ["method", "judgement", "because", "time"]
        parts.append({"title": one.use.depends_on, "table": table(headers, body)})
    if not parts:
        return None
    return Chapter(
        "Every method, by what your loss depends on",
        render("stability-every", parts=parts, sound=judgement.SOUND, timed=_timed(times),
               nearly_all=judgement.NEARLY_ALL),
    )  # fmt: skip


def _because(one: Standing) -> str:
    """The worst situation of a dependable method; what speaks against any other."""
    if one.dependable:
        return _worst(one)
    classes = sum(row["classes"] for row in one.rows)
    reasons = [f"{one.failing} of {classes} classes fail"] if one.failing else []
    row = one.misleading or min(one.rows, key=lambda row: row["sound"])
    if row["finite"] < 0.5:
        what = f"{percent(1 - row['finite'])} of {row['n']} not finite"
    elif one.misleading:
        what = f"points away, cosine {cosine(row['cosine'])} ({row['n']})"
    else:
        what = f"{percent(row['sound'])} of {row['n']} within 10 %"
    return "; ".join([*reasons, f"{row['situation']}: {what}"])


def _trade_off(frames: Frames, advice: Sequence[Advice], times: pl.DataFrame) -> Chapter | None:
    """How sound each method is in its worst situation, against its time; the front is a line."""
    found: dict[str, list[tuple[str, float, float]]] = {}
    for one in advice:
        points = [
            (standing.contestant, ratio, 100 * standing.sound)
            for standing in one.everyone
            if (ratio := _middle_time(times, standing.contestant)) is not None
        ]
        if len(points) > 1 and not one.use.whitening_matrix:
            found[one.use.loss] = points
    if not found:
        return None
    picture, axes = panels(len(found), 3.9, 2.8, same=True)
    for panel, (loss, points) in zip(axes, found.items(), strict=True):
        front = _front(points)
        panel.plot([x for _, x, _ in front], [y for *_, y in front], color="0.7", zorder=0)
        named = {*PAPERS, *(name for name, *_ in front)}
        for name, x, y in points:
            known = len(points) <= SMALL_SET or name in named
            look = {**style(name), "label": name} if known else {"color": "0.75", "marker": "."}
            panel.plot([x], [y], **{**look, "linestyle": "none"})
        panel.set(xscale="log", ylim=(-5, 105))
        panel.set_title(loss, fontsize=9)
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100)
             if axes[0].get_xlim()[0] < tick < axes[0].get_xlim()[1]]  # fmt: skip
    axes[0].set_xticks(ticks, map(axis_value, ticks))
    axes[0].set_xticks([], minor=True)
    for panel in axes[-3:]:
        panel.set_xlabel("time over torch.linalg.eigh", fontsize=8)
    picture.supylabel("within 10 % in the worst situation, % of matrices", fontsize=8)
    legend_below(picture, axes)
    link = save(picture, frames.folder, "trade-off")
    alt = "Share within 10 % in the worst situation against time, a panel a loss"
    body = [[loss, ", ".join(f"`{name}`" for name, *_ in _front(points))]
            for loss, points in found.items()]  # fmt: skip
    text = render("stability-trade-off", figure=figure(link, alt), timed=_timed(times),
                  table=table(["loss", "not dominated"], body))  # fmt: skip
    return Chapter("Soundness against time", text)


def _middle_time(times: pl.DataFrame, method: str) -> float | None:
    """The median over sizes and batches of a method's median ratio."""
    own = times.filter(pl.col("method") == method)["ratio"].to_list() if len(times) else []
    return statistics.median(own) if own else None


def _front(points: Sequence[tuple[str, Any, float]]) -> list[tuple[str, Any, float]]:
    """The points that no other is as good as in both and better in one, fastest first."""
    return sorted(
        (one for one in points
         if not any(other[1] <= one[1] and other[2] >= one[2] and other[1:] != one[1:]
                    for other in points)),
        key=lambda point: (point[1], point[2]),
    )  # fmt: skip


def _plain(sentence: str) -> str:
    return sentence.replace("**", "").replace("`", "")
