"""The model of a finished run, beside data to test it on, for scripts."""

from __future__ import annotations

from typing import NamedTuple

from composed import composed
from kept_runs import complete
from torch import nn

from seedbed import build
from seedbed.config import Settings
from seedbed.data.loader import Preprocess
from seedbed.engine.device import Device
from seedbed.types import ImageData


class Restored(NamedTuple):
    settings: Settings
    data: ImageData
    preprocess: Preprocess
    model: nn.Module
    on: Device


def restored(words: str, *changes: str) -> Restored:
    """The best weights of `python -m run WORDS`, found under outputs/kept or made, and what its settings describe.

    Args:
        changes: words for the settings of the test alone, as `dataset.root=...`; the run is one without them.
    """
    weights = complete(words) / "best.safetensors"
    settings = composed([*words.split(), *changes, f"model.pretrained={weights.resolve()}"])
    data = build.load_data(settings)
    preprocess = build.make_preprocess(settings, data)
    model, on = build.make_model(settings, build.input_shape(data, preprocess), len(data.classes))
    build.prepare_tuning(settings, model, preprocess, begins=True)
    return Restored(settings, data, preprocess, model, on)
