"""The part of a report that is about trainings: who survives, how sure that is, and the paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from eigbench.kinds.train import BEFORE_A_FAILURE, TrainCase
from eigbench.report import numbers, paper, stats
from eigbench.report.chapters import paper_tables, survival, test_errors, training_figures, trials
from eigbench.report.chapters.trials import EXACT, REFERENCE, pairs, places
from eigbench.report.frame import Frames, values_of
from eigbench.report.numbers import NOTHING, count, scientific, span
from eigbench.report.render import Chapter, Part, render, table

Row = dict[str, Any]

WHOLE = pl.col("finished") == pl.col("started")
"""Of a cell or a contestant that started trials: it lost none."""


def part(frames: Frames) -> Part | None:
    """The part of a report that is about trainings; None if there are none, planned or recorded."""
    if frames.run.suite.training is None and not frames.records(TrainCase):
        return None
    steps = trials.steps_of(frames)
    every = trials.trials_of(frames, steps)
    if every.is_empty():
        return None
    cells, contestants = trials.cells_of(every), trials.cells_of(every, by=["contestant"])
    judged = survival.judged(frames.run.suite.compare, cells)
    errors = test_errors.compared(every)
    sentences = _sentences(every, cells, contestants, judged, errors)
    head = render(
        "training",
        picture=training_figures.survival_map(frames, cells),
        table=_methods(contestants),
        conditions=cells.filter("decomposes")["condition"].n_unique(),
        sentences=sentences,
    )
    loss = training_figures.curves(frames, steps, cells, "loss")
    reading = render(
        "training-reading",
        own_truncation=cells.filter(layer="zca")["truncation"].null_count() > 0,
        chance=trials.chance(values_of(cells, "data")[0]),
    )
    chapters = [
        *paper_tables.chapters(frames, cells),
        test_errors.chapter(errors),
        survival.chapter(judged),
        _lost(frames, every),
        Chapter("Training loss", render("training-loss", **loss)) if loss else None,
        _gradient(frames, steps, cells, contestants),
        _every_cell(cells),
        Chapter("How to read it", reading),
    ]
    return Part(
        title="Trainings",
        head=head,
        chapters=[chapter for chapter in chapters if chapter],
        sentences=sentences,
        banner=paper_tables.banner(frames, cells),
    )


def _methods(contestants: pl.DataFrame) -> str:
    """A row a method, over all of its conditions."""
    rows = [
        [one["contestant"], _finished(one), count(one["total_steps"]),
         numbers.rate(stats.hazard(one["diverged"], one["total_steps"])),
         f"{sum(one['guesses'])} of {len(one['guesses'])}" if one["guesses"] else NOTHING]
        for one in contestants.to_dicts()
    ]  # fmt: skip
    return table(["method", "trials that finished", "steps", "failures a step", "at chance"], rows)


def _finished(one: Row, counted: Callable[[int, int], str] = "{} of {}".format) -> str:
    """How many trials of a cell or contestant finished, or why there are none."""
    if not one["started"]:
        return "skipped" if one["skipped"] else "not measured"
    rest = one["planned_trials"] - one["started"] - one["skipped"]
    return counted(one["finished"], one["started"]) + (f", {rest} not started" if rest else "")


# The sentences of the opening.


def _sentences(
    every: pl.DataFrame,
    cells: pl.DataFrame,
    contestants: pl.DataFrame,
    judged: Sequence[survival.Judged],
    errors: Sequence[test_errors.Difference],
) -> list[str]:
    """What the numbers say: who lost trials, who differs, what cannot be said; Markdown."""
    begun, methods = (one.filter(pl.col("started") > 0) for one in (cells, contestants))
    if begun.is_empty():
        return []
    longest = max(values_of(begun, "steps_planned"), default=0)
    guesses = begun["guesses"].explode().drop_nulls()
    clean = methods.filter("decomposes", diverged=0, exceptions=0)
    unfailing = max(values_of(clean, "total_steps"), default=0)
    open_cells = [one.cell for one in judged if one.verdict == "open"]
    quiet = [one["total_steps"] for one in open_cells if not one["diverged"] + one["exceptions"]]
    seeds = every["seed"].n_unique()
    beaten, hopeless = _extremes(begun)
    columns = ("finished", "started", "finished_right", "started_right")
    both = pairs(begun, REFERENCE, EXACT).select(columns)
    text = render(
        "training-sentences",
        whole=values_of(methods.filter(WHOLE), "contestant"),
        lost=methods.filter(~WHOLE).to_dicts(),
        shown=[(name, one) for name, one in trials.against(every, REFERENCE).items() if one.shown],
        alike=both.sum().row(0, named=True) if len(both) else None,
        conditions=len(both),
        same=both["finished"].equals(both["finished_right"])
        and both["started"].equals(both["started_right"]),
        beaten=beaten,
        hopeless=hopeless,
        verdicts=survival.by_verdict(judged) if judged else None,
        judgements=len(judged),
        open=len(open_cells),
        quiet=quiet,
        steps=paper.STEPS,
        unseen=_unseen(unfailing),
        seeds=seeds,
        least_p=stats.discordant(seeds, 0),
        several=methods.filter("decomposes").height > 1,
        significant=stats.SIGNIFICANT,
        guessing=guesses.sum(),
        judged=len(guesses),
        chance=trials.chance(values_of(cells, "data")[0]),
        few=longest <= trials.FEW_STEPS,
        errors=test_errors.summaries(errors) if longest > trials.FEW_STEPS else [],
    )  # fmt: skip
    return [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]


def _unseen(steps: int) -> int:
    """Rates below one failure in how many steps cannot be seen in so many without one."""
    return int(1 / stats.hazard(0, steps).high)


def _extremes(begun: pl.DataFrame) -> tuple[list[Row], Row | None]:
    """Who lost every trial where the hybrid and the exact gradient lost none; and where all did.

    Of PI also the sizes at which Table 2 prints the same, which was without Algorithm 1.
    """
    own = begun.filter("decomposes").with_columns(
        safe=(WHOLE & pl.col("contestant").is_in([REFERENCE, EXACT])).sum().over("condition") == 2,
        exact=(pl.col("contestant") == EXACT).any().over("condition"),
        several=pl.len().over("condition") > 1,
        survived=pl.col("finished").sum().over("condition"),
    )
    beaten = []
    for (name,), lost in own.filter("safe", finished=0).group_by("contestant", maintain_order=True):
        papers = lost.filter(method="pi", layer="zca", truncation="none", iterations=paper.K,
                             epsilon=paper.EPSILON)  # fmt: skip
        printed = [d for d in values_of(papers, "d")
                   if paper.TABLE_2.get(("pi", d), paper.Printed()).success == 0]  # fmt: skip
        beaten.append({"name": name, "where": places(lost, own), "trials": lost["started"].sum(),
                       "d": printed})  # fmt: skip
    all_lost = own.filter("exact", "several", survived=0)
    where = {"where": places(all_lost, own), "trials": all_lost["started"].sum()}
    return beaten, where if len(all_lost) else None


# Chapters.


def _lost(frames: Frames, every: pl.DataFrame) -> Chapter | None:
    """Trials that diverged or ended in an exception: when, in which cell, and by what cause."""
    lost = every.filter(pl.col("outcome").is_in(["diverged", "exception"]))
    if lost.is_empty():
        return None
    why = pl.col("why").fill_null("not recorded")
    causes = lost.group_by("cell", "outcome", why, maintain_order=True).agg("seed", "begun")
    ends = [
        [one["cell"], one["outcome"], one["why"], ", ".join(map(str, one["seed"])),
         span([step for step in one["begun"] if step is not None], count)]
        for one in causes.to_dicts()
    ]  # fmt: skip
    body = render(
        "training-lost",
        ends=table(["cell", "ended", "cause", "random seeds", "in step"], ends),
        link=training_figures.kaplan_meier(frames, every),
        way=survival.way(frames, every),
        window=BEFORE_A_FAILURE,
    )
    return Chapter(f"Trials that did not finish ({len(lost)})", body)


def _gradient(
    frames: Frames, steps: pl.DataFrame, cells: pl.DataFrame, contestants: pl.DataFrame
) -> Chapter | None:
    """The gradient that leaves the layer, its size beside the hybrid's, and spikes."""
    picture = training_figures.curves(frames, steps, cells, "layer_gradient_norm")
    if not picture:
        return None
    sound = cells.filter(WHOLE, pl.col("layer_norm") > 0)
    rows = []
    for one in contestants.filter(pl.col("started") > 0).to_dicts():
        both = pairs(sound, one["contestant"], REFERENCE)
        ratios = (both["layer_norm"] / both["layer_norm_right"]).to_list()
        own = steps.filter(pl.col("id").is_in(one["ids"]), "recorded")
        rows.append([
            one["contestant"],
            f"{span(ratios, scientific)} (n = {len(ratios)})" if ratios else NOTHING,
            *(spikes(own[ratio].drop_nulls()) for ratio in ("layer_ratio", "net_ratio")),
        ])  # fmt: skip
    headers = ["method", f"norm, layer, over {REFERENCE}", "spikes, layer", "spikes, net"]
    body = render("training-gradient", **picture, table=table(headers, rows), reference=REFERENCE,
                  factor=trials.FACTOR, steps=trials.WINDOW, least=trials.LEAST)  # fmt: skip
    return Chapter("The gradient that leaves the layer, and its spikes", body)


