"""`eigbench.eigh` and `eigbench.matrix_function`: any method, called as torch's own are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from eigbench.errors import InputError
from eigbench.methods.base import Eigenpairs, Method, no_eigenpairs
from eigbench.methods.calling import call, casts, composing, conventions, whole_precision
from eigbench.methods.coefficients import above_diagonal
from eigbench.methods.functions import (
    Identity,
    InverseSquareRoot,
    OnRange,
    SpectralFunction,
    SquareRoot,
    in_double,
)
from eigbench.methods.pencil import pencil_eigh
from eigbench.methods.registry import configured, load_built_in
from eigbench.methods.smooth import Exponential, Logarithm

load_built_in()

FUNCTIONS: dict[str, SpectralFunction] = {
    "inverse-square-root": InverseSquareRoot(),
    "square-root": SquareRoot(),
    "logarithm": Logarithm(),
    "exponential": Exponential(),
    "identity": Identity(),
}
"""The spectral functions that have a name."""


def eigh(
    M: Tensor,
    UPLO: str | None = None,
    *,
    B: Tensor | None = None,
    method: str = "hybrid",
    **parameters: Any,
) -> Eigenpairs:
    """Decompose symmetric or Hermitian matrices, with the gradient of a chosen method.

    A drop-in for `torch.linalg.eigh`: eigenvalues `(..., n)` ascending and eigenvectors
    `(..., n, n)` in columns, for symmetric `M` `(..., n, n)` on any device. With `UPLO` "L" or "U"
    only that triangle of `M` is read, whatever the other holds. The gradient is a symmetric matrix.

    With a positive definite `B` `(..., n, n)` they are those of the pencil, `M v = λ B v` with
    `VᵀBV = I`, by the Cholesky factor of B: the method differentiates the eigenpairs of
    `L⁻¹ M L⁻ᵀ`, and the gradients by M and by B are exact where its own is. `UPLO` is for both.

    float32 and float64 come out as they go in. float16 and bfloat16 are converted to float32,
    which comes out. A Hermitian M may be complex64 or complex128, too, where the method's `dtypes`
    have them; gradients are torch's, `dL = Re⟨∂L/∂M, dM⟩`. Phases of eigenvectors are arbitrary: a
    loss that depends on them has no gradient, and raises `RuntimeError`, as torch's does; if it may
    be rounding, it warns. Under `torch.func` and in compiled code its gradient is NaN. Under
    `torch.autocast` everything inside is computed as outside of it.

    `parameters` are the method's own, such as `iterations=19` for `hybrid` (Wang et al.,
    NeurIPS 2019, Eq. 4). Raises `ValueError` for an unknown method, parameter or a shape that is
    not square, and `TypeError` for a dtype or device that the method does not take. A method that
    computes functions of M without eigenpairs raises `ValueError`: see `matrix_function`. Where a
    method has no derivative that is right, as of the eigenvectors of a tie or a second time, asking
    for it raises `NotImplementedError`, which is a `RuntimeError`. A B that is not positive
    definite raises `torch.linalg.LinAlgError`.
    """
    if UPLO not in (None, "L", "U", "l", "u"):
        raise ValueError(f"UPLO must be 'L' or 'U', not {UPLO!r}")
    _require_square(M)
    chosen = configured(method, **parameters)
    if not chosen.decomposes:
        raise ValueError(str(no_eigenpairs(chosen)))
    M = whole_precision(M)
    _require_taken(chosen, M)
    inputs = (M,) if B is None else (M, _second_of_pencil(B, M))
    if UPLO is not None:
        inputs = tuple(call(_MIRRORED, X, UPLO in "Uu") for X in inputs)
    decompose = chosen.eigh if B is None else partial(pencil_eigh, chosen)
    return Eigenpairs(*_without_autocast(decompose, *inputs))


def matrix_function(
    M: Tensor,
    function: SpectralFunction | str,
    *,
    rank: int | str | None = None,
    precision: str | None = None,
    method: str = "spectral",
    **parameters: Any,
) -> Tensor:
    """A function of symmetric matrices, `f(M) = V diag(f(λ)) Vᵀ`, with the gradient of a method.

    `(..., n, n)` for symmetric `M` `(..., n, n)` on any device; the gradient is a symmetric
    matrix. `function` is "inverse-square-root", "square-root", "logarithm", "exponential" or
    "identity", or a `eigbench.methods.functions.SpectralFunction`: `Projector(chosen)` is the
    projector on chosen eigenvectors, `eigbench.methods.smooth.Smooth(f, derivative)` any function.
    By default the gradient is the exact one at any gap, zero included (Daleckii–Krein), in reverse
    and in forward mode, and so are derivatives of higher order; of a function of which none are
    known they raise `NotImplementedError`. Those that other methods have are theirs.

    `rank` is for a positive semi-definite M that is singular for a reason, as a covariance of
    fewer samples than dimensions is: f on its `rank` leading eigenvectors, or with "numerical" on
    those above `n·ε·λmax`, and 0 on the others (`eigbench.methods.functions.OnRange`).

    With `precision="float64"`, the default for `spectral`, the decomposition and the products,
    forward and backward, are computed in double precision; what comes out, and the gradient, have
    the dtype that they have with "input", the default for other methods. What is left of the
    error is what rounding M itself to its dtype does.

    float32 and float64 come out as they go in. float16 and bfloat16 are converted to float32,
    which comes out. A Hermitian M may be complex64 or complex128, too, as `eigh` says. Under
    `torch.autocast` everything inside is computed as outside of it.

    `parameters` are the method's own. Raises `ValueError` for an unknown function, method or
    parameter, a function that the method does not have, or a shape that is not square, and
    `TypeError` for a dtype or device that the method does not take.
    """
    _require_square(M)
    function = named(function)
    chosen = configured(method, **parameters)
    if rank is not None:
        function = _on_range(M, function, rank)
    reason = chosen.function_refusal(function)
    if reason is not None:
        raise ValueError(reason)
    M = whole_precision(M)
    _require_taken(chosen, M)
    precision = chosen.precision if precision is None else precision
    if precision not in ("float64", "input"):
        raise InputError(f"precision must be 'float64' or 'input', not {precision!r}")

    def compute(M: Tensor, constant: SpectralFunction) -> Tensor:
        return _without_autocast(lambda M: (chosen.matrix_function(M, constant),), M)[0]

    if precision == "input":
        return compute(M, function.like(M))
    composed: Tensor = in_double(M, function, compute)
    return composed


def named(function: SpectralFunction | str) -> SpectralFunction:
    """The function of that name; `InputError` if there is none, or for what is no function."""
    if not isinstance(function, str):
        if hasattr(function, "divided_differences"):
            return function
        raise InputError(
            "function must be a name or a SpectralFunction; of a callable f make "
            "eigbench.methods.smooth.Smooth(f, derivative)"
        )
    if function not in FUNCTIONS:
        raise InputError(f"unknown function {function!r}; there are {', '.join(FUNCTIONS)}")
    return FUNCTIONS[function]


def _require_square(M: Tensor) -> None:
    shape = M.shape
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"M must be square matrices (..., n, n), not shape {tuple(shape)}")


def _second_of_pencil(B: Tensor, M: Tensor) -> Tensor:
    """`B` in whole precision; an error unless it goes with `M`."""
    B = whole_precision(B)
    if B.shape[-2:] != M.shape[-2:]:
        shapes = f"{tuple(M.shape)} and {tuple(B.shape)}"
        raise InputError(f"M and B must be square matrices of one size, not of shapes {shapes}")
    if B.dtype != M.dtype:
        types = " and ".join(str(X.dtype).removeprefix("torch.") for X in (M, B))
        raise TypeError(f"M and B must be of one dtype, not {types}")
    return B


def _require_taken(chosen: Method, M: Tensor) -> None:
    reason = chosen.refusal(M)
    if reason is not None:
        raise TypeError(reason)


def _on_range(M: Tensor, function: SpectralFunction, rank: int | str) -> OnRange:
    n = M.shape[-1]
    if type(rank) is int and 1 <= rank <= n:
        return OnRange(function, rank)
    if rank == "numerical":
        # What rounding leaves of a zero depends on the dtype in which M was computed.
        floating = M.dtype.is_floating_point or M.dtype.is_complex
        return OnRange(function, epsilon=torch.finfo(M.dtype).eps if floating else None)
    raise InputError(f"rank must be a whole number from 1 to {n}, or 'numerical', not {rank!r}")


class _Mirrored(torch.autograd.Function):
    """One triangle of `M`, and its mirror image as the other; a symmetric gradient as it is."""

    generate_vmap_rule = True

    @staticmethod
    def forward(M: Tensor, upper: bool) -> Tensor:  # noqa: FBT001
        above = above_diagonal(M, torch.bool)
        return torch.where(above.mT if upper else above, M.mH, M)

    @staticmethod
    def setup_context(_ctx: Any, inputs: tuple[Tensor, bool], output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None

    @staticmethod
    def tangent(_ctx: Any, *tangents: Tensor) -> Tensor:
        """As it is, which is what torch does: a direction in which M stays symmetric."""
        return tangents[0].clone()


_MIRRORED = conventions(_Mirrored)

Outputs = tuple[Tensor, ...]


def _without_autocast(function: Callable[..., Outputs], *inputs: Tensor) -> Outputs:
    """`function(*inputs)`, forward and backward with autocast off, wherever backward is called."""
    if not casts(inputs[0]):
        return function(*inputs)
    with torch.autocast(inputs[0].device.type, enabled=False):
        needed = torch.is_grad_enabled() and any(X.requires_grad for X in inputs)
        if composing() or not needed:
            return function(*inputs)
        outputs: Outputs = _WithoutAutocast.apply(function, *inputs)
        return outputs


class _WithoutAutocast(torch.autograd.Function):
    """What autograd follows by itself it would follow back with autocast on, if backward is."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Outputs], *inputs: Tensor) -> Outputs:
        ctx.function = function
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(False)
        with torch.enable_grad():
            ctx.inner = tuple(X.detach().requires_grad_() for X in inputs)
            ctx.outputs = function(*ctx.inner)
        return tuple(x.detach() for x in ctx.outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        record = torch.is_grad_enabled()
        inner = ctx.saved_tensors if record else ctx.inner
        with torch.autocast(inner[0].device.type, enabled=False):
            outputs = ctx.function(*inner) if record else ctx.outputs
            if record and not all(map(_alike, outputs, ctx.outputs)):
                raise NotImplementedError(
                    "under autocast a second derivative needs a method that decomposes the same "
                    "matrix twice alike; this one draws at random: give it a seed"
                )
            arrived = [(x, g) for x, g in zip(outputs, gradients, strict=True) if g is not None]
            found = torch.autograd.grad(
                [x for x, _ in arrived], [X for X in inner if X.requires_grad],
                [g for _, g in arrived], retain_graph=True, create_graph=record,
            )  # fmt: skip
        remaining = iter(found)
        return None, *(next(remaining) if X.requires_grad else None for X in inner)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Forward mode gives what it gives outside."""
        raise NotImplementedError(
            "there is no forward mode under torch.autocast: call this outside of it, or inside "
            "torch.autocast(device, enabled=False)"
        )


def _alike(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-3, atol=1e-6, equal_nan=True)
