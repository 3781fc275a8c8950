"""The one declaration of what may be typed: which task reads a key, which keys are paths, which may change a run."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from seedbed.errors import UserError

GROUPS = ("dataset", "features", "model", "augment", "optimizer", "scheduler", "device", "train")
OPTIONAL_GROUPS = ("features", "scheduler")
TRAIN, EVALUATE, PREDICT, REPORT = ("train",), ("evaluate",), ("predict",), ("report",)
RUNS = (*TRAIN, *EVALUATE, *PREDICT)
ALL = (*RUNS, *REPORT)


class Key(NamedTuple):
    """What a key is for.

    Attributes:
        tasks: read it; a checkpoint brings the others of its configuration along.
        kind: setting: describes a run; task: says what to do; label: where things lie and what they are called.
        path: whether its value is a path, whose `~` is expanded.
        resume: whether it may be typed with `resume=`.
    """

    tasks: tuple[str, ...]
    kind: Literal["setting", "task", "label"] = "setting"
    path: bool = False
    resume: bool = False


# A key below a group is the group's, unless it stands here itself.
KEYS = {
    "task": Key(ALL, "task", resume=True),
    "resume": Key(TRAIN, "task", path=True, resume=True),
    "checkpoint": Key((*EVALUATE, *PREDICT), "task", path=True, resume=True),
    "split": Key(EVALUATE, "task", resume=True),
    "images": Key(PREDICT, "task", path=True, resume=True),
    "predictions": Key(PREDICT, "task", path=True, resume=True),
    "runs": Key(REPORT, "task", resume=True),
    "sort": Key(REPORT, "task", resume=True),
    "table": Key(REPORT, "task", path=True, resume=True),
    "curves": Key(REPORT, "task", path=True, resume=True),
    **dict.fromkeys(("data_root", "output_root", "cache_root"), Key(ALL, "label", path=True, resume=True)),
    "name": Key(RUNS, "label"),
    **dict.fromkeys(("seed", "experiment", "model", "dataset.on_bad_image"), Key(RUNS)),
    "device": Key(RUNS, resume=True),
    "dataset": Key((*TRAIN, *EVALUATE)),
    "dataset.root": Key((*TRAIN, *EVALUATE), path=True, resume=True),
    "dataset.image_size": Key(TRAIN),
    **dict.fromkeys(("features", "augment", "optimizer", "scheduler", "train"), Key(TRAIN)),
    "train.epochs": Key(TRAIN, resume=True),
    **dict.fromkeys(("train.eval_batch_size", "train.tta"), Key(RUNS)),
    **dict.fromkeys(("model.mean", "model.std", "model.normalize_training", "model.pretrained"), Key(TRAIN)),
    **dict.fromkeys(
        ("model.rescale_batchnorm", "model.freeze", "model.freeze_batchnorm", "model.lr_decay"), Key(TRAIN)
    ),
}
# Their values are texts, whatever they look like.
TEXTS = (*(name for name, key in KEYS.items() if key.path), "name", "dataset.name", "model.pretrained")
# Hydra's own keys that would not be heeded, and what to type instead.
NOT_HEEDED = {
    "hydra.run": "output_root=PATH says where run folders are made, and name=TEXT is added to their names",
    "hydra.sweep": "is for sweeps; output_root=PATH says where folders are made, and name=TEXT is added to their names",
    "hydra.output_subdir": "config.yaml and overrides.json in the run folder say what was composed; leave it out",
    "hydra.job.name": "name=TEXT is added to the run folder's name",
    "hydra.job": "jobs run in the working folder, with the environment of the shell; leave it out",
    "hydra.mode": "a sweep begins with -m; leave it out",
    "hydra.sweeper": "jobs run one after another, of values as KEY=A,B behind -m; leave it out",
    "hydra.launcher": "jobs run one after another; leave it out",
    "hydra": "is for Hydra's own files and logs, of which there are none; the run folder holds all; leave it out",
}
HEEDED, HEEDED_BY_SWEEPS = ("hydra.searchpath",), ("hydra.searchpath", "hydra.sweep.dir")
TASK_KEYS = tuple(name for name, key in KEYS.items() if key.kind == "task")
ROOTS = ("data_root", "output_root", "cache_root")


class Override(NamedTuple):
    """One word of the command line: `KEY=VALUE`, `+KEY=VALUE` or `~KEY`."""

    text: str

    @property
    def key(self) -> str:
        """The key, without what stands before or after it."""
        return self.text.partition("=")[0].lstrip("+~")

    @property
    def value(self) -> str:
        """The value as it was typed."""
        return self.text.partition("=")[2]


def declared(name: str) -> Key:
    """What a key is for: its own entry, or its group's."""
    return KEYS.get(name) or KEYS.get(name.partition(".")[0]) or Key(RUNS)


def refuse_unread(task: str, overrides: Iterable[str], advice: str) -> None:
    """Raise UserError for an override that a task would ignore."""
    for override in map(Override, overrides):
        if task not in declared(override.key).tasks:
            raise UserError(f"{override.text}: says nothing to task={task}; {advice}")


def refuse_hydras(keys: Iterable[str], sweeps: bool = False) -> None:
    """Raise UserError for a key of Hydra's own that would not be heeded, with what is."""
    for key in keys:
        parts = key.split("@")[0].replace("/", ".").split(".")
        names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
        if parts[0] == "hydra" and not set(names) & set(HEEDED_BY_SWEEPS if sweeps else HEEDED):
            raise UserError(f"{key}: {next(NOT_HEEDED[name] for name in names if name in NOT_HEEDED)}")


def of_task(overrides: Iterable[str]) -> list[str]:
    """The overrides but for those of Hydra's own keys."""
    return [text for text in overrides if not Override(text).key.startswith(("hydra.", "hydra/"))]


def quoted(text: str) -> str:
    """A text as Hydra's grammar takes it whole, in double quotes; it reads backslashes before a quote as escapes."""
    return '"' + re.sub(r'(\\*)("|\Z)', lambda match: match[1] * 2 + match[2].replace('"', '\\"'), text) + '"'


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what says nothing of the model: where things lie would make equal runs differ."""
    return {name: value for name, value in config.items() if declared(name).kind == "setting"}
