"""Power iteration with deflation from random starts: the rival that the paper finds unstable."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from eigbench.algorithm_1 import ITERATIONS
from eigbench.methods.base import (
    HERMITIAN,
    Eigenpairs,
    Method,
    Parameter,
    Promise,
    one_batch,
    real_part,
    require_count,
)
from eigbench.methods.calling import (
    call,
    composing,
    constant_when_compiled,
    conventions,
    has_tangent,
    recording,
    sent,
)
from eigbench.methods.hybrid import Hybrid
from eigbench.methods.no_gradient import phases_watched, watched
from eigbench.phases import phase


@dataclass(frozen=True)
class PowerIteration(Method):
    """Eq. 2 forward, K times from a random start for each deflated matrix; Eq. 3 backward.

    Backward the K iterations are followed, which is Eq. 3. Neither eigenvalues nor eigenvectors are
    exact, and the deflated remainder of a rank-deficient matrix is rounding noise or zero: then
    the result is not finite. Starts come from `seed`, the same for every matrix of a batch. With
    `seed=None` each call draws fresh ones, for each matrix its own, from torch's generator, as
    the paper does: `torch.manual_seed` or a restored generator state gives them again.
    """

    name: ClassVar[str] = "pi"
    summary: ClassVar[str] = "power iteration with deflation, forward and backward"
    source: ClassVar[str] = "Wang et al., NeurIPS 2019, Eq. 2 and 3"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset({"scale"})
    converged: ClassVar[Mapping[str, Parameter]] = {"iterations": 120}

    iterations: int = ITERATIONS
    seed: int | None = 0

    def __post_init__(self) -> None:
        require_count("iterations", self.iterations)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Approximate eigenpairs of symmetric `M` `(..., n, n)`."""
        values, vectors = self.found(M)
        with phase("decomposition"):
            eigenvalues, order = torch.sort(values, dim=-1, stable=True)
            eigenvectors = vectors.gather(-1, order.unsqueeze(-2).expand_as(vectors))
            return Eigenpairs(eigenvalues, phases_watched(eigenvectors))

    def found(self, M: Tensor) -> Eigenpairs:
        """The same in the order in which they are found: descending, if each has converged."""
        if M.shape[-1] == 0:
            return Eigenpairs(*torch.linalg.eigh(M))
        with phase("decomposition"):
            # What has not converged has the second derivative of something else.
            S = watched(self.name, M, Hybrid(self.iterations).differs)
            return _iterate(S, _starts(M, self.seed), self.iterations)


def _iterate(S: Tensor, starts: Tensor, iterations: int) -> Eigenpairs:
    """The pairs that power iteration finds from the `starts`, which are columns."""
    # What is more than numbers, autograd and the transforms follow operator by operator.
    if composing() or has_tangent(S):
        return _found(S, starts, iterations)
    batch = one_batch(S)
    starts = starts if starts.dim() == 2 else one_batch(starts)
    if S.requires_grad and torch.is_grad_enabled():
        values, vectors = _ITERATION.eager.apply(batch, starts, iterations, [])
    else:
        values, vectors = _found(batch, starts, iterations)
    return Eigenpairs(values.view(S.shape[:-1]), vectors.view(S.shape))


class _Kept(NamedTuple):
    """What the derivative of one pair needs, of a batch of `b` matrices."""

    deflated: Tensor
    """`(b, n, n)`: without the pairs before."""
    path: Tensor
    """`(K + 1, b, n, 1)`: the start, and the vector after each iteration."""
    lengths: Tensor
    """`(K, b, 1, 1)`: by what the image of each vector but the last was divided."""
    image: Tensor
    """`(b, n, 1)`: of the last vector."""


def _found(
    deflated: Tensor, starts: Tensor, iterations: int, keep: list[_Kept] | None = None
) -> Eigenpairs:
    """The pairs, one deflation after the other; nothing is kept of what autograd follows."""
    values, vectors = [], []
    for start in torch.split(starts, 1, dim=-1):
        times, image = _times(deflated), deflated @ start
        if keep is None:
            for _ in range(iterations):
                v = image / torch.linalg.vector_norm(image, dim=-2, keepdim=True)
                image = times(v)
        else:
            path = image.new_empty(iterations + 1, *image.shape)
            path[0] = start
            lengths = real_part(image).new_empty(iterations, len(image), 1, 1)
            for v, length in zip(path[1:].unbind(), lengths.unbind(), strict=True):
                torch.linalg.vector_norm(image, dim=-2, keepdim=True, out=length)
                torch.div(image, length, out=v)
                image = times(v)
            keep.append(_Kept(deflated, path, lengths, image))
        values.append(real_part(v.mH @ image)[..., 0, 0])
        vectors.append(v[..., 0])
        deflated = deflated - image @ v.mH
    return Eigenpairs(torch.stack(values, -1), torch.stack(vectors, -1))


AS_ROWS = 20
"""From this size on rows times matrices take less time than matrices times columns: a seventh at
n = 64, by MKL on one thread."""


def _times(M: Tensor) -> Callable[[Tensor], Tensor]:
    """`v ↦ M v`, of columns `(..., n, 1)`; the same to the last bit, of a batch."""
    if M.dim() != 3:
        return partial(torch.matmul, M)
    if M.shape[-1] < AS_ROWS:
        return partial(torch.bmm, M.contiguous())
    transposed = M.mT.contiguous()
    return lambda v: torch.bmm(v.mT, transposed).mT


