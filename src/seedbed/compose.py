"""From overrides to a whole configuration: Hydra composes it, and what comes out is plain dicts and lists."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seedbed.errors import UserError, options_of
from seedbed.keys import KEYS, TEXTS, quoted, refuse_hydras

# The configuration: inside the installed package, or beside `src/` in a clone.
CONF = next(f for f in (Path(__file__).parent / "conf", Path(__file__).parents[2] / "conf") if f.is_dir())
# What may not change below `hydra`, since it would not be heeded.
UNTOUCHED = {
    "hydra.run.dir": ".", "hydra.output_subdir": None, "hydra.sweep.subdir": ".", "hydra.job.chdir": None,
    "hydra.job.name": "app", "hydra.job.env_set": {}, "hydra.mode": None, "hydra.callbacks": {},
}  # fmt: skip


def register_resolvers() -> None:
    """Make known what conf/ interpolates."""
    from omegaconf import OmegaConf

    for variable in ("SEEDBED_DATA", "SEEDBED_OUTPUTS", "SEEDBED_CACHE"):  # an empty one is none
        if os.environ.get(variable) == "":
            del os.environ[variable]
    OmegaConf.register_new_resolver("sweep_token", lambda: secrets.token_hex(2), use_cache=True, replace=True)
    OmegaConf.register_new_resolver("expanded", os.path.expanduser, replace=True)


def search_in(folders: Sequence[Path]) -> None:
    """From now on Hydra looks for configuration in these folders, too, whatever letters their names hold."""
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class Beside(SearchPathPlugin):
        def manipulate_search_path(self, search_path: Any) -> None:
            for folder in folders:
                search_path.append("command-line", f"file://{folder.resolve()}")

    Plugins.instance().register(Beside)


def as_text(override: str, sweeps: bool = False) -> str:
    """An override, in quotes where Hydra's grammar would not take the path or the name in it as it is: `007`, `a (1)`.

    `images=a,b` becomes a list. Values that a sweep tries one by one stay what they are.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, _, value = override.partition("=")
    if key.lstrip("+") not in TEXTS or value in ("", "null", "???") or value[0] in "'\"":
        return override
    try:
        parsed = OverridesParser.create().parse_override(override)
        meant = ["sweep"] if parsed.is_sweep_override() else parsed.value()
    except HydraException:
        meant = ["sweep"] if sweeps and "," in value else 0
    if meant is None or isinstance(meant, str):
        return override
    if not isinstance(meant, list | dict) or os.path.lexists(os.path.expanduser(value)):  # noqa: PTH111
        pieces = [value]
    elif key.lstrip("+") == "images" and not sweeps and value[0] != "[":
        pieces = value.split(",")
    else:
        return override
    texts = list(map(quoted, pieces))
    return f"{key}={texts[0]}" if len(texts) == 1 else f"{key}=[{','.join(texts)}]"


def compose(overrides: Sequence[str]) -> tuple[dict[str, Any], Any]:
    """The configuration of `python -m run OVERRIDES`, as plain dicts and lists, and Hydra's own settings."""
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf, open_dict

    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", list(map(as_text, overrides)), return_hydra_config=True)
    HydraConfig.instance().set_config(composed)  # for a configuration that refers to it
    hydra = composed.hydra
    # What a preset says of Hydra's own; what is typed was refused before.
    refuse_hydras(key for key, value in UNTOUCHED.items() if OmegaConf.select(hydra, key[6:]) != value)
    with open_dict(composed):
        del composed["hydra"]
    return plain(composed), hydra


def choices_of(hydra: Any) -> dict[str, str | None]:
    """Group -> the option that was chosen, from Hydra's settings."""
    return {group: option for group, option in hydra.runtime.choices.items() if "/" not in group}


def plain(composed: Any) -> dict[str, Any]:
    """A composed configuration as plain dicts and lists, resolved, the `~` of its paths expanded.

    Raises:
        UserError: a value is missing or cannot be resolved, a path is no text, or the task is none of ours.
    """
    from omegaconf import MissingMandatoryValue, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = getattr(error, "full_key", None) or "a key"
        raise UserError(f"{key}: must be given, as {key}=…") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or 'a key'}: {str(error).strip().splitlines()[0]}") from error
    for key in (key for key, spec in KEYS.items() if spec.path):
        group, _, leaf = key.rpartition(".")
        node = config.get(group) if group else config
        value = node.get(leaf) if isinstance(node, dict) else None
        if value == "":
            raise UserError(f"{key}: expected a path, got an empty text; give one, {key}=PATH, or leave it out")
        if isinstance(value, str):
            # A shell leaves the ~ of KEY=~/path as it is; that of no user is part of a name.
            node[leaf] = os.path.expanduser(value)  # noqa: PTH111
        elif key == "images" and isinstance(value, list) and value:
            node[leaf] = [os.path.expanduser(str(path)) for path in value]  # noqa: PTH111
        elif value is not None and KEYS[key].kind == "task":
            raise UserError(f"{key}: expected a path, got {value!r}; give one, {key}=PATH")
    tasks = options_of([CONF], "task")
    if config.get("task") not in tasks:
        raise UserError(f"task: expected one of {', '.join(tasks)}, got {config.get('task')!r}; give task=…")
    return config
