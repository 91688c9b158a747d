"""To add a kind of case is to write one file: suites, reports and comparisons have it by itself."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import msgspec
import pytest

from eigbench import kinds
from eigbench.errors import InputError
from eigbench.kinds import KINDS
from eigbench.kinds.base import Kind
from eigbench.runs.record import decode, encode
from eigbench.runs.store import read_run
from tests.cli.commandline import call
from tests.kinds.orthogonality import ORTHOGONALITY, OrthogonalityCase

SUITE = """
name = "added"
kind = "orthogonality"
seeds = 3

[axes]
method = ["eigh", "svd"]
d = [3, 5]

[[grids]]
"""


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """The kind, which the tests that follow do not know."""
    kinds.register(ORTHOGONALITY)
    yield
    KINDS.pop(ORTHOGONALITY.name, None)


@pytest.fixture
def run(cwd: Path, undrawn: None) -> Path:
    (cwd / "added.toml").write_text(SUITE, encoding="utf-8")
    done = call("run", "added.toml", "--out", "run", "--no-progress")
    assert done.code == 0, done
    return cwd / "run"


def test_a_kind_from_a_file_is_measured_and_is_in_the_report(run: Path) -> None:
    records = read_run(run).records
    assert [type(record.case) for record in records] == [OrthogonalityCase] * 4
    assert {record.status for record in records} == {"measured"}
    text = (run / "report.md").read_text("utf-8")
    head, _, *rows = next(b for b in text.split("\n\n") if b.startswith("| method")).splitlines()
    assert [cell.strip() for cell in head.split("|")[2:-1]] == ["3", "5"]
    assert [row.split("|")[1].strip() for row in rows] == ["eigh", "svd", "*n*"]
    assert re.search(r"<th scope=\"row\"[^>]*>svd</th>", (run / "report.html").read_text("utf-8"))


def test_a_kind_from_a_file_is_compared_by_its_own_rule(run: Path) -> None:
    worse = run.with_name("worse")
    worse.mkdir()
    for name in ("suite.toml", "environment.json"):
        (worse / name).write_bytes((run / name).read_bytes())
    records = [*map(decode, (run / "records.jsonl").read_bytes().splitlines())]
    samples = {"orthogonality_error": [0.5, 0.1, 0.2]}
    records[-1] = msgspec.structs.replace(records[-1], samples=samples)
    (worse / "records.jsonl").write_bytes(b"".join(map(encode, records)))
    found = call("compare", "run", "worse", "--fail-on-regression")
    assert (found.code, found.err) == (1, "")
    assert "**1 regression** in 4 cases" in found.out
    row = next(line for line in found.out.splitlines() if line.startswith("| less accurate"))
    assert "orthogonality error" in row
    assert "svd, d = 5" in row
    assert call("compare", "run", "run", "--fail-on-regression").code == 0


def test_who_does_not_know_the_kind_says_so(run: Path) -> None:
    KINDS.pop(ORTHOGONALITY.name)
    for command in (["report", "run"], ["compare", "run", "run"]):
        assert "a case of kind 'orthogonality'; known: stability, " in call(*command).complaint


def test_a_name_is_taken_once() -> None:
    kinds.register(ORTHOGONALITY)  # again is no harm
    with pytest.raises(InputError, match="there is a kind 'stability' already"):
        kinds.register(dataclasses.replace(KINDS["stability"], has_trials=True))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_a_kind_names_is_there(kind: Kind) -> None:
    assert callable(resolve_name(kind.measurer))
    assert callable(resolve_name(kind.part))
    assert callable(resolve_name(kind.comparison))
    assert set(kind.may_differ) <= set(kind.case.__struct_fields__)
