"""Fine-tuning through the real command: what is begun with, what stays, and what a stopped run goes on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from bad_input import refused
from conftest import stopped
from safetensors.torch import load_file, save_file
from test_conf import composed

from seedbed import build, config
from seedbed.errors import UserError
from seedbed.models.convnet import ConvNet
from seedbed.models.fine_tuning import FrozenBatchNorm2d
from seedbed.models.resnet import ResNet18
from seedbed.training import device

TUNED = ("model=resnet18", "scheduler=one_cycle", "optimizer.lr=0.08", "optimizer=sgd")


def settings_of(*words: str) -> config.Settings:
    return config.check(composed("dataset=digits", *words))


def rates_of(words: tuple[str, ...], model: torch.nn.Module, steps: int = 20) -> list[list[float]]:
    """The rate of each group, step by step."""
    settings = settings_of(*words)
    build.prepare_tuning(settings, model, None, begins=True)
    optimizer = build.make_optimizer(settings, model)
    schedule, by_batch = build.make_schedule(settings, optimizer, steps)
    assert by_batch
    rates = []
    for step in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step() if step < steps - 1 else None
    return rates


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(("frozen", "stages"), [("null", 6), ("stem", 5), ("layer3", 2), ("layer4", 1)])
def test_one_cycle_keeps_the_ratios_of_the_rates(optimizer, frozen, stages):
    words = (*TUNED[:3], f"optimizer={optimizer}", f"model.freeze={frozen}", "model.lr_decay=0.5")
    rates = rates_of(words, ResNet18((1, 8, 8), 10))
    assert max(row[0] for row in rates) == pytest.approx(0.08) and rates[0][0] == pytest.approx(0.08 / 25)
    for row in rates:
        assert row == pytest.approx([row[0] * 0.5**n for n in range(stages)], rel=1e-9)


def test_one_cycle_without_decay_is_one_rate():
    rates = rates_of((*TUNED, "model.freeze=layer1"), ResNet18((1, 8, 8), 10))
    assert {len(row) for row in rates} == {1} and max(rates) == [pytest.approx(0.08)]


def test_a_peak_of_its_own_is_shared_out_by_depth():
    words = (*TUNED, "model.lr_decay=0.1", "model.freeze=layer3", "scheduler.max_lr=0.4")
    rates = rates_of(words, ResNet18((1, 8, 8), 10))
    assert [max(column) for column in zip(*rates, strict=True)] == pytest.approx([0.4, 0.04])


def test_a_rate_of_nothing_divides_nothing():
    rates = rates_of((*TUNED, "optimizer.lr=0", "model.lr_decay=0.5"), ResNet18((1, 8, 8), 10))
    assert {rate for row in rates for rate in row} == {0.0}


@pytest.mark.parametrize("scheduler", ["none", "plateau"])
def test_the_optimizer_has_a_rate_for_each_stage(scheduler):
    settings = settings_of("model=convnet", f"scheduler={scheduler}", "optimizer.lr=0.8", "model.lr_decay=0.5")
    model = ConvNet((1, 28, 28), 10, base_depth=2, expansion=2)
    optimizer = build.make_optimizer(settings, model)
    assert [group["lr"] for group in optimizer.param_groups] == [0.8, 0.4, 0.2, 0.1, 0.05]
    assert not build.make_schedule(settings, optimizer, 10)[1]


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
    own = {key: value.clone() for key, value in model.state_dict().items()}
    words = ("model=resnet18", f"model.pretrained={tmp_path}/w.safetensors", "model.freeze=stem")
    build.prepare_tuning(settings_of(*words), model, None, begins=begins)
    expected = other.state_dict() if begins else own
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    assert isinstance(model.bn1, FrozenBatchNorm2d) and not model.conv1.weight.requires_grad


@pytest.mark.parametrize("begins", [True, False])
def test_gains_are_scaled_where_training_begins_only(begins):
    model = ResNet18((1, 8, 8), 141)
    for group, _ in model.scales():
        for norm in group:
            torch.nn.init.constant_(norm.weight, 0.5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    words = ("model=resnet18", "model.pretrained=cifar10", "model.rescale_batchnorm=true")
    build.prepare_tuning(settings_of(*words), model, None, begins=begins)
    after = model.state_dict()
    assert torch.equal(after["fc.weight"], before["fc.weight"]), "a new head's weights are not the backbone's"
    if begins:
        sizes = [torch.cat([norm.weight for norm in group]).abs().mean().item() for group, _ in model.scales()]
        assert sizes == pytest.approx([1] * len(sizes))
    else:
        assert all(torch.equal(value, before[key]) for key, value in after.items())


def test_frozen_stages_are_scaled_and_compute_what_they_did():
    plain, scaled = ResNet18((3, 16, 16), 10), ResNet18((3, 16, 16), 10)
    words = ("model=resnet18", "model.pretrained=cifar10", "model.freeze=layer2")
    build.prepare_tuning(settings_of(*words), plain, None, begins=True)
    build.prepare_tuning(settings_of(*words, "model.rescale_batchnorm=true"), scaled, None, begins=True)
    assert isinstance(scaled.layer2[1].bn2, FrozenBatchNorm2d) and not scaled.layer2[1].bn2.weight.requires_grad
    assert not torch.equal(scaled.layer2[1].bn2.weight, plain.layer2[1].bn2.weight)
    x = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(scaled.eval()(x), plain.eval()(x), rtol=1e-4, atol=1e-4)


def test_weights_keep_the_place_in_memory_that_the_device_chose(tmp_path):
    on = device.Device(torch.device("cpu"), "float32", True, 1)
    model = on.place(ResNet18((1, 8, 8), 10))
    save_file(ResNet18((1, 8, 8), 10).state_dict(), tmp_path / "w.safetensors")
    words = ("model=resnet18", f"model.pretrained={tmp_path}/w.safetensors", "model.freeze=layer1")
    build.prepare_tuning(settings_of(*words), model, None, begins=True)
    kernel = model.layer3[0].conv1.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last) and not kernel.is_contiguous()


# The real command from here on.
SHORT = (
    "dataset=digits", "model=resnet18", "model.image_size=8", "model.freeze=layer3", "model.lr_decay=0.5",
    "scheduler=one_cycle", "dataset.subset=200", "device.threads=1",
)  # fmt: skip
FROZEN = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.")


@pytest.fixture
def given(tmp_path) -> Path:
    """A file of weights for seven classes, with small gains: the head of the ten digits keeps its own."""
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
    assert "identical to the figures" in again.out
    # Its weights are some to begin with, head and all, for another run.
    words = (f"model.pretrained={folder}/best.safetensors", "model.freeze_batchnorm=true", "train.epochs=1")
    second = seedbed(*SHORT, *words).check()
    assert f"weights of {folder}/best.safetensors\n" in second.out and "normalised by" not in second.out
    assert_frozen(second.folders[-1], weights)
    first, last = (load_file(f / "best.safetensors") for f in (folder, second.folders[-1]))
    assert torch.equal(first["layer4.0.bn1.running_mean"], last["layer4.0.bn1.running_mean"])
    assert not torch.equal(first["layer4.0.bn1.weight"], last["layer4.0.bn1.weight"])


@pytest.mark.slow
def test_weights_of_another_normalisation_are_taken_with_a_warning(seedbed):
    words = ("dataset=digits", "model=convnet", "dataset.subset=300", "train.epochs=1")
    (folder,) = seedbed(*words, "model.mean=0.25", "model.std=0.5").check().folders
    done = seedbed(*words, f"model.pretrained={folder}/best.safetensors", "model.mean=0.5", "model.std=0.5").check()
    assert "was trained on images normalised by mean 0.25, std 0.5, which are here 0.5, 0.5" in done.out + done.err


@pytest.mark.slow
def test_a_frozen_model_is_evaluated_to_the_last_digit(seedbed):
    words = ("dataset=digits", "model=resnet18", "dataset.subset=300", "device.threads=1", "device.precision=float32")
    tuned = ("model.freeze=layer4", "model.freeze_batchnorm=true", "optimizer.lr=0.01", "train.epochs=1")
    (folder,) = seedbed(*words, *tuned).check().folders
    again = seedbed("task=evaluate", f"checkpoint={folder}/best.safetensors", "device.threads=1").check()
    assert "identical to the figures" in again.out


@pytest.mark.slow
@pytest.mark.parametrize("after", ["metrics.csv", "samples.png"])
def test_stopped_it_goes_on_without_the_file_to_the_same_weights(seedbed, tmp_path, cache, given, after):
    """Stopped after an epoch, and within the first one."""
    weights = torch.load(given, weights_only=True)
    words = (
        *SHORT, f"model.pretrained={given}", "train.epochs=6", "train.patience=null", "train.batch_size=10",
        "train.keep_last=true", "augment=flip_crop_cutmix", "train.label_smoothing=0.1",
    )  # fmt: skip
    whole = seedbed(*words).check().folders[-1]
    folder, _ = stopped(words, tmp_path / "stopped", cache, f"*/{after}")
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
    words = (*SHORT, f"model.pretrained={given}", "model.rescale_batchnorm=true", "train.epochs=1")
    whole = seedbed(*words).check().folders[-1]
    best = (whole / "best.safetensors").read_bytes()
    for name in ("best.safetensors", "metrics.csv"):
        (whole / name).unlink()
    (whole / "result.json").write_text(json.dumps({"status": "running"}))
    done = seedbed(f"resume={whole}").check()
    assert "begins anew" in done.out and f"weights of {given}, but for" in done.out
    assert (whole / "best.safetensors").read_bytes() == best


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "names"),
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
def test_a_mistake_is_one_message_and_no_folder(seedbed, tmp_path, words, names):
    base = ("dataset=digits", "model=resnet18", "dataset.subset=200", "device.threads=1")
    refused(seedbed, tmp_path, *base, *words, names=names)
