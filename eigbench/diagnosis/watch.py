"""`eigbench.watch`: every `torch.linalg.eigh` and `svd` of a training, until one fails."""

from __future__ import annotations

import inspect
import itertools
import logging
import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.linalg import LinAlgError  # type: ignore[attr-defined]
from torch.optim.optimizer import register_optimizer_step_post_hook

from eigbench.diagnosis import page, saved
from eigbench.diagnosis.calls import Call, CallRecord, Journal, Queue, Reading, Sums
from eigbench.diagnosis.diagnose import diagnose
from eigbench.diagnosis.inputs import Origin
from eigbench.diagnosis.interception import Operation, intercepted
from eigbench.diagnosis.page import first_line
from eigbench.diagnosis.saved import SavedCall
from eigbench.errors import InputError
from eigbench.methods.calling import composing
from eigbench.report.numbers import NOTHING
from eigbench.runs.store import RECORDS, REPORT, write_whole

FAILURE = "first-failure.pt"
FROM_ABOVE = "first-from-above.pt"
"""Of a gradient that was not finite before it reached the decomposition."""
CLOSEST = "closest.pt"

_log = logging.getLogger("eigbench")
_CALL = nn.Module._call_impl.__code__


def watch(
    model: nn.Module | None = None,
    folder: str | Path = "eigbench-watch",
    *,
    keep: int = 10_000,
) -> Watch:
    """Record every `torch.linalg.eigh` and `svd` inside a `with`, and keep the first that fails.

        with eigbench.watch(model):
            train(model)

    As soon as one raises, or gives or gets a gradient that is not finite, its matrix and the
    gradients that reached it are in `first-failure.pt`, which `eigbench diagnose` reads; if they
    were not finite already when they reached it, in `first-from-above.pt`. At the end, or at an
    exception, there are `records.jsonl` of the last `keep` calls (shape, smallest relative gap,
    norms of gradients) and `report.md`. If nothing failed, the report is of the matrix with the
    smallest gap. `folder` gets a number if it exists; see `Watch.folder`.

    With a `model` each call has the name of the innermost module that made it. Steps are those of
    any optimiser of torch. Calls in compiled code and under `torch.func` are not seen; those in
    methods with a backward pass of their own are, without gradients. `watch` changes no result
    and, on CUDA, waits for nothing; what it cannot write it logs. One may be inside another.
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
        self._names: dict[int, str] = {}
        if model is not None:
            for name, module in model.named_modules():
                self._names[id(module)] = name or type(module).__name__
        self._keep = keep
        self._observer: CallObserver | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Watch:
        if self._observer is not None:
            raise InputError("a watch is entered once; make another with eigbench.watch")
        self.folder = new_folder(self.folder)
        self._observer = CallObserver(self.folder, self._keep, self._where)
        hook = register_optimizer_step_post_hook(self._stepped)
        self._stack.callback(hook.remove)
        self._stack.enter_context(intercepted(self._observer))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
        if self._observer is None:
            return
        try:
            self._observer.close()
            report = write_report(self.folder, self._observer.journal, self.step, error)
        # A training that came to its end must not be lost for a report.
        except Exception as own:  # noqa: BLE001
            _log.error("eigbench.watch could not write its report: %s", own)
        else:
            _log.info("eigbench.watch: the report is %s", report)

    def _where(self) -> tuple[int, str]:
        """The step, and the innermost module of the model that is at work."""
        # Looked up in the stack when there is something to note: hooks of all modules would
        # cost time at every one of them.
        modules = _modules_at_work() if self._names else ()
        named = (self._names.get(id(module)) for module in modules)
        return self.step, next(filter(None, named), "")

    def _stepped(self, *_: Any) -> None:
        self.step += 1


def _modules_at_work() -> Iterator[nn.Module]:
    """The modules whose forward pass this is in, the innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is _CALL or frame.f_code.co_name == "forward":
            module = frame.f_locals.get("self")
            if isinstance(module, nn.Module):
                yield module
        frame = frame.f_back


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


