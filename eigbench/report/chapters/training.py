"""The part of a report that is about trainings: who survives, how sure that is, and the paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from eigbench.kinds.train import TrainCase
from eigbench.report import numbers, paper, stats
from eigbench.report.chapters import paper_tables, training_figures, trials
from eigbench.report.chapters.paper_tables import Outcome
from eigbench.report.chapters.trials import EXACT, REFERENCE, pairs, places
from eigbench.report.frame import Frames, values_of
from eigbench.report.numbers import NOTHING, count, scientific, span
from eigbench.report.render import Chapter, Part, render, table

Row = dict[str, Any]

TESTABLE = 4
"""Test errors of fewer finished trials a cell are not compared."""
FEW_STEPS = 1000
"""After so few steps, running statistics lag behind the weights."""
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
    found = paper_tables.outcomes(frames.run.suite.compare, cells)
    sentences = _sentences(cells, contestants, found)
    methods = [
        [one["contestant"], *_columns(one, numbers.counted(one["finished"], one["started"]))]
        for one in contestants.to_dicts()
    ]
    head = render(
        "training",
        picture=training_figures.survival_map(frames, cells),
        table=table(["method", "trials that finished", *COLUMNS], methods),
        conditions=cells.filter("decomposes")["condition"].n_unique(),
        sentences=sentences,
    )
    chapters = [
        *paper_tables.chapters(frames, cells, found),
        _lost(frames, every),
        _loss(frames, steps, cells),
        _gradient(frames, steps, cells, contestants),
        _every_cell(frames, cells),
        _how_to_read(cells),
    ]
    return Part(
        title="Trainings",
        head=head,
        chapters=[chapter for chapter in chapters if chapter],
        summary=[re.sub(r"[*`]", "", sentence) for sentence in sentences],
        banner=paper_tables.banner(frames, cells),
    )


COLUMNS = ("steps", "failures a step", "test error, %", "at chance")


def _columns(one: Row, finished: str) -> list[str]:
    """How much of a cell or a contestant finished, and the `COLUMNS`."""
    errors, guesses = one["errors"], one["guesses"]
    if not one["started"]:
        return ["skipped" if one["skipped"] else "not measured", *[NOTHING] * len(COLUMNS)]
    return [
        finished,
        count(one["total_steps"]),
        numbers.rate(stats.hazard(one["diverged"], one["total_steps"])),
        f"{100 * float(np.median(errors)):.1f} (n = {len(errors)})" if errors else NOTHING,
        f"{sum(guesses)} of {len(guesses)}" if guesses else NOTHING,
    ]


# The sentences of the opening.


def _sentences(
    cells: pl.DataFrame, contestants: pl.DataFrame, found: Sequence[Outcome]
) -> list[str]:
    """What the numbers say: who lost trials, who differs, what cannot be said; Markdown."""
    begun = cells.filter(pl.col("started") > 0)
    methods = contestants.filter(pl.col("started") > 0)
    if begun.is_empty():
        return []
    longest = max(values_of(begun, "steps_planned"), default=0)
    guesses = begun["guesses"].explode().drop_nulls()
    most = max(values_of(begun, "started"))
    clean = methods.filter("decomposes", diverged=0, exceptions=0)
    unfailing = max(values_of(clean, "total_steps"), default=0)
    text = render(
        "training-sentences",
        whole=values_of(methods.filter(WHOLE), "contestant"),
        lost=[{**one, "where": places(own.filter(~WHOLE), own)}
              for one in methods.filter(~WHOLE).to_dicts()
              for own in [begun.filter(contestant=one["contestant"])]],
        shown=[f"{name} ({one.answer}, p = {scientific(one.adjusted)})"
               for name, one in trials.against(begun, REFERENCE).items() if one.shown],
        alike=_alike(begun),
        beaten=_beaten(begun),
        hopeless=_hopeless(begun),
        outcomes=paper_tables.grouped(found),
        steps=paper.STEPS,
        longest=longest,
        unseen=int(1 / stats.hazard(0, unfailing).high) if unfailing else 0,
        most=most,
        least_p=stats.least_fisher([(most, most)]),
        several=cells.filter("decomposes")["contestant"].n_unique() > 1,
        significant=stats.SIGNIFICANT,
        guessing=guesses.sum(),
        judged=len(guesses),
        chance=trials.chance(values_of(cells, "data")[0]),
        few=longest <= FEW_STEPS,
    )  # fmt: skip
    return [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]


def _alike(begun: pl.DataFrame) -> Row | None:
    """The paper's method beside the exact gradient, in the conditions of both."""
    both = pairs(begun, REFERENCE, EXACT)
    if both.is_empty():
        return None
    sums = both.select(pl.col("finished", "started", "finished_right", "started_right").sum())
    same = both.filter(finished=pl.col("finished_right"), started=pl.col("started_right"))
    return {**sums.row(0, named=True), "conditions": len(both), "same": len(same) == len(both)}


