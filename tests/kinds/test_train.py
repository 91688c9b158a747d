"""Training suites: cells and trials, the paper's settings, and the scales that shorten them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
import torch

from eigbench.data.images import ImageSet, limited, split_validation
from eigbench.errors import InputError
from eigbench.kinds.base import changed
from eigbench.kinds.train import RECIPES, TrainCase, Training, data_name
from eigbench.measure.trial import VALIDATION_SHARE
from eigbench.runs.suite import (
    Axes,
    Grid,
    Scale,
    Suite,
    at_scale,
    cases,
    check,
    find,
    load,
    to_toml,
)
from tests.runs.test_suite import PAPER_TRAININGS


def _suite(**changes: Any) -> Suite:
    axes = Axes(model=["resnet18"], d=[4, 16], epsilon=[1e-4], iterations=[19])
    grids = [
        Grid(layer=["bn"], method=["hybrid"]),
        Grid(layer=["zca"], method=["svd", "hybrid"]),
    ]
    suite = Suite(
        name="t", kind="train", seeds=2, axes=axes, grids=grids, training=Training(epochs=1)
    )
    return msgspec.structs.replace(suite, **changes)


def _cases(suite: Suite) -> list[TrainCase]:
    found = cases(suite)
    assert all(isinstance(case, TrainCase) for case in found)
    return [case for case in found if isinstance(case, TrainCase)]


def test_every_cell_has_its_first_trial_before_any_has_its_second() -> None:
    planned = _cases(_suite())
    assert [case.seed for case in planned] == [0] * 5 + [1] * 5
    assert [(c.method, c.d) for c in planned[:5]] == [
        ("bn", None), ("svd", 4), ("hybrid", 4), ("svd", 16), ("hybrid", 16),
    ]  # fmt: skip
    assert [c.cell for c in planned[:5]] == [c.cell for c in planned[5:]]
    assert len({case.id for case in planned}) == 10


def test_denoising_keeps_a_number_of_eigenvectors_or_a_share_of_the_variance() -> None:
    grid = Grid(layer=["pca"], method=["hybrid"], components=[2, 4], energy=[0.9])
    planned = _cases(_suite(grids=[grid], seeds=1))
    assert [(case.components, case.energy) for case in planned] == [
        (2, None),
        (4, None),
        (None, 0.9),
    ]
    with pytest.raises(InputError, match="layer pca needs values of one of them"):
        cases(_suite(grids=[Grid(layer=["pca"], method=["hybrid"])]))


def test_a_layer_takes_only_the_axes_that_it_has() -> None:
    grid = Grid(layer=["bn", "none", "zca", "pca"], method=["hybrid"], energy=[0.9, 0.99])
    planned = _cases(_suite(grids=[grid], seeds=1))
    by_layer = Counter(case.layer for case in planned)
    assert by_layer == {"bn": 1, "none": 1, "zca": 2, "pca": 2}
    for case in planned:
        assert (case.d is not None) == (case.layer == "zca")
        assert (case.energy is not None) == (case.layer == "pca")
        assert (case.epsilon is not None) == (case.layer in ("zca", "pca"))
        assert case.parameters == ({"iterations": 19} if case.layer in ("zca", "pca") else {})
        assert case.method == ("hybrid" if case.layer in ("zca", "pca") else case.layer)


@pytest.mark.parametrize("name", PAPER_TRAININGS)
def test_a_paper_suite_is_at_the_papers_settings(name: str) -> None:
    """§3 and the released program: 350 epochs, rate 0.1 a tenth every 100, batch 128."""
    suite = at_scale(load(find(name)), "paper")
    training = suite.training
    assert training is not None
    assert suite.seeds == (15 if name == "paper-table2" else 5)
    assert (training.epochs, training.batch, training.width) == (350, 128, 64)
    assert (training.learning_rate, training.schedule) == (0.1, "steps")
    assert (training.momentum, training.weight_decay) == (0.9, 5e-4)
    assert (training.train_images, training.test_images, training.steps) == (None, None, None)
    assert training.data == ("cifar100" if name == "paper-table3" else "cifar10")
    assert {case.iterations for case in _cases(suite)} - {None} == (
        {1, 2, 4, 9, 14, 19, 29} if name == "paper-table4c" else {19}
    )
    assert suite.compare == name.replace("paper-table", "table-").replace("paper-figure", "figure-")


@pytest.mark.parametrize("name", PAPER_TRAININGS)
def test_scales_shorten_and_change_no_cell(name: str) -> None:
    suite = load(find(name))

    def cells(of: Suite) -> set[tuple[Any, ...]]:
        return {
            (c.model, c.layer, c.method, c.d, c.components, c.energy, c.iterations, c.epsilon)
            for c in _cases(of)
        }

    full = at_scale(suite, "paper")
    for scale in ("short", "smoke"):
        shortened = at_scale(suite, scale)
        assert cells(shortened) == cells(full)
        assert len(_cases(shortened)) < len(_cases(full))
        assert shortened.scale == scale
        assert shortened.scales == {}
    assert at_scale(suite, "short").seeds >= 3


def test_a_scaled_suite_is_a_suite_of_its_own(cwd: Any) -> None:
    shortened = at_scale(load(find("paper-table5")), "short")
    (cwd / "again.toml").write_text(to_toml(shortened))
    again = load(cwd / "again.toml")
    assert again == shortened
    assert cases(again) == cases(shortened)


@pytest.mark.parametrize(
    ("suite", "complaint"),
    [
        (_suite(training=None), r"grids\[0\] trains, but the suite has no \[training\]"),
        (_suite(grids=[Grid(layer=["zca"])]), r"grids\[0\] has no method"),
        (
            _suite(grids=[Grid(kind="series")]),
            r"grids\[0\] has no dtype, ratio",
        ),
        (_suite(scales={"x": Scale(training={"nesterov": True, "momentum": 0})}), "nesterov needs"),
        (_suite(grids=[Grid(layer=["ln"], method=["svd"])]), r"grids\[0\]\.layer: 'ln'"),
        (_suite(scales={"x": Scale(training={"width": 0})}), r"scales\.x: training: .*width"),
        (_suite(scales={"x": Scale(training={"wide": 8})}), r"scales\.x: training: .*wide"),
    ],
)
def test_check_refuses(suite: Suite, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        check(suite)


def test_what_batch_normalisation_needs_no_axis_for() -> None:
    grid = Grid(model=["resnet18"], layer=["bn", "none"])
    planned = _cases(check(_suite(axes=Axes(), grids=[grid], seeds=1)))
    assert [case.method for case in planned] == ["bn", "none"]


def test_determinism_is_not_promised_on_cuda() -> None:
    suite = _suite(training=Training(epochs=1, deterministic=True), device="cuda")
    with pytest.raises(InputError, match=r"deterministic .* not on cuda"):
        cases(suite)


@pytest.mark.parametrize("name", PAPER_TRAININGS)
def test_every_scale_has_images_enough_for_its_classes(name: str) -> None:
    suite = load(find(name))
    for scale in suite.scales:
        training = at_scale(suite, scale).training
        assert training is not None
        classes = 100 if training.data == "cifar100" else 10
        labels = torch.arange(50_000) % classes
        pixels = torch.zeros(50_000, 1, 1, 1, dtype=torch.uint8)
        images = ImageSet(pixels, labels, tuple(map(str, range(classes))), training.data)
        used = images if training.train_images is None else limited(images, training.train_images)
        train, validation = split_validation(used, VALIDATION_SHARE, seed=0)
        assert len(train) >= training.batch
        assert len(set(validation.labels.tolist())) == classes


def test_an_unknown_scale_names_the_known() -> None:
    with pytest.raises(InputError, match="no preset 'huge'; it has: paper, short, smoke"):
        at_scale(load(find("paper-table2")), "huge")
    with pytest.raises(InputError, match="no preset 'short'; it has: none"):
        at_scale(load(find("train-short")), "short")


def test_a_recipe_is_a_change_of_the_training() -> None:
    modern = changed(Training(), RECIPES["modern"])
    assert (modern.schedule, modern.nesterov, modern.label_smoothing) == ("one-cycle", True, 0.1)
    assert changed(modern, RECIPES["paper"]) == Training()
    assert changed(modern, {"epochs": None}) == modern
    with pytest.raises(InputError, match=r"training: .*epochs"):
        changed(modern, {"epochs": 0})


def test_data_has_a_name_that_no_machine_is_in(tmp_path: Any) -> None:
    assert data_name("mini") == "cifar10-mini"
    assert data_name("cifar100") == "cifar100"
    assert data_name(str(tmp_path / "pictures" / "..")) == tmp_path.name


@pytest.mark.parametrize(
    ("setting", "value", "default"),
    [
        ("memory_format", "channels_last", "contiguous"),
        ("record_every", 25, 1),
        ("compiled", True, False),
    ],
)
def test_records_leave_out_what_was_before_a_choice(setting: str, value: Any, default: Any) -> None:
    for chosen in (value, default):
        training = changed(Training(epochs=1), {setting: chosen})
        for case in _cases(_suite(training=training)):
            text = msgspec.json.encode(case)
            assert (setting.encode() in text) == (chosen == value)
            assert msgspec.json.decode(text, type=TrainCase) == case
