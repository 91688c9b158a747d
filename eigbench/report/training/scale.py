"""What was trained, beside what the paper trained: a short run is not the paper's experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eigbench.report import paper
from eigbench.report.training.cells import Cell
from eigbench.report.training.naming import values_of
from eigbench.runs.store import Run

WHOLE = {"cifar10": paper.IMAGES, "cifar100": paper.IMAGES}


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
    what = f"{scale}{_trials(run, cells)} a cell, {_length(cells)} of {_images(cells)}"
    how = (
        f"{_listed(cells, 'model')} of width {_listed(cells, 'width')}, batch "
        f"{_listed(cells, 'batch')}, {_listed(cells, 'precision')}, on {_devices(run)}"
    )
    return (
        f"> {opening}This run: {what}; {how}. The paper's: {_paper_trials(run)} a cell, "
        f"{paper.EPOCHS} epochs of {paper.IMAGES:,} images, width {paper.WIDTH}, batch "
        f"{paper.BATCH} (the epochs are those of its authors' program).{closing}"
    )


def is_papers(run: Run, cells: Sequence[Cell]) -> bool:
    """Whether nothing that the sentence names differs from the paper."""
    return not _differing(run, cells)


def _differing(run: Run, cells: Sequence[Cell]) -> list[str]:
    case = [cell.case for cell in cells]
    wrong = {
        "trials": run.suite.seeds < paper.TRIALS.get(run.suite.compare, paper.USUAL_TRIALS),
        "epochs": any(c.epochs != paper.EPOCHS or c.steps is not None for c in case),
        "images": any(c.data not in WHOLE or c.train_images not in (None, paper.IMAGES)
                      for c in case),
        "width": any(c.width != paper.WIDTH for c in case),
        "batch": any(c.batch != paper.BATCH for c in case),
        "precision": any(c.precision != "float32" for c in case),
        "recipe": any((c.learning_rate, c.schedule, c.momentum, c.weight_decay, c.nesterov,
                       c.label_smoothing) != (0.1, "steps", 0.9, 5e-4, False, 0.0)
                      for c in case),
    }  # fmt: skip
    return [what for what, differs in wrong.items() if differs]


def _trials(run: Run, cells: Sequence[Cell]) -> str:
    counts = sorted({len(cell.trials) for cell in cells if cell.trials} or {0})
    planned = run.suite.seeds
    if counts == [planned]:
        return _plural(planned, "trial")
    span = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{span} of {_plural(planned, 'trial')}"


def _paper_trials(run: Run) -> str:
    count = paper.TRIALS.get(run.suite.compare)
    if count is not None:
        return f"{count} trials"
    return f"{paper.USUAL_TRIALS} trials" if run.suite.compare else "15 or 5 trials"


def _length(cells: Sequence[Cell]) -> str:
    epochs = _plural(_listed(cells, "epochs"), "epoch")
    steps = values_of(cells, "steps")
    return f"{epochs}, stopped after {steps[0]} steps at most," if steps else epochs


def _images(cells: Sequence[Cell]) -> str:
    names = ", ".join(f"`{data}`" for data in values_of(cells, "data"))
    counts = {WHOLE.get(cell.case.data) if cell.case.train_images is None
              else cell.case.train_images for cell in cells}  # fmt: skip
    known = sorted(count for count in counts if count is not None)
    if known:
        return f"{', '.join(f'{count:,}' for count in known)} images of {names}"
    return f"all training images of {names}"


def _devices(run: Run) -> str:
    names = list(dict.fromkeys(session.device for session in run.environment.sessions))
    return ", ".join(names) or run.suite.device


def _listed(cells: Sequence[Cell], axis: str) -> str:
    return ", ".join(str(value) for value in values_of(cells, axis))


def _plural(count: Any, noun: str) -> str:
    return f"{count} {noun}" + ("" if str(count) == "1" else "s")
