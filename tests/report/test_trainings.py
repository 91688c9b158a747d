"""The report of trainings: a recorded run word for word, and every run that can be cut from it."""

from __future__ import annotations

import math
import random
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from eigbench.kinds.train import TrainCase
from eigbench.report import write_report
from eigbench.report.training import figures, sweeps
from eigbench.runs.record import Record, decode, encode, number
from tests.report.writing import written

GOLDEN = Path(__file__).parent / "golden-train"
Change = Callable[[Record], Record | None]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "run", tmp_path / "run"))


def report(folder: Path) -> str:
    write_report(folder)
    return (folder / "report.md").read_text("utf-8")


def changed(folder: Path, change: Change) -> str:
    """The report of the run with each record changed, or left out."""
    lines = (folder / "records.jsonl").read_bytes().splitlines(keepends=True)
    kept = [one for one in map(change, map(decode, lines)) if one is not None]
    (folder / "records.jsonl").write_bytes(b"".join(map(encode, kept)))
    return report(folder)


def with_samples(one: Record, **samples: list[float]) -> Record:
    written = {name: [number(v) for v in values] for name, values in samples.items()}
    return msgspec.structs.replace(one, samples={**one.samples, **written})


def diverged(one: Record) -> Record:
    labels = {**one.labels, "outcome": ["diverged"], "cause": ["loss not finite at step 0"]}
    return msgspec.structs.replace(with_samples(one, test_error=[]), labels=labels)


def test_report_is_the_golden_one(run: Path) -> None:
    """After a wanted change: `eigbench report tests/report/golden-train/run`, and move it."""
    assert report(run) == (GOLDEN / "report.md").read_text("utf-8")


def test_the_same_records_give_the_same_bytes(run: Path) -> None:
    first = written(run)
    assert len(first) == 6
    assert written(run) == first


@pytest.mark.usefixtures("undrawn")
def test_the_order_of_the_records_does_not_matter(run: Path) -> None:
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    expected = report(run).split("## What failed")[0]
    random.Random(1).shuffle(lines)
    (run / "records.jsonl").write_bytes(b"".join(lines))
    assert report(run).split("## What failed")[0] == expected


def test_every_figure_is_linked_and_there(run: Path) -> None:
    text = report(run)
    made = {f"figures/{path.name}" for path in (run / "figures").iterdir()}
    assert set(re.findall(r"\]\((figures/[^)]+)\)", text)) == made
    assert len(made) == 5


@pytest.mark.usefixtures("undrawn")
def test_an_interrupted_run_makes_a_partial_report(run: Path) -> None:
    records = run / "records.jsonl"
    records.write_bytes(b"".join(records.read_bytes().splitlines(keepends=True)[:11]))
    text = report(run)
    assert "**Partial report.** 11 of 33 cases are measured; 22 are missing" in text
    assert "1 of 3 trials a cell" in text


def test_records_of_any_subset_make_a_report(run: Path) -> None:
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    draw = random.Random(0)
    subsets = [lines[:0], lines[:1], lines[-1:]]
    subsets += [sorted(draw.sample(lines, size)) for size in (1, 1, 2, 3, 5, 8, 13, 21)]
    for kept in subsets:
        (run / "records.jsonl").write_bytes(b"".join(kept))
        text = report(run)
        assert "## Verdict" in text
        assert "## Every cell" in text
        # No cell is dropped: nine of the methods at their d, and bn.
        assert text.split("## Every cell")[1].split("##")[0].count("\n|") == 2 + 11


@pytest.mark.usefixtures("undrawn")
def test_no_records_at_all_still_show_what_the_paper_prints(run: Path) -> None:
    (run / "records.jsonl").write_bytes(b"")
    text = report(run)
    assert "Nothing was measured." in text
    assert "4.54 ± 0.08" in text


@pytest.mark.usefixtures("undrawn")
def test_all_diverged(run: Path) -> None:
    def change(one: Record) -> Record | None:
        return diverged(one) if one.status == "measured" else None

    text = changed(run, change)
    assert "**hybrid** finished 0 of 6 trials (0 %, 0–39 %)" in text
    assert "No trial finished, so there is no test error." in text
    back = text.split("The paper's failures came back in ")[1].splitlines()[0]
    assert "**svd** (d = 4: printed 46.7 %, measured 0 %, 0 of 3; d = 16: " in back
    assert "One known reason fits" not in text
    assert text.split("## Trials that diverged")[1].split("##")[0].count("\n|") == 2 + 29


