"""The example of the documentation, built and installed as any package, is a method."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cli.commandline import NARROW, ROOT, Outcome, finish, start

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


def call(installed: Path, cwd: Path, *words: str) -> Outcome:
    """A command line in a process that finds the package beside eigbench."""
    path = os.pathsep.join([str(ROOT), str(installed)])
    return finish(start(*words, cwd=cwd, environment={"PYTHONPATH": path}))


def test_its_method_is_listed_and_holds_the_contract(installed: Path, tmp_path: Path) -> None:
    listed = call(installed, tmp_path, "methods")
    assert listed.code == 0, listed
    assert "soft-gap" in listed.out
    assert "eta=0.001" in listed.out
    checked = call(installed, tmp_path, "check", "soft-gap")
    assert checked.code == 0, checked
    assert checked.out.splitlines()[-1].startswith("soft-gap holds all")


def test_its_method_is_measured(installed: Path, tmp_path: Path) -> None:
    words = ("stability", "--method", "eigh", "soft-gap", *NARROW, "--out", "run", "-q")
    measured = call(installed, tmp_path, *words)
    assert measured.code == 0, measured
    lines = (tmp_path / "run" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    own = [record for record in records if record["case"].get("method") == "soft-gap"]
    assert {record["status"] for record in own} == {"measured"}


def test_a_file_of_the_same_name_is_refused_beside_it(installed: Path, tmp_path: Path) -> None:
    file = EXAMPLE / "src" / "eigbench_soft_gap" / "__init__.py"
    outcome = call(installed, tmp_path, "check", "soft-gap", "--plugin", str(file))
    assert "'soft-gap' is a method of an installed package; rename yours" in outcome.complaint


def test_without_it_there_is_no_such_method(tmp_path: Path) -> None:
    outcome = finish(start("check", "soft-gap", cwd=tmp_path))
    assert outcome.complaint.startswith("eigbench: unknown method 'soft-gap'; available are eigh")
