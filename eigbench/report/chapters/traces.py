"""Where the time of one run goes: phases, a timeline, operators; and the traces themselves."""

from __future__ import annotations

import polars as pl
from matplotlib import pyplot as plt
from matplotlib.patches import Patch

from eigbench.report.costs import PASSES, Costs, title
from eigbench.report.numbers import NOTHING, significant
from eigbench.report.plots import panels, save
from eigbench.report.render import Chapter, render, table

MILLI = 1e3
MOST_PANELS = 6
MOST_ROWS = 15
LEAST_SHARE = 0.01
"""An operator has a row if it is at least this share of some method's listed time."""

# Okabe and Ito (2008).
PHASES = {
    "covariance": "#56B4E9", "decomposition": "#D55E00", "coefficients": "#F0E442",
    "products": "#009E73", "other": "#BBBBBB",
}  # fmt: skip
LANES = {"forward": "#E4E4E4", "backward": "#BFBFBF", "update": "#9A9A9A"}
HATCHES = {"forward": "", "backward": "////", "update": "...."}
# Tol (2021), muted: none of them is that of a phase.
OPERATORS = ("#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677", "#AA4499")
REST = "#CCCCCC"

_SAME = {
    "bmm": "matmul", "mm": "matmul", "conv2d": "convolution", "mkldnn_convolution": "convolution",
    "cudnn_convolution": "convolution", "cudnn_batch_norm": "batch_norm",
    "take_along_dim": "gather",
}  # fmt: skip


def _kernel_name(signature: str) -> str:
    """The name in a signature of C++: what is left without brackets, return type and namespaces."""
    depth, outside = 0, ""
    for sign in signature.partition(" [")[0]:
        depth += (sign in "<‹(") - (sign in ">›)")
        outside += sign if depth == 0 and sign not in ">›)" else ""
    return outside.split()[-1].rpartition("::")[2]


def operator_name(recorded: str) -> str:
    """One name for an operator and for what it calls at once to do the work.

    "aten::matmul" calls "aten::bmm", "aten::linalg_eigh" "aten::_linalg_eigh": a timeline records
    the caller, self times the callee, and both mean the same. Of a kernel's signature in C++, which
    may be a thousand signs long, the name is left.
    """
    if not recorded.startswith("aten::"):
        is_kernel = "(" in recorded and not recorded.startswith("Mem")
        return _kernel_name(recorded) if is_kernel else recorded
    bare = recorded.removeprefix("aten::").strip("_").removeprefix("native_")
    return _SAME.get(bare, bare)


def chapter(costs: Costs) -> Chapter | None:
    """Where the time goes, if something of it was recorded."""
    files = [
        [title(row), row["contestant"], f"`{row['trace_file']}`"]
        for row in costs.profiles.filter(pl.col("trace_file").is_not_null()).iter_rows(named=True)
    ]
    groups = _traced(costs)
    tables = [(title(rows.row(0, named=True)), text)
              for rows in groups if (text := _operators(costs, rows))]  # fmt: skip
    phases, timeline = _phases(costs, groups), _timeline(costs)
    if not (files or tables or phases or timeline):
        return None
    body = render(
        "profile-traces", phases=phases, timeline=timeline, operators=tables,
        files=table(["workload", "method", "trace"], files) if files else "",
    )  # fmt: skip
    return Chapter("Where the time goes", body)


def _traced(costs: Costs) -> list[pl.DataFrame]:
    """The workloads that a reader sees: those with a trace, or else the largest of a subject."""
    groups = [rows for _, rows in costs.timed.group_by("workload", maintain_order=True)
              if any(len(phases_of(costs, key)) for key in rows["id"])]  # fmt: skip
    traced = [rows for rows in groups if rows["trace"].any()]
    last = {rows["subject"][0]: rows for rows in groups}
    return (traced or list(last.values()))[:MOST_PANELS]


def phases_of(costs: Costs, key: str) -> pl.DataFrame:
    """`passing`, `phase` and `seconds` of one traced run, pass by pass; empty if not recorded."""
    words = {"passing": "phase_pass", "phase": "phase"}
    found = costs.listed(key, words, {"seconds": "phase_seconds"})
    known = found.filter(pl.col("seconds") > 0, pl.col("passing").is_in(PASSES))
    return known.sort(pl.col("passing").cast(pl.Enum(PASSES)), maintain_order=True)


def _phases(costs: Costs, groups: list[pl.DataFrame]) -> str:
    """A panel a workload, a bar a contestant: the shares of its run."""
    if not groups:
        return ""
    most = max(rows.height for rows in groups)
    figure, axes = panels(len(groups), width=5.0, height=1.3 + 0.3 * most)
    used: set[str] = set()
    for panel, rows in zip(axes, groups, strict=True):
        labels = []
        for place, (key, name) in enumerate(rows.select("id", "contestant").iter_rows()):
            parts = phases_of(costs, key)
            total, left = float(parts["seconds"].sum()), 0.0
            labels.append(f"{name}, {significant(MILLI * total, 2)} ms")
            for passing, phase, seconds in parts.iter_rows():
                share = 100 * seconds / total
                panel.barh(place, share, left=left, height=0.7, color=PHASES.get(phase, REST),
                           hatch=HATCHES[passing], edgecolor="white", linewidth=0.5)  # fmt: skip
                left += share
                used |= {passing, phase}
        panel.set_yticks(range(len(labels)), labels, fontsize=8)
        panel.set_ylim(len(labels) - 0.4, -0.6)
        panel.set(xlim=(0, 100), xlabel="% of one run", ylabel="method")
        panel.set_title(title(rows.row(0, named=True)), fontsize=9)
    entries = [Patch(color=PHASES[name], label=name) for name in PHASES if name in used]
    entries += [Patch(facecolor="0.6", edgecolor="white", hatch=HATCHES[name], label=name)
                for name in PASSES if name in used]  # fmt: skip
    figure.legend(handles=entries, loc="outside lower center", ncols=4, fontsize=9)
    return save(figure, costs.frames.folder, "profile-where-time-goes")


