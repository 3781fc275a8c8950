"""Images of every kind become 8-bit grey or RGB."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from seedbed.data.decode import BadImage, decode, decode_rows, reader, resize_arrays


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_modes():
    red = (255, 0, 0)
    for mode, colour in (("RGB", red), ("P", None), ("RGBA", (*red, 255)), ("CMYK", (0, 255, 255, 0))):
        image = Image.new("RGB", (4, 4), red).convert("P") if mode == "P" else Image.new(mode, (4, 4), colour)
        pixels = decode(encoded(image, "TIFF" if mode == "CMYK" else "PNG"), 3, 4)
        assert pixels.shape == (3, 4, 4) and pixels[0].min() > 200 and pixels[1:].max() < 60, mode


def test_transparent_pixels_lie_on_white():
    assert decode(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0))), 3, 4).min() == 255


def test_sixteen_bit_greys_are_scaled():
    image = Image.fromarray(np.full((4, 4), 40_000, np.uint16))
    assert (decode(encoded(image), 1, 4) == 40_000 >> 8).all()


def test_resizing_is_antialiased():
    lines = np.zeros((100, 100), np.uint8)
    lines[::2] = 255
    assert abs(decode(encoded(Image.fromarray(lines)), 1, 10).astype(int) - 127).max() < 20
    assert np.array_equal(resize_arrays(lines[None, None], 10)[0], decode(encoded(Image.fromarray(lines)), 1, 10))


def test_noise_is_a_bad_image_and_nothing_else():
    rng = np.random.default_rng(0)
    good = encoded(Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)), "JPEG")
    for _ in range(200):
        content = bytearray(good[: rng.integers(1, len(good))])
        content[rng.integers(len(content))] ^= 0xFF
        try:
            assert decode(bytes(content), 3, 8).shape == (3, 8, 8)
        except BadImage as error:
            assert str(error)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image(content):
    with pytest.raises(BadImage):
        decode(content, 3, 8)


def test_postscript_under_an_images_name_starts_no_interpreter(monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: pytest.fail("started Ghostscript"))
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(BadImage, match="not an image"):
        decode(content, 3, 8)


def test_a_damaged_or_lying_zip_entry_is_a_bad_image(tmp_path, monkeypatch):
    monkeypatch.setattr("seedbed.data.decode.LARGEST_FILE", 10_000)
    good = encoded(Image.new("RGB", (8, 8), "red"))
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"a": good * 9, "b": b"\0" * 100_000, "c": good}.items():
            archive.writestr(name, content)
    raw = bytearray(path.read_bytes())
    # The first entry's deflated bytes spoilt; the second's directory entry says that it is small.
    raw[31:60] = b"\xff" * 29
    at = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"PK\x01\x02"))
    raw[at + 24 : at + 28] = (1000).to_bytes(4, "little")
    path.write_bytes(raw)
    rows = np.zeros((3, 3, 8, 8), np.uint8)
    with reader(path) as read:
        bad = decode_rows(read, ["a", "b", "c"], rows, 0)
    assert set(bad) == {0, 1} and all(bad.values())
    assert rows[2, 0].min() == 255