@pytest.mark.usefixtures("undrawn")
def test_without_batch_normalisation_there_is_no_ratio(run: Path) -> None:
    text = changed(run, lambda one: None if getattr(one.case, "layer", "") == "bn" else one)
    assert "no batch normalisation was timed in this run" in text
    cells = text.split("## Every cell")[1].split("##")[0]
    hybrid = next(line for line in cells.splitlines() if line.startswith("| hybrid"))
    assert hybrid.split("|")[12].strip() == "–"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0])
def test_one_number_everywhere(run: Path, value: float) -> None:
    def change(one: Record) -> Record:
        same = {name: [value] * len(values) for name, values in one.samples.items()}
        return with_samples(one, **same)

    assert "## Verdict" in changed(run, change)


@pytest.mark.usefixtures("undrawn")
def test_nothing_but_labels(run: Path) -> None:
    """A trial whose first decomposition does not converge has no step to show."""
    text = changed(
        run, lambda one: msgspec.structs.replace(diverged(one), samples={"steps_planned": [40.0]})
    )
    assert "## Trials that diverged" in text


def without(name: str, one: Record) -> Record:
    samples = {key: values for key, values in one.samples.items() if key != name}
    return msgspec.structs.replace(one, samples=samples)


@pytest.mark.usefixtures("undrawn")
def test_no_other_sample_is_needed(run: Path) -> None:
    """Whatever one series lacks, the rest is still reported."""
    names = decode((run / "records.jsonl").read_bytes().splitlines()[0]).samples
    original = (run / "records.jsonl").read_bytes()
    for name in names:
        (run / "records.jsonl").write_bytes(original)
        assert "## Verdict" in changed(run, partial(without, name)), name


@pytest.mark.usefixtures("undrawn")
def test_failures_that_did_not_come_back_are_said_plainly(run: Path) -> None:
    def change(one: Record) -> Record:
        if one.status == "skipped":
            return one
        labels = {"outcome": ["finished"], "cause": [""]}
        return msgspec.structs.replace(one, status="measured", reason=None, labels=labels)

    text = changed(run, change)
    gone = text.split("The paper's failures did not come back in ")[1].splitlines()[0]
    assert gone.startswith("**svd** (d = 16: printed 0 %, measured 100 %, 3 of 3), **pi** (d = 16")
    assert "what did not fail in them may fail in longer ones" in gone
    assert "One known reason fits: the SVD variant that the authors released" in gone
    assert "`svd-released` does what it does, and here finished 3 of 3 trials" in gone
    few = text.split("is not told by so few trials")[1].splitlines()[0]
    assert few.endswith("in **svd** (d = 4: printed 46.7 %, measured 100 %, 3 of 3).")


@pytest.mark.usefixtures("undrawn")
def test_what_ended_in_an_exception_makes_the_answer_unclear(run: Path) -> None:
    """The golden run has one: svd at d = 16 ran out of memory once, and diverged never."""
    text = report(run)
    few = text.split("is not told by so few trials")[1].splitlines()[0]
    assert "or by trials that ended in an exception" in few
    assert "d = 16: printed 0 %, measured 66.7 %, 2 of 3" in few
    assert "did not come back" not in text.split("## How to read")[0]
    assert "| svd      | RuntimeError: out of memory |" in text


@pytest.mark.usefixtures("undrawn")
def test_spikes_that_nobody_could_judge_are_not_none(run: Path) -> None:
    """Every trial breaks at its fourth step."""

    def change(one: Record) -> Record:
        short = {name: one.values(name)[:4] for name in ("gradient_norm", "layer_gradient_norm")}
        return with_samples(diverged(one), **short) if one.status == "measured" else one

    text = changed(run, change)
    spikes = next(line for line in text.splitlines() if line.startswith("- Gradient spikes"))
    assert "none" not in spikes
    assert spikes.count("not judged in bn, svd, pi, hybrid, spectral, svd-released") == 2
    table = text.split("## Gradient spikes")[1].split("## ")[0]
    assert "0 of 0" not in table
    assert table.count("| not judged") == 2 * 10  # of every cell that was started


