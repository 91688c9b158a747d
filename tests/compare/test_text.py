"""A comparison word for word, the names of its cases, narrow lines, JSON that parses."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from eigbench import compare as comparing
from eigbench.compare.model import Answer, Comparison, Verdict, to_json
from eigbench.compare.text import WIDTH, to_markdown
from eigbench.kinds import Case
from eigbench.kinds.profile import ProfileCase
from eigbench.report.names import of_cases
from eigbench.runs.suite import cases, load
from tests.compare.making import (
    compared,
    here,
    profile_suite,
    profiles,
    record,
    stability_case,
    write,
)
from tests.compare.test_stability import SEEDS, lost, samples
from tests.report import trainings

SAMPLES = Path(__file__).parents[2] / "reports"
GOLDEN = Path(__file__).with_name("golden.md")
SUITE = profile_suite(method=["eigh", "svd", "hybrid", "spectral", "pi"])


def factors(case: ProfileCase, name: str) -> float:
    """What became of which method from the first run to the second."""
    changes = {
        ("hybrid", 64, "backward"): 1.5,
        ("svd", 64, "forward"): 0.6,
        ("svd", 64, "backward"): 0.7,
        ("spectral", 16, "forward"): 1.6,
        ("spectral", 16, "backward"): 0.5,
    }
    return 1.1 * changes.get((case.method, case.d or 0, name), 1.0)


def runs(folder: Path) -> tuple[Path, Path]:
    """Two runs between which a little of everything happened."""
    a = {one.id: one for one in profiles(SUITE, 1)}
    b = {one.id: one for one in profiles(SUITE, 2, factors)}
    by_name = {(one.case.method, one.case.d): one.id for one in a.values()
               if isinstance(one.case, ProfileCase)}  # fmt: skip
    broken, skipped = by_name["pi", 64], by_name["pi", 16]
    b[broken] = record(b[broken].case, {}, status="failed", reason="RuntimeError: out of memory")
    a[skipped] = record(a[skipped].case, {}, status="skipped", reason="not for d = 16")
    more = by_name["eigh", 16]
    b[more] = msgspec.structs.replace(
        b[more], samples={**b[more].samples, "saved_bytes": [2.5e6], "forward_operators": [15.0]}
    )
    del b[by_name["spectral", 64]]
    there = here(python="3.13.1", eigbench="1")
    one = write(folder / "a", SUITE, a.values())
    return one, write(folder / "b", SUITE, b.values(), there)


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Comparison:
    runs(tmp_path)
    monkeypatch.chdir(tmp_path)
    return comparing.compare(Path("a"), Path("b"))


def test_markdown_is_the_golden_one(golden: Comparison) -> None:
    """After a wanted change: `python -m tests.compare.test_text FOLDER`."""
    assert to_markdown(golden) == GOLDEN.read_text("utf-8")


def test_all_lists_what_did_not_change(golden: Comparison) -> None:
    short, full = to_markdown(golden), to_markdown(golden, everything=True)
    unchanged = [case for case in golden.cases if case.verdict == "no difference shown"]
    assert unchanged
    for case in unchanged:
        rows = [line for line in full.splitlines() if line.endswith(f"| {case.name} |")]
        assert len([row for row in rows if row.startswith("| no difference shown")]) == 3
        assert not any(line.endswith(f"| {case.name} |") for line in short.splitlines())
    assert set(short.splitlines()) <= set(full.splitlines())


def everything(tmp_path: Path) -> Iterator[Comparison]:
    """Comparisons of every kind, and between environments."""
    yield comparing.compare(*runs(tmp_path))
    others = (here(processor="A processor with a long name " * 3), here(packages={"torch": "2.15"}))
    for other in others:
        yield compared(profiles(SUITE, 1), profiles(SUITE, 2, factors), SUITE,
                       where=(here(), other))  # fmt: skip
    trained = [trainings.record(case) for case in cases(trainings.suite())]
    yield compared(trained, trained[::2], trainings.suite())
    fewer = [lost(3), lost(*range(SEEDS)), samples(gradient_error=[math.inf] * SEEDS)]
    for one in fewer:
        yield compared([record(stability_case(), samples())],
                       [record(stability_case(), one)])  # fmt: skip


def test_lines_are_narrow_unless_a_word_is_longer_and_no_number_is_codes(tmp_path: Path) -> None:
    for found in everything(tmp_path):
        text = to_markdown(found, everything=True)
        for line in text.splitlines():
            if line.startswith("|"):
                continue  # a long name is at the end of its row
            words = line.split()
            assert len(line) <= WIDTH or len(words) <= 2 or "/" in line, line
        assert not re.search(r"\b(nan|inf|NaN|None)\b", text)


def plain(value: Any) -> None:
    """Fails for a number that JSON does not have."""
    raise AssertionError(value)


def test_json_is_json_and_says_the_same(tmp_path: Path) -> None:
    for found in everything(tmp_path):
        read = json.loads(to_json(found), parse_constant=plain)
        assert read["schema"] == 1
        assert set(read) == {"schema", "a", "b", "environment", "summary", "cases"}
        assert [case["name"] for case in read["cases"]] == [case.name for case in found.cases]
        summary = read["summary"]
        assert summary["cases"] == sum(summary["verdicts"].values()) == len(found.cases)
        assert summary["regressions"] == sum(case["regression"] for case in read["cases"])
        assert summary["regressions"] == len(found.regressions)
        for case, own in zip(read["cases"], found.cases, strict=True):
            assert case["verdict"] in get_args(Verdict)
            assert case["regression"] == any(one["regression"] for one in case["effects"])
            for effect, theirs in zip(case["effects"], own.effects, strict=True):
                assert effect["answer"] in get_args(Answer)
                for key in ("a", "b", "change", "low", "high", "p", "adjusted"):
                    value = getattr(theirs, key)
                    assert float(effect[key]) == value or math.isnan(value)


def test_the_page_names_every_key(golden: Comparison) -> None:
    text = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text("utf-8")
    read = json.loads(to_json(golden))
    keys = {*read, *read["a"], *read["environment"], *read["summary"], *read["cases"][0],
            *read["cases"][0]["effects"][0], *read["cases"][0]["a"]}  # fmt: skip
    for key in keys:
        assert f"`{key}`" in text, key
    for word in (*get_args(Answer), *get_args(Verdict)):
        assert word in text, word


def test_text_is_a_function_of_the_records(golden: Comparison) -> None:
    again = comparing.compare(Path("a"), Path("b"))
    assert to_json(again) == to_json(golden)
    assert to_markdown(again) == to_markdown(golden)


@pytest.mark.parametrize("sample", ["stability", "train-stress", "paper-table5"])
def test_cases_of_a_run_have_names_of_their_own(sample: str) -> None:
    """Trials of one cell share theirs."""
    own = {one.cell.id: one.cell for one in cases(load(SAMPLES / sample / "suite.toml"))}
    assert len(set(named(list(own.values())))) == len(own)


def named(own: Sequence[Case]) -> list[str]:
    return of_cases(own)[0]


def test_what_all_share_is_said_once() -> None:
    own = cases(profile_suite(d=[16]))
    assert named(own) == ["torch.linalg.eigh", "eigh", "hybrid"]
    words = "K = 19, operation, d = 16, batch 64, float32, not compiled, fresh inputs, device cpu"
    assert of_cases(own)[1] == {"profile": words}


def test_what_differs_is_said_of_each() -> None:
    own = cases(profile_suite(compiled=[False, True], iterations=[3, 19], d=[4, 16]))
    names = named(own)
    assert len(set(names)) == len(own)
    assert "hybrid, K = 3, d = 4, compiled" in names
    assert "hybrid, K = 3, d = 4, not compiled" in names
    assert "eigh, d = 16, not compiled" in names


def test_batch_normalisation_is_named_once() -> None:
    names = named([case.cell for case in cases(trainings.suite())])
    assert "bn" in names


def test_a_gap_of_nothing_is_a_gap() -> None:
    own = [stability_case(gap=gap) for gap in (0.0, 0.1)]
    assert named(own) == ["eigh, gap 0", "eigh, gap 0.1"]


def test_a_start_of_power_iteration_is_named() -> None:
    pi = msgspec.structs.replace(stability_case(), method="pi")
    own = [msgspec.structs.replace(pi, parameters={"iterations": 3, "seed": s}) for s in (0, 1)]
    assert named(own) == ["pi, start 0", "pi, start 1"]


def test_kinds_do_not_mix() -> None:
    own = [stability_case(), *cases(profile_suite(d=[16]))]
    assert named(own) == [
        "eigh, stability", "torch.linalg.eigh, profile", "eigh, profile", "hybrid, profile"
    ]  # fmt: skip
    assert set(of_cases(own)[1]) == {"stability", "profile"}


if __name__ == "__main__":
    import os

    target = Path(sys.argv[1])
    runs(target)
    os.chdir(target)
    GOLDEN.write_text(to_markdown(comparing.compare(Path("a"), Path("b"))), "utf-8")
