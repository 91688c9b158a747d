"""What one run consists of: phases, a timeline, operators; memory, floating-point work, traces."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib import pyplot as plt
from matplotlib.patches import Patch

from eigbench.report import costs as of_costs
from eigbench.report import stats
from eigbench.report.costs import PASSES, Costs
from eigbench.report.numbers import (
    NOISY_MARK,
    NOTHING,
    amount,
    count,
    operations,
    percent,
    scientific,
    significant,
)  # fmt: skip
from eigbench.report.plots import panels, save
from eigbench.report.render import Chapter, both, render, table

MILLI, GIGA = 1e3, 1e9
MOST_SIZES = 6
"""So many columns are enough to see how what is counted grows."""
MOST_PANELS = 6
MOST_METHODS = 6
MOST_ROWS = 15
LEAST_SHARE = 0.01
"""An operator has a row if it is at least this share of some method's listed time."""
NAMED_SHARE = 0.1
"""A workload is drawn by phase if some run spent so much of its time in a phase with a name."""
STEP = "step"
"""Its timeline is all convolutions, and is not drawn."""

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


def operator_name(recorded: str) -> str:
    """One name for an operator and for what it calls at once to do the work.

    "aten::matmul" calls "aten::bmm", "aten::linalg_eigh" "aten::_linalg_eigh": a timeline records
    the caller, self times the callee, and both mean the same.
    """
    if not recorded.startswith("aten::"):
        return recorded
    bare = recorded.removeprefix("aten::").strip("_").removeprefix("native_")
    return _SAME.get(bare, bare)


def chapters(costs: Costs) -> list[Chapter]:
    """Where the time goes; what is counted. Those of which something was recorded."""
    found = [
        ("Where the time goes", _where(costs)),
        ("Memory, operators and floating-point work", _counts(costs)),
    ]
    return [Chapter(title, body) for title, body in found if body]


def _where(costs: Costs) -> str:
    groups = _traced(costs)
    files = [
        [of_costs.title(row), row["contestant"], f"`{row['trace_file']}`"]
        for row in costs.profiles.filter(pl.col("trace_file").is_not_null()).iter_rows(named=True)
    ]
    tables = [(of_costs.title(rows.row(0, named=True)), text)
              for rows in groups if (text := _operators(costs, rows))]  # fmt: skip
    phases, timelines = _phases(costs, groups), _timelines(costs)
    if not (files or tables or phases or timelines):
        return ""
    return render(
        "profile-traces", phases=phases, timelines=timelines, operators=tables,
        files=table(["workload", "method", "trace"], files) if files else "",
        packed=costs.frames.run.suite.bundle,
    )  # fmt: skip


def _traced(costs: Costs) -> list[pl.DataFrame]:
    """The workloads that a reader sees: those with a trace, or else the largest of a subject."""
    known = costs.profiles.filter(pl.col("id").map_elements(
        lambda key: bool(phases_of(costs, key)), pl.Boolean))  # fmt: skip
    groups = [rows.unique("contestant", keep="first", maintain_order=True)
              for _, rows in known.group_by("workload", maintain_order=True)]  # fmt: skip
    traced = [rows for rows in groups if rows["trace"].any()]
    last = {rows["subject"][0]: rows for rows in groups}
    return (traced or list(last.values()))[:MOST_PANELS]


# Phases.


def phases_of(costs: Costs, key: str) -> list[tuple[str, str, float]]:
    """Pass, phase and seconds of one traced run, pass by pass; empty if that is not recorded."""
    record = costs.records.get(key)
    if record is None:
        return []
    order = {name: rank for rank, name in enumerate(PASSES)}
    rows = zip(record.labels.get("phase_pass", []), record.labels.get("phase", []),
               record.values("phase_seconds"), strict=False)  # fmt: skip
    known = [row for row in rows if 0 < row[2] < math.inf]
    return sorted(known, key=lambda row: order.get(row[0], len(order)))


