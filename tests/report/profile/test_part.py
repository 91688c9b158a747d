"""What a report says of cost: a recorded run word for word, and every run that can be cut of it."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest

from eigbench.kinds.profile import ProfileCase
from eigbench.report.chapters import profile
from eigbench.report.compose import last_chapters
from eigbench.report.costs import title
from eigbench.report.frame import Frames
from eigbench.report.render import Part
from eigbench.runs.record import Record, decode, number
from eigbench.runs.store import Run, read_run
from eigbench.runs.suite import cases
from tests.report.profile import profiled

GOLDEN = Path(__file__).parents[1] / "golden-profile"
Change = Callable[[Record], Record | None]


@pytest.fixture(scope="module")
def run() -> Run:
    return read_run(GOLDEN / "run")


@pytest.fixture(scope="module")
def few(run: Run) -> Run:
    """The run with operations of one size alone: every kind of record, in a third of the time."""
    kept = [one for one in run.records
            if profile_of(one).subject != "operation" or profile_of(one).d == 16]  # fmt: skip
    return msgspec.structs.replace(run, records=kept)


def part_of(run: Run, change: Change = lambda record: record, folder: Path = Path()) -> Part:
    """The part of the run with each record changed, or left out."""
    kept = [one for one in map(change, run.records) if one is not None]
    found = profile.part(Frames(msgspec.structs.replace(run, records=kept), folder))
    assert found is not None
    return found


def text_of(part: Part) -> str:
    return "\n\n".join([*part.banner, part.head, *(chapter.text for chapter in part.chapters)])


def profile_of(record: Record) -> ProfileCase:
    assert isinstance(record.case, ProfileCase)
    return record.case


def cells(text: str, row: str) -> list[str]:
    """The first row of a table that starts so."""
    line = next(line for line in text.splitlines() if re.match(rf"\| {re.escape(row)} +\|", line))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def with_ratios(ratios: Any) -> Callable[[Record], Record]:
    return lambda record: msgspec.structs.replace(
        record, samples={**record.samples, "self_ratio": ratios}
    )


@pytest.mark.usefixtures("undrawn")
def test_what_cannot_be_told_apart_is_said(run: Run) -> None:
    text = part_of(run, with_ratios([0.96, 1.011, 1.0])).head
    assert "Differences below 4.2 % cannot be told apart" in text
    assert "of 3 comparisons of a fixed kernel with itself" in text
    # Records may come from anybody, and old ones have none.
    for unknown in ([0.0, "nan", "inf", -1.0], []):
        text = part_of(run, with_ratios(unknown)).head
        assert "told apart" not in text


def test_the_part_is_the_golden_one(run: Run, tmp_path: Path) -> None:
    """After a wanted change: `python -m tests.report.profile.test_part`, and read what it wrote."""
    text = text_of(part_of(run, folder=tmp_path)) + "\n"
    assert text == (GOLDEN / "part.md").read_text("utf-8")
    made = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert set(re.findall(r"\]\(figures/([^)]+)\)", text)) == set(made)
    part_of(run, folder=tmp_path)
    assert made == {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}


def test_the_records_are_those_of_the_formula() -> None:
    made = [profiled.record(case) for case in cases(profiled.suite())]
    lines = (GOLDEN / "run" / "records.jsonl").read_bytes().splitlines(keepends=True)
    for one, line in zip(made, lines, strict=True):
        read = decode(line)
        assert (read.id, read.status, read.labels) == (one.id, one.status, one.labels)
        for metric, values in one.samples.items():
            assert read.values(metric) == pytest.approx([float(v) for v in values], rel=1e-5)


@pytest.mark.usefixtures("undrawn")
def test_the_order_of_the_records_does_not_matter(run: Run) -> None:
    shuffled = list(run.records)
    random.Random(1).shuffle(shuffled)
    assert text_of(part_of(msgspec.structs.replace(run, records=shuffled))) == text_of(part_of(run))


@pytest.mark.usefixtures("undrawn")
def test_the_head_says_what_each_method_costs(run: Run) -> None:
    part = part_of(run)
    functions, layers, _, measured = part.summary
    assert layers.startswith("ZCA layer and PCA layer (float32; d = 4 to 16; 99 % kept; batch 128")
    assert layers.endswith(
        "3 workloads): fastest hybrid in 3; slowest pi in 3; "
        "6 of 6 ratios to bn are shown to differ from 1."
    )
    assert "17 workloads" in functions
    assert "of 46 ratios to torch.linalg.eigh are shown" in functions
    assert "cpu with 1 thread" in measured
    assert "1 of 82 median times, 1 of 55 ratios" in measured
    assert "Of 88 profiles 4 skipped, 2 failed" in measured
    assert cells(part.head, "eigh")[0] == "1.02 (13)"
    assert len(part.head) < 12_000
    assert "The paper prints 1.27 × for PCA with K = 2" in text_of(part)


@pytest.mark.usefixtures("undrawn")
def test_a_row_has_what_is_known_of_a_profile(run: Run) -> None:
    (chapter,) = (one for one in part_of(run).chapters if one.title.startswith("Bare"))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]]
            for line in chapter.body.splitlines() if line.startswith("|")]  # fmt: skip
    assert rows[0] == [
        "precision", "matrix size d", "batch size", "method", "time over torch.linalg.eigh",
        "forward, ms", "backward, ms", "peak", "saved", "operators", "first call, s",
    ]  # fmt: skip
    found = {tuple(row[:4]): row[4:] for row in rows[2:]}
    assert found["float32", "32", "256", "hybrid, compiled"] == [
        "1.04 (1.04–1.04)", "5.24", "3.49", "9.0 MiB", "2.0 MiB", "37", "12",
    ]  # fmt: skip
    assert found["float32", "32", "256", "torch.linalg.eigh"][0] == "1"
    assert found["float64", "16", "1", "pi"][0] == "≈4 (2–6)"
    assert found["float32", "64", "1", "pi"] == ["failed", *["–"] * 6]
    assert not any(row[0] == "float16" for row in rows)


@pytest.mark.usefixtures("undrawn")
def test_a_noisy_median_is_marked_and_stays_in_the_range(run: Run) -> None:
    """Twelve times the reference in one workload, give or take a half: the range has it."""

    def change(record: Record) -> Record:
        case = profile_of(record)
        if (case.method, case.dtype) != profiled.NOISY or record.status != "measured":
            return record
        samples = {name: [number(3 * float(v)) for v in values] if name in
                   ("forward_seconds", "backward_seconds") else values
                   for name, values in record.samples.items()}  # fmt: skip
        return msgspec.structs.replace(record, samples=samples)

    part = part_of(run, change)
    assert cells(part.head, "pi")[0] == "4.00 to ≈12 (11)"


@pytest.mark.usefixtures("undrawn")
def test_no_difference_is_not_a_difference(run: Run) -> None:
    """Layers that scatter around `bn`, of which none is faster than another."""

    def change(record: Record) -> Record | None:
        case = profile_of(record)
        if case.subject != "layer":
            return None
        if case.is_reference:
            return record
        wobble = profiled.factors(spread=0.05)[:: 1 if case.method == "pi" else -1]
        samples = dict(record.samples)
        for name in ("forward", "backward"):
            beside = record.values(f"reference_{name}_seconds")
            samples[f"{name}_seconds"] = [
                number(a * float(b)) for a, b in zip(beside, wobble, strict=True)
            ]
        return msgspec.structs.replace(record, samples=samples)

    part = part_of(run, change)
    assert "no method is shown to differ from bn (6 ratios)." in part.summary[0]
    assert "fastest" not in part.head


@pytest.mark.usefixtures("undrawn")
def test_layouts_are_a_column_where_images_lie_in_two() -> None:
    both = ["contiguous", "channels_last"]
    planned = [
        profiled.profile_case(subject="layer", layer="zca", method=method, parameters={},
                              batch=128, layout=layout)
        for layout in both for method in ("bn", "eigh")
    ]  # fmt: skip
    part = profile.part(profiled.frames([profiled.record(case) for case in planned]))
    assert part is not None
    table = part.chapters[0].body.split("| layout")[1]
    rows = [re.split(r" *\| *", line)[1:3] for line in table.splitlines()[2:6]]
    assert rows == [[layout, method] for layout in both for method in ("bn", "eigh")]
    assert "float32; contiguous, channels_last; d = 16" in part.summary[0]
    (last,) = profiled.costs(profiled.record(planned[2])).profiles.iter_rows(named=True)
    assert title(last) == "ZCA layer, d = 16, float32, channels_last, batch 128"


@pytest.mark.usefixtures("undrawn")
def test_a_profiler_that_failed_is_seen(run: Run) -> None:
    def change(record: Record) -> Record:
        if profile_of(record).subject != "step" or record.status != "measured":
            return record
        labels = {**record.labels, "anatomy_failed": ["RuntimeError: no CUPTI"]}
        return msgspec.structs.replace(record, labels=labels)

    part = part_of(run, change)
    number_of = sum(profile_of(r).subject == "step" for r in run.records)
    assert f"The profiler failed in {number_of} cases." in part.summary[-1]
    chapter = part.chapters[-1]
    assert not chapter.folded
    assert "RuntimeError: no CUPTI" in chapter.body
    assert "ZCA training step, d = 16" in chapter.body
    assert chapter.title == "The profiler failed"
    assert "rofiler failed" not in text_of(part_of(run))


@pytest.mark.usefixtures("undrawn")
def test_too_few_rounds_support_nothing(run: Run) -> None:
    def change(record: Record) -> Record:
        cut = {name: values[:5] if name.endswith("seconds") else values
               for name, values in record.samples.items()}  # fmt: skip
        return msgspec.structs.replace(record, samples=cut)

    part = part_of(run, change)
    assert "82 of 82 median times" in part.summary[-1]
    assert "so few rounds cannot show a difference" in part.summary[0]
    assert "fastest" not in part.head
    assert cells(part.head, "hybrid, compiled")[0] == "≈1.0 (1)"


def test_failed_skipped_and_planned_cases_are_counted_and_have_their_reasons(run: Run) -> None:
    few = part_of(run, lambda one: one if run.records.index(one) < 11 else None)
    assert "Of 88 profiles 77 not measured yet" in few.summary[-1]
    exceptions, skipped, *_ = last_chapters(Frames(run, Path()))
    assert exceptions.title == "Exceptions (2)"
    assert not exceptions.folded
    assert cells(exceptions.body, "OutOfMemoryError: 3 GiB were asked for")[:2] == ["pi", "2"]
    assert skipped.title == "Skipped cases (4)"
    assert cells(skipped.body, "the method does not take float16")[:2] == [
        "torch.linalg.eigh, eigh, hybrid, pi", "4",
    ]  # fmt: skip


@pytest.mark.usefixtures("undrawn")
def test_records_of_any_subset_have_a_part(run: Run) -> None:
    draw = random.Random(0)
    assert profile.part(Frames(msgspec.structs.replace(run, records=[]), Path())) is None
    for size in (1, 1, 1, 2, 2, 3, 5, 8, 13, 30):
        kept = draw.sample(range(len(run.records)), size)
        some = {run.records[position].id for position in kept}
        assert part_of(run, lambda one, some=some: one if one.id in some else None).summary  # type: ignore[misc]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e-300])
def test_one_number_everywhere(few: Run, value: float) -> None:
    def change(record: Record) -> Record:
        same = {name: [number(value)] * len(values) for name, values in record.samples.items()}
        return msgspec.structs.replace(record, samples=same)

    text = text_of(part_of(few, change))
    assert not re.search(r"\b(nan|inf)\b", text.lower())


SAMPLED = [profiled.record(case) for case in cases(profiled.suite())]
METRICS = sorted({name for record in SAMPLED for name in record.samples})
LABELS = sorted({name for record in SAMPLED for name in record.labels})


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("absent", [*METRICS, *LABELS])
def test_any_metric_or_label_may_be_absent(few: Run, absent: str) -> None:
    def change(record: Record) -> Record:
        samples = {name: values for name, values in record.samples.items() if name != absent}
        labels = {name: words for name, words in record.labels.items() if name != absent}
        return msgspec.structs.replace(record, samples=samples, labels=labels)

    assert part_of(few, change).summary


@pytest.mark.usefixtures("undrawn")
def test_what_was_not_measured_is_not_said(run: Run) -> None:
    """Times alone: no word of memory, of work, or of traces."""
    kept = ("forward_seconds", "backward_seconds", "update_seconds")

    def change(record: Record) -> Record:
        samples = {name: values for name, values in record.samples.items() if name in kept}
        labels = {"clock": ["wall"]} if record.labels else {}
        return msgspec.structs.replace(record, samples=samples, labels=labels)

    part = part_of(run, change)
    assert "Where the time goes" not in [chapter.title for chapter in part.chapters]
    tables = "".join(line for line in text_of(part).splitlines() if line.startswith("|"))
    assert not re.search("peak|saved|operators|first call", tables)
    assert "no ratio to torch.linalg.eigh is recorded" in part.summary[0]


@pytest.mark.usefixtures("undrawn")
def test_nothing_measured(run: Run) -> None:
    part = part_of(run, lambda one: msgspec.structs.replace(
        one, status="failed", reason="RuntimeError: none", samples={}, labels={}))  # fmt: skip
    assert part.summary == ["Of 88 profiles 88 failed: see Exceptions and Skipped cases."]


@pytest.mark.usefixtures("undrawn")
def test_cuda_counts_have_their_tables(run: Run) -> None:
    def change(record: Record) -> Record:
        counts = {"kernels": [41.0], "synchronisations": [2.0]}
        labels = {**record.labels, "clock": ["cuda events"]}
        return msgspec.structs.replace(record, samples={**record.samples, **counts}, labels=labels)

    text = text_of(part_of(run, change))
    assert "clock: CUDA events" in text
    assert re.search(r"\| *operators \| *kernels \| *waits \|", text)
    assert "kernels |" not in text_of(part_of(run))


@pytest.mark.usefixtures("undrawn")
def test_the_traces_have_their_command(run: Run) -> None:
    text = text_of(part_of(run))
    assert "```\ntensorboard --logdir traces\n```" in text
    assert text.index("ui.perfetto.dev") < text.index("TensorBoard")  # which is deprecated
    listed = re.findall(r"`(traces/[^`]+)`", text)
    assert len(listed) == 4
    assert all(name.endswith(".pt.trace.json.gz") for name in listed)


def test_a_whitening_has_its_panels_its_column_and_its_chapter_first(
    run: Run, undrawn: list[str]
) -> None:
    added = []
    for one in run.records:
        if profile_of(one).subject == "operation":
            case = msgspec.structs.replace(profile_of(one), subject="whitening")
            labels = {**one.labels, "contest": [case.workload.id]}
            added.append(msgspec.structs.replace(one, id=case.id, case=case, labels=labels))
    part = part_of(msgspec.structs.replace(run, records=[*run.records, *added]))
    header = next(line for line in part.head.splitlines() if line.startswith("| method"))
    assert header.split("|")[2].strip() == "function M^(−1/2) over `torch.linalg.eigh`"
    assert part.chapters[0].title == "Function M^(−1/2): time and memory"
    assert part.summary[0].startswith("Function M^(−1/2) (")
    assert "profile-whitening-by-d" in undrawn


def test_a_picture_has_three_sizes_and_few_lines(
    run: Run, undrawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    part_of(run)
    assert set(undrawn) == {
        "profile-ratios", "profile-operation-by-d", "profile-operation-by-batch",
        "profile-where-time-goes",
    }  # fmt: skip
    monkeypatch.setattr(profile, "MOST_LINES", 4)
    undrawn.clear()
    part_of(run)
    assert "profile-operation-by-d" not in undrawn


@pytest.mark.usefixtures("undrawn")
def test_different_machines_are_named_at_the_top(run: Run) -> None:
    first = run.environment.sessions[0]
    other = msgspec.structs.replace(first, processor="another")
    environment = msgspec.structs.replace(run.environment, sessions=[first, other])
    two = msgspec.structs.replace(run, environment=environment)
    assert part_of(two).banner == []
    half = iter(range(1000))
    mixed = part_of(two, lambda one: msgspec.structs.replace(one, session=next(half) % 2))
    assert "**Different machines.**" in mixed.banner[0]
    alike = [msgspec.structs.replace(first, host=host) for host in ("0a", "0b")]
    environment = msgspec.structs.replace(run.environment, sessions=alike)
    two, half = msgspec.structs.replace(run, environment=environment), iter(range(1000))
    mixed = part_of(two, lambda one: msgspec.structs.replace(one, session=next(half) % 2))
    assert "machine 0a" in mixed.banner[0]
    assert "machine 0b" in mixed.banner[0]


if __name__ == "__main__":
    with TemporaryDirectory() as pictures:
        written = text_of(part_of(read_run(GOLDEN / "run"), folder=Path(pictures)))
    (GOLDEN / "part.md").write_text(written + "\n", "utf-8")
