"""The backbone in the repository: the file that its card describes, and as good as that says."""

from __future__ import annotations

import re

import pytest
import torch
from conftest import data_file
from safetensors.torch import load_file

from seedbed.models.fine_tuning import SHIPPED, load_pretrained
from seedbed.models.resnet import ResNet18

CARDS = sorted(SHIPPED.glob("*.md"))


def test_a_backbone_is_shipped():
    assert SHIPPED / "cifar10_resnet18.md" in CARDS


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.stem)
def test_the_card_is_of_this_file(card):
    weights = load_file(card.with_suffix(".safetensors"))
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float16}
    assert all(value.isfinite().all() for value in weights.values())
    sha = card.with_suffix(".sha256").read_text().split()
    assert sha == [re.search(r"SHA-256 \| `(\w+)`", card.read_text())[1], f"{card.stem}.safetensors"]


def test_it_fits_and_leaves_the_head_where_the_classes_are_as_many():
    assert load_pretrained(ResNet18((3, 32, 32), 10), "cifar10") == []
    assert load_pretrained(ResNet18((1, 28, 28), 141), "cifar10") == ["fc.bias", "fc.weight"]


@pytest.mark.slow
def test_it_knows_cifar10(seedbed):
    data_file("cifar-10.zip")
    still = ("optimizer.lr=0", "model.freeze_batchnorm=true", "model.freeze=layer4")
    done = seedbed("experiment=pretrain/cifar10_resnet18_48px", "model.pretrained=cifar10", "train=smoke",
                   "dataset.subset=1000", "train.epochs=1", *still).check()  # fmt: skip
    promised = float(re.search(r"this file \| test accuracy ([\d.]+)", CARDS[0].read_text())[1])
    assert abs(done.result["test_without_tta"]["accuracy"] - promised) < 0.04, (
        "four standard deviations of 1,000 images"
    )
