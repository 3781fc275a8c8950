"""Augmentation of whole batches, every sample with parameters of its own.

A step does not touch pixels: for every pixel of its output it names the pixel of its input that belongs there. The
chain asks its steps from last to first; one gather then moves the pixels. A policy, which does touch them, comes after
that. Parameters are drawn for all samples of an epoch at once and indexed by sample, so the same (seed, epoch, sample)
gives the same pixels in whatever batch.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Annotated, Literal, NamedTuple, Protocol

import numpy as np
import torch

from seedbed.annotations import Pixels, Range, Share, Whole
from seedbed.data.mix import Mix
from seedbed.data.policy import Policy
from seedbed.errors import require

Drawn = dict[str, np.ndarray]
Parameters = Mapping[str, torch.Tensor]
# Names of their parameters beside those of the steps, which have none with a dot.
POLICY, MIX = "augment.policy", "augment.mix"


class Coordinates(NamedTuple):
    """For every output pixel its row, its column, and whether the image covers it; they broadcast to `[B, h, w]`."""

    y: torch.Tensor  # int64
    x: torch.Tensor  # int64
    inside: torch.Tensor  # bool, `[]` where the image covers every pixel


class Step(Protocol):
    """One augmentation. `size` is the side, in pixels, of the square images that come in."""

    def output_size(self, size: int) -> int:
        """Side of the images that it gives."""
        return size

    def draw(self, rng: np.random.Generator, n: int, size: int) -> Drawn:
        """Parameters for `n` samples: arrays `[n]`."""

    def pull(self, at: Coordinates, size: int, parameters: Parameters) -> Coordinates:
        """Coordinates in this step's output -> coordinates in its input; parameters are tensors `[B, 1, 1]`."""


class HorizontalFlip(Step):
    """Mirror left and right with probability `p`."""

    def __init__(self, p: Share = 0.5):
        require(0 <= p <= 1, f"HorizontalFlip: p must lie in [0, 1], got {p}")
        self.p = p

    def draw(self, rng: np.random.Generator, n: int, size: int) -> Drawn:
        """Whether to mirror."""
        return {"flip": rng.random(n) < self.p}

    def pull(self, at: Coordinates, size: int, parameters: Parameters) -> Coordinates:
        """Columns counted from the other side."""
        return Coordinates(at.y, torch.where(parameters["flip"], size - 1 - at.x, at.x), at.inside)


class Rotation(Step):
    """Turn about the centre by an angle uniform in ±`degrees` (0 to 180), counter-clockwise; nearest pixel.

    `fill` is what the image does not cover: `zeros`, or `edge`, the nearest pixel of its edge. That continues a plain
    background of any colour, and whatever else touches the edge. With zeros it is torchvision's
    `RandomRotation(degrees)` with its defaults, but per sample.
    """

    def __init__(self, degrees: Annotated[float, Range(0, 180)], fill: Literal["zeros", "edge"] = "zeros"):
        require(0 <= degrees <= 180, f"Rotation: degrees must lie in [0, 180], got {degrees}")
        require(fill in ("zeros", "edge"), f"Rotation: fill must be zeros or edge, got {fill}")
        self.degrees, self.fill = degrees, fill

    def draw(self, rng: np.random.Generator, n: int, size: int) -> Drawn:
        """Cosine and sine of the angle."""
        angle = np.deg2rad(rng.uniform(-self.degrees, self.degrees, n))
        return {"cos": np.cos(angle).astype(np.float32), "sin": np.sin(angle).astype(np.float32)}

    def pull(self, at: Coordinates, size: int, parameters: Parameters) -> Coordinates:
        """Turned back."""
        centre = (size - 1) / 2
        dy, dx = at.y - centre, at.x - centre
        cos, sin = parameters["cos"], parameters["sin"]
        x = (cos * dx - sin * dy).add_(centre).round_().long()
        y = (sin * dx + cos * dy).add_(centre).round_().long()
        inside = at.inside
        if self.fill == "zeros":
            inside = inside & (x >= 0) & (x < size) & (y >= 0) & (y < size)
        return Coordinates(y.clamp_(0, size - 1), x.clamp_(0, size - 1), inside)


class PaddedCrop(Step):
    """Pad by reflection, `padding` pixels on every side, then cut a square out at uniformly drawn coordinates.

    `size` is the side of the square; None: that of the image that comes in.
    """

    def __init__(self, padding: Whole, size: Pixels | None = None):
        fits = padding >= 0 and (size is None or size >= 1)
        require(fits, f"PaddedCrop: needs padding >= 0 and size >= 1, got {padding} and {size}")
        self.padding, self.size = padding, size

    def output_size(self, size: int) -> int:
        """Side of the square."""
        side, padding = self.size or size, self.padding
        require(padding < size, f"PaddedCrop: padding {padding} needs images larger than {size} pixels")
        require(side <= size + 2 * padding, f"PaddedCrop: cannot cut {side} pixels out of {size} padded by {padding}")
        return side

    def draw(self, rng: np.random.Generator, n: int, size: int) -> Drawn:
        """The square's corner in the padded image."""
        room = size + 2 * self.padding - self.output_size(size) + 1
        return {"top": rng.integers(room, size=n), "left": rng.integers(room, size=n)}

    def pull(self, at: Coordinates, size: int, parameters: Parameters) -> Coordinates:
        """Moved by the corner; those in the padding mirrored at the edge pixel."""
        y, x = at.y + parameters["top"] - self.padding, at.x + parameters["left"] - self.padding
        y, x = ((size - 1) - ((size - 1) - line.abs()).abs() for line in (y, x))
        return Coordinates(y, x, at.inside)


