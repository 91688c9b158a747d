"""What each method costs: the head of a report of profiles, a chapter a subject, what was lost."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
from matplotlib.ticker import LogLocator, MaxNLocator

from eigbench.kinds.profile import ProfileCase
from eigbench.report import names, paper, stats
from eigbench.report.chapters import traces
from eigbench.report.costs import PASSES, SUBJECTS, Costs, costs_of, reference_of, title
from eigbench.report.frame import Frames, values_of
from eigbench.report.numbers import (
    NOTHING,
    amount,
    axis_value,
    count,
    interval_span,
    percentage,
    significant,
    span,
    supported,
    with_interval,
)  # fmt: skip
from eigbench.report.plots import legend_below, panels, save, style
from eigbench.report.render import Chapter, Part, both, render, table
from eigbench.report.stats import NOISY
from eigbench.runs.environment import Session

MILLI = 1e3
PANELS = {"d": ("dtype", "layout", "batch"), "batch": ("dtype", "layout", "d", "energy")}
"""Time is drawn by these axes, with a panel for each value of the others."""
LEAST_SIZES = 3
MOST_LINES = 12
"""More cannot be told apart in a panel: the first picture has them in rows."""


def part(frames: Frames) -> Part | None:
    """The part of a report that is about cost; None if a run has no profiles."""
    if not frames.records(ProfileCase):
        return None
    costs = costs_of(frames)
    sentences = _sentences(costs)
    head = render(
        "profile-head",
        sentences=sentences,
        picture=_picture(costs) if len(costs.compared) else "",
        table=_ranges(costs) if len(costs.compared) else "",
        subjects=values_of(costs.compared, "subject"),
    )
    chapters = [*_subjects(costs), traces.chapter(costs), _taken(costs), _undissected(costs)]
    return Part(
        title="Time and memory",
        head=head,
        chapters=[chapter for chapter in chapters if chapter is not None],
        sentences=sentences.splitlines(),
        banner=_machines(costs),
    )


def function_times(frames: Frames) -> pl.DataFrame:
    """The time of `⟨W, M^(−1/2)⟩`, forward and backward, over the reference's in the same rounds.

    A row a contestant (a method, with its K where that is not the suite's; not compiled), d and
    batch, of the first precision alone: `subject`, `method`, `dtype`, `d`, `batch`, `ratio`, `low`,
    `high`, `noisy`, `n_rounds`. Of subject "whitening"; in a run without it of "operation", the
    bare decomposition. References are left out. Empty, with its columns, if neither was measured.
    """
    own = costs_of(frames).compared
    own = own.filter(~pl.col("compiled"), pl.col("subject").is_in(SUBJECTS[:2]))
    return own.filter(pl.col(name) == pl.col(name).first() for name in ("subject", "dtype")).select(
        pl.col("subject").cast(pl.String), pl.col("contestant").cast(pl.String).alias("method"),
        pl.col("dtype").cast(pl.String), "d", "batch", "ratio", "low", "high", "noisy",
        pl.col("rounds").alias("n_rounds"),
    )  # fmt: skip


# The head: one picture, one table, some sentences.


def _picture(costs: Costs) -> str:
    """A panel a subject, a row a method, in it a point a workload with its interval."""
    groups = [own for _, own in costs.compared.group_by("subject", maintain_order=True)]
    most = max(own["workload"].n_unique() for own in groups)
    rows = max(own["contestant"].n_unique() for own in groups)
    figure, axes = panels(len(groups), width=4.2, height=1.3 + rows * (0.25 + 0.012 * most))
    for panel, own in zip(axes, groups, strict=True):
        methods = values_of(own, "contestant")
        for place, name in enumerate(methods):
            line = own.filter(contestant=name)
            gap = 0.8 / own["workload"].n_unique()
            at = [place + gap * (i - (len(line) - 1) / 2) for i in range(len(line))]
            look = _look(name) | {"linestyle": "none", "markersize": 4}
            panel.hlines(at, line["low"], line["high"], color=look["color"], linewidth=1.5)
            panel.plot(line["ratio"], at, **look)
        panel.axvline(1, color="black", linestyle=":", linewidth=1, zorder=0)
        panel.set(xscale="log", ylabel="method")
        panel.set_title(both(own["what"].unique(maintain_order=True)), fontsize=9)
        panel.set_xlabel(f"time over {reference_of(own['subject'][0])}")
        panel.set_yticks(range(len(methods)), methods, fontsize=8)
        panel.set_ylim(len(methods) - 0.4, -0.6)
        _plain(panel.xaxis)
    return save(figure, costs.frames.folder, "profile-ratios")


def _plain(axis: Any) -> None:
    """Plain numbers on a logarithmic axis of ratios, after it was drawn on."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(MaxNLocator(5) if high < 6 * low else LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")


def _look(name: str) -> dict[str, Any]:
    """A contestant's look: its method's; hollow and dotted where it is compiled."""
    own = style(name.removesuffix(", compiled"))
    if name.endswith(", compiled"):
        own |= {"markerfacecolor": "white", "linestyle": (0, (4, 1, 1, 1))}
    return own


