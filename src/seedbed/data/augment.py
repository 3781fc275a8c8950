"""Augmentation of whole batches, every sample with parameters of its own: what moves pixels, in one pass over them.

A step does not touch pixels: it says, for every pixel of its output, which pixel of its input belongs there. The
chain asks its steps from last to first, and so knows for each output pixel its place in the stored image; one
gather then moves the pixels. A policy, which does touch them, comes after that. Parameters are drawn for all samples
of an epoch at once and indexed by sample, so the same (seed, epoch, sample) gives the same pixels in whatever batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch

from seedbed.data.mix import Mix
from seedbed.data.policy import Policy
from seedbed.errors import UserError

Parameters = dict[str, np.ndarray]
POLICY = "augment.policy"  # the name of its parameters beside those of the steps, which have none with a dot


@dataclass
class Coordinates:
    """For every output pixel, a row, a column, and whether there is an image at all.

    Attributes:
        y, x: int64, broadcastable to `[B, h, w]`.
        inside: bool, broadcastable to `[B, h, w]`, or None where every pixel has an image.
    """

    y: torch.Tensor
    x: torch.Tensor
    inside: torch.Tensor | None = None

    def mask(self, inside: torch.Tensor) -> torch.Tensor:
        return inside if self.inside is None else self.inside & inside


class Step(Protocol):
    """One augmentation. `size` is the side, in pixels, of the square images that come in."""

    def output_size(self, size: int) -> int:
        """Side of the images that it gives."""
        return size

    def draw(self, rng: np.random.Generator, n: int, size: int) -> Parameters:
        """Parameters for `n` samples: arrays `[n]`."""

    def pull(self, places: Coordinates, size: int, parameters: Mapping[str, torch.Tensor]) -> Coordinates:
        """Coordinates in this step's output -> places in its input; parameters are tensors `[B, 1, 1]`."""


class HorizontalFlip:
    """Mirror left and right with probability `p`."""

    def __init__(self, p: float = 0.5):
        if not 0 <= p <= 1:
            raise UserError(f"HorizontalFlip: p must lie in [0, 1], got {p}")
        self.p = p

    def output_size(self, size: int) -> int:
        return size

    def draw(self, rng: np.random.Generator, n: int, size: int) -> Parameters:
        return {"flip": rng.random(n) < self.p}

    def pull(self, places: Coordinates, size: int, parameters: Mapping[str, torch.Tensor]) -> Coordinates:
        return Coordinates(places.y, torch.where(parameters["flip"], size - 1 - places.x, places.x), places.inside)


class Rotation:
    """Turn about the centre by an angle uniform in ±`degrees`, counter-clockwise; nearest pixel.

    With zeros outside the same as torchvision's `RandomRotation(degrees)` with its defaults, but per sample.

    Args:
        degrees: the largest angle, in [0, 180].
        fill: what the image does not cover: `zeros`, or `edge`, the nearest pixel of its edge, which goes on with a
            plain background whatever its colour, and with whatever else touches the edge.
    """

    def __init__(self, degrees: float, fill: Literal["zeros", "edge"] = "zeros"):
        if not 0 <= degrees <= 180:
            raise UserError(f"Rotation: degrees must lie in [0, 180], got {degrees}")
        if fill not in ("zeros", "edge"):
            raise UserError(f"Rotation: fill must be zeros or edge, got {fill}")
        self.degrees = degrees
        self.fill = fill

    def output_size(self, size: int) -> int:
        return size

    def draw(self, rng: np.random.Generator, n: int, size: int) -> Parameters:
        angle = np.deg2rad(rng.uniform(-self.degrees, self.degrees, n))
        return {"cos": np.cos(angle).astype(np.float32), "sin": np.sin(angle).astype(np.float32)}

    def pull(self, places: Coordinates, size: int, parameters: Mapping[str, torch.Tensor]) -> Coordinates:
        centre = (size - 1) / 2
        dy, dx = places.y - centre, places.x - centre
        cos, sin = parameters["cos"], parameters["sin"]
        x = (cos * dx - sin * dy).add_(centre).round_().long()
        y = (sin * dx + cos * dy).add_(centre).round_().long()
        within = places.inside
        if self.fill == "zeros":
            within = places.mask((x >= 0) & (x < size) & (y >= 0) & (y < size))
        return Coordinates(y.clamp_(0, size - 1), x.clamp_(0, size - 1), within)