def events_of(costs: Costs, key: str) -> pl.DataFrame:
    """The events of one traced run: `name`, `lane`, `start` (from 0 on) and `length` in ms.

    Empty if the recorded lists do not fit together, or hold a number that is not finite.
    """
    numbers = {"place": "event_lane", "start": "event_start_seconds", "length": "event_seconds"}
    lanes = dict(enumerate(costs.records[key].labels.get("lane", [])))
    return costs.listed(key, {"name": "event"}, numbers).select(
        pl.col("name").map_elements(operator_name, pl.String),
        lane=pl.col("place").cast(pl.Int64).replace_strict(lanes, default="other",
                                                           return_dtype=pl.String),
        start=(pl.col("start") - pl.col("start").min()) * MILLI,
        length=pl.col("length") * MILLI,
    )  # fmt: skip


def _timeline(costs: Costs) -> dict[str, str] | None:
    """The runs of the largest traced matrices or layer over time, each on its own scale.

    A training step is all convolutions, and is not drawn.
    """
    traced = costs.timed.filter("trace", pl.col("subject") != "step")
    groups = [[(row, events) for row in rows.iter_rows(named=True)
               if len(events := events_of(costs, row["id"]))]
              for _, rows in traced.group_by("workload", maintain_order=True)]  # fmt: skip
    shown = next((group for group in groups if group), [])[:MOST_PANELS]
    if not shown:
        return None
    operators = pl.concat([events for _, events in shown]).filter(
        ~pl.col("lane").is_in(["pass", "phase"]))  # fmt: skip
    total = operators.group_by("name").agg(pl.col("length").sum()).sort(
        "length", "name", descending=[True, False])  # fmt: skip
    colours = LANES | PHASES | dict(zip(total["name"], OPERATORS, strict=False))
    figure, axes = plt.subplots(len(shown), 1, figsize=(11, 1.4 * len(shown) + 0.6),
                                squeeze=False, layout="constrained")  # fmt: skip
    for panel, (row, events) in zip(axes.flat, shown, strict=True):
        lanes = events["lane"].unique(maintain_order=True).to_list()
        for name, lane, start, length in events.sort("length", descending=True).iter_rows():
            panel.barh(lanes.index(lane), length, left=start, height=0.8, linewidth=0.3,
                       color=colours.get(name, REST), edgecolor="white")  # fmt: skip
        panel.set_yticks(range(len(lanes)), lanes, fontsize=8)
        panel.set(ylim=(len(lanes) - 0.4, -0.6), xlim=(0, None), ylabel="lane", xlabel="ms")
        panel.set_title(row["contestant"], fontsize=9, loc="left")
    used = set(pl.concat([events for _, events in shown])["name"])
    entries = [Patch(color=colour, label=name) for name, colour in colours.items() if name in used]
    figure.legend(handles=[*entries, Patch(color=REST, label="other operators")],
                  loc="outside lower center", ncols=6, fontsize=8)  # fmt: skip
    link = save(figure, costs.frames.folder, "profile-timeline")
    return {"link": link, "title": title(shown[0][0])}


def operators_of(costs: Costs, rows: pl.DataFrame) -> pl.DataFrame:
    """The self times of these rows: `operator`, `contestant`, `ms`, and its `share`.

    The share is that of what is listed of the contestant. Operators of one name are added up.
    """
    found = [
        costs.listed(key, {"operator": "operator"}, {"ms": "operator_self_seconds"}).with_columns(
            contestant=pl.lit(contestant)
        )
        for key, contestant in rows.select("id", "contestant").iter_rows()
    ]
    together = pl.concat(found).group_by(
        pl.col("operator").map_elements(operator_name, pl.String), "contestant",
        maintain_order=True,
    ).agg(pl.col("ms").sum() * MILLI)  # fmt: skip
    total = pl.col("ms").sum().over("contestant")
    return together.with_columns(share=pl.col("ms") / total)


def _operators(costs: Costs, rows: pl.DataFrame) -> str:
    """Operators down, contestants across."""
    found = operators_of(costs, rows)
    if found.is_empty():
        return ""
    wide = found.pivot("contestant", index="operator", values="ms", maintain_order=True)
    largest = found.group_by("operator").agg(pl.col("share").max())
    kept = wide.join(largest, on="operator").filter(pl.col("share") >= LEAST_SHARE).sort(
        "share", "operator", descending=[True, False]).drop("share")[:MOST_ROWS]  # fmt: skip
    body = [[f"`{operator}`", *(NOTHING if ms is None else significant(ms, 2) for ms in values)]
            for operator, *values in kept.iter_rows()]  # fmt: skip
    return table(kept.columns, body)
