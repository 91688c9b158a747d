"""Images from a folder: `train/<class>/*.jpg` and `test/<class>/*.jpg`, or `.jpeg`, or `.png`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eigbench.data.decoding import SIDE_PIXELS, Labelled, decode
from eigbench.errors import InputError

LAYOUT = "train/<class>/ and test/<class>/"
ENDINGS = (".jpg", ".jpeg", ".png")


def read_folder(folder: Path, split: str) -> Labelled:
    """All images of one split, sorted by class and name. Names that start with a dot are not seen.

    Both splits' classes are checked, so that a folder that cannot be tested on is refused before
    anything is trained. `InputError` names the file or folder that is wrong.
    """
    _entries(folder)  # the folder itself first, for the clearest message
    listed = {part: _classes(folder / part) for part in ("train", "test")}
    for part, other in (("train", "test"), ("test", "train")):
        for missing in sorted(listed[part].keys() - listed[other].keys()):
            raise InputError(
                f"{folder / other} lacks the class {missing!r}, which {part} has; "
                "both must have the same classes"
            )
    classes = listed[split]
    if len(classes) < 2:
        raise InputError(f"{folder / split} has fewer than two classes; it takes two to classify")
    paths = [path for images in classes.values() for path in images]
    # One thread: decoding so small an image hardly leaves the interpreter's lock, and two threads
    # were no faster.
    pixels = np.empty((len(paths), SIDE_PIXELS, SIDE_PIXELS, 3), np.uint8)
    for image, path in zip(pixels, paths, strict=True):
        image[:] = decode(_content(path), str(path))
    counts = [len(images) for images in classes.values()]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
    return Labelled(pixels, labels, tuple(classes))


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The paths of a split's images, by class."""
    return {entry.name: _images(entry) for entry in _entries(folder)}


def _images(folder: Path) -> list[Path]:
    paths = _entries(folder)
    for path in paths:
        if path.suffix.lower() not in ENDINGS:
            raise InputError(f"{path} is not an image: {', '.join(ENDINGS)} are the right endings")
    if not paths:
        raise InputError(f"the class {folder} has no image; every class needs one or more")
    return paths


def _entries(folder: Path) -> list[Path]:
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except (OSError, ValueError) as error:  # ValueError: a name that no system takes
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot read the folder {folder}: {reason}; images belong in {LAYOUT}"
        ) from error
    return sorted(entries, key=lambda entry: entry.name)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the image {path}: {error.strerror or error}") from error
