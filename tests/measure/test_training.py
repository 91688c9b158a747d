"""A training records what it did, breaks honestly, and goes on where it was killed."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from eigbench.architectures import BLOCKS
from eigbench.errors import InputError, RunStopped
from eigbench.kinds.train import BY_STEP, BY_STEP_WITH_PAIRS, TrainCase, Training
from eigbench.measure import probe, training
from eigbench.measure.measurement import Measurement
from eigbench.measure.training import measure_training
from eigbench.measure.trial import Trial, image_sets, make_optimiser
from eigbench.methods.svd import Svd
from eigbench.runs.runner import attempt
from tests.measure import small

# 30 images, of which each class keeps back one or two; batches of 8.
STEPS_AN_EPOCH = 3


def _measure(case: TrainCase, **changes: Any) -> Measurement:
    return measure_training(case, **{"images": small.image_sets(), **changes})


def _numbers(measurement: Measurement) -> dict[str, Any]:
    """All that must be the same in a second run: everything but times and memory."""
    changing = ("step_seconds", "peak_bytes")
    return {k: v for k, v in measurement.samples.items() if k not in changing} | dict(
        measurement.labels
    )


@pytest.mark.parametrize("layer", ["bn", "none", "zca", "pca"])
def test_every_series_has_one_value_a_step_or_an_epoch(layer: str) -> None:
    samples, labels = _measure(small.case(layer=layer))
    decomposes = layer in ("zca", "pca")
    for name in (*BY_STEP, *BY_STEP_WITH_PAIRS):
        absent = name in BY_STEP_WITH_PAIRS and not decomposes
        assert len(samples[name]) == (0 if absent else 2 * STEPS_AN_EPOCH)
        assert all(map(math.isfinite, samples[name]))
    assert samples["epoch_steps"] == [STEPS_AN_EPOCH, 2 * STEPS_AN_EPOCH]
    assert samples["steps_planned"] == [2 * STEPS_AN_EPOCH]
    for name in ("validation_error", "test_error"):
        assert all(0 <= share <= 1 for share in samples[name])
    assert len(samples["validation_error"]) == len(samples["validation_loss"]) == 2
    assert len(samples["test_error"]) == 1
    assert samples["peak_bytes"][0] > 1e6
    assert labels["outcome"] == ["finished"]
    assert labels["cause"] == [""]
    assert labels["data"] == ["noise", small.images().sha256, small.images(10).sha256]


def test_the_released_power_iteration_trains_without_algorithm_1() -> None:
    """It keeps what Algorithm 1, which always drops the last pair, does not."""
    ranks = {}
    for method in ("pi", "pi-released"):
        case = small.case(method=method, parameters={"iterations": 19, "seed": 0})
        ranks[method] = _measure(case).samples["rank_kept"][0]
    assert ranks["pi"] < ranks["pi-released"]


def test_the_numbers_are_those_of_the_seed_alone() -> None:
    first = _numbers(_measure(small.case()))
    assert _numbers(_measure(small.case())) == first
    assert _numbers(_measure(small.case(seed=1)))["loss"] != first["loss"]


def test_the_first_loss_and_gradient_are_those_of_plain_torch() -> None:
    """The recorded numbers, from the same network and batch, without our loop."""
    case = small.case(augment=False)
    trial = Trial(case, small.image_sets())
    network = copy.deepcopy(trial.network)
    pixels, labels = trial.next_batch()
    stem: list[torch.Tensor] = []
    network.stem.register_forward_hook(lambda _m, _i, output: stem.append(output))
    loss = torch.nn.functional.cross_entropy(network(pixels), labels)
    at_stem, *gradients = torch.autograd.grad(loss, [stem[0], *network.parameters()])
    samples, _ = _measure(case)
    assert samples["loss"][0] == pytest.approx(loss.item(), rel=1e-5)
    norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))
    assert samples["gradient_norm"][0] == pytest.approx(norm, rel=1e-4)
    assert samples["layer_gradient_norm"][0] == pytest.approx(at_stem.norm().item(), rel=1e-4)


def test_steps_stop_a_training_early() -> None:
    samples, _ = _measure(small.case(steps=4))
    assert len(samples["loss"]) == 4
    assert samples["epoch_steps"] == [STEPS_AN_EPOCH, 4]


def test_every_kth_step_is_recorded_and_the_last_ones_before_a_break(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The values are those of a whole record."""
    monkeypatch.setattr(training, "BEFORE_A_FAILURE", 2)
    for changes in ({}, {"layer": "bn", "learning_rate": 1e25, "momentum": 0.0}):
        whole, _ = _measure(small.case(**changes))
        thin, labels = _measure(small.case(**changes, record_every=4))
        last = len(whole["loss"]) - 1
        steps = [0, 4, 5] if labels["outcome"] == ["finished"] else sorted({0, last - 1, last})
        assert thin["step"] == steps
        for name in ("loss", "gradient_norm", *BY_STEP_WITH_PAIRS):
            expected = [whole[name][step] for step in steps] if whole[name] else []
            assert repr(thin[name]) == repr(expected)  # NaN is not equal to itself
        assert thin["epoch_steps"] == whole["epoch_steps"]
    asked = [dict.fromkeys(names) for names, _ in small.case(record_every=4).counts({"loss": 3})]
    assert any("step" in names for names in asked)


