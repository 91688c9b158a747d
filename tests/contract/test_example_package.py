"""The example of the documentation, built and installed as any package, is a method."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eigbench.methods import registry
from tests.cli.commandline import ROOT, SMALL, call

EXAMPLE = ROOT / "docs" / "example-method"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package in it: a wheel of pure Python is installed by being unpacked."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the wheel, is not installed")
    source = tmp_path_factory.mktemp("source") / "example"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "dist"))
    out, target = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("installed")
    build = f"from hatchling.build import build_wheel; print(build_wheel({str(out)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, check=True, capture_output=True, text=True
    )
    with zipfile.ZipFile(out / done.stdout.split()[-1]) as wheel:
        wheel.extractall(target)
    return target


@pytest.fixture
def beside(installed: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory in which this process finds the package beside eigbench."""
    monkeypatch.syspath_prepend(installed)
    monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))
    registry._entries.cache_clear()
    yield cwd
    monkeypatch.undo()
    registry._entries.cache_clear()
    sys.modules.pop("eigbench_soft_gap", None)


def test_its_method_is_listed_and_holds_the_contract(beside: Path) -> None:
    listed = call("methods")
    assert listed.code == 0, listed
    assert "soft-gap" in listed.out
    assert "eta=0.001" in listed.out
    checked = call("check", "soft-gap")
    assert checked.code == 0, checked
    assert checked.out.splitlines()[-1].startswith("soft-gap holds all")


@pytest.mark.usefixtures("undrawn")
def test_its_method_is_measured(beside: Path) -> None:
    (beside / "small.toml").write_text(SMALL.replace('"hybrid"', '"soft-gap"'))
    measured = call("run", "small.toml", "--out", "run", "-q")
    assert measured.code == 0, measured
    lines = (beside / "run" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    own = [record for record in records if record["case"].get("method") == "soft-gap"]
    assert {record["status"] for record in own} == {"measured"}


@pytest.mark.usefixtures("beside")
def test_a_file_of_the_same_name_is_refused_beside_it() -> None:
    file = EXAMPLE / "src" / "eigbench_soft_gap" / "__init__.py"
    complaint = call("check", "soft-gap", "--plugin", str(file)).complaint
    assert "'soft-gap' is a method of an installed package; rename yours" in complaint


def test_without_it_there_is_no_such_method() -> None:
    complaint = call("check", "soft-gap").complaint
    assert complaint.startswith("eigbench: unknown method 'soft-gap'; available are eigh")
