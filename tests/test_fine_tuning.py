"""Fine-tuning through the command: pretrained weights, what stays frozen, and how a stopped run is resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from bad_input import refused
from safetensors.torch import load_file, save_file

from seedbed.errors import UserError
from seedbed.experiment import Experiment
from seedbed.models.convnet import ConvNet
from seedbed.models.fine_tuning import FrozenBatchNorm2d, prepare
from seedbed.models.resnet import ResNet18
from seedbed.optimization import build_optimizer, build_scheduler, groups_of
from seedbed.settings import Settings
from seedbed.training import device

TUNED = ("model=resnet18", "scheduler=one_cycle", "optimizer.lr=0.08", "optimizer=sgd")


def settings_of(*overrides: str) -> Settings:
    return Experiment.from_overrides(["dataset=digits", *overrides]).settings


def prepared(overrides: tuple[str, ...], model: torch.nn.Module, begins: bool = True) -> Settings:
    """The settings of a configuration, after a model was prepared by them."""
    settings = settings_of(*overrides)
    tuning = settings.model
    prepare(
        model, pretrained=tuning.pretrained, rescale=tuning.rescale_batchnorm, freeze_up_to=tuning.freeze,
        freeze_bn=tuning.freeze_batchnorm, normalization=None, begins=begins,
    )  # fmt: skip
    return settings


def lrs_of(overrides: tuple[str, ...], model: torch.nn.Module, steps: int = 20) -> list[list[float]]:
    """The learning rate of each group, step by step."""
    settings = prepared(overrides, model)
    optimizer = build_optimizer(settings, groups_of(settings, model))
    scheduler, per_batch = build_scheduler(settings, optimizer, steps)
    assert per_batch
    lrs = []
    for step in range(steps):
        lrs.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step() if step < steps - 1 else None
    return lrs


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(("frozen", "stages"), [("null", 6), ("stem", 5), ("layer3", 2), ("layer4", 1)])
def test_one_cycle_keeps_the_ratios_of_the_learning_rates(optimizer, frozen, stages):
    overrides = (*TUNED[:3], f"optimizer={optimizer}", f"model.freeze={frozen}", "model.lr_decay=0.5")
    lrs = lrs_of(overrides, ResNet18((1, 8, 8), 10))
    assert max(row[0] for row in lrs) == pytest.approx(0.08) and lrs[0][0] == pytest.approx(0.08 / 25)
    for row in lrs:
        assert row == pytest.approx([row[0] * 0.5**n for n in range(stages)], rel=1e-9)


def test_one_cycle_without_decay_is_one_learning_rate():
    lrs = lrs_of((*TUNED, "model.freeze=layer1"), ResNet18((1, 8, 8), 10))
    assert {len(row) for row in lrs} == {1} and max(lrs) == [pytest.approx(0.08)]


def test_a_peak_of_its_own_is_shared_out_by_depth():
    overrides = (*TUNED, "model.lr_decay=0.1", "model.freeze=layer3", "scheduler.max_lr=0.4")
    lrs = lrs_of(overrides, ResNet18((1, 8, 8), 10))
    assert [max(column) for column in zip(*lrs, strict=True)] == pytest.approx([0.4, 0.04])


def test_a_learning_rate_of_zero_divides_nothing():
    lrs = lrs_of((*TUNED, "optimizer.lr=0", "model.lr_decay=0.5"), ResNet18((1, 8, 8), 10))
    assert {lr for row in lrs for lr in row} == {0.0}


@pytest.mark.parametrize("scheduler", ["none", "plateau"])
def test_the_optimizer_has_a_learning_rate_for_each_stage(scheduler):
    settings = settings_of("model=convnet", f"scheduler={scheduler}", "optimizer.lr=0.8", "model.lr_decay=0.5")
    optimizer = build_optimizer(settings, groups_of(settings, ConvNet((1, 28, 28), 10, base_depth=2, expansion=2)))
    assert [group["lr"] for group in optimizer.param_groups] == [0.8, 0.4, 0.2, 0.1, 0.05]
    assert not build_scheduler(settings, optimizer, 10)[1]


@pytest.mark.parametrize("value", ["0", "0.0", "-0.5", "1.5", "nan", "inf", "half", "null"])
def test_a_decay_out_of_range(value):
    with pytest.raises(UserError, match=r"^model\.lr_decay: expected a number"):
        settings_of("model=resnet18", f"model.lr_decay={value}")


@pytest.mark.parametrize("value", ["1", "1.0", "1.0e-3"])
def test_a_decay_in_range(value):
    assert settings_of("model=resnet18", f"model.lr_decay={value}").model.lr_decay == float(value)


@pytest.mark.parametrize("begins", [True, False])
def test_weights_are_read_where_training_begins_only(tmp_path, begins):
    torch.manual_seed(0)
    other, model = ResNet18((1, 8, 8), 10), ResNet18((1, 8, 8), 10)
    save_file(other.state_dict(), tmp_path / "w.safetensors")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    overrides = ("model=resnet18", f"model.pretrained={tmp_path}/w.safetensors", "model.freeze=stem")
    prepared(overrides, model, begins)
    expected = other.state_dict() if begins else before
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    assert isinstance(model.bn1, FrozenBatchNorm2d) and not model.conv1.weight.requires_grad


@pytest.mark.parametrize("begins", [True, False])
def test_batchnorm_weights_are_rescaled_where_training_begins_only(begins):
    model = ResNet18((1, 8, 8), 141)
    for group, _ in model.scales():
        for layer in group:
            torch.nn.init.constant_(layer.weight, 0.5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    prepared(("model=resnet18", "model.pretrained=cifar10", "model.rescale_batchnorm=true"), model, begins)
    after = model.state_dict()
    assert torch.equal(after["fc.weight"], before["fc.weight"]), "a new head's weights are not the backbone's"
    if begins:
        sizes = [torch.cat([layer.weight for layer in group]).abs().mean().item() for group, _ in model.scales()]
        assert sizes == pytest.approx([1] * len(sizes))
    else:
        assert all(torch.equal(value, before[key]) for key, value in after.items())


def test_frozen_stages_are_rescaled_and_compute_what_they_did():
    plain, rescaled = ResNet18((3, 16, 16), 10), ResNet18((3, 16, 16), 10)
    overrides = ("model=resnet18", "model.pretrained=cifar10", "model.freeze=layer2")
    prepared(overrides, plain)
    prepared((*overrides, "model.rescale_batchnorm=true"), rescaled)
    assert isinstance(rescaled.layer2[1].bn2, FrozenBatchNorm2d) and not rescaled.layer2[1].bn2.weight.requires_grad
    assert not torch.equal(rescaled.layer2[1].bn2.weight, plain.layer2[1].bn2.weight)
    x = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(rescaled.eval()(x), plain.eval()(x), rtol=1e-4, atol=1e-4)


def test_weights_keep_the_memory_format_that_the_device_chose(tmp_path):
    model = device.Device(torch.device("cpu"), "float32", True, 1).place(ResNet18((1, 8, 8), 10))
    save_file(ResNet18((1, 8, 8), 10).state_dict(), tmp_path / "w.safetensors")
    prepared(("model=resnet18", f"model.pretrained={tmp_path}/w.safetensors", "model.freeze=layer1"), model)
    kernel = model.layer3[0].conv1.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last) and not kernel.is_contiguous()


# The command from here on.
SHORT = (
    "dataset=digits", "model=resnet18", "model.image_size=8", "model.freeze=layer3", "model.lr_decay=0.5",
    "scheduler=one_cycle", "dataset.subset=200", "device.threads=1",
)  # fmt: skip
FROZEN = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.")


@pytest.fixture
def given(tmp_path) -> Path:
    """A file of weights for seven classes, with small BatchNorm weights: the head of the ten digits keeps its own."""
    torch.manual_seed(5)
    model = ResNet18((3, 32, 32), 7)
    for key, value in model.state_dict().items():
        if key.endswith("running_mean"):
            value.normal_(0, 0.1)
        if ".bn" in key and key.endswith(".weight"):
            value.fill_(0.5)
    path = tmp_path / "given.pt"
    torch.save(model.state_dict(), path)
    return path


def assert_frozen(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Up to `layer3` a run's weights are those given, after it none is."""
    best = load_file(folder / "best.safetensors")
    assert best.keys() == weights.keys() and best["fc.weight"].shape[0] == 10
    same = {key for key in best if best[key].shape == weights[key].shape and torch.equal(best[key], weights[key])}
    assert same == {key for key in best if key.startswith(FROZEN)}