def spikes(ratios: pl.Series) -> str:
    """How many norms are spikes, of those that are judged, and the largest ratio."""
    if ratios.is_empty():
        return "not judged"
    largest = scientific(max(ratios))
    return f"{(ratios > trials.FACTOR).sum()} of {len(ratios):,} (largest {largest} ×)"


def _every_cell(cells: pl.DataFrame) -> Chapter:
    """A row a cell, planned and skipped ones too."""
    means = {"final_loss": 3, "rank_kept": 1, "ratio": 2, "ratio_above": 2}
    rows = []
    for one in cells.to_dicts():
        errors, at_chance = one["errors"], sum(one["guesses"])
        told = f"{100 * float(np.median(errors)):.1f} (n = {len(errors)}" if errors else NOTHING
        told += (f", {at_chance} at chance)" if at_chance else ")") * bool(errors)
        rows.append([
            one["contestant"], one["condition"] or NOTHING, _finished(one, numbers.counted),
            count(one["total_steps"]), told,
            *(NOTHING if one[name] is None else f"{one[name]:.{digits}f}"
              for name, digits in means.items()),
        ])  # fmt: skip
    kept = cells.filter(pl.col("energy").is_not_null())
    headers = ["method", "condition", "finished (95 %)", "steps", "test error, %", "final loss",
               "rank kept", "ratio, all", "ratio, ≥ 10 ε"]  # fmt: skip
    body = render(
        "training-cells",
        table=table(headers, rows),
        last=trials.LAST,
        ratio=paper.NEIGHBOUR_RATIO,
        ranks=[(one, paper.RANK[one]) for one in values_of(kept, "energy") if one in paper.RANK],
    )
    return Chapter("Every cell", body)
