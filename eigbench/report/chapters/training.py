"""The part of a report that is about trainings: who survives, how sure that is, and the paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from eigbench.architectures import STEM_CHANNELS
from eigbench.kinds.train import TrainCase
from eigbench.report import paper, stats
from eigbench.report.chapters import paper_tables, training_figures
from eigbench.report.chapters.paper_tables import ANSWERS, Outcome
from eigbench.report.chapters.trials import (
    EXACT,
    FACTOR,
    LAST,
    LEAST,
    REFERENCE,
    WINDOW,
    against,
    axes_of,
    cells_of,
    chance,
    contestants_of,
    name_of,
    pairs,
    places,
    steps_of,
    trials_of,
)
from eigbench.report.frame import Frames, values_of
from eigbench.report.names import listed
from eigbench.report.numbers import (
    NOTHING,
    counted,
    fixed,
    plural,
    rate,
    scientific,
    span,
)
from eigbench.report.render import Chapter, Part, render, table

Row = dict[str, Any]

TESTABLE = 4
"""Test errors of fewer finished trials a cell are not compared."""
STEADY = 1.1
"""Step times are shown if those of the same layer differ by no larger a factor between trials."""
FEW_STEPS = 1000
"""After so few steps, running statistics lag behind the weights."""
STEM_INPUTS = 27
"""3 colours × 3 × 3 pixels: inputs of the first convolution, and so the rank of its outputs."""


def part(frames: Frames) -> Part | None:
    """The part of a report that is about trainings; None if there are none, planned or recorded."""
    trains = frames.run.suite.training is not None or frames.records(TrainCase)
    trials = trials_of(frames) if trains else pl.DataFrame()
    if trials.is_empty():
        return None
    cells, contestants, steps = cells_of(trials), contestants_of(trials), steps_of(frames, trials)
    found = paper_tables.outcomes(frames.run.suite.compare, cells)
    sentences = _sentences(trials, cells, contestants, found)
    head = render(
        "training",
        picture=training_figures.survival_map(frames, cells),
        table=_table(contestants),
        conditions=cells.filter("decomposes")["condition"].n_unique(),
        sentences=sentences,
    )
    chapters = [
        *paper_tables.chapters(frames, cells),
        *_survival(frames, trials),
        *_loss(frames, steps, cells),
        *_gradient(frames, steps, cells),
        *_errors(frames, cells),
        _every_cell(cells),
        *_ends(trials),
        *_spectra(cells),
        *_times(cells),
        paper_tables.settings_chapter(frames, cells),
        _how_to_read(cells),
    ]
    title = paper_tables.title(frames, cells)
    return Part(
        title=f"Trainings: {title}" if title else "Trainings",
        head=head,
        chapters=chapters,
        summary=[re.sub(r"[*`]", "", sentence) for sentence in sentences],
        banner=paper_tables.banner(frames, cells),
    )


# The opening: a table, and sentences.


def _table(contestants: pl.DataFrame) -> str:
    rows = []
    for one in contestants.iter_rows(named=True):
        measured = bool(one["started"])
        none = "skipped" if one["skipped"] else "not measured"
        rows.append([
            one["contestant"],
            counted(one["finished"], one["started"]) if measured else none,
            f"{one['total_steps']:,}" if measured else NOTHING,
            rate(stats.hazard(one["diverged"], one["total_steps"])),
            _median_error(one),
            _guessing(one),
        ])  # fmt: skip
    headers = ["method", "trials that finished", "steps", "failures a step", "test error, %",
               "at chance"]  # fmt: skip
    return table(headers, rows)


def _median_error(one: Row) -> str:
    errors = one["errors"]
    return f"{100 * float(np.median(errors)):.1f} (n = {len(errors)})" if errors else NOTHING


def _guessing(one: Row) -> str:
    return f"{sum(one['guesses'])} of {len(one['guesses'])}" if one["guesses"] else NOTHING


def _sentences(
    trials: pl.DataFrame, cells: pl.DataFrame, contestants: pl.DataFrame,
    found: Sequence[Outcome],
) -> list[str]:  # fmt: skip
    """What the numbers say: who lost trials, who differs, what cannot be said; Markdown."""
    begun = contestants.filter(pl.col("started") > 0)
    if begun.is_empty():
        return []
    axes = axes_of(trials)
    longest = max([0.0, *begun["planned_steps"].drop_nulls()])
    guesses = [guess for row in contestants["guesses"].to_list() for guess in row]
    sizes = values_of(cells.filter(pl.col("started") > 0), "started")
    text = render(
        "training-sentences",
        whole=begun.filter(pl.col("finished") == pl.col("started")).to_dicts(),
        lost=[{**one, **_lost(cells, one["contestant"], axes)}
              for one in begun.to_dicts() if one["finished"] < one["started"]],
        alike=_alike(cells),
        beaten=_beaten(cells, axes),
        tested=_tested(cells),
        papers_pi=_papers_pi(cells),
        hopeless=_hopeless(cells, axes),
        outcomes=_grouped(found),
        steps=paper.STEPS,
        longest=longest,
        unseen=_unseen(begun),
        most=max(sizes),
        least_p=stats.least_fisher([(max(sizes), max(sizes))]),
        several=len(values_of(cells.filter("decomposes"), "contestant")) > 1,
        significant=stats.SIGNIFICANT,
        guessing=sum(guesses),
        judged=len(guesses),
        chance=chance(values_of(cells, "data")[0]),
        few=longest <= FEW_STEPS,
    )  # fmt: skip
    return [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]


def _lost(cells: pl.DataFrame, name: str, axes: Sequence[str]) -> Row:
    """Where a contestant lost trials."""
    own = cells.filter((pl.col("contestant") == name) & (pl.col("started") > 0))
    lost = own.filter(pl.col("finished") < pl.col("started"))
    return {"where": places(lost, own, axes)}


def _alike(cells: pl.DataFrame) -> Row | None:
    """The paper's method beside the exact gradient, in the conditions of both."""
    both = pairs(cells, REFERENCE, EXACT)
    if both.is_empty():
        return None
    same = both.filter((pl.col("finished") == pl.col("finished_right"))
                       & (pl.col("started") == pl.col("started_right")))  # fmt: skip
    sums = both.select(pl.col("finished", "started", "finished_right", "started_right").sum())
    return {**sums.row(0, named=True), "conditions": len(both), "same": len(same) == len(both)}


