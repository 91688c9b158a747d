"""The axes of a grid: how each is asked for, what it accepts, and how it is written.

The options of the command line, the checks of a suite, and the labels of a report come from here.
Nothing here imports NumPy or torch, so that help appears and a wrong value is refused at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from eigbench.architectures import MODELS
from eigbench.errors import InputError
from eigbench.methods.registry import available, recognised

LARGEST_D = 4096
COMPLEX = ("complex64", "complex128")
"""The dtypes of Hermitian matrices; the others are of symmetric ones."""
DTYPES = ("float32", "float64", "float16", "bfloat16", *COMPLEX)
LAYERS = ("bn", "zca", "pca", "none")
SCHEDULES = ("steps", "one-cycle", "constant")
PRECISIONS = ("float32", "float64", "bfloat16")
SUBJECTS = ("operation", "whitening", "layer", "step")
INPUTS = ("fresh", "cached")
LAYOUTS = ("contiguous", "channels_last")

# The names of what `spectra`, `losses` and `truncation` hold, which import NumPy and torch.
# tests/test_axes.py fails if one is missing here.
SPECTRA = (
    "gap", "cluster", "geometric", "rank-deficient", "laplacian", "identity",
    "cifar-patches", "cifar-conv", "lapack-zero", "lapack-even-diagonal",
    "lapack-geometric-diagonal", "lapack-clustered-diagonal", "lapack-even", "lapack-geometric",
    "lapack-clustered", "lapack-random", "lapack-banded",
)  # fmt: skip
LOSSES = (
    "whitening", "whitening-truncated", "square-root", "logarithm", "subspace", "reconstruction",
    "eigenvector", "closing-eigenvector",
)  # fmt: skip
FUNCTIONS = ("polar", "rotation", "shrink", "square-root", "low-rank")
SITUATIONS = (
    "separated", "tall", "wide", "reflection", "ill-conditioned", "tied-pair", "all-tied",
    "identity", "one-zero", "rank-deficient", "zero-columns",
)  # fmt: skip
TRUNCATIONS = ("algorithm-1", "none", "released", "pi-released")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a grid, or one setting that all cases of a suite share."""

    name: str
    """As suites and records have it."""
    option: str
    """As it is typed; the name itself where only a suite has it."""
    help: str = ""
    label: str = ""
    """As the heading of a table or the label of a picture, such as "matrix size d"."""
    metavar: str = "VALUE"
    accepts: Callable[[], str]
    """The accepted values in words."""
    accept: Callable[[Any], Any]
    """The value that a word or a number stands for; None if it is not accepted."""
    write: Callable[[Any], str] = str
    """One value in words, such as "d = 4"."""

    def read(self, value: Any, place: str = "") -> Any:
        """The value that `value`, a word or a number, stands for.

        `InputError` if none, with the `place` where it was found: the option, if not given.
        """
        accepted = self.accept(value)
        if accepted is None:
            where = place or self.option
            raise InputError(f"{where}: {value!r} is not valid; accepted: {self.accepts()}")
        return accepted


def one_of(name: str, option: str, names: Iterable[str], help: str = "", **more: Any) -> Axis:  # noqa: A002
    """An axis that takes some words, which its help lists."""
    known = tuple(names)
    listed = ", ".join(known)
    return Axis(
        **{"label": name, "metavar": "NAME", **more},
        name=name,
        option=option,
        help=f"{help}: {listed}.",
        accepts=lambda: listed,
        accept=lambda value: value if value in known else None,
    )


def _whole(name: str, option: str, lowest: int, highest: int, **more: Any) -> Axis:
    def accept(value: Any) -> int | None:
        if isinstance(value, bool | float):
            return None
        try:
            number = int(value)
        except (TypeError, ValueError):
            return None
        return number if lowest <= number <= highest else None

    accepts = f"whole numbers from {lowest} to {highest}"
    given = {"label": name, "metavar": "N", **more}
    return Axis(name=name, option=option, accepts=lambda: accepts, accept=accept, **given)


