"""Named stretches of work, which a profiler's trace shows as ranges.

The ranges do not overlap, but for one place: the gradient by a layer's covariance is a range of
coefficients, inside which a method names the products of its own backward pass. What autograd's
own derivatives do has no name: all of the backward pass of `svd`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, cast, get_args

from torch.compiler import is_dynamo_compiling
from torch.profiler import record_function

Phase = Literal["covariance", "decomposition", "coefficients", "products"]
"""The mean and covariance of images and the matrix M made of them; the eigenpairs of M and how
many are kept; what is made of the eigenvalues, tables above all; products of matrices, with
eigenvectors or with images."""

PHASES: tuple[Phase, ...] = get_args(Phase)

PREFIX = "eigbench::"
"""What the name of a range starts with in a trace."""

# For the whole process: on CUDA the backward pass runs in a thread of autograd's.
_recording = False


class _Nothing:
    """A context that does nothing, without a line of Python: `nullcontext` takes twice as long."""

    __slots__ = ()
    __enter__ = __exit__ = "".format  # takes anything, and gives what counts as False


_NOTHING = cast(AbstractContextManager[Any], _Nothing())


def phase(name: Phase) -> AbstractContextManager[Any]:
    """A range `eigbench::<name>` of the profiler's trace while `recording`, else nothing.

    Where nothing is recorded it takes 0.2 µs in a loop and up to 1 µs among other work;
    torch's own range takes 8 µs, profiler or not.
    """
    # First, so that a compiler does not see the switch, which it would guard.
    if is_dynamo_compiling():
        return nullcontext()  # a compiler does not follow the other
    return record_function(PREFIX + name) if _recording else _NOTHING


@contextmanager
def recording() -> Iterator[None]:
    """Ranges are recorded inside, by every thread of the process."""
    global _recording  # noqa: PLW0603 - a switch of the process, which this alone turns
    before, _recording = _recording, True
    try:
        yield
    finally:
        _recording = before
