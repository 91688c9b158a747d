"""The part of trainings: what it says of recorded runs, and what it does not say."""

from __future__ import annotations

import math
import random
import re
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from eigbench.kinds import Case
from eigbench.kinds.train import TrainCase
from eigbench.report.chapters import training, training_figures, trials
from eigbench.report.frame import STEP_SERIES, Frames
from eigbench.report.render import Part
from eigbench.runs.record import SCHEMA, Record, number
from eigbench.runs.store import Environment, Run, read_run
from eigbench.runs.suite import Grid, Suite, cases
from tests.report.trainings import environment, record, suite

GOLDEN = Path(__file__).parent / "golden-train"
SAMPLES = Path(__file__).parents[2] / "reports"
Change = Callable[[Record], Record | None]


def frames_of(of: Suite, records: Sequence[Record], folder: Path = Path()) -> Frames:
    known = Environment(schema=SCHEMA, sessions=[environment()])
    return Frames(Run(suite=of, environment=known, records=list(records)), folder)


def part_of(of: Suite, records: Sequence[Record], folder: Path = Path()) -> Part:
    part = training.part(frames_of(of, records, folder))
    assert part is not None
    return part


def cells_in(frames: Frames) -> pl.DataFrame:
    return trials.cells_of(trials.trials_of(frames, trials.steps_of(frames)))


def whole(part: Part) -> str:
    return "\n\n".join([*part.banner, part.head, *(chapter.text for chapter in part.chapters)])


def chapter(part: Part, title: str) -> str:
    return next(one.body for one in part.chapters if one.title.startswith(title))


def made(change: Change = lambda one: one, of: Suite | None = None) -> Part:
    """The part of a small run with each record changed, or left out."""
    of = of or suite()
    changed = [change(record(case)) for case in cases(of)]
    return part_of(of, [one for one in changed if one is not None])


def ended(one: Record, outcome: str, steps: int | None = None) -> Record:
    """The record of a trial that ended so, after so many steps."""
    if outcome == "exception":
        return msgspec.structs.replace(one, status="failed", reason="RuntimeError: no memory")
    last = (steps or len(one.samples.get("loss", []))) - 1
    cause = f"loss not finite at step {last}; last finite loss 2" if outcome == "diverged" else ""
    labels = {**one.labels, "outcome": [outcome], "cause": [cause]}
    samples = {
        name: values[:steps] if len(values) > 2 else values for name, values in one.samples.items()
    }
    if outcome == "diverged":
        samples["test_error"] = []
    return msgspec.structs.replace(
        one, status="measured", reason=None, labels=labels, samples=samples
    )


def with_samples(one: Record, **samples: list[float]) -> Record:
    written = {name: [number(v) for v in values] for name, values in samples.items()}
    return msgspec.structs.replace(one, samples={**one.samples, **written})


def finished(one: Record) -> Record | None:
    return ended(record(one.case), "finished") if one.labels else None


def stress() -> Suite:
    """The grid in which PI loses Algorithm 1's truncation."""
    conditions: dict[str, Any] = {
        "d": [4, 32, 64], "epsilon": [1e-4, 1e-6], "truncation": ["algorithm-1", "none"],
    }  # fmt: skip
    grids = [
        Grid(layer=["bn"], method=["hybrid"]),
        Grid(layer=["zca"], method=["svd", "pi", "hybrid", "spectral"], **conditions),
    ]
    return suite(grids=grids, compare="")


def fragile(one: Record) -> Record:
    """PI diverges without truncation; the hybrid and the exact gradient with ε = 1e-6 besides."""
    case = one.case
    assert isinstance(case, TrainCase)
    bare = case.truncation == "none"
    dies = case.method == "pi" or (case.method != "svd" and case.epsilon == 1e-6)
    return ended(one, "diverged" if bare and dies else "finished", 12 if bare and dies else None)