class PaddedCrop:
    """Pad by reflection, then cut a square out at a uniformly drawn place.

    Args:
        padding: pixels on every side.
        size: side of the square; None: that of the image that comes in.
    """

    def __init__(self, padding: int, size: int | None = None):
        if padding < 0 or (size is not None and size < 1):
            raise UserError(f"PaddedCrop: needs padding >= 0 and size >= 1, got {padding} and {size}")
        self.padding = padding
        self.size = size

    def output_size(self, size: int) -> int:
        if self.padding >= size:
            raise UserError(f"PaddedCrop: padding {self.padding} needs images larger than {size} pixels")
        if self.size is not None and self.size > size + 2 * self.padding:
            raise UserError(f"PaddedCrop: cannot cut {self.size} pixels out of {size} padded by {self.padding}")
        return self.size or size

    def draw(self, rng: np.random.Generator, n: int, size: int) -> Parameters:
        room = size + 2 * self.padding - self.output_size(size) + 1
        return {"top": rng.integers(room, size=n), "left": rng.integers(room, size=n)}

    def pull(self, places: Coordinates, size: int, parameters: Mapping[str, torch.Tensor]) -> Coordinates:
        y = reflect(places.y + parameters["top"] - self.padding, size)
        x = reflect(places.x + parameters["left"] - self.padding, size)
        return Coordinates(y, x, places.inside)


class ResizedCrop:
    """Cut a square out at a uniformly drawn place and enlarge it to the image's size; nearest pixel.

    Like torchvision's `RandomResizedCrop`, but of squares only and at places between pixels.

    Args:
        scale: least and largest share of the image's area; uniform between them.
    """

    def __init__(self, scale: Sequence[float]):
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
            raise UserError(f"ResizedCrop: scale must be two rising shares in (0, 1], got {list(scale)}")
        self.scale = tuple(scale)

    def output_size(self, size: int) -> int:
        return size

    def draw(self, rng: np.random.Generator, n: int, size: int) -> Parameters:
        side = np.sqrt(rng.uniform(*self.scale, n))
        top, left = (rng.random(n) * size * (1 - side) for _ in range(2))
        return {"side": side.astype(np.float32), "top": top.astype(np.float32), "left": left.astype(np.float32)}

    def pull(self, places: Coordinates, size: int, parameters: Mapping[str, torch.Tensor]) -> Coordinates:
        y, x = (
            ((place + 0.5) * parameters["side"] + parameters[start] - 0.5).round_().long().clamp_(0, size - 1)
            for place, start in ((places.y, "top"), (places.x, "left"))
        )
        return Coordinates(y, x, places.inside)


class Erase:
    """Blacken a square at a uniformly drawn place, wholly within the image.

    Source: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.

    Args:
        side: of the square, in pixels.
    """

    def __init__(self, side: int):
        if side < 1:
            raise UserError(f"Erase: needs side >= 1, got {side}")
        self.side = side

    def output_size(self, size: int) -> int:
        if self.side > size:
            raise UserError(f"Erase: a square of {self.side} needs images of at least as many pixels, not {size}")
        return size

    def draw(self, rng: np.random.Generator, n: int, size: int) -> Parameters:
        room = size - self.side + 1
        return {"top": rng.integers(room, size=n), "left": rng.integers(room, size=n)}

    def pull(self, places: Coordinates, size: int, parameters: Mapping[str, torch.Tensor]) -> Coordinates:
        down, right = places.y - parameters["top"], places.x - parameters["left"]
        erased = (down >= 0) & (down < self.side) & (right >= 0) & (right < self.side)
        return Coordinates(places.y, places.x, places.mask(~erased))