def _beaten(cells: pl.DataFrame, axes: Sequence[str]) -> list[Row]:
    """Who lost every trial of conditions in which the hybrid and the exact gradient lost none."""
    rows = []
    begun = cells.filter(pl.col("started") > 0)
    safe = begun.filter(pl.col("contestant").is_in([REFERENCE, EXACT]))
    safe = safe.group_by("condition").agg(
        pl.len(), (pl.col("finished") == pl.col("started")).all().alias("safe")
    )
    names = safe.filter((pl.col("len") == 2) & pl.col("safe"))["condition"]
    none = begun.filter(pl.col("condition").is_in(names.to_list()) & (pl.col("finished") == 0))
    for name in values_of(none, "contestant"):
        own = none.filter(pl.col("contestant") == name)
        where = places(own, cells.filter("decomposes"), axes)
        rows.append({"name": name, "where": where, "trials": own["started"].sum()})
    return rows


def _tested(cells: pl.DataFrame) -> Row:
    """Whose share of finished trials differs from the hybrid's, condition by condition."""
    decisions = against(cells, REFERENCE)
    shown = [f"{name} ({one.answer}, p = {scientific(one.adjusted)})"
             for name, one in decisions.items() if one.shown]  # fmt: skip
    cannot = [name for name, one in decisions.items() if one.answer == "cannot be shown"]
    rest = [name for name, one in decisions.items() if one.answer == "not shown"]
    return {"shown": shown, "cannot": cannot, "rest": rest}


def _papers_pi(cells: pl.DataFrame) -> list[int]:
    """Sizes at which PI without truncation lost all, as Table 2 prints, and the hybrid none."""
    own = cells.filter(
        (pl.col("layer") == "zca") & (pl.col("truncation") == "none")
        & (pl.col("epsilon") == paper.EPSILON) & (pl.col("started") > 0)
        & (pl.col("iterations").is_null() | (pl.col("iterations") == paper.K))
    )  # fmt: skip
    lost = own.filter((pl.col("method") == "pi") & (pl.col("finished") == 0))
    kept = own.filter((pl.col("method") == REFERENCE) & (pl.col("finished") == pl.col("started")))
    printed = [d for (method, d), cell in paper.TABLE_2.items()
               if method == "pi" and cell.success == 0]  # fmt: skip
    return [d for d in values_of(lost, "d") if d in printed and d in values_of(kept, "d")]


