"""How methods, sizes and workloads of profiles are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from eigbench.kinds.profile import REFERENCES, ProfileCase
from eigbench.report.markdown import percent
from eigbench.report.profile.profiles import Profile, values_of, where
from eigbench.runs.store import Run

EIGENPAIRS = "eigenpairs"
"""The operation of the reference, and of every method that has gradients of eigenvectors."""

SUBJECTS = {
    "operation": "Operation",
    "whitening": "Whitening",
    "layer": "Layer",
    "step": "Training step",
}


class Names:
    """Short names: K is named only where it is not the usual one."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self._methods = values_of(profiles, "method")
        counts = Counter(p.case.iterations for p in profiles if p.case.iterations is not None)
        self.usual_iterations = next((K for K, _ in counts.most_common(1)), None)
        """The K of most profiles; None if no method has one."""

    def of(self, case: ProfileCase) -> str:
        """A method, with its K where that is needed, and whether it is compiled."""
        K = "" if case.iterations in (None, self.usual_iterations) else f", K = {case.iterations}"
        return case.method + K + (", compiled" if case.compiled else "")

    def group(self, profiles: Iterable[Profile]) -> dict[str, list[Profile]]:
        """The profiles of each name: references first, a compiled method next to its own."""
        found: dict[str, list[Profile]] = {}
        for profile in sorted(profiles, key=self._rank):
            found.setdefault(self.of(profile.case), []).append(profile)
        return found

    def _rank(self, profile: Profile) -> tuple[bool, int, bool, int, bool]:
        case = profile.case
        K = case.iterations
        usual = K in (None, self.usual_iterations)
        method = self._methods.index(case.method)
        return not case.is_reference, method, not usual, K or 0, case.compiled


def size(case: ProfileCase) -> str:
    """How large the matrices are, such as "d = 16" or "PCA, 99 % kept"."""
    if case.energy is not None:
        return f"{(case.layer or '').upper()}, {percent(case.energy)} kept"
    name = f"{case.layer.upper()}, " if case.layer else ""
    return f"{name}d = {case.d}"


def place(case: ProfileCase) -> str:
    """Precision and batch."""
    return f"{case.dtype}, batch {case.batch}"


def title(case: ProfileCase) -> str:
    """A workload in one line."""
    return f"{SUBJECTS[case.subject].lower()}, {size(case)}, {place(case)}"


def first_reference(subject: str) -> str:
    """What ratios are taken to."""
    return REFERENCES[subject][0]


def functions_only(profiles: Sequence[Profile], names: Names) -> str:
    """A sentence on the methods that were timed on another operation than the reference."""
    found: dict[str, list[str]] = {}
    for label, own in names.group(profiles).items():
        for word in dict.fromkeys(word for p in own for word in p.words("operation")[:1]):
            if word != EIGENPAIRS:
                found.setdefault(word, []).append(f"**{label}**")
    return "".join(
        f" Without gradients of eigenvectors, and so timed on the {word} with all that it takes: "
        f"{', '.join(labels)}."
        for word, labels in found.items()
    )


def over(run: Run, profiles: Sequence[Profile]) -> str:
    """What a sentence is over: precisions, sizes, batches, device and threads."""
    dtypes = ", ".join(values_of(profiles, "dtype"))
    sizes = ", ".join(_sizes(profiles))
    return f"{dtypes}; {sizes}; {_span('batch', values_of(profiles, 'batch'))}; {devices(run)}"


def devices(run: Run) -> str:
    """The device, and its threads where it is the processor."""
    words = [
        f"{s.device}, {s.torch_threads} thread{'' if s.torch_threads == 1 else 's'}"
        if s.device == "cpu" else s.device
        for s in run.environment.sessions
    ]  # fmt: skip
    return " and ".join(dict.fromkeys(words)) or run.suite.device


def _sizes(profiles: Sequence[Profile]) -> list[str]:
    words = []
    for layer in dict.fromkeys(profile.case.layer for profile in profiles):
        own = where(profiles, layer=layer)
        name = f"{layer.upper()} with " if layer else ""
        if values_of(own, "d"):
            words.append(name + _span("d =", values_of(own, "d")))
        if values_of(own, "energy"):
            kept = [percent(share) for share in values_of(own, "energy")]
            words.append(name + " to ".join(dict.fromkeys((kept[0], kept[-1]))) + " kept")
    return words


def _span(word: str, values: Sequence[int]) -> str:
    ends = dict.fromkeys((values[0], values[-1])) if values else ()
    return f"{word} {' to '.join(map(str, ends))}"