def test_the_part_is_the_golden_one(tmp_path: Path) -> None:
    """After a wanted change: copy what is made into `golden-train/training.md`."""
    part = training.part(Frames(read_run(GOLDEN / "run"), tmp_path))
    assert part is not None
    assert whole(part) + "\n" == (GOLDEN / "training.md").read_text("utf-8")
    links = set(re.findall(r"\]\((figures/[^)]+)\)", whole(part)))
    assert links == {f"figures/{path.name}" for path in (tmp_path / "figures").iterdir()}
    assert len(links) == 4


def test_the_same_records_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    found = []
    for turn in range(2):
        run = read_run(GOLDEN / "run")
        records = list(run.records)
        random.Random(turn).shuffle(records)
        folder = tmp_path / str(turn)
        part = training.part(Frames(msgspec.structs.replace(run, records=records), folder))
        assert part is not None
        pictures = [path.read_bytes() for path in sorted((folder / "figures").iterdir())]
        found.append((whole(part), part.summary, pictures))
    assert found[0] == found[1]


@pytest.mark.usefixtures("undrawn")
def test_any_subset_of_the_records_makes_a_report_and_drops_no_cell() -> None:
    of = suite()
    records = [record(case) for case in cases(of)]
    draw = random.Random(0)
    subsets = [[], records[:1], records[-1:]]
    subsets += [draw.sample(records, size) for size in (1, 2, 5, 13, 21)]
    for kept in subsets:
        part = part_of(of, kept)
        assert chapter(part, "Every cell").count("\n|") == 1 + 11
        if not kept:
            assert part.head.count("| not measured") == 6
            assert "47 %" in chapter(part, "Table 2")


@pytest.mark.usefixtures("undrawn")
def test_what_was_skipped_or_not_started_says_so() -> None:
    """The small run skips svd-released at d = 16."""
    cells = chapter(made(), "Every cell")
    row = next(line for line in cells.splitlines() if re.match(r"\| svd-released +\| d = 16", line))
    assert "skipped" in row
    assert (
        training.part(frames_of(msgspec.structs.replace(suite(), training=None, grids=[]), []))
        is None
    )


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0])
def test_one_number_everywhere(value: float) -> None:
    def change(one: Record) -> Record:
        return with_samples(one, **{name: [value] * len(v) for name, v in one.samples.items()})

    assert "finished" in made(change, suite(seeds=1)).head


@pytest.mark.usefixtures("undrawn")
def test_no_series_is_needed() -> None:
    def without(name: str, one: Record) -> Record:
        samples = {key: values for key, values in one.samples.items() if key != name}
        return msgspec.structs.replace(one, samples=samples)

    for name in record(cases(suite())[0]).samples:
        assert "Every cell" in whole(made(partial(without, name), suite(seeds=1))), name
    nothing = made(lambda one: ended(msgspec.structs.replace(one, samples={}), "diverged", 1))
    assert "- **Lost trials:** bn 3 of 3, svd 6 of 6, " in nothing.head
    assert "; none by" not in nothing.head


def test_every_axis_of_every_figure_is_labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(figure: Figure, _folder: Path, name: str) -> str:
        visible = [axes for axes in figure.axes if axes.get_visible()]
        assert any(axes.get_xlabel() for axes in visible), name
        assert any(axes.get_ylabel() for axes in visible), name
        assert all("no unit" not in axes.get_xlabel() + axes.get_ylabel() for axes in visible)
        assert all(len(axes.get_legend_handles_labels()[1]) <= 5 for axes in visible), name
        seen.append(name)
        plt.close(figure)
        return name

    monkeypatch.setattr(training_figures, "save", look)
    made()
    assert seen == [
        "survival", "training-loss", "survival-by-step", "layer-gradient-norm",
    ]  # fmt: skip


# What is said first.


@pytest.mark.usefixtures("undrawn")
def test_pi_without_its_net_is_table_2s_row_and_is_said_first() -> None:
    """Review 0.5 and 1.4: PI dies where the hybrid and the exact gradient live alike."""
    lost, safe, *_ = made(fragile, stress()).summary
    assert lost == (
        "Lost trials: pi 18 of 36, hybrid 9 of 36, spectral 9 of 36; none by bn and svd."
    )
    assert safe == (
        "Beside the exact gradient (spectral): hybrid finishes equally often in every condition, "
        "27 of 36 each. Where both lose none, pi finishes 0 of 9 (d = 4, 32, 64; ε = 0.0001; "
        "no truncation), as Table 2 prints for d = 32, 64."
    )


