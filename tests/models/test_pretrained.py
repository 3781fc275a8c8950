"""Pretrained weights: every form of file in use, and every file that holds none."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from seedbed.errors import UserError
from seedbed.models import fine_tuning
from seedbed.models.convnet import ConvNet
from seedbed.models.fine_tuning import load_pretrained
from seedbed.models.mlp import MLP
from seedbed.models.resnet import ResNet18
from seedbed.training.checkpoint import save_best

NEW_ZIP = "_use_new_zipfile_serialization"


@pytest.fixture(scope="module")
def theirs() -> torch.nn.Module:
    """torchvision's ResNet-18 with the stem of huyvnphan/PyTorch_CIFAR10, its statistics those of a trained one."""
    torch.manual_seed(1)
    model = torchvision.models.resnet18(num_classes=10)
    model.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.num_batches_tracked.fill_(7)
    return model.eval()


@pytest.fixture
def weights(theirs) -> dict[str, torch.Tensor]:
    return OrderedDict((key, value.clone()) for key, value in theirs.state_dict().items())


def fresh(classes: int = 10) -> ResNet18:
    torch.manual_seed(2)
    return ResNet18((3, 32, 32), classes).eval()


def small(classes: int = 3) -> ConvNet:
    """Of another kind, quick to make, for what is refused whatever the model."""
    return ConvNet((1, 28, 28), classes, base_depth=2, expansion=2, blocks=1)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)))


def assert_equal(model: torch.nn.Module, expected: dict[str, torch.Tensor]) -> None:
    state = model.state_dict()
    assert state.keys() == expected.keys()
    assert not [key for key in state if not torch.equal(state[key], expected[key])]
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_the_logits_are_those_of_the_model_in_the_file(theirs, weights, tmp_path):
    torch.save(weights, tmp_path / "resnet18.pt")
    model, same = fresh(), fresh()
    assert not torch.allclose(logits(model), logits(theirs), atol=0.1)
    assert load_pretrained(model, str(tmp_path / "resnet18.pt")) == []
    torch.testing.assert_close(logits(model), logits(theirs), rtol=1e-4, atol=1e-4)
    same.load_state_dict(weights)
    assert torch.equal(logits(model), logits(same))


def by_module(weights):
    return OrderedDict((f"module.{key}", value) for key, value in weights.items())


