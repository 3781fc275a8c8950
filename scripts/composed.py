"""Settings of the words of a command line, and the parts that they make, for scripts that need them without a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from seedbed import build, config, randomness
from seedbed.config import Settings
from seedbed.data.loader import Loader, Preprocess
from seedbed.training.device import Device
from seedbed.types import ImageData, Split

CONF = Path(__file__).parents[1] / "conf"


def composed(words: Sequence[str]) -> Settings:
    """Those of `python -m run WORDS`, checked."""
    return config.check(tree(words))


def tree(words: Sequence[str]) -> dict[str, Any]:
    """The configuration of `python -m run WORDS`: plain dicts and lists."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("config", list(words)), resolve=True)


class Parts(NamedTuple):
    """What a run of images begins with."""

    data: ImageData
    preprocess: Preprocess
    model: nn.Module
    on: Device

    def loader(self, split: Split, batch_size: int, seed: int | None = None) -> Loader:
        """Batches of a split, not augmented; a seed shuffles them."""
        return Loader(
            split, self.preprocess, batch_size=batch_size, device=self.on.torch, channels_last=self.on.channels_last,
            seed=seed,
        )  # fmt: skip


def parts(settings: Settings) -> Parts:
    """Images, and a model with the weights that a run of these settings has before its first step."""
    data = build.load_data(settings)
    preprocess = build.make_preprocess(settings, data)
    randomness.seed_torch(settings.root.seed, 0, randomness.WEIGHTS)
    model, on = build.make_model(settings, build.input_shape(data, preprocess), len(data.classes))
    build.prepare_tuning(settings, model, preprocess, begins=True)
    return Parts(data, preprocess, model, on)
