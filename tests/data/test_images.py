"""Images in: what is read, in which order, what is refused, and the parts that are taken."""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eigbench.data.decoding import decode
from eigbench.data.images import ImageSet, limited, load_images, split_validation
from eigbench.data.mini import ARCHIVE, train_images
from eigbench.errors import InputError


def _picture(seed: int, mode: str = "RGB", side: int = 32) -> Image.Image:
    drawn = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    return Image.fromarray(drawn).convert(mode)


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    packed = io.BytesIO()
    image.save(packed, kind, **options)
    return packed.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of PNG images, 3 train and 2 test images of each of three classes."""
    root = tmp_path / "pictures"
    seed = 0
    for split, count in (("train", 3), ("test", 2)):
        for name in ("cat", "ant", "bee"):
            place = root / split / name
            place.mkdir(parents=True)
            for i in range(count):
                (place / f"{i}.png").write_bytes(_encoded(_picture(seed), "PNG"))
                seed += 1
    return root


def _refusal(source: Path | str, split: str = "train") -> str:
    with pytest.raises(InputError) as caught:
        load_images(str(source), split)
    message = str(caught.value)
    assert "\n" not in message
    return message


def _decoded_or_refused(content: bytes) -> np.ndarray[Any, np.dtype[np.uint8]] | str:
    """The pixels, or the one line that says why there are none."""
    try:
        return decode(content, "x")
    except InputError as error:
        message = str(error)
    assert "x" in message
    assert "\n" not in message
    return message


def _set(labels: list[int], classes: int = 3) -> ImageSet:
    """Images whose every pixel is their place, so that a choice can be read off."""
    places = torch.arange(len(labels), dtype=torch.uint8)
    names = tuple("abcdefghij"[:classes])
    return ImageSet(
        places[:, None, None, None].expand(-1, 3, 32, 32), torch.tensor(labels), names, "drawn"
    )


def _places(images: ImageSet) -> list[int]:
    return [int(place) for place in images.pixels[:, 0, 0, 0]]


# The set that ships


@pytest.mark.parametrize(("split", "per_class"), [("train", 200), ("test", 50)])
def test_mini(split: str, per_class: int) -> None:
    images = load_images("mini", split)
    assert images.pixels.shape == (10 * per_class, 3, 32, 32)
    assert images.pixels.dtype == torch.uint8
    assert images.labels.dtype == torch.int64
    assert images.labels.bincount().tolist() == [per_class] * 10
    assert images.name == "cifar10-mini"
    assert images.classes[:3] == ("airplane", "automobile", "bird")
    assert len(images) == 10 * per_class


def test_mini_unpacked_is_the_same_set(tmp_path: Path) -> None:
    packed = files("eigbench.data").joinpath(ARCHIVE).read_bytes()
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(tmp_path / "unpacked")
    for split in ("train", "test"):
        unpacked = load_images(str(tmp_path / "unpacked"), split)
        assert unpacked.name == "unpacked"
        assert unpacked.sha256 == load_images("mini", split).sha256


def test_train_images_are_those_of_mini() -> None:
    images = load_images("mini", "train")
    every_class_once = images.pixels[torch.arange(10) * 200].permute(0, 2, 3, 1)
    assert np.array_equal(train_images(10), every_class_once)


# Folders


def test_a_folder(folder: Path) -> None:
    train, test = load_images(str(folder), "train"), load_images(str(folder), "test")
    assert train.classes == test.classes == ("ant", "bee", "cat")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert train.name == "pictures"
    # Written as cat 0–2, ant 3–5, bee 6–8; PNG loses nothing.
    for place, seed in enumerate([3, 4, 5, 6, 7, 8, 0, 1, 2]):
        assert np.array_equal(train.pixels[place].permute(1, 2, 0), np.asarray(_picture(seed)))


def test_the_working_directory_has_a_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert load_images(".", "train").name == "pictures"


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "JPG"])
def test_jpeg_by_any_of_its_endings(folder: Path, ending: str) -> None:
    content = _encoded(_picture(50), "JPEG")
    (folder / "train" / "ant" / f"9.{ending}").write_bytes(content)
    images = load_images(str(folder), "train")
    assert np.array_equal(
        images.pixels[3].permute(1, 2, 0), np.asarray(Image.open(io.BytesIO(content)))
    )


def test_the_content_counts_not_the_ending(folder: Path) -> None:
    (folder / "train" / "ant" / "0.jpg").write_bytes(_encoded(_picture(50), "PNG"))
    images = load_images(str(folder), "train")
    assert np.array_equal(images.pixels[0].permute(1, 2, 0), np.asarray(_picture(50)))


def test_hidden_files_are_not_seen(folder: Path) -> None:
    before = load_images(str(folder), "train").sha256
    for place in (folder, folder / "train", folder / "train" / "ant"):
        (place / ".DS_Store").write_bytes(b"\0")
    assert load_images(str(folder), "train").sha256 == before


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "CMYK"])
def test_other_modes_become_rgb(mode: str) -> None:
    image = _picture(1, mode)
    kind = "JPEG" if mode == "CMYK" else "PNG"
    pixels = decode(_encoded(image, kind, **({"quality": 95} if kind == "JPEG" else {})), "x")
    assert pixels.shape == (32, 32, 3)
    if mode == "L":
        assert np.array_equal(pixels, np.asarray(image)[:, :, None].repeat(3, 2))
    elif mode == "P":
        palette = np.array(image.getpalette()).reshape(-1, 3)
        assert np.array_equal(pixels, palette[np.asarray(image)])
    elif mode != "CMYK":
        assert np.array_equal(pixels, np.asarray(image.convert("RGB")))


def test_a_palette_with_transparency_gives_no_warning() -> None:
    image = _picture(1).quantize(8)
    content = _encoded(image, "PNG", transparency=bytes([0, 128] + [255] * 6))
    palette = np.array(image.getpalette()).reshape(-1, 3)
    assert np.array_equal(decode(content, "x"), palette[np.asarray(image)])


def test_sixteen_bits_are_refused_not_clipped() -> None:
    deep = Image.fromarray(np.full((32, 32), 5000, np.uint16))
    with pytest.raises(InputError, match=r"^x has more than 8 bits a channel; 8 are right$"):
        decode(_encoded(deep, "PNG"), "x")


# Folders that are refused


def test_no_such_folder(tmp_path: Path) -> None:
    message = _refusal(tmp_path / "cifar11")
    assert message.startswith(f"cannot read the folder {tmp_path / 'cifar11'}: No such file")
    assert "train/<class>/ and test/<class>/" in message


@pytest.mark.parametrize("source", ["x\0y", "x" * 5000])
def test_a_name_that_no_system_takes(source: str) -> None:
    assert _refusal(source).startswith("cannot read the folder x")


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(b"PK")
    assert f"{tmp_path / 'images.zip'}: Not a directory" in _refusal(tmp_path / "images.zip")


def _keep(folder: Path, *classes: str) -> None:
    for path in folder.glob("*/*"):
        if path.name not in classes:
            shutil.rmtree(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda at: shutil.rmtree(at / "train"), "train: No such file or directory; images belong"),
        (lambda at: shutil.rmtree(at / "test"), "test: No such file or directory; images belong"),
        (lambda at: shutil.rmtree(at / "train/bee"), "train lacks the class 'bee', which test has"),
        (lambda at: shutil.rmtree(at / "test/bee"), "test lacks the class 'bee', which train has"),
        (lambda at: [one.unlink() for one in (at / "test/bee").iterdir()], "bee has no image"),
        (lambda at: (at / "train/labels.txt").touch(), "labels.txt: Not a directory"),
        (lambda at: (at / "train/ant/9.bmp").touch(), "9.bmp is not an image: .jpg, .jpeg, .png"),
        (lambda at: (at / "train/ant/nested").mkdir(), "nested is not an image: .jpg, .jpeg, .png"),
        (lambda at: (at / "train/ant/9.png").mkdir(), "ant/9.png: Is a directory"),
        (lambda at: _keep(at, "cat"), "fewer than two classes"),
        (_keep, "fewer than two classes"),
        *((lambda at, side=side: (at / "train/bee/1.png").write_bytes(
            _encoded(_picture(0, side=side), "PNG")),
           f"1.png is {side}×{side} pixels; 32×32 is right") for side in (31, 224)),
        *((lambda at, content=content: (at / "train/bee/1.png").write_bytes(content),
           "bee/1.png: neither a JPEG nor a PNG") for content in (b"", b"GIF89a" + bytes(100))),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_right_is_refused(
    folder: Path, change: Callable[[Path], object], said: str
) -> None:
    change(folder)
    assert said in _refusal(folder)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_image_is_refused(kind: str) -> None:
    """Cut anywhere: refused, unless every pixel was there already."""
    content = _encoded(_picture(3), kind)
    whole = decode(content, "x")
    refused = 0
    for length in range(0, len(content), 7):
        outcome = _decoded_or_refused(content[:length])
        if isinstance(outcome, str):
            refused += 1
        else:
            assert np.array_equal(outcome, whole), length
    # What may be cut off is what comes after the pixels.
    assert refused > 0.95 * len(range(0, len(content), 7))


@given(place=st.integers(0, 3000), value=st.integers(0, 255), kind=st.sampled_from(["PNG", "JPEG"]))
def test_a_changed_byte_is_an_image_or_one_line(place: int, value: int, kind: str) -> None:
    content = bytearray(_encoded(_picture(3), kind))
    content[place % len(content)] = value
    outcome = _decoded_or_refused(bytes(content))
    if not isinstance(outcome, str):
        assert outcome.shape == (32, 32, 3)
        assert outcome.dtype == np.uint8


def test_no_such_split() -> None:
    assert _refusal("mini", "valid") == "no split 'valid'; train and test are right"


# The identity


def test_the_hash_is_one_of_shape_classes_pixels_and_labels() -> None:
    images = _set([0, 1, 2, 1])
    pixels = np.arange(4, dtype=np.uint8).repeat(3 * 32 * 32)
    labels = b"".join(label.to_bytes(8, "little") for label in [0, 1, 2, 1])
    header = b'[[4, 3, 32, 32], ["a", "b", "c"]]'
    assert images.sha256 == hashlib.sha256(header + pixels.tobytes() + labels).hexdigest()


def test_the_hash_follows_every_part_but_the_name() -> None:
    images = _set([0, 1, 2, 1])
    pixels = images.pixels.clone()
    same = ImageSet(
        pixels.to(memory_format=torch.channels_last), images.labels, images.classes, "other"
    )
    assert same.sha256 == images.sha256
    pixels[3, 2, 31, 31] += 1
    for changed in (
        ImageSet(pixels, images.labels, images.classes, images.name),
        ImageSet(images.pixels, images.labels.flip(0), images.classes, images.name),
        ImageSet(images.pixels, images.labels, ("a", "b", "d"), images.name),
        images.select(torch.tensor([0, 1, 2])),
        images.select(torch.tensor([1, 0, 2, 3])),
    ):
        assert changed.sha256 != images.sha256


def test_images_move_to_a_device() -> None:
    images = _set([0, 1, 2]).to("meta")
    assert images.pixels.device.type == images.labels.device.type == "meta"
    assert images.classes == ("a", "b", "c")
    assert _set([0, 1]).to(torch.device("cpu")).sha256 == _set([0, 1]).sha256


# Validation


def test_the_same_share_of_each_class() -> None:
    images = load_images("mini", "train")
    training, validation = split_validation(images, seed=0)
    assert training.labels.bincount().tolist() == [180] * 10
    assert validation.labels.bincount().tolist() == [20] * 10
    assert training.classes == validation.classes == images.classes


@given(
    labels=st.lists(st.integers(0, 2), min_size=2, max_size=200),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_each_image_is_in_one_part(labels: list[int], share: float, seed: int) -> None:
    images = _set(labels)
    counts = [labels.count(label) for label in range(3)]
    expected = [max(min(round(share * count), count - 1), 0) for count in counts]
    if not sum(expected):
        with pytest.raises(InputError, match="leaves none to validate on"):
            split_validation(images, share, seed=seed)
        return
    training, validation = split_validation(images, share, seed=seed)
    first, second = _places(training), _places(validation)
    assert sorted(first + second) == list(range(len(labels)))
    assert first == sorted(first)
    assert second == sorted(second)
    assert [labels[place] for place in second] == validation.labels.tolist()
    assert [validation.labels.tolist().count(label) for label in range(3)] == expected


def test_validation_is_drawn_by_the_seed() -> None:
    images = _set([0, 1] * 100)
    first, same, other = (split_validation(images, seed=seed)[1] for seed in (0, 0, 1))
    assert _places(first) == _places(same)
    assert _places(first) != _places(other)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(InputError, match="must lie between 0 and 1"):
        split_validation(_set([0, 1] * 10), share, seed=0)


# Fewer


@given(labels=st.lists(st.integers(0, 2), min_size=1, max_size=100), data=st.data())
def test_any_count_is_balanced(labels: list[int], data: st.DataObject) -> None:
    images = _set(labels)
    count = data.draw(st.integers(1, len(labels)))
    chosen = _places(limited(images, count))
    assert len(set(chosen)) == len(chosen) == count
    taken = [sum(labels[place] == label for place in chosen) for label in range(3)]
    # No class has two more than another that still has some left.
    for label in range(3):
        if taken[label] < labels.count(label):
            assert max(taken) - taken[label] <= 1
    assert chosen == _places(limited(images, len(labels)))[:count]


def test_a_class_is_not_taken_from_its_beginning() -> None:
    """Else a small part of a folder would hold the first names only."""
    chosen = _places(limited(_set([0] * 100 + [1] * 100), 20))
    assert max(chosen[0::2]) > 50
    assert max(chosen[1::2]) > 150


@pytest.mark.parametrize("count", [0, -1, 5])
def test_a_count_that_is_not_there(count: int) -> None:
    with pytest.raises(InputError, match=f"^{count} images of drawn .* there are 4"):
        limited(_set([0, 1, 2, 1]), count)
