"""Rescaled BatchNorm weights: their mean size is 1, and the model's outputs stay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seedbed.errors import UserError
from seedbed.models.convnet import ConvNet
from seedbed.models.fine_tuning import load_pretrained, rescale_batchnorm
from seedbed.models.resnet import ResNet18


def shipped(classes: int = 10) -> ResNet18:
    torch.manual_seed(0)
    model = ResNet18((3, 32, 32), classes)
    load_pretrained(model, "cifar10")
    return model.double()


def images() -> torch.Tensor:
    return torch.randn(8, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def batchnorms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def test_the_outputs_stay_by_the_statistics_of_the_backbone():
    """What a layer gives its BatchNorm layer stays, too, so running statistics and eps need no scaling."""
    model = shipped().eval()
    before = model(images())
    small = torch.cat([norm.weight for norm in batchnorms(model)]).abs().mean()
    rescale_batchnorm(model)
    torch.testing.assert_close(model(images()), before, rtol=1e-9, atol=1e-9)
    assert small < 0.2, "the shipped backbone's are small, or this test shows little"


def test_the_outputs_stay_by_the_statistics_of_the_batch():
    plain, scaled = shipped().train(), shipped().train()
    nn.init.constant_(scaled.layer2[1].bn1.weight, -0.3)
    nn.init.constant_(plain.layer2[1].bn1.weight, -0.3)
    rescale_batchnorm(scaled)
    torch.testing.assert_close(scaled(images()), plain(images()), rtol=1e-9, atol=1e-9)
    assert scaled.layer2[1].bn1.weight.mean().item() == pytest.approx(-1)
    for one, other in zip(batchnorms(plain), batchnorms(scaled), strict=True):
        torch.testing.assert_close(other.running_mean, one.running_mean)
        torch.testing.assert_close(other.running_var, one.running_var)


def test_every_batchnorm_layer_is_in_one_group_whose_weights_are_one_in_the_mean():
    model = shipped()
    rescale_batchnorm(model)
    held = [norm for group, _ in model.scales() for norm in group]
    assert len(held) == 20 and {id(norm) for norm in held} == {id(norm) for norm in batchnorms(model)}
    for group, _ in model.scales():
        assert torch.cat([norm.weight for norm in group]).abs().mean().item() == pytest.approx(1)


def test_every_layer_but_the_first_takes_from_one_group():
    model = shipped()
    taking = [id(layer) for _, takers in model.scales() for layer in takers]
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m is not model.conv1]
    assert len(taking) == len(set(taking)) and set(taking) == {id(layer) for layer in layers}


def test_a_new_head_keeps_its_weights_and_takes_larger_features():
    model = shipped(classes=7).eval()
    head, features = model.fc.weight.clone(), []
    model.fc.register_forward_hook(lambda _, inputs, __: features.append(inputs[0]))
    model(images())
    rescale_batchnorm(model, new=[model.fc])
    model(images())
    assert torch.equal(model.fc.weight, head)
    ratio = features[1].norm() / features[0].norm()
    torch.testing.assert_close(features[1], features[0] * ratio)
    assert ratio > 5


def test_gradients_follow_the_weights():
    """Those that are multiplied by a number have their gradient divided by it: so steps of SGD change as it says."""
    plain, scaled = shipped().train(), shipped().train()
    rescale_batchnorm(scaled)
    for model in (plain, scaled):
        nn.functional.cross_entropy(model(images()), torch.arange(8)).backward()
    before, after = dict(plain.named_parameters()), dict(scaled.named_parameters())
    for name in ("conv1.weight", "layer1.0.conv2.weight", "layer4.1.bn2.weight", "layer4.1.bn2.bias", "fc.weight"):
        factor = after[name].norm() / before[name].norm()
        torch.testing.assert_close(after[name].grad, before[name].grad / factor)
        assert (factor == 1) == (name == "conv1.weight")


def test_a_new_model_is_as_it_was():
    model = ResNet18((3, 32, 32), 10)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    rescale_batchnorm(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_weights_of_zero_stay():
    model = ResNet18((3, 8, 8), 10)
    nn.init.zeros_(model.layer1[0].bn1.weight)
    rescale_batchnorm(model)
    assert not model.layer1[0].bn1.weight.any()
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_a_model_that_does_not_say_how():
    with pytest.raises(UserError, match=r"^model\.rescale_batchnorm: ConvNet does not say which"):
        rescale_batchnorm(ConvNet((3, 16, 16), 4, base_depth=4, expansion=2))
