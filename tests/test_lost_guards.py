"""Guards that a refactoring once lost."""

from __future__ import annotations

from pathlib import Path

import pytest

OLD = Path(__file__).parent / "old_runs"
GREY_ONLY = """
import torch
class GreyOnly(torch.nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        assert input_shape[0] == 1
        self.scale = torch.linspace(0, 1, 3)[1].item()
        self.last = torch.nn.Linear(28 * 28, classes)
    def forward(self, x):
        return self.last(x.flatten(1) * self.scale)
"""


@pytest.mark.parametrize("tta", [2, 6])
@pytest.mark.parametrize("task", ["evaluate", "predict images=."])
def test_features_have_no_other_views(seedbed, task, tta):
    done = seedbed(*f"task={task}".split(), f"checkpoint={OLD / 'features'}", f"train.tta={tta}")
    assert done.code == 1 and "train.tta: features are extracted once" in done.err and not list(done.outputs.glob("*"))


@pytest.mark.parametrize("partial", ["true", "false"])
def test_a_model_that_needs_numbers_or_grey_images_is_trained(seedbed, tmp_path, partial):
    (tmp_path / "grey_only.py").write_text(GREY_ONLY)
    folder = tmp_path / "my_conf" / "model"
    folder.mkdir(parents=True)
    yaml = f"# Grey\n_target_: grey_only.GreyOnly\n_partial_: {partial}\nimage_size: 28\nmean: 0.5\nstd: 0.5\n"
    (folder / "grey.yaml").write_text(yaml)
    seedbed("--config-dir", "my_conf", "model=grey", "dataset=digits", "train=smoke").check()


def test_a_folder_of_configuration_must_exist_for_a_sweep_too(seedbed):
    done = seedbed("-m", "--config-dir=nowhere", "dataset=digits", "train=smoke", "seed=0,1")
    assert done.code == 1 and "--config-dir: nowhere is no folder" in done.err and not done.folders


def test_a_configuration_with_next_to_nothing_is_one_message(seedbed, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("train: {epochs: 3}\n")
    done = seedbed("resume=run")
    assert done.code == 1 and "dataset: missing" in done.err and "Traceback" not in done.err


def test_the_run_table_takes_no_key_that_it_does_not_read(seedbed):
    done = seedbed("task=report", "+foo=3")
    assert done.code == 1 and "+foo=3: says nothing to task=report" in done.err
