"""From overrides to a whole configuration: Hydra composes it, and what comes out is plain dicts and lists."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seedbed.errors import UserError, options_of
from seedbed.keys import KEYS

# The configuration: inside the installed package, or beside `src/` in a clone.
CONF = next(f for f in (Path(__file__).parent / "conf", Path(__file__).parents[2] / "conf") if f.is_dir())


def register_resolvers() -> None:
    """Make known what conf/ interpolates."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("sweep_token", lambda: secrets.token_hex(2), use_cache=True, replace=True)
    OmegaConf.register_new_resolver("expanded", lambda path: str(Path(path).expanduser()), replace=True)


def compose(overrides: Sequence[str], folders: Sequence[Path] = ()) -> tuple[dict[str, Any], Any]:
    """The configuration of `python -m run OVERRIDES`, as plain dicts and lists, and Hydra's own settings.

    Args:
        folders: of configuration beside ours.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    register_resolvers()
    extra = [f"hydra.searchpath=[{','.join(f'file://{folder.resolve()}' for folder in folders)}]"] if folders else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", [*overrides, *extra], return_hydra_config=True)
    HydraConfig.instance().set_config(composed)  # for a configuration that refers to it
    hydra = composed.hydra
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
        if isinstance(value, str):
            node[leaf] = str(Path(value).expanduser())  # a shell leaves the ~ of KEY=~/path as it is
        elif value is not None and KEYS[key].kind == "task":
            way = f"a name that is a number needs two pairs of quotes: '{key}=\"{value}\"'"
            raise UserError(f"{key}: expected a path, got {value!r}; {way}")
    tasks = options_of([CONF], "task")
    if config.get("task") not in tasks:
        raise UserError(f"task: expected one of {', '.join(tasks)}, got {config.get('task')!r}; give task=…")
    return config
