"""What fine-tuning does to a model before the first step: weights, scale, and what is frozen."""

from __future__ import annotations

import logging

import pytest
import torch

from seedbed.models.fine_tuning import FrozenBatchNorm2d, prepare
from seedbed.models.resnet import ResNet18
from seedbed.training.checkpoint import save_best

OURS = ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])


@pytest.fixture
def weights(tmp_path) -> str:
    """A file of ours, its images normalised as OURS."""
    torch.manual_seed(1)
    mean, std = OURS
    preprocess = {"mean": mean, "std": std}
    save_best(tmp_path / "w.safetensors", ResNet18((3, 8, 8), 5).state_dict(), {"preprocess": preprocess})
    return str(tmp_path / "w.safetensors")


def prepared(source: str | None, begins: bool = True, **options) -> tuple[ResNet18, dict[str, torch.Tensor]]:
    """A model, and its state dict before."""
    torch.manual_seed(2)
    model = ResNet18((3, 8, 8), 7)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    options = {"rescale": False, "freeze_up_to": None, "freeze_bn": False, "normalization": OURS, **options}
    prepare(model, pretrained=source, begins=begins, **options)
    return model, before


@pytest.mark.parametrize("source", [None, "none"])
def test_without_weights_a_model_is_as_it_was(source):
    model, before = prepared(source)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_weights_are_loaded_and_stages_frozen(weights, caplog):
    caplog.set_level(logging.INFO)
    model, before = prepared(weights, freeze_up_to="layer1")
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert "layer4.1.conv2.weight" in changed and not {"fc.weight", "fc.bias"} & changed
    assert not model.layer1[0].conv1.weight.requires_grad and model.layer2[0].conv1.weight.requires_grad
    assert isinstance(model.bn1, FrozenBatchNorm2d) and not isinstance(model.layer2[0].bn1, FrozenBatchNorm2d)
    assert f"weights of {weights}, but for fc.bias, fc.weight" in caplog.text and "normalised" not in caplog.text


def test_a_new_head_is_not_rescaled(weights):
    model, before = prepared(weights, rescale=True)
    assert torch.equal(model.fc.weight, before["fc.weight"])


def test_a_run_that_goes_on_is_frozen_and_takes_no_weights():
    model, before = prepared("no such file", begins=False, rescale=True, freeze_up_to="stem", freeze_bn=True)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert isinstance(model.layer4[1].bn2, FrozenBatchNorm2d) and not model.conv1.weight.requires_grad


@pytest.mark.parametrize(("ours", "warns"), [(OURS, False), (([0.5] * 3, [0.5] * 3), True), (None, False)])
def test_images_normalised_in_another_way_are_warned_of(weights, caplog, ours, warns):
    prepared(weights, normalization=ours)
    message = "normalised by mean 0.1, 0.2, 0.3, std 0.4, 0.5, 0.6, which are here 0.5, 0.5, 0.5, 0.5, 0.5, 0.5"
    assert (message in caplog.text) == warns
