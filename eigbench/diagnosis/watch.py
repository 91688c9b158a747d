"""`eigbench.watch`: every eigendecomposition and SVD of a training, until one fails."""

from __future__ import annotations

import inspect
import itertools
import logging
import math
import re
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from eigbench.data.matrices import dtype_name
from eigbench.diagnosis import page
from eigbench.diagnosis.calls import intercepted
from eigbench.diagnosis.diagnose import diagnose
from eigbench.diagnosis.matrices import Decomposition
from eigbench.diagnosis.page import first_line, one_line
from eigbench.diagnosis.recording import Call, CallRecord, Queue, Reading
from eigbench.errors import InputError, in_one_line
from eigbench.methods.no_gradient import PHASE_REFUSED
from eigbench.report.numbers import NOTHING
from eigbench.report.render import table
from eigbench.runs.store import RECORDS, REPORT, write_whole

FAILURE = "first-failure.pt"
FROM_ABOVE = "first-from-above.pt"
"""Of a gradient that was not finite before it reached the decomposition."""
CLOSEST = "closest.pt"
VECTORS = ("eigh", "svd")
"""The operations that return vectors; the gradients of others divide by no gap."""

_log = logging.getLogger("eigbench")


def watch(
    model: nn.Module | None = None,
    folder: str | Path = "eigbench-watch",
    *,
    keep: int = 10_000,
) -> Watch:
    """Record every decomposition of torch inside a `with`, and keep the first that fails.

        with eigbench.watch(model):
            train(model)

    As soon as one raises, or gives or gets a gradient that is not finite, its matrix and the
    gradients that reached it are in `first-failure.pt`, which `eigbench diagnose` reads; if they
    were not finite already when they reached it, in `first-from-above.pt`. At the end, or at an
    exception, there are `records.jsonl` of the last `keep` calls (shape, smallest relative gap,
    norms of gradients) and `report.md`. If nothing failed, the report is of the matrix with the
    smallest gap whose vectors were computed. `folder` gets a number if it exists; see
    `Watch.folder`.

    Seen are `eigh`, `eigvalsh`, `svd`, `svdvals`, `pinv`, `matrix_norm`, `norm` and `cond` of
    `torch.linalg`, and what computes with them, real and complex, in all threads, under autocast
    and `torch.func`; in compiled code, and in methods with a backward pass of their own, without
    gradients. `eigbench.diagnosis.calls` says how.

    With a `model` each call has the name of the innermost module that made it. Steps are those of
    any optimiser of torch. `watch` changes no result and, on CUDA, waits for nothing; what it
    cannot write it logs. One may be inside another.
    """
    if type(keep) is not int or keep < 1:
        raise InputError(f"keep must be a whole number, 1 or more, not {keep!r}")
    if model is not None and not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module or None, not {type(model).__name__}")
    return Watch(model, Path(folder), keep)


class Watch:
    """The context manager that `watch` makes; each is entered once."""

    def __init__(self, model: nn.Module | None, folder: Path, keep: int) -> None:
        self.folder = folder
        """Where its files are; known once it is entered."""
        self.step = 0
        """The number of steps that optimisers have made since it was entered."""
        # The model is kept with the names, so that no other module can have one of these ids.
        self._model = model
        modules = [] if model is None else model.named_modules()
        self._names = {id(one): name or type(one).__name__ for name, one in modules}
        self._keep = keep
        self._observer: CallObserver | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Watch:
        if self._observer is not None:
            raise InputError("a watch is entered once; make another with eigbench.watch")
        self.folder = new_folder(self.folder)
        self._observer = CallObserver(self.folder, self._keep, self._where)
        with ExitStack() as stack:  # what fails here leaves nothing behind
            hook = register_optimizer_step_post_hook(self._stepped)
            stack.callback(hook.remove)
            stack.enter_context(intercepted(self._observer))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._stack.close()
        if self._observer is None:
            return
        try:
            self._observer.close()
            report = write_report(self.folder, self._observer, self.step, error)
        # A training that came to its end must not be lost for a report.
        except Exception as own:  # noqa: BLE001
            _log.error("eigbench.watch could not write its report: %s", in_one_line(own))
        else:
            _log.info("eigbench.watch: the report is %s", report)

    def _where(self) -> tuple[int, str]:
        """The step, and the innermost module of the model that is at work."""
        # Looked up in the stack when there is something to note: hooks of all modules would
        # cost time at every one of them.
        frame = inspect.currentframe() if self._names else None
        while frame is not None:
            if frame.f_code.co_name in {"forward", "_call_impl"}:
                name = self._names.get(id(frame.f_locals.get("self")))
                if name:
                    return self.step, name
            frame = frame.f_back
        return self.step, ""

    def _stepped(self, *_: Any) -> None:
        self.step += 1