def test_the_condition_number_is_the_largest_of_any_group() -> None:
    """Against NumPy, of what the layer decomposed in the first step."""
    case = small.case()
    trial = Trial(case, small.image_sets())
    trial.network(trial.next_batch()[0])
    latest: Any = trial.network.layer.latest
    condition = max(np.linalg.cond(M) for M in latest.covariance.double())
    assert _measure(case).samples["condition_number"][0] == pytest.approx(condition, rel=1e-5)


def test_the_test_set_is_read_once_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, int]] = []
    evaluate = Trial.evaluate

    def spy(self: Trial, images: Any) -> tuple[float, float]:
        read.append((self.step, len(images)))
        return evaluate(self, images)

    monkeypatch.setattr(Trial, "evaluate", spy)
    _measure(small.case())
    assert [step for step, count in read if count == 10] == [2 * STEPS_AN_EPOCH]
    assert len(read) == 3


@pytest.mark.parametrize("stop", [1, 3, 4, 6])
@pytest.mark.parametrize(
    "changes",
    [
        {"method": "hybrid", "schedule": "one-cycle"},
        {"method": "pi"},  # draws its starts from torch's generator
        {"method": "spectral", "nesterov": True, "schedule": "constant"},
        {"layer": "pca", "method": "hybrid"},
        {"layer": "bn"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_a_killed_training_ends_with_the_numbers_of_one_that_was_not(
    changes: dict[str, Any], stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = small.case(**changes)
    whole = _numbers(_measure(case))
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    kept = small.Kept()
    with pytest.raises(KeyboardInterrupt):
        _measure(case, checkpoints=kept, watch=small.stop_after(stop))
    if stop > 1:
        assert kept.states[case.id]["step"] == stop - 1  # the step in flight is lost
    torch.manual_seed(12345)  # another process has another state
    assert _numbers(_measure(case, checkpoints=kept)) == whole


FOREIGN = {
    "another trial": lambda state: state.update(case="0" * 16),
    "no optimiser": lambda state: state.pop("optimiser"),
    "another optimiser": lambda state: state.update(optimiser={}),
    "another network": lambda state: state["network"].popitem(),
    "another size": lambda state: state.update(random=torch.zeros(3, dtype=torch.uint8)),
    "no images": lambda state: state.pop("data"),
    "far beyond": lambda state: state.update(step=10**9),
    "before the start": lambda state: state.update(step=-1),
    "half a step": lambda state: state.update(step=2.0),
    "another history": lambda state: state["history"]["loss"].append(1.0),
    "words": lambda state: state["history"].update(loss=["a"] * state["step"]),
    "no history": lambda state: state.update(history=[]),
}


@pytest.mark.parametrize("change", FOREIGN)
def test_a_checkpoint_that_is_not_its_own_stops_the_run(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no result of the method: nothing is recorded."""
    case = small.case(layer="bn")
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    kept = small.Kept()
    with pytest.raises(KeyboardInterrupt):
        _measure(case, checkpoints=kept, watch=small.stop_after(3))
    FOREIGN[change](kept.states[case.id])
    with pytest.raises(RunStopped):
        _measure(case, checkpoints=kept)


def test_a_loss_that_is_not_finite_is_a_result() -> None:
    samples, labels = _measure(small.case(layer="bn", learning_rate=1e25, momentum=0.0))
    assert labels["outcome"] == ["diverged"]
    assert samples["test_error"] == []
    last = len(samples["loss"]) - 1
    assert 0 < last < 2 * STEPS_AN_EPOCH
    assert all(map(math.isfinite, samples["loss"][:last]))
    ends = samples["loss"][last], samples["gradient_norm"][last]
    assert not all(map(math.isfinite, ends))
    assert (
        f"not finite at step {last}; last finite loss {samples['loss'][last - 1]:.4g}"
        in (labels["cause"][0])
    )
    assert f"{samples['gradient_norm'][last - 1]:.3g}" in labels["cause"][0]


def test_a_gradient_that_is_not_finite_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    decompose = Svd.eigh

    def explode(self: Svd, M: torch.Tensor) -> Any:
        pairs = decompose(self, M)
        if pairs.eigenvalues.requires_grad:
            values: Any = pairs.eigenvalues
            values.register_hook(lambda gradient: gradient * math.nan)
        return pairs

    monkeypatch.setattr(Svd, "eigh", explode)
    samples, labels = _measure(small.case(method="svd"))
    assert labels["outcome"] == ["diverged"]
    assert labels["cause"][0].startswith("gradient not finite at step 0; last finite loss ")
    assert labels["cause"][0].endswith("gradient norms before it none")
    assert len(samples["loss"]) == 1
    assert math.isnan(samples["gradient_norm"][0])


def test_a_decomposition_that_fails_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    decompose = Svd.eigh

    def fail(self: Svd, M: torch.Tensor) -> Any:
        calls.append(M)
        if len(calls) == 3:
            raise LinAlgError("the algorithm failed\nmore words")
        return decompose(self, M)

    monkeypatch.setattr(Svd, "eigh", fail)
    samples, labels = _measure(small.case(method="svd"))
    assert labels["cause"][0].startswith(
        "decomposition did not converge: the algorithm failed at step 2; last finite loss "
    )
    assert len(samples["loss"]) == 2
    assert samples["test_error"] == []


@pytest.mark.parametrize("layer", ["bn", "zca", "pca"])
def test_reading_late_gives_the_same_record(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = small.case(layer=layer)
    first = _numbers(_measure(case))
    monkeypatch.setitem(training.STEPS_BETWEEN_READS, "cpu", 32)
    assert _numbers(_measure(case)) == first


def test_a_break_that_is_read_late_has_its_own_step(monkeypatch: pytest.MonkeyPatch) -> None:
    case = small.case(layer="bn", learning_rate=1e25, momentum=0.0, epochs=1)
    later = small.case(method="svd", learning_rate=1e25, momentum=0.0, epochs=1)
    first = [_numbers(_measure(one)) for one in (case, later)]
    assert 0 < len(first[0]["loss"]) - 1 < STEPS_AN_EPOCH - 1
    assert first[1]["outcome"] == ["diverged"]
    monkeypatch.setitem(training.STEPS_BETWEEN_READS, "cpu", 32)
    again = [_numbers(_measure(one)) for one in (case, later)]
    assert repr(again) == repr(first)  # NaN is not equal to itself


def test_nothing_is_read_between_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these makes the host wait for a GPU."""
    monkeypatch.setattr(probe, "ROW", 10**9)  # no norm as a CPU takes it
    trial = Trial(small.case(layer="bn"), small.image_sets())
    for name in ("item", "tolist", "cpu", "__bool__", "__float__", "numpy"):
        refuse = partial(pytest.fail, f"Tensor.{name} between readings")
        monkeypatch.setattr(torch.Tensor, name, lambda *_, refuse=refuse: refuse())
    for _ in range(2):
        training._step(trial)
        trial.step += 1
    monkeypatch.undo()
    assert [math.isfinite(row["loss"]) for row in trial.probe.read()] == [True, True]
    assert trial.probe.kept == []


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30, math.nan, math.inf])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_norm_is_that_of_float64(scale: float, layout: torch.memory_format) -> None:
    X = torch.randn(2, 64, 8, 8, generator=torch.Generator().manual_seed(0))
    X[0, 0, 0, 0] = scale
    for some in (X.to(memory_format=layout), X * scale, X[..., :7], X[0, 0, 0, :0]):
        wanted = np.linalg.norm(some.double().numpy().ravel())
        found = probe.norm_of([some], some.device).item()
        assert found == pytest.approx(wanted, rel=1e-6, abs=0, nan_ok=True)


def test_other_errors_are_not_taken_for_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Svd, M: torch.Tensor) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Svd, "eigh", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        _measure(small.case(method="svd"))


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_precisions(precision: str) -> None:
    reference, other = (_measure(small.case(precision=p)) for p in ("float32", precision))
    assert other.labels["outcome"] == ["finished"]
    assert reference.samples["gradient_norm"] != other.samples["gradient_norm"]
    first, second = reference.samples["loss"][0], other.samples["loss"][0]
    assert second == pytest.approx(first, rel=1e-5 if precision == "float64" else 0.05)


@pytest.mark.parametrize("layer", ["bn", "zca", "pca"])
def test_channels_last_is_the_same_training(layer: str) -> None:
    case = small.case(layer=layer, memory_format="channels_last", precision="float64")
    trial = Trial(case, small.image_sets())
    images, _ = trial.next_batch()
    weights = [p for p in trial.network.parameters() if p.dim() == 4]
    for tensor in (images, *weights):
        assert tensor.is_contiguous(memory_format=torch.channels_last)
    expected = _measure(small.case(layer=layer, precision="float64")).samples["loss"]
    assert _measure(case).samples["loss"] == pytest.approx(expected, rel=1e-6)


# torch's compiler reads the attribute itself.
ignores_grad = pytest.mark.filterwarnings("ignore:The .grad attribute")


@ignores_grad
def test_a_compiled_step_is_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph and its derivative as a compiler gets them; making programs of them takes long."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    monkeypatch.setitem(BLOCKS, "resnet18", (1, 1, 1, 1))
    whole, _ = _measure(small.case(precision="float64", steps=2))
    samples, labels = _measure(small.case(precision="float64", steps=2, compiled=True))
    assert labels["outcome"] == ["finished"]
    for name in ("loss", "gradient_norm", "layer_gradient_norm", *BY_STEP_WITH_PAIRS):
        assert samples[name] == pytest.approx(whole[name], rel=1e-9), name


@ignores_grad
def test_a_compiler_that_fails_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_graph: Any, _inputs: Any) -> Any:
        raise OSError("no C++ compiler\nand a page of advice")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=missing))
    record = attempt(small.case(layer="bn", compiled=True), _measure)
    assert record.status == "failed"
    assert record.reason is not None
    assert record.reason.startswith("CompilerError: torch.compile failed; train without --compile")
    assert "no C++ compiler" in record.reason


