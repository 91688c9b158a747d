"""What a layer of torch is expected to do: modes, copies, dtypes, memory formats, errors."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from eigbench.layers import PCADenoising2d, ZCAWhitening2d, composable
from eigbench.layers import layout as chunking
from eigbench.layers.statistics import moments
from tests.layers.making import (
    LAYERS,
    cotangent,
    fits,
    gradients,
    images,
    made,
    randomise,
    relative,
)
from tests.methods.declared import those

PAIR = ["zca-4", "pca-components"]


@pytest.mark.parametrize("d", [2, 4, 8])
def test_output_is_white(d: int) -> None:
    layer = ZCAWhitening2d(8, d, truncation="none").double()
    rows = layer(images(4)).transpose(0, 1).reshape(8 // d, d, -1)
    covariance = rows @ rows.mT / rows.shape[-1]
    # εI stays in M: white up to ε/λmin.
    identity = torch.eye(d, dtype=torch.float64).expand_as(covariance)
    torch.testing.assert_close(covariance, identity, rtol=0, atol=0.1)
    assert rows.mean(-1).abs().max() < 1e-12


def test_output_has_as_many_components_as_asked_for() -> None:
    layer = PCADenoising2d(8, components=3).double()
    rows = layer(images(4)).transpose(0, 1).flatten(1)
    assert torch.linalg.matrix_rank(rows, rtol=1e-10) == 3
    assert layer.latest is not None
    assert layer.latest.rank.tolist() == [3]


def test_energy_keeps_the_least_number_that_holds_it() -> None:
    X = images(4)
    probe = PCADenoising2d(8, components=8).double()
    probe(X)
    assert probe.latest is not None
    values = torch.linalg.eigvalsh(probe.latest.covariance[0]).flip(-1)
    held = [float(values[:e].sum() / values.sum()) for e in range(1, 9)]
    for e in range(1, 8):
        for energy, expected in ((held[e - 1] - 1e-9, e), (held[e - 1] + 1e-9, e + 1)):
            layer = PCADenoising2d(8, energy=energy).double()
            layer(X)
            assert layer.latest is not None
            assert layer.latest.rank.tolist() == [expected]
    everything = PCADenoising2d(8, energy=1.0).double()
    everything(X)
    assert everything.latest is not None
    assert everything.latest.rank.tolist() == [8]


@pytest.mark.parametrize("name", LAYERS)
def test_evaluation_uses_the_running_statistics(name: str) -> None:
    layer = made(name, momentum=0.1)
    X = images()
    assert torch.equal(layer.running_map[0], torch.eye(layer.group_size, dtype=torch.float64))
    before = layer.running_map.clone()
    layer(X)
    mean = X.mean((0, 2, 3))
    torch.testing.assert_close(layer.running_mean, 0.1 * mean)
    torch.testing.assert_close(layer.running_map, 0.9 * before + 0.1 * layer.latest.map)
    kept, latest = copy.deepcopy(layer.state_dict()), layer.latest
    Y = layer.eval()(X)
    d = layer.group_size
    blocks = torch.zeros(8, 8, dtype=torch.float64)
    for g, block in enumerate(layer.running_map):
        blocks[d * g : d * g + d, d * g : d * g + d] = block
    centred = X - layer.running_mean[:, None, None]
    expected = torch.einsum("cb,nbhw->nchw", blocks, centred)
    expected = layer.weight[:, None, None] * expected + layer.bias[:, None, None]
    torch.testing.assert_close(Y, expected)
    assert layer.latest is latest
    assert all(torch.equal(kept[key], value) for key, value in layer.state_dict().items())
    # One image, or one position, is enough here.
    torch.testing.assert_close(layer(X[:1, :, :1, :1]), Y[:1, :, :1, :1])


def test_with_momentum_one_training_and_evaluation_agree() -> None:
    layer = made("zca-4", momentum=1)
    X = images()
    Y = layer(X)
    torch.testing.assert_close(layer.eval()(X), Y)


@pytest.mark.parametrize("name", LAYERS)
def test_state_copies_and_pickles(name: str) -> None:
    layer = made(name)
    X = images()
    layer(X)
    assert set(layer.state_dict()) == {"weight", "bias", "running_mean", "running_map"}
    other = made(name)
    other.load_state_dict(layer.state_dict())
    others = [other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]  # noqa: S301
    assert all(each.latest is None for each in others[1:])
    assert layer.latest is not None
    layer.eval()
    for each in others:
        assert torch.equal(each.eval()(X), layer(X))
        assert torch.equal(each.train()(X), copy.deepcopy(layer).train()(X))


def test_without_affine_there_are_no_parameters() -> None:
    layer = made("zca-4", affine=False)
    assert list(layer.parameters()) == []
    assert set(layer.state_dict()) == {"running_mean", "running_map"}
    reference = ZCAWhitening2d(8, 4).double()
    assert torch.equal(layer(images()), reference(images()))
    assert relative(gradients(layer, images())[0], gradients(reference, images())[0]) == 0


def test_latest_holds_references_and_no_graph() -> None:
    layer = made("zca-4")
    assert made("zca-4").latest is None
    layer(images().requires_grad_())
    covariance, rank, mapped = layer.latest
    assert covariance.shape == mapped.shape == (2, 4, 4)
    assert rank.tolist() == [3, 3]
    assert not covariance.requires_grad
    assert not mapped.requires_grad
    rows = images().transpose(0, 1).flatten(1)
    for g in range(2):
        expected = torch.cov(rows[4 * g : 4 * g + 4], correction=0) + 1e-4 * torch.eye(4)
        torch.testing.assert_close(covariance[g], expected)


@pytest.mark.parametrize("mean", [0.0, 9.0])
@pytest.mark.parametrize("bytes_", [1, 2**10, 2**12, 2**30])
@pytest.mark.parametrize("size", [(3, 4, 5), (5, 9, 8), (2, 1, 1)])
@pytest.mark.parametrize("name", PAIR)
def test_the_size_of_chunks_changes_nothing(
    name: str,
    size: tuple[int, int, int],
    bytes_: int,
    mean: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # With 2 positions a covariance has rank 1: far from ties only in what is kept.
    layer = made(name, "spectral") if size == (2, 1, 1) and name == "zca-4" else made(name)
    if size == (2, 1, 1) and name != "zca-4":
        layer = made("pca-energy", "spectral")
    X = images(*size, mean=mean)
    expected = (layer(X), *gradients(layer, X))
    monkeypatch.setattr(chunking, "COPIED_BYTES", bytes_)
    monkeypatch.setattr(chunking, "READ_BYTES", bytes_)
    for smallest in (1, 10**6):
        monkeypatch.setattr(chunking, "SMALL_IMAGE", smallest)
        found = (layer(X), *gradients(layer, X))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [(4, 4), (9, 8)])
def test_copies_of_one_layer_are_in_no_result_of_another(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Layers of a thread copy their images to the same memory, one after the other.
    kinds = ((6, torch.float64), (11, torch.float32), (3, torch.bfloat16))
    every = [
        (
            made("zca-4").to(torch.promote_types(dtype, torch.float32)),
            images(count, *size, mean=9).to(dtype).requires_grad_(),
        )
        for count, dtype in kinds
    ]

    def alone(layer: nn.Module, X: Tensor) -> list[Tensor]:
        monkeypatch.setattr(chunking, "_memory", chunking._Memory())
        Y = layer(X)
        return [Y.detach(), *torch.autograd.grad(Y.sum(), [X, *layer.parameters()])]

    expected = [alone(*one) for one in every]
    with torch.inference_mode():
        every[0][0](every[0][1].detach())  # what it copied to is written to below
    outputs = [layer(X) for layer, X in every]
    for (layer, X), Y, (same, *rest) in zip(every, outputs, expected, strict=True):
        for one, other in zip(
            torch.autograd.grad(Y.sum(), [X, *layer.parameters()]), rest, strict=True
        ):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
        torch.testing.assert_close(Y.detach(), same, rtol=0, atol=0)


@pytest.mark.parametrize("size", [(4, 4), (9, 8)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_no_memory_is_kept_of_what_others_trace(size: tuple[int, int]) -> None:
    X = images(6, *size, mean=9)
    layer = made("zca-4").eval()
    with torch.no_grad():
        expected = layer(X)
        traced: Any = torch.jit.trace(layer, X)  # type: ignore[no-untyped-call]
        with torch.device("meta"):
            torch.testing.assert_close(layer(X), expected)
        with FakeTensorMode(allow_non_fake_inputs=True):
            layer(X)
        layer(X + 1)
        torch.testing.assert_close(layer(X), expected)
        torch.testing.assert_close(traced(X), expected)
    layer.train()
    with torch.device("meta"):
        meanwhile = layer(X)
    torch.testing.assert_close(layer(X), meanwhile)


@pytest.mark.parametrize("groups", [4, 13])
def test_groups_are_apart_from_most_others(groups: int) -> None:
    # So that a NaN stays near, and of a prime number of groups no product is of all channels.
    layer = ZCAWhitening2d(16 * groups, 16).eval()
    X = torch.zeros(2, 16 * groups, 8, 8).to(memory_format=torch.channels_last)
    X[0, 0] = math.nan
    with torch.no_grad():
        assert layer(X).isnan().any(-1).any(-1).sum() <= 64


def test_both_ways_to_the_moments_are_taken() -> None:
    assert moments(images(5, 9, 8, mean=0), torch.float64, 4)[1].mean is None
    assert moments(images(5, 9, 8, mean=9), torch.float64, 4)[1].mean is not None


@pytest.mark.parametrize("size", [(3, 4, 5), (3, 8, 9)])
@pytest.mark.parametrize("name", PAIR)
def test_memory_formats(name: str, size: tuple[int, int, int]) -> None:
    X = images(*size)
    layer = made(name)
    expected = (layer(X), *gradients(layer, X))
    last = X.to(memory_format=torch.channels_last)
    strided = torch.stack([X, X], -1).flatten(-2)[..., ::2]
    transposed = X.transpose(2, 3).contiguous().transpose(2, 3)
    for other in (last, strided, transposed):
        assert not other.is_contiguous()
        for one, two in zip((layer(other), *gradients(layer, other)), expected, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)
    for mode in (True, False):
        layer.train(mode)
        assert layer(last).is_contiguous(memory_format=torch.channels_last)
        assert layer(X).is_contiguous()
    layer.train()
    assert gradients(layer, last)[0].is_contiguous(memory_format=torch.channels_last)


def test_an_expanded_gradient() -> None:
    layer = made("zca-4")
    X = images().requires_grad_()
    (found,) = torch.autograd.grad(layer(X).sum(), X)
    (expected,) = torch.autograd.grad(layer(X), X, torch.ones_like(X))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", PAIR)
def test_half_precision_keeps_its_dtype_and_computes_in_float32(
    name: str, dtype: torch.dtype
) -> None:
    X = images(8, 9, 8, dtype=dtype)
    half, single = (made(name, affine=True).float() for _ in range(2))
    for mode in (True, False):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            Y = half.train(mode)(X)
        expected = single.train(mode)(X.float())
        assert Y.dtype == dtype
        # One rounding at the end, and float32's own on the way.
        torch.testing.assert_close(
            Y.float(), expected, rtol=torch.finfo(dtype).eps / 2 + 1e-4, atol=1e-4
        )
        torch.testing.assert_close(half.running_map, single.running_map, rtol=1e-4, atol=1e-4)
    assert half.latest.covariance.dtype == torch.float32
    half.train()
    single.train()
    found, expected_gradients = gradients(half, X), gradients(single, X.float())
    # The cotangent itself is rounded to half precision.
    assert found[0].dtype == dtype
    assert found[1].dtype == torch.float32
    tolerance = 4 * torch.finfo(dtype).eps
    for one, other in zip(found, expected_gradients, strict=True):
        assert relative(one, other) < tolerance


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_layer_that_was_cast_as_a_whole(dtype: torch.dtype) -> None:
    layer = ZCAWhitening2d(8, 4).to(dtype)
    X = images(4, dtype=dtype).requires_grad_()
    layer(X).sum().backward()
    assert X.grad is not None
    assert X.grad.dtype == dtype
    assert {value.dtype for value in layer.state_dict().values()} == {dtype}
    assert layer.eval()(X).dtype == dtype


@pytest.mark.parametrize("d", [4, 8])
def test_covariance_with_a_large_mean(d: int) -> None:
    X = images(64, 16, 16, dtype=torch.float32, mean=100.0)
    rows = X.double().transpose(0, 1).reshape(8 // d, d, -1)
    rows = rows - rows.mean(-1, keepdim=True)
    truth = rows @ rows.mT / rows.shape[-1]
    assert rows.std() < 1
    (n, mean, scatter), read = moments(X, torch.float32, d)
    assert read.mean is not None
    assert relative(scatter / n, truth) < 1e-4
    layer = ZCAWhitening2d(8, d)
    layer(X)
    assert layer.latest is not None
    assert relative(layer.latest.covariance, truth + 1e-4 * torch.eye(d)) < 1e-4
    assert relative(mean, X.double().mean((0, 2, 3))) < 1e-6


def test_covariance_where_the_first_image_is_unlike_the_others() -> None:
    X = images(64, 16, 16, dtype=torch.float32, mean=100.0)
    X[0] = 0
    rows = X.double().transpose(0, 1).reshape(1, 8, -1)
    rows = rows - rows.mean(-1, keepdim=True)
    (n, _, scatter), _ = moments(X, torch.float32, 8)
    assert relative(scatter / n, rows @ rows.mT / rows.shape[-1]) < 1e-4


FINITE = those(lambda subject: "finite" in subject.method.promises)


@pytest.mark.parametrize(
    ("name", "method"),
    [(n, m) for n in ("zca-4", "zca-all", "pca-energy") for m in FINITE if fits(n, m)],
)
def test_nothing_but_zeros(name: str, method: str) -> None:
    layer = LAYERS[name](method=method)
    X = torch.zeros(2, 8, 3, 3)
    found = gradients(layer, X)
    assert torch.equal(layer.latest.covariance[0], 1e-4 * torch.eye(layer.group_size))
    assert torch.equal(layer(X), torch.zeros_like(X))
    if name != "pca-energy":  # a projector has no derivative at a tie across its cut
        assert all(gradient.isfinite().all() for gradient in found)


def test_nothing_but_zeros_has_no_analytic_gradient() -> None:
    layer = ZCAWhitening2d(8, 4, "eigh")
    assert gradients(layer, torch.zeros(2, 8, 3, 3))[0].isnan().all()


# The default backend, which fuses and generates code, once: it takes ten seconds.
@pytest.mark.parametrize(
    ("name", "backend"), [("pca-components", "aot_eager"), ("zca-4", "inductor")]
)
def test_compiled_is_eager(name: str, backend: str) -> None:
    torch.compiler.reset()
    eager, other = made(name), made(name)
    compiled: Any = torch.compile(other, backend=backend, fullgraph=True)
    X = images()
    torch.testing.assert_close(compiled(X), eager(X), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(other.running_map, eager.running_map)
    torch.testing.assert_close(other.latest.covariance, eager.latest.covariance)
    assert other.latest.rank.tolist() == eager.latest.rank.tolist()
    for one, two in zip(gradients(compiled, X), gradients(eager, X), strict=True):
        assert relative(one, two) < 1e-11
    other.eval()
    torch.testing.assert_close(compiled(X), eager.eval()(X))


def test_gradient_under_torch_func() -> None:
    layer = made("zca-4")
    X = images()
    W = cotangent(X)
    state = {name: value.detach() for name, value in layer.state_dict().items()}

    def loss(x: Tensor) -> Tensor:
        # As for batch normalisation: what is changed in place must be an input or made inside.
        own = {name: value.clone() for name, value in state.items()}
        output: Tensor = torch.func.functional_call(layer, own, (x,))
        return (output * W).sum()

    found = torch.func.grad(loss)(X)
    assert layer.latest is None
    assert relative(found, gradients(layer, X)[0]) < 1e-11


def saved_bytes(layer: nn.Module, X: Tensor) -> int:
    """The memory of distinct tensors that autograd keeps for the backward pass of one call."""
    storages: dict[int, Tensor] = {}

    def pack(x: Tensor) -> Tensor:
        storages[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        Y = layer(X)
    # What is kept on the node itself passes by the hooks.
    for x in getattr(Y.grad_fn, "__dict__", {}).values():
        if isinstance(x, Tensor):
            pack(x)
    return sum(x.untyped_storage().nbytes() for x in storages.values())


@pytest.mark.parametrize("d", [4, 64])
def test_keeps_little_more_than_its_input(d: int) -> None:
    X = torch.randn(16, 64, 32, 32, requires_grad=True)
    least = X.numel() * 4
    reference = saved_bytes(nn.BatchNorm2d(64), X)
    assert reference >= least
    for layer in (ZCAWhitening2d(64, d), PCADenoising2d(64, 16)):
        assert least <= saved_bytes(layer, X) <= 1.1 * reference


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: ZCAWhitening2d(12, 5), "group_size 5 does not divide 12 .* 1, 2, 3, 4, 6, 12"),
        (lambda: ZCAWhitening2d(0), "channels must be a whole number, 1 or more, not 0"),
        (lambda: ZCAWhitening2d(8, 2.0), "group_size must be a whole number"),  # type: ignore[arg-type]
        (lambda: ZCAWhitening2d(8, 4, "qr"), "unknown method 'qr'; available are"),
        (lambda: ZCAWhitening2d(8, 4, "svd", iterations=3), "has no parameter 'iterations'"),
        (lambda: ZCAWhitening2d(8, 4, truncation="most"), "unknown truncation 'most'; available"),
        (lambda: ZCAWhitening2d(8, 4, eps=0), "eps must be a number above 0, not 0"),
        (lambda: ZCAWhitening2d(8, 4, momentum=2), "momentum must be a number from 0 to 1"),
        (lambda: ZCAWhitening2d(8, 4, "pi", sync=True), "give pi a seed"),
        (lambda: PCADenoising2d(8), "exactly one of components and energy"),
        (lambda: PCADenoising2d(8, 2, 0.9), "exactly one of components and energy"),
        (lambda: PCADenoising2d(8, 9), "components must be at most 8 channels, not 9"),
        (
            lambda: PCADenoising2d(8, energy=float("nan")),
            "energy must be a number above 0, up to 1",
        ),
    ],
)
def test_wrong_settings(make: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        make()


@pytest.mark.parametrize(
    ("shape", "error"),
    [
        ((8, 3, 3), r"must be \(N, 8, H, W\), not \(8, 3, 3\)"),
        ((2, 4, 3, 3), r"must be \(N, 8, H, W\), not \(2, 4, 3, 3\)"),
        ((1, 8, 1, 1), "more than 1 value per channel in training"),
        ((0, 8, 3, 3), r"shape \(0, 8, 3, 3\) has none"),
    ],
)
def test_wrong_shapes(shape: tuple[int, ...], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        ZCAWhitening2d(8, 4)(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64])
def test_wrong_dtypes(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match="must be of a floating type, not"):
        ZCAWhitening2d(8, 4)(torch.zeros(2, 8, 3, 3, dtype=dtype))


def test_power_iteration_starts_at_random_unless_told() -> None:
    X = images()
    layer = made("zca-4", "pi", iterations=2)
    assert not torch.equal(layer(X), layer(X))
    layer = made("zca-4", "pi", iterations=2, seed=3)
    assert torch.equal(layer(X), layer(X))


def test_shows_its_settings() -> None:
    shown = repr(PCADenoising2d(8, energy=0.9))
    assert "8, group_size=8, eps=0.0001, momentum=0.1, affine=True" in shown
    assert "energy=0.9" in shown
    assert "Hybrid(iterations=19)" in shown


def test_gamma_and_beta_start_as_in_batch_normalisation() -> None:
    layer = ZCAWhitening2d(8)
    randomise(layer)
    layer.reset_parameters()
    reference = nn.BatchNorm2d(8)
    assert layer.weight is not None
    assert layer.bias is not None
    assert torch.equal(layer.weight, reference.weight)
    assert torch.equal(layer.bias, reference.bias)


def _released(M: Tensor, starts: Tensor, iterations: int, epsilon: float) -> tuple[Tensor, int]:
    """S and the rank as the authors' `ZCANormPIunstable` makes them, written out for one group."""
    S, before = torch.zeros_like(M), math.inf
    for rank, start in enumerate(starts.mT):
        v = start
        for _ in range(iterations):
            v = M @ v / torch.linalg.vector_norm(M @ v)
        value = v @ M @ v
        if rank > 0 and (before < value or value < epsilon):
            return S, rank
        S = S + torch.outer(v, v) / value.sqrt()
        M, before = M - torch.outer(M @ v, v), float(value)
    return S, len(starts)


