"""What the door hands to a task, and how it lies on the configuration of a run that is there already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from seedbed.config import OF_TASKS
from seedbed.errors import UserError

PLACES = ("data_root", "output_root", "cache_root")


@dataclass(frozen=True)
class Request:
    """What the door hands to a task.

    Attributes:
        config: the composed configuration, resolved: plain dicts and lists.
        choices: group -> the option that was chosen.
        overrides: what the user typed, word by word.
        swept: in a sweep, key -> value of the overrides that differ between its jobs.
        sweep: in a sweep, the folder of its runs and the number of this one.
    """

    config: dict[str, Any]
    choices: Mapping[str, str | None]
    overrides: list[str] = field(default_factory=list)
    swept: dict[str, str] = field(default_factory=dict)
    sweep: tuple[Path, int] | None = None

    @property
    def title(self) -> str:
        """The experiment preset's name, else data set and model; both where the preset's own were changed."""
        preset, data, model = (str(self.choices.get(group) or "") for group in ("experiment", "dataset", "model"))
        root = (self.config.get("dataset") or {}).get("root")
        if data == "folder" and root:
            data = f"{data} {Path(root).resolve().name.removesuffix('.zip')}"
        if not preset:
            return f"{data} {model}"
        typed = {word.partition("=")[0] for word in self.overrides}
        return " ".join([preset, *(own for group, own in (("dataset", data), ("model", model)) if group in typed)])


def with_typed(config_of_run: dict[str, Any], request: Request) -> dict[str, Any]:
    """A run's own configuration, with only what the user typed on top: a key, or a group's whole new choice."""
    merged = OmegaConf.create(config_of_run)
    composed = OmegaConf.create(request.config)
    for word in request.overrides:
        key = word.partition("=")[0].lstrip("+~")
        if key in OF_TASKS:
            continue
        if key == "experiment" or (OmegaConf.select(composed, key) is None and word.startswith("~")):
            raise UserError(f"{word}: a run keeps its own configuration; type the keys that should differ")
        OmegaConf.update(merged, key, OmegaConf.select(composed, key), merge=False, force_add=True)
    for place in PLACES:
        merged[place] = composed[place]
    merged.setdefault("name", None)
    return OmegaConf.to_container(merged)