class ResizedCrop(Step):
    """Cut a square out at uniformly drawn coordinates and enlarge it to the image's size; nearest pixel.

    The square's share of the image's area is uniform between the two numbers of `scale`. Like torchvision's
    `RandomResizedCrop`, but of squares only and at coordinates between pixels.
    """

    def __init__(self, scale: Sequence[Annotated[float, Range(0, 1, "(")]]):
        rising = len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1
        require(rising, f"ResizedCrop: scale must be two rising shares in (0, 1], got {list(scale)}")
        self.scale = tuple(scale)

    def draw(self, rng: np.random.Generator, n: int, size: int) -> Drawn:
        """The square's side, as a share of the image's, and its corner in pixels."""
        side = np.sqrt(rng.uniform(*self.scale, n))
        top, left = (rng.random(n) * size * (1 - side) for _ in range(2))
        return {"side": side.astype(np.float32), "top": top.astype(np.float32), "left": left.astype(np.float32)}

    def pull(self, at: Coordinates, size: int, parameters: Parameters) -> Coordinates:
        """Shrunk by the side and moved by the corner, from pixel centre to pixel centre."""
        y, x = (
            ((line + 0.5) * parameters["side"] + parameters[corner] - 0.5).round_().long().clamp_(0, size - 1)
            for line, corner in ((at.y, "top"), (at.x, "left"))
        )
        return Coordinates(y, x, at.inside)


class Erase(Step):
    """Blacken a square of `side` pixels at uniformly drawn coordinates, wholly within the image.

    Source: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.
    """

    def __init__(self, side: Pixels):
        require(side >= 1, f"Erase: needs side >= 1, got {side}")
        self.side = side

    def output_size(self, size: int) -> int:
        """The same, if the square fits in."""
        require(
            self.side <= size, f"Erase: a square of {self.side} needs images of at least as many pixels, not {size}"
        )
        return size

    def draw(self, rng: np.random.Generator, n: int, size: int) -> Drawn:
        """The square's corner."""
        room = size - self.side + 1
        return {"top": rng.integers(room, size=n), "left": rng.integers(room, size=n)}

    def pull(self, at: Coordinates, size: int, parameters: Parameters) -> Coordinates:
        """The same, outside the image where the square lies."""
        down, right = at.y - parameters["top"], at.x - parameters["left"]
        erased = (down >= 0) & (down < self.side) & (right >= 0) & (right < self.side)
        return Coordinates(at.y, at.x, at.inside & ~erased)


class Chain:
    """Steps in order, by name; then a policy; then `mix`, which the loader applies, since that has both images."""

    def __init__(self, steps: Mapping[str, Step], mix: Mix | None = None, policy: Policy | None = None):
        for name, step in steps.items():
            kind, methods = type(step).__name__, ("output_size", "draw", "pull")
            lacks = " and ".join(method for method in methods if not hasattr(step, method))
            require(not lacks, f"augment.steps.{name}: {kind} is no step that moves pixels: it lacks {lacks}")
        problem = f"augment.policy: {type(policy).__name__} is no policy; steps belong under augment.steps, "
        require(policy is None or hasattr(policy, "change"), problem + "what mixes images is augment.mix")
        problem = f"augment.mix: {type(mix).__name__} does not mix images; steps belong under augment.steps"
        require(mix is None or hasattr(mix, "apply"), problem)
        self.steps, self.policy, self.mix = dict(steps), policy, mix

    def __bool__(self) -> bool:
        return bool(self.steps or self.policy or self.mix)

    def sizes(self, size: int) -> list[int]:
        """Side of the images before each step, and after the last."""
        return list(accumulate(self.steps.values(), lambda side, step: step.output_size(side), initial=size))

    def draw(self, rng: np.random.Generator, n: int, size: int) -> dict[str, Drawn]:
        """Parameters for the `n` samples of an epoch: of all steps by name, of the policy and of the mixing."""
        sizes = self.sizes(size)
        drawn = {name: step.draw(rng, n, sizes[i]) for i, (name, step) in enumerate(self.steps.items())}
        if self.policy:
            drawn[POLICY] = self.policy.draw(rng, n)
        if self.mix:
            drawn[MIX] = self.mix.draw(rng, n)
        return drawn

    def apply(self, images: torch.Tensor, parameters: Mapping[str, Parameters]) -> torch.Tensor:
        """`[B, C, S, S]` -> `[B, C, T, T]` of the same type, by what `draw` gave: tensors `[B]`, this batch's rows."""
        if self.steps:
            images = self._move(images, parameters)
        return self.policy.change(images, parameters[POLICY]) if self.policy else images

    def _move(self, images: torch.Tensor, parameters: Mapping[str, Parameters]) -> torch.Tensor:
        batch, channels, size, _ = images.shape
        *sizes, last = self.sizes(size)
        line = torch.arange(last, device=images.device)
        at = Coordinates(line[None, :, None], line[None, None, :], torch.tensor(True))
        for (name, step), before in zip(reversed(self.steps.items()), reversed(sizes), strict=True):
            at = step.pull(at, before, {key: value[:, None, None] for key, value in parameters[name].items()})
        flat = (at.y * size + at.x).expand(batch, last, last).reshape(batch, 1, -1)
        out = images.reshape(batch, channels, -1).gather(2, flat.expand(-1, channels, -1))
        if at.inside.ndim:
            out.masked_fill_(~at.inside.expand(batch, last, last).reshape(batch, 1, -1), 0)
        return out.reshape(batch, channels, last, last)
