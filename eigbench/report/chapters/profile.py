"""What each method costs: the head of a report of profiles, times and ratios."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from eigbench.kinds.profile import REFERENCES, ProfileCase
from eigbench.report import costs as of_costs
from eigbench.report import paper
from eigbench.report.chapters import growth, traces
from eigbench.report.costs import PASSES, SUBJECTS, Costs, extremes, look, reference_of
from eigbench.report.frame import Frames, values_of
from eigbench.report.numbers import (
    NOTHING,
    axis_value,
    difference,
    interval_span,
    percentage,
    significant,
    span,
    supported,
    with_interval,
)  # fmt: skip
from eigbench.report.plots import SMALL_SET, panels, save
from eigbench.report.render import Chapter, Part, both, render, table
from eigbench.report.stats import NOISY, Interval
from eigbench.runs.environment import Session

MILLI = 1e3
EIGENPAIRS = "eigenpairs"
"""The operation of the reference, and of every method that has gradients of eigenvectors."""
SHOWN = ("eigh", "svd", "pi", "hybrid", "spectral")
"""Methods in the first picture, where a run has more than fit into a panel."""
MOST_SIZES = 3
"""Workloads of a subject in the first picture."""


def part(frames: Frames) -> Part | None:
    """The part of a report that is about cost; None if a run has no profiles."""
    if not frames.records(ProfileCase):
        return None
    costs = Costs(frames)
    sentences = _sentences(costs).splitlines()
    chapters = [
        *_subjects(costs),
        *growth.chapters(costs),
        *traces.chapters(costs),
        _taken(costs),
        _lost(costs),
    ]
    return Part(
        title="Time, memory and work",
        head=_head(costs, sentences),
        chapters=[chapter for chapter in chapters if chapter is not None],
        summary=[re.sub(r"[*`]|^- ", "", sentence) for sentence in sentences],
        banner=_machines(costs),
    )


def function_times(frames: Frames) -> pl.DataFrame:
    """The time of `⟨W, M^(−1/2)⟩`, forward and backward, over the reference's in the same rounds.

    A row a contestant (a method, with its K where that is not the suite's; not compiled), d and
    batch, of the first precision alone: `subject`, `method`, `dtype`, `d`, `batch`, `ratio`, `low`,
    `high`, `noisy`, `n_rounds`. Of subject "whitening"; in a run without it of "operation", the
    bare decomposition. References are left out. Empty, with its columns, if neither was measured.
    """
    schema: dict[str, Any] = {
        "subject": pl.String, "method": pl.String, "dtype": pl.String, "d": pl.Int64,
        "batch": pl.Int64, "ratio": pl.Float64, "low": pl.Float64, "high": pl.Float64,
        "noisy": pl.Boolean, "n_rounds": pl.Int64,
    }  # fmt: skip
    if not frames.records(ProfileCase):
        return pl.DataFrame(schema=schema)
    costs = Costs(frames)
    own = costs.timed.filter(~pl.col("reference"), ~pl.col("compiled"), pl.col("ratio").is_finite())
    subject = next((one for one in SUBJECTS[:2] if one in own["subject"]), "")
    own = own.filter(subject=subject)
    rows = []
    for row in own.filter(pl.col("dtype") == own["dtype"].first()).iter_rows(named=True):
        ratio = costs.ratios[row["id"]]
        assert ratio is not None  # noqa: S101  # the filter above
        rows.append({
            **{name: row[name] for name in ("subject", "dtype", "d", "batch")},
            "method": row["contestant"], "ratio": ratio.value, "low": ratio.low,
            "high": ratio.high, "noisy": ratio.noisy, "n_rounds": row["rounds"],
        })  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


# The head: one picture, one table, some sentences.


def _head(costs: Costs, sentences: Sequence[str]) -> str:
    compared = costs.timed.filter(~pl.col("reference"), pl.col("ratio").is_finite())
    picture, left_out = _picture(costs, compared) if compared.height else ("", [])
    return render(
        "profile-head",
        sentences="\n".join(sentences),
        picture=picture,
        left_out=left_out,
        table=_ratios(costs, compared) if compared.height else "",
        functions=functions_only(compared),
    )


def _sentences(costs: Costs) -> str:
    timed = costs.timed
    together = pl.when(subject="step").then("subject").otherwise("what")
    found = [
        _said(costs, own) for _, own in timed.group_by(together, maintain_order=True)
        if not own["reference"].all()
    ]  # fmt: skip
    times = [one for key in timed["id"] if (one := costs.times[key])]
    ratios = [one for key in timed.filter(~pl.col("reference"))["id"] if (one := costs.ratios[key])]
    statuses = costs.profiles["status"].value_counts(sort=True).iter_rows()
    return render(
        "profile-sentences",
        modules=[one for one in found if one["subject"] in ("layer", "step")],
        functions=[one for one in found if one["subject"] not in ("layer", "step")],
        cliffs=growth.largest_cliffs(costs),
        machines=list(dict.fromkeys(
            (s.device, s.processor, s.torch_threads, s.logical_cores) for s in _sessions(costs))),
        rounds=span(map(float, timed["rounds"]), axis_value),
        times=len(times),
        noisy_times=sum(one.noisy for one in times),
        ratios=len(ratios),
        noisy_ratios=sum(one.noisy for one in ratios),
        limit=NOISY,
        lost=[(status, number) for status, number in statuses if status != "measured"],
        total=costs.profiles.height,
        undissected=costs.profiles["anatomy_failed"].count(),
    )  # fmt: skip


def _said(costs: Costs, own: pl.DataFrame) -> dict[str, Any]:
    """What a sentence on one subject is made of; of these rows of `Costs.timed`."""
    methods = own.filter(~pl.col("reference"))
    known = [(key, ratio) for key in methods["id"] if (ratio := costs.ratios[key])]
    answers = [costs.decisions[key, ""].answer for key, _ in known]
    found = extremes(costs, own)
    return {
        "what": "training step" if own["subject"][0] == "step" else own["what"][0],
        "subject": own["subject"][0],
        "reference": reference_of(own["subject"][0]),
        "setting": setting(methods),
        "workloads": methods["workload"].n_unique(),
        "span": interval_span(ratio for _, ratio in known),
        "milliseconds": interval_span((costs.times[key] for key in methods["id"]), MILLI),
        "lowest": min((ratio.low for _, ratio in known), default=math.nan),
        "highest": max((ratio.high for _, ratio in known), default=math.nan),
        "ratios": len(known),
        "noisy": sum(ratio.noisy for _, ratio in known),
        "untestable": answers.count("cannot be shown"),
        "unshown": answers.count("not shown"),
        "contests": found.contests,
        "fastest": found.fastest.most_common(),
        "slowest": found.slowest.most_common(),
        "apart": found.apart,
    }


def setting(rows: pl.DataFrame) -> str:
    """What rows range over, such as "float32; d = 4 to 256; batch 1 to 256"."""
    d, energy, batch = (values_of(rows, axis) for axis in ("d", "energy", "batch"))
    sizes = [f"d = {span(map(float, d), axis_value)}"] if d else []
    sizes += [f"{span(energy, percentage)} kept"] if energy else []
    if rows["layer"].n_unique() > 1:
        sizes = of_costs.sizes_of(rows)
    dtypes = ", ".join(values_of(rows, "dtype"))
    return "; ".join([dtypes, *sizes, f"batch {span(map(float, batch), axis_value)}"])


def functions_only(rows: pl.DataFrame) -> list[tuple[str, list[str]]]:
    """Methods timed on another operation than their reference, by that operation."""
    own = rows.filter(pl.col("operation").is_not_null() & (pl.col("operation") != EIGENPAIRS)
                      & (pl.col("subject") == "operation"))  # fmt: skip
    return [
        (operation, [f"`{name}`" for name in some["method"].unique(maintain_order=True)])
        for (operation,), some in own.group_by("operation", maintain_order=True)
    ]


def _ratios(costs: Costs, compared: pl.DataFrame) -> str:
    """Methods by subject: the range of the ratios, with the intervals of its ends, and n."""
    columns = compared["what"].unique(maintain_order=True).to_list()
    most = {one: compared.filter(what=one)["workload"].n_unique() for one in columns}
    heads = []
    for one in columns:
        reference = reference_of(compared.filter(what=one)["subject"][0])
        heads.append(f"{one}, × `{reference}` (n = {most[one]})")
    body = [
        [label, *(_range(costs, compared.filter(what=one, contestant=label), most[one])
                  for one in columns)]
        for label in of_costs.contestants(compared)
    ]  # fmt: skip
    return table(["method", *heads], body)


def _range(costs: Costs, rows: pl.DataFrame, usual: int) -> str:
    known = sorted((one for key in rows["id"] if (one := costs.ratios[key])),
                   key=lambda one: one.value)  # fmt: skip
    if not known:
        return NOTHING
    ends = dict.fromkeys(with_interval(one) for one in (known[0], known[-1]))
    noisy = sum(one.noisy for one in known)
    remarks = [f"n = {len(known)}"] if len(known) != usual else []
    remarks += [f"{noisy} noisy"] if noisy and len(known) > 1 else []
    return " to ".join(ends) + (f"; {', '.join(remarks)}" if remarks else "")


def _picture(costs: Costs, compared: pl.DataFrame) -> tuple[str, list[str]]:
    """A panel a workload: the ratios with their intervals on a linear axis; and who is missing."""
    known = compared["contestant"].unique(maintain_order=True).to_list()
    usual = compared.filter(pl.col("method").is_in(SHOWN))
    shown = usual if len(known) > SMALL_SET and usual.height else compared
    groups = []
    for (_,), own in shown.group_by("what", maintain_order=True):
        chosen = of_costs.fullest(own, MOST_SIZES)
        order = of_costs.sizes_of(chosen)
        groups += [chosen.filter(size=one) for one in order]
    most = max(own.height for own in groups)
    figure, axes = panels(len(groups), width=3.7, height=1.0 + 0.19 * most)
    for panel, own in zip(axes, groups, strict=True):
        _panel(panel, costs, own)
    drawn = shown["contestant"].unique().to_list()
    left_out = [name for name in known if name not in drawn]
    return save(figure, costs.frames.folder, "profile-ratios"), left_out


def _panel(panel: Any, costs: Costs, own: pl.DataFrame) -> None:
    names = of_costs.contestants(own)
    rows = {row["contestant"]: row for row in own.iter_rows(named=True)}
    beyond = of_costs.dwarfing({name: row["ratio"] for name, row in rows.items()})
    lows, highs = [0.95], [1.1]
    for place, name in enumerate(names):
        ratio = costs.ratios[rows[name]["id"]]
        assert ratio is not None  # noqa: S101  # only rows with one are drawn
        if name in beyond:
            panel.text(0.98, place, f"{supported(ratio)} ×, beyond this axis", ha="right",
                       va="center", fontsize=7, transform=panel.get_yaxis_transform())  # fmt: skip
            continue
        own_look = look(name)
        if math.isfinite(ratio.reach):
            panel.plot([ratio.low, ratio.high], [place, place], color=own_look["color"],
                       linewidth=2)  # fmt: skip
            lows, highs = [*lows, ratio.low], [*highs, ratio.high]
        panel.plot([ratio.value], [place], **{**own_look, "linestyle": "none"})
        lows, highs = [*lows, ratio.value], [*highs, ratio.value]
    panel.axvline(1, color="black", linestyle=":", linewidth=1, zorder=0)
    margin = 0.05 * (max(highs) - min(lows))
    panel.set_xlim(min(lows) - margin, max(highs) + margin)
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.tick_params(axis="x", labelsize=8)
    first = next(iter(rows.values()))
    panel.set_xlabel(f"time over {reference_of(first['subject'])}", fontsize=8)
    panel.set_ylabel("method", fontsize=8)
    kept = first["size"].split(", ")[-1]
    panel.set_title(f"{first['what']}, {kept}\n{first['dtype']}, batch {first['batch']}",
                    fontsize=8)  # fmt: skip


# Chapters.


def _subjects(costs: Costs) -> list[Chapter]:
    """A chapter a subject: ratios, milliseconds, and what is added to no layer."""
    found = []
    for (subject,), own in costs.profiles.group_by("subject", maintain_order=True):
        groups = [
            {"title": title, "ratios": of_costs.by_size(rows, lambda row: _ratio(costs, row)),
             "milliseconds": of_costs.by_size(rows, lambda row: _passes(costs, row["id"])),
             "added": _added(costs, rows)}
            for title, rows in of_costs.places(own)
        ]  # fmt: skip
        groups = [group for group in groups if group["milliseconds"]]
        if not groups:
            continue
        names = own["contestant"].unique().to_list()
        body = render(
            "profile-times",
            subject=subject,
            reference=reference_of(str(subject)),
            groups=groups,
            functions=functions_only(own),
            wrapper=subject in ("whitening", "operation") and "eigh" in names,
            paper=paper if subject == "step" and f"hybrid, K = {paper.STEP_ITERATIONS}" in names
            else None,
        )  # fmt: skip
        words = own["what"].unique(maintain_order=True).to_list()
        found.append(Chapter(f"Times: {both(words)}", body))
    return found


def _ratio(costs: Costs, row: dict[str, Any]) -> str:
    if row["method"] == reference_of(row["subject"]):
        return "1" if costs.times[row["id"]] else NOTHING
    return with_interval(costs.ratios[row["id"]])


def _passes(costs: Costs, key: str) -> str:
    """Milliseconds of the passes."""
    passes = [one for name in PASSES if (one := costs.time_of(key, name))]
    return " + ".join(supported(one, MILLI) for one in passes) or NOTHING


def _added(costs: Costs, rows: pl.DataFrame) -> str:
    """Milliseconds more than no layer at all; "" for subjects that have no such reference."""
    names = REFERENCES.get(rows["subject"][0], ())
    bare = {
        row["workload"]: row["id"] for row in rows.iter_rows(named=True)
        if row["method"] in names[1:] and row["status"] == "measured"
    }  # fmt: skip

    def cell(row: dict[str, Any]) -> str:
        key, other = row["id"], bare.get(row["workload"])
        return NOTHING if other in (None, key) else difference(costs.added(key, other), MILLI)

    return of_costs.by_size(rows, cell) if bare else ""


def _taken(costs: Costs) -> Chapter | None:
    """How the times were taken, and the first calls, which are not among them."""
    timed = costs.timed
    if timed.is_empty():
        return None
    subjects = timed["what"].unique(maintain_order=True).to_list()
    firsts, gains = [], {}
    for label in of_costs.contestants(timed):
        own = timed.filter(contestant=label)
        cells = [span(own.filter(what=one)["first_call_seconds"], _two_digits) for one in subjects]
        firsts.append([label, *cells])
        if found := [g for row in own.filter("compiled").iter_rows(named=True)
                     if (g := _gain(costs, row))]:  # fmt: skip
            gains[label.removesuffix(", compiled")] = interval_span(found), len(found)
    cases = [costs.records[key].case for key in timed["id"]]
    known = any(set(row[1:]) != {NOTHING} for row in firsts)
    body = render(
        "profile-taken",
        rounds=span(map(float, timed["rounds"]), axis_value),
        runs=span(timed["block_runs"], axis_value),
        clocks=timed["clock"].drop_nulls().unique(maintain_order=True).to_list(),
        inputs=list(dict.fromkeys(case.inputs for case in cases if isinstance(case, ProfileCase))),
        iterations=costs.frames.iterations if timed["iterations"].count() else None,
        limit=NOISY,
        firsts=table(["method", *(f"{one}, s" for one in subjects)], firsts) if known else "",
        gains=gains,
    )
    return Chapter("How the times were taken", body)


def _gain(costs: Costs, row: dict[str, Any]) -> Interval | None:
    """A compiled case over the same that is not, round by round."""
    label = row["contestant"].removesuffix(", compiled")
    eager = costs.timed.filter(contestant=label, workload=row["workload"])["id"].to_list()
    return costs.over(row["id"], eager[0]) if eager else None


def _two_digits(value: float) -> str:
    return significant(value, 2)


def _lost(costs: Costs) -> Chapter | None:
    """Cases without a time and runs that could not be taken apart, with their reasons."""
    profiles = costs.profiles
    lost = profiles.filter(pl.col("status") != "measured")
    undissected = profiles.filter(pl.col("anatomy_failed").is_not_null())
    if lost.is_empty() and undissected.is_empty():
        return None
    body = render(
        "profile-lost", lost=_reasons(lost, "reason"),
        undissected=_reasons(undissected, "anatomy_failed"),
    )  # fmt: skip
    return Chapter("Cases without a time, or without a trace", body, folded=undissected.is_empty())


def _reasons(rows: pl.DataFrame, reason: str) -> str:
    """A row a status and reason: how many cases, of whom, and where. "" of nothing.

    A reason that names its method is one reason for all of them.
    """
    named = pl.struct(reason, "method").map_elements(
        lambda row: (row[reason] or "").replace(row["method"], "the method"), pl.String
    )
    body = [
        [str(status), str(why) or NOTHING, str(own.height),
         ", ".join(of_costs.contestants(own)),
         _first(dict.fromkeys(map(of_costs.title, own.iter_rows(named=True))))]
        for (status, why), own in rows.with_columns(why=named).group_by(
            "status", "why", maintain_order=True)
    ]  # fmt: skip
    return table(["status", "reason", "cases", "methods", "workloads"], body) if body else ""


def _first(titles: Iterable[str], most: int = 3) -> str:
    """Some of the titles, and how many more there are."""
    known = list(titles)
    more = [f"and {len(known) - most} more"] if len(known) > most else []
    return "; ".join([*known[:most], *more])


def _sessions(costs: Costs) -> list[Session]:
    """The sessions in which something was timed."""
    used = set(costs.timed["session"])
    return [s for i, s in enumerate(costs.frames.run.environment.sessions) if i in used]


def _machines(costs: Costs) -> list[str]:
    """A line if the times were taken on machines, or by versions, that differ."""
    places = sorted({
        (s.device, s.processor, s.torch_threads, s.packages.get("torch", ""))
        for s in _sessions(costs)
    })  # fmt: skip
    return [render("profile-machines", places=places)] if len(places) > 1 else []
