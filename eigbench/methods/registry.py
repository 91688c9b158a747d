"""Which methods there are. Names are known without importing torch; classes load on request."""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from eigbench.errors import InputError

if TYPE_CHECKING:
    from eigbench.methods.base import Method

ENTRY_POINT_GROUP = "eigbench.methods"

# In the order in which tables list them: the analytic pair, the rival, the paper's method, its
# reference; then what is exact for functions alone, and a baseline as it was released.
_BUILT_IN = {
    "eigh": "eigbench.methods.eigh:Eigh",
    "svd": "eigbench.methods.svd:Svd",
    "pi": "eigbench.methods.pi:PowerIteration",
    "hybrid": "eigbench.methods.hybrid:Hybrid",
    "hybrid-loop": "eigbench.methods.hybrid_loop:HybridLoop",
    "spectral": "eigbench.methods.spectral:Spectral",
    "svd-released": "eigbench.methods.svd_released:SvdReleased",
}


@functools.cache
def _entries() -> dict[str, EntryPoint]:
    """Every method's entry point by name; an installed package cannot replace a built-in one."""
    built_in = [EntryPoint(name, path, ENTRY_POINT_GROUP) for name, path in _BUILT_IN.items()]
    installed = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name)
    entries: dict[str, EntryPoint] = {}
    for entry in [*built_in, *installed]:
        entries.setdefault(entry.name, entry)
    return entries


def available() -> tuple[str, ...]:
    """The names of all methods: the built-in ones, then those of installed packages."""
    return tuple(_entries())


_loaded: dict[str, type[Method]] = {}


def get(name: str) -> type[Method]:
    """The class of the method called `name`; `InputError` lists the names if there is none."""
    if name not in _loaded:
        if name not in _entries():
            raise InputError(f"unknown method {name!r}; available are {', '.join(available())}")
        _loaded[name] = _entries()[name].load()
    return _loaded[name]


def load_built_in() -> None:
    """Load the built-in classes now, so that `torch.compile` finds them without importing."""
    for name in _BUILT_IN:
        get(name)


def configured(name: str, **parameters: Any) -> Method:
    """The method called `name` with these parameters; `InputError` if it does not take one."""
    chosen = get(name)
    names = chosen.parameter_names()
    for parameter in parameters:
        if parameter not in names:
            takes = ", ".join(names) or "none"
            raise InputError(f"method {name!r} has no parameter {parameter!r}; it takes: {takes}")
    return chosen(**parameters)
