"""What the first call costs, compilation included, and what compilation then gains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eigbench.report.markdown import NOTHING, table
from eigbench.report.profile import writing
from eigbench.report.profile.estimates import Estimate
from eigbench.report.profile.naming import SUBJECTS, Names
from eigbench.report.profile.profiles import Profile, values_of, where

METRIC = "first_call_seconds"


def sections(profiles: Sequence[Profile], names: Names) -> list[str]:
    """The first call of every method by subject, over all its workloads."""
    known = [profile for profile in profiles if np.isfinite(profile.once(METRIC))]
    if not known:
        return []
    subjects = values_of(known, "subject")
    body = []
    for label, own in names.group(known).items():
        cells = [where(own, subject=subject) for subject in subjects]
        body.append([label, *map(_seconds, cells), _compiled(own, profiles)])
    gained = any(row[-1] != NOTHING for row in body)
    headers = ["method", *(f"{SUBJECTS[subject].lower()}, s" for subject in subjects)]
    if gained:
        headers.append("then, × the same not compiled")
    else:
        body = [row[:-1] for row in body]
    compiling = " What compiles does so there." if gained else ""
    return [
        "## First calls",
        "Seconds of the very first run in each workload, from the least to the largest of the "
        "workloads. They are in no other table: a first run loads libraries, allocates and chooses "
        f"algorithms, and whoever is timed first pays for the others.{compiling}",
        table(headers, body),
    ]


def gains(profiles: Sequence[Profile], compiled: Sequence[Profile]) -> list[Estimate]:
    """Each compiled profile over the same that is not, round by round."""
    found = []
    for profile in compiled:
        same = where(
            profiles, method=profile.case.method, parameters=profile.case.parameters,
            compiled=False,
        )  # fmt: skip
        key = profile.case.workload.id
        eager = next((p for p in same if p.time and p.case.workload.id == key), None)
        ratio = profile.over(eager) if eager else None
        if ratio:
            found.append(ratio)
    return found


def _seconds(profiles: Sequence[Profile]) -> str:
    return writing.rough_span(profile.once(METRIC) for profile in profiles)


def _compiled(own: Sequence[Profile], profiles: Sequence[Profile]) -> str:
    return writing.span(gains(profiles, where(own, compiled=True)))
