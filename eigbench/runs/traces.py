"""The traces of a run, where TensorBoard's PyTorch profiler finds them by workload and method."""

from __future__ import annotations

from pathlib import Path

from eigbench.runs.case import ProfileCase
from eigbench.runs.files import write_whole

FOLDER = "traces"
ENDING = ".pt.trace.json.gz"
"""By this the plugin knows a trace; what stands before it, it calls the worker."""


class Traces:
    """One folder a workload, which the plugin calls a run; in it one file a method."""

    def __init__(self, run: Path) -> None:
        self._run = run

    def keep(self, case: ProfileCase, content: bytes) -> str:
        """Write a case's trace; returns its path within the run's folder."""
        path = Path(FOLDER) / workload_name(case) / f"{contestant_name(case)}{ENDING}"
        (self._run / path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._run / path, content)
        return path.as_posix()


def workload_name(case: ProfileCase) -> str:
    """What the cases of a workload have in common, in the letters of a file's name."""
    size = {"d": case.d, "energy-": case.energy, "batch-": case.batch}
    words = [f"{name}{value:g}" for name, value in size.items() if value is not None]
    return "-".join(filter(None, [case.subject, case.layer, *words, case.dtype]))


def contestant_name(case: ProfileCase) -> str:
    """Method, parameters, and whether it is compiled."""
    words = [f"{name}-{value}" for name, value in case.parameters.items()]
    return "-".join([case.method, *words, *(["compiled"] if case.compiled else [])])
