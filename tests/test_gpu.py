"""On a GPU: every model trains, resumes, and begins as it does on the CPU."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.gpu
MODELS = ["mlp", "convnet", "resnet18"]


@pytest.mark.parametrize("model", MODELS)
def test_trains_and_goes_on(seedbed, model):
    words = ("dataset=digits", f"model={model}", "device=cuda", "train.keep_last=true")
    folder = seedbed(*words, "train.epochs=2").check().folders[-1]
    assert json.loads((folder / "environment.json").read_text())["device"].startswith("cuda")
    done = seedbed(f"resume={folder}", "train.epochs=4").check()
    assert done.result["epochs"] == 4 and done.result["test"]["accuracy"] > 0.2


@pytest.mark.parametrize("model", MODELS)
def test_the_first_losses_agree_with_the_cpus(model):
    import torch
    from conftest import CONF
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf
    from torch import nn

    from seedbed import build, config, randomness
    from seedbed.data.loader import Loader
    from seedbed.training.early_stopping import EarlyStopping
    from seedbed.training.loop import State, fit

    class Doubles(Loader):
        """Float64 batches. In float32 batch norm makes so much of rounding that weights off by 1e-7 give other losses
        by the third step. What stays float32 here, resizing and the loss, makes CPU and GPU differ after the fifth."""

        def epoch(self, *place):
            for x, y in super().epoch(*place):
                yield x.double(), y

    losses = {}
    for name, device, rate in (("cpu", "cpu", 1e-3), ("still", "cpu", 0), ("cuda", "cuda", 1e-3)):
        words = ["dataset=digits", f"model={model}", "optimizer=sgd", f"optimizer.lr={rate}"]
        words += [f"device={device}", "device.precision=float32"]
        # Dropout draws from each device's own generator, which differ by nature.
        words += ["model.dropout=0"] if model != "resnet18" else []
        with initialize_config_dir(str(CONF), version_base="1.3"):
            settings = config.check(OmegaConf.to_container(compose("config", words), resolve=True))
        data = build.load_data(settings)
        preprocess = build.make_preprocess(settings, data)
        randomness.seed_torch(0, 0, randomness.WEIGHTS)
        net, on = build.make_model(settings, build.input_shape(data, preprocess), len(data.classes))
        net.double()
        train = Doubles(data.train, preprocess, batch_size=50, device=on.torch, seed=0, channels_last=on.channels_last)
        optimizer = build.instance(settings.optimizer_node, "optimizer", params=net.parameters())
        state = State(net, optimizer, None, EarlyStopping("val_accuracy", None))
        done = iter(range(5))
        loop = fit(
            state, train, train, epochs=1, seed=0, classes=10, loss=nn.CrossEntropyLoss(), autocast=on.autocast,
            stop=lambda steps=done: next(steps) == 4,
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
        there = {name: {key: torch.from_numpy(v).to(device) for key, v in own.items()} for name, own in drawn.items()}
        made.append(chain.apply(images.to(device), there).cpu().int())
    # Where sums round differently, a byte may differ by one, and equalising spreads that.
    apart = (made[0] - made[1]).abs()
    assert (apart > 1).float().mean() < 1e-3
