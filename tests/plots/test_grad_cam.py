"""Grad-CAM: the heat lies where the evidence is, equals the formula, and leaves the model as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seedbed.models.convnet import ConvNet
from seedbed.models.mlp import MLP
from seedbed.models.report import ReportConvNet
from seedbed.models.resnet import ResNet18
from seedbed.plots.grad_cam import MIN_SIDE, evidence_layer, grad_cam


class Halves(nn.Module):
    """Class 0 counts bright pixels on the left, class 1 those on the right, class 2 nothing, class 3 against both."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(2, 4, bias=False)
        self.drop = nn.Dropout(0.5)
        nn.init.ones_(self.conv.weight)
        self.fc.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [-1.0, -1.0]])
        left = torch.arange(8) < 4
        self.register_buffer("sides", torch.stack([left, ~left]).float()[None, :, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.act(self.conv(x) * self.sides)
        return self.fc(self.drop(maps.mean((2, 3))))

    def stages(self) -> dict[str, list[nn.Module]]:
        return {"stem": [self.conv, self.act], "head": [self.fc]}


def spots() -> torch.Tensor:
    """Both halves have the same bright square."""
    x = torch.zeros(1, 1, 8, 8)
    x[..., 3:5, 1:3] = x[..., 3:5, 5:7] = 1
    return x


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def seeded(make, *args, **options) -> nn.Module:
    torch.manual_seed(0)
    return make(*args, **options).eval()


def reference(model: nn.Module, layer: nn.Module, x: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """The paper's two formulas, one image and one channel at a time, with `backward`."""
    out = []
    for image, number in zip(x, classes.tolist(), strict=True):
        maps = []
        handle = layer.register_forward_hook(lambda _m, _i, output, maps=maps: maps.append(output))
        logits = model(image[None])
        handle.remove()
        maps[0].retain_grad()
        logits[0, number].backward()
        total = torch.zeros(maps[0].shape[2:])
        for one, gradient in zip(maps[0][0], maps[0].grad[0], strict=True):
            total += gradient.sum() / gradient.numel() * one.detach()
        heat = F.interpolate(total.clamp(min=0)[None, None], image.shape[1:], mode="bilinear")[0, 0]
        out.append(heat / heat.max() if heat.max() > 0 else heat)
    model.zero_grad()
    return torch.stack(out)


@pytest.mark.parametrize("number", [0, 1])
def test_the_heat_lies_where_the_class_looks(number):
    model = Halves()
    (heat,) = grad_cam(model, model.act, spots(), torch.tensor([number]))
    halves = heat[:, :4], heat[:, 4:]
    assert torch.equal(halves[number], spots()[0, 0][:, :4])  # the square, and nothing round it
    assert not halves[1 - number].any()


@pytest.mark.parametrize("number", [2, 3])
def test_without_positive_evidence_there_is_no_heat(number):
    model = Halves()
    assert not grad_cam(model, model.act, spots(), torch.tensor([number])).any()


def test_a_dark_image_has_no_heat():
    model = Halves()
    heat = grad_cam(model, model.act, torch.cat([torch.zeros(1, 1, 8, 8), spots()]), torch.tensor([0, 0]))
    assert heat.isfinite().all() and not heat[0].any() and heat[1].max() == 1


def test_every_image_has_a_class_and_a_maximum_of_its_own():
    model = Halves()
    both = grad_cam(model, model.act, torch.cat([spots(), 1e-6 * spots()]), torch.tensor([0, 1]))
    for number in (0, 1):
        assert torch.equal(both[number], grad_cam(model, model.act, spots(), torch.tensor([number]))[0])


@pytest.mark.parametrize("stage", ["layer2", "layer3"])
def test_equals_the_formula_on_a_resnet(stage):
    model = seeded(ResNet18, (3, 32, 32), 5)
    layer, x, classes = getattr(model, stage), images(3, 3, 32, 32), torch.tensor([0, 1, 2])
    expected = reference(model, layer, x, classes)
    assert expected.amax((1, 2)).min() > 0
    assert torch.allclose(grad_cam(model, layer, x, classes), expected, atol=1e-4)
    assert torch.allclose(grad_cam(model, layer, x.to(memory_format=torch.channels_last), classes), expected, atol=1e-4)


def test_the_map_is_the_layers_own_though_the_next_module_works_in_place():
    model = seeded(ResNet18, (3, 16, 16), 3)
    x, classes = images(2, 3, 16, 16), torch.tensor([1, 2])
    in_place = grad_cam(model, model.bn1, x, classes)
    assert model.relu.inplace
    model.relu.inplace = False
    assert torch.allclose(in_place, reference(model, model.bn1, x, classes), atol=1e-4)


@pytest.mark.parametrize("order", ["norm_relu", "relu_norm"])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_stage_of_a_convnet(order, share, channels):
    model = seeded(ReportConvNet, (channels, 28, 28), 4, 4, 2, norm_order=order, share_blocks=share)
    for name, modules in model.stages().items():
        if name != "head":
            heat = grad_cam(model, modules[-1], images(2, channels, 28, 28), torch.tensor([0, 3]))
            assert heat.shape == (2, 28, 28) and heat.dtype == torch.float32 and heat.device.type == "cpu"
            assert heat.min() >= 0 and heat.max() <= 1


def test_a_grey_image_in_a_resnet():
    model = seeded(ResNet18, (1, 28, 28), 3)
    assert grad_cam(model, model.layer3, images(2, 1, 28, 28), torch.tensor([0, 1])).shape == (2, 28, 28)


def test_of_a_layer_that_runs_twice_the_last_map_counts():
    model = seeded(nn.Sequential, nn.Conv2d(1, 2, 1), nn.Tanh(), nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(),
                   nn.Linear(108, 2))  # fmt: skip
    twice = nn.Sequential(model[0], model[1], model[2], model[1], *model[4:])
    x, classes = images(2, 1, 8, 8), torch.tensor([0, 1])
    assert torch.equal(grad_cam(twice, model[1], x, classes), grad_cam(model, model[3], x, classes))


def state(model: nn.Module) -> list:
    modes = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) + len(module._backward_hooks) for module in model.modules()]
    return [modes, hooks, [p.requires_grad for p in model.parameters()]]


@pytest.mark.parametrize("training", [True, False])
def test_leaves_the_model_as_it_was(training):
    model = seeded(ConvNet, (1, 28, 28), 4, 4, 2).train(training)
    model.features[1].train(not training)  # a part may be in another mode than the rest
    before, weights = state(model), {k: v.clone() for k, v in model.state_dict().items()}
    x, classes = images(2, 1, 28, 28), torch.tensor([0, 3])
    name, layer, _ = evidence_layer(model, x)
    first = grad_cam(model, layer, x, classes)
    assert state(model) == before and name == "stage2"
    assert all(p.grad is None for p in model.parameters()) and x.grad is None and not x.requires_grad
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())  # BatchNorm has counted nothing
    assert torch.equal(grad_cam(model, layer, x, classes), first)  # dropout is off


