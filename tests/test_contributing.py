"""CONTRIBUTING.md's examples, typed as they stand, one after the other in one folder."""

from __future__ import annotations

import re
import shlex

from documentation import ROOT, blocks, commands

PAGE = ROOT / "CONTRIBUTING.md"
# Of the four examples: a data set, a model, an augmentation step, a preset.
FILES = {
    "mine.py", "my_conf/dataset/stripes.yaml", "my_model.py", "my_conf/model/tiny.yaml", "my_steps.py",
    "my_conf/augment/flip_roll.yaml", "my_conf/experiment/stripes_tiny.yaml",
}  # fmt: skip


def test_the_examples_run_as_they_stand(seedbed, tmp_path):
    written, pages, runs = set(), "", 0
    for language, content in blocks(PAGE):
        if language == "sh":
            for command in commands(content):
                python, flag, module, *overrides = shlex.split(command)
                assert (python, flag, module) == ("python", "-m", "run"), f"nobody tests {command}"
                done = seedbed(*overrides).check()
                pages += done.out if "--help" in overrides else ""
                runs += len(re.findall(r"^run folder: ", done.out, re.MULTILINE))
        elif name := re.match(r"# ([\w./]+\.(?:py|yaml))\n", content):
            # The first line names the file and is no part of it.
            path = tmp_path / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content[name.end() :])
            written.add(name[1])
    assert written >= FILES and runs >= 6
    for file in written:
        if file.startswith("my_conf/"):
            option = file.partition("/")[2].partition("/")[2].removesuffix(".yaml")
            assert re.search(rf"^ +{option} +\w", pages, re.MULTILINE), f"--help says nothing of {option}"
