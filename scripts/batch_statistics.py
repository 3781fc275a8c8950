"""What the report's convnets give if they are tested as they train: a mistake easily made.

    python scripts/batch_statistics.py

Their stages repeat one block, so that a norm sees the activations of two depths and its running statistics are of both.
Evaluation here with those; with the statistics of each batch of 100 test images, in random order; so and with dropout,
which is what a model gives that was not put into evaluation mode; and with the statistics of batches that are not
shuffled, which in Fruits-360 are of one class or two. The weights are those that validation chose by the running
statistics. Prints a Markdown table and writes docs/results/batch_statistics.csv. The runs are found under outputs/kept,
or made; the data sets are read from SEEDBED_DATA, as by any run.
"""

from __future__ import annotations

from pathlib import Path

import torch
from composed import Parts, composed, parts
from kept_runs import complete
from table_of_runs import write_table
from torch import nn

from seedbed import randomness
from seedbed.data.loader import Loader
from seedbed.training.evaluate import Metrics, measure

TABLE = Path(__file__).parents[1] / "docs" / "results" / "batch_statistics.csv"
RUNS = (
    ("Fruits-360, augmented", "experiment=original/fruits_convnet_augmented seed=0"),
    (
        "Fruits-360, augmented, as many parameters as the report counts",
        "experiment=original/fruits_convnet_augmented model.head_widths=[1024,256]",
    ),
    ("Fruits-360, not augmented", "experiment=original/fruits_convnet_not_augmented seed=0"),
    (
        "Fashion-MNIST, not augmented, early stopping and weights by the validation loss",
        "experiment=original/fashion_mnist_convnet_not_augmented train.monitor=val_loss",
    ),
    (
        "Fashion-MNIST, not augmented, Normalize read literally",
        "experiment=original/fashion_mnist_convnet_not_augmented model.normalize_training=false",
    ),
    (
        "Fashion-MNIST, not augmented, half of the training images for validation",
        "experiment=original/fashion_mnist_convnet_not_augmented dataset.val_fraction=0.5",
    ),
)
# name, layers that stay in training mode, whether the test images are shuffled
TESTS = (
    ("running statistics", (), True),
    ("batch statistics", (nn.BatchNorm2d,), True),
    ("batch statistics and dropout", (nn.BatchNorm2d, nn.Dropout), True),
    ("batch statistics, not shuffled", (nn.BatchNorm2d,), False),
)


def main() -> None:
    names = [name for name, _, _ in TESTS]
    print("| | " + " | ".join(names) + " |\n| --- |" + " ---: |" * len(names))
    rows = []
    for title, words in RUNS:
        accuracies = [f"{accuracy:.4f}" for accuracy in tested(words)]
        print(f"| {title} | {' | '.join(accuracies)} |", flush=True)
        rows.append({"run": title, **dict(zip(names, accuracies, strict=True)), "command": f"python -m run {words}"})
    write_table(TABLE, ("run", *names, "command"), rows)


def tested(words: str) -> list[float]:
    """Test accuracies of the finished run of these words, one for each of `TESTS`."""
    weights = complete(words) / "best.safetensors"
    settings = composed([*words.split(), f"model.pretrained={weights.resolve()}"])
    run = parts(settings)
    accuracies = []
    for _, training, shuffled in TESTS:
        randomness.seed_torch(settings.root.seed, 0, randomness.DROPOUT)
        loader = run.loader(run.data.test, settings.train.batch_size, settings.root.seed if shuffled else None)
        accuracies.append(tested_in_part_as_trained(run, loader, training).accuracy)
    return accuracies


@torch.no_grad()
def tested_in_part_as_trained(run: Parts, loader: Loader, training: tuple[type[nn.Module], ...]) -> Metrics:
    """The model on a split, layers of some kinds in training mode. Its weights and statistics stay as they are."""
    model = run.model
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    model.eval()
    for layer in model.modules():
        if isinstance(layer, training):
            layer.train()
    with run.on.autocast():
        pairs = [(model(x).argmax(1), y) for x, y in loader.epoch()]
    model.eval().load_state_dict(kept)
    predictions, labels = (torch.cat(part).cpu().numpy() for part in zip(*pairs, strict=True))
    return measure(labels, predictions, len(run.data.classes))


if __name__ == "__main__":
    main()
