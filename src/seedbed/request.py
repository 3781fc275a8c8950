"""What the entry point hands to a task, and how it lies on the configuration of a run that exists already."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from seedbed.errors import UserError
from seedbed.keys import ROOTS, TASK_KEYS, Override


@dataclass(frozen=True)
class Request:
    """What the entry point hands to a task.

    Attributes:
        config: the composed configuration, resolved: plain dicts and lists.
        choices: group -> the option that was chosen.
        overrides: what the user typed.
        swept: in a sweep, key -> value of the overrides that differ between its jobs.
        sweep: in a sweep, the folder of its runs and the number of this one.
    """

    config: dict[str, Any]
    choices: Mapping[str, str | None]
    overrides: list[str] = field(default_factory=list)
    swept: dict[str, str] = field(default_factory=dict)
    sweep: tuple[Path, int] | None = None

    @property
    def typed(self) -> set[str]:
        """The keys that the user typed."""
        return {override.key for override in map(Override, self.overrides)}

    @property
    def title(self) -> str:
        """The experiment preset's name, else data set and model; both where the preset's own were changed."""
        preset, data, model = (str(self.choices.get(group) or "") for group in ("experiment", "dataset", "model"))
        root = (self.config.get("dataset") or {}).get("root")
        if data == "folder" and root:
            data = f"{data} {Path(root).resolve().name.removesuffix('.zip')}"
        if not preset:
            return f"{data} {model}"
        typed = {override.partition("=")[0] for override in self.overrides}
        return " ".join([preset, *(name for group, name in (("dataset", data), ("model", model)) if group in typed)])


def with_overrides(of_run: dict[str, Any], request: Request) -> dict[str, Any]:
    """A run's own configuration, with only what the user typed on top: a key, or a group's whole new choice."""
    merged, composed = OmegaConf.create(of_run), OmegaConf.create(request.config)
    for override in map(Override, request.overrides):
        if override.key in TASK_KEYS:
            continue
        value = OmegaConf.select(composed, override.key)
        if override.key == "experiment" or (value is None and override.text.startswith("~")):
            raise UserError(f"{override.text}: a run keeps its own configuration; type the keys that should differ")
        OmegaConf.update(merged, override.key, value, merge=False, force_add=True)
    for root in ROOTS:
        merged[root] = composed[root]
    merged.setdefault("name", None)
    return OmegaConf.to_container(merged)
