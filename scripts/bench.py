"""Measure an epoch of the training loop against the floor: the same model and optimizer fed one constant batch.

    python scripts/bench.py epoch [--rounds 5]

Both are measured in turn, several rounds; medians and their ratio are printed with the machine's description. An epoch
of the loop includes its training figures; validation is left out of both.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import statistics
import time

import torch
from torch import nn

from seedbed.data import dataset
from seedbed.data.loader import Loader, Preprocess
from seedbed.engine.early_stopping import EarlyStopping
from seedbed.engine.loop import State, fit
from seedbed.models.mlp import MLP

BATCH = 100


def make(device: torch.device) -> State:
    torch.manual_seed(0)
    model = MLP((1, 28, 28), 10, [150, 150, 75]).to(device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=1e-4, fused=True)
    return State(model, optimizer, None, EarlyStopping("val_accuracy", None))


def floor(state: State, x: torch.Tensor, y: torch.Tensor, steps: int) -> float:
    loss = nn.CrossEntropyLoss()
    begun = time.perf_counter()
    state.model.train()
    for _ in range(steps):
        value = loss(state.model(x), y)
        state.optimizer.zero_grad(set_to_none=True)
        value.backward()
        state.optimizer.step()
    return time.perf_counter() - begun


def epoch(state: State, train: Loader, val: Loader) -> float:
    begun = time.perf_counter()
    next(
        fit(state, train, val, epochs=state.epoch + 1, seed=0, classes=10, loss=nn.CrossEntropyLoss(),
            autocast=contextlib.nullcontext)
    )  # fmt: skip
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["epoch"])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from seedbed import cli, config, experiment

    with initialize_config_dir(str(cli.conf_folder()), version_base="1.3"):
        settings = config.check(OmegaConf.to_container(compose("config"), resolve=True))
    source = experiment.build(settings.dataset_node, data_root=settings.root.data_root)
    data = dataset.load(
        source, size=28, val_fraction=5000 / 60_000, test_fraction=0.2, split_seed=0, subset=None, on_bad_image="fail",
        cache_root=settings.root.cache_root,
    )  # fmt: skip
    device = torch.device("cpu")
    preprocess = Preprocess(28, (0.5,), (0.5,))
    train = Loader(data.train, preprocess, batch_size=BATCH, device=device, seed=0)
    # One validation image: what is compared is training.
    val = Loader(type(data.val)(data.val.images, data.val.labels, data.val.index[:1]), preprocess, batch_size=1,
                 device=device)  # fmt: skip
    x, y = next(train.epoch())
    ours, constant = make(device), make(device)
    times = {"epoch": [], "floor": []}
    epoch(ours, train, val), floor(constant, x, y, len(train))
    for _ in range(rounds):
        times["epoch"].append(epoch(ours, train, val))
        times["floor"].append(floor(constant, x, y, len(train)))
    ratios = [a / b for a, b in zip(times["epoch"], times["floor"], strict=True)]
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"mlp, Fashion-MNIST, {train.samples:,} images, batch {BATCH}, float32, {rounds} rounds in turn")
    for name, values in times.items():
        print(f"  {name:<6} {statistics.median(values):.3f} s (median; {min(values):.3f} to {max(values):.3f})")
    print(f"  ratio  {statistics.median(ratios):.3f} (median of rounds; {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