def _beaten(begun: pl.DataFrame) -> list[Row]:
    """Who lost every trial of conditions in which the hybrid and the exact gradient lost none.

    Of PI also the sizes at which Table 2 prints the same, which was without truncation.
    """
    safe = begun.filter(pl.col("contestant").is_in([REFERENCE, EXACT]), WHOLE)
    both = safe.group_by("condition").len().filter(len=2)
    none = begun.filter(finished=0).join(both, on="condition", how="semi", maintain_order="left")
    rows = []
    for (name,), own in none.group_by("contestant", maintain_order=True):
        papers = own.filter(method="pi", layer="zca", truncation="none", iterations=paper.K,
                            epsilon=paper.EPSILON)  # fmt: skip
        printed = [d for d in values_of(papers, "d")
                   if paper.TABLE_2.get(("pi", d), paper.Printed()).success == 0]  # fmt: skip
        where = places(own, begun.filter("decomposes"))
        rows.append({"name": name, "where": where, "trials": own["started"].sum(), "d": printed})
    return rows


def _hopeless(begun: pl.DataFrame) -> Row | None:
    """Where no method finished a trial, the exact gradient among several."""
    own = begun.filter("decomposes")
    none = own.group_by("condition").agg(
        pl.len(), pl.col("finished").sum(), exact=(pl.col("method") == EXACT).any()
    )
    none = none.filter("exact", pl.col("len") > 1, finished=0)
    lost = own.join(none, on="condition", how="semi", maintain_order="left")
    return {"where": places(lost, own), "trials": lost["started"].sum()} if len(lost) else None


# Chapters.


def _lost(frames: Frames, every: pl.DataFrame) -> Chapter | None:
    """Trials that diverged or ended in an exception: when, in which cell, and by what cause."""
    lost = every.filter(pl.col("outcome").is_in(["diverged", "exception"]))
    if lost.is_empty():
        return None
    seen = every.filter(pl.col("begun") > 0).with_columns(pl.col("begun").cast(pl.Int64))
    losing = values_of(seen.filter(outcome="diverged"), "contestant")
    steps = seen.filter(outcome="diverged")["begun"]
    last = max(values_of(seen, "begun"), default=1)
    at = sorted({1, *(max(1, round(last * part / 4)) for part in (1, 2, 3, 4))})
    risk = [
        [name, *(str(len(seen.filter(pl.col("begun") >= step, contestant=name))) for step in at)]
        for name in losing
    ]
    why = pl.col("why").fill_null("not recorded")
    causes = lost.group_by("cell", "outcome", why, maintain_order=True).agg("seed", "begun")
    ends = [
        [one["cell"], one["outcome"], one["why"], str(len(one["seed"])),
         ", ".join(map(str, one["seed"])),
         span([step for step in one["begun"] if step is not None], count)]
        for one in causes.to_dicts()
    ]  # fmt: skip
    body = render(
        "training-lost",
        ends=table(["cell", "ended", "cause", "trials", "random seeds", "in step"], ends),
        link=training_figures.kaplan_meier(frames, seen, losing) if losing else "",
        risk=table(["trials at risk in step", *map(str, at)], risk),
        lost=len(steps), first=steps.min(), median=steps.median(), last=steps.max(),
        longest=seen["steps_planned"].max(),
    )  # fmt: skip
    return Chapter(f"Trials that did not finish ({len(lost)})", body)