def _phases(costs: Costs, groups: Sequence[pl.DataFrame]) -> dict[str, Any] | None:
    """A panel a workload, a bar a contestant; who dwarfs the rest is left out, with its time."""
    left_out, beyond, shown = [], [], []
    for rows in groups:
        title = of_costs.title(rows.row(0, named=True))
        found = {row["contestant"]: phases_of(costs, row["id"]) for row in
                 rows.iter_rows(named=True)}  # fmt: skip
        totals = {name: sum(part[2] for part in parts) for name, parts in found.items()}
        named = max(
            (sum(s for _, phase, s in parts if phase != "other") / totals[name]
             for name, parts in found.items()), default=0.0,
        )  # fmt: skip
        if named < NAMED_SHARE:
            left_out.append((title, named))
            continue
        large = of_costs.dwarfing(totals)
        beyond += [(title, name, totals[name]) for name in large]
        shown.append((title, {name: parts for name, parts in found.items() if name not in large}))
    if not shown:
        return None
    rows_most = max(len(bars) for _, bars in shown)
    figure, axes = panels(len(shown), width=6.5 if len(shown) == 1 else 5.0,
                          height=1.3 + 0.3 * rows_most)  # fmt: skip
    for panel, (title, bars) in zip(axes, shown, strict=True):
        for row, parts in enumerate(bars.values()):
            _bar(panel, row, parts)
        panel.set_yticks(range(len(bars)), list(bars), fontsize=8)
        panel.set_ylim(len(bars) - 0.4, -0.6)
        panel.set(xlabel="time of one run, ms", ylabel="method")
        panel.set_title(title, fontsize=9)
    used = [part for _, bars in shown for parts in bars.values() for part in parts]
    _legend(figure, used)
    link = save(figure, costs.frames.folder, "profile-where-time-goes")
    return {"link": link, "beyond": beyond, "left_out": left_out}


def _bar(panel: Any, row: int, parts: Sequence[tuple[str, str, float]]) -> None:
    left = 0.0
    for name, phase, seconds in parts:
        panel.barh(row, MILLI * seconds, left=left, height=0.7, color=PHASES.get(phase, REST),
                   hatch=HATCHES.get(name, ""), edgecolor="white", linewidth=0.5)  # fmt: skip
        left += MILLI * seconds


def _legend(figure: Any, parts: Sequence[tuple[str, str, float]]) -> None:
    phases = [phase for phase in PHASES if any(part[1] == phase for part in parts)]
    passes = [name for name in HATCHES if any(part[0] == name for part in parts)]
    entries = [Patch(color=PHASES[phase], label=phase) for phase in phases]
    entries += [Patch(facecolor="0.6", edgecolor="white", hatch=HATCHES[name], label=name)
                for name in passes]  # fmt: skip
    columns = max(1, min(len(entries), int(figure.get_figwidth() / 1.5)))  # inches an entry
    figure.legend(handles=entries, loc="outside lower center", ncols=columns, fontsize=9)


# The timeline.


@dataclass(frozen=True)
class Event:
    """One bar: its lane by name, where it starts and how long it is, in ms of the run."""

    name: str
    lane: str
    start: float
    length: float

    @property
    def is_operator(self) -> bool:
        """Whether it is an operator, or a kernel."""
        return self.lane not in ("pass", "phase")


def events_of(costs: Costs, key: str) -> list[Event]:
    """The events of one traced run, the longer first, from 0 on; none if they do not fit."""
    record = costs.records[key]
    names, lanes = record.labels.get("event", []), record.labels.get("lane", [])
    columns = [costs.values(key, f"event_{what}") for what in ("start_seconds", "seconds", "lane")]
    if not names or {len(column) for column in columns} != {len(names)}:
        return []
    if not np.isfinite(columns).all():
        return []
    starts, lengths, numbers = columns
    found = [
        Event(operator_name(name), lanes[int(n)] if 0 <= n < len(lanes) else f"lane {n:.0f}",
              MILLI * float(start - starts.min()), MILLI * float(length))
        for name, start, length, n in zip(names, starts, lengths, numbers, strict=True)
    ]  # fmt: skip
    return sorted(found, key=lambda event: -event.length)


def _timelines(costs: Costs) -> list[dict[str, Any]]:
    """One picture a subject but for steps: of its last traced workload, which is its largest."""
    traced = costs.profiles.filter("trace", pl.col("subject") != STEP, status="measured")
    last = {rows["subject"][0]: rows for _, rows in
            traced.group_by("workload", maintain_order=True)
            if any(_drawable(costs, key) for key in rows["id"])}  # fmt: skip
    return [_timeline(costs, subject, rows) for subject, rows in last.items()]


def _drawable(costs: Costs, key: str) -> bool:
    return any(event.is_operator for event in events_of(costs, key))