FORMS = {
    "raw": lambda w, path: torch.save(w, path), "legacy": lambda w, path: torch.save(w, path, **{NEW_ZIP: False}),
    "parallel": lambda w, path: torch.save(by_module(w), path),
    "nested": lambda w, path: torch.save({"state_dict": w, "epoch": 3, "arch": "resnet18"}, path),
    "nested_parallel": lambda w, path: torch.save({"epoch": 3, "state_dict": by_module(w)}, path, **{NEW_ZIP: False}),
    "parameters": lambda w, path: torch.save({k: torch.nn.Parameter(v, False) for k, v in w.items()}, path),
    "safetensors": lambda w, path: save_file(w, path),
    "safetensors_parallel": lambda w, path: save_file(by_module(w), path, {"format": "pt"}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_file(weights, tmp_path, form):
    FORMS[form](weights, tmp_path / "file")
    model = fresh()
    assert load_pretrained(model, str(tmp_path / "file")) == []
    assert_equal(model, weights)
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in model.parameters())


def test_a_length_that_looks_like_a_pickle(tmp_path):
    """The first byte of safetensors is 0x80 where its header has 128 bytes more than a multiple of 256."""
    path, weights = tmp_path / "file", small().state_dict()
    for n in range(256):
        save_file(weights, path, {"padding": "x" * n})
        if path.read_bytes()[:1] == b"\x80":
            break
    assert path.read_bytes()[:1] == b"\x80"
    model = small()
    load_pretrained(model, str(path))
    assert_equal(model, weights)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_another_width(weights, tmp_path, kind):
    other = {key: value.to(kind) if value.is_floating_point() else value for key, value in weights.items()}
    save_file(other, tmp_path / "other.safetensors")
    model = fresh()
    load_pretrained(model, str(tmp_path / "other.safetensors"))
    expected = {key: value.float() if value.is_floating_point() else value for key, value in other.items()}
    assert_equal(model, expected)
    assert torch.equal(model.conv1.weight, weights["conv1.weight"]) == (kind == torch.float64)


def test_a_file_of_before_the_counters(weights, tmp_path):
    old = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    assert len(old) == len(weights) - 20
    torch.save(old, tmp_path / "old.pt", **{NEW_ZIP: False})
    model = fresh()
    assert load_pretrained(model, str(tmp_path / "old.pt")) == []
    assert_equal(model, {**fresh().state_dict(), **old})


def test_a_head_of_another_size_keeps_its_own_weights(weights, tmp_path):
    torch.save(weights, tmp_path / "ten.pt")
    model, before = fresh(7), fresh(7).state_dict()
    assert load_pretrained(model, str(tmp_path / "ten.pt")) == ["fc.bias", "fc.weight"]
    assert_equal(model, {**weights, "fc.weight": before["fc.weight"], "fc.bias": before["fc.bias"]})


def test_of_a_head_of_two_layers_the_last_keeps_its_own(tmp_path):
    torch.manual_seed(4)
    other, model = small(10), small(3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.save(other.state_dict(), tmp_path / "ten.pt")
    last = ["classifier.2.bias", "classifier.2.weight"]
    assert load_pretrained(model, str(tmp_path / "ten.pt")) == last
    assert_equal(model, {**other.state_dict(), **{key: before[key] for key in last}})


def refused(source: Path | str, *names: str, model: torch.nn.Module | None = None) -> str:
    """Loading has to fail with a UserError that holds `names`, and leave every weight as it was."""
    model = model or fresh()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_pretrained(model, str(source))
    message = str(caught.value)
    assert message.startswith("model.pretrained: ") and "\n" not in message
    for name in (*names, "" if "/" not in str(source) else str(source)):
        assert name in message, f"{name!r} is not in: {message}"
    state = model.state_dict()
    assert not [key for key in state if not torch.equal(state[key], before[key])]
    return message


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"fc.bias": (7,)}, "fc.bias 7 instead of 10"),
        ({"fc.weight": (7, 512)}, "fc.weight 7x512 instead of 10x512"),
        ({"fc.weight": (7, 512), "fc.bias": ()}, "fc.bias one number instead of 10"),
        ({"fc.weight": (7, 256), "fc.bias": (7,)}, "fc.weight 7x256 instead of 10x512"),
    ],
)
def test_a_head_that_differs_in_more_than_its_classes_is_another_model(weights, tmp_path, changes, named):
    path = tmp_path / "other.pt"
    torch.save({**weights, **{key: torch.zeros(shape) for key, shape in changes.items()}}, path)
    model = fresh()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError, match=f"does not fit ResNet18: of another shape: .*{named}"):
        load_pretrained(model, str(path))
    assert_equal(model, before)


def test_a_hidden_layer_of_the_head_is_no_number_of_classes(tmp_path):
    path = tmp_path / "narrow.pt"
    narrow = {"classifier.0.weight": torch.zeros(5, 32), "classifier.0.bias": torch.zeros(5)}
    torch.save({**ConvNet((1, 8, 8), 10, base_depth=2, expansion=2).state_dict(), **narrow}, path)
    with pytest.raises(UserError, match=r"classifier\.0\.bias 5 instead of 8"):
        load_pretrained(ConvNet((1, 8, 8), 10, base_depth=2, expansion=2), str(path))


