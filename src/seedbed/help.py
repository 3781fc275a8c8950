"""The help page, drawn from the configuration itself: each option is described by the first line of its yaml."""

from collections.abc import Sequence
from pathlib import Path

from seedbed.errors import groups_of, options_of

HEAD = """\
seedbed trains image classifiers from a configuration.

  python -m run [GROUP=OPTION …] [KEY=VALUE …]       the same as: seedbed …

Examples
  python -m run                                                   an MLP on Fashion-MNIST
  python -m run dataset=fruits model=convnet augment=flip_crop    another data set, model and augmentation
  python -m run train=smoke dataset=digits                        does it work? a few seconds, no download
  python -m run optimizer=sgd optimizer.lr=0.05 train.epochs=5    any key of any group
  python -m run -m optimizer.lr=1e-2,1e-3 augment=none,flip       a sweep of four runs, with a leaderboard
  python -m run task=evaluate checkpoint=outputs/RUN              test it again
  python -m run task=predict checkpoint=outputs/RUN images=PATH   unlabelled images -> predictions.csv
  python -m run task=report                                       what has been run, in a table
"""
TAIL = """\
Keys of your own choice
  seed=0  name=TEXT (added to the run folder's name)
  data_root=PATH ($SEEDBED_DATA)  output_root=PATH ($SEEDBED_OUTPUTS)  cache_root=PATH ($SEEDBED_CACHE)

More
  python -m run GROUP=OPTION … --cfg job     print the whole configuration, run nothing
  python -m run --info defaults              where each part of it comes from
  python -m run --hydra-help                 Hydra's own flags
  Quote for the shell what it would read itself: 'dataset.root=my photos (1)'
"""


def page(folders: Sequence[Path]) -> str:
    """The text of `--help`, of configuration folders: ours first, then the user's."""
    defaults = _defaults(folders[0] / "config.yaml")
    parts = [HEAD, "Groups and their options (* is the default)"]
    for group in sorted(groups_of(folders), key=lambda name: _rank(name, defaults)):
        parts.append(f"  {group}")
        for option in options_of(folders, group):
            path = next(path for folder in folders if (path := folder / group / f"{option}.yaml").is_file())
            star = "*" if defaults.get(group) == option else " "
            parts.append(f"   {star} {option:<15} {_first_comment(path)}")
    return "\n".join([*parts, "", TAIL])


def _first_comment(path: Path) -> str:
    comments = (line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    return next((line.lstrip("# ") for line in comments if not line.startswith("# @")), "")


def _defaults(path: Path) -> dict[str, str]:
    """Group -> default option, off the lines of the defaults list; reading yaml properly would cost an import."""
    pairs = [line.strip().removeprefix("- ").split(": ") for line in path.read_text(encoding="utf-8").splitlines()]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and not pair[0].startswith(("override", "#"))}


def _rank(group: str, defaults: dict[str, str]) -> int:
    names = list(defaults)
    return names.index(group) if group in names else len(names)