def _ranges(costs: Costs) -> str:
    """Methods by subject: from the least to the largest ratio."""
    columns = [own for _, own in costs.compared.group_by("what", maintain_order=True)]
    heads = [f"{own['what'][0]} over `{reference_of(own['subject'][0])}`" for own in columns]
    body = []
    for name in values_of(costs.compared, "contestant"):
        lines = [own.filter(contestant=name)["id"] for own in columns]
        body.append([name, *(
            f"{interval_span(map(costs.ratios.get, line))} ({len(line)})" if len(line) else NOTHING
            for line in lines
        )])  # fmt: skip
    return table(["method", *heads], body)


def _sentences(costs: Costs) -> str:
    timed = costs.timed
    times = [one for key in timed["id"] if (one := costs.times[key])]
    statuses = costs.profiles["status"].value_counts(sort=True).iter_rows()
    return render(
        "profile-sentences",
        subjects=[_said(costs, own) for _, own in timed.filter(~pl.col("reference")).group_by(
            "subject", maintain_order=True)],
        machines=list(dict.fromkeys(
            (s.device, s.processor, s.torch_threads, s.logical_cores) for s in _sessions(costs))),
        rounds=span(map(float, timed["rounds"]), axis_value),
        times=len(times),
        noisy_times=sum(one.noisy for one in times),
        ratios=costs.compared.height,
        noisy_ratios=costs.compared["noisy"].sum(),
        limit=NOISY,
        same=_same(costs),
        lost=[(status, number) for status, number in statuses if status != "measured"],
        total=costs.profiles.height,
        undissected=costs.profiles["anatomy_failed"].count(),
    )  # fmt: skip


def _same(costs: Costs) -> tuple[float, int] | None:
    """How far apart a kernel and itself came out, on the worst machine; of how many comparisons."""
    found = []
    for key in dict(zip(costs.timed["session"], costs.timed["id"], strict=True)).values():
        ratios = costs.values(key, "self_ratio")
        known = ratios[np.isfinite(ratios) & (ratios > 0)].tolist()
        found += [(stats.resolution(known), len(known))] if known else []
    return max(found, default=None)


def _said(costs: Costs, methods: pl.DataFrame) -> dict[str, Any]:
    """What a sentence on one subject is made of."""
    known = [(key, ratio) for key in methods["id"] if (ratio := costs.ratios[key])]
    answers = [costs.decisions[key, ""].answer for key, _ in known]
    fastest: Counter[str] = Counter()
    slowest: Counter[str] = Counter()
    contests = [own for _, own in methods.group_by("workload", maintain_order=True)
                if own.height > 1]  # fmt: skip
    for own in contests:
        for key, name in own.select("id", "contestant").iter_rows():
            others = own.filter(pl.col("id") != key)["id"]
            fastest[name] += all(costs.is_slower(one, key) for one in others)
            slowest[name] += all(costs.is_slower(key, one) for one in others)
    return {
        "what": both(methods["what"].unique(maintain_order=True)),
        "reference": reference_of(methods["subject"][0]),
        "setting": setting(methods),
        "workloads": methods["workload"].n_unique(),
        "ratios": len(known),
        "untestable": answers.count("cannot be shown"),
        "unshown": answers.count("not shown"),
        "contests": len(contests),
        "fastest": (+fastest).most_common(),
        "slowest": (+slowest).most_common(),
    }


def setting(rows: pl.DataFrame) -> str:
    """What rows range over, such as "float32; d = 4 to 256; batch 1 to 256"."""
    d, energy, batch = (values_of(rows, axis) for axis in ("d", "energy", "batch"))
    sizes = [f"d = {span(map(float, d), axis_value)}"] if d else []
    sizes += [f"{span(energy, percentage)} kept"] if energy else []
    dtypes, layouts = (values_of(rows, axis) for axis in ("dtype", "layout"))
    lying = [", ".join(layouts)] if layouts != ["contiguous"] else []
    batches = f"batch {span(map(float, batch), axis_value)}"
    return "; ".join([", ".join(dtypes), *lying, *sizes, batches])


# Chapters.


def _subjects(costs: Costs) -> list[Chapter]:
    """A chapter a subject: how its time grows, and a row a profile."""
    found = []
    for (what,), own in costs.profiles.group_by("what", maintain_order=True):
        rows = own.filter(pl.col("status").is_in(["measured", "failed"])).unique(
            ["workload", "contestant"], keep="first", maintain_order=True)  # fmt: skip
        if rows["time"].null_count() == rows.height:
            continue
        compared = costs.compared.filter(what=what)
        body = render(
            "profile-times",
            what=what,
            setting=setting(rows),
            reference=reference_of(rows["subject"][0]),
            pictures=[(names.label(axis), link) for axis in PANELS
                      if (link := _growth(costs, compared, axis))],
            table=_table(costs, rows),
            paper=paper if f"hybrid, K = {paper.STEP_ITERATIONS}" in rows["contestant"].to_list()
            and (rows["subject"][0], rows["layer"][0]) == ("step", "pca") else None,
        )  # fmt: skip
        found.append(Chapter(f"{str(what)[0].upper()}{str(what)[1:]}: time and memory", body))
    return found