@pytest.mark.usefixtures("undrawn")
def test_methods_are_compared_seed_by_seed() -> None:
    """A seed gives all methods the same weights and order of the data, in all conditions.

    Fisher's test of the 36 trials on each side once called the difference of three seeds shown.
    """
    three = made(fragile, stress())
    assert "p = " not in three.summary[0]
    assert "3 random seeds can show none (least p of the sign test: 0.25)" in three.summary[-1]
    six = made(fragile, msgspec.structs.replace(stress(), seeds=6)).summary
    for name, word in (("pi", "fewer"), ("svd", "more")):
        found = f"{name} finishes {word} than hybrid (sign test over 6 random seeds, corrected p = "
        assert f"{found}0.047)" in six[0]
    assert "spectral finishes" not in six[0]
    assert "can show none" not in six[-1]


@pytest.mark.usefixtures("undrawn")
def test_what_no_method_survives_is_not_the_gradients_fault() -> None:
    def change(one: Record) -> Record:
        bare = getattr(one.case, "truncation", None) == "none"
        return ended(one, "diverged" if bare else "finished", 9 if bare else None)

    assert (
        "**No method helps** (d = 4, 32, 64; ε = 1e-06, 0.0001; no truncation): "
        "0 of 72 trials finish, the exact gradient's included."
    ) in made(change, stress()).head


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("seeds", "least"), [(2, "0.50"), (5, "0.06"), (6, None)])
def test_a_test_that_cannot_succeed_is_said_once(seeds: int, least: str | None) -> None:
    """Review 0.7: of so few seeds the least p is 0.06 or more; "no difference" is not said."""
    text = whole(made(finished, suite(seeds=seeds)))
    words = f"{seeds} random seeds can show none (least p of the sign test: {least})"
    assert text.count(words) == (1 if least else 0)
    for banned in ("o difference", "not told", "came back", "Least mean", "held to", "Fisher"):
        assert banned not in text, banned


@pytest.mark.usefixtures("undrawn")
def test_survival_without_failure_bounds_the_rate() -> None:
    head = made(finished).head
    assert re.search(r"\| hybrid +\| 6 of 6 .* 240 \| 0 \(below 1 in 80 steps\)", head)
    assert "Not seen in this run:** failures rarer than 1 in 80 steps;" in head


@pytest.mark.usefixtures("undrawn")
def test_an_exception_is_no_divergence() -> None:
    """The small run: svd at d = 16 ran out of memory once, and diverged never."""
    part = made()
    assert "**Lost trials:** svd 1 of 6 (1 exception), pi 1 of 6; none by bn, " in part.head
    assert re.search(r"\| svd +\| 5 of 6 .*\| 0 \(below", part.head)
    assert "RuntimeError: out of memory" in chapter(part, "Trials that did not finish (2)")
    assert "open in 7 of 7 cells, of which 5 had no failure in 120 steps at most" in part.head


# Nets at chance.


@pytest.mark.parametrize(
    ("error", "data", "images", "guesses"),
    [
        (0.90, "cifar10-mini", None, True),
        (0.926, "cifar10-mini", None, True),  # worse than guessing is no better
        (0.88, "cifar10-mini", None, True),  # of 500 images: 84.9 to 90.6 %
        (0.88, "cifar10", None, False),  # of 10,000
        (0.78, "cifar10-mini", None, False),
        (0.985, "cifar100", 500, True),
        (0.90, "mine", 500, None),
        (None, "cifar10", None, None),
    ],
)
def test_a_net_at_chance_is_called_so(
    error: float | None, data: str, images: int | None, guesses: bool | None
) -> None:
    assert trials.guesses(error, data, images) is guesses


