"""An image is read as a viewer shows it: upright, on a background, and by the bits that it really has."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seedbed.data import dataset
from seedbed.data.cache import open_store
from seedbed.data.decode import decode
from seedbed.data.image_folder import ImageFolder
from seedbed.data.pixels import CLIPPED, DEEP, HALVED, NO_ALPHA, ON_BLACK, Notes, blank
from seedbed.data.unlabelled import UnlabelledImages
from seedbed.errors import UserError

ORIENTATION = 0x0112
RNG = np.random.default_rng(0)
OPTIONS = {"val_fraction": 0.25, "test_fraction": 0.25, "split_seed": 0, "subset": None, "on_bad_image": "fail"}


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def picture(height: int = 16, width: int = 16, channels: int = 3) -> np.ndarray:
    """Large patches that show which way up it is, whatever a format loses."""
    pixels = np.zeros((height, width, channels), np.uint8)
    pixels[: height // 4, : width // 2, 0] = pixels[height // 2 :, :4, -1] = 255
    return pixels


def noted(content: bytes, channels: int = 3, size: int = 16, bits: int = 16) -> tuple[np.ndarray, Notes]:
    notes = Notes()
    return decode(content, channels, size, bits, notes), notes


# What tag 0x0112 says of the stored rows and columns; the array is what a viewer shows of `a`.
SHOWN = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}  # fmt: skip
FORMATS = {
    "JPEG": {"quality": 100, "subsampling": 0}, "PNG": {}, "WEBP": {"lossless": True}, "TIFF": {},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("tag", SHOWN)
def test_orientation_tags_turn_an_image(kind, tag):
    stored, exif = picture(), Image.Exif()
    exif[ORIENTATION] = tag
    shown = decode(encoded(stored, kind, exif=exif, **FORMATS[kind]), 3, 16).transpose(1, 2, 0)
    assert np.abs(shown.astype(int) - SHOWN[tag](stored)).max() < 20


def test_a_packed_tiff_a_16_bit_grey_and_xmp_are_turned_too():
    stored, exif = picture(), Image.Exif()
    exif[ORIENTATION] = 6
    packed = decode(encoded(stored, "TIFF", exif=exif, compression="tiff_lzw"), 3, 16)
    assert np.array_equal(packed.transpose(1, 2, 0), SHOWN[6](stored))
    grey = RNG.integers(0, 2**16, (16, 16), dtype=np.uint16)
    assert np.array_equal(decode(encoded(grey, exif=exif), 1, 16)[0], SHOWN[6](grey >> 8))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="3"/></x:xmpmeta>'
    assert np.array_equal(
        decode(encoded(stored, "WEBP", lossless=True, xmp=xmp), 3, 16).transpose(1, 2, 0), SHOWN[3](stored)
    )


@given(st.sampled_from(["JPEG", "PNG", "WEBP"]), st.binary(max_size=60), st.booleans())
def test_a_damaged_tag_is_none(kind, damage, keeps_head):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    head = exif.tobytes()[: 20 if keeps_head else 6]
    content = encoded(picture(), kind, exif=head + damage)
    assert decode(content, 3, 16).shape == (3, 16, 16)


def by_the_old_way(content: bytes, channels: int) -> np.ndarray:
    """What was read before tags, odd alphas and bits were heeded."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if channels == 1 else "RGB").resize((8, 8), Image.Resampling.BILINEAR)
        return np.asarray(image)[None] if channels == 1 else np.asarray(image).transpose(2, 0, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "PA", "key"])
def test_ordinary_images_keep_their_pixels(mode, channels):
    noise = RNG.integers(0, 256, (20, 12, 4), dtype=np.uint8)
    noise[..., 3] = np.where(noise[..., 3] < 128, 0, 255)
    image = Image.fromarray(noise)
    if mode == "I;16":
        image = Image.fromarray(RNG.integers(0, 2**16, (20, 12), dtype=np.uint16))
    elif mode == "PA":
        image = image.quantize(16)
    elif mode != "key":
        image = image.convert("RGB").convert(mode) if mode == "P" else image.convert(mode)
    options = {"transparency": tuple(int(x) for x in noise[0, 0, :3])} if mode == "key" else {}
    image = image.convert("RGB") if mode == "key" else image
    for kind in ("TIFF", "JPEG") if mode in ("CMYK", "YCbCr") else ("PNG",):
        content = encoded(image, kind, **options)
        assert np.array_equal(decode(content, channels, 8), by_the_old_way(content, channels)), kind


