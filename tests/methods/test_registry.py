"""Which methods there are, and how others join them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from eigbench.errors import InputError
from eigbench.methods import available, get, registry
from eigbench.methods.svd import Svd


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that brings a method of its own, and one under a name that is taken."""
    entries = [
        EntryPoint("zz-mine", "eigbench.methods.svd:Svd", registry.ENTRY_POINT_GROUP),
        EntryPoint("eigh", "eigbench.methods.svd:Svd", registry.ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries)
    monkeypatch.setattr(registry, "_loaded", {})
    registry._entries.cache_clear()
    yield
    registry._entries.cache_clear()


def test_built_in_names_in_the_order_of_tables() -> None:
    assert available()[:5] == ("eigh", "svd", "pi", "hybrid", "hybrid-loop")
    assert available()[5:8] == ("spectral", "spectral-float64", "svd-released")


@pytest.mark.usefixtures("installed")
def test_an_installed_package_adds_a_method() -> None:
    assert available()[-1] == "zz-mine"
    assert get("zz-mine") is Svd


@pytest.mark.usefixtures("installed")
def test_an_installed_package_cannot_replace_a_built_in_method() -> None:
    assert get("eigh") is not Svd


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (
            "nowhere_to_be_found:X",
            r"cannot be loaded \(nowhere.*\): ModuleNotFoundError: No module",
        ),
        ("eigbench.methods.svd:Nothing", r"cannot be loaded .* AttributeError: .*'Nothing'"),
        ("eigbench.methods.svd:dataclass", r"\(.*\) is no class derived from Method"),
    ],
)
def test_a_broken_package_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str, complaint: str
) -> None:
    entry = EntryPoint("zz-broken", value, registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "_entries", lambda: {"zz-broken": entry})
    with pytest.raises(InputError, match=f"method 'zz-broken' {complaint}"):
        get("zz-broken")


@pytest.mark.usefixtures("installed")
def test_a_file_cannot_replace_an_installed_method(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Svd):
        name = "zz-mine"

    monkeypatch.setattr(registry, "_registered", {})
    with pytest.raises(InputError, match="'zz-mine' is a method of an installed package"):
        registry.register(Mine, "mine.py")
    assert get("zz-mine") is Svd


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(InputError, match="unknown method 'nope'; available are eigh, svd, pi"):
        get("nope")


def test_names_need_no_torch() -> None:
    code = (
        "import sys, eigbench, eigbench.methods; eigbench.methods.available();"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_is_its_class_s_own() -> None:
    for name in available():
        assert get(name).name == name
