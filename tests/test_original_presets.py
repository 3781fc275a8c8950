"""The paper's settings, as it names them, pinned: a preset that drifts from them reproduces nothing."""

from __future__ import annotations

import pytest
from conftest import CONF

from seedbed.experiment import Experiment

CROP = {"flip": {"p": 0.5}, "rotate": {"degrees": 90.0, "fill": "zeros"}, "crop": {"padding": 4, "size": None}}
FEATURES = {
    "features.visual_words.hog.descriptor.threshold": 25,
    "features.visual_words.hog.descriptor.whole": 64,
    "features.visual_words.hog.vocabulary.words": 1500,
    "features.visual_words.hog.vocabulary.words_a_batch": 10,
    "features.visual_words.hog.vocabulary.batch": 200,
    "features.scaling": "minmax",
}
ADAM = {"optimizer._target_": "torch.optim.Adam", "optimizer.weight_decay": 1e-4}
SGD = {"optimizer._target_": "torch.optim.SGD", "optimizer.weight_decay": 1e-4, "optimizer.momentum": 0.5}
CONVNET = {"model._target_": "seedbed.models.report.ReportConvNet", "model.normalize_training": True,
           "model.share_blocks": True, "model.norm_order": "relu_norm", "model.base_depth": 16, "model.expansion": 4,
           "model.blocks": 2, "model.dropout": 0.3, "model.mean": 0.5, "model.std": 0.5}  # fmt: skip
RESNET = {"model.pretrained": "cifar10", "model.image_size": 32, "model.mean": [0.4914, 0.4822, 0.4465],
          "model.std": [0.2471, 0.2435, 0.2616], "scheduler.factor": 0.4}  # fmt: skip
SOFTMAX = {"model._target_": "seedbed.models.report.ReportMLP", "model.dropout": 0.0}
PIXELS = {**SOFTMAX, "model.image_size": 28, "model.mean": 0.5, "model.std": 0.5, "scheduler.factor": 0.2}
# epochs, batch size, early stopping (None: it never fired), plateau's patience, learning rate, parameters (None: the
# paper gives no widths)
PRESETS = {
    "fashion_mnist_features": ((50, 100, 7, 3, 1e-5, 348_746), {}, {
        **ADAM, **FEATURES, **SOFTMAX, "features.selection.sizes": [300, 64],
        "model.widths": [128, 256, 512, 256, 128, 64],
    }),
    "fashion_mnist_mlp": ((50, 100, 7, 3, 1e-4, 153_235), {}, {**ADAM, **PIXELS}),
    "fashion_mnist_convnet_augmented": ((50, 100, 9, 4, 1e-4, 6_729_050), CROP, {**ADAM, **CONVNET}),
    "fashion_mnist_convnet_not_augmented": ((50, 100, 9, 4, 1e-4, 6_729_050), {}, {**ADAM, **CONVNET}),
    "fashion_mnist_resnet18": ((50, 100, 5, 3, 1e-4, 11_173_962), CROP, {**SGD, **RESNET}),
    "fruits_features": ((100, 200, None, 3, 1e-5, 8_981_517), {}, {
        **ADAM, **FEATURES, **SOFTMAX, "features.selection.sizes": [300, 128], "scheduler.factor": 0.3,
        "model.widths": [384, 1152, 3456, 1152, 384, 128],
    }),
    "fruits_mlp": ((20, 100, 6, 3, 1e-4, None), {}, {**ADAM, **PIXELS}),
    "fruits_convnet_augmented": (
        (50, 100, 9, 3, 1e-4, 6_764_285), CROP, {**ADAM, **CONVNET, "scheduler.factor": 0.5},
    ),
    "fruits_convnet_not_augmented": (
        (50, 100, 9, 3, 1e-4, 6_764_285), {}, {**ADAM, **CONVNET, "scheduler.factor": 0.5},
    ),
    "fruits_resnet18": ((50, 100, None, 3, 1e-4, None), CROP, {**SGD, **RESNET}),
}  # fmt: skip


def select(tree: dict, key: str):
    for part in key.split("."):
        tree = tree[part]
    return tree


@pytest.mark.parametrize("preset", PRESETS)
def test_the_paper_s_settings(preset):
    (epochs, batch, stopping, plateau, lr, parameters), steps, settings = PRESETS[preset]
    experiment = Experiment.from_overrides([f"experiment=original/{preset}"])
    tree = experiment.composed
    expected = {
        "train.epochs": epochs, "train.batch_size": batch, "train.patience": stopping, "scheduler.patience": plateau,
        "optimizer.lr": lr, "scheduler._target_": "torch.optim.lr_scheduler.ReduceLROnPlateau",
        "train.label_smoothing": 0.0, "train.tta": 1, "train.ties": "first", **settings,
    }  # fmt: skip
    assert {key: select(tree, key) for key in expected} == expected
    without_target = {
        name: {key: value for key, value in step.items() if key != "_target_"}
        for name, step in tree["augment"]["steps"].items()
    }
    assert without_target == steps and [*without_target] == [*steps], "the order is the paper's, too"
    if parameters:
        fruits, features = preset.startswith("fruits"), "features" in preset
        shape = (128 if fruits else 64,) if features else (3 if fruits else 1, 28, 28)
        model = experiment.build_model(shape, 141 if fruits else 10)
        assert sum(p.numel() for p in model.parameters()) == parameters


def test_every_original_preset_is_pinned():
    assert {path.stem for path in (CONF / "experiment" / "original").glob("*.yaml")} == {*PRESETS}
