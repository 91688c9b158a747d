"""Images from their bytes and from folders, and what every source of images hands on.

A folder is `train/<class>/*.jpg` and `test/<class>/*.jpg`, or `.jpeg`, or `.png`.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eigbench.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[np.uint8]

SIDE_PIXELS = 32
"""CIFAR's width and height, which the networks are made for."""

LAYOUT = "train/<class>/ and test/<class>/"
ENDINGS = (".jpg", ".jpeg", ".png")
_EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})


class Labelled(NamedTuple):
    """One split of one source, as arrays."""

    pixels: Pixels
    """`(N, 32, 32, 3)` uint8, RGB."""
    labels: NDArray[np.int64]
    """`(N,)`, places in `classes`."""
    classes: tuple[str, ...]


def decode(content: bytes, name: str) -> Pixels:
    """The image in a JPEG's or PNG's bytes, as RGB: `(32, 32, 3)`.

    `InputError` names the image if it is damaged, truncated, of another size, or of more than
    eight bits a channel.
    """
    from PIL import Image  # late: the spectra are imported by the command line

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            # Before any pixel is decoded: a huge image is refused as cheaply as a small one.
            _check(image, name)
            # Here all of it is decoded, and a truncated file is noticed. By way of RGBA, or Pillow
            # warns of every palette with a transparent colour.
            opaque = image.convert("RGBA") if "transparency" in image.info else image
            flat = np.frombuffer(opaque.convert("RGB").tobytes(), np.uint8)
    except InputError:
        raise
    except Exception as error:
        # Pillow has no common error: OSError, SyntaxError, ValueError, struct.error and others.
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        if "cannot identify" in reason:
            reason = "neither a JPEG nor a PNG"
        raise InputError(f"cannot read the image {name}: {reason}") from error
    return flat.reshape(SIDE_PIXELS, SIDE_PIXELS, 3)


def _check(image: Image.Image, name: str) -> None:
    if image.size != (SIDE_PIXELS, SIDE_PIXELS):
        width, height = image.size
        raise InputError(f"{name} is {width}×{height} pixels; {SIDE_PIXELS}×{SIDE_PIXELS} is right")
    if image.mode not in _EIGHT_BITS:
        raise InputError(f"{name} has more than 8 bits a channel; 8 are right")


def read_folder(folder: Path, split: str) -> Labelled:
    """All images of one split, sorted by class and name. Names that start with a dot are not seen.

    Both splits' classes are checked, so that a folder that cannot be tested on is refused before
    anything is trained. `InputError` names the file or folder that is wrong.
    """
    _entries(folder)  # the folder itself first, for the clearest message
    listed = {
        part: {entry.name: _images(entry) for entry in _entries(folder / part)}
        for part in ("train", "test")
    }
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
