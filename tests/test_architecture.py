"""What the source must look like: imports point downwards, files and functions stay short."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import eigbench

PACKAGE = Path(eigbench.__file__).parent
LEVELS = [
    ("errors", "_version", "algorithm_1"),
    ("phases",),
    ("methods",),
    ("architectures", "functional", "data", "spectra", "losses", "truncation"),
    ("layers", "singular"),
    ("networks",),
    ("axes",),
    ("kinds",),
    ("measure",),
    ("runs",),
    ("contract",),
    ("report",),
    ("compare",),
    ("diagnosis",),
    ("cli", "__main__"),
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
STARTING = {"cli", "runs", "kinds", "axes"}
"""Parts that every command imports."""
LONGEST_FILE, LONGEST_FUNCTION = 500, 60


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {_module(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {
    name: ast.parse(path.read_text(encoding="utf-8"), str(path)) for name, path in SOURCES.items()
}


def _part(module: str) -> str | None:
    """The part of the package that a module belongs to; None for the package itself."""
    return module.split(".")[1] if "." in module else None


def _named(node: ast.AST) -> Iterator[str]:
    """The modules of this package that a statement imports."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute here"
        assert node.module is not None
        inside = [f"{node.module}.{alias.name}" for alias in node.names]
        # `from eigbench.report import claims` imports a module, `... import write_report` does not
        names = [name if name in SOURCES else node.module for name in inside]
    else:
        return
    yield from (name for name in names if name.split(".")[0] == "eigbench")


def _imports(module: str) -> set[str]:
    """All that a module imports, wherever in it."""
    return {name for node in ast.walk(TREES[module]) for name in _named(node)}


def _imports_at_once(module: str) -> set[str]:
    """What a module imports as soon as it is imported."""
    return {name for node in TREES[module].body for name in _named(node)}


def test_every_part_has_its_level() -> None:
    assert {_part(module) for module in SOURCES} - {None} == set(LEVEL)


@pytest.mark.parametrize("module", [name for name in SOURCES if _part(name)])
def test_imports_point_downwards(module: str) -> None:
    own = _part(module)
    assert own is not None
    above = sorted(
        name
        for name in _imports(module)
        if (part := _part(name)) is not None and LEVEL[part] > LEVEL[own]
    )
    assert above == []


@pytest.mark.parametrize("module", [name for name in SOURCES if _part(name) == "report"])
def test_a_report_is_made_of_records_alone(module: str) -> None:
    assert not [name for name in _imports(module) if _part(name) == "measure"]


def test_the_imports_are_seen() -> None:
    """That is, the test above could fail: these are known to be there."""
    assert "eigbench.runs.store" in _imports("eigbench.report")
    assert "eigbench.measure.noise" in _imports("eigbench.cli.env")  # inside a function
    assert "eigbench.runs.record" in _imports("eigbench.cli.execute")  # for types only
    assert "eigbench.report.frame" in _imports("eigbench.report.compose")


def test_the_package_itself_imports_none_of_its_parts_at_once() -> None:
    assert _imports_at_once("eigbench") == {"eigbench._version"}


@pytest.mark.parametrize("module", [name for name in SOURCES if _part(name)])
def test_no_part_imports_the_package_itself(module: str) -> None:
    """Its names live in parts far above most of the parts; `_version` has the version."""
    assert "eigbench" not in _imports(module)


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {module: _imports_at_once(module) - {module} for module in SOURCES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize("module", SOURCES)
def test_files_and_functions_are_short(module: str) -> None:
    lines = SOURCES[module].read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LONGEST_FILE
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno + 1 <= LONGEST_FUNCTION, node.name


def _imports_from_outside(module: str) -> set[str]:
    outside = set()
    for node in TREES[module].body:
        if isinstance(node, ast.Import):
            outside |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            outside.add(node.module.split(".")[0])
    return outside


@pytest.mark.parametrize("module", [name for name in SOURCES if _part(name) in STARTING])
def test_the_command_line_imports_nothing_slow_at_once(module: str) -> None:
    assert not _imports_from_outside(module) & {
        "torch",
        "numpy",
        "matplotlib",
        "PIL",
        "dask",
        "distributed",
    }
