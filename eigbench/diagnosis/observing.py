"""What is done with each call that `watch` sees: passed on, noted, and kept if it fails."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from eigbench.diagnosis.calls import Call
from eigbench.diagnosis.intercepting import Operation
from eigbench.diagnosis.journal import CallRecord, Journal
from eigbench.diagnosis.keeping import Keeper
from eigbench.diagnosis.readings import Queue, read
from eigbench.methods.calling import composing

_log = logging.getLogger("eigbench")


class Observer:
    """Makes the watched calls, and tells a journal and a keeper of them.

    `where()` says at which step and in which module. Numbers are read when the device has them.
    """

    def __init__(
        self, journal: Journal, keeper: Keeper, where: Callable[[], tuple[int, str]]
    ) -> None:
        self._journal, self._keeper, self._where = journal, keeper, where
        self._queue = Queue()
        self._open = True

    def close(self) -> Journal:
        """Wait for what is under way; later backward passes are not noted."""
        self._open = False
        self._queue.drain(wait=True)
        self._keeper.close()
        return self._journal

    def call(
        self,
        operation: Operation,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Make one call of a watched function, and note it."""
        name = next((key for key in ("A", "input") if key in kwargs), "")
        M = args[0] if args else kwargs.get(name)
        if not _is_observable(M) or kwargs.get("out") is not None:
            return function(*args, **kwargs)
        differentiated = torch.is_grad_enabled() and M.requires_grad
        # A view, whose gradient is that of this call alone, whatever else is made of M.
        seen = M.view_as(M) if differentiated else M
        if args:
            args = (seen, *args[1:])
        else:
            kwargs = {**kwargs, name: seen}
        call = Call(operation.name, M)
        record = self._record(call)
        try:
            results = function(*args, **kwargs)
        except LinAlgError as error:
            self._raised(call, record, error)
            raise
        with torch.no_grad():
            numbers = read(call.returned(results, gives_v=operation.gives_v))
        self._queue.push(numbers, partial(self._returned, call, record))
        if differentiated:
            then = partial(self._passed, call, record)
            call.watch_gradients(seen, results, then, gives_v=operation.gives_v)
        return results

    def _record(self, call: Call) -> CallRecord:
        M = call.matrix
        record = CallRecord(
            *self._where(),
            call.operation,
            tuple(M.shape),
            str(M.dtype).removeprefix("torch."),
            str(M.device),
            # In a backward pass a checkpoint computes again what it has computed before.
            again=torch._C._current_graph_task_id() != -1,
        )
        self._journal.called(record)
        return record

    def _raised(self, call: Call, record: CallRecord, error: Exception) -> None:
        self._journal.returned(record, math.nan, math.nan, finite=False)
        found = re.search(r"Batch element (\d+)", str(error))
        index = int(found[1]) if found else None
        first = next(iter(str(error).splitlines()), type(error).__name__)
        self._save(call, record, f"it raised ({first})", index=index)

    def _returned(self, call: Call, record: CallRecord, numbers: list[float]) -> None:
        relative, share, finite = numbers
        self._journal.returned(record, relative, share, finite=finite == 1)
        if finite != 1:
            self._save(call, record, "its result was not finite")
        else:
            self._keeper.consider(call, record, share)

    def _passed(self, call: Call, record: CallRecord, norms: Tensor) -> None:
        if not self._open:
            return
        gradients, call.gradients = call.gradients, {}
        then = partial(self._read_gradients, call, record, gradients)
        self._queue.push(read(norms), then)

    def _read_gradients(
        self,
        call: Call,
        record: CallRecord,
        gradients: dict[str, Tensor],
        numbers: list[float],
    ) -> None:
        *upstream, norm = numbers
        arrived = {
            name: value
            for name, value in zip(call.outputs, upstream, strict=True)
            if name in gradients
        }
        self._journal.passed(record, arrived, norm)
        if all(map(math.isfinite, numbers)):
            return
        if not all(map(math.isfinite, upstream)):
            self._save(call, record, "the gradient that reached it was not finite", gradients)
        else:
            kind = "NaN" if math.isnan(norm) else "infinite"
            self._save(call, record, f"its backward pass gave {kind}", gradients)

    def _save(
        self,
        call: Call,
        record: CallRecord,
        cause: str,
        gradients: dict[str, Tensor] | None = None,
        index: int | None = None,
    ) -> None:
        try:
            path = self._keeper.failed(call, record, cause, gradients or {}, index)
        except OSError as error:  # a full disk must not end a training
            _log.error("eigbench.watch could not save a matrix: %s", error)
            return
        if path is not None:
            _log.warning(
                "eigbench.watch: torch.linalg.%s at step %d: %s. Saved; see: eigbench diagnose %s",
                call.operation,
                record.step,
                cause,
                path,
            )


def _is_observable(M: Any) -> TypeGuard[Tensor]:
    """Whether M is a plain tensor of real numbers, whose decomposition can be looked at."""
    return (
        isinstance(M, Tensor)
        and M.dtype in {torch.float32, torch.float64}
        and M.ndim >= 2
        and M.numel() > 0
        and not composing()
    )
