"""What the report's models of Fruits-360 give if its 100-pixel images are made small without antialiasing.

    python scripts/antialiasing.py

Until its version 0.17 torchvision's Resize was antialiased for Pillow's images only, not for tensors, which the report
makes of its images first (https://github.com/pytorch/vision/issues/7093). Whether it saw smooth or jagged images of 28
pixels, or 32 with ResNet-18, in training and in the test, depends on that. Tests the kept runs of its settings, whose
images are smooth, and one that is trained on jagged ones, on both. Prints a Markdown table and writes
docs/results/antialiasing.csv. The runs are found under outputs/kept, or made; the data set is read from SEEDBED_DATA,
the jagged ones are written beside outputs/kept once.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import torch
from composed import tree
from kept_runs import KEPT, complete
from PIL import Image
from table_of_runs import write_table
from torch.nn import functional as F

from seedbed.data.decode import decode
from seedbed.request import Request
from seedbed.tasks import evaluate

TABLE = Path(__file__).parents[1] / "docs" / "results" / "antialiasing.csv"
# of the models' input: a side in pixels
JAGGED = {side: KEPT.parent / f"fruits_of_{side}_pixels_not_antialiased.zip" for side in (28, 32)}
PUBLISHED = 100
COLUMNS = ("run", "smooth", "jagged", "command")
RUNS = (
    ("convnet, augmented", "experiment=original/fruits_convnet_augmented seed=0", 28),
    (
        "convnet, augmented, as many parameters as the report counts",
        "experiment=original/fruits_convnet_augmented model.head_widths=[1024,256]",
        28,
    ),
    ("convnet, not augmented", "experiment=original/fruits_convnet_not_augmented seed=0", 28),
    (
        "convnet, augmented, trained on jagged images",
        f"experiment=original/fruits_convnet_augmented dataset.root={JAGGED[28]}",
        28,
    ),
    ("ResNet-18, gains of 1", "experiment=original/fruits_resnet18 model.rescale_batchnorm=true", 32),
)


def main() -> None:
    source = Path(os.environ.get("SEEDBED_DATA", "data")) / "fruits-360.zip"
    if not source.is_file():
        raise SystemExit(f"{source}: no such file; SEEDBED_DATA names the folder that holds fruits-360.zip")
    for side, made in JAGGED.items():
        if not made.is_file():
            write_jagged(source, made, side)
    print("| | smooth test images | jagged ones |\n| --- | ---: | ---: |")
    rows = []
    for title, words, side in RUNS:
        figures = [f"{tested(words, images):.4f}" for images in (source, JAGGED[side])]
        print(f"| {title} | {' | '.join(figures)} |", flush=True)
        rows.append(dict(zip(COLUMNS, (title, *figures, f"python -m run {words}"), strict=True)))
        write_table(TABLE, COLUMNS, rows)


def tested(words: str, images: Path) -> float:
    """Test accuracy of the finished run of these words on the test images of another root, by task=evaluate."""
    testing = [
        "task=evaluate", f"checkpoint={complete(words) / 'best.safetensors'}", f"dataset.root={images.resolve()}",
    ]  # fmt: skip
    return evaluate.run(Request(tree(testing), {}, testing)).figures["test"]["accuracy"]


def write_jagged(source: Path, made: Path, side: int) -> None:
    """The data set as PNGs of `side` pixels a side, bilinear between the nearest four of the published pixels."""
    made.parent.mkdir(parents=True, exist_ok=True)
    unfinished = made.with_suffix(".tmp")
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(unfinished, "w") as copy:
        for entry in whole.infolist():
            if Path(entry.filename).suffix != ".jpg":
                continue
            image = torch.from_numpy(decode(whole.read(entry), 3, PUBLISHED).copy())[None].float()
            small = F.interpolate(image, (side, side), mode="bilinear").round().byte()[0]
            png = io.BytesIO()
            Image.fromarray(small.permute(1, 2, 0).numpy()).save(png, "png")
            copy.writestr(entry.filename.removesuffix(".jpg") + ".png", png.getvalue())
    unfinished.replace(made)


if __name__ == "__main__":
    main()
