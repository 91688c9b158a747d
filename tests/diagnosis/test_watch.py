"""`watch`: what it sees, what it keeps, and that it changes nothing."""

from __future__ import annotations

import json
import logging
import pickle
import sys
import threading
import types
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.linalg import eigh
from torch.utils.checkpoint import checkpoint

import eigbench
from eigbench.diagnosis.calls import COMPOSED, DIFFERENTIATED
from eigbench.diagnosis.matrices import GivenMatrix, given_matrices
from eigbench.diagnosis.recording import MOST_PENDING, Queue, Reading
from eigbench.diagnosis.watch import CLOSEST, FAILURE, FROM_ABOVE, CallObserver, Watch
from eigbench.errors import InputError
from tests.cli.commandline import call
from tests.diagnosis.making import Network, train, with_spectrum


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


@pytest.fixture(autouse=True)
def brief(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without the diagnosis, which takes seconds, unless a test asks for `diagnosed`."""

    class Written:
        def write(self, folder: Path, preface: str) -> Path:
            (folder / "report.md").write_text(preface, "utf-8")
            return folder / "report.md"

    if "diagnosed" not in request.fixturenames:
        monkeypatch.setattr("eigbench.diagnosis.watch.diagnose", lambda _: Written())


@pytest.fixture
def diagnosed() -> None:
    """The report has the diagnosis of what was kept."""


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_a_loss_of_phases_is_kept_with_its_gauge_residual(cwd: Path, scale: float) -> None:
    """torch raises for a gradient that is large enough, and answers in silence for another."""
    phases = torch.tensor([1, 1j, -1, 0.6 + 0.8j], dtype=torch.complex64)
    M = (phases[:, None] * matrix(1, 2, 3, 4).detach() * phases.conj()).requires_grad_()
    with suppress(RuntimeError), eigbench.watch() as watched:
        backward(scale * torch.linalg.eigh(M)[1].real.sum())
    (record,) = records(watched)
    assert record["gauge_residual"] > 0.01
    (found, *_) = eigbench.diagnose(watched.folder / FAILURE).findings
    assert found.kind == "no_derivative"
    assert "phase of vector" in found.text


@pytest.mark.usefixtures("diagnosed")
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
    assert "Saved by eigbench.watch" in report(watched)

    one = saved(watched, FAILURE)
    assert one.dtype == "float32"
    assert np.array_equal(one.entries, np.eye(4))
    outcome = call("diagnose", str(watched.folder / FAILURE))
    assert outcome.code == 0
    assert "module zca after 3 steps" in outcome.out
    assert "matrix [1] of a" in outcome.out
    assert 'S = eigbench.matrix_function(M, "inverse-square-root")' in outcome.out


def test_a_training_without_failure_keeps_its_closest_matrix(cwd: Path) -> None:
    network = Network()
    with eigbench.watch(network) as watched:
        train(network, steps=2, tie=None)
        torch.linalg.svdvals(torch.eye(3))  # values alone, to which a gap does not matter
    assert watched.step == 2
    assert sorted(path.name for path in watched.folder.glob("*.pt")) == [CLOSEST]
    origin = saved(watched, CLOSEST).origin
    assert origin is not None
    assert "nothing failed" in origin.cause
    assert origin.operation == "eigh"


def tables() -> list[str]:
    """Which kernel of torch answers, for every operator and device that may be watched."""
    names = {name.partition(".")[0] for name in (*DIFFERENTIATED, *COMPOSED)}
    return [torch._C._dispatch_dump(f"aten::{name}") for name in sorted(names)]


def test_nothing_changes_and_nothing_is_left_behind(cwd: Path) -> None:
    before = tables()
    plain, watched = Network(), Network()
    train(plain, steps=3, tie=None)
    with eigbench.watch(watched):
        assert tables() != before
        train(watched, steps=3, tie=None)
    assert torch.equal(plain.P, watched.P)
    assert tables() == before

    with pytest.raises(KeyError), eigbench.watch(), eigbench.watch():
        raise KeyError
    assert tables() == before


def saved(watched: Watch, name: str) -> GivenMatrix:
    """The matrix that it saved under a name."""
    return given_matrices(watched.folder / name, None)[0]


weights = torch.arange(9.0).reshape(3, 3).sin()
CALLS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "eigh": ("eigh", lambda X: torch.linalg.eigh(X)[1]),
    "input": ("eigh", lambda X: eigh(input=X)[1]),
    "eigvalsh": ("eigvalsh", torch.linalg.eigvalsh),
    "svd": ("svd", lambda X: torch.linalg.svd(X)[0]),
    "svdvals": ("svdvals", torch.linalg.svdvals),
    "older": ("svd", lambda X: torch.svd(X)[2]),
    "method": ("svd", lambda X: X.svd()[0]),
    "pinv": ("pinv", torch.linalg.pinv),
    "hermitian": ("pinv", lambda X: torch.linalg.pinv(X, hermitian=True)),
    "nuclear": ("matrix_norm", lambda X: torch.linalg.matrix_norm(X, "nuc")),
    "spectral": ("matrix_norm", lambda X: torch.linalg.matrix_norm(X, -2)),
    "norm": ("norm", lambda X: torch.linalg.norm(X, 2)),
    "cond": ("cond", torch.linalg.cond),
    "low rank": ("svd", lambda X: torch.svd_lowrank(X, q=3)[0]),
    "vmap": ("eigh", lambda X: torch.vmap(torch.linalg.eigh)(X[None])[1][0]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex128])
@pytest.mark.parametrize("kind", CALLS)
def test_whatever_decomposes_is_seen_with_its_gradients(
    cwd: Path, kind: str, dtype: torch.dtype
) -> None:
    name, function = CALLS[kind]
    X = torch.tensor(with_spectrum(1, 2, -3)).to(dtype).requires_grad_()
    alone = torch.autograd.grad(function(X).abs().sum(), X)[0].norm().item()
    torch.manual_seed(0)
    with eigbench.watch() as watched:
        backward(function(X).abs().sum() + 1000 * X.abs().square().sum())
    (record,) = records(watched)
    assert record["operation"] == name
    assert record["dtype"] == str(dtype).removeprefix("torch.")
    if kind != "low rank":  # which decomposes a random projection of M
        assert record["gradient_norm"] == pytest.approx(alone, rel=1e-4)
    (upstream,) = record["upstream_norms"].values()
    assert upstream > 0


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64])
def test_a_gradient_by_the_pseudo_inverse_becomes_one_by_pairs(
    cwd: Path, dtype: torch.dtype, hermitian: bool
) -> None:
    torch.manual_seed(1)
    X = torch.randn(3, 4, 2, dtype=dtype) @ torch.randn(2, 4, dtype=dtype)  # of rank 2
    X = (X + X.mH if hermitian else X[:, :, :3]).requires_grad_()
    G = torch.randn(X.mT.shape, dtype=dtype)
    with eigbench.watch() as watched:
        inverse = torch.linalg.pinv(X, rtol=1e-4, hermitian=hermitian)
        loss = (G * inverse).real.sum()
        with suppress(ValueError):
            backward(loss + (inverse[1, 0, 0] * torch.inf).abs())
    (path,) = (path for path in watched.folder.glob("first*.pt"))
    one = saved(watched, path.name)
    assert one.origin is not None
    assert one.origin.operation == "pinv"
    assert one.origin.place == (1,)
    names = {"eigenvalues", "eigenvectors"} if hermitian else {"left", "singular values", "right"}
    assert one.gradients.keys() == names == one.outputs.keys()


def test_a_square_matrix_of_svd_keeps_its_triples(cwd: Path) -> None:
    X = matrix(1, 2, -3)
    with eigbench.watch() as watched:
        left, values, right = torch.linalg.svd(X)
        backward((weights * ((left * values.sqrt()) @ right)).sum() + torch.inf * left[0, 0])
    assert not (watched.folder / FAILURE).exists()  # what came in was broken already
    one = saved(watched, FROM_ABOVE)
    assert one.decomposition == "svd"
    assert one.gradients.keys() == {"left", "singular values", "right"}
    assert np.allclose(one.outputs["right"], right.detach().numpy())
    # ⟨W, U √σ Vᴴ⟩ by σ: uᵀWv/(2√σ).
    expected = (left * (weights @ right.mT)).sum(0) / (2 * values.sqrt())
    assert np.allclose(one.gradients["singular values"], expected.detach(), rtol=1e-5)


@pytest.mark.parametrize("function", [torch.linalg.eigh, torch.linalg.svd, torch.linalg.svdvals])
def test_what_autocast_casts_is_seen_and_its_dtype_is_noted(
    cwd: Path, function: Callable[[Tensor], Any]
) -> None:
    x = torch.randn(30, 4)
    x[:, 1:3] = 0  # dead channels
    x.requires_grad_()
    with eigbench.watch() as watched, torch.autocast("cpu", dtype=torch.bfloat16):
        covariance = x.mT @ x / 30
        assert covariance.dtype == torch.bfloat16
        results = function(covariance)
        backward(sum(result.sum() for result in results))
    (record,) = records(watched)
    assert (record["dtype"], record["given_dtype"]) == ("float32", "bfloat16")
    paths = list(watched.folder.glob("*.pt"))
    assert len(paths) == (function is not torch.linalg.svdvals)
    for path in paths:
        origin = saved(watched, path.name).origin
        assert origin is not None
        assert origin.given_dtype == "bfloat16"


def entry(X: Tensor) -> Tensor:
    """Of an eigenvector, whose sign LAPACK chooses."""
    square: Tensor = torch.linalg.eigh(X)[1][..., 0, 0].square().sum()
    return square


def test_calls_under_transforms_are_seen(cwd: Path) -> None:
    X = matrix(1, 2, 4).detach()
    expected = torch.func.grad(entry)(X)
    batch = X.expand(2, 3, 3)
    transforms: dict[str, Callable[[Tensor], Any]] = {
        "grad": torch.func.grad(entry),
        "vmap": lambda X: torch.vmap(entry)(X.expand(2, 3, 3)),
        "of each": lambda X: torch.vmap(torch.func.grad(entry))(X.expand(2, 3, 3))[0],
        "hessian": torch.func.hessian(entry),
        "jvp": lambda X: torch.func.jvp(entry, (X,), (X,))[0],
    }
    with eigbench.watch() as watched:
        given = {name: function(X) for name, function in transforms.items()}
    shapes = [tuple(record["shape"]) for record in records(watched)]
    assert shapes == [(3, 3), batch.shape, batch.shape, (3, 3), (3, 3)]
    assert torch.allclose(given["grad"], expected)
    assert torch.allclose(given["of each"], expected)
    assert records(watched)[0]["gradient_norm"] == pytest.approx(expected.norm().item())
    with eigbench.watch() as watched, warnings.catch_warnings():
        torch.func.grad(whiten)(torch.eye(3))
    assert (watched.folder / FAILURE).exists()


def test_compiled_code_is_seen_without_gradients(cwd: Path) -> None:
    X = matrix(1, 2, 4)
    compiled = torch.compile(entry, backend="aot_eager", fullgraph=True)
    with eigbench.watch() as watched:
        compiled(X)
        compiled(X)
    assert [record["gradient_norm"] for record in records(watched)] == [None, None]
    # What was compiled inside leaves nothing behind for what is compiled afterwards.
    torch._dynamo.reset()
    again = torch.compile(entry, backend="aot_eager", fullgraph=True)
    M = torch.diag(torch.tensor([1.0, 2.0, 4.0])).requires_grad_()
    expected = torch.autograd.grad(entry(M).sum(), M)[0]
    assert torch.equal(torch.autograd.grad(again(M).sum(), M)[0], expected)


def test_all_threads_and_inference_are_seen(cwd: Path) -> None:
    before = tables()
    threads = [threading.Thread(target=lambda: backward(entry(matrix(1, 2)))) for _ in range(4)]
    with eigbench.watch() as watched:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with torch.inference_mode():
            torch.linalg.eigh(torch.eye(2))
    assert [record["gradient_norm"] is None for record in records(watched)] == [False] * 4 + [True]
    assert tables() == before


def test_kernels_stay_while_another_thread_may_be_inside_one(cwd: Path) -> None:
    before = tables()
    called, leave = threading.Event(), threading.Event()

    def work() -> None:
        torch.linalg.eigh(torch.eye(2))
        called.set()
        leave.wait()

    thread = threading.Thread(target=work)
    with eigbench.watch() as watched:
        thread.start()
        called.wait()
    assert tables() != before
    torch.linalg.eigh(torch.eye(2))
    assert len(records(watched)) == 1
    leave.set()
    thread.join()
    with eigbench.watch():
        pass
    assert tables() == before


def test_what_has_no_values_is_taken_as_torch_takes_it(cwd: Path) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    class Sealed(types.ModuleType):
        eigh = torch.linalg.eigh

        def __setattr__(self, name: str, value: Any) -> None:
            raise AttributeError(name)

    def graph_of() -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced: Any = torch.jit.trace(entry, (torch.eye(3),), check_trace=False)  # type: ignore[no-untyped-call]
            return str(traced.graph)

    graph = graph_of()
    sys.modules["sealed"] = Sealed("sealed")
    try:
        with eigbench.watch() as watched:
            assert torch.linalg.eigh(torch.eye(3, device="meta"))[1].shape == (3, 3)
            with FakeTensorMode():
                assert torch.linalg.eigh(torch.eye(3))[1].shape == (3, 3)
            torch.linalg.eigh(torch.ones(0, 3, 3))
            assert records_of_none(watched)
            assert graph_of().replace(" ", "") == graph.replace(" ", "")
            assert pickle.loads(pickle.dumps(torch.linalg.eigh)) is eigh  # noqa: S301
    finally:
        del sys.modules["sealed"]
    assert [record["operation"] for record in records(watched)] == ["eigh"]  # of the tracing


def records_of_none(watched: Watch) -> bool:
    """Whether it has noted nothing yet."""
    assert watched._observer is not None
    return not watched._observer.records


def test_an_exported_graph_is_the_same(cwd: Path) -> None:
    class Whole(nn.Module):
        def forward(self, X: Tensor) -> Tensor:
            total: Tensor = torch.linalg.svdvals(X).sum() + torch.linalg.pinv(X).sum() + entry(X)
            return total

    def graphs() -> tuple[str, str]:
        program = torch.export.export(Whole(), (torch.eye(3),))
        return str(program.graph), str(program.run_decompositions().graph)

    alone = graphs()
    with eigbench.watch():
        assert graphs() == alone


def test_modes_of_the_caller_see_the_callers_calls_only(cwd: Path) -> None:
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    class Functions(TorchFunctionMode):
        def __torch_function__(self, f: Any, t: Any, a: Any = (), k: Any = None) -> Any:
            seen.append(str(f))
            return f(*a, **(k or {}))

    class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, f: Any, t: Any, a: Any = (), k: Any = None) -> Any:
            seen.append(str(f))
            return f(*a, **(k or {}))

    seen: list[str] = []
    X = matrix(1, 2, 4)
    for mode in (Functions, Operators):
        with mode():
            backward(entry(X))
        alone, seen = seen, []
        with eigbench.watch() as watched, mode():
            backward(entry(X))
        assert seen == alone
        assert len(records(watched)) == 1
        seen = []


def test_an_error_of_its_own_ends_no_training(
    cwd: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("mine")

    monkeypatch.setattr(CallObserver, "returned", broken)
    X = matrix(1, 2)
    with eigbench.watch():
        backward(entry(X))
    assert X.grad is not None
    assert "could not note a call: RuntimeError: mine" in caplog.text


def test_an_input_that_is_not_finite_is_kept_whether_the_call_raises_or_not(cwd: Path) -> None:
    batch = torch.eye(3).repeat(2, 2, 1, 1)
    batch[1, 0, 2, 2] = torch.nan
    watched = eigbench.watch()
    # LAPACK may notice, or give NaN.
    with suppress(torch.linalg.LinAlgError), watched:  # type: ignore[attr-defined]
        torch.linalg.eigh(batch)
    one = saved(watched, FAILURE)
    assert not np.isfinite(one.entries).all()
    assert one.origin is not None
    assert (one.origin.place, one.origin.shape) == ((1, 0), (2, 2, 3, 3))


def test_a_call_that_raises_names_the_matrix_of_the_batch(cwd: Path) -> None:
    batch = torch.eye(2).repeat(3, 1, 1)
    error = torch.linalg.LinAlgError("linalg.eigh: (Batch element 1): no")  # type: ignore[attr-defined]
    CallObserver(cwd, 1, lambda: (7, "layer")).raised("eigh", "eigh", batch, error)
    origin = given_matrices(cwd / FAILURE, None)[0].origin
    assert origin is not None
    assert (origin.module, origin.step, origin.place) == ("layer", 7, (1,))
    assert "it raised (linalg.eigh: (Batch element 1)" in origin.cause


def in_evaluation() -> None:
    with torch.no_grad():
        whiten(matrix(1, 2, 3))


def unseen() -> None:
    torch.linalg.eigh(torch.eye(2), out=(torch.empty(2), torch.empty(2, 2)))
    np.linalg.eigh(np.eye(2))


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (in_evaluation, ["No gradient was seen"]),
        (lambda: torch.linalg.cond(torch.eye(3)), ["no matrix was kept"]),
        (unseen, ["No decomposition was seen", "`out=`", "another process", "NumPy", "CUDA"]),
    ],
)
def test_what_a_report_says_that_has_no_failure(
    cwd: Path, work: Callable[[], object], words: list[str]
) -> None:
    with eigbench.watch() as watched:
        work()
    assert all(word in report(watched) for word in words)
    kept = [CLOSEST] if work is in_evaluation else []
    assert [path.name for path in watched.folder.glob("*.pt")] == kept


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_is_counted_once(cwd: Path, reentrant: bool) -> None:
    with eigbench.watch() as watched:
        backward(checkpoint(whiten, matrix(1, 2, 3), use_reentrant=reentrant))
    assert len(records(watched)) == 1
    assert "1 calls, of which 1 were differentiated" in report(watched)


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


def test_wrong_arguments_are_refused(cwd: Path) -> None:
    (cwd / "file").touch()
    with pytest.raises(InputError, match="keep"):
        eigbench.watch(keep=0)
    with pytest.raises(InputError, match="model"):
        eigbench.watch("model")  # type: ignore[arg-type]
    with (
        pytest.raises(InputError, match="cannot make"),
        eigbench.watch(folder=cwd / "file" / "folder"),
    ):
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


def test_nothing_waits_until_too_much_is_pending_and_the_order_is_kept() -> None:
    queue, found = Queue(), list[float]()
    devices = [Device(number) for number in range(MOST_PENDING + 2)]
    for device in devices[:3]:
        queue.push(device, found.extend)
    devices[1].done = True
    queue.drain()
    assert found == []
    devices[0].done = True
    queue.drain()
    assert found == [0, 1]
    for device in devices[3:]:
        queue.push(device, found.extend)
    assert [device.waits for device in devices[:3]] == [0, 0, 0]
    queue.push(Device(99), found.extend)
    assert devices[2].waits == 1
    queue.drain(wait=True)
    assert found == [*range(MOST_PENDING + 2), 99]