@pytest.mark.slow
def test_a_run_from_given_weights_and_its_evaluation_without_them(seedbed, given):
    weights = torch.load(given, weights_only=True)
    done = seedbed(*SHORT, f"model.pretrained={given}", "train.epochs=1").check()
    (folder,) = done.folders
    assert f"weights of {given}, but for fc.bias, fc.weight" in done.out
    assert_frozen(folder, weights)
    given.unlink()
    again = seedbed("task=evaluate", f"checkpoint={folder}/best.safetensors", "device.threads=1").check()
    assert "identical to the metrics" in again.out
    # Its weights are some to begin with, head and all, for another run.
    overrides = (f"model.pretrained={folder}/best.safetensors", "model.freeze_batchnorm=true", "train.epochs=1")
    second = seedbed(*SHORT, *overrides).check()
    assert f"weights of {folder}/best.safetensors\n" in second.out and "normalised by" not in second.out
    assert_frozen(second.folders[-1], weights)
    first, last = (load_file(f / "best.safetensors") for f in (folder, second.folders[-1]))
    assert torch.equal(first["layer4.0.bn1.running_mean"], last["layer4.0.bn1.running_mean"])
    assert not torch.equal(first["layer4.0.bn1.weight"], last["layer4.0.bn1.weight"])


@pytest.mark.slow
def test_weights_of_another_normalisation_are_taken_with_a_warning(seedbed):
    overrides = ("dataset=digits", "model=convnet", "dataset.subset=300", "train.epochs=1")
    (folder,) = seedbed(*overrides, "model.mean=0.25", "model.std=0.5").check().folders
    done = seedbed(*overrides, f"model.pretrained={folder}/best.safetensors", "model.mean=0.5", "model.std=0.5").check()
    assert "was trained on images normalised by mean 0.25, std 0.5, which are here 0.5, 0.5" in done.out + done.err


