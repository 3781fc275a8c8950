"""Which files are images by their names, and which of these are read."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import PurePosixPath

from PIL import features

EXTENSIONS = set(
    ".jpg .jpeg .jpe .jfif .png .apng .bmp .dib .gif .webp .tif .tiff .ppm .pgm .pbm .pnm .pcx .sgi .qoi".split()  # noqa: SIM905
)
# By content, not by name: Pillow's other readers are many, and the one for PostScript starts a program.
FORMATS = ["JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "PCX", "SGI", "QOI"]
if features.check("avif"):
    EXTENSIONS.add(".avif")
    FORMATS.append("AVIF")
if features.check("jpg_2000"):
    EXTENSIONS |= {".jp2", ".j2k", ".jpx"}
    FORMATS.append("JPEG2000")
if find_spec("pillow_heif"):  # the extra seedbed[heic]
    import pillow_heif

    pillow_heif.register_heif_opener()
    EXTENSIONS |= {".heic", ".heif"}
    FORMATS.append("HEIF")
# Images, too, by their names, but not read.
UNREAD = set(
    ".heic .heif .avif .jxl .jp2 .j2k .jpx .tga .psd .svg .eps .ico .icns .exr .hdr .dcm .dng .cr2 .cr3 .nef .arw .raf "  # noqa: SIM905
    ".orf .rw2 .pef .srw .raw .xcf .dds .fits".split()
).difference(EXTENSIONS)
HEIC_HINT = " (pip install pillow-heif reads them)"
# Endings of other files, which are not opened to look; and how files of images begin.
NO_IMAGES = set(
    ".txt .csv .json .xml .md .yaml .yml .pdf .py .ini .log .html .zip .mat .npy .npz .h5 .db .mp4 .mov .avi "  # noqa: SIM905
    ".safetensors .pt .pth .tfrecord .parquet .docx .xlsx .ipynb .sh .toml .cfg .gz .tar".split()
)
MAGIC = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n": "PNG", b"GIF8": "GIF", b"WEBP": "WebP", b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF", b"ftypheic": "HEIC", b"ftypmif1": "HEIC", b"ftypavif": "AVIF",
}  # fmt: skip


def suffix(path: str) -> str:
    """A file's ending, in small letters."""
    return PurePosixPath(path).suffix.lower()


def is_image(path: str) -> bool:
    """Whether a file is an image that is read, by its name."""
    return suffix(path) in EXTENSIONS


def unread(path: str, first_bytes: Callable[[str], bytes]) -> str | None:
    """What a file is that is no image by its name: an ending of images that are not read, or what its bytes say."""
    ending = suffix(path)
    if ending in UNREAD:
        return f"{ending} files, whose format is not read" + HEIC_HINT * (ending in (".heic", ".heif"))
    if ending in EXTENSIONS or ending in NO_IMAGES:
        return None
    start = first_bytes(path)
    kind = next(
        (kind for magic, kind in MAGIC.items() if magic in (start[: len(magic)], start[4:12], start[8:12])), None
    )
    return kind and f"{kind} files without its ending; rename them"
