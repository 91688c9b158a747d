"""What was trained, beside what the paper trained: a short run is not the paper's experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eigbench.report import paper
from eigbench.report.training.cells import Cell, trials_of
from eigbench.report.training.naming import values_of
from eigbench.runs.store import Run
from eigbench.runs.suite import kind_of, seeds_of

WHOLE = {"cifar10": (50_000, 10_000), "cifar100": (50_000, 10_000)}
"""Training and test images of the sets whose size is known by their name."""

HELD_OUT = 0.1
"""The share of the training images on which nothing is trained, as `measure.trial` splits them."""

ITS_DATA = {"table-3": ("cifar100",), "": tuple(WHOLE)}
"""The images of the paper's tables and figures; the others are of CIFAR-10."""

RECIPE = {"learning_rate": 0.1, "schedule": "steps", "momentum": 0.9, "weight_decay": 5e-4,
          "nesterov": False, "label_smoothing": 0.0}  # fmt: skip


def sentence(run: Run, cells: Sequence[Cell]) -> str:
    """Right under the title: scale, trials, data, net, precision, device, and the paper's."""
    if not cells:
        return ""
    differing = _differing(run, cells)
    if differing:
        opening = "**Not the paper's experiment.** "
        closing = f" It differs in: {', '.join(differing)}."
    else:
        opening, closing = "**The paper's settings.** ", ""
    scale = f"scale `{run.suite.scale}`: " if run.suite.scale else ""
    what = f"{scale}{_trials(run, cells)} a cell, {_length(cells)} {_images(cells)}"
    how = (
        f"{_listed(cells, 'model')} of width {_listed(cells, 'width')}, batch "
        f"{_listed(cells, 'batch')}, {_listed(cells, 'precision')}, on {_devices(run)}"
    )
    return (
        f"> {opening}This run: {what}; {how}. The paper's: {_paper_trials(run)} a cell, "
        f"{paper.EPOCHS} epochs of {paper.IMAGES:,} images, width {paper.WIDTH}, batch "
        f"{paper.BATCH} (the epochs are those of its authors' program; whether images were held "
        f"out is not printed).{closing}"
    )


def warnings(cells: Sequence[Cell]) -> list[str]:
    """A line if the trials were not all trained and tested on the same images."""
    named = [trial.record.labels.get("data", []) for trial in trials_of(cells)]
    training = {tuple(words[:2]) for words in named if len(words) > 1}
    testing = {words[2] for words in named if len(words) > 2}
    parts = [f"{len(found)} different sets of {kind} images"
             for found, kind in ((training, "training"), (testing, "test"))
             if len(found) > 1]  # fmt: skip
    if not parts:
        return []
    names = ", ".join(f"`{name}` {digest[:8]}" for name, digest in sorted(training))
    return [
        f"> **Different images.** The records of this run name {' and '.join(parts)} ({names}): "
        "trials on different images cannot be compared with each other."
    ]


def is_papers(run: Run, cells: Sequence[Cell]) -> bool:
    """Whether nothing that the sentence names differs from the paper."""
    return not _differing(run, cells)


def _differing(run: Run, cells: Sequence[Cell]) -> list[str]:
    case = [cell.case for cell in cells]
    compare = run.suite.compare
    trials = paper.TRIALS.get(compare, paper.USUAL_TRIALS)
    started = [len(cell.trials) for cell in cells if not cell.skipped]
    its_data = ITS_DATA.get(compare, ("cifar10",))
    train, test = WHOLE[its_data[0]]
    wrong = {
        "trials": min([_planned(run), *started]) < trials,
        "epochs": any(c.epochs != paper.EPOCHS or c.steps is not None for c in case),
        "data": any(c.data not in its_data for c in case),
        "training images": any(c.train_images not in (None, train) for c in case),
        "test images": any(c.test_images not in (None, test) for c in case),
        "augmentation": not all(c.augment for c in case),
        "width": any(c.width != paper.WIDTH for c in case),
        "batch": any(c.batch != paper.BATCH for c in case),
        "precision": any(c.precision != "float32" for c in case),
        "recipe": any(getattr(c, axis) != usual for c in case for axis, usual in RECIPE.items()),
        "ε": any(c.epsilon not in (None, paper.EPSILON) for c in case),
        "K": compare != "table-4c" and any(c.iterations not in (None, paper.K) for c in case),
        "truncation": any(c.truncation is not None for c in case),
    }
    return [what for what, differs in wrong.items() if differs]


