"""The verdict on profiles: sentences that the numbers produce."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from eigbench.report import paper
from eigbench.report.markdown import NOTHING, percent
from eigbench.report.profile import calls, writing
from eigbench.report.profile.cliffs import Cliff, together
from eigbench.report.profile.estimates import NOISY
from eigbench.report.profile.naming import (
    SUBJECTS,
    Names,
    first_reference,
    functions_only,
    over,
)
from eigbench.report.profile.profiles import (
    Profile,
    reference,
    timed,
    values_of,
    where,
    workloads,
)
from eigbench.runs.store import Run

SHOWN_CLIFFS = 3
SHOWN_NOISY = 3


def verdict(
    run: Run, profiles: Sequence[Profile], names: Names, cliffs: Sequence[Cliff]
) -> list[str]:
    """What each method costs, in time and memory, and how far the numbers can be trusted."""
    known = timed(profiles)
    if not known:
        return _lost(profiles)
    sentences = [s for subject in SUBJECTS for s in _cost(run, known, names, subject)]
    sentences += _extremes(known, names)
    sentences += _memory(profiles, names)
    sentences += _compiled(known, names)
    sentences += _waits(profiles, names)
    sentences += _cliffs(cliffs)
    sentences += _noise(known, names)
    sentences += _lost(profiles)
    return sentences


def _cost(run: Run, profiles: Sequence[Profile], names: Names, subject: str) -> list[str]:
    """Each method's time over the reference's, over all workloads of a subject."""
    own = where(profiles, subject=subject)
    methods = [p for p in own if not p.case.is_reference and p.ratio]
    if not methods:
        return _alone(run, own, subject)
    layers = {profile.case.layer for profile in methods}
    words = [
        f"**{label}**{f' ({layer.upper()})' if len(layers) > 1 and layer else ''} {_ratios(some)}"
        for label, group in names.group(methods).items()
        for layer in values_of(group, "layer") or [None]
        if (some := where(group, layer=layer))
    ]
    what = {"step": "forward, backward and update"}.get(subject, "forward and backward")
    return [
        f"{SUBJECTS[subject]}, {what}, as a multiple of `{first_reference(subject)}` in the same "
        f"rounds ({over(run, methods)}; {_workloads(len(workloads(methods)))}): "
        f"{'; '.join(words)}.{_printed(subject)}{functions_only(methods, names)}"
    ]


def _workloads(count: int) -> str:
    return f"{count} workload{'' if count == 1 else 's'}"


def _ratios(profiles: Sequence[Profile]) -> str:
    """The range of the medians that are not noisy, or of all if all are; and what they hide."""
    known = [profile.ratio for profile in profiles if profile.ratio]
    firm = [one for one in known if not one.noisy]
    shown = firm or known
    noisy, equal = len(known) - len(firm), sum(one.low <= 1 <= one.high for one in shown)
    remarks = []
    if equal:
        remarks.append("no difference shown" + _of(equal, len(shown)))
    if noisy:
        left = "" if noisy == len(known) else ", left out"
        remarks.append(f"noisy{_of(noisy, len(known))}{left}")
    return writing.span(shown) + (f" ({'; '.join(remarks)})" if remarks else "")


def _of(count: int, total: int) -> str:
    """Of how many: nothing is said of one."""
    if total == 1:
        return ""
    return f" in all {total}" if count == total else f" in {count} of {total}"


def _printed(subject: str) -> str:
    if subject != "step":
        return ""
    printed = paper.STEP_MILLISECONDS
    return (
        f" The paper prints {printed['hybrid'] / printed['bn']:.2f} for PCA with "
        f"K = {paper.STEP_ITERATIONS} ({printed['hybrid']} ms beside {printed['bn']} ms, batch "
        f"{paper.BATCH}, on a Titan Xp; §3.2)."
    )


def _alone(run: Run, profiles: Sequence[Profile], subject: str) -> list[str]:
    methods = [profile for profile in profiles if not profile.case.is_reference]
    if not methods:
        return []
    times = writing.span((profile.time for profile in methods), writing.MILLI)
    return [
        f"{SUBJECTS[subject]}: {times} ms ({over(run, methods)}); no times of "
        f"`{first_reference(subject)}` in the same rounds are recorded."
    ]


def _extremes(profiles: Sequence[Profile], names: Names) -> list[str]:
    """Which methods are shown to take the least and the most time of a workload, by subject."""
    words = []
    for subject in values_of(profiles, "subject"):
        own = [p for p in where(profiles, subject=subject) if not p.case.is_reference]
        contests = [sorted(group, key=_middle) for group in workloads(own)]
        contests = [ordered for ordered in contests if len(ordered) > 1]
        if contests:
            least = Counter(names.of(c[0].case) for c in contests if _all_above(c[0], c[1:]))
            most = Counter(names.of(c[-1].case) for c in contests if _all_below(c[-1], c[:-1]))
            words.append(
                f"{SUBJECTS[subject].lower()} ({_workloads(len(contests))}) "
                f"{_counts('least', least)}, {_counts('most', most)}"
            )
    if not words:
        return []
    return [
        "Shown to take the least and the most time of the methods, against each other one in the "
        f"same rounds: {'; '.join(words)}."
    ]


def _all_above(profile: Profile, others: Sequence[Profile]) -> bool:
    ratios = [other.over(profile) for other in others]
    return all(ratio is not None and ratio.low > 1 for ratio in ratios)


def _all_below(profile: Profile, others: Sequence[Profile]) -> bool:
    ratios = [other.over(profile) for other in others]
    return all(ratio is not None and ratio.high < 1 for ratio in ratios)


def _middle(profile: Profile) -> float:
    return profile.time.middle if profile.time else float("nan")


def _counts(word: str, counts: Counter[str]) -> str:
    words = [f"**{name}** in {count}" for name, count in counts.most_common()]
    return f"{word} {' and '.join(words) or 'none'}"


def _memory(profiles: Sequence[Profile], names: Names) -> list[str]:
    """Peak and saved memory over the reference's."""
    words = []
    for subject in values_of(profiles, "subject"):
        own = where(profiles, subject=subject)
        methods = [profile for profile in own if not profile.case.is_reference]
        found = [
            f"**{label}** {text}"
            for label, some in names.group(methods).items()
            if (text := _multiples(some, own, "peak_bytes"))
        ]
        if found:
            name = first_reference(subject)
            words.append(f"{SUBJECTS[subject].lower()} (`{name}`) {', '.join(found)}")
    if not words:
        return []
    return [f"Peak memory of a run, as a multiple of the reference's: {'; '.join(words)}."]