@pytest.mark.slow
def test_a_frozen_model_is_evaluated_to_the_last_digit(seedbed):
    overrides = ("dataset=digits", "model=resnet18", "dataset.subset=300", "device.threads=1",
                 "device.precision=float32")  # fmt: skip
    tuned = ("model.freeze=layer4", "model.freeze_batchnorm=true", "optimizer.lr=0.01", "train.epochs=1")
    (folder,) = seedbed(*overrides, *tuned).check().folders
    again = seedbed("task=evaluate", f"checkpoint={folder}/best.safetensors", "device.threads=1").check()
    assert "identical to the metrics" in again.out


@pytest.mark.slow
@pytest.mark.parametrize("after", ["metrics.csv", "samples.png"])
def test_stopped_it_goes_on_without_the_file_to_the_same_weights(seedbed, tmp_path, given, after):
    """Stopped after an epoch, and within the first one."""
    weights = torch.load(given, weights_only=True)
    overrides = (
        *SHORT, f"model.pretrained={given}", "train.epochs=6", "train.patience=null", "train.batch_size=10",
        "train.keep_last=true", "augment=flip_crop_cutmix", "train.label_smoothing=0.1",
    )  # fmt: skip
    whole = seedbed(*overrides).check().folders[-1]
    folder, _ = seedbed.stopped(*overrides, after=f"*/{after}", outputs=tmp_path / "stopped")
    assert json.loads((folder / "result.json").read_text())["epochs"] < 6
    given.unlink()
    done = seedbed(f"resume={folder}", "device.threads=1").check()
    assert "weights of" not in done.out
    assert json.loads((folder / "result.json").read_text())["status"] == "finished"
    assert (folder / "best.safetensors").read_bytes() == (whole / "best.safetensors").read_bytes()
    assert_frozen(folder, weights)
    one, two = (torch.load(f / "last.pt", weights_only=True) for f in (folder, whole))
    assert len(one["optimizer"]["param_groups"]) == 2
    for part in ("model", "best"):
        assert all(torch.equal(one[part][key], two[part][key]) for key in one[part])
    assert one["optimizer"]["param_groups"] == two["optimizer"]["param_groups"]


@pytest.mark.slow
def test_killed_before_a_checkpoint_it_begins_anew_from_the_file(seedbed, given):
    overrides = (*SHORT, f"model.pretrained={given}", "model.rescale_batchnorm=true", "train.epochs=1")
    whole = seedbed(*overrides).check().folders[-1]
    best = (whole / "best.safetensors").read_bytes()
    for name in ("best.safetensors", "metrics.csv"):
        (whole / name).unlink()
    (whole / "result.json").write_text(json.dumps({"status": "running"}))
    done = seedbed(f"resume={whole}").check()
    assert "begins anew" in done.out and f"weights of {given}, but for" in done.out
    assert (whole / "best.safetensors").read_bytes() == best


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["model.pretrained=nope"], ("model.pretrained: nope is not there", "none, or a file")),
        (["model.pretrained=."], ("model.pretrained: . is not there",)),
        (["model.freeze=layer9"], ("model.freeze: expected null or one of stem, layer1", "'layer9'")),
        (["model.freeze=head"], ("model.freeze", "layer4, got 'head'")),
        (["model.freeze_batchnorm=3"], ("model.freeze_batchnorm: expected true or false",)),
        (["model.lr_decay=0"], ("model.lr_decay: expected a number > 0 and <= 1, got 0",)),
        (["model.lr_decay=1.5"], ("model.lr_decay: expected a number > 0 and <= 1, got 1.5",)),
        (["model.lr_decay=0.5", "~optimizer.lr", "scheduler=none"], ("model.lr_decay: needs optimizer.lr",)),
        (["model.preTrained=nope"], ("model.preTrained", "'model.pretrained'")),
        (["model=mlp", "+model.freeze=stem"], ("model.freeze: MLP has no stages",)),
        (["model=mlp", "+model.lr_decay=0.5"], ("model.lr_decay: MLP has no stages",)),
        (["model=mlp", "+model.pretrained=cifar10"], ("model.pretrained: MLP has no stages",)),
        (["model=convnet", "+model.rescale_batchnorm=true"], ("model.rescale_batchnorm: ConvNet does not say",)),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message_and_no_folder(seedbed, tmp_path, overrides, names):
    base = ("dataset=digits", "model=resnet18", "dataset.subset=200", "device.threads=1")
    refused(seedbed, tmp_path, *base, *overrides, names=names)
