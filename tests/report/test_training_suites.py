"""The report of every suite that ships for training, made from records that nobody measured."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from eigbench.report import write_report
from eigbench.runs.suite import Suite, at_scale, cases, find, load
from tests.report import trainings


def made(folder: Path, of: Suite) -> str:
    trainings.write(folder, of, [trainings.record(case) for case in cases(of)])
    write_report(folder)
    return (folder / "report.md").read_text("utf-8")


@pytest.mark.parametrize(
    "name",
    ["table2", "table3", "table4a", "table4b", "table4c", "table5", "figure2", "figure4"],
)
def test_every_shipped_suite_has_its_report(name: str, tmp_path: Path) -> None:
    suite = at_scale(load(find(f"paper-{name}")), "smoke")
    text = made(tmp_path / "run", suite)
    assert "**Not the paper's experiment.**" in text
    if name.startswith("table"):
        assert f"## Table {name[5]}" in text
        assert "Nothing was measured" not in text
        # Every cell that the paper prints is measured here: no row of ours is without a number.
        beside = text.split("beside the paper")[1].split("## Every cell")[0]
        assert "(1 of 1)" in beside
        assert ", K =" not in beside
    else:
        assert f"![Figure {name[6]} of the paper, measured" in text
        assert (tmp_path / "run" / "figures" / f"figure-{name[6]}.png").exists()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", ["paper-table2", "paper-table4c", "train-short", "train-stress"])
def test_a_verdict_is_short(name: str, tmp_path: Path) -> None:
    """With something to say in every part: trials that break, and one that learns nothing."""
    suite = load(find(name))
    suite = msgspec.structs.replace(at_scale(suite, "smoke") if suite.scales else suite, seeds=3)
    records = []
    for case in cases(suite):
        one = trainings.record(case)
        outcome = "diverged" if int(case.id, 16) % 3 == 0 else "finished"
        flat = [2.3 for _ in one.values("loss")]
        records.append(
            msgspec.structs.replace(
                one, samples={**one.samples, "loss": flat},
                status="measured", labels={**one.labels, "outcome": [outcome]},
            )
        )  # fmt: skip
    trainings.write(tmp_path / "run", suite, records)
    write_report(tmp_path / "run")
    text = (tmp_path / "run" / "report.md").read_text("utf-8")
    verdict = text.split("## Verdict\n\n")[1].split("\n\n")[0]
    assert "Finished is not the same as learned" in verdict
    assert verdict.count("\n- ") + 1 <= 12
    assert len(re.findall(r"[.](?:\s|$)", verdict)) <= 15


@pytest.mark.usefixtures("undrawn")
def test_another_k_is_not_put_beside_the_papers(tmp_path: Path) -> None:
    suite = trainings.suite()
    axes = msgspec.structs.replace(suite.axes, iterations=[9])
    text = made(tmp_path / "run", msgspec.structs.replace(suite, axes=axes))
    beside = text.split("beside the paper")[1].split("## Every cell")[0]
    rows = [line.split("|")[1:] for line in beside.splitlines() if line.startswith("|")]
    hybrid = next(row for row in rows if row[0].strip() == "hybrid")
    other = next(row for row in rows if row[0].strip() == "hybrid, K = 9")
    assert (hybrid[2].strip(), hybrid[3].strip()) == ("4.59", "–")
    assert (other[2].strip(), other[3].strip()) == ("–", "71.20")


@pytest.mark.usefixtures("undrawn")
def test_the_papers_own_settings_are_recognised(tmp_path: Path) -> None:
    suite = at_scale(load(find("paper-table5")), "paper")
    text = made(tmp_path / "run", suite)
    assert "> **The paper's settings.** This run: scale `paper`: 5 trials a cell, 350" in text
    assert "It differs in" not in text