@pytest.mark.usefixtures("undrawn")
def test_nothing_is_concluded_from_nets_at_chance() -> None:
    """Review 0.8: they are counted in the head, and in no comparison of errors."""

    def change(one: Record) -> Record | None:
        kept = finished(one)
        guess = kept is not None and getattr(kept.case, "method", "") == "pi"
        return with_samples(kept, test_error=[0.9]) if kept is not None and guess else kept

    part = made(change, suite(seeds=5))
    assert re.search(r"\| pi .*\| 10 of 10", part.head)
    assert "whether 10 of 49 finished networks are better than chance" in part.head
    assert "90.0 (n = 5, 5 at chance)" in chapter(part, "Every cell")
    errors = chapter(part, "Test errors, compared")
    assert "| svd, d = 4" in errors
    assert "| pi, d = 4" not in errors


@pytest.mark.usefixtures("undrawn")
def test_errors_are_compared_seed_by_seed_from_three_seeds_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the same spread from seed to seed in both, the paired difference is 7 points sharp."""

    def change(one: Record) -> Record | None:
        kept = finished(one)
        seed, method = getattr(one.case, "seed", 0), getattr(one.case, "method", "")
        error = {"pi": 0.57, "hybrid": 0.50}.get(method, 0.51) + 0.03 * seed + 0.001 * (seed == 1)
        sharp = error + 0.002 * ((seed, method) in {(2, "pi"), (3, "hybrid")})
        return kept and with_samples(kept, test_error=[sharp])

    few, enough = (made(change, suite(seeds=n)) for n in (2, 5))
    assert "Test errors, compared" not in [one.title for one in few.chapters]
    rows = chapter(enough, "Test errors, compared")
    # Beside the hybrid, beside batch normalisation, and beside the smallest groups.
    assert re.search(r"\| pi, d = 4 +\| hybrid, d = 4 +\| +5 +\| \+7\.0 \(.*\| higher +\|", rows)
    assert re.search(r"\| hybrid, d = 4 +\| bn +\| +5 +\| .*\| lower +\|", rows)
    assert re.search(r"\| pi, d = 16 +\| pi, d = 4 +\| +5 +\| .*\| not ", rows)
    assert "Test error beside" not in enough.head
    monkeypatch.setattr(trials, "FEW_STEPS", 0)
    head = made(change, suite(seeds=5)).head
    assert re.search(
        r"beside `hybrid`\*\*, 7 cells, .*; pi, d = 4 errs more than hybrid, d = 4", head
    )
    assert "4 more cells differ" in head
    assert re.search(r"beside the smallest groups\*\*, 4 cells.*no difference is shown", head)


# Divergence and spikes.


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=130))
@settings(deadline=None, max_examples=30)
def test_a_spike_is_what_its_definition_says(norms: list[float]) -> None:
    one = cases(suite())[0]
    samples = {"loss": [2.0] * len(norms), "gradient_norm": norms}
    trial = msgspec.structs.replace(record(one), samples={k: list(v) for k, v in samples.items()})
    frames = frames_of(suite(), [trial])
    found = trials.steps_of(frames)["net_ratio"].to_list()
    expected = [
        None if step < 5 else norm / statistics.median(norms[max(0, step - 50) : step])
        for step, norm in enumerate(norms)
    ]
    assert found[:5] == expected[:5]
    assert found[5:] == pytest.approx(expected[5:], rel=1e-9)


@pytest.mark.usefixtures("undrawn")
def test_a_norm_that_is_not_finite_is_a_divergence_and_no_spike() -> None:
    """Review 1.3: the "spike" of SVD was its NaN."""

    def change(one: Record) -> Record | None:
        kept = finished(one)
        if kept is None or getattr(kept.case, "method", "") != "svd":
            return kept
        norms = [1.0] * 19 + [math.nan]
        return with_samples(
            ended(kept, "diverged", 20), gradient_norm=norms, layer_gradient_norm=norms
        )

    found = chapter(made(change), "The gradient that leaves")
    spikes = r"0 of 70 \(largest 1 ×\) +\| "
    assert re.search(rf"\| svd .*\| {spikes}{spikes.strip()}", found)


@pytest.mark.usefixtures("undrawn")
def test_the_size_of_the_layers_gradient_is_said() -> None:
    def change(one: Record) -> Record | None:
        kept = finished(one)
        size = {"pi": 0.1, "hybrid": 1.0}.get(getattr(one.case, "method", ""), 4.0)
        return kept and with_samples(kept, layer_gradient_norm=[size] * 40)

    found = chapter(made(change), "The gradient that leaves")
    assert re.search(r"\| pi +\| 0\.1 \(n = 2\)", found)
    assert re.search(r"\| spectral +\| 4 \(n = 2\)", found)


@pytest.mark.usefixtures("undrawn")
def test_when_trials_were_lost() -> None:
    found = chapter(made(fragile, stress()), "Trials that did not finish")
    row = re.sub(r" +", " ", next(line for line in found.splitlines() if "| pi" in line))
    assert row == (
        "| pi, d = 4, ε = 0.0001, no truncation | diverged | loss not finite | 0, 1, 2 | 12 |"
    )
    assert not any(one.title.startswith("Trials that did") for one in made(finished).chapters)


@pytest.mark.usefixtures("undrawn")
def test_what_the_spectrum_was_on_the_way_to_a_failure() -> None:
    """Before, at the failure, and in trials that finished; infinite is no missing value."""

    def change(one: Record) -> Record | None:
        kept = finished(one)
        case = one.case
        assert isinstance(case, TrainCase)
        if kept is None or (case.method, case.d) != ("svd", 4):
            return kept
        breaks = case.seed == 0
        end = 20 if breaks else 40
        gap = [0.5] * 10 + [0.25] * (end - 11) + [1e-3 if breaks else 0.25]
        broken = ended(kept, "diverged" if breaks else "finished", end)
        return with_samples(
            broken, smallest_relative_gap=gap, rank_kept=[3.0] * end,
            condition_number=[8.0] * (end - 1) + [math.inf if breaks else 8.0],
        )  # fmt: skip

    found = re.sub(r" +", " ", chapter(made(change), "Trials that did not finish"))
    assert "| svd, d = 4 | 1 | 0.25; 1.0e-03; 0.25 | 3; 3; 3 | 8; not finite; 8 |" in found


def thinned(one: Record, every: int = 9) -> Record:
    """The record as `record_every` leaves it, without the case's own field."""
    length = len(one.samples.get("loss", []))
    kept = [i for i in range(length) if i % every == 0 or i == length - 1]
    samples = {
        name: [values[i] for i in kept] if len(values) == length > 2 else values
        for name, values in one.samples.items()
    }
    return msgspec.structs.replace(one, samples={**samples, "step": [*map(float, kept)]})


