"""What all profiles of a suite share, and the workloads that a grid of them spans."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec

from eigbench.runs.case import REFERENCES, Parameters, ProfileCase
from eigbench.runs.training import taken

SUBJECTS = tuple(REFERENCES)
INPUTS = ("fresh", "cached")


class Profiling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a workload is timed, and on what inputs."""

    rounds: Annotated[int, msgspec.Meta(ge=1)] = 51
    """So many rounds, in each of which every contestant is timed once."""
    seconds: Annotated[float, msgspec.Meta(gt=0)] = 5.0
    """A workload that takes longer has fewer rounds."""
    inputs: Literal["fresh", "cached"] = "fresh"


def profile_cases(
    profiling: Profiling, values: Mapping[str, Any], *, trace: bool, seed: int, device: str
) -> Iterator[ProfileCase]:
    """The cases of one grid, workload by workload; in each the references come first."""
    for shape in _workloads(values):
        shared = {
            **shape,
            "inputs": profiling.inputs,
            "rounds": profiling.rounds,
            "seconds": profiling.seconds,
            "trace": trace,
            "seed": seed,
            "device": device,
        }
        for method, parameters, compiled in _contestants(shape["subject"], values):
            yield ProfileCase(method=method, parameters=parameters, compiled=compiled, **shared)


def _workloads(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for subject, dtype in itertools.product(values["subject"], values["dtype"]):
        for size, batch in itertools.product(_sizes(subject, values), values["batch"]):
            yield {"subject": subject, "dtype": dtype, "batch": batch, **size}


def _sizes(subject: str, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if subject in ("operation", "whitening"):
        yield from ({"layer": None, "d": d, "energy": None} for d in values["d"])
        return
    for layer in values["layer"]:
        if layer == "zca":
            yield from ({"layer": layer, "d": d, "energy": None} for d in values["d"])
        elif layer == "pca":
            yield from ({"layer": layer, "d": None, "energy": e} for e in values["energy"])


def _contestants(subject: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Parameters, bool]]:
    """Method, parameters, and whether it is compiled."""
    for reference in REFERENCES[subject]:
        yield reference, {}, False
    chosen = itertools.product(values["compiled"], values["iterations"], values["method"])
    for compiled, iterations, method in chosen:
        given = {"iterations": iterations, **values["parameters"]}
        yield method, taken(method, given), compiled