def test_keys_that_do_not_fit_are_listed_and_nothing_is_taken(weights, tmp_path):
    path = tmp_path / "odd.pt"
    del weights["layer1.0.conv1.weight"], weights["bn1.bias"]
    weights["extra.weight"] = torch.zeros(1)
    weights["conv1.weight"] = torch.zeros(64, 3, 7, 7)
    weights["bn1.weight"] = torch.zeros(())
    torch.save(weights, path)
    message = refused(path, "ResNet18")
    missing, unknown, other = message.partition("ResNet18: ")[2].split("; ")
    assert missing == "missing: bn1.bias, layer1.0.conv1.weight"
    assert unknown == "unknown: extra.weight"
    assert other == ("of another shape: conv1.weight 64x3x7x7 instead of 64x3x3x3, bn1.weight one number instead of 64")


@pytest.mark.parametrize(("number", "rest"), [(12, ""), (13, " and 1 more"), (30, " and 18 more")])
def test_beyond_twelve_keys_are_counted(weights, tmp_path, number, rest):
    torch.save({**weights, **{f"extra{n:02d}": torch.zeros(1) for n in range(number)}}, tmp_path / "many.pt")
    message = refused(tmp_path / "many.pt")
    named = ", ".join(f"extra{n:02d}" for n in range(12))
    assert message.endswith(f"unknown: {named}{rest}")


def test_some_keys_with_the_prefix_are_not_all(weights, tmp_path):
    weights["module.conv1.weight"] = weights.pop("conv1.weight")
    torch.save(weights, tmp_path / "mixed.pt")
    refused(tmp_path / "mixed.pt", "missing: conv1.weight", "unknown: module.conv1.weight")


class Code:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_code_in_a_file_is_refused_and_not_run(weights, tmp_path, form):
    path, marker = tmp_path / "evil.pt", tmp_path / "ran"
    evil = {**weights, "fc.bias": Code(marker)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(Code(marker)))
        pickle.loads(path.read_bytes())
    else:
        torch.save(evil, path, **{NEW_ZIP: form == "zip"})
        torch.load(path, weights_only=False)
    assert marker.exists(), "the example runs where it is believed"
    marker.unlink()
    message = refused(path, "nothing of it was run")
    assert not marker.exists()
    assert "weights_only" not in message, "nobody is told to load it unsafely"


def saved(path: Path, what, end: int | None = None, zipped: bool = True) -> None:
    torch.save(what, path, **{NEW_ZIP: zipped})
    path.write_bytes(path.read_bytes()[:end])


TENSORS = {"a": torch.zeros(5), "b": torch.ones(3, 3)}
NO_STATE_DICT = {
    "empty": lambda path: path.write_bytes(b""), "text": lambda path: path.write_text("weights, they said\n"),
    "first_bytes_of_a_zip": lambda path: path.write_bytes(b"PK"), "directory": lambda path: path.mkdir(),
    "first_byte_of_a_pickle": lambda path: path.write_bytes(b"\x80"),
    "bytes": lambda path: path.write_bytes(bytes(range(256)) * 40),
    "zip_truncated": lambda path: saved(path, TENSORS, -30), "zip_half": lambda path: saved(path, TENSORS, 600),
    "legacy_half": lambda path: saved(path, TENSORS, 60, zipped=False),
    "safetensors_truncated": lambda path: (save_file(TENSORS, path), path.write_bytes(path.read_bytes()[:-4])),
    "tensor": lambda path: saved(path, torch.zeros(3)), "list": lambda path: saved(path, [torch.zeros(3)]),
    "numbers": lambda path: saved(path, {"conv1.weight": 1.5, "fc.bias": torch.zeros(10)}),
    "nested_numbers": lambda path: saved(path, {"state_dict": {"conv1.weight": [1.0]}}),
    "other_nest": lambda path: saved(path, {"model": TENSORS, "epoch": 3}),
    "empty_dict": lambda path: saved(path, {}), "numbered": lambda path: saved(path, {0: torch.zeros(1)}),
}  # fmt: skip


@pytest.mark.parametrize("what", NO_STATE_DICT)
def test_a_file_that_holds_no_weights(tmp_path, what):
    NO_STATE_DICT[what](tmp_path / "file.pt")
    refused(tmp_path / "file.pt", model=small())


