"""`eigbench.watch`: every `torch.linalg.eigh` and `svd` of a training, until one fails."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from eigbench.diagnosis.intercepting import intercepted
from eigbench.diagnosis.journal import Journal
from eigbench.diagnosis.keeping import Keeper
from eigbench.diagnosis.observing import Observer
from eigbench.errors import InputError

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
        """How many steps optimisers have made since it was entered."""
        # The model is kept with the names, so that no other module can have one of these ids.
        self._model = model
        self._names = (
            {}
            if model is None
            else {
                id(module): name or type(module).__name__ for name, module in model.named_modules()
            }
        )
        self._keep = keep
        self._observer: Observer | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Watch:
        if self._observer is not None:
            raise InputError("a watch is entered once; make another with eigbench.watch")
        self.folder = new_folder(self.folder)
        observer = Observer(Journal(self._keep), Keeper(self.folder), self._where)
        hook = register_optimizer_step_post_hook(self._stepped)
        self._stack.callback(hook.remove)
        self._stack.enter_context(intercepted(observer))
        self._observer = observer
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
        try:
            report = self._report(error)
        # A training that came to its end must not be lost for a report.
        except Exception as own:  # noqa: BLE001
            _log.error("eigbench.watch could not write its report: %s", own)
        else:
            _log.info("eigbench.watch: the report is %s", report)

    def _report(self, error: BaseException | None) -> Path:
        from eigbench.diagnosis.watched import write_report  # late: matplotlib

        if self._observer is None:
            raise RuntimeError("a watch that was not entered has no report")
        journal = self._observer.close()
        return write_report(self.folder, journal, self.step, error)

    def _where(self) -> tuple[int, str]:
        """The step, and the innermost module of the model that is at work."""
        # Looked up in the stack when there is something to note: hooks of all modules would
        # cost time at every one of them.
        names = (
            (self._names.get(id(module)) for module in _modules_at_work()) if self._names else ()
        )
        return self.step, next(filter(None, names), "")

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
    count = 1
    chosen = folder
    while True:
        try:
            chosen.mkdir(parents=True)
        except FileExistsError:
            count += 1
            chosen = folder.with_name(f"{folder.name}-{count}")
        except OSError as error:
            raise InputError(f"cannot make {chosen}: {error.strerror or error}") from error
        else:
            return chosen
