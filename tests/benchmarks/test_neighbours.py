"""How busy the machine was, from a file that says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.benchmarks.neighbours import IDLE, Used, excuse, share_of_others, used


def test_what_linux_tells_is_read_in_seconds(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 200 300 4000 500 6 7 8 90 90\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    found = used(stat)
    assert found is not None
    ticks = os.sysconf("SC_CLK_TCK")
    # The last two are part of the first two already.
    assert found.total == pytest.approx((100 + 200 + 300 + 4000 + 500 + 6 + 7 + 8) / ticks)
    assert found.idle == pytest.approx((4000 + 500) / ticks)
    assert found.own > 0


def test_others_had_what_was_neither_idle_nor_ours() -> None:
    before = Used(total=100.0, idle=50.0, own=10.0)
    # Two cores for 10 s: 5 s idle, 11 s ours, and 4 s of 20 are left.
    assert share_of_others(before, Used(120.0, 55.0, 21.0)) == pytest.approx(0.2)
    assert share_of_others(before, Used(120.0, 55.0, 26.0)) == 0.0
    assert share_of_others(before, before) == 0.0
    assert share_of_others(None, before) == 0.0


def test_another_system_does_not_tell(tmp_path: Path) -> None:
    assert used(tmp_path / "none") is None


def test_a_bar_missed_on_busy_cores_does_not_count() -> None:
    reason = excuse(AssertionError(), 0.345)
    assert reason == "bar missed, but other programs took 34% of the cores"


def test_on_idle_cores_it_counts() -> None:
    assert excuse(AssertionError(), IDLE) is None
    assert excuse(AssertionError(), 0.0) is None


def test_where_only_the_gate_is_asked_for_a_missed_bar_is_said() -> None:
    reason = excuse(AssertionError("1.42 <= 1.4"), 0.0, gate_only=True)
    assert reason == "bar missed, on idle cores: 1.42 <= 1.4"
    assert excuse(pytest.fail.Exception("became slower"), 0.0, gate_only=True) is None


def test_an_alarm_of_the_gate_and_an_error_always_count() -> None:
    assert excuse(pytest.fail.Exception("became slower"), 0.9) is None
    assert excuse(RuntimeError(), 0.9) is None
