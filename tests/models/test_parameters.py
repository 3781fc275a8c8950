"""Shapes of the models, with the paper's parameter counts pinned."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torchvision.models.resnet import ResNet

from seedbed.data.loader import Preprocess
from seedbed.errors import UserError
from seedbed.models.convnet import ConvNet
from seedbed.models.mlp import MLP
from seedbed.models.report import ReportConvNet, ReportMLP
from seedbed.models.resnet import ResNet18


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_mlp_on_pixels():
    assert count(MLP((1, 28, 28), 10, [150, 150, 75])) == 153_235


def test_mlp_on_features():
    assert count(MLP((64,), 10, [128, 256, 512, 256, 128, 64])) == 348_746
    norms = [True, True, True, False, True, True]
    assert count(MLP((128,), 141, [384, 1152, 3456, 1152, 384, 128], batch_norm=norms)) == 8_981_517


@pytest.mark.parametrize(
    ("channels", "classes", "shared", "parameters"),
    [(1, 10, True, 6_729_050), (3, 141, True, 6_764_285), (1, 10, False, 7_921_178), (3, 141, False, 7_956_413)],
)
@pytest.mark.parametrize("order", ["norm_relu", "relu_norm"])
def test_convnet(channels, classes, shared, parameters, order):
    model = ReportConvNet((channels, 28, 28), classes, share_blocks=shared, norm_order=order)
    assert count(model) == parameters
    assert shared or count(ConvNet((channels, 28, 28), classes)) == parameters


def test_the_paper_s_own_count_has_one_more_layer_in_the_classifier():
    assert count(ReportConvNet((3, 28, 28), 141, head_widths=[1024, 256])) == 10_173_181


def test_the_classifier_without_hidden_layers_is_one_layer():
    model = ConvNet((1, 28, 28), 10, base_depth=4, expansion=2, head_widths=[])
    assert [(layer.in_features, layer.out_features) for layer in model.classifier] == [(64, 10)]
    with pytest.raises(UserError, match=r"model\.head_widths: expected positive numbers, got \[0\]"):
        ConvNet((1, 28, 28), 10, head_widths=[0])


@pytest.mark.parametrize(("kernel", "stride", "side"), [(7, 2, 14), (3, 1, 28), (5, 2, 14), (1, 3, 10)])
def test_the_stem_keeps_the_side_but_for_its_stride(kernel, stride, side):
    model = ConvNet((1, 28, 28), 10, base_depth=4, expansion=2, stem_kernel=kernel, stem_stride=stride)
    assert model.features[0](torch.zeros(1, 1, 28, 28)).shape == (1, 4, side, side)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_resnet18():
    assert count(ResNet18((3, 32, 32), 10)) == 11_173_962


def test_resnet18_is_torchvisions_but_for_the_stem():
    ours, theirs = ResNet18((3, 32, 32), 10).eval(), torchvision.models.resnet18(num_classes=10).eval()
    theirs.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    assert ours.maxpool is not None and ours.layer4(ours.layer3(torch.zeros(1, 128, 8, 8))).shape[-1] == 2


def test_rectifying_after_the_max_pool_changes_no_bit():
    torch.manual_seed(0)
    model, x = ResNet18((3, 32, 32), 10), torch.randn(4, 3, 32, 32)
    logits, gradients = [], []
    for forward in (model, lambda x: ResNet.forward(model, x)):
        model.zero_grad()
        logits.append(forward(x))
        logits[-1].square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert torch.equal(*logits)
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_resnet18_repeats_grey_images():
    model = ResNet18((1, 32, 32), 10).eval()
    grey = torch.randn(2, 1, 32, 32)
    assert torch.equal(model(grey), model(grey.repeat(1, 3, 1, 1)))


def small(**options) -> ReportConvNet:
    torch.manual_seed(0)
    return ReportConvNet((1, 16, 16), 4, base_depth=4, expansion=2, **options).eval()


def test_shared_blocks_are_one_block_passed_twice():
    stage = small().features[4]
    (block,) = stage.blocks
    x = torch.randn(1, 8, 5, 5)
    assert torch.equal(stage(x), block(block(x)))
    assert len({id(p) for p in stage.parameters()}) == len(stage.state_dict()) - 3 * 3  # three norms' statistics


def test_the_paper_s_order_of_relu_and_norm():
    kinds = lambda layers: [type(layer).__name__ for layer in layers]  # noqa: E731
    paper, usual = small(), small(norm_order="norm_relu")
    assert kinds(paper.features[4].blocks[0].body) == ["Conv2d", "ReLU", "BatchNorm2d"] * 3
    assert kinds(paper.features[5:8]) == ["Conv2d", "ReLU", "BatchNorm2d"]
    assert kinds(usual.features[4].blocks[0].body) == ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["Conv2d", "BatchNorm2d"]
    assert kinds(usual.features[5:8]) == ["Conv2d", "BatchNorm2d", "ReLU"]
    assert kinds(paper.features[:4]) == kinds(usual.features[:4]) == ["Conv2d", "ReLU", "Conv2d", "BatchNorm2d"]


def test_without_the_paper_s_switches_its_convnet_is_the_usual_one():
    ours = small(share_blocks=False, norm_order="norm_relu")
    torch.manual_seed(0)
    usual = ConvNet((1, 16, 16), 4, base_depth=4, expansion=2).eval()
    x = torch.randn(2, 1, 16, 16)
    assert [*ours.state_dict()] == [*usual.state_dict()] and torch.equal(ours(x), usual(x))


def test_the_names_of_the_paper_s_tensors_are_those_of_earlier_files():
    keys = [key for key in small().state_dict() if key.startswith("features.4.") and key.endswith("weight")]
    assert keys == [f"features.4.blocks.0.body.{n}.weight" for n in (0, 2, 3, 5, 6, 8)]
    assert [*ReportMLP((1, 4, 4), 5, [6]).state_dict()] == [*MLP((1, 4, 4), 5, [6]).state_dict()]


def test_training_images_may_stay_in_0_to_1():
    preprocess = Preprocess(28, (0.3, 0.4, 0.5), (0.1, 0.2, 0.3))
    assert small().train_preprocess(preprocess) is preprocess
    raw = small(normalize_training=False).train_preprocess(preprocess)
    assert raw == Preprocess(28, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert not hasattr(ConvNet, "train_preprocess")


def test_the_paper_s_mlp_ends_in_probabilities_and_says_so():
    x = torch.randn(3, 1, 4, 4)
    paper, usual = ReportMLP((1, 4, 4), 5, [6]).eval(), MLP((1, 4, 4), 5, [6]).eval()
    usual.load_state_dict(paper.state_dict())
    assert torch.equal(paper(x), usual(x).softmax(1)) and not torch.allclose(usual(x).sum(1), torch.ones(3))
    assert paper.outputs_probabilities
    for model in (usual, small(), ResNet18((3, 32, 32), 10)):
        assert not getattr(model, "outputs_probabilities", False)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLP((1, 4, 4), 3, [0]), lambda: MLP((1, 4, 4), 3, [5], dropout=1.0),
        lambda: MLP((1, 4, 4), 3, [5], batch_norm=[True, True]), lambda: ConvNet((5,), 3),
        lambda: ConvNet((1, 8, 8), 3, blocks=0), lambda: ConvNet((1, 8, 8), 3, stem_kernel=4),
        lambda: ConvNet((1, 8, 8), 3, stem_stride=0), lambda: ResNet18((2, 32, 32), 3),
    ],
)  # fmt: skip
def test_impossible_arguments_are_refused(make):
    with pytest.raises(UserError, match="model"):
        make()


@pytest.mark.parametrize(
    "model", [ResNet18((3, 32, 32), 10), ConvNet((1, 28, 28), 10), ConvNet((3, 28, 28), 5, blocks=1)]
)
def test_stages_hold_every_parameter_once_from_input_to_head(model):
    stages = model.stages()
    assert next(iter(stages)) == "stem" and [*stages][-1] == "head"
    held = [p for modules in stages.values() for module in modules for p in module.parameters()]
    assert len(held) == len({id(p) for p in held}) == len([*model.parameters()])
    assert all(a is b for a, b in zip(held, model.parameters(), strict=True))
