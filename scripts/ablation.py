"""What moves the report's figures to ours, and what pretraining owes to its recipe: one change at a time.

    python scripts/ablation.py                     all of them: a day
    python scripts/ablation.py fruits_convnet      one
    python scripts/ablation.py readings            what else the report may mean, in whole runs
    python scripts/ablation.py page                the Markdown tables of what docs/results/ holds

Within a table, but for `readings`, all runs have as many images and epochs. Finished runs are kept under outputs/kept;
a killed table goes on where it stopped. The data sets are read from SEEDBED_DATA, as by any run.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from table_of_runs import Row, fill, markdown

FOLDER = Path(__file__).parents[1] / "docs" / "results"


def rows(base: str, budget: str, *changes: tuple[str, str], first: str = "the report's settings") -> list[Row]:
    """Each change is made to the base alone: beside it, not on top of the row before."""
    return [Row(first, f"{base} {budget}")] + [
        Row(step, f"{base} {words} {budget}", aside=True) for step, words in changes
    ]


def whole(preset: str, title: str, *changes: tuple[str, str]) -> list[Row]:
    """Whole runs of an original/ preset, as scripts/reproduce.sh makes it and with other readings of the report."""
    base = f"experiment=original/{preset}"
    return [Row(title, f"{base} seed=0")] + [Row(step, f"{base} {words}", aside=True) for step, words in changes]


def with_best(preset: str, budget: str, table: list[Row]) -> list[Row]:
    return [*table, Row("ours", f"experiment=best/{preset} {budget}")]


ONE_CYCLE = "scheduler=one_cycle ~scheduler.patience ~scheduler.factor"
MLP = (
    ("logits, not Softmax, before the loss", "model.softmax_output=false"),
    ("learning rate 1e-5, which (f) asks for", "optimizer.lr=1e-5"),
    ("learning rate 1e-3", "optimizer.lr=1e-3"),
    ("learning rate 1e-3, logits", "optimizer.lr=1e-3 model.softmax_output=false"),
    ("without Normalize(0.5, 0.5), which (g) asks for", "model.mean=0 model.std=1"),
    ("widths 1024, 1024", "model.widths=[1024,1024]"),
    ("augmented: flip and crop, as (b) asks for", "augment=flip_crop"),
)
CONVNET = (
    ("not augmented", "augment=none"),
    ("not augmented, Normalize read literally", "augment=none model.normalize_training=false"),
    ("not augmented, nothing normalised", "augment=none model.mean=0 model.std=1"),
    ("no rotation", "augment=flip_crop"),
    ("blocks of their own", "model.share_blocks=false"),
    ("norm before ReLU", "model.norm_order=norm_relu"),
    ("learning rate 1e-3", "optimizer.lr=1e-3"),
    ("one cycle up to 1e-3", f"{ONE_CYCLE} optimizer.lr=1e-3"),
    ("a 3x3 stem of stride 1", "model.stem_kernel=3 model.stem_stride=1"),
    ("half the width", "model.base_depth=8"),
    ("a layer more in the classifier", "model.head_widths=[1024,256]"),
)
FASTER = "optimizer.lr=1e-2 optimizer.momentum=0.9"
RESNET = (
    ("not augmented", "augment=none"),
    ("no rotation", "augment=flip_crop"),
    ("learning rate 1e-2", "optimizer.lr=1e-2"),
    ("learning rate 1e-2, momentum 0.9", FASTER),
    ("from scratch", "model.pretrained=none"),
    (
        "from scratch, learning rate 1e-2, momentum 0.9",
        f"model.pretrained=none {FASTER}",
    ),
)
PRETRAINING = (
    ("without CutMix", "augment=flip_crop"),
    ("a black square instead of CutMix", "augment=flip_crop_erase"),
    ("no label smoothing", "train.label_smoothing=0"),
    ("half the highest rate", "optimizer.lr=0.05"),
    ("twice the highest rate", "optimizer.lr=0.2"),
    ("the rate falls as a cosine", "scheduler.anneal_strategy=cos"),
)
FRAGMENTS = ("crop read literally: fragments of 28x28", "dataset.stored_size=100 augment.steps.crop.size=28")
HALF = ("half of the training images for validation", "dataset.val_fraction=0.5")
LONG, SHORT = "train.epochs=10", "dataset.subset=3000 train.epochs=6"
TABLES = {
    "fashion_mnist_mlp": with_best(
        "fashion_mnist_mlp", LONG, rows("experiment=original/fashion_mnist_mlp", LONG, *MLP)
    ),
    "fruits_mlp": with_best("fruits_mlp", LONG, rows("experiment=original/fruits_mlp", LONG, *MLP)),
    "fashion_mnist_convnet": with_best(
        "fashion_mnist_convnet_augmented",
        SHORT,
        rows("experiment=original/fashion_mnist_convnet_augmented", SHORT, *CONVNET),
    ),
    "fruits_convnet": with_best(
        "fruits_convnet_augmented",
        SHORT,
        rows("experiment=original/fruits_convnet_augmented", SHORT, FRAGMENTS, *CONVNET),
    ),
    "fashion_mnist_resnet18": with_best(
        "fashion_mnist_resnet18",
        f"{SHORT} dataset.val_fraction=0.1",
        rows("experiment=original/fashion_mnist_resnet18", SHORT, *RESNET),
    ),
    "fruits_resnet18": with_best("fruits_resnet18", SHORT, rows("experiment=original/fruits_resnet18", SHORT, *RESNET)),
    "cifar10_resnet18": rows(
        "experiment=pretrain/cifar10_resnet18",
        "dataset.val_fraction=0.1 train.epochs=16",
        *PRETRAINING,
        first="the backbone's recipe",
    ),
    "readings": [
        *whole(
            "fashion_mnist_features",
            "Fashion-MNIST, features",
            *(
                (f"ORB's margin {pixels} pixels, not 3", f"features.visual_words.hog.descriptor.edge={pixels}")
                for pixels in (4, 5, 6, 7, 8)
            ),
            ("batches of 200, as its Fruits-360 row has them", "train.batch_size=200"),
            ("plateau's factor 0.3, as its Fruits-360 row has it", "scheduler.factor=0.3"),
            ("150 words after the first selection, not 300", "features.selection.sizes=[150,64]"),
            ("750 words", "features.selection.sizes=[750,64]"),
            ("forests of 10 trees, not 100", "features.selection.trees=10"),
            HALF,
        ),
        *whole("fashion_mnist_mlp", "Fashion-MNIST, MLP on pixels", HALF),
        *whole(
            "fashion_mnist_convnet_not_augmented",
            "Fashion-MNIST, convnet, not augmented",
            ("Normalize read literally", "model.normalize_training=false"),
            ("early stopping and the weights by the validation loss", "train.monitor=val_loss"),
            ("the rate never lowered", "scheduler.patience=50"),
            HALF,
        ),
        *whole(
            "fruits_convnet_augmented",
            "Fruits-360, convnet, augmented",
            ("as many parameters as it counts: a layer more in the classifier", "model.head_widths=[1024,256]"),
        ),
        *whole(
            "fashion_mnist_resnet18",
            "Fashion-MNIST, ResNet-18",
            ("learning rate 1e-2, ten epochs", "optimizer.lr=1e-2 train.epochs=10"),
            ("gains of 1 in the backbone, five epochs", "model.rescale_batchnorm=true train.epochs=5"),
        ),
        *whole(
            "fruits_resnet18",
            "Fruits-360, ResNet-18",
            ("learning rate 1e-2, 15 epochs", "optimizer.lr=1e-2 train.epochs=15"),
            ("gains of 1 in the backbone", "model.rescale_batchnorm=true"),
        ),
    ],
}


def main() -> None:
    words = sys.argv[1:] or list(TABLES)
    for word in words:
        if word == "page":
            for name in TABLES:
                if (FOLDER / f"{name}.csv").is_file():
                    with (FOLDER / f"{name}.csv").open() as file:
                        print(f"## {name}\n\n{markdown(list(csv.DictReader(file)))}")
        elif word in TABLES:
            print(markdown(fill(FOLDER / f"{word}.csv", TABLES[word])))
        else:
            raise SystemExit(f"error: {word}: no such table; give page, or of: {', '.join(TABLES)}")


if __name__ == "__main__":
    main()
