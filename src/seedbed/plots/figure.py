"""How all plots look, and how they are saved. Figures are made without pyplot, which would keep those of a sweep."""

import io
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from seedbed.files import write_atomically

log = logging.getLogger(__name__)
FORMATS = (".png", ".pdf", ".svg")
LATIN = 0x17F  # matplotlib's own font has all up to it
TRAIN_COLOUR, VAL_COLOUR, BEST_COLOUR = "#3b6fb6", "#d1662f", "#666666"
# Letters that matplotlib's own font lacks come from the first of these that is installed and has them.
OTHER_SCRIPTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans",
    "Apple SD Gothic Neo", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai", "Unifont",
)  # fmt: skip
_INSTALLED = {font.name for font in fontManager.ttflist}
matplotlib.rcParams["font.family"] = ["DejaVu Sans", *(name for name in OTHER_SCRIPTS if name in _INSTALLED)]
matplotlib.rcParams["text.parse_math"] = False  # a class may be called $x$: no formula is meant
matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})


def drawable(classes: Sequence[str]) -> Sequence[str]:
    """The names, or their numbers from 1 where no installed font has all their letters; a line says so once."""
    others = {letter for name in classes for letter in name if letter.isprintable() and ord(letter) > LATIN}
    missing = others - _letters() if others else ()
    names = ["".join(letter if letter.isprintable() else "·" for letter in name) for name in classes]
    if missing:
        _say_once("".join(sorted(missing)[:5]))
    if missing or len({*names}) < len(names):
        return [str(number) for number in range(1, len(classes) + 1)]
    return names


@cache
def _letters() -> set[str]:
    """All letters that the fonts of plots have."""
    fonts = [font_manager.findfont(name) for name in matplotlib.rcParams["font.family"]]
    return {chr(code) for font in fonts for code in font_manager.get_font(font).get_charmap()}


@cache
def _say_once(letters: str) -> None:
    log.warning(
        "no installed font has the letters %s: plots number the classes in the order of per_class.csv; on Debian and "
        "Ubuntu the package fonts-noto-cjk has Chinese, Japanese and Korean, fonts-noto-core other scripts", letters,
    )  # fmt: skip


def save(figure: Figure, path: Path, tight: bool = True) -> None:
    """Write what the path's ending says, one of `FORMATS`; `tight` cuts it to what is drawn: it is drawn twice."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=120, bbox_inches="tight" if tight else None)
    write_atomically(path, buffer.getvalue())


def draw_image(axes: Axes, image: np.ndarray, left: float, top: float, side: float, **style: Any) -> None:
    """Draw an image `[C, H, W]` in [0, 1], C 1 or 3, as a square in coordinates of the axes, whose y runs down."""
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    style = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest", **style}
    axes.imshow(pixels, extent=(left, left + side, top + side, top), **style)