def _multiples(some: Sequence[Profile], profiles: Sequence[Profile], metric: str) -> str:
    ratios = []
    for profile in some:
        other = reference(profiles, profile)
        if other and other.once(metric) > 0 and profile.once(metric) > 0:
            ratios.append(profile.once(metric) / other.once(metric))
    return writing.plain_span(ratios) if ratios else ""


def _compiled(profiles: Sequence[Profile], names: Names) -> list[str]:
    compiled = [profile for profile in profiles if profile.case.compiled]
    words = []
    for label, some in names.group(compiled).items():
        found = calls.gains(profiles, some)
        if found:
            first = writing.rough_span(profile.once(calls.METRIC) for profile in some)
            name = label.removesuffix(", compiled")
            words.append(f"**{name}** {writing.span(found)} (first call {first} s)")
    if not words:
        return []
    return [f"Compiled, as a multiple of the same not compiled: {'; '.join(words)}."]


def _waits(profiles: Sequence[Profile], names: Names) -> list[str]:
    """Only where it was counted, which is on CUDA."""
    found = []
    for subject in values_of(profiles, "subject"):
        words = [
            f"**{label}** {text}"
            for label, some in names.group(where(profiles, subject=subject)).items()
            if (text := writing.count_span(p.once("synchronisations") for p in some)) != NOTHING
        ]
        if words:
            found.append(f"{SUBJECTS[subject].lower()} {', '.join(words)}")
    if not found:
        return []
    return [f"Times that the host waits for the device in one run: {'; '.join(found)}."]


def _cliffs(cliffs: Sequence[Cliff]) -> list[str]:
    """Those in d first, and of them the largest; the table has them all."""
    groups = sorted(
        together(cliffs), key=lambda group: (group[0].axis != "d", -max(c.excess for c in group))
    )
    if not groups:
        return []
    words = [_cliff(group) for group in groups[:SHOWN_CLIFFS]]
    rest = len(groups) - len(words)
    more = f"; and {rest} more below" if rest else ""
    return [f"Cliffs in the time: {'; '.join(words)}{more}."]


def _cliff(group: Sequence[Cliff]) -> str:
    first = group[0]
    ratios = writing.plain_span(cliff.ratio for cliff in group)
    labels = ", ".join(dict.fromkeys(f"**{cliff.label}**" for cliff in group))
    places = dict.fromkeys(f"{cliff.dtype}, {cliff.at}" for cliff in group)
    return (
        f"{first.step} takes {ratios} × the time in {labels} "
        f"({SUBJECTS[first.subject].lower()}: {'; '.join(places)}), where the size accounts for "
        f"{writing.plain(first.accounted)} × at most"
    )


def _noise(profiles: Sequence[Profile], names: Names) -> list[str]:
    noisy = [profile for profile in profiles if profile.time and profile.time.noisy]
    limit = percent(NOISY)
    if not noisy:
        return [
            f"The medians of all {len(profiles)} sample sets are known to within {limit} "
            "(95 % interval)."
        ]
    groups = sorted(names.group(noisy).items(), key=lambda item: -len(item[1]))
    words = ", ".join(f"{label} {len(some)}" for label, some in groups[:SHOWN_NOISY])
    more = ", …" if len(groups) > SHOWN_NOISY else ""
    return [
        f"**Noisy**, that is, not known to within {limit} (95 % interval), and marked "
        f"{writing.MARK}: {len(noisy)} of {len(profiles)} medians of time ({words}{more})."
    ]


def _lost(profiles: Sequence[Profile]) -> list[str]:
    counts = {word: sum(p.status == word for p in profiles) for word in ("failed", "skipped")}
    words = [f"{count} {word}" for word, count in counts.items() if count]
    if not words:
        return []
    return [f"Of {len(profiles)} profiles {' and '.join(words)}: the reasons are below."]
