"""How far the report's rate takes a new head on our backbone: why original/fruits_resnet18 stays near chance.

    python scripts/head_rate.py

The backbone stays still and its features of the unaugmented images are computed once; a new head of 141 classes is
then trained on them by the report's SGD, batches of 100, without its plateau or early stopping. Features are taken as
they are, and larger: multiply the gains and biases of the last norms of the last two blocks (and of the shortcut's) by
a factor, the running mean and variance of the last block's first norm to match, and the features grow by it and are
otherwise the same. The backbone's norms use their running statistics,
those of CIFAR-10. Prints a Markdown table and writes docs/results/head_rate.csv. The data sets are read from
SEEDBED_DATA, as by any run.
"""

from __future__ import annotations

from pathlib import Path

import torch
from composed import composed, parts
from table_of_runs import write_table
from torch import nn
from torch.nn import functional as F

from seedbed import build, randomness
from seedbed.config import Settings
from seedbed.types import Split

TABLE = Path(__file__).parents[1] / "docs" / "results" / "head_rate.csv"
COLUMNS = ("features", "scale", "rate", "epochs", "train_accuracy", "test_accuracy", "device", "precision")
PRESET = "experiment=original/fruits_resnet18"
EPOCHS = 50
# name, factor of the features, factor of the rate, factor of the epochs
ROWS = (
    ("as they are", 1, 1, 1),
    ("as they are, as many steps as the whole data set gives", 1, 1, 2.5),
    ("as they are, 100 times the rate", 1, 100, 1),
    ("4 times as large", 4, 1, 1),
    ("16 times as large", 16, 1, 1),
)


def main() -> None:
    settings = composed([PRESET])
    data, _, model, on = run = parts(settings)

    def features(split: Split) -> tuple[torch.Tensor, torch.Tensor]:
        """Float32 `[N, 512]` and labels `[N]`."""
        model.eval()
        taken, parts = [], []
        hook = model.fc.register_forward_hook(lambda _, given, __: taken.append(given[0].float()))
        with torch.inference_mode(), on.autocast():
            for x, y in run.loader(split, 250).epoch():
                model(x)
                parts.append(y)
        hook.remove()
        return torch.cat(taken), torch.cat(parts)

    train, test = features(data.train), features(data.test)
    print(f"norm of a test image's features: {test[0].norm(dim=1).mean():.1f}\n")
    print("| features | epochs | training | test |\n| --- | ---: | ---: | ---: |")
    rows = []
    for name, scale, rate, longer in ROWS:
        epochs = round(EPOCHS * longer)
        head = trained(settings, *(train[0] * scale, train[1]), len(data.classes), rate, epochs)
        ends = [f"{accuracy(head, x * scale, y):.4f}" for x, y in (train, test)]
        values = (name, scale, rate, epochs, *ends, on.torch.type, on.precision)
        rows.append(dict(zip(COLUMNS, values, strict=True)))
        write_table(TABLE, COLUMNS, rows)
        print(f"| {name} | {epochs} | {' | '.join(ends)} |", flush=True)


def trained(settings: Settings, x: torch.Tensor, y: torch.Tensor, classes: int, rate: float, epochs: int) -> nn.Linear:
    """A new head after so many epochs of the preset's optimizer, its rate multiplied."""
    randomness.seed_torch(settings.root.seed, 0, randomness.WEIGHTS)
    head = nn.Linear(x.shape[1], classes, device=x.device)
    optimizer = build.instance(settings.optimizer_node, "optimizer", params=head.parameters())
    for group in optimizer.param_groups:
        group["lr"] *= rate
    for epoch in range(epochs):
        order = randomness.generator(settings.root.seed, epoch, randomness.ORDER).permutation(len(x))
        for batch in torch.from_numpy(order).to(x.device).split(settings.train.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(head(x[batch]), y[batch]).backward()
            optimizer.step()
    return head


@torch.no_grad()
def accuracy(head: nn.Linear, x: torch.Tensor, y: torch.Tensor) -> float:
    return (head(x).argmax(1) == y).float().mean().item()


if __name__ == "__main__":
    main()
