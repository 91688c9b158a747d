"""A batch on several threads: the bits of one thread, wherever it is called, and no deadlock."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

import eigbench
from eigbench.diagnosis.calls import intercepted
from eigbench.measure.process import torch_threads
from eigbench.methods import decomposition, gpu, threads
from eigbench.methods.decomposition import decompose
from eigbench.methods.functions import InverseSquareRoot
from eigbench.methods.threads import WORTH, whole_batches
from tests.methods.declared import ALL, DECOMPOSING, WITH_PAIRS, few, takes

SHAPES = [(64, 16, 16), (65, 17, 17), (2, 40, 15, 15), (3, 101, 101), (2, 128, 128)]
"""Among them sizes at which a matrix begins in the middle of a line of the cache."""


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    with torch_threads(2):
        yield


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many matrices each part had that a thread was given."""
    found: list[int] = []
    original = threads._part

    def part(M: Tensor, *rest: Any) -> None:
        found.append(len(M))
        original(M, *rest)

    monkeypatch.setattr(threads, "_part", part)
    return found


def covariances(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(*shape[:-1], 2 * shape[-1], dtype=dtype, generator=generator)
    return X @ X.mH


def on_one_thread(M: Tensor) -> tuple[Tensor, Tensor]:
    with torch_threads(1):
        values, V = torch.linalg.eigh(M)
    return values, V


def alike(one: Any, other: Any) -> bool:
    return all(
        torch.equal(x, y) and x.stride() == y.stride() for x, y in zip(one, other, strict=True)
    )


WAYS: dict[str, Callable[[Tensor], Any]] = {
    "eager": decompose,
    "compiled": torch.compile(decompose, fullgraph=True),
    "vmap": torch.func.vmap(decompose),
    "vmap of the last": lambda M: torch.func.vmap(decompose, in_dims=M.dim() - 3)(M)
    if M.dim() == 3 else torch.func.vmap(torch.func.vmap(decompose))(M),
    "inference": torch.inference_mode()(decompose),
    "another thread": lambda M: ThreadPoolExecutor(1).submit(decompose, M).result(),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_bits_are_those_of_one_thread(
    shape: tuple[int, ...], way: str, parts: list[int]
) -> None:
    M = covariances(*shape)
    found, count = WAYS[way](M), M[..., 0, 0].numel()
    assert sorted(parts) == [count // 2, count - count // 2]
    assert alike(found, on_one_thread(M))
    assert found[1]._base is None  # a view of something else could not be overwritten


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64, torch.complex128])
def test_other_dtypes(dtype: torch.dtype, parts: list[int]) -> None:
    M = covariances(65, 17, 17, dtype=dtype)
    assert alike(decompose(M), on_one_thread(M))
    assert len(parts) == 2


@pytest.mark.parametrize("layout", ["transposed", "expanded", "strided"])
def test_any_layout(layout: str, parts: list[int]) -> None:
    M = covariances(128, 16, 16)
    M = {"transposed": M.mT, "expanded": M[:1].expand(128, 16, 16), "strided": M[::2]}[layout]
    assert alike(decompose(M), on_one_thread(M))
    assert len(parts) == 2


def test_threads_follow_torch(parts: list[int]) -> None:
    M = covariances(90, 16, 16)
    for number, wanted in ((1, []), (3, [30, 30, 30])):
        with torch_threads(number):
            assert alike(decompose(M), on_one_thread(M))
        assert parts == wanted


def test_small_batches_and_single_matrices_stay_whole(parts: list[int]) -> None:
    for shape in ((WORTH // 256 - 1, 16, 16), (256, 256), (1, 256, 256), (0, 4, 4), (3, 0, 0)):
        M = covariances(*shape)
        assert torch.equal(decompose(M)[0], torch.linalg.eigh(M)[0])
    assert parts == []


def test_threads_of_the_process_keep_their_number(parts: list[int]) -> None:
    """`torch.set_num_threads` in a thread also sets what later threads begin with."""
    decompose(covariances(64, 16, 16))
    assert parts
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as fresh:
        assert fresh.submit(torch.get_num_threads).result() == 2


def test_an_error_says_which_matrix(parts: list[int]) -> None:
    M = covariances(64, 16, 16)
    M[50] = torch.nan
    with pytest.raises(RuntimeError) as ours:
        decompose(M)
    assert parts
    with pytest.raises(RuntimeError) as theirs:
        torch.linalg.eigh(M)
    assert str(ours.value) == str(theirs.value)
    assert "Batch element 50" in str(ours.value)


def test_who_counts_operators_or_calls_sees_one(parts: list[int]) -> None:
    M = covariances(64, 16, 16)
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten._linalg_eigh: lambda *_, **__: 1}
    )
    with counter:
        decompose(M)
    assert counter.get_total_flops() == 1
    with whole_batches():
        decompose(M)

    class Counting:
        shapes: tuple[Any, ...] = ()

        def returned(self, kind: str, name: str, M: Tensor, results: Any) -> Any:
            self.shapes = (*self.shapes, M.shape)

        def raised(self, *_: Any) -> None: ...

    counting = Counting()
    with intercepted(counting):
        decompose(M)
    assert counting.shapes == (M.shape,)
    assert parts == []


@pytest.mark.parametrize("method", [m for m in DECOMPOSING if not m.startswith(("pi", "svd"))])
def test_every_method_spreads_and_its_gradient_is_that_of_one_thread(
    method: str, parts: list[int]
) -> None:
    M = covariances(70, 16, 16)

    def gradient() -> Tensor:
        X = M.clone().requires_grad_()
        values = eigbench.eigh(X, method=method, **few(method)).eigenvalues
        return torch.autograd.grad(values.square().sum(), X)[0]

    found = gradient()
    assert parts == [35, 35]
    with torch_threads(1):
        assert torch.allclose(found, gradient(), rtol=1e-5, atol=1e-5)


def test_in_the_threads_of_autograd(parts: list[int]) -> None:
    """Checkpoints compute forward again inside the backward pass; threads of a user, beside."""
    M = covariances(64, 16, 16)

    def gradient(_: int) -> Tensor:
        X = M.clone().requires_grad_()
        root = checkpoint(
            lambda X: eigbench.matrix_function(X, "square-root"), X, use_reentrant=False
        )
        return torch.autograd.grad(root.sum(), X)[0]

    alone = gradient(0)
    assert len(parts) == 4
    with ThreadPoolExecutor(8) as users:
        assert all(torch.equal(one, alone) for one in users.map(gradient, range(32)))


def _child(connection: Any, M: Tensor, wanted: Tensor) -> None:
    connection.send(torch.equal(decompose(M)[1], wanted))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_there_is_one_thread() -> None:
    """Those of the parent are not in the child, which would wait for them."""
    # All else is made here: products of torch's own in a child wait for OpenMP's threads.
    M = covariances(64, 16, 16)
    V = decompose(M)[1]
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(theirs, M, V))
    with threads._lock:  # another thread of the parent may hold it
        child.start()
    assert ours.poll(60), "the child waits for ever"
    assert ours.recv()
    child.join(60)
    assert child.exitcode == 0
    assert not threads._kept_whole


