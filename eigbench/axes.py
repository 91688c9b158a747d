"""The axes of a grid: which values each takes, on the command line as in a suite file.

Nothing here imports torch, so that a wrong value is refused before anything slow happens.
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
DTYPES = ("float32", "float64", "float16", "bfloat16")
LAYERS = ("bn", "zca", "pca", "none")
SCHEDULES = ("steps", "one-cycle", "constant")
PRECISIONS = ("float32", "float64", "bfloat16")
SUBJECTS = ("operation", "layer", "step")
INPUTS = ("fresh", "cached")


@dataclass(frozen=True)
class Axis:
    """One axis: `accept` gives the value that a word or number stands for, or None."""

    name: str
    option: str
    accepts: Callable[[], str]
    accept: Callable[[Any], Any]

    def read(self, value: Any) -> Any:
        """The value that `value`, a word or a number, stands for; `InputError` if none."""
        accepted = self.accept(value)
        if accepted is None:
            raise InputError(f"{value!r} is not valid; accepted: {self.accepts()}")
        return accepted


def _whole(lowest: int, highest: int) -> Callable[[Any], int | None]:
    def accept(value: Any) -> int | None:
        if isinstance(value, bool | float):
            return None
        try:
            number = int(value)
        except (TypeError, ValueError):
            return None
        return number if lowest <= number <= highest else None

    return accept


def _real(inside: Callable[[float], bool]) -> Callable[[Any], float | None]:
    def accept(value: Any) -> float | None:
        if isinstance(value, bool):
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            return None
        return number if math.isfinite(number) and inside(number) else None

    return accept


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _one_of(names: Callable[[], Iterable[str]]) -> Callable[[Any], str | None]:
    def accept(value: Any) -> str | None:
        return value if value in tuple(names()) else None

    return accept


def _matching(pattern: str) -> Callable[[Any], str | None]:
    def accept(value: Any) -> str | None:
        return value if isinstance(value, str) and re.fullmatch(pattern, value) else None

    return accept


def _spectra() -> tuple[str, ...]:
    from eigbench.spectra import SPECTRA  # late: NumPy

    return tuple(SPECTRA)


def _losses() -> tuple[str, ...]:
    from eigbench.losses import LOSSES  # late: NumPy

    return tuple(LOSSES)


def _truncations() -> tuple[str, ...]:
    from eigbench.truncation import RULES  # late: torch

    return tuple(RULES)


def _named(name: str, option: str, names: Callable[[], Iterable[str]]) -> Axis:
    return Axis(name, option, lambda: ", ".join(names()), _one_of(names))


def _numeric(name: str, option: str, accepts: str, accept: Callable[[Any], Any]) -> Axis:
    return Axis(name, option, lambda: accepts, accept)


AXES = {
    axis.name: axis
    for axis in (
        # A run may be read without a method that it was measured with.
        Axis("method", "--method", lambda: ", ".join(available()), _one_of(recognised)),
        _numeric("d", "--d", f"whole numbers from 1 to {LARGEST_D}", _whole(1, LARGEST_D)),
        _named("spectrum", "--spectrum", _spectra),
        _numeric("gap", "--gap", "numbers g with 0 ≤ g < 1", _real(lambda g: 0 <= g < 1)),
        _numeric("scale", "--scale", "numbers above 0", _real(lambda s: s > 0)),
        _named("dtype", "--dtype", lambda: DTYPES),
        _numeric("epsilon", "--eps", "numbers from 0 on", _real(lambda e: e >= 0)),
        _numeric("iterations", "--iterations", "whole numbers from 1 on", _whole(1, 10**6)),
        _named("loss", "--loss", _losses),
        _numeric("start", "start", "whole numbers from 0 on", _whole(0, 2**31)),
        _named("layer", "--layer", lambda: LAYERS),
        _named("model", "--model", lambda: MODELS),
        _numeric("components", "--components", "whole numbers from 1 to 64", _whole(1, 64)),
        _numeric("energy", "--energy", "numbers e with 0 < e ≤ 1", _real(lambda e: 0 < e <= 1)),
        _named("truncation", "--truncation", _truncations),
        _named("subject", "--subject", lambda: SUBJECTS),
        _numeric("batch", "--batch", "whole numbers from 1 to 65536", _whole(1, 65536)),
        _numeric("compiled", "compiled", "true, false", _truth),
        _numeric("ratio", "ratio", "numbers q with 0 < q < 1", _real(lambda q: 0 < q < 1)),
    )
}

_COUNT = ("whole numbers from 1 on", _whole(1, 10**9))

SETTINGS = {
    setting.name: setting
    for setting in (
        _numeric("train_images", "--train-images", *_COUNT),
        _numeric("width", "--width", *_COUNT),
        _numeric("epochs", "--epochs", *_COUNT),
        _numeric("steps", "--steps", *_COUNT),
        _numeric("batch", "--batch", "whole numbers from 2 on", _whole(2, 10**6)),
        _numeric("learning_rate", "--lr", "numbers above 0", _real(lambda rate: rate > 0)),
        _named("schedule", "--schedule", lambda: SCHEDULES),
        _named("precision", "--precision", lambda: PRECISIONS),
        _numeric("rounds", "--rounds", *_COUNT),
        _numeric("seconds", "--seconds", "numbers above 0", _real(lambda s: s > 0)),
        _named("inputs", "--inputs", lambda: INPUTS),
    )
}
"""What all trainings or profiles of a run share, as it is typed on the command line."""

SEEDS = _numeric("seeds", "--seeds", "whole numbers from 1 to 1000000", _whole(1, 10**6))
SEED = _numeric("seed", "seed", "whole numbers from 0 on", _whole(0, 2**31))
THRESHOLD = _numeric(
    "threshold", "threshold", "numbers t with 0 < t < 1", _real(lambda t: 0 < t < 1)
)
DEVICE = _numeric(
    "device",
    "--device",
    "cpu, cuda, cuda:N (N from 0) or auto",
    _matching(r"cpu|auto|cuda(:\d{1,4})?"),
)
NAME = _numeric(
    "name", "name", "letters, digits, '.', '-' and '_', a letter or digit first",
    _matching(r"[A-Za-z0-9][\w.-]{0,99}"),
)  # fmt: skip
