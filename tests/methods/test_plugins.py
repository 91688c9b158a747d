"""Methods from files: what is registered, and what is said of a file that is not right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import eigbench
from eigbench.errors import InputError
from eigbench.methods import available, get, plugins, registry

HEAD = """
from dataclasses import dataclass
from typing import ClassVar

from eigbench.methods.base import Eigenpairs, Method
from eigbench.methods.eigh import Eigh
"""
MINE = (
    HEAD
    + """
@dataclass(frozen=True)
class Mine(Eigh):
    name: ClassVar[str] = "mine"

    power: int = 1
"""
)


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.py"


def refusal(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        plugins.load(file)
    assert available()[-1] in registry._BUILT_IN  # that is, nothing was registered
    return str(caught.value).removeprefix(str(file))


def test_a_file_adds_its_methods(file: Path) -> None:
    file.write_text(MINE + MINE.removeprefix(HEAD).replace("Mine", "Other").replace("mine", "b"))
    assert plugins.load(file) == ("mine", "b")
    assert available()[-2:] == ("mine", "b")
    assert get("mine").parameter_names() == ("power",)
    M = torch.eye(3)
    assert torch.equal(eigbench.eigh(M, method="mine", power=2)[0], torch.ones(3))
    assert [path.name for path in file.parent.iterdir()] == ["mine.py"]  # no cache beside it


def test_imported_and_abstract_classes_are_no_methods_of_the_file(file: Path) -> None:
    base = "class Base(Method):\n    pass\n"
    file.write_text(MINE.replace("@dataclass", f"{base}\n@dataclass", 1))
    assert plugins.load(file) == ("mine",)


def test_a_file_may_be_loaded_again(file: Path) -> None:
    file.write_text(MINE)
    plugins.load(file)
    file.write_text(MINE.replace("power", "degree"))
    plugins.load(file)
    assert get("mine").parameter_names() == ("degree",)


def test_two_files_cannot_have_one_name(file: Path) -> None:
    file.write_text(MINE)
    plugins.load(file)
    other = file.with_name("other.py")
    other.write_text(MINE)
    with pytest.raises(
        InputError, match=r"other\.py, class Mine: 'mine' is a method of .*mine\.py"
    ):
        plugins.load(other)


@pytest.mark.parametrize("name", ["hybrid", "eigh"])
def test_a_built_in_method_cannot_be_replaced(file: Path, name: str) -> None:
    said = refusal(file, MINE.replace('"mine"', f'"{name}"'))
    assert (
        said == f", class Mine: {name!r} is a built-in method, which nothing replaces; rename yours"
    )
    assert get(name).__module__.startswith("eigbench.")


BROKEN = {
    "x = 1\ny = (\n": r", line 2: SyntaxError: '\(' was never closed",
    "\n\nraise ValueError('no luck')\n": ", line 3: ValueError: no luck",
    "import nowhere_to_be_found\n": ", line 1: ModuleNotFoundError: No module named 'nowhere",
    "import sys\nsys.exit(3)\n": ", line 2: SystemExit: 3",
    HEAD: " defines no method; expected a frozen dataclass derived from",
    HEAD + "class Half(Method):\n    pass\n": " defines no method; Half lacks eigh; expected",
    HEAD + "@dataclass\nclass Open(Eigh):\n    power: int = 1\n": (
        r", line \d+: TypeError: cannot inherit non-frozen dataclass from a frozen one"
    ),
    MINE.replace('ClassVar[str] = "mine"', "ClassVar[str] = 3"): ", class Mine: its `name` is 3;",
    MINE.replace('"mine"', '"a, b"'): ", class Mine: its `name` is 'a, b'; letters",
    # Python before 3.11.4 raises ValueError; a line is named by some versions only.
    "x = '\0'\n": "(, line [01])?: (SyntaxError|ValueError): source code .*null bytes",
}


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_wrong_with_a_file_is_said_in_a_line(file: Path, text: str) -> None:
    said = refusal(file, text)
    assert re.match(BROKEN[text], said), said
    assert "\n" not in said


def test_a_method_without_a_name_is_refused(file: Path) -> None:
    eigh = "    def eigh(self, M):\n        return None\n"
    said = refusal(file, f"{HEAD}@dataclass(frozen=True)\nclass Nameless(Method):\n{eigh}")
    assert said.startswith(", class Nameless: its `name` is None; letters, digits")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.py"):
        with pytest.raises(InputError, match="is no file; give a Python file"):
            plugins.load(path)
