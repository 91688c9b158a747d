"""One image from its bytes, and what every source of images hands on."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eigbench.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[np.uint8]

SIDE_PIXELS = 32
"""CIFAR's width and height, which the networks are made for."""

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
