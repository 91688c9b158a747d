"""What stands right under the title."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from eigbench.report.training.cells import gather
from eigbench.report.training.scale import sentence, warnings
from eigbench.runs.record import SCHEMA, Record
from eigbench.runs.store import Environment, Run
from eigbench.runs.suite import Grid, Suite, at_scale, cases, find, load
from tests.report import trainings


def said(suite: Suite) -> str:
    records = [trainings.record(case) for case in cases(suite)]
    run = Run(suite=suite, environment=Environment(schema=SCHEMA, sessions=[]), records=records)
    return sentence(run, gather(cases(suite), records))


def papers(**changes: Any) -> Suite:
    """Table 5 as the paper has it, with settings of the training changed."""
    suite = at_scale(load(find("paper-table5")), "paper")
    assert suite.training is not None
    training = msgspec.structs.replace(suite.training, **changes)
    return msgspec.structs.replace(suite, training=training)


def test_the_papers_own() -> None:
    text = said(papers())
    assert text.startswith("> **The paper's settings.**")
    assert (
        "350 epochs of 50,000 training images of `cifar10`, of which a tenth is held out (about "
        "45,000 are left), augmented; tested on 10,000 test images; resnet18"
    ) in text


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"test_images": 2000}, "test images"),
        ({"train_images": 6000}, "training images"),
        ({"augment": False}, "augmentation"),
        ({"data": "cifar100"}, "data"),
        ({"data": "mini"}, "data"),
        ({"steps": 10}, "epochs"),
        ({"learning_rate": 0.2}, "recipe"),
        ({"nesterov": True}, "recipe"),
        ({"precision": "bfloat16"}, "precision"),
    ],
)
def test_whatever_differs_is_named(changes: dict[str, Any], what: str) -> None:
    text = said(papers(**changes))
    assert text.startswith("> **Not the paper's experiment.**")
    assert text.endswith(f"It differs in: {what}.")


@pytest.mark.parametrize(
    ("axes", "what"),
    [
        ({"epsilon": [1e-6]}, "ε"),
        ({"iterations": [9]}, "K"),
        ({"layer": ["zca"], "d": [4], "truncation": ["none"]}, "truncation"),
    ],
)
def test_a_layer_that_differs_is_named(axes: dict[str, Any], what: str) -> None:
    grid = Grid(**{"layer": ["pca"], "energy": [0.99], "method": ["hybrid"], **axes})
    assert said(msgspec.structs.replace(papers(), grids=[grid])).endswith(f"differs in: {what}.")


def test_not_augmented_and_other_numbers_are_written() -> None:
    text = said(papers(augment=False, train_images=6000, test_images=2000))
    assert "6,000 training images of `cifar10`, of which a tenth is held out (about 5,400" in text
    assert "not augmented; tested on 2,000 test images" in text


@pytest.mark.parametrize(
    ("epochs", "steps", "words"),
    [
        (350, None, "350 epochs of 50,000"),
        (2, 60, "60 steps at most, in 2 epochs of 50,000"),
        (60, 60, "60 steps on 50,000"),
        (1, 1, "1 step on 50,000"),
    ],
)
def test_steps_are_the_length_where_epochs_are_a_bound(
    epochs: int, steps: int | None, words: str
) -> None:
    assert words in said(papers(epochs=epochs, steps=steps))


def test_a_cell_with_too_few_trials_is_not_the_papers() -> None:
    suite = papers()
    records = [trainings.record(case) for case in cases(suite)][:-1]
    run = Run(suite=suite, environment=Environment(schema=SCHEMA, sessions=[]), records=records)
    assert sentence(run, gather(cases(suite), records)).endswith("It differs in: trials.")


def warned(*data: list[str]) -> str:
    planned = cases(trainings.suite())
    records: list[Record] = []
    for case, words in zip(planned, data, strict=False):
        one = trainings.record(case)
        records.append(msgspec.structs.replace(one, labels={**one.labels, "data": words}))
    return " ".join(warnings(gather(planned, records)))


def test_records_that_name_different_images_are_warned_of() -> None:
    same = ["mini", "a" * 64, "b" * 64]
    assert warned(same, same) == ""
    assert warned(same, same[:2]) == ""  # older records do not name the test images
    assert warned(same, []) == ""
    text = warned(same, ["mini", "c" * 64, "b" * 64])
    assert text.startswith("> **Different images.**")
    assert "2 different sets of training images (`mini` aaaaaaaa, `mini` cccccccc)" in text
    assert "2 different sets of test images" in warned(same, ["mini", "a" * 64, "d" * 64])