def new_folder(folder: Path) -> Path:
    """Make `folder`, or the first of `folder-2`, `folder-3`, … that is not there yet."""
    for count in itertools.count(1):
        chosen = folder if count == 1 else folder.with_name(f"{folder.name}-{count}")
        try:
            chosen.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(f"cannot make {chosen}: {error.strerror or error}") from error
        return chosen
    raise AssertionError("there is always another number")


@dataclass
class Sums:
    """Sums over all calls of one module and operation at one size; extremes with their step."""

    calls: int = 0
    differentiated: int = 0
    not_finite: int = 0
    """Calls of which an output or a gradient was not finite, or that raised."""
    smallest_gap: tuple[float, int] = (math.inf, 0)
    """By ‖M‖."""
    largest_gradient: tuple[float, int] = (0.0, 0)


class CallObserver:
    """Notes the calls that `intercepted` tells of, and saves matrices in a folder.

    It saves the first call that fails, or else the one with the smallest gap by ‖M‖. `where()`
    gives the step and the module. Numbers are read when the device has them.
    """

    def __init__(self, folder: Path, keep: int, where: Callable[[], tuple[int, str]]) -> None:
        self.records: deque[CallRecord] = deque(maxlen=keep)
        self.sums: defaultdict[tuple[str, str, str], Sums] = defaultdict(Sums)
        """By module, operation, and size with dtype; a call that repeats another is left out."""
        self._folder = folder
        self._where = where
        self._queue = Queue()
        self._open = True
        self._closest: tuple[float, Call] | None = None
        # Calls come from any thread; reading one may save another.
        self._lock = threading.RLock()

    def close(self) -> None:
        """Wait for what is under way; later backward passes are not noted."""
        with self._lock:
            self._open = False
            self._queue.drain(wait=True)
        if self._closest is not None and kept_in(self._folder) is None:
            call = self._closest[1]
            cause = "nothing failed; this matrix has the smallest gap by ‖M‖ of all"
            call.save(self._folder / CLOSEST, cause, {}, int(call.smallest_gaps()[1].argmin()))

    def returned(
        self, kind: Decomposition, name: str, M: Tensor, results: Sequence[Tensor]
    ) -> Call:
        """Note a call."""
        with self._lock:
            call = self._noted(kind, name, M)
            self._queue.push(Reading(call.returned(results)), partial(self._read, call))
        return call

    def raised(self, kind: Decomposition, name: str, M: Tensor, error: Exception) -> None:
        """Note a call that did not converge, and save its matrix."""
        with self._lock:
            call = self._noted(kind, name, M)
            call.record.outputs_finite = False
            self._sums(call).not_finite += not call.again
            # torch names the matrix of a batch in its message only.
            found = re.search(r"Batch element (\d+)", str(error))
            index = None if found is None else int(found[1])
            self._save(call, f"it raised ({first_line(error)})", {}, index)

    def _noted(self, kind: Decomposition, name: str, M: Tensor) -> Call:
        where = (*self._where(), name, tuple(M.shape))
        record = CallRecord(*where, dtype_name(M), str(M.device))
        told = (partial(self._later, read) for read in (self._read_norms, self._read_residuals))
        call = Call(kind, M, record, *told)
        if not call.again:
            self.records.append(record)
            self._sums(call).calls += 1
        return call

    def _sums(self, call: Call) -> Sums:
        record = call.record
        size = f"{record.shape[-2]}×{record.shape[-1]}, {record.dtype}"
        return self.sums[record.module, record.operation, size]

    def _read(self, call: Call, numbers: list[float]) -> None:
        relative, share, finite = numbers
        record, sums = call.record, self._sums(call)
        record.smallest_relative_gap, record.smallest_gap_by_norm = relative, share
        record.outputs_finite = finite == 1
        if not call.again:
            sums.not_finite += not record.outputs_finite
            # The earlier one first: it stays in a tie, and where the other is NaN.
            both = (sums.smallest_gap, (share, record.step))
            sums.smallest_gap = min(both, key=itemgetter(0))
        if not record.outputs_finite:
            self._save(call, "its result was not finite", {})
        elif record.operation in VECTORS and (self._closest is None or share < self._closest[0]):
            self._closest = (share, call)

    def _later(
        self, read: Callable[..., None], call: Call, gradients: dict[str, Tensor], numbers: Tensor
    ) -> None:
        """Read `numbers` of a backward pass when they are there."""
        with self._lock:
            if self._open:
                self._queue.push(Reading(numbers), partial(read, call, gradients))

    def _read_residuals(
        self, call: Call, gradients: dict[str, Tensor], residuals: list[float]
    ) -> None:
        worst = max(residuals)
        call.record.gauge_residual = worst
        if worst > PHASE_REFUSED:
            cause = f"the loss depends on the phases of its vectors (gauge residual {worst:.1e})"
            self._save(call, cause, gradients, residuals.index(worst))

    def _read_norms(self, call: Call, gradients: dict[str, Tensor], numbers: list[float]) -> None:
        *upstream, norm = numbers
        record, sums = call.record, self._sums(call)
        record.upstream_norms = dict(zip(gradients, upstream, strict=True))
        record.gradient_norm = norm
        sums.differentiated += 1
        if all(map(math.isfinite, numbers)):
            both = (sums.largest_gradient, (norm, record.step))
            sums.largest_gradient = max(both, key=itemgetter(0))
            return
        sums.not_finite += 1
        if all(map(math.isfinite, upstream)):
            kind = "NaN" if math.isnan(norm) else "infinite"
            self._save(call, f"its backward pass gave {kind}", gradients)
        else:
            self._save(call, "the gradient that reached it was not finite", gradients)

    def _save(
        self, call: Call, cause: str, gradients: dict[str, Tensor], index: int | None = None
    ) -> None:
        """Write the first failure of its kind, at once; `index` is its place, if it is known."""
        from_above = not all(bool(value.isfinite().all()) for value in gradients.values())
        path = self._folder / (FROM_ABOVE if from_above else FAILURE)
        if path.exists():
            return
        index = call.first_failing(gradients) if index is None else index
        try:
            call.save(path, cause, gradients, index)
        except OSError as error:  # a full disk must not end a training
            _log.error("eigbench.watch could not save a matrix: %s", error)
            return
        _log.warning(
            "eigbench.watch: torch.linalg.%s at step %d: %s. Saved; see: eigbench diagnose %s",
            call.record.operation,
            call.record.step,
            cause,
            one_line(str(path)),
        )