class _Iteration(torch.autograd.Function):
    """`_found`; the list `keep` is the caller's, and empty."""

    @staticmethod
    def forward(S: Tensor, starts: Tensor, iterations: int, keep: list[_Kept]) -> Eigenpairs:
        return _found(S, starts, iterations, keep)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _: Eigenpairs) -> None:
        S, starts, ctx.iterations, keep = inputs
        ctx.save_for_backward(S, starts, *itertools.chain(*keep))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        S, starts, *kept = ctx.saved_tensors
        with phase("products"):
            if recording():
                by_S = call(_GRADIENT, S, starts, ctx.iterations, *gradients, *kept)
            else:
                by_S = _gradient(*gradients, *kept)
        return by_S, None, None, None


class _Gradient(torch.autograd.Function):
    """`_gradient`, whose own derivatives autograd finds operator by operator."""

    generate_vmap_rule = True

    @staticmethod
    def forward(S: Tensor, starts: Tensor, iterations: int, *tensors: Tensor) -> Tensor:
        return _gradient(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _: Tensor) -> None:
        S, starts, ctx.iterations, by_values, by_vectors, *kept = inputs
        ctx.kept = len(kept)
        ctx.save_for_backward(starts, S, by_values, by_vectors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        starts, *inputs = ctx.saved_tensors
        with torch.enable_grad():
            # Views, so that none depends on another.
            S, *by_pairs = views = [X.view_as(X) for X in inputs]
            pairs = _found(S, starts, ctx.iterations)
            found = torch.autograd.grad(pairs, S, by_pairs, create_graph=True)
        wanted = [X for X in views if X.requires_grad]
        record = torch.is_grad_enabled()
        remaining = iter(torch.autograd.grad(found, wanted, gradients, create_graph=record))
        by_S, *by_rest = (next(remaining) if X.requires_grad else None for X in views)
        return by_S, None, None, *by_rest, *[None] * ctx.kept


_ITERATION, _GRADIENT = conventions(_Iteration), conventions(_Gradient)


def _gradient(by_values: Tensor, by_vectors: Tensor, *tensors: Tensor) -> Tensor:
    """By S `(b, n, n)`: Eq. 3 of each pair, and what deflation passes on to those before."""
    kept = [_Kept(*of_a_pair) for of_a_pair in zip(*[iter(tensors)] * 4, strict=True)]
    by_deflated = torch.zeros_like(kept[0].deflated)
    for place in reversed(range(len(kept))):
        deflated, path, lengths, image = kept[place]
        times, v = _times(deflated.mH), path[-1]
        by_value = by_values[:, place, None, None]
        by_image = by_value * v - torch.bmm(by_deflated, v)
        by_v = by_vectors[:, :, place, None] + by_value * image - torch.bmm(by_deflated.mH, image)
        by_images = [by_image]
        by_v = by_v + times(by_image)
        for v, length in zip(reversed(path[1:].unbind()), reversed(lengths.unbind()), strict=True):
            along = real_part(torch.bmm(v.mH, by_v)).to(v.dtype)
            across = torch.addcmul(by_v, v, along, value=-1)
            by_images.append(across / length)
            by_v = times(by_images[-1])
        before = path.flip(0)[..., 0].transpose(0, 1).conj()
        by_deflated = by_deflated + torch.bmm(torch.cat(by_images, -1), before)
    return by_deflated


def _starts(M: Tensor, seed: int | None) -> Tensor:
    """One random unit vector for each deflation step, in the columns of `(..., n, n)`."""
    if seed is None:
        return torch.nn.functional.normalize(torch.randn_like(M), dim=-2)
    columns = _unit_vectors(operator.index(M.shape[-1]), seed)
    return sent(torch.tensor(columns, dtype=M.dtype, device="cpu"), M.device)


@constant_when_compiled
def _unit_vectors(n: int, seed: int) -> list[list[float]]:
    """`(n, n)`, in columns; drawn outside torch, so that every device, vmap and compile agree."""
    starts = np.random.default_rng(seed).standard_normal((n, n))
    columns: list[list[float]] = (starts / np.linalg.norm(starts, axis=0)).tolist()
    return columns


@dataclass(frozen=True)
class PowerIterationReleased(PowerIteration):
    """`pi`, whose whitening layer truncates as the released program does.

    Iteration, deflation and gradient are those of `pi`. The layer stops only where an eigenvalue
    is larger than the one found before it or is below ε (`eigbench.truncation.pi_released`):
    neither Algorithm 1's test of the Rayleigh quotient nor its energy protects it. That rule reads
    the order in which the pairs were found, so `eigh` keeps this order, the first found last:
    ascending where the iteration has converged, and not sorted where it has not.
    """

    name: ClassVar[str] = "pi-released"
    summary: ClassVar[str] = "pi, truncated in a whitening layer as the authors' program does"
    source: ClassVar[str] = (
        "github.com/cvlab-epfl/Power-Iteration-SVD, ZCANorm.py, ZCANormPIunstable"
    )
    truncation: ClassVar[str] = "pi-released"

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Approximate eigenpairs of symmetric `M` `(..., n, n)`, the first found last."""
        values, vectors = self.found(M)
        return Eigenpairs(values.flip(-1), phases_watched(vectors.flip(-1)))