def test_adds_nothing_to_gradients_that_are_there():
    model = Halves()
    model(spots()).sum().backward()
    before = [p.grad.clone() for p in model.parameters()]
    grad_cam(model, model.act, spots(), torch.tensor([0]))
    assert all(torch.equal(p.grad, old) for p, old in zip(model.parameters(), before, strict=True))


def test_a_frozen_model_has_evidence_too():
    model = seeded(ResNet18, (3, 32, 32), 3)
    x, classes = images(2, 3, 32, 32), torch.tensor([0, 1])
    free = grad_cam(model, model.layer3, x, classes)
    model.requires_grad_(False)
    assert free.amax((1, 2)).tolist() == [1, 1]
    # Without a way back torch takes other kernels, which round otherwise.
    assert torch.allclose(grad_cam(model, model.layer3, x, classes), free, atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(grad_cam(model, model.layer3, x, classes), free, atol=1e-5)
    assert not any(p.requires_grad for p in model.parameters())


class Broken(Halves):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        super().forward(x)
        raise RuntimeError("broken on purpose")


def test_is_put_back_after_an_error():
    model = Broken().train()
    before = state(model)
    with pytest.raises(RuntimeError, match="on purpose"):
        grad_cam(model, model.act, spots(), torch.tensor([0]))
    with pytest.raises(RuntimeError, match="on purpose"):
        evidence_layer(model, spots())
    assert state(model) == before


@pytest.mark.parametrize("classes", [[4], [-1], [0, 1], []])
def test_classes_that_are_none_of_the_models(classes):
    model = Halves().train()
    before = state(model)
    with pytest.raises(ValueError, match="classes below 4"):
        grad_cam(model, model.act, spots(), torch.tensor(classes, dtype=torch.int64))
    assert state(model) == before


def test_a_layer_without_a_map():
    model = Halves()
    for layer in (model.fc, nn.ReLU()):  # gives a vector; is no part of the model
        with pytest.raises(ValueError, match="gave no map"):
            grad_cam(model, layer, spots(), torch.tensor([0]))
    model.stages = lambda: {"stem": [model.fc], "other": [nn.ReLU()]}
    assert evidence_layer(model, spots()) is None


@pytest.mark.parametrize(
    ("make", "size", "stage", "side"),
    [
        (ResNet18, 32, "layer3", 4),
        (ResNet18, 64, "layer4", 4),
        (ResNet18, 28, "layer3", 4),
        (ResNet18, 6, "stem", 6),  # layer1 has 3 x 3
        (ResNet18, 3, "layer1", 2),  # not even the stem has 4 x 4
        (ResNet18, 2, "stem", 2),
        (ConvNet, 28, "stage2", 4),
        (ConvNet, 64, "stage3", 4),
        (ConvNet, 6, "stage1", 2),
    ],
)
def test_the_deepest_stage_that_shows_something(make, size, stage, side):
    model = seeded(make, (3, size, size), 3, **({"base_depth": 4, "expansion": 2} if make is ConvNet else {}))
    x = images(1, 3, size, size)
    assert evidence_layer(model, x) == (stage, model.stages()[stage][-1], (side, side))
    stages = model.stages()
    sides = {}
    for name in stages:
        stages[name][-1].register_forward_hook(lambda _m, _i, output, name=name: sides.update({name: output.shape[2:]}))
    model(x)
    deeper = [sides[name] for name in [*stages][[*stages].index(stage) + 1 :] if len(sides[name]) == 2]
    assert all(other[0] < min(side, MIN_SIDE) for other in deeper)


def test_no_layer_where_nothing_can_be_shown():
    assert evidence_layer(MLP((1, 8, 8), 3, [4]), images(1, 1, 8, 8)) is None
    assert evidence_layer(nn.Conv2d(1, 2, 3), images(1, 1, 8, 8)) is None
    assert evidence_layer(seeded(ResNet18, (3, 1, 1), 3), images(1, 3, 1, 1)) is None
