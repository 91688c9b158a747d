"""Profile: what a method costs in time, memory and work, beside what one would use without it."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import msgspec

from eigbench.axes import LAYOUTS
from eigbench.kinds.base import Counts, Kind, MethodCase, Parameters, Span, Values

REFERENCES = {
    "operation": ("torch.linalg.eigh",),
    "whitening": ("torch.linalg.eigh",),
    "layer": ("bn", "none"),
    "step": ("bn", "none"),
}
"""By subject; the first is what ratios are taken to."""


_BY_ROUND = re.compile(r"(reference_)?(forward|backward|update)_seconds")
_ONCE = ("first_call_seconds", "block_runs", "sm_clock_hertz", ":clock", ":contest")
_TOGETHER = (
    ("operator_self_seconds", "operator_calls", ":operator"),
    ("phase_seconds", ":phase", ":phase_pass"),
    ("event_start_seconds", "event_seconds", "event_lane", ":event"),
)
"""As many values of one as of the others."""


class Profiling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the workloads of a suite are timed, and on what inputs."""

    rounds: Annotated[int, msgspec.Meta(ge=1)] = 51
    """The most rounds, in each of which every contestant is timed once."""
    seconds: Annotated[float, msgspec.Meta(gt=0)] = 5.0
    """A workload that takes longer has fewer rounds."""
    inputs: Literal["fresh", "cached"] = "fresh"


class ProfileCase(
    MethodCase, tag="profile", tag_field="kind", frozen=True, kw_only=True, omit_defaults=True
):
    """The time, memory and work of one method, or of a reference, in one workload."""

    subject: str
    """"operation", the bare decomposition; "whitening", ⟨W, M^(−1/2)⟩; "layer"; or "step", which is
    a training step of ResNet18."""
    method: str
    """A method; or a reference: "torch.linalg.eigh", "bn" or "none"."""
    parameters: Parameters
    layer: str | None
    """What the workload compares with its references: "zca" or "pca"; None for matrices."""
    d: int | None
    """Matrix size; channels of a group (zca)."""
    energy: float | None
    """Share of the variance kept (pca)."""
    batch: int
    """Matrices; or images of a layer or a step."""
    dtype: str
    compiled: bool
    inputs: str
    """"fresh" for each run, or "cached": the same tensors again and again."""
    rounds: int
    seconds: float
    """After so long a workload is timed for a few rounds at least, and no more."""
    trace: bool
    seed: int
    device: str
    layout: str = "contiguous"
    """How the images of a layer or a step lie in memory: so, or "channels_last". Records leave
    the default out, as those of before there was a choice do."""

    def __post_init__(self) -> None:
        # What is left out is the very object that is the default, which a string is not that was
        # read from a file or came from another process.
        msgspec.structs.force_setattr(self, "layout", sys.intern(self.layout))

    def counts(self, lengths: Mapping[str, int]) -> Counts:
        """A value a round, and as many names as values."""
        rounds = (name for name in lengths if _BY_ROUND.fullmatch(name))
        yield ("forward_seconds", "backward_seconds", *rounds), {lengths.get("forward_seconds", 0)}
        yield lengths.keys() & {*_ONCE}, {1}
        for names in _TOGETHER:
            if lengths.keys() & {*names}:
                yield names, {lengths.get(names[0], 0)}

    @property
    def question(self) -> Self:
        """The case without its trace."""
        return msgspec.structs.replace(self, trace=False)

    @property
    def workload(self) -> Self:
        """What the cases that are timed in turn have in common."""
        return msgspec.structs.replace(self, method="", parameters={}, compiled=False, trace=False)

    @property
    def measured_with(self) -> Self:
        """Its workload."""
        return self.workload

    @property
    def is_reference(self) -> bool:
        """Whether the case is what the methods of its workload are compared with."""
        return self.method in (*REFERENCES["operation"], *REFERENCES["layer"])


Keep = Callable[[ProfileCase, bytes], str]
"""Keeps the trace of a case; returns its path within the run's folder."""

_REQUIRED = frozenset({"subject", "batch", "dtype", "method", "iterations", "compiled"})
_REQUIRED_BY_SUBJECT = {
    "operation": {"d"},
    "whitening": {"d"},
    "layer": {"layer", "d", "energy"},
    "step": {"layer", "d", "energy"},
}
"""What a grid needs besides."""


def _required(values: Values) -> frozenset[str]:
    subjects = values.get("subject", ())
    return _REQUIRED.union(*(_REQUIRED_BY_SUBJECT.get(subject, ()) for subject in subjects))


def _expand(span: Span) -> Iterator[ProfileCase]:
    """Workload by workload; in each the references come first."""
    shared: dict[str, Any] = {
        **msgspec.structs.asdict(span.profiling),
        "trace": span.trace,
        "seed": span.seed,
        "device": span.device,
    }
    for point in span.points("subject", "dtype"):
        subject = point["subject"]
        layouts = _layouts(subject, span.values)
        sizes = _sizes(subject, span.values)
        for size, batch, layout in itertools.product(sizes, span.values["batch"], layouts):
            workload = {**point, **size, "batch": batch, "layout": layout}
            for contestant in _contestants(subject, span):
                yield ProfileCase(**contestant, **workload, **shared)


def _layouts(subject: str, values: Values) -> Sequence[str]:
    """Those of images: matrices have one."""
    asked = values.get("layout", LAYOUTS[:1])
    return asked if subject in ("layer", "step") else LAYOUTS[:1]


def _sizes(subject: str, values: Values) -> Iterator[dict[str, Any]]:
    if subject in ("operation", "whitening"):
        yield from ({"layer": None, "d": d, "energy": None} for d in values["d"])
        return
    for layer in values["layer"]:
        if layer == "zca":
            yield from ({"layer": layer, "d": d, "energy": None} for d in values["d"])
        elif layer == "pca":
            yield from ({"layer": layer, "d": None, "energy": e} for e in values["energy"])


def _contestants(subject: str, span: Span) -> Iterator[dict[str, Any]]:
    for reference in REFERENCES[subject]:
        yield {"method": reference, "parameters": {}, "compiled": False}
    for point in span.points("compiled", "iterations", "method"):
        iterations = point.pop("iterations")
        parameters = span.accepted_parameters(point["method"], iterations=iterations)
        yield {**point, "parameters": parameters}


PROFILE = Kind(
    case=ProfileCase,
    required=_required,
    expand=_expand,
    measurer="eigbench.measure.profile:measurer",
    part="eigbench.report.chapters.profile:part",
    comparison="eigbench.compare.rules:profile",
    timed=True,
    # Matrices of another seed take as long as others.
    may_differ=("device", "trace", "rounds", "seconds", "inputs", "seed"),
)