def reflect(places: torch.Tensor, size: int) -> torch.Tensor:
    """Coordinates up to `size - 1` pixels outside `[0, size)` -> inside, mirrored at the edge pixel."""
    return (size - 1) - ((size - 1) - places.abs()).abs()


class Chain:
    """Steps in order, by name, applied in one gather; then a policy; and what mixes the images that come out.

    Args:
        steps: name -> step; none leaves images as they are.
        mix: makes one image of two when all else is done; the loader, which has both, applies it. None: nothing does.
        policy: changes the images that the steps give, each by itself. None: nothing does.
    """

    def __init__(self, steps: Mapping[str, Step], mix: Mix | None = None, policy: Policy | None = None):
        for name, step in steps.items():
            lacks = [method for method in ("output_size", "draw", "pull") if not hasattr(step, method)]
            if lacks:
                raise UserError(
                    f"augment.steps.{name}: {type(step).__name__} is no step that moves pixels: it lacks "
                    f"{' and '.join(lacks)}"
                )
        if policy is not None and not hasattr(policy, "change"):
            raise UserError(
                f"augment.policy: {type(policy).__name__} is no policy; steps belong under augment.steps, what mixes "
                "images is augment.mix"
            )
        if mix is not None and not hasattr(mix, "apply"):
            raise UserError(f"augment.mix: {type(mix).__name__} does not mix images; steps belong under augment.steps")
        self.steps = dict(steps)
        self.policy = policy
        self.mix = mix

    def __bool__(self) -> bool:
        return bool(self.steps or self.policy or self.mix)

    def sizes(self, size: int) -> list[int]:
        """Side of the images before each step, and after the last."""
        sizes = [size]
        for step in self.steps.values():
            sizes.append(step.output_size(sizes[-1]))
        return sizes

    def draw(self, rng: np.random.Generator, n: int, size: int) -> dict[str, Parameters]:
        """Parameters of all steps and of the policy for the `n` samples of an epoch."""
        drawn = {
            name: step.draw(rng, n, before)
            for (name, step), before in zip(self.steps.items(), self.sizes(size)[:-1], strict=True)
        }
        return {**drawn, POLICY: self.policy.draw(rng, n)} if self.policy else drawn

    def apply(self, images: torch.Tensor, parameters: Mapping[str, Mapping[str, torch.Tensor]]) -> torch.Tensor:
        """Augment a batch.

        Args:
            images: `[B, C, S, S]`, any type that the policy takes.
            parameters: what `draw` gave, as tensors, the rows of this batch: `[B]` each.

        Returns:
            `[B, C, T, T]` of the same type; T is the last step's output size.
        """
        moved = self._move(images, parameters) if self.steps else images
        return self.policy.change(moved, parameters[POLICY]) if self.policy else moved

    def _move(self, images: torch.Tensor, parameters: Mapping[str, Mapping[str, torch.Tensor]]) -> torch.Tensor:
        batch, channels, size, _ = images.shape
        sizes = self.sizes(size)
        line = torch.arange(sizes[-1], device=images.device)
        places = Coordinates(line[None, :, None], line[None, None, :])
        for (name, step), before in zip(reversed(self.steps.items()), reversed(sizes[:-1]), strict=True):
            own = {key: value[:, None, None] for key, value in parameters[name].items()}
            places = step.pull(places, before, own)
        target = (batch, sizes[-1], sizes[-1])
        flat = (places.y * size + places.x).expand(target).reshape(batch, 1, -1)
        out = images.reshape(batch, channels, -1).gather(2, flat.expand(-1, channels, -1))
        if places.inside is not None:
            out.masked_fill_(~places.inside.expand(target).reshape(batch, 1, -1), 0)
        return out.reshape(batch, channels, sizes[-1], sizes[-1])
