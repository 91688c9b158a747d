"""What is in the wheel, and that what is in it is found."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import eigbench
from eigbench.errors import OF_REPORT
from tests.cli.commandline import ROOT, finish, start

SUITES = {path.name for path in (ROOT / "suites").glob("*.toml")}
LIST_SUITES = """
import eigbench
from eigbench.data.mini import train_images
from eigbench.runs.suite import cases, load, shipped

print(eigbench.__file__)
print(len(train_images(10)))
for name, path in shipped().items():
    print(name, path, len(cases(load(path))))
"""


def _run(program: list[str], package: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A program that finds this package only there."""
    return subprocess.run(
        [sys.executable, *program],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )


def _printed(program: str, package: Path, cwd: Path) -> list[str]:
    done = _run(["-c", program], package, cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built without a network from a copy of the source."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the wheel, is not installed")
    source = tmp_path_factory.mktemp("source") / "eigbench"
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "reports", "dist", "build")
    shutil.copytree(ROOT, source, ignore=unwanted)
    out = tmp_path_factory.mktemp("dist")
    build = f"from hatchling.build import build_wheel; print(build_wheel({str(out)!r}))"
    name = _printed(build, Path(os.environ.get("PYTHONPATH", "")), source)[-1]
    return out / name


def test_the_wheel_holds_what_is_read_at_run_time(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"eigbench/suites/{name}" for name in SUITES} <= names
    assert "eigbench/py.typed" in names
    assert "eigbench/data/cifar10-mini.zip" in names
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "eigbench").rglob("*.py")}
    assert sources <= names
    assert not [name for name in names if name.startswith(("tests/", "reports/", "docs/"))]


def test_the_wheel_works_when_it_is_unpacked(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    installed = tmp_path / "installed"
    file, images, *suites = _printed(LIST_SUITES, installed, tmp_path)
    assert Path(file).is_relative_to(installed)
    assert images == "10"
    assert {f"{line.split()[0]}.toml" for line in suites} == SUITES
    for line in suites:
        assert Path(line.split()[1]).is_relative_to(installed / "eigbench" / "suites")


def test_the_wheel_has_the_version_and_the_command(wheel: Path) -> None:
    assert wheel.name == f"eigbench-{eigbench.__version__}-py3-none-any.whl"
    folder = f"eigbench-{eigbench.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        entries = archive.read(f"{folder}/entry_points.txt").decode()
        metadata = archive.read(f"{folder}/METADATA").decode()
        licence = archive.read(f"{folder}/licenses/LICENSE").decode()
    assert "eigbench = eigbench.cli:main" in entries
    assert "\nLicense-Expression: BSD-3-Clause\n" in metadata
    assert licence == (ROOT / "LICENSE").read_text("utf-8")


def test_a_citation_names_this_version_and_licence() -> None:
    lines = (ROOT / "CITATION.cff").read_text("utf-8").splitlines()
    assert f"version: {eigbench.__version__}" in lines
    assert "license: BSD-3-Clause" in lines


def test_the_library_needs_torch_and_numpy_alone() -> None:
    """Here all else is missing; a command then says in one line what brings it."""
    done = _run(["tests/library_alone.py"], ROOT, ROOT)
    line = "is not installed: this needs pip install 'eigbench[report]'\n"
    assert re.fullmatch(rf"\w+ {re.escape(line)}", done.stdout), done
    assert done.stderr == f"eigbench: typer {line}"
    assert done.returncode == 2


def test_what_is_of_an_extra_is_known_to_be() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    imported = {"markdown-it-py": "markdown_it", "pillow": "PIL", "tomli-w": "tomli_w"}
    named = [re.split("[<>=]", line)[0] for line in project["optional-dependencies"]["report"]]
    assert {imported.get(name, name) for name in named} == OF_REPORT


def test_a_shell_completes_commands_and_options(tmp_path: Path) -> None:
    for words, expected in (
        ("eigbench sta", "stability"),
        ("eigbench stability --res", "--resume"),
    ):
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        variables = {"_EIGBENCH_COMPLETE": "complete_bash", **asked}
        outcome = finish(start(cwd=tmp_path, environment=variables))
        assert (outcome.code, outcome.out.split()) == (0, [expected]), outcome


def test_the_project_says_what_goes_into_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    target = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert target["packages"] == ["eigbench"]
    assert target["force-include"] == {"suites": "eigbench/suites"}
    assert {path.name for path in (ROOT / "suites").glob("*.toml")} == SUITES
    assert (ROOT / "eigbench" / "py.typed").is_file()
    assert (ROOT / project["project"]["readme"]).is_file()
    sdist = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    pages = {f"/{path.name}" for path in ROOT.iterdir() if path.suffix in {".md", ".cff"}}
    assert {"/LICENSE", *pages} <= set(sdist)
    assert all((ROOT / name[1:]).exists() for name in sdist)