# Alpha.


def bmp_with_an_alpha_of_0(pixels: np.ndarray) -> bytes:
    """A BMP of 32 bits whose header names an alpha, which nobody has set."""
    height, width, _ = pixels.shape
    body = np.zeros((height, width, 4), np.uint8)
    body[..., :3] = pixels[::-1, :, ::-1]
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, body.size, 2835, 2835, 0, 0)
    head += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + body.size, 0, 0, 14 + len(head)) + head + body.tobytes()


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PNG", "WEBP"])
def test_an_alpha_of_next_to_nothing_everywhere_is_none(kind):
    pixels = picture()
    alpha = RNG.integers(0, 8, (16, 16, 1), dtype=np.uint8) * (kind == "TIFF")
    four = np.concatenate([pixels, alpha], axis=2)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    content = bmp_with_an_alpha_of_0(pixels) if kind == "BMP" else encoded(four, kind, **options)
    shown, notes = noted(content)
    assert np.array_equal(shown.transpose(1, 2, 0), pixels) and notes.kinds == [NO_ALPHA]


@pytest.mark.parametrize("white", [255, 250])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_white_drawing_on_nothing_is_no_blank_image(white, channels):
    drawn = np.full((16, 16, 4), white, np.uint8)
    drawn[..., 3] = picture()[..., 0]
    shown, notes = noted(encoded(drawn), channels)
    assert shown.max() == white and shown.min() == 0 and notes.kinds == [ON_BLACK]
    black = drawn.copy()
    black[..., :3] = 0
    shown, notes = noted(encoded(black), channels)
    assert np.array_equal(shown[0], 255 - drawn[..., 3]) and notes.kinds == []


def test_what_is_blank_on_both_lies_on_white():
    faint = np.full((16, 16, 4), 255, np.uint8)
    faint[:8, :, :3] = 250
    shown, notes = noted(encoded(faint))
    assert shown.min() == 250 and shown.max() == 255 and notes.kinds == []


@given(st.integers(1, 4), st.sampled_from([1, 3]), st.integers(1, 9), st.data())
def test_blank_images_are_of_one_colour(n, channels, size, data):
    images = np.stack([np.full((channels, size, size), data.draw(st.integers(0, 250))) for _ in range(n)])
    images = images.astype(np.uint8)
    other = data.draw(st.integers(0, n - 1))
    images[other, -1, -1, -1] += 5 * (size > 1)
    assert blank(images).tolist() == [row != other or size == 1 for row in range(n)]


# Bits.


@given(st.integers(8, 16), st.data())
def test_16_bit_values_are_scaled_by_the_bits_that_they_have(bits, data):
    values = np.array(data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=16, max_size=16)), np.uint16)
    values = values.reshape(4, 4)
    for content in (
        encoded(values), encoded(values, "TIFF"), encoded(values.astype(">u2"), "TIFF"),
        b"P5 4 4 65535\n" + values.astype(">u2").tobytes(),
    ):  # fmt: skip
        shown, notes = noted(content, 1, 4, bits)
        assert np.array_equal(shown[0], values >> (bits - 8))
        assert notes.kinds == [DEEP] and notes.largest == values.max()
    (shown,), _ = noted(encoded(values, "TIFF", tiffinfo={262: 0}), 1, 4, bits)
    assert np.array_equal(shown, (2**bits - 1 - values) >> (bits - 8)), "0 is white there"


