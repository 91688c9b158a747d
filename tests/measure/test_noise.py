"""What is said of a machine's noise, and that it is the machine's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from eigbench.measure import noise
from eigbench.measure.noise import Noise, measure, short

CPU = torch.device("cpu")


def found(**changes: Any) -> Noise:
    values: dict[str, Any] = {
        "seconds": 1.0, "alone": [1.0] * 19 + [3.0], "beside": [2.0] * 10, "ratios": [1.0],
        "stolen": None, "interruptions": 0, "waiting": 0.0, "cores": 2,
    }  # fmt: skip
    return Noise(**{**values, **changes})


def test_a_spread_is_that_of_the_slowest_twentieth() -> None:
    assert found().spread == pytest.approx(2)
    assert found(alone=[1.0] * 20).spread == 0
    assert found().pauses == 1 / 20
    assert found().contention == 2


def test_all_is_measured_in_the_time_that_is_given() -> None:
    threads = torch.get_num_threads()
    ticks = iter(range(1000))
    one = measure(0.2, now=lambda: next(ticks) / 4)
    assert len(one.alone) >= 10
    assert len(one.beside) >= 10
    assert len(one.ratios) == 1
    assert one.contention > 0
    assert one.stolen is None or 0 <= one.stolen <= 1
    assert torch.get_num_threads() == threads


def test_stolen_time_is_a_share_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests are counted in the time of users already: proc(5)."""
    stat = tmp_path / "stat"
    monkeypatch.setattr(noise, "_STAT", stat)
    stat.write_text("cpu  100 0 50 800 0 0 0 50 70 0\ncpu0 1 2\n")
    assert noise._stolen() == (50, 1000)
    assert noise._share((40, 900), noise._stolen()) == 0.1
    stat.write_text("cpu  100 0 50 800\n")  # of a system that does not say
    assert noise._stolen() is None
    stat.unlink()
    assert noise._share((0, 1), noise._stolen()) is None


def test_a_profile_compares_a_few_times_and_once_a_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths = iter([0.05] * 8 + [0.3] * 4 + [0.1] * 5)
    clock = [0.0]

    def compared(_: torch.device) -> float:
        clock[0] += next(lengths)
        return 1.1

    monkeypatch.setattr(noise, "_compared", compared)
    monkeypatch.setattr("eigbench.measure.noise.time.monotonic", lambda: clock[0])
    for count in (8, 4, 5):  # the others are slow
        short.cache_clear()
        assert short(CPU) == short(CPU) == (1.1,) * count
    short.cache_clear()


def test_what_a_kernel_raises_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("no eigh here")

    monkeypatch.setattr(noise, "_kernel", lambda _: broken)
    with pytest.raises(RuntimeError, match="no eigh here"):
        noise._compared(CPU)
