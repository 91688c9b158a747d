"""`watch`: what it sees, what it keeps, and that it changes nothing."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.linalg import eigh
from torch.utils.checkpoint import checkpoint

import eigbench
from eigbench.diagnosis.calls import MOST_PENDING, OPERATIONS, Queue, Reading
from eigbench.diagnosis.watch import CLOSEST, FAILURE, FROM_ABOVE, CallObserver, Watch
from eigbench.errors import InputError
from tests.cli.commandline import call
from tests.diagnosis.making import Network, finding, train, with_spectrum


def records(watched: Watch) -> list[dict[str, Any]]:
    """The lines that it wrote."""
    text = (watched.folder / "records.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def report(watched: Watch) -> str:
    """The report that it wrote."""
    return (watched.folder / "report.md").read_text("utf-8")


def matrix(*eigenvalues: float) -> Tensor:
    """A matrix that needs a gradient."""
    return torch.tensor(with_spectrum(*eigenvalues), dtype=torch.float32).requires_grad_()


def backward(loss: Tensor) -> None:
    """Its backward pass."""
    loss.backward()  # type: ignore[no-untyped-call]


def whiten(X: Tensor) -> Tensor:
    """A scalar of `M^(−1/2)` through the eigenvectors."""
    values, V = torch.linalg.eigh(X)
    total: Tensor = ((V * values**-0.5) @ V.mT).sum()
    return total


def test_a_nan_at_step_3_becomes_a_file_that_diagnose_reads(
    cwd: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = Network()
    watched = eigbench.watch(network)
    with pytest.raises(torch.linalg.LinAlgError), watched:  # type: ignore[attr-defined]
        train(network, steps=5, tie=3)
    assert "eigbench diagnose eigbench-watch/first-failure.pt" in caplog.text
    seen = records(watched)
    assert [record["step"] for record in seen] == [0, 1, 2, 3, 4]
    assert {record["module"] for record in seen} == {"zca"}
    assert [record["gradient_norm"] == "nan" for record in seen] == [False] * 3 + [True, False]
    assert seen[3]["smallest_relative_gap"] == 0
    assert "LinAlgError" in report(watched)
    assert "NaN in the backward pass" in report(watched)

    found = eigbench.diagnose(watched.folder / FAILURE)
    assert found.facts[0].dtype == "float32"
    assert torch.equal(torch.tensor(found.evidence.matrices[0].entries), torch.eye(4).double())
    saved = finding(found, "Saved by eigbench.watch")
    assert "module `zca` after 3 steps" in saved.text
    assert "matrix [1] of a batch (2, 4, 4)" in saved.text
    assert 'S = eigbench.matrix_function(M, "inverse-square-root")' in finding(found, "NaN in").text
    finding(found, "does not depend on the basis")  # which the saved gradients alone can show

    outcome = call("diagnose", str(watched.folder / FAILURE))
    assert outcome.code == 0
    assert "NaN in the backward pass" in outcome.out
    assert "Saved by eigbench.watch" in outcome.out


def test_a_training_without_failure_has_its_closest_matrix_diagnosed(cwd: Path) -> None:
    network = Network()
    with eigbench.watch(network) as watched:
        train(network, steps=2, tie=None)
    assert watched.step == 2
    assert sorted(path.name for path in watched.folder.glob("*.pt")) == [CLOSEST]
    assert "nothing failed" in report(watched)
    assert "the gradient is right" in report(watched)


def test_gradients_that_come_in_broken_are_told_from_those_that_go_out_broken(cwd: Path) -> None:
    network = Network()
    with eigbench.watch(network) as watched:
        difference = network(1.0) - network(1.0).detach()
        backward(difference.square().sum().sqrt())  # √ at 0: NaN from above
    assert (watched.folder / FROM_ABOVE).exists()
    assert not (watched.folder / FAILURE).exists()
    assert "before it reached the decomposition" in report(watched)


def test_nothing_changes_and_everything_is_put_back(cwd: Path) -> None:
    before = torch.linalg.eigh, torch.linalg.svd, torch.svd, torch.Tensor.svd
    plain, watched = Network(), Network()
    train(plain, steps=3, tie=None)
    with eigbench.watch(watched):
        assert torch.linalg.eigh is not before[0]
        train(watched, steps=3, tie=None)
    assert torch.equal(plain.P, watched.P)
    assert (torch.linalg.eigh, torch.linalg.svd, torch.svd, torch.Tensor.svd) == before
    assert eigh is before[0]
    assert "svd" not in vars(torch.Tensor)


def test_a_name_that_was_imported_before_is_seen_too(cwd: Path) -> None:
    with eigbench.watch() as watched:
        eigh(matrix(1, 2))
        eigh(input=matrix(1, 2))
    assert len(records(watched)) == 2


def test_the_gradient_is_that_of_this_call_alone(cwd: Path) -> None:
    X = matrix(1, 2, 4)
    alone = torch.autograd.grad(whiten(X), X)[0].norm().item()
    with eigbench.watch() as watched:
        (backward(whiten(X) + 1000 * X.square().sum()))
    assert records(watched)[0]["gradient_norm"] == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("kind", ["linalg", "older", "method"])
def test_svd_of_a_symmetric_matrix_brings_the_gradients_of_its_eigenpairs(
    cwd: Path, kind: str
) -> None:
    X = torch.tensor(with_spectrum(1, 2, -3), dtype=torch.float64).requires_grad_()
    weights = torch.arange(9.0, dtype=torch.float64).reshape(3, 3).sin()

    def loss() -> Tensor:
        if kind == "linalg":
            left, values, right = torch.linalg.svd(X)
        else:
            left, values, V = torch.svd(X) if kind == "older" else X.svd()
            right = V.mT
        total: Tensor = (weights * ((left * values.sqrt()) @ right)).sum() + torch.inf * left[0, 0]
        return total

    with eigbench.watch() as watched:
        backward(loss())
    assert (watched.folder / FROM_ABOVE).exists()
    found = eigbench.diagnose(watched.folder / FROM_ABOVE)
    upstream = found.evidence.matrices[0].upstream
    assert upstream.by_eigenvalues is not None
    # ⟨W, V sign(λ)√|λ| Vᵀ⟩ by λ, ascending: v'Wv/(2√|λ|), whatever the kind of call.
    values, V = torch.linalg.eigh(X.detach())
    expected = (V * (weights @ V)).sum(0) / (2 * values.abs().sqrt())
    assert torch.allclose(torch.tensor(upstream.by_eigenvalues), expected, rtol=1e-10)


def test_svd_of_any_matrix_is_diagnosed_by_its_gram_matrix(cwd: Path) -> None:
    X = torch.zeros(5, 3)
    X[0, 0] = X[1, 1] = X[2, 2] = 1.0
    X.requires_grad_()
    with eigbench.watch() as watched:
        left, _, right = torch.linalg.svd(X, full_matrices=False)
        backward(left.sum() + right.sum())
    found = eigbench.diagnose(watched.folder / FAILURE)
    assert found.facts[0].label == "XᵀX"
    assert "squared singular values" in finding(found, "Saved by").text


def test_an_input_that_is_not_finite_is_kept_whether_the_call_raises_or_not(cwd: Path) -> None:
    batch = torch.eye(3).repeat(2, 2, 1, 1)
    batch[1, 0, 2, 2] = torch.nan
    watched = eigbench.watch()
    # LAPACK may notice, or give NaN.
    with suppress(torch.linalg.LinAlgError), watched:  # type: ignore[attr-defined]
        torch.linalg.eigh(batch)
    found = eigbench.diagnose(watched.folder / FAILURE)
    assert "not finite before it is decomposed" in found.verdict
    assert "matrix [1, 0] of a batch (2, 2, 3, 3)" in finding(found, "Saved by").text


def test_a_call_that_raises_names_the_matrix_of_the_batch(cwd: Path) -> None:
    def raising(*_: Any) -> Any:
        raise torch.linalg.LinAlgError("linalg.eigh: (Batch element 1): no")  # type: ignore[attr-defined]

    observer = CallObserver(cwd, 1, lambda: (7, "layer"))
    with pytest.raises(torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        observer(OPERATIONS[0], raising, torch.eye(2).repeat(3, 1, 1))
    saved = finding(eigbench.diagnose(cwd / FAILURE), "it raised (linalg.eigh: (Batch element 1)")
    assert "`layer` after 7 steps" in saved.text
    assert "matrix [1]" in saved.text


def test_any_exception_still_leaves_a_report(cwd: Path) -> None:
    def interrupted() -> None:
        backward(whiten(matrix(1, 2, 3)))
        raise KeyError("mine")

    watched = eigbench.watch()
    with pytest.raises(KeyError, match="mine"), watched:
        interrupted()
    assert "It ended with KeyError: 'mine'" in report(watched)
    assert len(records(watched)) == 1


def test_evaluation_has_no_gradients_and_that_is_said(cwd: Path) -> None:
    with eigbench.watch() as watched, torch.no_grad():
        whiten(matrix(1, 2, 3))
    assert records(watched)[0]["gradient_norm"] is None
    assert "No gradient came through" in report(watched)


def test_where_nothing_was_called_that_is_said(cwd: Path) -> None:
    with eigbench.watch() as watched:
        torch.ones(3).sum()
    assert "No call of" in report(watched)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_is_counted_once(cwd: Path, reentrant: bool) -> None:
    with eigbench.watch() as watched:
        backward(checkpoint(whiten, matrix(1, 2, 3), use_reentrant=reentrant))
    assert len(records(watched)) == 1
    assert "1 calls, of which 1 were differentiated" in report(watched)


def test_transforms_and_compilers_are_left_alone(cwd: Path) -> None:
    with eigbench.watch() as watched:
        torch.func.grad(whiten)(matrix(1, 2, 3).detach())
        torch.compile(whiten, backend="eager")(matrix(1, 2, 3).detach())
    assert records(watched) == []


def test_methods_of_eigbench_are_seen(cwd: Path) -> None:
    with eigbench.watch() as watched:
        eigbench.eigh(matrix(1, 2, 3), method="hybrid")
        eigbench.matrix_function(matrix(1, 2, 3), "inverse-square-root")
    assert [record["operation"] for record in records(watched)] == ["eigh", "eigh"]


def test_one_may_be_inside_another_but_none_is_entered_twice(cwd: Path) -> None:
    with eigbench.watch() as outer:
        with eigbench.watch() as inner:
            backward(whiten(matrix(1, 2)))
        backward(whiten(matrix(1, 2)))
    assert (outer.folder.name, inner.folder.name) == ("eigbench-watch", "eigbench-watch-2")
    assert (len(records(outer)), len(records(inner))) == (2, 1)
    with pytest.raises(InputError, match="entered once"), inner:
        pass


def test_only_the_last_calls_are_kept_and_all_are_summed(cwd: Path) -> None:
    with eigbench.watch(keep=3) as watched:
        for _ in range(5):
            backward(whiten(matrix(1, 2)))
    assert len(records(watched)) == 3
    assert "5 calls" in report(watched)


def test_a_module_is_known_after_an_exception_in_another(cwd: Path) -> None:
    class Sequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.broken, self.sound = nn.Linear(3, 3), Network().zca

        def forward(self, X: Tensor) -> Tensor:
            with pytest.raises(RuntimeError):
                self.broken(torch.ones(7))
            torch.linalg.eigh(X)
            output: Tensor = self.sound(X)
            return output

    network = Sequence()
    with eigbench.watch(network) as watched:
        network(matrix(1, 2, 3))
        torch.linalg.eigh(matrix(1, 2, 3))
    assert [record["module"] for record in records(watched)] == ["Sequence", "sound", ""]


def test_a_folder_that_is_gone_does_not_end_the_training(
    cwd: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    with eigbench.watch() as watched:
        watched.folder.rmdir()
        backward(whiten(torch.eye(3).requires_grad_()))
    assert "could not save" in caplog.text
    assert "could not write its report" in caplog.text


@pytest.fixture
def file_in_the_way(cwd: Path) -> Path:
    """A file where a folder would have to be."""
    path = cwd / "file"
    path.touch()
    return path / "folder"


def test_wrong_arguments_are_refused(file_in_the_way: Path) -> None:
    with pytest.raises(InputError, match="keep"):
        eigbench.watch(keep=0)
    with pytest.raises(InputError, match="model"):
        eigbench.watch("model")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cannot make"), eigbench.watch(folder=file_in_the_way):
        pass


class Device(Reading):
    """A reading that is ready when `done` is set; it counts how often it was waited for."""

    def __init__(self, number: float) -> None:
        self.number, self.done, self.waits = number, False, 0

    def ready(self) -> bool:
        """Whether `done` was set."""
        return self.done

    def numbers(self) -> list[float]:
        """The number."""
        self.waits += not self.done
        return [self.number]


def test_nothing_waits_and_the_order_is_kept() -> None:
    queue, found = Queue(), list[float]()
    devices = [Device(0), Device(1), Device(2)]
    for device in devices:
        queue.push(device, found.extend)
    devices[1].done = True
    queue.drain()
    assert found == []
    devices[0].done = True
    queue.drain()
    assert found == [0, 1]
    queue.drain(wait=True)
    assert found == [0, 1, 2]
    assert [device.waits for device in devices] == [0, 0, 1]


def test_memory_is_bounded() -> None:
    queue, found = Queue(), list[float]()
    devices = [Device(number) for number in range(MOST_PENDING + 2)]
    for device in devices:
        queue.push(device, found.extend)
    assert found == [0, 1]
    assert sum(device.waits for device in devices) == 2