def _hopeless(cells: pl.DataFrame, axes: Sequence[str]) -> Row | None:
    """Where no method finished a trial, the exact gradient among them."""
    begun = cells.filter("decomposes", pl.col("started") > 0)
    lost = begun.group_by("condition", maintain_order=True).agg(
        pl.col("finished").sum(), (pl.col("method") == EXACT).any().alias("exact"), pl.len()
    )
    names = lost.filter((pl.col("finished") == 0) & pl.col("exact") & (pl.col("len") > 1))
    own = begun.filter(pl.col("condition").is_in(names["condition"].to_list()))
    if own.is_empty():
        return None
    return {"where": places(own, begun, axes), "trials": own["started"].sum()}


def _grouped(found: Sequence[Outcome]) -> list[Row]:
    """The printed success rates with the same answer for the same reason, by table and method."""
    grouped: dict[tuple[str, str], dict[tuple[str, str], list[Outcome]]] = {}
    for one in sorted(found, key=lambda one: ANSWERS.index(one.answer)):
        group = grouped.setdefault((one.answer, one.reason), {})
        group.setdefault((one.table, one.row), []).append(one)
    several = len({one.table for one in found}) > 1
    rows = []
    for (answer, reason), group in grouped.items():
        where = []
        for (paper_table, name), own in group.items():
            axis, columns = own[0].axis, [one.column for one in own]
            at = [*([paper_table] if several else []), *([listed(axis, columns)] if axis else [])]
            where.append(name + (f" ({'; '.join(at)})" if at else ""))
        cell = own[0].cell
        rows.append({"answer": answer, "reason": reason, "where": where,
                     "failed": cell["diverged"], "raised": cell["exceptions"]})  # fmt: skip
    return rows


def _unseen(begun: pl.DataFrame) -> int:
    """The most steps without a failure, of one method: what is rarer cannot be seen."""
    lives = pl.col("decomposes") & (pl.col("diverged") == 0) & (pl.col("exceptions") == 0)
    steps = begun.filter(lives)["total_steps"]
    most = stats.hazard(0, int(steps.max())) if len(steps) and steps.max() else None  # type: ignore[arg-type]
    return int(1 / most.high) if most else 0


# Chapters.


def _survival(frames: Frames, trials: pl.DataFrame) -> list[Chapter]:
    """When trials were lost."""
    curve = training_figures.kaplan_meier(frames, trials)
    if not curve:
        return []
    lost = trials.filter(pl.col("outcome") == "diverged")
    begun = trials.filter(pl.col("begun").is_not_null())
    body = render(
        "training-survival",
        curve=curve,
        lost=len(lost),
        first=lost["begun"].min(),
        median=lost["begun"].median(),
        last=lost["begun"].max(),
        longest=begun["planned"].max(),
    )
    return [Chapter("Survival by step", body)]


def _loss(frames: Frames, steps: pl.DataFrame, cells: pl.DataFrame) -> list[Chapter]:
    """Training loss, and where it did not fall."""
    picture = training_figures.training_loss(frames, steps, cells)
    if not picture:
        return []
    flat = [f"{name_of(row)} ({row['not_learned']} of {row['finished']})"
            for row in cells.to_dicts() if row["not_learned"]]  # fmt: skip
    body = render("training-loss", picture=picture, flat=flat, last=LAST)
    return [Chapter("Training loss", body)]


def _gradient(frames: Frames, steps: pl.DataFrame, cells: pl.DataFrame) -> list[Chapter]:
    """The gradient that leaves the layer, its size beside the hybrid's, and spikes."""
    picture = training_figures.layer_gradient(frames, steps, cells)
    if not picture:
        return []
    body = render(
        "training-gradient",
        picture=picture,
        ratios=_norm_ratios(cells),
        spikes=_spikes(steps),
        reference=REFERENCE,
        factor=FACTOR,
        window=WINDOW,
        least=LEAST,
    )
    return [Chapter("The gradient that leaves the layer, and its spikes", body)]