def _loss(frames: Frames, steps: pl.DataFrame, cells: pl.DataFrame) -> Chapter | None:
    """Training loss, and where it did not fall."""
    picture = training_figures.curves(frames, steps, cells, "loss")
    if not picture:
        return None
    flat = [f"{one['cell']} ({one['not_learned']} of {one['finished']})"
            for one in cells.filter(pl.col("not_learned") > 0).to_dicts()]  # fmt: skip
    return Chapter("Training loss", render("training-loss", **picture, flat=flat, last=trials.LAST))


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
            *(_spikes(own[ratio].drop_nulls().to_list()) for ratio in ("layer_ratio", "net_ratio")),
            f"{one['diverged']} of {one['started']}",
        ])  # fmt: skip
    headers = ["method", f"norm, layer, over {REFERENCE}", "spikes, layer", "spikes, net",
               "trials that diverged"]  # fmt: skip
    body = render("training-gradient", **picture, table=table(headers, rows), reference=REFERENCE,
                  factor=trials.FACTOR, steps=trials.WINDOW, least=trials.LEAST)  # fmt: skip
    return Chapter("The gradient that leaves the layer, and its spikes", body)


def _spikes(ratios: list[float]) -> str:
    if not ratios:
        return "not judged"
    found = sum(ratio > trials.FACTOR for ratio in ratios)
    return f"{found} of {len(ratios):,} (largest {scientific(max(ratios))} ×)"


def _differences(cells: pl.DataFrame) -> str:
    """Each cell beside the hybrid in its condition; the hybrid beside batch normalisation."""
    able = cells.filter(pl.col("errors").list.len() >= TESTABLE, ~pl.col("guesses").list.any())
    rows: list[tuple[Row, Row]] = []
    for cell in able.filter("decomposes").to_dicts():
        others = (
            able.filter(contestant=REFERENCE, condition=cell["condition"])
            if cell["contestant"] != REFERENCE
            else able.filter(layer="bn", model=cell["model"])
        )
        rows += [(cell, other) for other in others.head(1).to_dicts()]
    decisions = stats.decide([
        stats.mean_difference(np.array(one["errors"]), np.array(other["errors"]))
        for one, other in rows
    ])  # fmt: skip
    body = [
        [one["cell"], other["contestant"], f"{len(one['errors'])}, {len(other['errors'])}",
         numbers.difference(decision.found, 100), decision.answer, scientific(decision.adjusted)]
        for (one, other), decision in zip(rows, decisions, strict=True)
    ]  # fmt: skip
    headers = ["cell", "less", "trials", "difference, points (95 %)", "answer", "p, corrected"]
    return table(headers, body) if body else ""


def _every_cell(frames: Frames, cells: pl.DataFrame) -> Chapter:
    """A row a cell, planned and skipped ones too; and test errors, as far as they can be compared.

    They are drawn in the paper's setting alone: those of short trainings say nothing.
    """
    rows = []
    for one in cells.to_dicts():
        rest = one["planned_trials"] - one["started"]
        finished = f"{one['finished']} of {one['started']}" + (
            f", {rest} not started" if rest else ""
        )
        means = (("final_loss", 3), ("rank_kept", 1), ("ratio", 2), ("ratio_above", 2))
        rows.append([
            one["contestant"], one["condition"] or NOTHING, *_columns(one, finished),
            *(NOTHING if one[name] is None else f"{one[name]:.{digits}f}"
              for name, digits in means),
        ])  # fmt: skip
    headers = ["method", "condition", "finished", *COLUMNS, "final loss", "rank kept",
               "ratio, all", "ratio, ≥ 10 ε"]  # fmt: skip
    papers = paper_tables.is_papers(frames, cells)
    body = render(
        "training-cells",
        table=table(headers, rows),
        last=trials.LAST,
        differences=_differences(cells),
        testable=TESTABLE,
        link=training_figures.test_error(frames, cells) if papers else "",
    )
    return Chapter("Every cell", body)


def _how_to_read(cells: pl.DataFrame) -> Chapter:
    own = cells.filter(layer="zca")
    body = render(
        "training-reading",
        own_truncation=own["truncation"].null_count() > 0,
        chance=trials.chance(values_of(cells, "data")[0]),
        exceptions=numbers.plural(int(cells["exceptions"].sum()), "trial"),
    )
    return Chapter("How to read it", body)