def real(
    name: str, option: str, accepts: str, inside: Callable[[float], bool], **more: Any
) -> Axis:
    """An axis that takes finite numbers inside a range, which `accepts` says in words."""

    def accept(value: Any) -> float | None:
        if isinstance(value, bool):
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            return None
        return number if math.isfinite(number) and inside(number) else None

    given = {"label": name, "metavar": "X", **more}
    return Axis(name=name, option=option, accepts=lambda: accepts, accept=accept, **given)


def _text(name: str, option: str, accepts: str, pattern: str, **more: Any) -> Axis:
    def accept(value: Any) -> str | None:
        return value if isinstance(value, str) and re.fullmatch(pattern, value) else None

    return Axis(name=name, option=option, accepts=lambda: accepts, accept=accept, **more)


def _after(words: str) -> Callable[[Any], str]:
    """Writes a number behind these words."""
    return lambda value: f"{words} {value:g}"


AXES = {
    axis.name: axis
    for axis in (
        Axis(
            name="method",
            option="--method",
            help="Methods; `eigbench methods` lists them. all: every one.",
            label="method",
            metavar="NAME",
            accepts=lambda: ", ".join(available()),
            # A run may be read without a method that it was measured with.
            accept=lambda value: value if value in recognised() else None,
        ),
        _whole(
            "d", "--d", 1, LARGEST_D, label="matrix size d", write=_after("d ="),
            help="Matrix sizes; the channels of a group in a ZCA layer.",
        ),
        one_of("spectrum", "--spectrum", SPECTRA, "Families of matrices"),
        real(
            "gap", "--gap", "numbers g with 0 ≤ g < 1", lambda g: 0 <= g < 1,
            label="relative eigengap", write=_after("gap"), help="Relative eigengaps, 0 included.",
        ),
        real(
            "scale", "--matrix-scale", "numbers above 0", lambda s: s > 0,
            label="scale of M", write=_after("scale"), help="Factors on M.",
        ),
        one_of("dtype", "--dtype", DTYPES, "Precisions", label="precision"),
        real(
            "epsilon", "--eps", "numbers from 0 on", lambda e: e >= 0,
            label="ε", write=_after("ε ="), help="ε in M + εI.",
        ),
        _whole(
            "iterations", "--iterations", 1, 10**6, label="K", write=_after("K ="),
            help="K: iterations or terms, for methods that have them.",
        ),
        one_of("loss", "--loss", LOSSES, "Losses"),
        _whole("start", "start", 0, 2**31, write=_after("start")),
        one_of("layer", "--layer", LAYERS, "Layer types"),
        one_of("model", "--model", MODELS, "Networks", label="network"),
        _whole(
            "components", "--components", 1, 64, label="eigenvectors kept e", write=_after("e ="),
            help="Number of eigenvectors that a PCA layer keeps.",
        ),
        real(
            "energy", "--energy", "numbers e with 0 < e ≤ 1", lambda e: 0 < e <= 1,
            label="share of the variance kept", write=lambda share: f"{100 * share:g} % kept",
            help="Share of the variance that a PCA layer keeps.",
        ),
        one_of(
            "truncation", "--truncation", TRUNCATIONS, "How a ZCA layer drops small eigenvalues",
            write=lambda rule: "no truncation" if rule == "none" else f"truncation {rule}",
        ),
        one_of("function", "--function", FUNCTIONS, "Functions of singular values"),
        one_of("situation", "--situation", SITUATIONS, "Situations of the singular values"),
        one_of("subject", "--subject", SUBJECTS, "Workloads"),
        _whole(
            "batch", "--batch", 1, 65536, label="batch size", write=_after("batch"),
            help="Matrices; or images of a layer or a step.",
        ),
        one_of("layout", "--layout", LAYOUTS, "Memory formats of a layer's or a step's images"),
        Axis(
            name="compiled",
            option="compiled",
            label="compiled",
            accepts=lambda: "true, false",
            accept=lambda value: value if isinstance(value, bool) else None,
            write=lambda compiled: "compiled" if compiled else "not compiled",
        ),
        real(
            "ratio", "ratio", "numbers q with 0 < q < 1", lambda q: 0 < q < 1,
            label="ratio of eigenvalues q", write=_after("q ="),
        ),
    )
}  # fmt: skip

