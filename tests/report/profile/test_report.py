"""The report of profiles: a recorded run word for word, and every run that can be cut from it."""

from __future__ import annotations

import math
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from eigbench.report import write_report
from eigbench.report.profile import breakdown, curves, dots, timeline
from eigbench.runs.case import ProfileCase
from eigbench.runs.record import Record, decode, encode, number
from eigbench.runs.structure import Grid
from eigbench.runs.suite import cases
from tests.report import trainings
from tests.report.profile import profiled
from tests.report.writing import written

GOLDEN = Path(__file__).parents[1] / "golden-profile"
DRAWING = (breakdown, curves, dots, timeline)
Change = Callable[[Record], Record | None]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "run", tmp_path / "run"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the text: figures are made and not written."""

    def discard(figure: Figure, _folder: Path, name: str) -> str:
        plt.close(figure)
        return f"figures/{name}.png"

    for module in DRAWING:
        monkeypatch.setattr(module, "save", discard)


def report(folder: Path) -> str:
    write_report(folder)
    return (folder / "report.md").read_text("utf-8")


def changed(folder: Path, change: Change) -> str:
    """The report of the run with each record changed, or left out."""
    lines = (folder / "records.jsonl").read_bytes().splitlines(keepends=True)
    kept = [one for one in map(change, map(decode, lines)) if one is not None]
    (folder / "records.jsonl").write_bytes(b"".join(map(encode, kept)))
    return report(folder)


def profile_of(record: Record) -> ProfileCase:
    assert isinstance(record.case, ProfileCase)
    return record.case


def verdict(text: str) -> str:
    return text.split("## Verdict\n\n")[1].split("\n\n", maxsplit=1)[0]


def cells(text: str, row: str) -> list[str]:
    """The first row of a table that starts so."""
    line = next(line for line in text.splitlines() if re.match(rf"\| {re.escape(row)} +\|", line))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_report_is_the_golden_one(run: Path) -> None:
    """After a wanted change: `eigbench report tests/report/golden-profile/run`, and move it."""
    assert report(run) == (GOLDEN / "report.md").read_text("utf-8")


def test_the_records_are_those_of_the_formula(run: Path) -> None:
    made = [profiled.record(case) for case in cases(profiled.suite())]
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == len(made)
    for one, line in zip(made, lines, strict=True):
        read = decode(line)
        assert (read.id, read.status, read.labels) == (one.id, one.status, one.labels)
        for metric, values in one.samples.items():
            assert read.values(metric) == pytest.approx([float(v) for v in values], rel=1e-5)


def test_the_same_records_give_the_same_bytes(run: Path) -> None:
    first = written(run)
    assert len(first) == 7
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
    assert len(made) == 6


def test_every_axis_of_every_figure_is_labelled(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(figure: Figure, _folder: Path, name: str) -> str:
        for axes in figure.axes:
            if axes.get_visible():
                assert axes.get_ylabel(), name
        assert any(axes.get_xlabel() for axes in figure.axes), name
        seen.append(name)
        plt.close(figure)
        return name

    for module in DRAWING:
        monkeypatch.setattr(module, "save", look)
    report(run)
    assert len(seen) == 6


@pytest.mark.usefixtures("undrawn")
def test_the_verdict_says_what_each_method_costs(run: Path) -> None:
    text = verdict(report(run))
    operation, layer, step = text.splitlines()[:3]
    assert "as a multiple of `torch.linalg.eigh` in the same rounds" in operation
    assert "cpu, 1 thread; 17 workloads" in operation
    assert "**eigh** 1.02; **hybrid** 1.30; **hybrid, compiled** 1.04; **pi** 4.00" in operation
    assert "as a multiple of `bn`" in layer
    assert "**hybrid, K = 2** (PCA) 1.30" in step
    assert "The paper prints 1.27 for PCA with K = 2 (104.8 ms beside 82.7 ms" in step
    assert "**hybrid** 0.800 (first call 12 s)" in text
    assert "operation (`torch.linalg.eigh`) **eigh** 1.00, **hybrid** 1.50" in text
    assert "d = 32 → 33 takes 6.57 × the time in **torch.linalg.eigh**, **eigh**" in text
    assert "1 of 82 medians of time (pi 1)" in text
    assert "2 failed and 4 skipped" in text


@pytest.mark.usefixtures("undrawn")
def test_a_noisy_median_is_marked_where_it_stands_and_left_out_of_the_verdict(run: Path) -> None:
    text = report(run)
    noisy = text.split("### float64, batch 1")[1]
    assert cells(noisy, "hybrid") == ["1.30 (1.30–1.30)"]
    assert cells(noisy, "pi") == ["≈4 (2–6)"]
    assert "**pi** 4.00 (noisy in 1 of 11, left out)" in verdict(text)


@pytest.mark.usefixtures("undrawn")
def test_no_difference_is_not_a_difference(run: Path) -> None:
    """A method whose ratios lie on both sides of 1 in every workload."""

    def change(record: Record) -> Record:
        case = profile_of(record)
        if case.method != "eigh" or record.status != "measured":
            return record
        wobble = profiled.factors(spread=0.05)
        samples = {
            f"{name}_seconds": [
                number(float(value * factor))
                for value, factor in zip(
                    record.values(f"reference_{name}_seconds"), wobble, strict=True
                )
            ]
            for name in ("forward", "backward")
        }
        return msgspec.structs.replace(record, samples={**record.samples, **samples})

    text = verdict(changed(run, change))
    assert "**eigh** 1.00 (no difference shown in all 13)" in text


@pytest.mark.usefixtures("undrawn")
def test_too_few_rounds_support_nothing(run: Path) -> None:
    def change(record: Record) -> Record:
        cut = {name: values[:5] if name.endswith("seconds") else values
               for name, values in record.samples.items()}  # fmt: skip
        return msgspec.structs.replace(record, samples=cut)

    text = changed(run, change)
    assert "82 of 82 medians of time" in verdict(text)
    assert "**hybrid** ≈1.3 (noisy in all 17)" in verdict(text)
    assert "no difference shown" not in verdict(text)
    assert "There is none in this run." in text
    assert cells(text, "hybrid")[0] == "≈1.3"


@pytest.mark.usefixtures("undrawn")
def test_failed_and_skipped_cases_keep_their_place(run: Path) -> None:
    text = report(run)
    assert cells(text, "pi")[4] == "failed"
    failed = text.split("## What failed, and why")[1].split("##")[0]
    assert "| pi       | OutOfMemoryError: 3 GiB were asked for |       2 |" in failed
    assert "seeds" not in failed
    assert "operation, d = 64, float32, batch 1" in failed
    skipped = text.split("## What was skipped, and why")[1].split("##")[0]
    assert "hybrid does not take float16" in skipped
    assert "### float16" not in text


@pytest.mark.usefixtures("undrawn")
def test_an_interrupted_run_makes_a_partial_report(run: Path) -> None:
    records = run / "records.jsonl"
    records.write_bytes(b"".join(records.read_bytes().splitlines(keepends=True)[:11]))
    text = report(run)
    assert "**Partial report.** 11 of 88 cases are measured; 77 are missing" in text
    assert "## The layer" not in text
    assert "4 workloads" not in verdict(text)
    assert "2 workloads" in verdict(text) or "3 workloads" in verdict(text)


def test_records_of_any_subset_make_a_report(run: Path) -> None:
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    draw = random.Random(0)
    subsets = [lines[:0], lines[:1], lines[-1:]]
    subsets += [sorted(draw.sample(lines, size)) for size in (1, 1, 1, 2, 2, 3, 5, 8, 13, 30)]
    for kept in subsets:
        (run / "records.jsonl").write_bytes(b"".join(kept))
        assert "## Verdict" in report(run)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e-300])
def test_one_number_everywhere(run: Path, value: float) -> None:
    def change(record: Record) -> Record:
        same = {name: [number(value)] * len(values) for name, values in record.samples.items()}
        return msgspec.structs.replace(record, samples=same)

    text = changed(run, change)
    assert "## Verdict" in text
    assert "nan" not in text.lower().replace("finance", "")


METRICS = sorted({name for case in cases(profiled.suite()) for name in
                  profiled.record(case).samples})  # fmt: skip


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("metric", METRICS)
def test_any_metric_may_be_absent(run: Path, metric: str) -> None:
    def change(record: Record) -> Record:
        kept = {name: values for name, values in record.samples.items() if name != metric}
        return msgspec.structs.replace(record, samples=kept)

    assert "## Verdict" in changed(run, change)


LABELS = sorted({name for case in cases(profiled.suite()) for name in
                 profiled.record(case).labels})  # fmt: skip


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("label", LABELS)
def test_any_label_may_be_absent(run: Path, label: str) -> None:
    def change(record: Record) -> Record:
        kept = {name: words for name, words in record.labels.items() if name != label}
        return msgspec.structs.replace(record, labels=kept)

    assert "## Verdict" in changed(run, change)


@pytest.mark.usefixtures("undrawn")
def test_a_case_that_is_planned_twice_has_one_place(tmp_path: Path) -> None:
    """Once with a trace, once without: both are of one workload."""
    grid = Grid(subject=["operation"], d=[8, 16, 32, 64], batch=[4], method=["hybrid"])
    wanted = profiled.suite(grids=[grid])
    traced = profiled.suite(grids=[msgspec.structs.replace(grid, d=[16], trace=True)])
    made = [profiled.record(case) for case in [*cases(wanted), *cases(traced)]]
    assert len({one.id for one in made}) == 10
    profiled.write(tmp_path / "run", wanted, made)
    text = report(tmp_path / "run")
    assert cells(text, "hybrid") == ["1.30 (1.30–1.30)"] * 4
    assert "4 workloads): **hybrid** 1.30." in verdict(text)
    assert len(re.findall(r"`(traces/[^`]+)`", text)) == 2


@pytest.mark.usefixtures("undrawn")
def test_what_was_not_measured_is_not_said(run: Path) -> None:
    """Times alone: no word of memory, of work, or of traces."""
    kept = ("forward_seconds", "backward_seconds", "update_seconds")

    def change(record: Record) -> Record:
        samples = {name: values for name, values in record.samples.items() if name in kept}
        labels = {"clock": ["wall"]} if record.labels else {}
        return msgspec.structs.replace(record, samples=samples, labels=labels)

    text = changed(run, change)
    for title in ("First calls", "Memory,", "memory", "Floating-point", "Where the time goes"):
        assert title not in text
    assert "The paper prints" not in verdict(text)
    assert "no times of `torch.linalg.eigh` in the same rounds are recorded" in verdict(text)


@pytest.mark.usefixtures("undrawn")
def test_nothing_measured(run: Path) -> None:
    def change(record: Record) -> Record:
        return msgspec.structs.replace(
            record, status="failed", reason="RuntimeError: none", samples={}, labels={}
        )

    text = changed(run, change)
    assert "Of 88 profiles 88 failed" in verdict(text)
    assert "RuntimeError: none" in text


@pytest.mark.usefixtures("undrawn")
def test_cuda_counts_have_their_columns(run: Path) -> None:
    def change(record: Record) -> Record:
        counts = {"kernels": [41.0], "synchronisations": [2.0]}
        labels = {**record.labels, "clock": ["cuda events"]}
        return msgspec.structs.replace(record, samples={**record.samples, **counts}, labels=labels)

    text = changed(run, change)
    assert "clock: CUDA events" in text
    assert "waits for the device in one run: operation **torch.linalg.eigh** 2, " in verdict(text)
    assert ": kernels**" in text
    assert ": times the host waited**" in text


@pytest.mark.usefixtures("undrawn")
def test_the_traces_have_their_command(run: Path) -> None:
    text = report(run)
    assert "```\ntensorboard --logdir traces\n```" in text
    assert 'pip install "eigbench[traces]"' in text
    listed = re.findall(r"`(traces/[^`]+)`", text)
    assert len(listed) == 4
    assert all(name.endswith(".pt.trace.json.gz") for name in listed)


@pytest.mark.usefixtures("undrawn")
def test_a_packed_run_says_how_it_is_unpacked(run: Path) -> None:
    assert "zipfile" not in report(run)
    (run / "suite.toml").write_text(f"bundle = true\n{(run / 'suite.toml').read_text('utf-8')}")
    text = report(run)
    assert "python -m zipfile -e figures.zip ." in text.split("## Verdict")[0]
    assert "```\npython -m zipfile -e traces.zip .\ntensorboard --logdir traces\n```" in text


@pytest.mark.usefixtures("undrawn")
def test_printed_times_stand_beside_the_same_size_alone(run: Path) -> None:
    text = report(run)
    beside = text.split("## Times that others printed")[1].split("##")[0]
    assert cells(beside, "1×64×64")[:2] == ["SVD-PI", "3.49"]
    assert "64×48×48" not in beside
    without = changed(run, lambda one: one if profile_of(one).d != 64 else None)
    assert "Times that others printed" not in without


@pytest.mark.usefixtures("undrawn")
def test_different_machines_are_named_at_the_top(run: Path) -> None:
    other = msgspec.json.decode((run / "environment.json").read_bytes())
    other["sessions"].append({**other["sessions"][0], "processor": "another"})
    (run / "environment.json").write_bytes(msgspec.json.encode(other))
    assert "**Different machines.**" not in report(run)
    half = iter(range(1000))
    text = changed(run, lambda one: msgspec.structs.replace(one, session=next(half) % 2))
    assert "**Different machines.**" in text.split("## Verdict")[0]


def test_a_run_of_every_kind(tmp_path: Path) -> None:
    """Trainings, stability and profiles in one suite: each has its part, and its title."""
    wanted = profiled.suite()
    both = msgspec.structs.replace(
        wanted,
        training=trainings.suite().training,
        axes=msgspec.structs.replace(
            wanted.axes, model=["resnet18"], epsilon=[1e-4], spectrum=["gap"], gap=[0.1],
            scale=[1.0], loss=["whitening"], start=[0],
        ),
        grids=[
            *wanted.grids,
            Grid(kind="train", layer=["bn"], method=["hybrid"], seeds=2),
            Grid(kind="stability", d=[4], seeds=2, iterations=[19]),
        ],
    )  # fmt: skip
    records = [_any(case) for case in cases(both)]
    profiled.write(tmp_path / "run", both, records)
    text = report(tmp_path / "run")
    titles = [line for line in text.splitlines() if line.startswith("# ")]
    assert titles == [
        f"# {both.title}", "# Time, memory and work", "# Trainings", "# Stability and accuracy",
    ]  # fmt: skip
    said = text.split("## Verdict\n\n")[1].split("\n# ")[0].split("\n\n")
    assert said[::2] == [title.replace("# ", "**") + "**" for title in titles[1:]]
    assert "Operation, forward and backward" in said[1]
    assert "Every trial of every method finished" in said[3]


def _any(case: object) -> Record:
    from eigbench.runs.case import StabilityCase, TrainCase
    from eigbench.runs.record import SCHEMA

    if isinstance(case, TrainCase):
        return trainings.record(case)
    if isinstance(case, StabilityCase):
        flags = ("forward_finite", "function_finite", "gradient_finite", "inside_bound")
        samples = {name: [number(1.0)] * case.seeds for name in flags}
        samples["gradient_error"] = [number(1e-6)] * case.seeds
        return Record(schema=SCHEMA, id=case.id, case=case, status="measured", samples=samples)
    assert isinstance(case, ProfileCase)
    return profiled.record(case)