def _growth(costs: Costs, own: pl.DataFrame, axis: str) -> str:
    """The ratio to the reference by an axis, if there are panels with three sizes or more."""
    shown = [rows for _, rows in own.group_by(PANELS[axis], maintain_order=True)
             if rows[axis].n_unique() >= LEAST_SIZES]  # fmt: skip
    if not shown or own["contestant"].n_unique() > MOST_LINES:
        return ""
    figure, axes = panels(len(shown), width=4.6 if len(shown) > 1 else 6.4, height=3.2)
    for panel, rows in zip(axes, shown, strict=True):
        for name in values_of(rows, "contestant"):
            line = rows.filter(contestant=name).sort(axis)
            if line.height < 2:
                continue
            reach = [line["ratio"] - line["low"], line["high"] - line["ratio"]]
            panel.errorbar(line[axis], line["ratio"], yerr=reach, label=name, elinewidth=1,
                           **_look(name))  # fmt: skip
        panel.axhline(1, color="black", linestyle=":", linewidth=1, zorder=0)
        panel.set_xscale("log", base=2)
        panel.set(yscale="log", xlabel=names.label(axis))
        panel.set_ylabel(f"time over {reference_of(rows['subject'][0])}")
        told = [a for a in PANELS[axis] if a != "layout" or own["layout"].n_unique() > 1]
        panel.set_title(names.words(rows.row(0, named=True), told), fontsize=9)
        panel.xaxis.set_major_formatter("{x:g}")
        _plain(panel.yaxis)
    legend_below(figure, axes)
    slug = "-".join(one for one in (own["subject"][0], own["layer"][0]) if one)
    return save(figure, costs.frames.folder, f"profile-{slug}-by-{axis}")


def _table(costs: Costs, rows: pl.DataFrame) -> str:
    """A row a profile; columns in which nothing is known are left out."""
    axes = names.varied(rows, ("dtype", "layout", "d", "energy", "batch"))
    counted = {"kernels": "kernels", "synchronisations": "waits"}
    heads = [
        *map(names.label, axes), "method", f"time over {reference_of(rows['subject'][0])}",
        *(f"{name}, ms" for name in PASSES), "peak", "saved", "operators", *counted.values(),
        "first call, s",
    ]  # fmt: skip
    body = []
    for row in rows.iter_rows(named=True):
        key = row["id"]
        operators = [costs.once(key, f"{name}_operators") for name in PASSES[:2]]
        body.append([
            *(axis_value(row[axis]) for axis in axes), row["contestant"], _ratio(costs, row),
            *(supported(stats.median(costs.values(key, f"{name}_seconds")), MILLI)
              for name in PASSES),
            amount(costs.once(key, "peak_bytes")), amount(costs.once(key, "saved_bytes")),
            count(sum(operators)), *(count(costs.once(key, name)) for name in counted),
            significant(costs.once(key, "first_call_seconds"), 2),
        ])  # fmt: skip
    kept = [i for i in range(len(heads)) if any(row[i] != NOTHING for row in body)]
    return table([heads[i] for i in kept], [[row[i] for i in kept] for row in body])


def _ratio(costs: Costs, row: dict[str, Any]) -> str:
    if row["status"] != "measured":
        return str(row["status"])
    if row["method"] == reference_of(row["subject"]) and costs.times[row["id"]]:
        return "1"
    return with_interval(costs.ratios[row["id"]])


def _taken(costs: Costs) -> Chapter | None:
    """How the times were taken."""
    timed = costs.timed
    if timed.is_empty():
        return None
    body = render(
        "profile-taken",
        rounds=span(map(float, timed["rounds"]), axis_value),
        runs=span((costs.once(key, "block_runs") for key in timed["id"]), axis_value),
        clocks=values_of(timed, "clock"),
        inputs=list(dict.fromkeys(costs.cases[key].inputs for key in timed["id"])),
        iterations=costs.frames.iterations if timed["iterations"].count() else None,
        limit=NOISY,
    )
    return Chapter("How the times and the memory were measured", body)


def _undissected(costs: Costs) -> Chapter | None:
    """Runs that could not be taken apart, with the reasons."""
    rows = costs.profiles.filter(pl.col("anatomy_failed").is_not_null())
    if rows.is_empty():
        return None
    body = [[title(row), row["contestant"], row["anatomy_failed"]] for row in rows.to_dicts()]
    text = render("profile-undissected", table=table(["workload", "method", "reason"], body))
    return Chapter("The profiler failed", text, folded=False)


def _sessions(costs: Costs) -> list[Session]:
    """The sessions in which something was timed."""
    used = set(costs.timed["session"])
    return [s for i, s in enumerate(costs.frames.run.environment.sessions) if i in used]


def _machines(costs: Costs) -> list[str]:
    """A line if the times were taken on machines, or by versions, that differ."""
    places = sorted({
        (s.device, s.processor, s.torch_threads, s.packages.get("torch", ""), s.host)
        for s in _sessions(costs)
    })  # fmt: skip
    return [render("profile-machines", places=places)] if len(places) > 1 else []
