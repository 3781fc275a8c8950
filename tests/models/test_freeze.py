"""Frozen stages stay bit by bit as they were; all others learn at the learning rate of their depth."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seedbed.errors import UserError
from seedbed.models.convnet import ConvNet
from seedbed.models.fine_tuning import FrozenBatchNorm2d, freeze, parameter_groups
from seedbed.models.mlp import MLP
from seedbed.models.report import ReportConvNet
from seedbed.models.resnet import ResNet18


def resnet() -> ResNet18:
    torch.manual_seed(0)
    return ResNet18((3, 16, 16), 4)


def convnet(kind: type[ConvNet] = ConvNet) -> ConvNet:
    torch.manual_seed(0)
    return kind((3, 16, 16), 4, base_depth=4, expansion=2)


def report_convnet() -> ConvNet:
    return convnet(ReportConvNet)


def trained(model: nn.Module, steps: int = 3) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Some real steps; the state dict before and after."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        model.train()
        x, y = torch.randn(4, 3, 16, 16, generator=generator), torch.randint(4, (4,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            model(x)
    return before, model.state_dict()


def keys_of(model: nn.Module) -> dict[str, set[str]]:
    """Stage -> its state-dict keys, told by where the tensors lie in memory."""
    at = {value.data_ptr(): key for key, value in model.state_dict().items()}
    return {
        name: {at[value.data_ptr()] for module in modules for value in module.state_dict().values()}
        for name, modules in model.stages().items()
    }


def changed(before: dict, after: dict) -> set[str]:
    assert before.keys() == after.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}


CASES = [(make, up_to) for make in (resnet, convnet, report_convnet) for up_to in [*make().stages()][:-1]]


@pytest.mark.parametrize(("make", "up_to"), CASES)
def test_frozen_stages_stay_and_all_others_learn(make, up_to):
    model = make()
    stages = keys_of(model)
    assert set.union(*stages.values()) == set(model.state_dict())
    freeze(model, up_to, False)
    names = [*stages]
    frozen = set.union(*(stages[name] for name in names[: names.index(up_to) + 1]))
    assert changed(*trained(model)) == set(model.state_dict()) - frozen


@pytest.mark.parametrize("make", [resnet, convnet])
def test_nothing_is_frozen_where_nothing_is_asked_for(make):
    model = make()
    freeze(model, None, False)
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in model.modules())
    assert changed(*trained(model)) == set(model.state_dict())


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize("make", [resnet, convnet])
def test_frozen_batchnorm_layers_keep_statistics_and_learn_weights(make):
    model = make()
    freeze(model, None, True)
    statistics = {key for key in model.state_dict() if key.endswith(STATISTICS)}
    assert len(statistics) == 3 * sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert changed(*trained(model)) == set(model.state_dict()) - statistics


@pytest.mark.parametrize(("make", "up_to"), [(resnet, "layer2"), (convnet, "stage1")])
def test_stage_and_batchnorm_layers_together(make, up_to):
    model = make()
    stages = keys_of(model)
    freeze(model, up_to, True)
    names = [*stages]
    learns = set.union(*(stages[name] for name in names[names.index(up_to) + 1 :]))
    assert changed(*trained(model)) == {key for key in learns if not key.endswith(STATISTICS)}


@pytest.mark.parametrize("up_to", ["layer9", "head", "", "fc", "LAYER2"])
def test_an_unknown_stage_is_told_those_that_exist(up_to):
    model = resnet()
    with pytest.raises(UserError) as caught:
        freeze(model, up_to, True)
    message = str(caught.value)
    assert message.startswith("model.freeze: ") and repr(up_to) in message
    assert "stem, layer1, layer2, layer3, layer4, got" in message
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in model.modules())


def test_a_model_without_stages_cannot_be_frozen():
    with pytest.raises(UserError, match=r"^model\.freeze: MLP has no stages"):
        freeze(MLP((1, 4, 4), 3, [5]), "stem", False)


def test_batchnorm_layers_of_one_dimension_cannot_be_frozen():
    with pytest.raises(UserError, match=r"^model\.freeze_batchnorm: MLP has no stages"):
        freeze(MLP((1, 4, 4), 3, [5]), None, True)


@pytest.mark.parametrize(("up_to", "batchnorm"), [("layer2", False), (None, True), ("layer3", True)])
def test_no_call_puts_a_frozen_batchnorm_layer_into_training(up_to, batchnorm):
    model = resnet()
    freeze(model, up_to, batchnorm)
    still = [module for module in model.modules() if isinstance(module, FrozenBatchNorm2d)]
    others = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and not isinstance(m, FrozenBatchNorm2d)]
    assert len(still) + len(others) == 20 and len(still) == {"layer2": 10, None: 20, "layer3": 20}[up_to]
    for mode in (True, False, True):
        model.train(mode)
        assert not any(module.training for module in still)
        assert all(module.training == mode for module in others)
        for module in still:
            assert module.train(mode) is module and not module.training


@pytest.mark.parametrize("make", [resnet, convnet])
@pytest.mark.parametrize("batchnorm", [False, True])
def test_a_state_dict_goes_from_frozen_to_free_and_back(make, batchnorm):
    free, frozen = make(), make()
    up_to = [*free.stages()][2]
    shapes = [(key, value.shape, value.dtype) for key, value in free.state_dict().items()]
    names = [name for name, _ in frozen.named_parameters()]
    freeze(frozen, up_to, batchnorm)
    assert [(key, value.shape, value.dtype) for key, value in frozen.state_dict().items()] == shapes
    assert not any(value.is_meta for value in frozen.state_dict().values())
    assert [name for name, _ in frozen.named_parameters()] == names and [*frozen.stages()] == [*free.stages()]
    assert not changed(free.state_dict(), frozen.state_dict())
    trained(frozen)
    free.load_state_dict(frozen.state_dict())
    assert not changed(free.state_dict(), frozen.state_dict())
    again = make()
    freeze(again, up_to, batchnorm)
    again.load_state_dict(free.state_dict())
    x = torch.randn(2, 3, 16, 16)
    # Not bit by bit: where a weight wants no gradient, torch may take another kernel.
    for model in (again, frozen):
        torch.testing.assert_close(model.eval()(x), free.eval()(x), rtol=1e-5, atol=1e-6)


def test_a_frozen_batchnorm_layer_is_one_in_evaluation():
    usual, frozen = nn.BatchNorm2d(6, eps=1e-3), FrozenBatchNorm2d(6, eps=1e-3)
    usual.running_mean.normal_()
    usual.running_var.uniform_(0.5, 2)
    usual.weight.data.normal_()
    usual.bias.data.normal_()
    frozen.load_state_dict(usual.state_dict())
    x = torch.randn(4, 6, 5, 5) * 3 + 1
    assert not torch.allclose(frozen.train()(x), usual.train()(x))
    usual.load_state_dict(frozen.state_dict())
    assert torch.equal(frozen.train()(x), usual.eval()(x)) and torch.equal(frozen.eval()(x), usual(x))


def test_a_frozen_batchnorm_layer_keeps_its_settings():
    model = convnet()
    layer = model.features[3]
    layer.eps, layer.momentum = 0.5, 0.9
    weight, running_mean = layer.weight, layer.running_mean
    freeze(model, "stem", False)
    new = model.features[3]
    assert type(new) is FrozenBatchNorm2d and (new.eps, new.momentum, new.affine) == (0.5, 0.9, True)
    assert new.weight is weight and new.running_mean is running_mean


def names_of(model: nn.Module, group: dict) -> list[str]:
    name = {id(parameter): name for name, parameter in model.named_parameters()}
    return [name[id(parameter)] for parameter in group["params"]]


@pytest.mark.parametrize("up_to", [None, "layer3"])
def test_without_decay_all_that_learns_is_one_group(up_to):
    model = resnet()
    freeze(model, up_to, False)
    (group,) = parameter_groups(model, 0.1, 1.0)
    assert group.keys() == {"params"}
    expected = [name for name, _ in model.named_parameters() if not up_to or name.startswith(("layer4.", "fc."))]
    assert names_of(model, group) == expected


@pytest.mark.parametrize("make", [resnet, convnet])
def test_each_stage_learns_at_half_the_learning_rate_of_the_one_above(make):
    model = make()
    groups = parameter_groups(model, 0.8, 0.5)
    assert [group["lr"] for group in groups] == [0.8 / 2**n for n in range(len(model.stages()))]
    stages = list(reversed(keys_of(model).values()))
    assert all(set(names_of(model, group)) <= stage for group, stage in zip(groups, stages, strict=True))
    held = [name for group in groups for name in names_of(model, group)]
    assert sorted(held) == sorted(name for name, _ in model.named_parameters())
    assert [group["lr"] for group in torch.optim.Adam(groups, lr=0.8).param_groups] == [g["lr"] for g in groups]


@pytest.mark.parametrize("up_to", ["stem", "layer2", "layer4"])
def test_what_is_frozen_is_in_no_group(up_to):
    model = resnet()
    freeze(model, up_to, False)
    groups = parameter_groups(model, 1.0, 0.5)
    left = {"stem": 5, "layer2": 3, "layer4": 1}[up_to]
    assert [group["lr"] for group in groups] == [0.5**n for n in range(left)]
    assert names_of(model, groups[0]) == ["fc.weight", "fc.bias"]
    held = [name for group in groups for name in names_of(model, group)]
    assert sorted(held) == sorted(name for name, p in model.named_parameters() if p.requires_grad)
    assert len(held) < len([*model.parameters()])


def test_a_model_without_stages_has_one_learning_rate():
    model = MLP((1, 4, 4), 3, [5])
    (group,) = parameter_groups(model, 0.1, 1)
    assert len(group["params"]) == len([*model.parameters()])
    with pytest.raises(UserError, match=r"^model\.lr_decay: MLP has no stages"):
        parameter_groups(model, 0.1, 0.5)
