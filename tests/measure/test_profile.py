"""A workload's cases are timed in turn, whatever becomes of one of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from eigbench.errors import NotApplicable
from eigbench.kinds.profile import ProfileCase
from eigbench.measure.contestants import make
from eigbench.measure.profile import Profiler
from eigbench.measure.timing import Contestant
from eigbench.methods import available
from tests.measure.profiles import case, contest_of


class Kept:
    """Traces in memory."""

    def __init__(self) -> None:
        self.traces: dict[str, bytes] = {}

    def keep(self, case: ProfileCase, content: bytes) -> str:
        self.traces[case.method] = content
        return f"traces/{case.method}"


class Builder:
    """Counts what is built, and builds something else for a method that is named."""

    def __init__(self, **instead: Contestant | Exception) -> None:
        self.instead = instead
        self.built: list[str] = []

    def __call__(self, case: ProfileCase) -> Contestant:
        self.built.append(case.method)
        other = self.instead.get(case.method)
        if isinstance(other, Exception):
            raise other
        return other or make(case)


def measured(cases: Sequence[ProfileCase], builder: Builder | None = None) -> Profiler:
    return Profiler(cases, build=builder or Builder())


def test_a_workload_is_timed_when_its_first_case_is_asked_for_and_once() -> None:
    cases, builder = contest_of(), Builder()
    profiler = measured(cases, builder)
    assert builder.built == []
    for one in cases:
        profiler(one)
    assert builder.built == ["torch.linalg.eigh", "hybrid"]


def test_other_workloads_wait() -> None:
    cases, builder = [*contest_of(), *contest_of(d=8)], Builder()
    measured(cases, builder)(cases[-1])
    assert builder.built == ["torch.linalg.eigh", "hybrid"]


def test_a_record_holds_the_reference_of_its_own_rounds() -> None:
    cases = contest_of(rounds=9)
    profiler = measured(cases)
    reference, hybrid = (profiler(one).samples for one in cases)
    assert len(hybrid["forward_seconds"]) == len(hybrid["backward_seconds"]) == 9
    assert hybrid["reference_forward_seconds"] == reference["forward_seconds"]
    assert hybrid["reference_backward_seconds"] == reference["backward_seconds"]
    assert "reference_forward_seconds" not in reference
    for samples in (reference, hybrid):
        assert len(samples["first_call_seconds"]) == 1
        assert samples["block_runs"][0] >= 1


def test_a_part_of_a_workload_is_missing_when_a_run_goes_on() -> None:
    # All of it is timed again; the reference in the record is that of the new rounds.
    cases, builder = contest_of(), Builder()
    found = measured(cases, builder)(cases[1])
    assert builder.built == ["torch.linalg.eigh", "hybrid"]
    assert found.samples["reference_forward_seconds"]


@pytest.mark.parametrize(
    "error", [NotApplicable("not today"), torch.OutOfMemoryError("CUDA out of memory")]
)
def test_what_a_method_raises_is_its_own_outcome(error: Exception) -> None:
    cases = [*contest_of(), case(method="svd")]
    profiler = measured(cases, Builder(hybrid=error))
    with pytest.raises(type(error), match=str(error)):
        profiler(case())
    assert profiler(case(method="svd")).samples["reference_forward_seconds"]


def test_without_its_reference_a_method_still_has_times() -> None:
    cases = contest_of()
    profiler = measured(cases, Builder(**{"torch.linalg.eigh": RuntimeError("no")}))
    samples = profiler(cases[1]).samples
    assert samples["forward_seconds"]
    assert "reference_forward_seconds" not in samples


def test_times_stand_where_taking_apart_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no profiler here\nand a second line")

    monkeypatch.setattr("eigbench.measure.profile.anatomy", broken)
    cases = contest_of()
    found = measured(cases)(cases[1])
    assert found.samples["forward_seconds"]
    assert found.labels["anatomy_failed"] == ["RuntimeError: no profiler here"]
    assert "peak_bytes" not in found.samples


def test_a_trace_is_kept_where_it_is_asked_for() -> None:
    cases, kept = contest_of(trace=True), Kept()
    profiler = Profiler(cases, kept.keep)
    reference, hybrid = (profiler(one) for one in cases)
    assert hybrid.labels["trace"] == ["traces/hybrid"]
    assert set(kept.traces) == {"hybrid"}
    assert "trace" not in reference.labels
    assert "event" not in reference.labels
    assert hybrid.labels["lane"][0] == "pass"


@pytest.mark.parametrize("subject", ["layer", "step"])
def test_images_lie_as_the_case_says(subject: str) -> None:
    for layout, last in (("contiguous", False), ("channels_last", True)):
        contestant = make(case(subject=subject, layer="zca", batch=2, layout=layout))
        (X,) = contestant.prepare()
        assert X.is_contiguous(memory_format=torch.channels_last) == last
        filters = [p for p in contestant.parameters if p.dim() == 4 and p.shape[-1] > 1]
        assert all(p.is_contiguous(memory_format=torch.channels_last) == last for p in filters)
        assert bool(filters) == (subject == "step")


@pytest.mark.parametrize("layer", ["zca", "pca"])
@pytest.mark.parametrize("subject", ["layer", "step"])
def test_layers_and_steps_beside_their_references(subject: str, layer: str) -> None:
    cases = contest_of(subject=subject, layer=layer, batch=2)
    profiler = measured(cases)
    bn, none, hybrid = (profiler(one) for one in cases)
    assert hybrid.samples["reference_forward_seconds"] == bn.samples["forward_seconds"]
    assert none.samples["reference_forward_seconds"] == bn.samples["forward_seconds"]
    assert ("update_seconds" in hybrid.samples) == (subject == "step")
    assert ("reference_update_seconds" in hybrid.samples) == (subject == "step")
    assert all("anatomy_failed" not in each.labels for each in (bn, none, hybrid))
    assert {"covariance", "decomposition"} <= set(hybrid.labels["phase"])


def test_a_precision_that_nobody_takes_is_refused_with_the_reason() -> None:
    cases = contest_of(dtype="float16")
    profiler = measured(cases)
    with pytest.raises(NotApplicable, match=r"eigh takes float32, float64 and complex, not fl"):
        profiler(cases[0])
    with pytest.raises(NotApplicable, match=r"hybrid takes .*float64.*, not float16"):
        profiler(cases[1])


def test_half_precision_of_a_layer() -> None:
    cases = contest_of(subject="layer", layer="zca", dtype="bfloat16", batch=2)
    profiler = measured(cases)
    assert all(profiler(one).samples["backward_seconds"] for one in cases)


def test_groups_that_do_not_fit_are_refused_with_the_reason() -> None:
    with pytest.raises(NotApplicable, match="d = 33 does not divide the layer's 64 channels"):
        make(case(subject="layer", layer="zca", d=33))


def _run(contestant: Contestant) -> list[tuple[Tensor, ...]]:
    """The inputs of two runs."""
    found = []
    for _ in range(2):
        state = inputs = contestant.prepare()
        for step in contestant.passes.values():
            state = step(state)
        found.append(inputs)
    return found


def test_fresh_inputs_are_others_in_each_run_and_cached_ones_the_same() -> None:
    (first,), (second,) = _run(make(case(inputs="fresh")))
    assert first.data_ptr() != second.data_ptr()
    assert not torch.equal(first, second)
    (first,), (second,) = _run(make(case(inputs="cached")))
    assert first is second


def test_nothing_is_left_of_a_run_for_the_next() -> None:
    contestant = make(case(subject="layer", layer="zca", batch=2))
    (first,), _ = _run(contestant)
    assert first.grad is None
    assert all(parameter.grad is None for parameter in contestant.parameters)
    step = make(case(subject="step", layer="zca", batch=2))
    _run(step)
    assert any(parameter.grad is not None for parameter in step.parameters)
    step.prepare()
    assert all(parameter.grad is None for parameter in step.parameters)


def _whitened(method: str) -> tuple[Contestant, Tensor, Tensor, Tensor]:
    """A contestant of ⟨W, M^(−1/2)⟩, its M, what it gives forward, and its gradient."""
    contestant = make(case(subject="whitening", method=method, dtype="float64"))
    (M,) = contestant.prepare()
    inputs, outputs = contestant.passes["forward"]((M,))
    assert len(outputs) == 1
    (gradient,) = contestant.passes["backward"]((inputs, outputs))
    return contestant, M.detach(), outputs[0].detach(), gradient


@pytest.mark.parametrize("method", [name for name in available() if name != "cholesky"])
def test_every_method_whitens_the_same_matrices_by_the_same_function(method: str) -> None:
    reference = _whitened("torch.linalg.eigh")
    contestant, M, S, gradient = _whitened(method)
    assert torch.equal(M, reference[1])
    assert gradient.shape == M.shape
    assert gradient.isfinite().all()
    assert contestant.labels == reference[0].labels == {"operation": "inverse square root"}
    if method in ("eigh", "svd", "spectral", "hybrid"):
        torch.testing.assert_close(S @ M @ S, torch.eye(4, dtype=M.dtype).expand_as(M))
        torch.testing.assert_close(S, reference[2])
    if method in ("eigh", "svd", "spectral"):
        torch.testing.assert_close(gradient, reference[3])


def test_cholesky_whitens_by_its_own_matrix_and_is_labelled_so() -> None:
    contestant, M, S, _ = _whitened("cholesky")
    torch.testing.assert_close(S @ M @ S.mT, torch.eye(4, dtype=M.dtype).expand_as(M))
    assert contestant.labels == {"operation": "inverse Cholesky factor"}


@pytest.mark.parametrize("method", ["spectral", "newton-schulz", "cholesky"])
def test_what_has_no_gradient_of_eigenpairs_is_not_timed_on_them(method: str) -> None:
    with pytest.raises(NotApplicable, match=f"eigenpairs of {method} have no gradient"):
        make(case(method=method))


def test_all_contestants_get_the_same_inputs() -> None:
    one, other = (make(case(method=name)).prepare()[0] for name in ("hybrid", "svd"))
    assert torch.equal(one, other)
