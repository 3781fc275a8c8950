"""Which files are images by their names, and which of these are read."""

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
# Images, too, by their names, but not read.
UNREAD = set(
    ".heic .heif .avif .jxl .jp2 .j2k .jpx .tga .psd .svg .eps .ico .icns .exr .hdr .dcm .dng .cr2 .cr3 .nef .arw .raf "  # noqa: SIM905
    ".orf .rw2 .pef .srw .raw .xcf .dds .fits".split()
).difference(EXTENSIONS)


def suffix(path: str) -> str:
    """A file's ending, in small letters."""
    return PurePosixPath(path).suffix.lower()


def is_image(path: str) -> bool:
    """Whether a file is an image that is read, by its name."""
    return suffix(path) in EXTENSIONS
