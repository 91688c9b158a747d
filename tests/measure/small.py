"""Trainings that take tens of milliseconds: a few noise images, the narrowest network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import torch

from eigbench.data.images import ImageSet
from eigbench.errors import RunStopped
from eigbench.kinds.train import TrainCase, Training
from eigbench.measure.trial import ImageSets

BATCH = 8
BASE = TrainCase(
    layer="zca",
    method="hybrid",
    parameters={"iterations": 19},
    d=4,
    components=None,
    energy=None,
    epsilon=1e-4,
    truncation=None,
    model="resnet18",
    data="noise",
    seed=0,
    device="cpu",
    **{
        name: getattr(Training(width=1, epochs=2, batch=BATCH, deterministic=True), name)
        for name in Training.__struct_fields__
        if name != "data"
    },
)


def case(**changes: Any) -> TrainCase:
    """Two epochs of three steps with ZCA whitening by the hybrid, but for the changes."""
    if changes.get("layer") in ("bn", "none"):
        changes = {"method": changes["layer"], "parameters": {}, "d": None} | changes
    if changes.get("layer") == "pca":
        changes = {"d": None, "components": 3} | changes
    if changes.get("method") not in (None, "pi", "hybrid", "hybrid-loop"):
        changes = {"parameters": {}} | changes
    return msgspec.structs.replace(BASE, **changes)


def images(count: int = 30) -> ImageSet:
    """Noise of two classes, half each."""
    generator = torch.Generator().manual_seed(count)
    shape = (count, 3, 32, 32)
    pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    return ImageSet(pixels, labels, ("a", "b"), "noise")


def image_sets() -> ImageSets:
    """27 to train on, 3 to validate, 10 to test."""
    return ImageSets(images(30), images(10))


class Kept:
    """Checkpoints in memory."""

    def __init__(self) -> None:
        self.states: dict[str, Any] = {}

    def load(self, case_id: str) -> dict[str, Any] | None:
        state: dict[str, Any] | None = self.states.get(case_id)
        return state

    def save(self, case_id: str, state: dict[str, Any]) -> None:
        self.states[case_id] = copy.deepcopy(state)  # as a file would be

    @contextmanager
    def own(self, case_id: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise RunStopped(f"{case_id} is not its own") from error


def stop_after(steps: int) -> Callable[[TrainCase, int, int, float], None]:
    """Something to watch a training with that interrupts it after so many steps."""

    def watch(_case: TrainCase, step: int, _steps: int, _loss: float) -> None:
        if step == steps:
            raise KeyboardInterrupt

    return watch
