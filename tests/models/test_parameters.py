"""The parameter counts of the student's report, pinned, and what its models do otherwise than ours."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torchvision.models.resnet import ResNet

from seedbed.data.preprocess import Preprocess
from seedbed.errors import UserError
from seedbed.models.convnet import Bottleneck, ConvNet, Stage
from seedbed.models.mlp import MLP
from seedbed.models.report import ReportConvNet, ReportMLP
from seedbed.models.resnet import ResNet18


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_mlp_on_pixels():
    assert count(MLP((1, 28, 28), 10, [150, 150, 75])) == 153_235


def test_mlp_on_features():
    assert count(MLP((64,), 10, [128, 256, 512, 256, 128, 64])) == 348_746
    batch_norm = [True, True, True, False, True, True]
    assert count(MLP((128,), 141, [384, 1152, 3456, 1152, 384, 128], batch_norm=batch_norm)) == 8_981_517


@pytest.mark.parametrize(
    ("channels", "classes", "shared", "parameters"),
    [(1, 10, True, 6_729_050), (3, 141, True, 6_764_285), (1, 10, False, 7_921_178), (3, 141, False, 7_956_413)],
)
@pytest.mark.parametrize("order", ["norm_relu", "relu_norm"])
def test_convnet(channels, classes, shared, parameters, order):
    model = ReportConvNet((channels, 28, 28), classes, share_blocks=shared, norm_order=order)
    assert count(model) == parameters


def test_the_count_of_the_report_itself_has_one_more_layer_in_the_classifier():
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


def test_shared_blocks_are_one_block_passed_twice():
    (stage, *_) = (m for m in ReportConvNet((1, 28, 28), 10, base_depth=2, expansion=4).eval().modules() if is_stage(m))
    x = torch.randn(1, 8, 5, 5)
    assert torch.equal(stage(x), stage.blocks[0](stage.blocks[0](x)))
    assert len({id(p) for p in stage.parameters()}) == len(stage.state_dict()) - 3 * 3  # three layers' statistics


def is_stage(module: torch.nn.Module) -> bool:
    return isinstance(module, Stage)


def test_the_papers_order_of_relu_and_batchnorm():
    kinds = lambda relu_first: [type(m).__name__ for m in Bottleneck(8, 2, relu_first).body]  # noqa: E731
    assert kinds(True) == ["Conv2d", "ReLU", "BatchNorm2d"] * 3
    assert kinds(False) == ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["Conv2d", "BatchNorm2d"]


def test_without_what_only_the_paper_does_its_convnet_is_ours():
    made = []
    for kind in (ConvNet, lambda *args: ReportConvNet(*args, share_blocks=False, norm_order="norm_relu")):
        torch.manual_seed(0)
        made.append(kind((1, 28, 28), 10, 4, 2).eval())
    x = torch.randn(2, 1, 28, 28)
    assert made[0].state_dict().keys() == made[1].state_dict().keys() and torch.equal(made[0](x), made[1](x))


def test_training_images_may_stay_as_they_are():
    preprocess = Preprocess(28, (0.4, 0.5, 0.6), (0.2, 0.2, 0.2))
    assert ReportConvNet((3, 28, 28), 10, 4, 2).train_preprocess(preprocess) == preprocess
    literal = ReportConvNet((3, 28, 28), 10, 4, 2, normalize_training=False).train_preprocess(preprocess)
    assert literal == Preprocess(28, (0.0,) * 3, (1.0,) * 3)


def test_the_papers_mlp_ends_in_probabilities():
    x = torch.randn(3, 1, 4, 4)
    made = []
    for kind in (MLP, ReportMLP):
        torch.manual_seed(0)
        made.append(kind((1, 4, 4), 5, [6]).eval())
    assert torch.equal(made[0](x).softmax(1), made[1](x)) and made[1].outputs_probabilities
    assert made[0].state_dict().keys() == made[1].state_dict().keys()


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
