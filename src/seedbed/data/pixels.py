"""What a viewer shows of an image: upright, laid on a background, and its greys and colours in 8 bits."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import ExifTags, Image

FAINT = 16  # alpha or contrast below it is next to nothing
FLAT = 2  # an image of one colour may differ by that much: JPEG is not exact
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
HOLD_TAGS = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}
DEEP, CLIPPED, HALVED, NO_ALPHA, ON_BLACK, FRAMES, BLANK = (
    "deep", "clipped", "halved", "no alpha", "on black", "frames", "blank"
)  # fmt: skip
SENTENCES = {
    DEEP: "have 16 bits a value, of which {bits} are used: these are scaled to 8",
    CLIPPED: "have values beyond {bits} bits, which are taken for white",
    HALVED: "have 16 bits a colour, of which the upper 8 are read; save them with 8",
    NO_ALPHA: "have an alpha that is 0 or nearly 0 everywhere: they are read as if they had none",
    ON_BLACK: "would be blank on white, as white drawings on a transparent background are: they are laid on black",
    FRAMES: "have several frames or pages: the first is read",
    BLANK: "are blank, all of one colour; look at them, and take away what is no picture",
}
NAMED = 3


@dataclass
class Notes:
    """What reading an image meets: kinds, the keys of `SENTENCES`, and the largest of its 16-bit values."""

    kinds: list[str] = field(default_factory=list)
    largest: int = 0


def sentences(notes: Mapping[int, Sequence[str]], names: Sequence[str], bits: int | None) -> list[str]:
    """A sentence for each kind among the notes of images, by row; `bits` are those that 16-bit values really have."""
    lines = []
    for kind, sentence in SENTENCES.items():
        rows = sorted(row for row, kinds in notes.items() if kind in kinds)
        if rows and not (kind == DEEP and bits == 16):
            some = ", ".join(names[row].encode(errors="backslashreplace").decode() for row in rows[:NAMED])
            lines.append(f"{len(rows):,} of {len(names):,} images {sentence.format(bits=bits)}; such as {some}")
    return lines


def blank(images: np.ndarray) -> np.ndarray:
    """uint8 `[N, C, H, W]` -> bool `[N]`: whether an image is all of one colour."""
    n, channels, height, width = images.shape
    planes = images.reshape(n, channels, height * width)
    return (planes.max(2) - planes.min(2) <= FLAT).all(1)


def eight_bits(image: Image.Image, content: bytes, bits: int, notes: Notes) -> Image.Image:
    """Load an image; 16-bit values become 8-bit ones, `bits` being those that the data set really has of them.

    Args:
        content: the file, for what Pillow reads by the upper 8 bits alone.
    """
    if image.format == "JPEG":  # most images are, and these have 8 bits
        image.load()
        return image
    args = image.tile[0].args if image.tile else ""
    is_ppm = image.format == "PPM"
    is_wide = args == ("RGB", 2**16 - 1) if is_ppm else image.mode[0] != "I" and ";16" in str(args)
    # Of other PGMs and of JPEG 2000 the file itself says what is white, and Pillow heeds that.
    scaled = image.format == "JPEG2000" or (is_ppm and isinstance(args, tuple) and args[1] != 2**16 - 1)
    image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and is_ppm):
        white_is_0 = image.format == "TIFF" and image.tag_v2.get(ExifTags.Base.PhotometricInterpretation) == 0
        return Image.fromarray(
            _scaled(np.asarray(image), 16 if scaled else bits, white_is_0, None if scaled else notes)
        )
    return _wide(image, content, bits, notes) if is_wide else image


def _wide(image: Image.Image, content: bytes, bits: int, notes: Notes) -> Image.Image:
    """The same image of 16 bits a colour, of which Pillow has read the upper 8, by those that are used."""
    import cv2  # takes long, and few images need it

    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is not None and values.dtype == np.uint16 and values.ndim == 3:
        read = image.convert("RGBA" if values.shape[2] == 4 else "RGB")
        values = values[..., [2, 1, 0, 3][: values.shape[2]]]
        # The same picture, not turned nor its colours changed.
        if values.shape[:2] == read.size[::-1] and np.abs((values >> 8) - np.asarray(read, np.int16)).max() <= 1:
            colours = _scaled(values[..., :3], bits, False, notes)
            return image if bits == 16 else Image.fromarray(np.dstack([colours, np.asarray(read)[..., 3:]]))
    notes.kinds.append(HALVED)
    return image


def _scaled(values: np.ndarray, bits: int, white_is_0: bool, notes: Notes | None) -> np.ndarray:
    """16-bit values -> uint8, the upper 8 of their `bits`."""
    white, largest = 2**bits - 1, int(values.max())
    if notes:
        notes.kinds.append(DEEP)
        notes.largest = max(notes.largest, largest)
    if largest > white:
        values = np.minimum(values, white)
        if notes:
            notes.kinds.append(CLIPPED)
    return ((white - values if white_is_0 else values) >> (bits - 8)).astype(np.uint8)


def upright(image: Image.Image, source: Image.Image) -> Image.Image:
    """The image turned as the orientation tag of its source says; Pillow itself turns a TIFF, and drops the tag."""
    turn: Any = None
    if not HOLD_TAGS.isdisjoint(source.info):
        with suppress(Exception):  # a damaged tag is none
            turn = TURNS.get(source.getexif().get(ExifTags.Base.Orientation))
    return image if turn is None else image.transpose(turn)


def opaque(image: Image.Image, notes: Notes) -> Image.Image:
    """Transparent pixels laid on white; on black where the picture would vanish. An alpha that is next to 0 is none."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema()[1] < FAINT:
        notes.kinds.append(NO_ALPHA)
        return image.convert("RGB")
    laid = _laid(image, "white")
    if _contrast(laid) < FAINT <= _contrast(on_black := _laid(image, "black")):
        notes.kinds.append(ON_BLACK)
        return on_black
    return laid


def _laid(image: Image.Image, background: str) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image)


def _contrast(image: Image.Image) -> int:
    return max(high - low for low, high in image.getextrema()[:3])


def note_frames(image: Image.Image, notes: Notes) -> None:
    """Note whether there are more frames than the first; the second picture of a phone's JPEG is no frame."""
    if image.format in ("GIF", "TIFF", "PNG", "WEBP", "AVIF"):
        with suppress(Exception):
            if image.is_animated:
                notes.kinds.append(FRAMES)