@pytest.mark.usefixtures("undrawn")
def test_a_thin_record_has_as_many_steps_as_a_whole_one() -> None:
    """What follows from neighbouring steps, such as spikes, is not judged."""
    whole_run, thin = made(finished), made(lambda one: (f := finished(one)) and thinned(f))
    for part in (whole_run, thin):
        assert re.search(r"\| hybrid +\| 6 of 6 .* 240 \| 0 \(below 1 in 80 steps\)", part.head)
    assert "not judged" in chapter(thin, "The gradient that leaves")
    frames = frames_of(suite(), [thinned(record(case)) for case in cases(suite())])
    assert set(frames.steps["row"]) == {0, 9, 12, 18, 27, 36, 39}


# Times, spectra, images.


@pytest.mark.usefixtures("undrawn")
def test_step_times_are_not_compared() -> None:
    """Review 0.6: trials of the same layer differ by 1.6, so that they say nothing of others."""
    part = made()
    assert "`eigbench profile` measures cost" in chapter(part, "How to read it")
    assert "× BN" not in whole(part)


@pytest.mark.usefixtures("undrawn")
def test_the_ratio_of_neighbours_is_put_beside_the_papers_both_ways() -> None:
    def change(one: Record) -> Record:
        same = {"mean_neighbour_ratio": [0.85] * 40, "neighbour_ratio_above_epsilon": [0.6] * 40}
        return with_samples(one, **same) if getattr(one.case, "layer", "") == "zca" else one

    found = chapter(made(change), "Every cell")
    assert len(re.findall(r"\| +0\.85 \| +0\.60 \|", found)) == 9
    assert "The paper prints 0.84 to 0.86 for the ratio (§2.4)" in found