def test_a_legacy_file_cut_anywhere(tmp_path):
    whole = tmp_path / "whole.pt"
    saved(whole, TENSORS, zipped=False)
    raw, other = whole.read_bytes(), []
    for end in range(0, len(raw), 3):
        (tmp_path / "cut.pt").write_bytes(raw[:end])
        try:
            fine_tuning.read_weights(tmp_path / "cut.pt")
            other.append(f"{end}: taken for whole")
        except UserError:
            pass
        except Exception as error:
            other.append(f"{end}: {error!r}")
    assert not other, f"{len(other)} of {len(raw) // 3} cuts: {other[:3]}"


@pytest.mark.parametrize("source", ["~nobody-of-this-name/weights.pt", "w" * 300, "", "/dev/null", "~", "a\0b"])
def test_a_path_that_cannot_be(source):
    with pytest.raises(UserError, match=r"^model\.pretrained: "):
        load_pretrained(small(), source)


def test_a_model_without_stages(tmp_path):
    model = MLP((1, 4, 4), 3, [5])
    torch.save(model.state_dict(), tmp_path / "mlp.pt")
    with pytest.raises(UserError, match=r"^model\.pretrained: MLP has no stages"):
        load_pretrained(model, str(tmp_path / "mlp.pt"))


@pytest.fixture
def shipped(tmp_path, monkeypatch, weights):
    """Ship `weights` under a name; returns the file."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(fine_tuning, "SHIPPED", folder)

    def ship(name: str, model: str = "resnet18") -> Path:
        path = folder / f"{name}_{model}.safetensors"
        save_file(weights, path)
        path.with_suffix(".sha256").write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
        return path

    return ship


def test_shipped_weights_by_name_until_one_bit_is_another(shipped, weights):
    path, model = shipped("cifar10"), fresh()
    assert load_pretrained(model, "cifar10") == []
    assert_equal(model, weights)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    refused("cifar10", str(path), "is not the file that was shipped")


def test_another_name_is_told_those_that_exist(shipped):
    for name, model in (("cifar10", "resnet18"), ("svhn", "resnet18"), ("letters", "convnet")):
        shipped(name, model)
    assert "; give cifar10, svhn, none, or a file" in refused("nope", "nope is not there")


def test_a_name_of_two_words_is_told_whole(shipped):
    shipped("fashion_mnist")
    assert load_pretrained(fresh(), "fashion_mnist") == []
    assert "give fashion_mnist, none" in refused("nope")


def test_weights_are_required_by_a_name_of_any_model_or_a_path(shipped, tmp_path):
    shipped("letters", "convnet")
    (tmp_path / "mine.pt").write_bytes(b"")
    for source in ("letters", str(tmp_path / "mine.pt")):
        fine_tuning.require_weights(source)
    for source in ("letter", str(tmp_path / "no.pt"), "a\0b"):
        with pytest.raises(UserError, match=r"^model\.pretrained: .*; give letters, none, or a file"):
            fine_tuning.require_weights(source)


@pytest.mark.parametrize("sums", [None, ""])
def test_shipped_weights_without_their_sum_are_not_believed(shipped, sums):
    path = shipped("cifar10").with_suffix(".sha256")
    path.unlink() if sums is None else path.write_text(sums)
    refused("cifar10", "install seedbed again")


def test_a_file_of_ours_says_how_its_images_were_normalised(tmp_path, weights):
    metadata = {"preprocess": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
    save_best(tmp_path / "best.safetensors", weights, metadata)
    assert fine_tuning.normalization(tmp_path / "best.safetensors") == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    torch.save(weights, tmp_path / "theirs.pt")
    save_file(weights, tmp_path / "bare.safetensors")
    save_best(tmp_path / "features.safetensors", weights, {"preprocess": None})
    for name in ("theirs.pt", "bare.safetensors", "features.safetensors"):
        assert fine_tuning.normalization(tmp_path / name) is None
