"""What the benchmarks share: threads, gate and bars, and what the session says at its end."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eigbench.measure.process import torch_threads
from eigbench.methods import available
from eigbench.runs.environment import share_of_others, used
from tests.benchmarks.bars import Bar
from tests.benchmarks.gate import BASELINE, METHODS, SLOWDOWN, Gate, Verdict

_VERDICTS = pytest.StashKey[dict[str, Verdict]]()
_ASKED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("benchmark")
    group.addoption(
        "--accept-baseline",
        action="store_true",
        help="Add what is measured to tests/benchmarks/baseline.json instead of judging it.",
    )
    group.addoption("--gate-only", action="store_true", help="Leave out the bars on elapsed times.")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_VERDICTS] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--gate-only", default=False):
        bars = [item for item in items if "gate" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=bars)
        items[:] = [item for item in items if item not in bars]


def pytest_collection_finish(session: pytest.Session) -> None:
    gated = [item for item in session.items if "gate" in getattr(item, "fixturenames", ())]
    session.config.stash[_ASKED] = max(len(gated), 1)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    verdicts = config.stash[_VERDICTS]
    if not verdicts:
        return
    terminalreporter.section("regression gate")
    for name, verdict in verdicts.items():
        if verdict.outcome != "held":
            said = ", then ".join(map(str, verdict.estimates))
            terminalreporter.line(f"{verdict.outcome}: {name} {said}")
        if verdict.visible > SLOWDOWN:
            terminalreporter.line(f"sees slow-downs from {verdict.visible:.2f} times on: {name}")
    held = sum(verdict.outcome == "held" for verdict in verdicts.values())
    terminalreporter.line(f"{held} of {len(verdicts)} ratios are within their baselines")
    others = [method for method in available() if method not in METHODS]
    if others:
        terminalreporter.line(f"not guarded: {', '.join(others)}")


@pytest.fixture(scope="session")
def place() -> str:
    """What ratios depend on besides the code: processor, cores, torch and Python."""
    from eigbench.runs.environment import describe

    session = describe("cpu", seed=0)
    python = ".".join(platform.python_version_tuple()[:2])
    return (
        f"{session.processor}{_model()}, {session.logical_cores} cores, "
        f"torch {session.packages['torch']}, Python {python}"
    )


def _model() -> str:
    """Family and model where Linux tells: virtual machines hide more of the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    if not {"cpu family", "model"} <= set(found):
        return ""
    return f" (family{found['cpu family']}, model{found['model']})"


@pytest.fixture
def gate(request: pytest.FixtureRequest, benchmark: Any, place: str) -> Gate:
    """Times one benchmark, and fails where it became slower than its baseline."""
    config = request.config
    return Gate(
        name=f"{request.path.name}::{request.node.name}",
        benchmark=benchmark,
        where=place,
        path=BASELINE,
        accepting=config.getoption("--accept-baseline", default=False),
        verdicts=config.stash[_VERDICTS],
        asked=config.stash[_ASKED],
    )


@pytest.fixture
def bar(benchmark: Any) -> Bar:
    """Times one benchmark on the wall, and fails where it takes longer than a limit."""
    before = used()
    return Bar(benchmark, lambda: share_of_others(before, used()))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread."""
    with torch_threads(1):
        yield


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Torch on two threads."""
    with torch_threads(2):
        yield