def _trials(run: Run, cells: Sequence[Cell]) -> str:
    counts = sorted({len(cell.trials) for cell in cells if cell.trials} or {0})
    planned = _planned(run)
    if counts == [planned]:
        return _plural(planned, "trial")
    span = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{span} of {_plural(planned, 'trial')}"


def _planned(run: Run) -> int:
    """How many trials of a cell the suite has, at most."""
    trains = [grid for grid in run.suite.grids if kind_of(run.suite, grid) == "train"]
    return max((seeds_of(run.suite, grid) for grid in trains), default=run.suite.seeds)


def _paper_trials(run: Run) -> str:
    count = paper.TRIALS.get(run.suite.compare)
    if count is not None:
        return f"{count} trials"
    return f"{paper.USUAL_TRIALS} trials" if run.suite.compare else "15 or 5 trials"


def _length(cells: Sequence[Cell]) -> str:
    """Epochs; or steps, where the epochs are no more than a bound that steps cannot reach."""
    epochs = f"{_plural(_listed(cells, 'epochs'), 'epoch')} of"
    bounds = [cell.case.steps for cell in cells if cell.case.steps is not None]
    if not bounds:
        return epochs
    steps = _plural(_listed(cells, "steps"), "step")
    alone = all(c.case.steps is not None and c.case.steps <= c.case.epochs for c in cells)
    return f"{steps} on" if alone else f"{steps} at most, in {epochs}"


def _images(cells: Sequence[Cell]) -> str:
    """How many images there are to train and to test on, and what becomes of them."""
    names = ", ".join(f"`{data}`" for data in values_of(cells, "data"))
    training = {_count(cell, "train_images", 0) for cell in cells}
    testing = {_count(cell, "test_images", 1) for cell in cells}
    augmented = {cell.case.augment for cell in cells}
    how = {True: "augmented", False: "not augmented"}
    augmentation = " or ".join(word for flag, word in how.items() if flag in augmented)
    return (
        f"{_written(training, 'training')} of {names}, of which a tenth is held out"
        f"{_left(training)}, {augmentation}; tested on {_written(testing, 'test')}"
    )


def _count(cell: Cell, axis: str, split: int) -> int | None:
    """How many images of a split are used; None if that is all of an unknown number."""
    asked: int | None = getattr(cell.case, axis)
    return WHOLE.get(cell.case.data, (None, None))[split] if asked is None else asked


def _written(counts: set[int | None], split: str) -> str:
    known = sorted(count for count in counts if count is not None)
    words = [f"{count:,}" for count in known] + ["all"] * (None in counts)
    return f"{', '.join(words)} {split} images"


def _left(counts: set[int | None]) -> str:
    """What is left to train on, where it is one known number."""
    only = next(iter(counts))
    if len(counts) > 1 or only is None:
        return ""
    return f" (about {only - round(HELD_OUT * only):,} are left)"


def _devices(run: Run) -> str:
    names = list(dict.fromkeys(session.device for session in run.environment.sessions))
    return ", ".join(names) or run.suite.device


def _listed(cells: Sequence[Cell], axis: str) -> str:
    return ", ".join(str(value) for value in values_of(cells, axis))


def _plural(count: Any, noun: str) -> str:
    return f"{count} {noun}" + ("" if str(count) == "1" else "s")
