"""`eigbench check`, and `--plugin` on every command that takes methods."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from eigbench.methods import available, registry
from tests.cli.commandline import NARROW, ROOT, SMALL, call, records
from tests.methods.test_plugins import HEAD, MINE

EXAMPLE = ROOT / "docs/example-method/src/eigbench_soft_gap/__init__.py"
BROKEN = (
    HEAD
    + """
import torch

@dataclass(frozen=True)
class Broken(Method):
    name: ClassVar[str] = "broken"
    summary: ClassVar[str] = "wrong shapes"
    source: ClassVar[str] = "a test"

    def eigh(self, M: torch.Tensor) -> Eigenpairs:
        return Eigenpairs(M, M)
"""
)


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(registry, "_unavailable", {})


@pytest.fixture
def plugin(cwd: Path) -> str:
    (cwd / "mine.py").write_text(MINE)
    return "mine.py"


def test_a_method_that_holds_everything(cwd: Path) -> None:
    outcome = call("check", "spectral")
    assert (outcome.code, outcome.err) == (0, "")
    assert "spectral holds all" in outcome.out.splitlines()[-1]
    assert "it does not" not in outcome.out.splitlines()[-1]
    for word in ("eigenpairs", "held", "not applicable", "relative error"):
        assert word in outcome.out
    assert list(cwd.iterdir()) == []


def test_a_method_of_a_file_that_holds_everything() -> None:
    outcome = call("check", "soft-gap", "--plugin", str(EXAMPLE))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1].startswith("soft-gap holds all")


def test_a_method_that_violates_its_contract(cwd: Path) -> None:
    (cwd / "broken.py").write_text(BROKEN)
    outcome = call("check", "broken", "--plugin", "broken.py")
    assert (outcome.code, outcome.err) == (1, "")
    assert "Traceback" not in outcome.out
    last = outcome.out.splitlines()[-1]
    assert last.startswith("broken violates ")
    assert "eigenpairs" in last
    assert "shape of λ (5, 5), allowed (5,)" in " ".join(outcome.out.replace("│", " ").split())


def test_an_unknown_method_lists_those_there_are() -> None:
    complaint = call("check", "nonsense").complaint
    assert complaint == (
        f"eigbench: unknown method 'nonsense'; available are {', '.join(available())}"
    )


COMMANDS = [
    ["check", "mine"],
    ["methods"],
    ["stability", "--method", "mine", *NARROW],
    ["profile", "--method", "mine"],
    ["train", "--method", "mine"],
    ["run", "stability"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_a_file_that_is_not_right_is_refused_by_every_command(
    cwd: Path, command: list[str]
) -> None:
    (cwd / "mine.py").write_text("import nowhere_to_be_found\n")
    assert call(*command, "--plugin", "mine.py").complaint == (
        "eigbench: --plugin: mine.py, line 1: ModuleNotFoundError: "
        "No module named 'nowhere_to_be_found'"
    )
    assert [path.name for path in cwd.iterdir()] == ["mine.py"]


@pytest.mark.parametrize("name", ["bn", "none"])
def test_names_of_references_are_refused(cwd: Path, name: str) -> None:
    (cwd / "mine.py").write_text(MINE.replace('"mine"', f'"{name}"'))
    complaint = call("methods", "--plugin", "mine.py").complaint
    assert complaint == f"eigbench: --plugin: mine.py: {name!r} is what methods are compared with"


def test_methods_lists_it(plugin: str) -> None:
    outcome = call("methods", "--plugin", plugin)
    assert outcome.code == 0
    assert "power=1" in outcome.out


def test_methods_shows_a_broken_package_as_a_row(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import EntryPoint

    entry = EntryPoint("zz-broken", "nowhere_to_be_found:X", registry.ENTRY_POINT_GROUP)
    entries = {**registry._entries(), "zz-broken": entry}
    monkeypatch.setattr(registry, "_entries", lambda: entries)
    outcome = call("methods")
    assert outcome.code == 0
    assert "zz-broken" in outcome.out
    assert "hybrid" in outcome.out


def _methods_of(folder: Path) -> set[str]:
    measured = [record for record in records(folder) if record["status"] == "measured"]
    return {record["case"].get("method", "") for record in measured} & {"eigh", "mine"}


def test_stability_measures_it_and_resumes(
    plugin: str, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["stability", "--plugin", plugin, "--method", "eigh", "mine", *NARROW, "--out", "run"]
    monkeypatch.setattr(sys, "argv", ["eigbench", *words])
    outcome = call(*words, "-q")
    assert (outcome.code, outcome.err) == (0, "")
    assert _methods_of(cwd / "run") == {"eigh", "mine"}
    environment = json.loads((cwd / "run" / "environment.json").read_text(encoding="utf-8"))
    assert "--plugin mine.py" in environment["sessions"][0]["command"]
    assert "`mine`" in (cwd / "run" / "report.md").read_text(encoding="utf-8")

    path = cwd / "run" / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    mine = [line for line in lines if b'"mine"' in line]
    path.write_bytes(b"".join(line for line in lines if line not in mine))
    assert call(*words, "-q", "--resume").code == 0
    assert _methods_of(cwd / "run") == {"eigh", "mine"}


def test_a_suite_names_it_and_a_run_is_read_without_the_file(
    plugin: str, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cwd / "small.toml").write_text(SMALL.replace('"hybrid"', '"mine"'))
    assert "'mine' is not valid" in call("run", "small.toml").complaint
    outcome = call("run", "small.toml", "--plugin", plugin, "--out", "run", "-q")
    assert (outcome.code, outcome.err) == (0, "")
    assert _methods_of(cwd / "run") == {"eigh", "mine"}
    report = (cwd / "run" / "report.md").read_bytes()
    monkeypatch.setattr(registry, "_registered", {})
    (cwd / plugin).unlink()
    outcome = call("report", "run", "-q")
    assert (outcome.code, outcome.err) == (0, "")
    assert (cwd / "run" / "report.md").read_bytes() == report
    assert call("compare", "run", "run").code == 0
    # What can be read cannot be measured.
    assert "mine" not in available()
