"""The recipe of a training: stochastic gradient descent and the schedule of its rate."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, MultiStepLR, OneCycleLR

from eigbench.kinds.train import TrainCase

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