def _timeline(costs: Costs, subject: str, rows: pl.DataFrame) -> dict[str, Any]:
    """The runs of a workload over time, all on one scale."""
    found = {row["contestant"]: events_of(costs, row["id"]) for row in rows.iter_rows(named=True)
             if _drawable(costs, row["id"])}  # fmt: skip
    ends = {name: max(one.start + one.length for one in own) for name, own in found.items()}
    large = of_costs.dwarfing(ends)
    kept = [name for name in found if name not in large][:MOST_METHODS]
    shown = {name: found[name] for name in kept}
    colours = _colours([event for own in shown.values() for event in own if event.is_operator])
    lanes = {name: list(dict.fromkeys(e.lane for e in sorted(own, key=_lane_rank)))
             for name, own in shown.items()}  # fmt: skip
    heights = [0.8 + 0.26 * len(own) for own in lanes.values()]
    figure, axes = plt.subplots(
        len(shown), 1, figsize=(11, sum(heights)), squeeze=False, layout="constrained",
        height_ratios=heights, sharex=True,
    )  # fmt: skip
    end = max(ends[name] for name in kept)
    for panel, (name, own) in zip(axes.flat, shown.items(), strict=True):
        _draw(panel, own, lanes[name], colours, end)
        panel.set_title(name, fontsize=9, loc="left")
    axes.flat[-1].set_xlabel("ms since the start of the run")
    used = {event.name for own in shown.values() for event in own}
    entries = [Patch(color=colour, label=f"phase: {name}")
               for name, colour in PHASES.items() if name in used]  # fmt: skip
    entries += [Patch(color=colour, label=name[-34:]) for name, colour in colours.items()]
    entries.append(Patch(color=REST, label="other operators"))
    figure.legend(handles=entries, loc="outside lower center", ncols=4, fontsize=8)
    return {
        "link": save(figure, costs.frames.folder, f"profile-timeline-{subject}"),
        "title": of_costs.title(rows.row(0, named=True)),
        "beyond": [(name, ends[name]) for name in large],
        "left_out": [name for name in found if name not in [*kept, *large]],
    }


def _lane_rank(event: Event) -> tuple[int, str]:
    order = ("pass", "phase", "operators")
    return (order.index(event.lane) if event.lane in order else len(order)), event.lane


def _draw(
    panel: Any, found: Sequence[Event], lanes: Sequence[str], colours: dict[str, str], end: float
) -> None:
    for event in found:
        known = {"pass": LANES, "phase": PHASES}.get(event.lane, colours)
        place = lanes.index(event.lane)
        panel.broken_barh([(event.start, event.length)], (place - 0.4, 0.8), linewidth=0.3,
                          color=known.get(event.name, REST), edgecolor="white")  # fmt: skip
        if event.length > 0.08 * end and not event.is_operator:
            panel.text(event.start + event.length / 2, place, event.name, ha="center",
                       va="center", fontsize=7, clip_on=True)  # fmt: skip
    panel.set_yticks(range(len(lanes)), lanes, fontsize=8)
    panel.set_ylim(len(lanes) - 0.4, -0.6)
    panel.set_xlim(0, end * 1.005)
    panel.set_ylabel("lane")


def _colours(found: Sequence[Event]) -> dict[str, str]:
    """Colours for the operators that take the most time in all the runs together."""
    total: dict[str, float] = {}
    for event in found:
        total[event.name] = total.get(event.name, 0.0) + event.length
    most = sorted(total, key=lambda name: (-total[name], name))[: len(OPERATORS)]
    return dict(zip(most, OPERATORS, strict=False))


# Operators.


def operators_of(costs: Costs, key: str) -> dict[str, float]:
    """Self time in seconds by operator, of those that took longest."""
    record = costs.records[key]
    found: dict[str, float] = {}
    for name, seconds in zip(record.labels.get("operator", []),
                             record.values("operator_self_seconds"), strict=False):  # fmt: skip
        if math.isfinite(seconds):
            short = operator_name(name)
            found[short] = found.get(short, 0.0) + seconds
    return found


