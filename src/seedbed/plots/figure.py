"""How all plots look, and how they are saved. Figures are made without pyplot, which would keep those of a sweep."""

import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from seedbed.files import write_atomically

FORMATS = (".png", ".pdf", ".svg")
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