class CallObserver:
    """Makes the watched calls, notes them in a journal, and saves matrices in a folder.

    `where()` gives the step and the module. Numbers are read when the device has them.
    """

    def __init__(self, folder: Path, keep: int, where: Callable[[], tuple[int, str]]) -> None:
        self.journal = Journal(keep)
        self._keeper = Keeper(folder)
        self._where = where
        self._queue = Queue()
        self._open = True

    def close(self) -> None:
        """Wait for what is under way; later backward passes are not noted."""
        self._open = False
        self._queue.drain(wait=True)
        self._keeper.close()

    def __call__(
        self, operation: Operation, function: Callable[..., Any], /, *args: Any, **kwargs: Any
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
        call = self._noted(operation, M)
        try:
            results = function(*args, **kwargs)
        except LinAlgError as error:
            self._raised(call, error)
            raise
        with torch.no_grad():
            numbers = Reading(call.returned(results))
        self._queue.push(numbers, partial(self._returned, call))
        if differentiated:
            call.watch_gradients(seen, results, partial(self._passed, call))
        return results

    def _noted(self, operation: Operation, M: Tensor) -> Call:
        dtype = str(M.dtype).removeprefix("torch.")
        record = CallRecord(*self._where(), operation.name, tuple(M.shape), dtype, str(M.device))
        # In a backward pass a checkpoint computes again what it has computed before.
        call = Call(operation, M, record, again=torch._C._current_graph_task_id() != -1)
        self.journal.called(call)
        return call

    def _raised(self, call: Call, error: Exception) -> None:
        self.journal.returned(call, math.nan, math.nan, finite=False)
        # torch names the matrix of a batch in its message only.
        found = re.search(r"Batch element (\d+)", str(error))
        cause = f"it raised ({first_line(error)})"
        self._save(call, cause, {}, None if found is None else int(found[1]))

    def _returned(self, call: Call, numbers: list[float]) -> None:
        relative, share, finite = numbers
        self.journal.returned(call, relative, share, finite=finite == 1)
        if finite == 1:
            self._keeper.consider(call, share)
        else:
            self._save(call, "its result was not finite", {})

    def _passed(self, call: Call, norms: Tensor) -> None:
        if self._open:
            gradients, call.gradients = call.gradients, {}
            self._queue.push(Reading(norms), partial(self._read_norms, call, gradients))

    def _read_norms(self, call: Call, gradients: dict[str, Tensor], numbers: list[float]) -> None:
        *upstream, norm = numbers
        named = dict(zip(call.outputs, upstream, strict=True))
        self.journal.passed(call, {name: named[name] for name in named if name in gradients}, norm)
        if not all(map(math.isfinite, upstream)):
            self._save(call, "the gradient that reached it was not finite", gradients)
        elif not math.isfinite(norm):
            kind = "NaN" if math.isnan(norm) else "infinite"
            self._save(call, f"its backward pass gave {kind}", gradients)

    def _save(
        self, call: Call, cause: str, gradients: dict[str, Tensor], index: int | None = None
    ) -> None:
        try:
            path = self._keeper.failed(call, cause, gradients, index)
        except OSError as error:  # a full disk must not end a training
            _log.error("eigbench.watch could not save a matrix: %s", error)
            return
        if path is not None:
            _log.warning(
                "eigbench.watch: torch.linalg.%s at step %d: %s. Saved; see: eigbench diagnose %s",
                call.operation.name,
                call.record.step,
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


class Keeper:
    """Saves the first call that fails, or else the one with the smallest gap, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._closest: tuple[float, Call] | None = None

    def consider(self, call: Call, share: float) -> None:
        """Remember the call with the smallest gap by ‖M‖."""
        if self._closest is None or share < self._closest[0]:
            self._closest = (share, call)

    def failed(
        self, call: Call, cause: str, gradients: dict[str, Tensor], index: int | None
    ) -> Path | None:
        """Write the first failure of its kind, at once; returns the file, or None if there is one.

        `index` is the place in the flattened batch, if it is known.
        """
        from_above = not all(bool(value.isfinite().all()) for value in gradients.values())
        path = self._folder / (FROM_ABOVE if from_above else FAILURE)
        if path.exists():
            return None
        if index is None:
            index = _first_failing(call, gradients)
        saved.write(path, _one_of(call, cause, gradients, index))
        return path

    def close(self) -> None:
        """If nothing failed, write the call with the smallest gap."""
        failures = (self._folder / FAILURE, self._folder / FROM_ABOVE)
        if self._closest is None or any(path.exists() for path in failures):
            return
        _, call = self._closest
        cause = "nothing failed; this matrix has the smallest gap by ‖M‖ of all"
        index = int(call.smallest_gaps()[1].argmin())
        saved.write(self._folder / CLOSEST, _one_of(call, cause, {}, index))


def _first_failing(call: Call, gradients: dict[str, Tensor]) -> int:
    """The index in the flattened batch of the first matrix of which something is not finite.

    If all numbers are finite, then its own backward pass was not, at the closest pair.
    """
    count = call.matrix.shape[:-2].numel()
    for tensors in ((call.matrix,), gradients.values(), call.outputs.values()):
        for tensor in tensors:
            finite = tensor.isfinite().reshape(count, -1).all(dim=-1)
            if not finite.all():
                return int(finite.logical_not().int().argmax())
    return int(call.smallest_gaps()[1].argmin())


def _one_of(call: Call, cause: str, gradients: dict[str, Tensor], index: int) -> SavedCall:
    """One matrix of the batch of a call, by its index in the flattened batch."""
    batch, record = call.matrix.shape[:-2], call.record
    place = tuple(int(i) for i in torch.unravel_index(torch.tensor(index), batch)) if batch else ()
    return SavedCall(
        call.matrix[place],
        {name: value[place] for name, value in call.outputs.items()},
        {name: value[place] for name, value in gradients.items()},
        Origin(record.operation, cause, record.step, record.module, record.shape, place),
    )


def write_report(folder: Path, journal: Journal, steps: int, error: BaseException | None) -> Path:
    """Write `records.jsonl`, `report.md` and its picture; returns the report's path."""
    write_whole(folder / RECORDS, b"".join(record.line() for record in journal.records))
    kept = next((folder / n for n in (FAILURE, FROM_ABOVE, CLOSEST) if (folder / n).exists()), None)
    text = page.render(
        "watch",
        steps=steps,
        calls=sum(sums.calls for sums in journal.sums.values()),
        differentiated=sum(sums.differentiated for sums in journal.sums.values()),
        error=None if error is None else f"{type(error).__name__}: {first_line(error)}",
        sums=page.table(_HEADERS, [_row(*key, sums) for key, sums in journal.sums.items()]),
        kept=kept,
    )
    if kept is not None:
        return diagnose(kept).write(folder, preface=f"{text}\n")
    write_whole(folder / REPORT, text.encode())
    return folder / REPORT


_HEADERS = (
    "module, operation",
    "size",
    "calls",
    "smallest relative gap",
    "smallest gap by ‖M‖",
    "largest gradient by M",
    "not finite",
)


def _row(module: str, operation: str, size: str, dtype: str, sums: Sums) -> tuple[str, ...]:
    extremes = (sums.smallest_relative_gap, sums.smallest_gap_by_norm, sums.largest_gradient)
    relative, share, gradient = (f"{page.number(v)} at step {step}" for v, step in extremes)
    if math.isinf(sums.smallest_relative_gap[0]):
        relative = share = NOTHING
    return (
        f"{page.code(module)}, {operation}" if module else operation,
        f"{size}, {dtype}",
        str(sums.calls),
        relative,
        share,
        gradient if sums.differentiated else NOTHING,
        str(sums.not_finite),
    )
