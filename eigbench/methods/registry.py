"""Which methods there are. Names are known without importing torch; classes load on request."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from eigbench.errors import InputError, in_one_line

if TYPE_CHECKING:
    from eigbench.methods.base import Method

ENTRY_POINT_GROUP = "eigbench.methods"

# In the order in which tables list them, and pictures give colours: the analytic pair, the rival,
# the paper's method, its reference, and as its Eq. 10 has it; what is exact for functions alone,
# and the two baselines as they were released; then the rules that followed, the broadened ones,
# those for roots alone, those for a part of the pairs, and those that leave pairs out or move them.
_BUILT_IN = {
    "eigh": "eigbench.methods.eigh:Eigh",
    "svd": "eigbench.methods.svd:Svd",
    "pi": "eigbench.methods.pi:PowerIteration",
    "hybrid": "eigbench.methods.hybrid:Hybrid",
    "hybrid-loop": "eigbench.methods.hybrid_loop:HybridLoop",
    "spectral": "eigbench.methods.spectral:Spectral",
    "spectral-float64": "eigbench.methods.spectral:SpectralFloat64",
    "svd-released": "eigbench.methods.svd:SvdReleased",
    "pi-released": "eigbench.methods.pi:PowerIterationReleased",
    "hybrid-eq10": "eigbench.methods.hybrid:HybridEq10",
    "taylor": "eigbench.methods.taylor:Taylor",
    "pade": "eigbench.methods.pade:Pade",
    "clip": "eigbench.methods.bounded:Clip",
    "trunc": "eigbench.methods.bounded:Trunc",
    "topn": "eigbench.methods.topn:TopN",
    "lorentzian": "eigbench.methods.bounded:Lorentzian",
    "lorentzian-relative": "eigbench.methods.bounded:RelativeLorentzian",
    "svd-newton": "eigbench.methods.svd_newton:SvdNewton",
    "newton-schulz": "eigbench.methods.newton_schulz:NewtonSchulz",
    "newton-db": "eigbench.methods.newton_schulz:NewtonDB",
    "cans": "eigbench.methods.minimax:Cans",
    "polar-express": "eigbench.methods.minimax:PolarExpress",
    "coupled-newton": "eigbench.methods.coupled_newton:CoupledNewton",
    "mpa-lyapunov": "eigbench.methods.lyapunov:MpaLyapunov",
    "mtp-lyapunov": "eigbench.methods.lyapunov:MtpLyapunov",
    "cholesky": "eigbench.methods.cholesky:Cholesky",
    "implicit": "eigbench.methods.implicit:Implicit",
    "subspace": "eigbench.methods.subspace:Subspace",
    "mask": "eigbench.methods.mask:Mask",
    "mask-checked": "eigbench.methods.mask:MaskChecked",
    "gauge-projected": "eigbench.methods.mask:GaugeProjected",
    "jitter": "eigbench.methods.jitter:Jitter",
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
    """The names of all methods: built-in, of installed packages, and registered ones."""
    return (*_entries(), *_registered)


_loaded: dict[str, type[Method]] = {}
_registered: dict[str, _Registered] = {}


class _Registered(NamedTuple):
    method: type[Method]
    origin: str
    sha256: str


def register(method: type[Method], origin: str, sha256: str = "") -> None:
    """Add a method to this process, under its `name`; `origin` says where it comes from.

    `sha256` is that of its program, by which a run that is resumed knows it again.
    `InputError` if the name is taken, unless by an earlier class of the same origin.
    """
    name = method.name
    if name in _BUILT_IN:
        raise InputError(f"{name!r} is a built-in method, which nothing replaces; rename yours")
    if name in _entries():
        raise InputError(f"{name!r} is a method of an installed package; rename yours")
    earlier = _registered.get(name)
    if earlier is not None and earlier.origin != origin:
        raise InputError(f"{name!r} is a method of {earlier.origin} already; rename one")
    _registered[name] = _Registered(method, origin, sha256)


def get(name: str) -> type[Method]:
    """The class of the method called `name`; `InputError` lists the names if there is none.

    `InputError` too if the installed package that brings it cannot be imported.
    """
    if name in _registered:
        return _registered[name].method
    if name not in _loaded:
        if name not in _entries():
            raise InputError(f"unknown method {name!r}; available are {', '.join(available())}")
        entry = _entries()[name]
        _loaded[name] = entry.load() if name in _BUILT_IN else _load_installed(entry)
    return _loaded[name]


def _load_installed(entry: EntryPoint) -> type[Method]:
    """The class that an installed package brings, whatever state that is in."""
    from eigbench.methods.base import Method  # late: torch

    try:
        loaded = entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        said = f"({entry.value}): {in_one_line(error)}"
        raise InputError(f"method {entry.name!r} cannot be loaded {said}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Method)):
        raise InputError(f"method {entry.name!r} ({entry.value}) is no class derived from Method")
    return loaded


def fingerprint(name: str) -> str:
    """The SHA-256 of the program of a method; "" of one that is part of this package.

    Of an installed package: its version, and the file in which the method is.
    """
    if name in _registered:
        return _registered[name].sha256
    if name in _BUILT_IN or name not in _entries():
        return ""
    package = _entries()[name].dist
    file = getattr(sys.modules[get(name).__module__], "__file__", None)
    program = Path(file).read_bytes() if file else b""
    return hashlib.sha256((package.version if package else "").encode() + program).hexdigest()


def built_in() -> tuple[str, ...]:
    """The names of the methods that are part of this package."""
    return tuple(_BUILT_IN)


_unavailable: dict[str, tuple[str, ...]] = {}


def register_unavailable(name: str, parameters: Iterable[str]) -> None:
    """Add the name of a method that a run has records of, so that the run is read without it."""
    if name not in available():
        _unavailable[name] = tuple(dict.fromkeys([*_unavailable.get(name, ()), *parameters]))


def recognised() -> tuple[str, ...]:
    """The names of all methods, and of those that only a run has that was read."""
    return (*available(), *_unavailable)


def parameter_names(name: str) -> tuple[str, ...]:
    """The parameters of a method among those `recognised`; `InputError` if it is not."""
    absent = name in _unavailable and name not in available()
    return _unavailable[name] if absent else get(name).parameter_names()


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