SETTINGS = {
    setting.name: setting
    for setting in (
        _text(
            "data", "--data", "mini, cifar10, cifar100, or a folder", r"[^\0]+",
            metavar="NAME|FOLDER", label="images", help="mini, cifar10, cifar100, or a folder.",
        ),
        _whole(
            "train_images", "--train-images", 1, 10**9, label="training images",
            help="Number of training images, balanced by class.",
        ),
        _whole(
            "width", "--width", 1, 10**9, write=_after("width"),
            help="Channels of the first blocks; the paper's: 64.",
        ),
        _whole("epochs", "--epochs", 1, 10**9, write=_after("epochs"), help="Number of epochs."),
        _whole("steps", "--steps", 1, 10**9, write=_after("steps"), help="Stop after N steps."),
        _whole("batch", "--batch", 2, 10**6, label="batch size", write=_after("batch"),
            help="Images of a batch.",
        ),
        real(
            "learning_rate", "--lr", "numbers above 0", lambda rate: rate > 0,
            label="learning rate", write=_after("learning rate"), help="Peak learning rate.",
        ),
        one_of("schedule", "--schedule", SCHEDULES, "Learning rate over time"),
        one_of("precision", "--precision", PRECISIONS, "Precision of the network"),
        _whole("rounds", "--rounds", 1, 10**9, help="Maximum number of rounds of a workload."),
        real(
            "seconds", "--seconds", "numbers above 0", lambda s: s > 0,
            metavar="S", help="Time limit of a workload.",
        ),
        one_of(
            "inputs", "--inputs", INPUTS, "Fresh inputs for each run, or the same again",
            write=lambda inputs: f"{inputs} inputs",
        ),
    )
}  # fmt: skip
"""What all trainings or profiles of a suite share."""

SEEDS = _whole("seeds", "--seeds", 1, 10**6, help="Random matrices per case; trials per cell.")
SEED = _whole("seed", "seed", 0, 2**31)
MOST_CASES = _whole(
    "most_cases", "--most-cases", 1, 10**9, help="Refuse a suite of more than N cases."
)
MINUTES = real(
    "max_minutes", "--max-minutes", "numbers above 0", lambda minutes: minutes > 0,
    metavar="N", help="End the run after N minutes, with its report; --resume goes on.",
)  # fmt: skip
WORKERS = _whole("workers", "--workers", 0, 1024, help="Processes that measure; 0: this one alone.")
THREADS = _whole("threads", "--threads-per-worker", 1, 1024, help="Threads of each process.")
PART = _text(
    "part", "--part", "K/N with K from 1 to N, such as 1/2", r"[1-9]\d{0,3}/[1-9]\d{0,3}",
    metavar="K/N", help="Run the K-th of N parts; eigbench merge joins them.",
)  # fmt: skip
THRESHOLD = real("threshold", "threshold", "numbers t with 0 < t < 1", lambda t: 0 < t < 1)
DEVICE = _text(
    "device", "--device", "cpu, cuda, cuda:N (N from 0) or auto", r"cpu|auto|cuda(:\d{1,4})?",
    metavar="DEVICE", help="cpu, cuda, cuda:N or auto.",
)  # fmt: skip
NAME = _text(
    "name", "name", "letters, digits, '.', '-' and '_', a letter or digit first",
    r"[A-Za-z0-9][\w.-]{0,99}",
)  # fmt: skip

_COUNT = _whole("parameter", "--set", -(10**6), 10**6)


def read_parameter(name: str, value: Any, place: str) -> int | float | bool:
    """The value of a method's own parameter; `InputError` for one without an end.

    One that is an axis too, such as `iterations`, has the limits of the axis.
    """
    own = {"seed": AXES["start"]}.get(name, AXES.get(name))
    if own is not None:
        accepted: int | float | bool = own.read(value, place)
        return accepted
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{place}: {value!r} is not valid; accepted: finite numbers")
    return value if isinstance(value, bool | float) else _COUNT.read(value, place)