@pytest.mark.parametrize("ending", [".png", ".tiff", ".ppm"])
@pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
def test_colours_of_16_bits_are_too(ending, bits):
    values = RNG.integers(0, 2**bits, (9, 7, 3)).astype(np.uint16)
    content = cv2.imencode(ending, values[..., ::-1])[1].tobytes()
    shown, notes = noted(content, 3, 9, bits)
    expected = Image.fromarray((values >> (bits - 8)).astype(np.uint8)).resize((9, 9), Image.Resampling.BILINEAR)
    assert notes.kinds == [DEEP] and notes.largest == values.max()
    most = 1 if ending == ".ppm" and bits == 16 else 0  # Pillow rounds there, and always has
    assert np.abs(shown.transpose(1, 2, 0).astype(int) - np.asarray(expected)).max() <= most


@pytest.mark.parametrize("other", [None, lambda values: values[::-1], lambda values: (values >> 8).astype(np.uint8)])
def test_colours_that_opencv_reads_otherwise_are_named(monkeypatch, other):
    values = RNG.integers(0, 2**10, (8, 8, 3)).astype(np.uint16)
    content = cv2.imencode(".png", values[..., ::-1])[1].tobytes()
    imdecode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *given: other(imdecode(*given)) if other else None)
    shown, notes = noted(content, 3, 8, 10)
    assert np.array_equal(shown.transpose(1, 2, 0), values >> 8) and notes.kinds == [HALVED]


def test_the_white_of_a_file_that_says_it_is_heeded():
    values = RNG.integers(0, 300, (8, 8)).astype(np.uint16)
    for magic, body in ((b"P5", values.astype(">u2").tobytes()), (b"P2", " ".join(map(str, values.flat)).encode())):
        shown, notes = noted(magic + b" 8 8 1023\n" + body, 1, 8, 10)
        assert np.abs(shown[0] - values * (255 / 1023)).max() < 1 and notes.kinds == [] and not notes.largest


def test_brighter_values_than_the_data_set_has_are_white():
    (shown,), notes = noted(encoded(np.full((4, 4), 5000, np.uint16)), 1, 4, 12)
    assert (shown == 255).all() and notes.kinds == [DEEP, CLIPPED]


# A data set.


def grey_folder(root, largest: int, n: int = 8):
    for cls in "ab":
        (root / cls).mkdir(parents=True)
        for i in range(n):
            values = RNG.integers(0, largest, (8, 8), dtype=np.uint16, endpoint=True)
            values[0, 0] = largest
            Image.fromarray(values).save(root / cls / f"{i}.png")
    return ImageFolder("folder", data_root="nowhere", root=str(root))


def raw(root, store) -> np.ndarray:
    return np.stack([np.asarray(Image.open(root / name)) for name in store.names])


def test_images_of_8_bits_have_no_bits_to_record(tmp_path, picture_tree):
    root = picture_tree({f"{c}/{i}.png": 20 * i for c in "ab" for i in range(8)})
    source = ImageFolder("folder", data_root="nowhere", root=str(root))
    data = dataset.load(source, size=8, cache_root=str(tmp_path / "cache"), **OPTIONS)
    assert data.bits is None
    # A model of 12 bits needs no other store for them.
    open_store(source, 8, str(tmp_path / "cache"), "fail", 12)
    assert len([path for path in (tmp_path / "cache/store").iterdir() if path.is_dir()]) == 1


def test_other_images_are_scaled_as_those_of_the_training(tmp_path):
    grey_folder(tmp_path / "dim", 700)
    source, cache = UnlabelledImages(str(tmp_path / "dim"), 1), str(tmp_path / "cache")
    assert open_store(source, 8, cache, "fail").bits == 10
    for bits in (9, 12, 16, 12):
        store = open_store(source, 8, cache, "fail", bits)
        expected = np.minimum(raw(tmp_path / "dim", store), 2**bits - 1) >> (bits - 8)
        assert store.bits == bits and np.array_equal(store.images[:, 0], expected)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_what_says_no_white_is_refused(tmp_path, kind):
    source = grey_folder(tmp_path / "d", 9)
    Image.fromarray(np.ones((4, 4), kind)).save(tmp_path / "d/a/real.tiff")
    with pytest.raises(UserError, match=r"a/real\.tiff: a grey image of . mode, whose white is not known"):
        open_store(source, 8, str(tmp_path / "cache"), "fail")
