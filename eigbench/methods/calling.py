"""One rule of differentiation in the three calling conventions of torch's autograd functions."""

from __future__ import annotations

from collections.abc import Callable
from types import new_class
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad


class Conventions(NamedTuple):
    """The same rule for `torch.compile`, for the transforms of `torch.func`, and for the rest.

    A compiler refuses an autograd function that has a forward mode, and `torch.func` needs one
    that has no context in `forward`. The older convention, with one, saves a tenth of the time at
    n = 64. In both of these autocast is off in the backward pass, wherever that is called.
    """

    compiled: type[Function]
    transformed: type[Function]
    eager: type[Function]


def conventions(rule: type[Function]) -> Conventions:
    """`rule` has `forward` without a context, `setup_context` and `backward`, all static.

    If it has `tangent(ctx, *tangents)`, static too, that is its forward mode, with the tensors of
    `ctx.save_for_forward`; else forward mode raises `NotImplementedError`.
    """
    jvp = getattr(rule, "tangent", _no_tangent)

    def forward(ctx: Any, *inputs: Any) -> Any:
        output = rule.forward(*inputs)
        rule.setup_context(ctx, inputs, output)
        return output

    def backward(ctx: Any, *gradients: Any) -> Any:
        if not casts(gradients[0]):
            return rule.backward(ctx, *gradients)
        with torch.autocast(gradients[0].device.type, enabled=False):
            return rule.backward(ctx, *gradients)

    def made(base: type, **static: Callable[..., Any]) -> Any:
        # By its name and not by a statement, since a graph and a trace call its node after it.
        body = {name: staticmethod(function) for name, function in static.items()}
        return new_class(rule.__name__, (base,), exec_body=lambda names: names.update(body))

    return Conventions(
        compiled=rule,
        transformed=made(rule, backward=backward, jvp=jvp),
        eager=made(Function, forward=forward, backward=backward, jvp=jvp),
    )


def _always() -> bool:
    return True


# torch has no public names for these. Without the first, autocast takes a microsecond to be asked
# for; without the second, every call takes the composable way.
_any_autocast = getattr(torch._C, "_is_any_autocast_enabled", _always)
_transforms_active = getattr(torch._C, "_are_functorch_transforms_active", _always)


# Asked for once: torch 2.11's compiler does not follow the question.
_WITH_AUTOCAST = {
    device
    for device in ("cpu", "cuda", "hpu", "ipu", "maia", "mps", "mtia", "xla", "xpu")
    if torch.amp.is_autocast_available(device)
}


def casts(X: Tensor) -> bool:
    """Whether autocast is on for the device of `X`."""
    if not torch.compiler.is_compiling() and not _any_autocast():
        return False
    device = X.device.type
    return device in _WITH_AUTOCAST and torch.is_autocast_enabled(device)


_HALF = (torch.float16, torch.bfloat16)


def whole_precision(M: Tensor) -> Tensor:
    """Half precision as float32: no decomposition takes it."""
    return M.float() if M.dtype in _HALF else M


def _no_tangent(ctx: Any, *tangents: Any) -> Any:
    raise NotImplementedError(
        "this method has no forward-mode derivative: use reverse mode, as torch.func.jacrev does, "
        "or another method, such as 'eigh' or, for functions of M, 'spectral'"
    )


def call(ways: Conventions, *inputs: Any) -> Any:
    """Apply the rule by the convention that fits where it is called."""
    if torch.compiler.is_compiling():
        return ways.compiled.apply(*inputs)
    return (ways.transformed if _transforms_active() else ways.eager).apply(*inputs)


def constant_when_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `torch.compiler.assume_constant_result`, which imports the compiler, for over a second."""
    setattr(function, "_dynamo_marked_constant", True)  # noqa: B010
    return function


@constant_when_compiled
def exporting() -> bool:
    """Whether `torch.export` is tracing. Compiled, torch's own word for it is True up to 2.13."""
    return torch.compiler.is_exporting()


def composing() -> bool:
    """Whether `torch.compile` is tracing or a transform of `torch.func` is active."""
    return torch.compiler.is_compiling() or bool(_transforms_active())


def recording() -> bool:
    """Whether what is computed now may be differentiated: by a graph, or in forward mode.

    In forward mode over a backward pass no graph is recorded.
    """
    compiled = torch.compiler.is_compiling()
    return torch.is_grad_enabled() or (not compiled and forward_ad._current_level >= 0)


def is_number(X: Tensor) -> bool:
    """Whether `X` is plain numbers: no transform, batch, mode or subclass hides more in it."""
    return not (is_wrapped(X) or _dispatched(X))


def has_tangent(X: Tensor) -> bool:
    """Whether `X` is a dual tensor of forward mode."""
    return forward_ad.unpack_dual(X).tangent is not None  # type: ignore[no-untyped-call]


def is_wrapped(X: Tensor) -> bool:
    """Whether a transform, or autograd where it takes batches of cotangents, hides more in `X`."""
    functorch = torch._C._functorch
    return functorch.is_functorch_wrapped_tensor(X) or functorch.is_legacy_batchedtensor(X)


def observed(X: Tensor) -> bool:
    """Whether a mode of this thread sees torch's operators, or `X` is more than numbers."""
    return bool(torch._C._is_torch_function_mode_enabled()) or _dispatched(X)


def _dispatched(X: Tensor) -> bool:
    own = type(X).__torch_dispatch__ is not Tensor.__torch_dispatch__
    return own or bool(torch._C._len_torch_dispatch_stack())


def sent(X: Tensor, device: torch.device) -> Tensor:
    """`X`, which is the host's, on a device, without waiting until that has nothing else to do."""
    # Only from pinned memory does a copy not wait. Compilers know no such memory.
    if device.type == "cuda" and not composing():
        X = X.pin_memory()
    return X.to(device, non_blocking=True)
