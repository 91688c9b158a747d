"""Two processes with a part of the batch each, against one with the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from eigbench.layers import ZCAWhitening2d
from eigbench.layers import statistics as pooling
from tests.layers.making import CHANNELS, LAYERS, cotangent, images, made, relative

NAMES = ["zca-4", "zca-all", "pca-components", "pca-energy"]
SPLITS = [(2, 2), (1, 3)]


def inputs() -> torch.Tensor:
    """Images of which the second half has another mean, so that the parts differ."""
    X = images(4)
    X[2:] += 3
    return X


def run(layer: Any, X: torch.Tensor, W: torch.Tensor) -> dict[str, torch.Tensor]:
    X = X.clone().requires_grad_()
    Y = layer(X)
    by = torch.autograd.grad(Y, [X, layer.weight, layer.bias], W)
    return {
        "output": Y.detach(),
        "by_input": by[0],
        "by_weight": by[1],
        "by_bias": by[2],
        "running_mean": layer.running_mean,
        "running_map": layer.running_map,
        "covariance": layer.latest.covariance,
    }


def work(rank: int, folder: str) -> None:
    """One process: its part of each batch through each layer, results to a file."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    X = inputs()
    W = cotangent(X)
    found = {}
    for split in SPLITS:
        part = slice(0, split[0]) if rank == 0 else slice(split[0], None)
        for name in NAMES:
            layer = made(name, sync=True)
            found[name, split] = run(layer, X[part], W[part])
    layer = made("zca-4", sync=True)
    own = X.clone().requires_grad_()
    refused = ""
    try:
        torch.autograd.grad(layer(own).sum(), own, create_graph=True)
    except NotImplementedError as error:
        refused = str(error)
    compiled: Any = torch.compile(layer, backend="eager")
    with torch.no_grad():
        same = torch.equal(compiled(X), layer(X))
    torch.save((found, refused, same), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("processes")
    spawn(work, args=(str(folder),), nprocs=2, join=True)  # type: ignore[no-untyped-call]
    return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_are_as_one(parts: list[Any], name: str, split: tuple[int, int]) -> None:
    X = inputs()
    whole = run(made(name), X, cotangent(X))
    first, second = (found[name, split] for found, _, _ in parts)
    for joined in ("output", "by_input"):
        # Where one part alone is centred, roundings of the mean differ.
        assert relative(torch.cat([first[joined], second[joined]]), whole[joined]) < 1e-11
    for summed in ("by_weight", "by_bias"):
        assert relative(first[summed] + second[summed], whole[summed]) < 1e-11
    for shared in ("running_mean", "running_map", "covariance"):
        assert torch.equal(first[shared], second[shared])
        assert relative(first[shared], whole[shared]) < 1e-12
    # The parts are unlike: statistics of a part alone are not those of the whole.
    alone = run(made(name), X[: split[0]], cotangent(X)[: split[0]])
    assert relative(alone["output"], whole["output"][: split[0]]) > 1e-2


def test_no_second_derivatives_between_processes(parts: list[Any]) -> None:
    assert all("sync=True there are no second derivatives" in refused for _, refused, _ in parts)


def test_compiled_between_processes(parts: list[Any]) -> None:
    assert all(same for _, _, same in parts)


@pytest.mark.parametrize("name", NAMES)
def test_alone_nothing_changes(name: str) -> None:
    assert not pooling.is_distributed()
    X = images()
    one, other = run(made(name, sync=True), X, cotangent(X)), run(made(name), X, cotangent(X))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_all_layers_take_it() -> None:
    assert all(make(sync=True).sync for make in LAYERS.values())
    assert not ZCAWhitening2d(CHANNELS).sync
