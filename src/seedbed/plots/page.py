"""A figure laid out in inches from its top left corner, for pictures made of many small ones."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure


class Page:
    """Args: width, height: in inches."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self.picture = Figure(figsize=(width, height))

    def axes(self, left: float, top: float, width: float, height: float | None = None) -> Axes:
        """Axes without ticks and frame; a square unless a height is given."""
        height = width if height is None else height
        bottom = 1 - (top + height) / self.height
        axes = self.picture.add_axes((left / self.width, bottom, width / self.width, height / self.height))
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def text(self, left: float, base: float, text: str, **style: Any) -> None:
        self.picture.text(left / self.width, 1 - base / self.height, text, **style)