def kept_in(folder: Path) -> Path | None:
    """The matrix in a folder that is worth a diagnosis most; None if there is none."""
    paths = [folder / name for name in (FAILURE, FROM_ABOVE, CLOSEST)]
    return next(filter(Path.exists, paths), None)


def write_report(
    folder: Path, observer: CallObserver, steps: int, error: BaseException | None
) -> Path:
    """Write `records.jsonl`, `report.md` and its picture; returns the report's path."""
    write_whole(folder / RECORDS, b"".join(record.line() for record in observer.records))
    kept = kept_in(folder)
    text = page.render(
        "watch",
        steps=steps,
        calls=sum(sums.calls for sums in observer.sums.values()),
        differentiated=sum(sums.differentiated for sums in observer.sums.values()),
        error=None if error is None else in_one_line(error),
        sums=table(_HEADERS, [_row(*key, sums) for key, sums in observer.sums.items()]),
        kept=kept,
    )
    if kept is not None:
        return diagnose(kept).write(folder, preface=f"{text}\n\n")
    write_whole(folder / REPORT, f"{text}\n".encode())
    return folder / REPORT


_HEADERS = (
    "module, operation",
    "size",
    "calls",
    "smallest gap by ‖M‖",
    "largest gradient by M",
    "not finite",
)


def _row(module: str, operation: str, size: str, sums: Sums) -> tuple[str, ...]:
    gap, gradient = (
        f"{page.number(value)} at step {step}"
        for value, step in (sums.smallest_gap, sums.largest_gradient)
    )
    return (
        f"{page.code(module)}, {operation}" if module else operation,
        size,
        str(sums.calls),
        gap if math.isfinite(sums.smallest_gap[0]) else NOTHING,
        gradient if sums.differentiated else NOTHING,
        str(sums.not_finite),
    )
