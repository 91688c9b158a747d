"""Memory, operators, kernels and synchronisations of one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eigbench.report.profile import writing
from eigbench.report.profile.counted import MOST_SIZES, Kind, both, tables
from eigbench.report.profile.naming import Names
from eigbench.report.profile.profiles import Profile


def sections(profiles: Sequence[Profile], names: Names) -> list[str]:
    """Everything that was counted of a run but its floating-point work."""
    parts = tables(profiles, names, _KINDS)
    if not parts:
        return []
    return [
        "## Memory, operators and synchronisations",
        "Of one run. *Peak* is the most memory in use above what was in use before; *saved* is "
        "what is kept between forward and backward, beyond inputs and parameters. *Operators* are "
        "those of torch that call no other. *Kernels*, and how often the host *waited* for the "
        "device, are counted on CUDA alone. At the precision and batch with the most sizes, "
        f"at most {MOST_SIZES} of them; `records.jsonl` has the others.",
        *parts,
    ]


def _peak_and_saved(profile: Profile) -> str:
    amounts = [profile.once(name) for name in ("peak_bytes", "saved_bytes")]
    return both([writing.amount(value) for value in amounts], " / ")


def _operators(profile: Profile) -> str:
    counts = [profile.once(f"{name}_operators") for name in ("forward", "backward")]
    return both([writing.count(value) for value in counts], " + ")


def _count(metric: str) -> Callable[[Profile], str]:
    return lambda profile: writing.count(profile.once(metric))


_KINDS: list[Kind] = [
    ("memory, peak / saved", _peak_and_saved),
    ("operators, forward + backward", _operators),
    ("kernels", _count("kernels")),
    ("times the host waited", _count("synchronisations")),
]
