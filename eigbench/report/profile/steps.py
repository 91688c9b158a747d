"""Training steps: a row a method in each workload, beside batch normalisation and no layer."""

from __future__ import annotations

from collections.abc import Sequence

from eigbench.kinds.profile import REFERENCES
from eigbench.report.markdown import NOTHING, table
from eigbench.report.profile import writing
from eigbench.report.profile.naming import Names, place, size
from eigbench.report.profile.profiles import PASSES, Profile, reference, where, workloads

MILLI = writing.MILLI


def sections(profiles: Sequence[Profile], names: Names) -> list[str]:
    """A table for each workload."""
    parts = []
    for own in workloads(where(profiles, subject="step")):
        if any(profile.time for profile in own):
            parts += [f"### {size(own[0].case)}, {place(own[0].case)}", _table(own, names)]
    return parts


def _table(profiles: Sequence[Profile], names: Names) -> str:
    standard, without = REFERENCES["step"]
    headers = ["method", *(f"{name}, ms" for name in PASSES), "step, ms", f"× {standard}",
               f"ms more than {standard}", f"ms more than {without}"]  # fmt: skip
    body = [
        _row(label, next((p for p in own if p.time), own[0]), profiles)
        for label, own in names.group(profiles).items()
    ]
    return table(headers, body)


def _row(label: str, profile: Profile, profiles: Sequence[Profile]) -> list[str]:
    if not profile.time:
        word = NOTHING if profile.status == "planned" else profile.status
        return [label, *[word] * 3, word, NOTHING, NOTHING, NOTHING]
    passes = [writing.supported(profile.time_of(name), MILLI) for name in PASSES]
    is_first = profile.case.method == REFERENCES["step"][0]
    ratio = "1" if is_first else writing.with_interval(profile.ratio)
    more = [_added(profile, profiles, position) for position in (0, 1)]
    return [label, *passes, writing.supported(profile.time, MILLI), ratio, *more]


def _added(profile: Profile, profiles: Sequence[Profile], position: int) -> str:
    other = reference(profiles, profile, position)
    if other is None or other.case.method == profile.case.method:
        return NOTHING
    return writing.difference(profile.added(other), MILLI)