def _norm_ratios(cells: pl.DataFrame) -> list[Row]:
    """Median norm over the hybrid's, least and largest, where both finished every trial."""
    whole = cells.filter((pl.col("finished") == pl.col("started")) & (pl.col("layer_norm") > 0))
    rows = []
    for name in values_of(whole.filter("decomposes"), "contestant"):
        both = pairs(whole, name, REFERENCE)
        if name == REFERENCE or both.is_empty():
            continue
        found = both.select("condition", r=pl.col("layer_norm") / pl.col("layer_norm_right"))
        least, most = (found.sort("r", descending=d).row(0, named=True) for d in (False, True))
        rows.append({"name": name, "least": least, "most": most, "n": len(found)})
    return rows


def _spikes(steps: pl.DataFrame) -> str:
    """Spikes of each contestant; steps whose gradient is not finite are counted apart."""
    begun = steps.filter("recorded")
    rows = []
    for (name,), own in begun.group_by("contestant", maintain_order=True):
        cell = [str(name)]
        for ratio in ("layer_ratio", "net_ratio"):
            judged = own[ratio].drop_nulls()
            spiked = int((judged > FACTOR).sum())
            cell += [f"{spiked} of {len(judged):,}" if len(judged) else "not judged",
                     scientific(float(judged.max())) if len(judged) else NOTHING]  # type: ignore[arg-type]  # fmt: skip
        lost = own.filter(pl.col("outcome") == "diverged")["id"].n_unique()
        rows.append([*cell, f"{lost} of {own['id'].n_unique()}"])
    headers = ["method", "spikes, layer", "largest", "spikes, net", "largest", "trials diverged"]
    return table(headers, rows)


def _errors(frames: Frames, cells: pl.DataFrame) -> list[Chapter]:
    """Test errors as points; differences only of cells with trials enough, and not at chance."""
    picture = training_figures.test_error(frames, cells)
    if not picture:
        return []
    body = render(
        "training-errors",
        picture=picture,
        differences=_differences(cells),
        testable=TESTABLE,
    )
    return [Chapter("Test error", body)]


def _differences(cells: pl.DataFrame) -> str:
    """Each cell beside the hybrid in its condition; the hybrid beside batch normalisation."""
    able = cells.filter((pl.col("errors").list.len() >= TESTABLE)
                        & ~pl.col("guesses").list.any())  # fmt: skip
    rows: list[tuple[Row, Row]] = []
    for cell in able.filter("decomposes").to_dicts():
        others = able.filter(
            (pl.col("contestant") == REFERENCE) & (pl.col("condition") == cell["condition"])
            if cell["contestant"] != REFERENCE
            else (pl.col("layer") == "bn") & (pl.col("model") == cell["model"])
        ).to_dicts()
        rows += [(cell, other) for other in others[:1]]
    decisions = stats.decide([
        stats.mean_difference(np.array(one["errors"]), np.array(other["errors"]))
        for one, other in rows
    ])  # fmt: skip
    body = [
        [name_of(one), other["contestant"],
         f"{len(one['errors'])}, {len(other['errors'])}",
         _points(decision.found), decision.answer, scientific(decision.adjusted)]
        for (one, other), decision in zip(rows, decisions, strict=True)
    ]  # fmt: skip
    headers = ["cell", "less", "trials", "difference, points (95 %)", "answer", "p, corrected"]
    return table(headers, body) if body else ""


def _points(found: stats.Interval | None) -> str:
    if found is None:
        return NOTHING
    value, low, high = (fixed(100 * end, 2, signed=True)
                        for end in (found.value, found.low, found.high))  # fmt: skip
    return f"{value} ({low} to {high})"


def _every_cell(cells: pl.DataFrame) -> Chapter:
    """A row a cell, planned and skipped ones too."""
    rows = []
    for one in cells.to_dicts():
        none = "skipped" if one["skipped"] else "not measured"
        rows.append([
            one["contestant"],
            one["condition"] or NOTHING,
            f"{one['finished']} of {one['started']}" if one["started"] else none,
            str(one["planned_trials"]),
            f"{one['total_steps']:,}",
            rate(stats.hazard(one["diverged"], one["total_steps"])),
            _median_error(one), _guessing(one),
            NOTHING if one["final_loss"] is None else f"{one['final_loss']:.3f}",
            NOTHING if one["rank_kept"] is None else f"{one['rank_kept']:.1f}",
        ])  # fmt: skip
    headers = ["method", "condition", "finished", "planned", "steps", "failures a step",
               "test error, %", "at chance", "final loss", "rank kept"]  # fmt: skip
    return Chapter("Every cell", render("training-cells", table=table(headers, rows), last=LAST))