@pytest.mark.usefixtures("undrawn")
def test_the_ratio_of_all_eigenvalues_alone_confirms_nothing(run: Path) -> None:
    text = changed(run, partial(without, "neighbour_ratio_above_epsilon"))
    line = next(line for line in text.splitlines() if line.startswith("- Neighbouring"))
    assert "which alone does not confirm the paper's 0.84 to 0.86" in line
    cells = text.split("## Every cell")[1].split("##")[0]
    assert "inside" not in cells
    assert "below" not in cells


@pytest.mark.usefixtures("undrawn")
def test_larger_groups_than_the_first_convolution_has_inputs_are_explained(run: Path) -> None:
    def change(one: Record) -> Record:
        case = one.case
        if not isinstance(case, TrainCase) or case.d != 16:
            return one
        case = msgspec.structs.replace(case, d=64)
        return msgspec.structs.replace(one, case=case, id=case.id)

    words = "the first convolution has 27 inputs"
    assert words not in report(run)
    assert words in changed(run, change)


@pytest.mark.usefixtures("undrawn")
def test_different_images_are_warned_of_under_the_title(run: Path) -> None:
    def change(one: Record) -> Record:
        other = ["cifar10-mini", "f" * 64, "1" * 64]
        first = getattr(one.case, "seed", 0) == 0 and one.labels
        labels = {**one.labels, "data": other} if first else one.labels
        return msgspec.structs.replace(one, labels=labels)

    text = changed(run, change)
    assert "> **Different images.** The records of this run name 2 different" in text
    assert text.index("> **Different images.**") < text.index("## Verdict")


@pytest.mark.usefixtures("undrawn")
def test_finished_is_not_the_same_as_learned(run: Path) -> None:
    def change(one: Record) -> Record:
        flat = getattr(one.case, "method", "") == "spectral"
        return with_samples(one, loss=[2.3] * 40) if flat else one

    assert "spectral, d = 4 (3 of 3); spectral, d = 16 (3 of 3)" in changed(run, change)


def test_every_axis_of_every_figure_is_labelled(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(figure: Figure, _folder: Path, name: str) -> str:
        for axes in figure.axes:
            if axes.get_visible():
                seen.append(name)
                assert axes.get_xlabel(), name
                assert axes.get_ylabel(), name
        plt.close(figure)
        return name

    for module in (figures, sweeps):
        monkeypatch.setattr(module, "save", look)
    write_report(run)
    assert set(seen) == {
        "training-loss", "test-error", "layer-gradient-norm", "step-time", "validation-error",
    }  # fmt: skip


def test_the_guide_names_every_metric_of_a_training() -> None:
    text = (Path(__file__).parents[2] / "docs" / "guide.md").read_text("utf-8")
    records = (GOLDEN / "run" / "records.jsonl").read_bytes().splitlines()
    names = {name for one in map(decode, records) for name in (*one.samples, *one.labels)}
    assert len(names) == 18
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


@pytest.mark.usefixtures("undrawn")
def test_a_long_training_is_drawn_in_blocks(run: Path) -> None:
    def change(one: Record) -> Record:
        by_step = {"loss", "gradient_norm", "layer_gradient_norm"}
        longer: dict[str, Any] = {name: one.values(name) * 20 for name in by_step}
        return with_samples(one, **longer) if one.status == "measured" else one

    text = changed(run, change)
    assert "Each point is the mean of 6 steps." in text
    assert "Each point stands for 6 steps." in text


@pytest.mark.usefixtures("undrawn")
def test_a_success_rate_that_differs_is_shown(run: Path) -> None:
    """0 of 3 against 3 of 3 at two d, four methods: p is 2/C(6, 3)², Holm's four times that."""

    def change(one: Record) -> Record:
        return diverged(one) if getattr(one.case, "method", "") == "pi" else one

    expected = f"{4 * 2 / math.comb(6, 3) ** 2:.2g}"
    assert f"A success rate other than **hybrid**'s is shown for pi (p = {expected})" in changed(
        run, change
    )