class _Covariances(Dataset[Tensor]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, _: int) -> Tensor:
        assert torch.get_num_threads() == 1
        return decompose(covariances(64, 16, 16))[1]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_in_workers_of_a_data_loader() -> None:
    V = decompose(covariances(64, 16, 16))[1]
    loader = DataLoader(_Covariances(), batch_size=None, num_workers=2, timeout=60)
    assert all(torch.equal(found, V) for found in loader)


def test_without_openmp_a_batch_stays_whole(
    parts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_team", lambda: None)
    M = covariances(64, 16, 16)
    assert torch.equal(decompose(M)[0], torch.linalg.eigh(M)[0])
    assert parts == []


def test_a_team_that_is_too_small_does_all(
    parts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    team = threads._team()
    assert team is not None
    monkeypatch.setattr(
        threads, "_team", lambda: lambda body, data, _, flags: team(body, data, 1, flags)
    )
    M = covariances(64, 16, 16)
    assert alike(decompose(M), on_one_thread(M))
    assert parts == [32, 32]


def test_the_operator_is_sound() -> None:
    M = covariances(64, 16, 16)
    torch.library.opcheck(torch.ops.eigbench.eigh.default, (M,))


def test_an_exported_program_needs_no_operator_of_ours() -> None:
    class Module(torch.nn.Module):
        def forward(self, M: Tensor) -> Tensor:
            return eigbench.matrix_function(M, "square-root")

    program = torch.export.export(Module(), (covariances(64, 16, 16),))
    assert "eigbench" not in str(program.graph)


def differentiated(name: str) -> Callable[[Tensor], Any]:
    """A method by both triangles and vectors where they have a gradient, or another function."""
    if name in ("polar", "svd", "svd_function"):
        extra = {"svd_function": ("square-root",)}.get(name, ())
        return lambda X: getattr(eigbench, name)(X, *extra)
    if name in WITH_PAIRS:
        return lambda X: [*eigbench.eigh(X, method=name, **few(name)), *eigbench.eigh(X, "U")]
    if takes(name, InverseSquareRoot()):
        root = "inverse-square-root"
        return lambda X: eigbench.matrix_function(X, root, method=name, **few(name))
    return lambda X: eigbench.eigh(X, method=name, **few(name)).eigenvalues


# The factorisation of `cholesky` is torch's own, and clears a triangle.
@pytest.mark.parametrize(
    "name", [*(x for x in ALL if x != "cholesky"), "polar", "svd", "svd_function"]
)
def test_no_operator_opens_a_parallel_region_on_small_matrices(name: str) -> None:
    """`triu` and `tril` make all threads wait for each other, at any size."""
    X, compute = covariances(1, 16, 16).requires_grad_(), differentiated(name)

    def call() -> None:
        found = compute(X)
        outputs = [found] if isinstance(found, Tensor) else [*found]
        torch.autograd.grad(torch.stack([x.abs().sum() for x in outputs]).sum(), X)

    call()  # what is made once
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        call()
    names = {event.key.rstrip("_") for event in profile.key_averages()}
    assert names > {"aten::sum", "aten::abs"}
    assert not names & {"aten::triu", "aten::tril"}


def test_pieces_have_the_layout_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA a long batch is cut; what is compiled counts on the strides that it was told."""
    monkeypatch.setattr(decomposition, "LONGEST_BATCH", 4)
    M = torch.randn(2, 5, 3, 3, dtype=torch.float64)
    M = M + M.mT
    cut, whole = decomposition._in_pieces(M), torch.linalg.eigh(M)
    for ours, theirs in zip(cut, whole, strict=True):
        assert torch.equal(ours, theirs)
        assert ours.stride() == theirs.stride()


def test_any_call_prepares_for_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any size, and with numbers inside of a transform and of a mode too."""
    solver = gpu._Solver(None)
    decomposed: list[int] = []

    def decompose(matrices: Tensor, values: Tensor, info: Tensor) -> None:
        decomposed.append(matrices.data_ptr())  # of what has no numbers it raises, or is 0
        assert values.shape == (1, 2)
        assert info.shape == (1,)

    monkeypatch.setattr(solver, "decompose", decompose)
    monkeypatch.setattr(gpu, "_initialised", lambda: True)
    monkeypatch.setattr(gpu, "_capturing", lambda: False)
    monkeypatch.setattr(gpu, "_solver", lambda: solver)
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    for n, dtype in ((4, torch.float32), (400, torch.float32), (40, torch.float64)):
        gpu.takes(torch.empty(n, n, dtype=dtype))
    torch.func.grad(lambda X: (gpu.takes(X), X.sum())[1])(torch.ones(4, 4))
    with FakeTensorMode():
        gpu.takes(torch.empty(4, 4))
    assert len(decomposed) == 5
    assert 0 not in decomposed
    gpu.takes(torch.empty(4, 4, dtype=torch.complex64))
    assert len(decomposed) == 5
