"""What the layers share: everything but the map that each makes of a covariance."""

from __future__ import annotations

import abc
import functools
import math
import sys
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from eigbench.errors import InputError
from eigbench.layers import composable, fused
from eigbench.layers.composable import Mapped
from eigbench.layers.statistics import is_distributed
from eigbench.methods.base import Method
from eigbench.methods.calling import composing
from eigbench.methods.pi import PowerIteration
from eigbench.methods.registry import configured, get, load_built_in

load_built_in()

Fold = TypeVar("Fold", nn.Conv2d, nn.Conv1d, nn.Linear)

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _apart_from_compilers(*inputs: Any) -> tuple[Tensor, Tensor, Mapped]:
    """`fused.normalise` uncompiled: a compiler leaves what processes exchange as it is."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and the import takes a second
        return fused.normalise(*inputs)
    found: tuple[Tensor, Tensor, Mapped] = _uncompiled()(*inputs)
    return found


@functools.cache
def _uncompiled() -> Any:
    return torch.compiler.disable(fused.normalise)  # type: ignore[no-untyped-call]


# As `torch.compiler.disable` marks what a compiler shall call and not follow.
setattr(_apart_from_compilers, "_torchdynamo_disable", True)  # noqa: B010


class Latest(NamedTuple):
    """What the last forward pass in training decomposed, detached.

    `covariance` `(G, d, d)`, εI included (of the standardised channels where the layer
    standardises), the `rank` `(G,)` that was kept of it, and the `map` `(G, d, d)` that came out.
    """

    covariance: Tensor
    rank: Tensor
    map: Tensor


class SpectralLayer(nn.Module, abc.ABC):
    """`y = γ·T(x − μ) + β` on groups of channels, with a map T of their covariance.

    In training μ is the batch's mean and T is made of its covariance by `map_of`; in evaluation
    both are the running ones, which start at 0 and I (Algorithm 1 of Wang et al., NeurIPS 2019,
    lines 12 and 13). Input and output are of one of the `shapes`, alike in dtype and memory format;
    statistics are in float32, for float64 in float64, with autocast off.
    """

    shapes: ClassVar[tuple[str, ...]] = ("N, C, H, W",)
    folds_into: ClassVar[tuple[type[nn.Module], ...]] = (nn.Conv2d,)

    running_mean: Tensor
    running_map: Tensor
    identity: Tensor

    def __init__(  # noqa: PLR0913 - what every layer's own parameters include
        self,
        channels: int,
        group_size: int,
        *,
        eps: float,
        momentum: float,
        affine: bool,
        sync: bool,
        precision: str,
    ) -> None:
        super().__init__()
        require_whole("channels", channels)
        require_whole("group_size", group_size)
        if channels % group_size:
            fitting = [d for d in range(1, channels + 1) if channels % d == 0]
            raise InputError(
                f"group_size {group_size} does not divide {channels} channels; "
                f"these do: {', '.join(map(str, fitting))}"
            )
        require_number("eps", eps, "above 0", lambda value: value > 0)
        require_number("momentum", momentum, "from 0 to 1", lambda value: 0 <= value <= 1)
        self.channels, self.group_size = channels, group_size
        if precision not in ("input", "float64"):
            raise InputError(f"precision must be 'input' or 'float64', not {precision!r}")
        self.eps, self.momentum, self.affine, self.sync = eps, momentum, affine, sync
        self.precision = precision
        self.weight = nn.Parameter(torch.empty(channels)) if affine else None
        self.bias = nn.Parameter(torch.empty(channels)) if affine else None
        groups = channels // group_size
        self.register_buffer("running_mean", torch.empty(channels))
        self.register_buffer("running_map", torch.empty(groups, group_size, group_size))
        # Made once: a GPU takes as long for each of the kernels that make it as for a product.
        self.register_buffer("identity", torch.eye(group_size), persistent=False)
        self.latest: Latest | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start again: γ = 1, β = 0, running mean 0, running map I."""
        if self.weight is not None and self.bias is not None:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)
        self.running_mean.zero_()
        self.running_map.copy_(torch.eye(self.group_size))

    @abc.abstractmethod
    def map_of(self, covariance: Tensor) -> Mapped:
        """The map of covariances `(G, d, d)`, without εI, differentiable by the layer's method."""

    def forward(self, X: Tensor) -> Tensor:
        """The input whitened or denoised; `ValueError` for other shapes, `TypeError` for dtypes.

        In training it also moves the running statistics and sets `latest`, the latter except
        under `torch.func`, whose tensors do not outlive a call.
        """
        self._require_input(X)
        if X.dim() == 4:
            return self._forward(X)
        return self._forward(X[:, :, None, None] if X.dim() == 2 else X[:, :, None]).view(X.shape)

    def _forward(self, X: Tensor) -> Tensor:
        """The same for images `(N, C, H, W)`."""
        dtype = torch.float64 if X.dtype == torch.float64 else torch.float32
        with torch.autocast(X.device.type, enabled=False):
            weight, bias = self._affine(X, dtype)
            if not self.training:
                mean, linear = self.running_mean.to(dtype), self.running_map.to(dtype)
                plain = composing() or torch.is_grad_enabled()
                transform = composable.transform if plain else fused.transform
                return transform(X, mean, linear, weight, bias)
            output, mean, mapped = self._normalise(X, weight, bias)
            self._keep(mean.detach(), Mapped(*(part.detach() for part in mapped)))
            return output

    def fold_into(self, before: Fold) -> Fold:
        """One module that gives what this layer in evaluation gives after a convolution `before`.

        The result is new, with a bias. Each group of channels must lie within one group of the
        convolution, else `ValueError`; so too in training, where the map changes with the batch.
        """
        if self.training:
            raise ValueError("a layer folds as it evaluates: call eval() first")
        weight, bias = self._affine(self.running_map, torch.float64)
        linear = self.running_map.double() * weight.view(-1, self.group_size, 1)
        if not isinstance(before, self.folds_into):
            names = " or ".join(f"torch.nn.{kind.__name__}" for kind in self.folds_into)
            raise TypeError(f"the layer folds into a {names}, not {type(before).__name__}")
        folded: Fold = _fold(before, linear, self.running_mean.double(), bias)
        return folded

    def extra_repr(self) -> str:
        """What `print` shows."""
        return (
            f"{self.channels}, group_size={self.group_size}, eps={self.eps}, "
            f"momentum={self.momentum}, affine={self.affine}, sync={self.sync}, "
            f"precision={self.precision!r}"
        )

    def _affine(self, like: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """γ and β `(C,)` in `dtype`."""
        if self.weight is None or self.bias is None:
            ones = torch.ones(self.channels, dtype=dtype, device=like.device)
            return ones, torch.zeros_like(ones)
        return self.weight.to(dtype), self.bias.to(dtype)

    def _normalise(self, X: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Mapped]:
        sync = self.sync and is_distributed()
        if composing() and not sync:
            return composable.normalise(X, weight, bias, self._mapped, self.group_size)
        call = _apart_from_compilers if sync else fused.normalise
        return call(X, weight, bias, fused.Settings(self._mapped, self.group_size, sync))

    def _mapped(self, covariance: Tensor) -> Mapped:
        """`map_of` in the precision of the layer, in the dtype of the covariance."""
        if self.precision == "input":
            return self.map_of(covariance)
        linear, matrix, rank = self.map_of(covariance.double())
        return Mapped(linear.to(covariance.dtype), matrix.to(covariance.dtype), rank)

    @torch.no_grad()
    def _keep(self, mean: Tensor, mapped: Mapped) -> None:
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_map.lerp_(mapped.linear.to(self.running_map.dtype), self.momentum)
        if torch.compiler.is_compiling() or not composing():
            self.latest = Latest(mapped.matrix, mapped.rank, mapped.linear)

    def _require_input(self, X: Tensor) -> None:
        shape = tuple(X.shape)
        dimensions = [len(one.split(",")) for one in self.shapes]
        if len(shape) not in dimensions or shape[1] != self.channels:
            right = " or ".join(f"({one})" for one in self.shapes).replace("C", str(self.channels))
            raise InputError(f"the input must be {right}, not {shape}")
        if X.dtype not in _DTYPES:
            name = str(X.dtype).removeprefix("torch.")
            raise TypeError(f"the input must be of a floating type, not {name}")
        values = shape[0] * math.prod(shape[2:])
        if values == 0 or (self.training and values == 1):
            has = "none" if values == 0 else "1"
            raise InputError(
                f"the layer needs more than 1 value per channel in training, and 1 in evaluation; "
                f"an input of shape {shape} has {has}"
            )

    def __getstate__(self) -> dict[str, Any]:
        # `latest` belongs to a forward pass, not to the layer: copies start without it.
        return {**self.__dict__, "latest": None}


def configured_for_layer(method: str, parameters: dict[str, Any], *, sync: bool) -> Method:
    """The method; power iteration starts at random in each call as in the paper, without a seed."""
    if issubclass(get(method), PowerIteration):
        parameters = {"seed": None, **parameters}
        if sync and parameters["seed"] is None:
            raise InputError(
                f"sync=True needs the same starts in every process: give {method} a seed"
            )
    return configured(method, **parameters)


def require_applicable(method: Method, M: Tensor) -> None:
    """`TypeError` where the method does not take `M`'s dtype or device."""
    reason = method.refusal(M)
    if reason is not None:
        raise TypeError(reason)


def require_whole(name: str, value: object) -> None:
    """Refuse what is not a whole number from 1 on."""
    if type(value) is not int or value < 1:
        raise InputError(f"{name} must be a whole number, 1 or more, not {value!r}")


def require_number(name: str, value: Any, accepts: str, inside: Callable[[float], bool]) -> None:
    """Refuse what is not a finite number inside a range."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and inside(value)):
        raise InputError(f"{name} must be a number {accepts}, not {value!r}")


@torch.no_grad()
def _fold(before: Any, linear: Tensor, mean: Tensor, bias: Tensor) -> Any:
    """The module whose output is `linear · (before(x) − mean) + bias`.

    `linear` is `(G, d, d)`, `mean` and `bias` are `(C,)`, all in the dtype to compute in. Raises
    `ValueError` where channels do not match.
    """
    groups, d, _ = linear.shape
    channels, parts = groups * d, getattr(before, "groups", 1)
    if len(before.weight) != channels:
        given = len(before.weight)
        raise InputError(f"the layer has {channels} channels, what is before it gives {given}")
    share = channels // parts
    if share % d:
        raise InputError(
            f"groups of {d} channels must lie within the convolution's {parts} groups "
            f"of {share} channels each; {d} does not divide {share}"
        )
    folded = _like(before)
    filters = before.weight.to(linear).reshape(groups, d, -1)
    folded.weight.copy_((linear @ filters).view_as(before.weight))
    offset = -mean if before.bias is None else before.bias.to(linear) - mean
    moved = (linear @ offset.view(groups, d, 1)).view(-1) + bias
    folded.bias.copy_(moved)
    return folded.train(before.training)


def _like(before: Any) -> Any:
    """A new convolution or linear map with the same settings, and a bias."""
    place: dict[str, Any] = {"device": before.weight.device, "dtype": before.weight.dtype}
    if isinstance(before, nn.Linear):
        return nn.Linear(before.in_features, before.out_features, bias=True, **place)
    kind = nn.Conv1d if isinstance(before, nn.Conv1d) else nn.Conv2d
    return kind(
        before.in_channels,
        before.out_channels,
        before.kernel_size,
        stride=before.stride,
        padding=before.padding,
        dilation=before.dilation,
        groups=before.groups,
        bias=True,
        padding_mode=before.padding_mode,
        **place,
    )
