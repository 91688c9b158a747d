"""An id depends on what a case is, and on nothing else."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from eigbench.kinds import Case
from eigbench.kinds.series import SeriesCase
from eigbench.kinds.stability import StabilityCase
from eigbench.runs.suite import cases, find, load, shipped

STABILITY = StabilityCase(
    method="pi",
    parameters={"iterations": 19, "seed": 0},
    d=4,
    spectrum="gap",
    gap=0.1,
    scale=1.0,
    dtype="float32",
    epsilon=1e-4,
    loss="whitening",
    seeds=2,
    seed=0,
    device="cpu",
)
SERIES = SeriesCase(ratio=0.5, threshold=0.05, dtype="float32")

PINNED = {"stability": (STABILITY, "71ebe874dd20a819"), "series": (SERIES, "cc86a93276ac9eac")}
"""A run can be resumed, and runs compared, as long as these stay."""


@pytest.mark.parametrize("kind", PINNED)
def test_ids_are_the_same_for_ever(kind: str) -> None:
    case, expected = PINNED[kind]
    assert case.id == expected


def test_ids_do_not_depend_on_the_order_of_keys() -> None:
    parameters = {"seed": 0, "iterations": 19}
    assert list(parameters) != list(STABILITY.parameters)
    assert msgspec.structs.replace(STABILITY, parameters=parameters).id == STABILITY.id
    shuffled = dict(sorted(msgspec.to_builtins(STABILITY).items(), reverse=True))
    assert msgspec.convert(shuffled, StabilityCase).id == STABILITY.id


@pytest.mark.parametrize("seed", ["0", "1"])
def test_ids_do_not_depend_on_the_process(seed: str) -> None:
    program = "from tests.kinds.test_case import STABILITY, SERIES; print(STABILITY.id, SERIES.id)"
    environment = {
        **os.environ,
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert printed.stdout.split() == [STABILITY.id, SERIES.id]


OTHERS: dict[str, Any] = {
    "method": "svd",
    "parameters": {"iterations": 20, "seed": 0},
    "d": 5,
    "spectrum": "cluster",
    "gap": None,
    "scale": 2.0,
    "dtype": "float64",
    "epsilon": 0.0,
    "loss": "subspace",
    "seeds": 3,
    "seed": 1,
    "device": "cuda",
    "matrices": "abc",
}


def test_every_field_counts() -> None:
    assert set(OTHERS) == set(StabilityCase.__struct_fields__)
    changed = [
        msgspec.structs.replace(STABILITY, **{name: value}) for name, value in OTHERS.items()
    ]
    assert len({case.id for case in [STABILITY, *changed]}) == len(OTHERS) + 1
    series: list[dict[str, Any]] = [{"ratio": 0.6}, {"threshold": 0.01}, {"dtype": "float64"}]
    ids = {msgspec.structs.replace(SERIES, **change).id for change in series}
    assert len(ids | {SERIES.id}) == 4


def test_ids_are_unique_over_the_shipped_suites() -> None:
    by_id: dict[str, Case] = {}
    count = 0
    for path in shipped().values():
        planned = cases(load(path))
        assert len({case.id for case in planned}) == len(planned)
        count += len(planned)
        for case in planned:
            # The suites share cases; the same id is the same case.
            assert by_id.setdefault(case.id, case) == case
    assert count > len(by_id) > 500
    assert len(set(map(repr, by_id.values()))) == len(by_id)


def test_an_id_is_sixteen_hexadecimal_digits() -> None:
    assert len(STABILITY.id) == 16
    assert int(STABILITY.id, 16) >= 0


def test_iterations() -> None:
    assert STABILITY.iterations == 19
    assert msgspec.structs.replace(STABILITY, parameters={}).iterations is None


@pytest.mark.parametrize("name", ["stability", "profile", "gpu", "train-short"])
def test_an_id_is_the_same_in_another_process(name: str) -> None:
    """Fields that are left out at their default must be so for an equal value, whoever made it."""
    for case in cases(load(find(name))):
        assert pickle.loads(pickle.dumps(case)).id == case.id  # noqa: S301
        again = msgspec.json.decode(msgspec.json.encode(case), type=type(case))
        assert again.id == case.id