def _ends(trials: pl.DataFrame) -> list[Chapter]:
    """Trials that diverged or ended in an exception: causes by method, then one by one."""
    lost = trials.filter(pl.col("outcome").is_in(["diverged", "exception"]))
    if lost.is_empty():
        return []
    why = pl.col("why").fill_null("not recorded")
    causes = lost.group_by("contestant", why, maintain_order=True).agg(pl.len())
    rows = [
        [name_of(one), str(one["seed"]), one["outcome"],
         one["why"] or "not recorded",
         NOTHING if one["begun"] is None else f"{one['begun']:.0f} of {one['planned'] or 0:.0f}",
         *(NOTHING if one[name] is None else scientific(one[name])
           for name in ("last_loss", "last_norm", "last_layer_norm"))]
        for one in lost.to_dicts()
    ]  # fmt: skip
    headers = ["cell", "random seed", "ended", "cause", "step", "last finite loss",
               "last finite gradient, net", "layer"]  # fmt: skip
    summary = table(["method", "cause", "trials"],
                    [[str(value) for value in row] for row in causes.rows()])  # fmt: skip
    body = render("training-ends", summary=summary, trials=table(headers, rows))
    return [Chapter(f"Trials that did not finish ({len(lost)})", body)]


def _spectra(cells: pl.DataFrame) -> list[Chapter]:
    """The ratio of neighbouring eigenvalues by both ways to count, beside the paper's."""
    own = cells.filter(pl.col("ratio").is_not_null())
    if own.is_empty():
        return []
    low, high = paper.NEIGHBOUR_RATIO
    above = own["ratio_above"].drop_nulls()

    def inside(ratios: pl.Series) -> int:
        return int(ratios.round(2).is_between(low, high).sum())

    def two(ratios: pl.Series) -> str:
        return span(ratios.to_list(), lambda value: f"{value:.2f}")

    rows = [
        [str(condition), two(found["ratio"]), two(found["ratio_above"].drop_nulls()),
         f"{len(found)}"]
        for (condition,), found in own.group_by("condition", maintain_order=True)
    ]  # fmt: skip
    body = render(
        "training-spectra",
        every=two(own["ratio"]), above=two(above), cells=len(own), cells_above=len(above),
        inside_every=inside(own["ratio"]), inside_above=inside(above), low=low, high=high,
        inputs=STEM_INPUTS, channels=STEM_CHANNELS,
        larger=any((row["d"] or STEM_CHANNELS) > STEM_INPUTS for row in own.to_dicts()),
        table=table(["condition", "all", "at least 10 ε", "cells"], rows),
    )  # fmt: skip
    return [Chapter("Ratio of neighbouring eigenvalues, beside the paper (§2.4)", body)]


def _times(cells: pl.DataFrame) -> list[Chapter]:
    """Step times, if those of batch normalisation agree between its own trials."""
    repeated = [own for own in cells.filter(pl.col("layer") == "bn")["step_times"].to_list()
                if len(own) > 1 and min(own) > 0]  # fmt: skip
    spread = max((max(own) / min(own) for own in repeated), default=None)
    rows = []
    if spread is not None and spread <= STEADY:
        by = ["contestant", *(["model"] if cells["model"].n_unique() > 1 else [])]
        timed = cells.explode("step_times").filter(pl.col("step_times").is_not_null())
        for names, group in timed.group_by(by, maintain_order=True):
            times = 1000 * group["step_times"].to_numpy()
            rows.append([", ".join(map(str, names)), f"{len(times)}", f"{np.median(times):.3g}",
                         f"{times.min():.3g}–{times.max():.3g}"])  # fmt: skip
    found = table(["method", "trials", "median step, ms", "least to largest"], rows) if rows else ""
    body = render("training-times", table=found, spread=spread, steady=STEADY)
    return [Chapter("Step times", body)]


def _how_to_read(cells: pl.DataFrame) -> Chapter:
    own = cells.filter(pl.col("layer") == "zca")
    body = render(
        "training-reading",
        last=LAST, factor=FACTOR,
        whitening=len(own) > 0,
        own_truncation=own["truncation"].null_count() > 0,
        chance=chance(values_of(cells, "data")[0]),
        exceptions=plural(int(cells["exceptions"].sum()), "trial"),
    )  # fmt: skip
    return Chapter("How to read it", body)
