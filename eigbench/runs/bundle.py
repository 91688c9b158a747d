"""A run's pictures and traces in one file each, for where few files come back from."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

from eigbench.runs.files import write_whole

BUNDLED = ("figures", "traces")

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # without the time of day, so that the same files give the same


def bundle(folder: Path) -> None:
    """Replace `figures/` by `figures.zip` and `traces/` by `traces.zip`.

    What is in such a file from an earlier session of the run stays in it, unless it was made again.
    """
    for name in BUNDLED:
        if (folder / name).is_dir():
            archive = folder / f"{name}.zip"
            content = {**_unpacked(archive), **_found(folder / name)}
            write_whole(archive, _packed(content))
            shutil.rmtree(folder / name)


def _found(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder.parent).as_posix(): path.read_bytes() for path in files}


def _unpacked(archive: Path) -> dict[str, bytes]:
    if not archive.exists():
        return {}
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def _packed(content: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(content):
            archive.writestr(zipfile.ZipInfo(name, _EARLIEST), content[name])
    return buffer.getvalue()
