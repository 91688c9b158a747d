"""The contestants of a workload: a decomposition, a whitening, a layer, a step, by each method."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from eigbench.algorithm_1 import EPSILON
from eigbench.architectures import STEM_CHANNELS
from eigbench.axes import COMPLEX
from eigbench.errors import NotApplicable
from eigbench.kinds.profile import ProfileCase
from eigbench.measure.timing import Contestant
from eigbench.methods.base import HERMITIAN, SQUARE_ROOT, Eigenpairs, reconstruct
from eigbench.methods.functions import Whitening
from eigbench.methods.registry import configured

IMAGE = 32
"""Rows and columns: of CIFAR's images, and of what the layer after the first convolution sees."""
CLASSES = 10
POOL, LARGEST_POOL = 4, 2**28
"""So many different inputs, of which each run gets a copy of its own where they are fresh; but one
alone of inputs that have more numbers together."""

LIBRARY = "torch.linalg.eigh"
"""The reference of matrices."""

Decompose = Callable[[Tensor], tuple[Tensor, ...]]
Prepare = Callable[[], tuple[Tensor, ...]]


def make(case: ProfileCase) -> Contestant:
    """What is timed for a case; `NotApplicable` where the method does not take its dtype."""
    if case.layer == "zca" and case.d and STEM_CHANNELS % case.d:
        raise NotApplicable(f"d = {case.d} does not divide the layer's {STEM_CHANNELS} channels")
    if case.dtype in COMPLEX and case.subject in ("layer", "step"):
        raise NotApplicable("layers take real images")
    makers = {"operation": _operation, "whitening": _whitening, "layer": _layer, "step": _step}
    return makers[case.subject](case)


def _operation(case: ProfileCase) -> Contestant:
    """The bare decomposition: eigenpairs of `(batch, d, d)` and their gradient.

    With fixed random cotangents. `NotApplicable` for a method whose eigenpairs have no gradient:
    another operation beside this one would be unlike.
    """
    decompose: Decompose = _library_pairs
    if case.method != LIBRARY:
        method = configured(case.method, **case.parameters)
        if not method.decomposes or method.differentiates != "eigenpairs":
            raise NotApplicable(
                f"the eigenpairs of {case.method} have no gradient: it is timed on whitening"
            )
        decompose = lambda M: tuple(method.eigh(M))  # noqa: E731
    return _of_matrices(case, decompose, "eigenpairs")


def _whitening(case: ProfileCase) -> Contestant:
    """⟨W, M^(−1/2)⟩ of `(batch, d, d)` by every method, forward and backward, with a fixed W.

    What has eigenpairs forms the product `V λ^(−1/2) Vᵀ`, the reference too. A method that whitens
    by another matrix is timed on its own, which the label `operation` names.
    """
    if case.method == LIBRARY:
        return _of_matrices(case, lambda M: (reconstruct(_library_pairs(M), Whitening()),))
    method = configured(case.method, **case.parameters)
    reason = method.function_refusal(Whitening())
    if reason is not None:
        raise NotApplicable(reason)
    return _of_matrices(case, lambda M: (method.whitening(M),), method.whitens_by)