@pytest.mark.parametrize("epsilon", [1e-4, 0.3])
@pytest.mark.parametrize("iterations", [1, 2, 19])
def test_pi_released_truncates_as_the_authors_program(iterations: int, epsilon: float) -> None:
    """On both paths of the layer."""
    layer = ZCAWhitening2d(
        8, 4, method="pi-released", eps=epsilon, iterations=iterations, seed=0
    ).double()
    assert layer.truncation == "pi-released"
    X = images(4).requires_grad_()
    Y = layer(X)
    drawn = np.random.default_rng(0).standard_normal((4, 4))
    starts = torch.tensor(drawn / np.linalg.norm(drawn, axis=0))
    assert layer.latest is not None
    for M, S, rank in zip(
        layer.latest.covariance, layer.latest.map, layer.latest.rank, strict=True
    ):
        expected, kept = _released(M, starts, iterations, epsilon)
        torch.testing.assert_close(S, expected)
        assert int(rank) == kept
    weight, bias = torch.ones(8, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
    again, _, _ = composable.normalise(X, weight, bias, layer.map_of, 4)
    torch.testing.assert_close(Y, again)
    fused_gradient, plain = (torch.autograd.grad(out, X, cotangent(Y))[0] for out in (Y, again))
    assert relative(fused_gradient, plain) < 1e-9


def test_pi_released_starts_afresh_in_each_call_and_needs_a_seed_to_synchronise() -> None:
    layer = ZCAWhitening2d(8, 4, method="pi-released", iterations=1).double()
    X = images(4)
    assert not torch.equal(layer(X), layer(X))
    with pytest.raises(ValueError, match="give pi-released a seed"):
        ZCAWhitening2d(8, 4, method="pi-released", sync=True)
