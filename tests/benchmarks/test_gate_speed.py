"""The gate as it is used, on a method that is really slower, and on one that is not.

The baseline is made here, so that the margin is the one of this place wherever this runs.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import eigbench
from tests.benchmarks import baseline
from tests.benchmarks.fakes import FakeBenchmark
from tests.benchmarks.gate import SLOWDOWN
from tests.benchmarks.gating import Gate
from tests.benchmarks.problems import Call, covariances, forward_and_backward, torch_eigh

pytestmark = [pytest.mark.speed, pytest.mark.usefixtures("one_thread")]

NAME = "test_gate_speed.py::hybrid"


def _at_once(_seconds: float) -> None:
    """No pause before the last measurement: it is for what disturbs, and that is not tested."""


def slower(call: Call) -> Call:
    """`call`, followed by work that takes 15 % of the time that it took itself."""

    def calls() -> Any:
        start = time.process_time()
        found = call()
        end = start + SLOWDOWN * (time.process_time() - start)
        while time.process_time() < end:
            pass
        return found

    return calls


def test_the_gate_catches_a_real_slowdown_and_is_silent_without(place: str, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    M = covariances(64, 16)
    hybrid, reference = (forward_and_backward(f, M) for f in (eigbench.eigh, torch_eigh))

    def judged(call: Call, *, accepting: bool = False) -> str:
        judging = Gate(NAME, FakeBenchmark(), place, path, accepting, {}, sleep=_at_once)
        with suppress(pytest.fail.Exception):
            judging(call, reference, seconds=1.0)
        return judging.verdicts[NAME].outcome

    for _ in range(3):
        judged(hybrid, accepting=True)
    assert baseline.read(path)[NAME].visible <= SLOWDOWN
    assert judged(hybrid) in ("held", "disturbed")
    assert judged(slower(hybrid)) == "worse"
    assert judged(hybrid) in ("held", "disturbed")