def test_determinism_is_given_back() -> None:
    _measure(small.case(deterministic=True, steps=1))
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_papers_schedule_is_a_tenth_every_100_of_350_epochs() -> None:
    case = small.case(epochs=350, schedule="steps", learning_rate=0.1)
    steps = 350 * 4
    optimiser, scheduler = make_optimiser(case, torch.nn.Linear(1, 1), steps)
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    by_epoch = rates[::4]
    for epoch, rate in enumerate(by_epoch):
        assert rate == pytest.approx(0.1 * 0.1 ** (epoch // 100)), epoch


@pytest.mark.parametrize("schedule", ["one-cycle", "constant"])
def test_schedules_end_where_they_should(schedule: str) -> None:
    case = small.case(schedule=schedule, learning_rate=0.2)
    optimiser, scheduler = make_optimiser(case, torch.nn.Linear(1, 1), 50)
    rates = []
    for _ in range(50):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    if schedule == "constant":
        assert set(rates) == {0.2}
    else:
        assert max(rates) == pytest.approx(0.2, rel=0.01)
        assert rates[0] < 0.01
        assert rates[-1] < 0.001


def test_too_few_images_are_refused() -> None:
    with pytest.raises(InputError, match=r"batch \(--batch\): 1024 is more than the 360 images"):
        image_sets(Training(train_images=400, batch=1024))
    with pytest.raises(InputError, match="5000 images of cifar10-mini cannot be taken"):
        image_sets(Training(train_images=5000))