def _of_matrices(case: ProfileCase, forward: Decompose, operation: str = SQUARE_ROOT) -> Contestant:
    """Forward and backward for `(batch, d, d)`; the outputs are of one cotangent each."""
    assert case.d is not None  # noqa: S101  # matrices have a size
    shape = (case.batch, case.d, case.d)
    generator = _generator(case)
    count = POOL if POOL * math.prod(shape) <= LARGEST_POOL else 1
    pool = [_covariances(case, generator) for _ in range(count)]
    _require_taken(case, pool[0])
    shapes = (shape[:-1], shape) if operation == "eigenpairs" else (shape,)
    cotangents = tuple(_random(case, size, generator) for size in shapes)

    def arriving(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Those of complex eigenvectors must depend on no phases: of |v|² they are weights of v."""
        if operation != "eigenpairs" or not outputs[1].is_complex():
            return cotangents
        return cotangents[0].real, cotangents[1].real * outputs[1].detach()

    run = _compiled(forward) if case.compiled else forward
    return Contestant(
        prepare=_inputs(case, pool),
        passes={
            "forward": lambda inputs: (inputs, run(*inputs)),
            "backward": lambda state: torch.autograd.grad(state[1], state[0], arriving(state[1])),
        },
        labels={"operation": operation},
    )


def _require_taken(case: ProfileCase, M: Tensor) -> None:
    """`NotApplicable` where the method, or torch's own function, does not take the matrices."""
    if case.method != LIBRARY:
        reason = configured(case.method, **case.parameters).refusal(M)
        if reason is not None:
            raise NotApplicable(reason)
    elif M.dtype not in HERMITIAN:
        raise NotApplicable(f"{LIBRARY} takes float32, float64 and complex, not {case.dtype}")


def _library_pairs(M: Tensor) -> Eigenpairs:
    values, vectors = torch.linalg.eigh(M)
    return Eigenpairs(values, vectors)


def _layer(case: ProfileCase) -> Contestant:
    """Forward and backward for `(batch, 64, 32, 32)`, with a fixed random cotangent.

    In half precision the images have it, the weights do not: as under autocast in a training.
    """
    shape = (case.batch, STEM_CHANNELS, IMAGE, IMAGE)
    generator = _generator(case)
    pool = [_random(case, shape, generator) for _ in range(POOL)]
    module = _module(case).to(case.device)
    if case.dtype == "float64":
        module = module.double()
    run = _compiled(module) if case.compiled else module
    parameters = tuple(module.parameters())
    W = _random(case, shape, generator)

    def forward(inputs: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
        with _precision(case):
            return inputs, run(*inputs)

    return Contestant(
        prepare=_inputs(case, pool),
        passes={
            "forward": forward,
            "backward": lambda state: torch.autograd.grad(state[1], (*state[0], *parameters), W),
        },
        parameters=parameters,
    )


def _step(case: ProfileCase) -> Contestant:
    """Forward, backward and update of ResNet18 for `(batch, 3, 32, 32)`, as in a training."""
    from eigbench.networks import build  # late: torchvision takes a second

    torch.manual_seed(case.seed)
    network = build("resnet18", CLASSES, _module(case)).to(case.device)
    network = network.to(memory_format=_memory_format(case))
    if case.dtype == "float64":
        network = network.double()
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
    generator = _generator(case)
    pool = [_images(case, generator) for _ in range(POOL)]
    labels = torch.randint(CLASSES, (case.batch,), generator=generator, device=case.device)
    prepare = _inputs(case, pool)
    forward = _compiled(network) if case.compiled else network

    def reset() -> tuple[Tensor, ...]:
        optimiser.zero_grad(set_to_none=True)
        return prepare()

    def loss(inputs: tuple[Tensor, ...]) -> Tensor:
        with _precision(case):
            return nn.functional.cross_entropy(forward(*inputs), labels)

    return Contestant(
        prepare=reset,
        passes={
            "forward": loss,
            "backward": lambda value: value.backward(),
            "update": lambda _: optimiser.step(),
        },
        parameters=tuple(network.parameters()),
        alone=True,
    )


def _module(case: ProfileCase) -> nn.Module:
    """The layer that a case is about, as its defaults are."""
    from eigbench.networks import slot_module  # late, as above

    if case.method in ("bn", "none"):
        return slot_module(case.method)
    size: dict[str, Any] = {"energy": case.energy}
    if case.layer == "zca":
        size = {"group_size": case.d}
    return slot_module(str(case.layer), method=case.method, **size, **case.parameters)


def _inputs(case: ProfileCase, pool: list[Tensor]) -> Prepare:
    """The inputs of a run: a copy of its own each time, or always the same."""
    if case.inputs == "cached":
        always = (_leaf(case, pool[0]),)
        return lambda: always
    turns = itertools.cycle(pool)
    return lambda: (_leaf(case, next(turns)),)


def _leaf(case: ProfileCase, X: Tensor) -> Tensor:
    # The images of a step need no gradient, as in a training.
    return X.clone().requires_grad_(case.subject != "step")


def _generator(case: ProfileCase) -> torch.Generator:
    """Of the device itself: a host would take minutes for the largest batches."""
    return torch.Generator(case.device).manual_seed(case.seed)


def _covariances(case: ProfileCase, generator: torch.Generator) -> Tensor:
    """`(batch, d, d)`: sample covariances of 4d draws and ε, as a whitening layer has them."""
    assert case.d is not None  # noqa: S101  # an operation has a size
    shape = (case.batch, case.d, 4 * case.d)
    dtype = torch.complex64 if case.dtype in COMPLEX else torch.float32
    X = torch.randn(shape, generator=generator, device=case.device, dtype=dtype)
    M = X @ X.mH / X.shape[-1] + EPSILON * torch.eye(case.d, device=case.device)
    return M.to(getattr(torch, case.dtype))


def _random(case: ProfileCase, shape: tuple[Any, ...], generator: torch.Generator) -> Tensor:
    dtype = torch.complex64 if case.dtype in COMPLEX else torch.float32
    X = torch.randn(shape, generator=generator, device=case.device, dtype=dtype)
    return _laid_out(case, X.to(getattr(torch, case.dtype)))


def _images(case: ProfileCase, generator: torch.Generator) -> Tensor:
    X = torch.randn(case.batch, 3, IMAGE, IMAGE, generator=generator, device=case.device)
    X = X.to(torch.float64 if case.dtype == "float64" else torch.float32)
    return _laid_out(case, X)


def _laid_out(case: ProfileCase, X: Tensor) -> Tensor:
    """Images in the case's memory format; anything else as it is."""
    return X.to(memory_format=_memory_format(case)) if X.dim() == 4 else X


def _memory_format(case: ProfileCase) -> torch.memory_format:
    last = case.layout == "channels_last"
    return torch.channels_last if last else torch.contiguous_format


def _precision(case: ProfileCase) -> AbstractContextManager[Any]:
    """Half precision as in a training: the weights stay in float32."""
    if case.dtype in ("float16", "bfloat16"):
        return torch.autocast(torch.device(case.device).type, getattr(torch, case.dtype))
    return nullcontext()


def _compiled(function: Any) -> Any:
    """Compiled for the shapes of one case."""
    return torch.compile(function, dynamic=False)
