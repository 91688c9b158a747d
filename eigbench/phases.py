"""Named stretches of work, which a profiler's trace shows as ranges.

The ranges do not overlap, but for one place: the gradient by a layer's covariance is a range of
coefficients, inside which a method names the products of its own backward pass. What autograd's
own derivatives do has no name: all of the backward pass of `eigh`, `svd` and `pi`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, get_args

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

_NOTHING: AbstractContextManager[Any] = nullcontext()


def phase(name: Phase) -> AbstractContextManager[Any]:
    """A range `eigbench::<name>` of the profiler's trace while `recording`, else nothing.

    A quarter of a microsecond where nothing is recorded; torch's own range is 8, profiler or not.
    """
    # A compiler is asked first: it must see neither a range nor a switch, which it would guard.
    if is_dynamo_compiling() or not _recording:
        return _NOTHING
    return record_function(PREFIX + name)


@contextmanager
def recording() -> Iterator[None]:
    """Ranges are recorded inside, by every thread of the process."""
    global _recording  # noqa: PLW0603 - a switch of the process, which this alone turns
    before, _recording = _recording, True
    try:
        yield
    finally:
        _recording = before