@pytest.mark.usefixtures("undrawn")
def test_different_images_are_warned_of() -> None:
    def change(one: Record) -> Record:
        first = getattr(one.case, "seed", 0) == 0 and one.labels
        words = ["cifar10-mini", ("f" if first else "0") * 64, "1" * 64]
        return msgspec.structs.replace(one, labels={**one.labels, "data": words})

    assert any(
        "**Different images:**" in line and "ffffffff" in line for line in made(change).banner
    )
    assert not any("Different images" in line for line in made().banner)


def test_a_step_carries_nothing_but_its_series() -> None:
    """The fields of a case were once repeated for each of 33 million steps of the full Table 2."""
    frames = frames_of(suite(), [record(case) for case in cases(suite())])
    assert frames.steps.columns == ["id", "row", *STEP_SERIES]
    # A label of the same name as a field of the case once replaced it, with nulls.
    assert frames.trials["data"].unique().to_list() == ["cifar10-mini"]
    assert len(frames.trials) == len(cases(suite()))
    assert frames.trials["id"].is_unique().all()
    assert set(frames.steps["id"]) <= set(frames.trials["id"])


def test_every_field_of_a_case_tells_conditions_apart() -> None:
    fields = set(TrainCase.__struct_fields__)
    told = {*trials.PLACE, *trials.SHARED}
    assert told == fields - {"method", "parameters", "seed", "device"}


def test_cells_that_only_a_parameter_tells_apart_stay_apart() -> None:
    planned: list[Case] = [case for case in cases(suite(seeds=1)) if getattr(case, "d", 0) == 4]
    hybrid = next(c for c in planned if isinstance(c, TrainCase) and c.method == "hybrid")
    twin = msgspec.structs.replace(hybrid, parameters={"iterations": 9})
    frames = frames_of(suite(seeds=1), [record(hybrid), record(twin)])
    found = cells_in(frames)
    names = found.filter(pl.col("method") == "hybrid")["contestant"].to_list()
    assert {"hybrid, K = 19", "hybrid, K = 9"} == set(names)


def test_the_guide_names_every_metric_of_a_training() -> None:
    text = (Path(__file__).parents[2] / "docs" / "records.md").read_text("utf-8")
    records = read_run(GOLDEN / "run").records
    names = {name for one in records for name in (*one.samples, *one.labels)}
    assert len(names) == 18
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


# The committed samples.


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("train-short", "open in 8 of 9 cells, of which 8 had no failure in"),
        ("train-stress", "pi finishes 0 of 6 (d = 32, 64; ε = 0.0001; no truncation), as Table "
                         "2 prints for d = 32, 64"),
        ("train-stress", "finishes equally often in every condition, 30 of 36 each"),
        ("train-field", "whether 23 of 130 finished networks are better than chance"),
        ("paper-table2", "for its 136,850 steps: reproduced in svd (d = 64); open in 19 of 20 "
                         "cells, of which 18 had no failure in 252 steps at most."),
        ("paper-table5", "for its 136,850 steps: reproduced in svd. Not seen"),
        ("survival", "reproduced in svd (d = 64), svd-released (d = 64), svd (d = 64; no "
                     "truncation) and pi (d = 16, 32, 64; no truncation); open in 34 of 40"),
    ],
)  # fmt: skip
def test_a_committed_sample_says_what_its_records_show(name: str, said: str) -> None:
    """`test_golden` makes these reports again, byte for byte."""
    head = (SAMPLES / name / "report.md").read_text("utf-8").split("<details>")[0]
    assert said in re.sub(r"[*`]", "", head.replace("\n- ", " "))
    assert len(head.encode()) < 12_000
    assert "> **Not the paper's experiment:**" in head
