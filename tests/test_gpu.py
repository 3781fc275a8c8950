"""On a GPU: every model trains, resumes, and begins as it does on the CPU."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.gpu
MODELS = ["mlp", "convnet", "resnet18"]


@pytest.mark.parametrize("model", MODELS)
def test_trains_and_goes_on(seedbed, model):
    overrides = ("dataset=digits", f"model={model}", "device=cuda", "train.keep_last=true")
    folder = seedbed(*overrides, "train.epochs=2").check().folders[-1]
    assert json.loads((folder / "environment.json").read_text())["device"].startswith("cuda")
    done = seedbed(f"resume={folder}", "train.epochs=4").check()
    assert done.result["epochs"] == 4 and done.result["test"]["accuracy"] > 0.2


@pytest.mark.parametrize("model", MODELS)
def test_the_first_losses_agree_with_the_cpus(model):
    import torch

    from seedbed.data.loader import Loader
    from seedbed.experiment import Experiment
    from seedbed.optimization import build_optimizer
    from seedbed.training.early_stopping import EarlyStopping
    from seedbed.training.loop import State, fit

    class Doubles(Loader):
        """Float64 batches. In float32 BatchNorm makes so much of rounding that weights off by 1e-7 give other losses
        by the third step. What stays float32 here, resizing and the loss, makes CPU and GPU differ after the fifth."""

        def epoch(self, *position):
            for x, y in super().epoch(*position):
                yield x.double(), y

    losses = {}
    for name, device, lr in (("cpu", "cpu", 1e-3), ("still", "cpu", 0), ("cuda", "cuda", 1e-3)):
        overrides = ["dataset=digits", f"model={model}", "optimizer=sgd", f"optimizer.lr={lr}", f"device={device}"]
        # Dropout draws from each device's own generator, which differ by nature.
        overrides += ["device.precision=float32", *(["model.dropout=0"] if model != "resnet18" else [])]
        experiment = Experiment.from_overrides(overrides)
        net = experiment.model.double()
        train = Doubles(
            experiment.data.train, experiment.preprocess, batch_size=50, device=experiment.device.torch, seed=0,
            channels_last=experiment.device.channels_last,
        )  # fmt: skip
        optimizer = build_optimizer(experiment.settings, net.parameters())
        state = State(net, optimizer, None, EarlyStopping("val_accuracy", None))
        done = iter(range(5))
        loop = fit(
            state, train, train, epochs=1, seed=0, classes=10, loss=experiment.loss,
            autocast=experiment.device.autocast, stop=lambda steps=done: next(steps) == 4,
        )  # fmt: skip
        next(loop)
        losses[name] = state.losses[:5].cpu()
    assert torch.allclose(losses["cpu"], losses["cuda"], atol=1e-3, rtol=0)
    assert not torch.allclose(losses["cpu"], losses["still"], atol=1e-3, rtol=0), "so early no learning can be told"


def test_a_gpu_augments_as_the_cpu_does():
    import numpy as np
    import torch

    from seedbed.data.augment import Chain, HorizontalFlip, PaddedCrop
    from seedbed.data.policy import TrivialAugment

    chain = Chain({"flip": HorizontalFlip(), "crop": PaddedCrop(4)}, policy=TrivialAugment(fill=90))
    drawn = chain.draw(np.random.default_rng(0), 256, 32)
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (256, 3, 32, 32), dtype=np.uint8))
    made = []
    for device in ("cpu", "cuda"):
        parameters = {
            step: {key: torch.from_numpy(value).to(device) for key, value in values.items()}
            for step, values in drawn.items()
        }
        made.append(chain.apply(images.to(device), parameters).cpu().int())
    # Where sums round differently, a byte may differ by one, and equalising spreads that.
    difference = (made[0] - made[1]).abs()
    assert (difference > 1).float().mean() < 1e-3
