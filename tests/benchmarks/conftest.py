"""What the benchmarks share: threads, the gate, and what the session says about it at its end."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from eigbench.measure.process import torch_threads
from eigbench.methods import available
from tests.benchmarks import baseline, guarded, neighbours
from tests.benchmarks.gate import SLOWDOWN, Verdict
from tests.benchmarks.gating import Gate

_OTHERS = pytest.StashKey[float]()
_VERDICTS = pytest.StashKey[dict[str, Verdict]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("benchmark").addoption(
        "--accept-baseline",
        action="store_true",
        help="Add what is measured to tests/benchmarks/baseline.json instead of judging it.",
    )
    parser.getgroup("benchmark").addoption(
        "--gate-only",
        action="store_true",
        help="Leave out what has no baseline, and report a missed bar without failing.",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_VERDICTS] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--gate-only", default=False):
        return
    # A benchmark that is not gated has a bar and nothing else.
    bars = [item for item in items if {"gate", "benchmark"} & _fixtures(item) == {"benchmark"}]
    config.hook.pytest_deselected(items=bars)
    items[:] = [item for item in items if item not in bars]


def _fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    verdicts = config.stash[_VERDICTS]
    if not verdicts:
        return
    terminalreporter.section("regression gate")
    for name, verdict in verdicts.items():
        if verdict.outcome != "held":
            said = ", then ".join(map(str, verdict.estimates))
            terminalreporter.line(f"{verdict.outcome}: {name} {said}")
    for name, verdict in verdicts.items():
        if verdict.entry is not None and verdict.entry.visible > SLOWDOWN:
            terminalreporter.line(
                f"spreads {verdict.entry.spread:.0%}, so that a slow-down is seen from "
                f"{verdict.entry.visible:.2f} times on only: {name}"
            )
    held = sum(verdict.outcome == "held" for verdict in verdicts.values())
    terminalreporter.line(f"{held} of {len(verdicts)} ratios are within their baselines")
    for line in guarded.left_out(available()):
        terminalreporter.line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    before = neighbours.used()
    try:
        yield
    finally:
        item.stash[_OTHERS] = neighbours.share_of_others(before, neighbours.used())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call" and call.excinfo is not None and item.get_closest_marker("speed"):
        only = item.config.getoption("--gate-only", default=False) and "gate" in _fixtures(item)
        excuse = neighbours.excuse(call.excinfo.value, item.stash[_OTHERS], gate_only=only)
        if excuse is not None:
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.reportinfo()[1] or 0, f"Skipped: {excuse}")
    return report


@pytest.fixture(scope="session")
def place() -> str:
    """What ratios depend on besides the code."""
    return baseline.place()


@pytest.fixture
def gate(request: pytest.FixtureRequest, benchmark: Any, place: str) -> Gate:
    """Times one benchmark, and fails where it became slower than its baseline."""
    return Gate(
        name=f"{request.path.name}::{request.node.name}",
        benchmark=benchmark,
        where=place,
        path=baseline.FILE,
        accepting=request.config.getoption("--accept-baseline", default=False),
        verdicts=request.config.stash[_VERDICTS],
    )


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
