"""Settings of the words of a command line, for scripts that need a model or data without a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from seedbed import config
from seedbed.config import Settings

CONF = Path(__file__).parents[1] / "conf"


def composed(words: Sequence[str]) -> Settings:
    """Those of `python -m run WORDS`, checked."""
    return config.check(tree(words))


def tree(words: Sequence[str]) -> dict[str, Any]:
    """The configuration of `python -m run WORDS`: plain dicts and lists."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("config", list(words)), resolve=True)
