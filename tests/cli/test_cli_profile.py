"""`eigbench profile` as a user runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from eigbench.kinds.profile import ProfileCase
from eigbench.runs.store import read_run
from tests.cli.commandline import ROOT, call, contents

QUICK = ("--subject", "whitening", "--d", "4", "--batch", "2", "--rounds", "5")


def test_a_profile_from_the_command_line_to_the_report(cwd: Path) -> None:
    outcome = call(
        *("profile", *QUICK, "--dtype", "float32", "--method", "hybrid"),
        *("--out", "run", "--device", "cpu"),
    )
    assert outcome.code == 0, outcome
    where, whole, last = outcome.out.splitlines()[-3:]
    assert where.endswith("perfetto.dev: run/traces")
    assert (last, whole.split(": ")[1]) == ("run/report.md", "run/report.html")
    assert Path("run/report.html").is_file()
    run = read_run(Path("run"))
    measured = [record for record in run.records if record.status == "measured"]
    assert {record.case.method for record in measured if isinstance(record.case, ProfileCase)} == {
        "torch.linalg.eigh",
        "hybrid",
    }
    report = Path("run/report.md").read_text()
    assert "tensorboard --logdir" in report
    traces = sorted(path.name for path in Path("run/traces").rglob("*.gz"))
    assert traces == ["hybrid-iterations-19.pt.trace.json.gz", "torch.linalg.eigh.pt.trace.json.gz"]
    page = (ROOT / "docs" / "measuring.md").read_text("utf-8")
    (beside,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(beside, "docs", "exec", dont_inherit=True), {})  # noqa: S102
    events = json.loads(Path("beside.json").read_text())["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert names == {0: "torch.linalg.eigh", 1: "hybrid-iterations-19"}
    for process in names:
        phases = [event for event in events if event["pid"] == process and event["ph"] == "X"]
        assert min(event["ts"] for event in phases) == 0
        assert "eigbench::pass::backward" in {event["name"] for event in phases}


def test_no_traces_where_none_are_wanted(cwd: Path) -> None:
    options = ("--dtype", "float32", "--no-trace", "--method", "hybrid", "--out", "run", "-q")
    outcome = call("profile", *QUICK, *options)
    assert outcome.code == 0, outcome
    assert not Path("run/traces").exists()


def test_half_precision_is_a_skipped_row_with_the_reason(cwd: Path) -> None:
    options = ("--dtype", "float16", "--method", "hybrid", "--out", "run", "-q")
    outcome = call("profile", *QUICK, *options)
    assert outcome.code == 0, outcome
    records = read_run(Path("run")).records
    assert {record.status for record in records} == {"skipped"}
    text = Path("run/report.md").read_text("utf-8")
    assert re.search(r"the method takes [\w, ]*, not float16", text)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ("--subject", "net"),
            "--subject: 'net' is not valid; accepted: operation, whitening, layer, step",
        ),
        (("--inputs", "old"), "--inputs: 'old' is not valid; accepted: fresh, cached"),
        (("--rounds", "0"), "--rounds: '0' is not valid"),
        (
            ("--layer", "bn"),
            "--layer bn: the suite 'profile' has nothing about that; it has "
            "--subject whitening, operation, layer, step; --layer zca, pca",
        ),
        (("--subject", "operation", "--layer", "pca"), "--subject operation; --layer pca: "),
        (("--device", "cuda"), "--device: 'cuda' is not available, there is no CUDA here; use cpu"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    cwd: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], complaint: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    before = contents(cwd)
    assert call("profile", *words).complaint.startswith(f"eigbench: {complaint}")
    assert contents(cwd) == before