def _operators(costs: Costs, rows: pl.DataFrame) -> str:
    """Operators down, contestants across."""
    columns = {row["contestant"]: found for row in rows.iter_rows(named=True)
               if (found := operators_of(costs, row["id"]))}  # fmt: skip
    totals = {name: sum(found.values()) for name, found in columns.items()}
    largest = max(totals.values(), default=0.0)
    shares: dict[str, float] = {}
    for name, found in columns.items():
        if totals[name] > LEAST_SHARE * largest:  # a layer that does nothing has operators too
            for operator, seconds in found.items():
                share = seconds / totals[name]
                shares[operator] = max(shares.get(operator, 0.0), share)
    kept = sorted((one for one in shares if shares[one] >= LEAST_SHARE),
                  key=lambda one: (-shares[one], one))[:MOST_ROWS]  # fmt: skip
    body = [
        [f"`{operator}`", *(_milliseconds(found.get(operator)) for found in columns.values())]
        for operator in kept
    ]
    return table(["operator", *columns], body) if body else ""


def _milliseconds(seconds: float | None) -> str:
    return NOTHING if seconds is None else significant(MILLI * seconds, 2)


# Memory, operators and work.


def _counts(costs: Costs) -> str:
    """Tables of contestants by size, at the precision and batch with the most sizes."""
    kinds: dict[str, Callable[[dict[str, Any]], str]] = {
        "memory, peak / saved": lambda row: _both(
            " / ", amount(row["peak_bytes"]), amount(row["saved_bytes"])),
        "operators, forward + backward": lambda row: _both(
            " + ", count(row["forward_operators"]), count(row["backward_operators"])),
        "kernels": lambda row: count(row["kernels"]),
        "times the host waited": lambda row: count(row["synchronisations"]),
        "floating-point operations, forward + backward": lambda row: _both(
            " + ", operations(row["forward_flops"]), operations(row["backward_flops"])),
        "GFLOP/s (share of the peak)": lambda row: _rate(costs, row),
    }  # fmt: skip
    found = []
    for _, own in costs.profiles.group_by("subject", maintain_order=True):
        rows = of_costs.fullest(own, MOST_SIZES)
        for kind, write in kinds.items():
            if len(rows) and (text := of_costs.by_size(rows, write)):
                names = both(rows["what"].unique(maintain_order=True))
                place = f"{rows['dtype'][0]}, batch {rows['batch'][0]}"
                found.append((f"{names}, {place}: {kind}", text))
    if not found:
        return ""
    layers = costs.profiles.filter(subject="layer", status="measured")
    least, most = (layers.filter(where)["peak_bytes"].drop_nans().min() for where in
                   (~pl.col("reference"), pl.col("method") == "bn"))  # fmt: skip
    lighter = least is not None and most is not None and least < most  # type: ignore[operator]
    return render("profile-counts", tables=found, most=MOST_SIZES, lighter=lighter,
                  peaks=_peaks(costs))  # fmt: skip


def peak(costs: Costs, key: str) -> float:
    """The measured peak of a matrix product in GFLOP/s; NaN if there is none."""
    found = stats.median(costs.values(key, "matmul_flops_per_second"))
    return found.value / GIGA if found else math.nan


def rate(costs: Costs, row: dict[str, Any]) -> float:
    """GFLOP/s over forward and backward; NaN if the work or the time is not known."""
    times = [costs.time_of(row["id"], name) for name in PASSES[:2]]
    seconds = sum(one.value if one else math.nan for one in times)
    return float((row["forward_flops"] + row["backward_flops"]) / seconds / GIGA)


def _rate(costs: Costs, row: dict[str, Any]) -> str:
    value, top = rate(costs, row), peak(costs, row["id"])
    if not (math.isfinite(value) and value > 0):
        return NOTHING
    times = [costs.time_of(row["id"], name) for name in PASSES[:2]]
    mark = NOISY_MARK if any(one.noisy for one in times if one) else ""
    return f"{mark}{scientific(value)}" + (f" ({percent(value / top)})" if top > 0 else "")


def _peaks(costs: Costs) -> list[tuple[str, float]]:
    """By precision the peak of a matrix product, in GFLOP/s."""
    found: dict[str, float] = {}
    for key, dtype in costs.profiles.select("id", "dtype").iter_rows():
        if peak(costs, key) > 0:
            found.setdefault(dtype, peak(costs, key))
    return list(found.items())


def _both(between: str, *words: str) -> str:
    """Several words of a cell; nothing if none of them says anything."""
    return NOTHING if set(words) == {NOTHING} else between.join(words)
