"""Images of every kind become 8-bit grey or RGB."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from seedbed.cpu import cores
from seedbed.data.decode import BadImage, decode, decode_all, decode_rows, reader, resize_arrays
from seedbed.data.pixels import BLANK


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


def with_alpha(colour: tuple, alpha: np.ndarray) -> bytes:
    return encoded(Image.fromarray(np.dstack([np.full((4, 4, 3), colour, np.uint8), alpha.astype(np.uint8)])))


def test_transparent_pixels_lie_on_white():
    alpha = np.repeat([[0, 0, 255, 255]], 4, 0)
    assert (decode(with_alpha((0, 0, 0), alpha), 3, 4)[0] == 255 - alpha).all()


def test_what_is_white_on_nothing_lies_on_black():
    alpha = np.repeat([[0, 0, 255, 255]], 4, 0)
    assert (decode(with_alpha((255, 255, 255), alpha), 3, 4)[0] == alpha).all()


@pytest.mark.parametrize("most", [0, 7])
def test_an_alpha_that_is_nothing_everywhere_is_none(most):
    alpha = np.arange(16).reshape(4, 4) * most // 15
    assert (decode(with_alpha((200, 40, 90), alpha), 3, 4).max((1, 2)) == (200, 40, 90)).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("tag", range(1, 9))
def test_images_are_turned_as_their_tag_says(kind, tag):
    image = Image.fromarray(np.kron(np.arange(4).reshape(2, 2) * 80, np.ones((8, 8))).astype(np.uint8)).convert("RGB")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = tag
    buffer = io.BytesIO()
    image.save(buffer, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    turned = {
        1: [0, 1, 2, 3], 2: [1, 0, 3, 2], 3: [3, 2, 1, 0], 4: [2, 3, 0, 1],
        5: [0, 2, 1, 3], 6: [2, 0, 3, 1], 7: [3, 1, 2, 0], 8: [1, 3, 0, 2],
    }[tag]  # fmt: skip
    assert np.abs(decode(buffer.getvalue(), 1, 16)[0, 4::8, 4::8].ravel().astype(int) - np.array(turned) * 80).max() < 8


def test_a_damaged_tag_turns_nothing():
    content = encoded(Image.new("RGB", (4, 4), "red"), "JPEG")
    broken = content[:2] + b"\xff\xe1\x00\x10Exif\x00\x00II*\x00\xff\xff\xff\xff" + content[2:]
    assert np.array_equal(decode(broken, 3, 4), decode(content, 3, 4))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [9, 10, 12, 15, 16])
def test_the_bits_of_a_data_set_are_those_of_its_largest_number(tmp_path, bits, channels):
    rng = np.random.default_rng(0)
    shape = (6, 4, 4, 3)[: 3 + (channels == 3)]
    numbers = rng.integers(0, 2**bits, shape, dtype=np.uint16)
    numbers.flat[0] = 2**bits - 1
    for i, image in enumerate(numbers):
        (tmp_path / f"{i}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    Image.new("L", (4, 4), 77).save(tmp_path / "6.png")
    np.save(tmp_path / "out.npy", np.zeros((7, channels, 4, 4), np.uint8))
    names = [f"{i}.png" for i in range(7)]
    done = decode_all(tmp_path, names, tmp_path / "out.npy", lambda _: None)
    assert done.bits == bits and done.notes[6] == [BLANK]
    expected = (numbers >> (bits - 8)).astype(np.uint8)
    expected = expected[:, None] if channels == 1 else expected[..., ::-1].transpose(0, 3, 1, 2)
    assert np.array_equal(np.load(tmp_path / "out.npy")[:6], expected)
    assert (np.load(tmp_path / "out.npy")[6] == 77).all(), "8 bits stay as they are"
    assert decode_all(tmp_path, names, tmp_path / "out.npy", lambda _: None, 16).bits == 16
    upper = (numbers[0] >> 8).reshape(4, 4, -1)[..., ::-1].transpose(2, 0, 1)
    assert np.array_equal(np.load(tmp_path / "out.npy")[0], upper)


def test_sixteen_bit_greys_are_scaled():
    image = Image.fromarray(np.full((4, 4), 40_000, np.uint16))
    assert (decode(encoded(image), 1, 4) == 40_000 >> 8).all()


def test_sixteen_bit_greys_of_a_pgm_are_scaled_as_those_of_a_png():
    grey = np.linspace(0, 65_535, 16).astype(np.uint16).reshape(4, 4)
    pgm = b"P5 4 4 65535\n" + grey.astype(">u2").tobytes()
    assert np.array_equal(decode(pgm, 1, 4), decode(encoded(Image.fromarray(grey)), 1, 4))
    assert np.array_equal(decode(pgm, 1, 4)[0], grey >> 8)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_greys_without_a_known_white_are_refused(kind):
    with pytest.raises(BadImage, match="white is not known"):
        decode(encoded(Image.fromarray(np.ones((4, 4), kind)), "TIFF"), 1, 4)


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


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (PermissionError(13, "Permission denied"), True), (OSError(5, "I/O error"), True), (MemoryError(), True),
        (FileNotFoundError(2, "No such file"), False), (OSError("Invalid data stream"), False), (EOFError(), False),
    ],
)  # fmt: skip
def test_what_is_of_the_disk_may_pass(error, may_pass):
    def read(name: str) -> bytes:
        raise error

    ((reason, got),) = decode_rows(read, ["x.png"], np.zeros((1, 1, 4, 4), np.uint8), [0]).bad.values()
    assert reason.startswith("cannot be read: ") and got == may_pass


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in tasks for child in path.read_text().split()]


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


CAN_TELL = Path(f"/proc/self/task/{os.getpid()}/children").exists() and cores() > 1


@pytest.mark.skipif(not CAN_TELL, reason="needs /proc with children, and two cores")
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    """One image is a pipe that nobody writes to, so that a worker stands still there."""
    content = encoded(Image.new("L", (4, 4)))
    for row in range(1100):
        (tmp_path / f"{row:04d}.png").write_bytes(content)
    (tmp_path / "0600.png").unlink()
    os.mkfifo(tmp_path / "0600.png")
    code = (
        "import functools, sys, numpy as np; from pathlib import Path; from seedbed.data import decode\n"
        "if __name__ == '__main__':\n"
        "    np.save(sys.argv[1] + '/out.npy', np.zeros((1100, 1, 4, 4), np.uint8))\n"
        "    done = functools.partial(print, flush=True)\n"
        "    names = [f'{row:04d}.png' for row in range(1100)]\n"
        "    decode.decode_all(Path(sys.argv[1]), names, Path(sys.argv[1]) / 'out.npy', done)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline(), "a chunk is done, so the workers are up"
    workers = [child for child in children(parent.pid) if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert workers
    deadline = time.monotonic() + 20
    while any(map(is_alive, workers)):
        assert time.monotonic() < deadline, "workers live on"
        time.sleep(0.05)


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
        bad = decode_rows(read, ["a", "b", "c"], rows, range(3)).bad
    assert set(bad) == {0, 1} and all(reason and not may_pass for reason, may_pass in bad.values())
    assert rows[2, 0].min() == 255


def test_an_error_while_decoding_ends_it_soon(tmp_path, monkeypatch):
    """What has not begun is cancelled, in processes as in this one."""
    content = encoded(Image.fromarray(np.full((900, 900), 7, np.uint8)))
    names = [f"{row:04d}.png" for row in range(400)]
    for name in names:
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr("seedbed.data.decode.CHUNK", 4)
    for workers in (1, 2):
        monkeypatch.setattr("seedbed.data.decode.cores", lambda workers=workers: workers)
        np.save(tmp_path / "out.npy", np.zeros((400, 1, 4, 4), np.uint8))
        with pytest.raises(KeyboardInterrupt):
            decode_all(tmp_path, names, tmp_path / "out.npy", interrupt)
        assert not np.load(tmp_path / "out.npy")[-1].any()


def interrupt(finished: int) -> None:
    assert finished == 4
    raise KeyboardInterrupt


def test_unreadable_files_are_reported_by_row_whichever_process_meets_them(tmp_path, monkeypatch):
    names = [f"{row}.png" for row in range(10)]
    for row, name in enumerate(names):
        (tmp_path / name).write_bytes(encoded(Image.new("L", (4, 4), row)) if row % 3 else b"")
    monkeypatch.setattr("seedbed.data.decode.CHUNK", 3)
    for workers in (1, 2):
        monkeypatch.setattr("seedbed.data.decode.cores", lambda workers=workers: workers)
        np.save(tmp_path / "out.npy", np.zeros((10, 1, 4, 4), np.uint8))
        finished: list[int] = []
        bad = decode_all(tmp_path, names, tmp_path / "out.npy", finished.append).bad
        assert bad == dict.fromkeys((0, 3, 6, 9), ("an empty file", False)) and finished == [3, 3, 3, 1]
        assert np.load(tmp_path / "out.npy")[:, 0, 0, 0].tolist() == [0, 1, 2, 0, 4, 5, 0, 7, 8, 0]
