"""The one error that is the user's own, and Hydra's exceptions in the user's words."""

import difflib
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any


class UserError(Exception):
    """Something the user can put right: shown as one message without a traceback, exit code 1."""


def require(condition: object, message: str) -> None:
    """Raise UserError with this message unless the condition holds."""
    if not condition:
        raise UserError(message)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing where nothing is near."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {match[0]!r}?" if match else ""


def explain(
    error: BaseException, arguments: Sequence[str], folders: Sequence[Path], attempt: Callable[[list[str]], object]
) -> str | None:
    """One message for a mistake in the command line; None if the exception is not the user's.

    Args:
        arguments: of the command.
        folders: of configuration, ours and the user's, for the options that exist.
        attempt: composes and checks overrides, and raises where they are wrong: for advice that works.
    """
    from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import MarkedYAMLError

    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return _no_option(arguments, folders)
    if isinstance(error, ValueError) and str(error).startswith(("Only one of --", "The --resolve flag")):
        flags = " ".join(word for word in arguments if word.startswith("-"))
        return f"{flags}: these do not go together; --cfg shows one job, without -m and with one value a key"
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: not readable as yaml: {error.problem}"
    if not isinstance(error, HydraException | OmegaConfBaseException | OSError):
        return _below_null(arguments) if "Unexpected type for root: NoneType" in str(error) else None
    if isinstance(error, OverrideParseException):
        return _grammar(error.override)
    if isinstance(error, MissingConfigException):
        return _missing(error, arguments, folders)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else None
    text = str(error).strip()
    match = re.search(r"Ambiguous value for argument '(.+?)'|Sweep parameters '(.+?)' requires", text)
    if match:
        return _several_values(match[1] or match[2], arguments, attempt)
    match = re.match(r"Error merging override (\S+?)=", text)
    if match:
        return f"{match[1]}: expected a group of keys; name one below it, {match[1]}.KEY=VALUE"
    match = re.search(r"Could not override '([^']+)'", text)
    if match:
        return _unknown_key(match[1], arguments, folders)
    if isinstance(error, ConfigCompositionException) and error.__cause__ is not None:
        text = f"{text.splitlines()[0]} {str(error.__cause__).strip().splitlines()[0]}"
    return text.splitlines()[0] if text else type(error).__name__


def _grammar(override: str) -> str:
    from seedbed.keys import quoted

    key, sign, value = override.partition("=")
    if not sign:
        return f"{override!r}: expected KEY=VALUE or GROUP=OPTION; see --help"
    return (
        f"{override!r}: Hydra's grammar cannot take this value; put it in two pairs of quotes, the outer for the "
        f"shell: {shlex.quote(f'{key}={quoted(value)}')}"
    )


def _below_null(arguments: Sequence[str]) -> str:
    added = " ".join(word for word in arguments if word.startswith("+") and "." in word)
    return f"{added}: names a key below one that holds no group of keys; see --cfg job"


def _several_values(word: str, arguments: Sequence[str], attempt: Callable[[list[str]], object]) -> str:
    key, _, value = word.partition("=")
    as_list = f"{key}=[{value}]"
    try:
        attempt([*(other for other in arguments if other != word and other[:1] != "-"), as_list])
    except Exception:  # advice that would not work
        return f"{word}: several values; to run each of them add -m"
    return f"{word}: several values; to run each of them add -m; a list is {as_list}"


def _missing(error: Any, arguments: Sequence[str], folders: Sequence[Path]) -> str:
    flag = next((w for w in arguments if w.startswith(("--config-name", "-cn", "--config-path", "-cp"))), None)
    given = [word.partition("=")[2] if word == flag else word for word in arguments]
    if flag is not None and error.missing_cfg_file in (None, *given):
        return f"{flag}: no such configuration; leave it out, or add a folder of your own by --config-dir=FOLDER"
    parts = (error.missing_cfg_file or "").split("/")
    if parts[0] == "hydra":
        group, option = "/".join(parts[:-1]), parts[-1]
        return f"{group}={option}: Hydra has no such option; one that a plugin brings needs the plugin installed"
    # experiment/orignal/mlp: the group is what exists of it, the option what follows.
    groups = groups_of(folders)
    known = next(
        (n for n in range(len(parts) - 1, 0, -1) if any(folder.joinpath(*parts[:n]).is_dir() for folder in folders)), 0
    )
    group, option = "/".join(parts[:known]), "/".join(parts[known:])
    if not group:
        return f"{error.missing_cfg_file}: no such group{nearest(parts[0], groups)} (groups: {', '.join(groups)})"
    options = options_of(folders, group)
    if option in options:
        return f"{group}={option}: its yaml is there and cannot be read; is it a file with the right to be read?"
    return f"{group}={option}: no such option{nearest(option, options)} ({group} has: {', '.join(options)})"


def _no_option(arguments: Sequence[str], folders: Sequence[Path]) -> str:
    """A group was given something that cannot be an option's name, such as a number or null."""
    for word in arguments:
        group, _, option = word.lstrip("+~").partition("=")
        options = options_of(folders, group) if group else []
        if options and option not in options:
            return f"{word}: expected an option of {group} ({group} has: {', '.join(options)})"
    return "a group was given something that is no option's name; see --help"


def groups_of(folders: Sequence[Path]) -> list[str]:
    """Names of the groups of configuration folders, but for Hydra's own."""
    return sorted({path.name for folder in folders for path in folder.iterdir() if path.is_dir()} - {"hydra"})


def options_of(folders: Sequence[Path], group: str) -> list[str]:
    """Option names of a group, those of its subfolders with the subfolder's name before them."""
    roots = [folder / group for folder in folders]
    paths = {path.relative_to(root).with_suffix("") for root in roots for path in root.rglob("*.yaml")}
    return [path.as_posix() for path in sorted(paths) if not path.name.startswith("_")]


def _unknown_key(key: str, arguments: Sequence[str], folders: Sequence[Path]) -> str:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from seedbed.upgrade import renamed

    if message := renamed(key):
        return message
    groups = groups_of(folders)
    choices = [w for w in arguments if w.partition("=")[0] in groups and "," not in w]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folders[0]), version_base="1.3"):
            known = [*groups, *_keys(compose("config", choices))]
    except Exception:  # the choices are wrong too; naming the key alone still helps
        known = list(groups)
    leaf = key.rpartition(".")[2]
    same = [k for k in known if "." in k and k.rpartition(".")[2] == key]
    near = f"; did you mean {' or '.join(map(repr, same))}?" if same else ""
    near = near or nearest(key, known) or nearest(leaf, [k for k in known if "." not in k])
    siblings = [k for k in known if k.rpartition(".")[0] == key.rpartition(".")[0]] if "." in key else []
    listed = f" ({key.rpartition('.')[0]} has: {', '.join(k.rpartition('.')[2] for k in siblings)})" if siblings else ""
    return f"{key}: no such key{near}{listed}"


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    from omegaconf import DictConfig

    for key in node:
        yield f"{prefix}{key}"
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            yield from _keys(child, f"{prefix}{key}.")
