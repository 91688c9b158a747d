"""One training in progress: its network, recipe, data and history, and how it is resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, MultiStepLR, OneCycleLR

from eigbench.data.augment import (
    Normalise,
    batches,
    channel_statistics,
    crop_generator,
    random_crop_flip,
)
from eigbench.data.images import ImageSet, limited, load_images, split_validation
from eigbench.errors import InputError, RunStopped, at
from eigbench.kinds.base import DIGITS
from eigbench.kinds.train import (
    BY_EPOCH,
    BY_STEP,
    BY_STEP_WITH_PAIRS,
    TrainCase,
    Training,
)
from eigbench.measure.probe import Probe, norm_of
from eigbench.networks import build, slot_module

VALIDATION_SHARE = 0.1
"""5,000 of CIFAR's 50,000, as in He et al. (2016, §4.2). Nothing is chosen by it here: it shows
how a training goes without reading the test set."""

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class ImageSets:
    """The images that a suite uses; validation is not held out yet."""

    train: ImageSet
    test: ImageSet


def image_sets(training: Training) -> ImageSets:
    """Read the images of a suite; `InputError` if they cannot be had, or are too few."""
    train, test = load_images(training.data, "train"), load_images(training.data, "test")
    with at("train_images (--train-images), test_images"):
        if training.train_images is not None:
            train = limited(train, training.train_images)
        if training.test_images is not None:
            test = limited(test, training.test_images)
        left = len(split_validation(train, VALIDATION_SHARE, seed=0)[0])
    if left < training.batch:
        raise InputError(
            f"batch (--batch): {training.batch} is more than the {left} images that are left to "
            "train on"
        )
    return ImageSets(train, test)


class Trial:
    """A network and everything that its next step depends on."""

    def __init__(self, case: TrainCase, images: ImageSets) -> None:
        self.case = case
        self._data = [images.train.sha256, images.test.sha256]
        self.device = torch.device(case.device)
        train, validation = split_validation(images.train, VALIDATION_SHARE, seed=case.seed)
        statistics = channel_statistics(train)
        self.train, self.validation, self.test = (
            part.to(self.device) for part in (train, validation, images.test)
        )
        self.epoch_steps = len(train) // case.batch
        planned = case.epochs * self.epoch_steps
        self.steps = planned if case.steps is None else min(case.steps, planned)
        self.dtype = torch.float64 if case.precision == "float64" else torch.float32
        self._normalise = Normalise(*statistics, self.dtype, self.device)

        torch.manual_seed(case.seed)
        classes = len(images.train.classes)
        network = build(case.model, classes, make_layer(case), case.width)
        self.network = network.to(device=self.device, dtype=self.dtype)
        if case.memory_format == "channels_last":
            self.network.to(memory_format=torch.channels_last)
        self.probe = Probe(self.network, self.device, case.epsilon)
        # Not what evaluates: its batches have other sizes, each of which would be compiled too. The
        # probe's hooks are on the first convolution, which stays as it is.
        after_stem = self.network.after_stem
        self._after_stem = torch.compile(after_stem) if case.compiled else after_stem
        self.optimiser, self.scheduler = make_optimiser(case, self.network, self.steps)
        self.criterion = nn.CrossEntropyLoss(label_smoothing=case.label_smoothing)
        self.history = History()
        self.step = 0
        self._order = (-1, torch.empty(0))

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Images and labels of the next step: a function of seed and step alone."""
        epoch, position = divmod(self.step, self.epoch_steps)
        if self._order[0] != epoch:
            order = batches(len(self.train), self.case.batch, self.case.seed, epoch, drop_last=True)
            self._order = (epoch, torch.stack(list(order)).to(self.device))
        chosen = self._order[1][position]
        pixels, labels = self.train.pixels[chosen], self.train.labels[chosen]
        if self.case.augment:
            pixels = random_crop_flip(pixels, crop_generator(self.case.seed, self.step))
        return self.prepared(pixels), labels

    def prepared(self, pixels: Tensor) -> Tensor:
        """Pixels as the network takes them."""
        normal = self._normalise(pixels)
        if self.case.memory_format == "channels_last":
            return normal.contiguous(memory_format=torch.channels_last)
        return normal

    def scores(self, images: Tensor) -> Tensor:
        """Logits of a batch of training, compiled if the case asks for it."""
        scores: Tensor = self._after_stem(self.network.stem(images))
        return scores

    def autocast(self) -> AbstractContextManager[Any]:
        """Half precision where the case asks for it; the weights stay in float32."""
        if self.case.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    @torch.no_grad()
    def evaluate(self, images: ImageSet) -> tuple[float, float]:
        """Share of wrong answers, and mean loss, in evaluation mode."""
        self.network.eval()
        wrong = torch.zeros((), device=self.device, dtype=torch.float64)
        loss = torch.zeros_like(wrong)
        parts = (torch.split(part, EVALUATION_BATCH) for part in (images.pixels, images.labels))
        for pixels, labels in zip(*parts, strict=True):
            with self.autocast():
                scores = self.network(self.prepared(pixels)).to(self.dtype)
            wrong += (scores.argmax(dim=1) != labels).sum()
            loss += nn.functional.cross_entropy(scores, labels, reduction="sum")
        self.network.train()
        return (wrong / len(images)).item(), (loss / len(images)).item()

    def gradient_norm(self) -> Tensor:
        """Norm of the gradient of all parameters, `()` float64 on the device."""
        return norm_of(
            [p.grad for p in self.network.parameters() if p.grad is not None], self.device
        )

    def state(self) -> dict[str, Any]:
        """All that a later process needs to take the next step as this one would."""
        on_cuda = self.device.type == "cuda"
        return {
            "case": self.case.id,
            "data": self._data,
            "step": self.step,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if on_cuda else None,
            "history": self.history.series,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave; `RunStopped` if it was made with other images.

        What was made by another trial, or changed since, raises whatever it makes torch raise.
        """
        if state["data"] != self._data:
            raise RunStopped("the images have changed since this run was started; start a new one")
        step, series = state["step"], state["history"]
        if state["case"] != self.case.id or type(step) is not int or not 0 <= step <= self.steps:
            raise ValueError("the state of another trial")
        for name in SERIES:
            length = len(series[name])
            whole = length == step if name in BY_STEP else length in (0, step) or name in BY_EPOCH
            if not whole or not all(isinstance(value, float) for value in series[name]):
                raise ValueError("the history of other steps")
        self.step = step
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"], self.device)
        self.history.series = {name: list(series[name]) for name in SERIES}


def make_layer(case: TrainCase) -> nn.Module:
    """The module of a case's slot."""
    if case.layer in ("bn", "none"):
        return slot_module(case.layer)
    size: dict[str, Any] = {"components": case.components, "energy": case.energy}
    if case.layer == "zca":
        size = {"group_size": case.d, "truncation": case.truncation}
    return slot_module(case.layer, method=case.method, eps=case.epsilon, **size, **case.parameters)


@contextmanager
def determinism(case: TrainCase) -> Iterator[None]:
    """Deterministic kernels while a case that asks for them is trained."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(case.deterministic or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


PAPER_EPOCHS, PAPER_DECAY_EPOCHS = 350, 100
"""The released program divides the rate by ten every 100 of its 350 epochs."""


def make_optimiser(case: TrainCase, network: nn.Module, steps: int) -> tuple[SGD, LRScheduler]:
    """The optimiser of a network, and the scheduler that is stepped after each of `steps` steps."""
    optimiser = SGD(
        network.parameters(),
        lr=case.learning_rate,
        momentum=case.momentum,
        nesterov=case.nesterov,
        weight_decay=case.weight_decay,
    )
    return optimiser, _scheduler(case, optimiser, steps)


def _scheduler(case: TrainCase, optimiser: SGD, steps: int) -> LRScheduler:
    if case.schedule == "one-cycle":
        # One more than there are steps: the scheduler is stepped after the last one too.
        total = steps + 1
        return OneCycleLR(optimiser, case.learning_rate, total_steps=total, cycle_momentum=False)
    if case.schedule == "steps":
        share = PAPER_DECAY_EPOCHS / PAPER_EPOCHS
        ends = [round(share * (i + 1) * steps) for i in range(int(1 / share))]
        # An end before the first step would be taken at once.
        return MultiStepLR(optimiser, [end for end in ends if end > 0], 0.1)
    return LambdaLR(optimiser, lambda _step: 1.0)


SERIES = (*BY_STEP, *BY_STEP_WITH_PAIRS, *BY_EPOCH)


class History:
    """Series of numbers by name, in the order in which they were noted."""

    def __init__(self) -> None:
        self.series: dict[str, list[float]] = {name: [] for name in SERIES}

    def note(self, **values: float) -> None:
        """Append one value to each series that is named."""
        for name, value in values.items():
            self.series[name].append(float(f"{value:.{DIGITS}g}"))
