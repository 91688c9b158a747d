"""How the times of a profile were taken, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence

from eigbench.report.markdown import percent
from eigbench.report.profile import writing
from eigbench.report.profile.estimates import CONFIDENCE, NOISY
from eigbench.report.profile.naming import Names
from eigbench.report.profile.profiles import Profile, timed, values_of
from eigbench.runs.store import Run

_INPUTS = {
    "fresh": "other inputs in each run",
    "cached": "the same inputs in each run",
}
_CLOCKS = {
    "wall": "the wall clock, read when the device has finished",
    "cuda events": "CUDA events",
}


def warnings(run: Run, profiles: Sequence[Profile]) -> list[str]:
    """A line if the times were taken on machines, or by versions, that differ."""
    used = {profile.record.session for profile in timed(profiles) if profile.record}
    sessions = [s for index, s in enumerate(run.environment.sessions) if index in used]
    places = {
        (s.device, s.processor, s.torch_threads, s.packages.get("torch", "")) for s in sessions
    }
    if len(places) < 2:
        return []
    words = sorted(
        f"{device} ({processor}, {threads} threads, torch {version})"
        for device, processor, threads, version in places
    )
    return [
        f"> **Different machines.** The profiles of this run were timed on {'; '.join(words)}: "
        "ratios are of the same rounds and hold, but times of one cannot be compared with times of "
        "the other."
    ]


def how_to_read(profiles: Sequence[Profile], names: Names) -> list[str]:
    """What a time, a ratio and an interval are, and how many samples they are made of."""
    known = timed(profiles)
    if not known:
        return []
    confidence = percent(CONFIDENCE)
    return [
        "## How the times were taken",
        "A **workload** is one size, batch and precision. Its methods and its references are "
        "timed in turn, round by round, so that a drift of the machine hits all alike. A **time** "
        "is the median over rounds; a **ratio** is the median over rounds of a method's time over "
        "the reference's in the same round, and not the quotient of two medians. In brackets is "
        f"the {confidence} interval of the median, between two order statistics: it supposes no "
        "distribution, but rounds that do not depend on each other. Numbers have the digits "
        f"which that interval supports, {writing.MOST_DIGITS} at most. **{writing.MARK}** marks a "
        f"noisy median: its interval reaches more than {percent(NOISY)} away from it, or there "
        "are fewer than six rounds to make one of. A first call, with whatever it compiles and "
        "allocates, is never among the rounds.",
        _facts(known, names),
    ]


def _facts(profiles: Sequence[Profile], names: Names) -> str:
    rounds = writing.count_span(len(profile.seconds) for profile in profiles)
    runs = writing.count_span(profile.once("block_runs") for profile in profiles)
    clocks = dict.fromkeys(word for p in profiles for word in p.words("clock")[:1])
    clock = " or ".join(_CLOCKS.get(word, word) for word in clocks) or "not recorded"
    inputs = " or ".join(_INPUTS[word] for word in values_of(profiles, "inputs"))
    K = names.usual_iterations
    series = "" if K is None else f" Methods with iterations take K = {K} where none is named."
    return (
        f"In this run: {rounds} rounds; {runs} runs between two readings of the clock; clock: "
        f"{clock}; {inputs}.{series}"
    )
