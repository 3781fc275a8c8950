"""Make a finished run the backbone that seedbed ships: float16 weights, their hash, a card, its curves.

    python -m run experiment=pretrain/cifar10_resnet18
    python -m run experiment=pretrain/cifar10_resnet18_48px model.pretrained=outputs/RUN_FOLDER/best.safetensors
    python scripts/ship_backbone.py outputs/RUN_FOLDER

Where a run went on from another run's weights, the card and the curves have both. The rounded weights are tested before
anything is written; the card quotes what they gave.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import torch
from omegaconf import OmegaConf
from safetensors.torch import save

from seedbed.files import write_atomically
from seedbed.models.fine_tuning import SHIPPED
from seedbed.request import Request
from seedbed.runs.text_tables import duration
from seedbed.tasks import evaluate
from seedbed.training.checkpoint import FORMAT_VERSION, load_best, save_best

NAME = "cifar10_resnet18"
PIXELS = 32  # side of a CIFAR-10 image
VIEWS = 6
CURVES = Path(__file__).parents[1] / "docs" / "fine_tuning"
CARD = """# {name}

A ResNet-18 for small images (3x3 stride-1 stem, max-pool kept, {parameters:,} parameters), trained on CIFAR-10 by seedbed, to begin
fine-tuning with: `model=resnet18 model.pretrained=cifar10`.

| | |
| --- | --- |
| file | `{name}.safetensors`: float16, torchvision's key names, {megabytes:.1f} MB |
| SHA-256 | `{sha}` (`{name}.sha256`; checked at every load) |
{commands}
| data | CIFAR-10, 50,000 training images ({train:,} trained on, {val:,} for validation) and 10,000 test images, recompressed as JPEG (quality 75, 4:2:0), so no figure is comparable with one on the published pixels |
| input | RGB in [0, 1], 32x32{enlarged}; mean 0.4914, 0.4822, 0.4465; std 0.2471, 0.2435, 0.2616 |
| classes | {classes} |
| this file | test accuracy {rounded:.4f}; {averaged:.4f} with the logits of six views of each image averaged (`train.tta=6`) |
| before rounding to float16 | test accuracy {accuracy:.4f}, macro F1 {f1:.4f}; validation {val_accuracy:.4f}; epoch {best_epoch} of {epochs}; seed {seed} |
| training | {time} |
| date | {date} |
| licence | MIT, as seedbed itself. CIFAR-10 comes without a licence: Alex Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009 |

Its curves: `docs/fine_tuning/pretraining*`. Made by `scripts/ship_backbone.py`.
"""  # noqa: E501


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the run folder")
    folder = parser.parse_args().folder
    runs = [Part(part) for part in parts(folder)]
    result, last = runs[-1].result, runs[-1].environment
    single = result.get("test_without_tta", result["test"])
    weights, facts = load_best(folder / "best.safetensors")
    half = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
    half = {key: value.contiguous() for key, value in half.items()}
    rounded = test(folder, {key: value.float() if value.dtype == torch.half else value for key, value in half.items()})
    packed = save(half, {"seedbed": json.dumps({"format_version": FORMAT_VERSION, "preprocess": facts["preprocess"]})})
    sha = hashlib.sha256(packed).hexdigest()
    size = facts["config"]["model"]["image_size"]
    card = CARD.format(
        name=NAME, megabytes=len(packed) / 1e6, sha=sha, parameters=result["parameters"],
        commands="\n".join(f"| command | `{run.command}` (commit `{run.commits}`) |" for run in runs),
        train=result["images"]["training"], val=result["images"]["validation"], classes=", ".join(facts["classes"]),
        enlarged="" if size == PIXELS else f", enlarged to {size}x{size}",
        rounded=rounded["test_without_tta"]["accuracy"], averaged=rounded["test"]["accuracy"],
        accuracy=single["accuracy"], f1=single["f1"],
        val_accuracy=result["val"]["accuracy"], best_epoch=result["best_epoch"], epochs=result["epochs"],
        seed=facts["config"]["seed"], time=", then ".join(run.time for run in runs), date=last["started"][:10],
    )  # fmt: skip
    SHIPPED.mkdir(exist_ok=True)
    write_atomically(SHIPPED / f"{NAME}.safetensors", packed)
    write_atomically(SHIPPED / f"{NAME}.sha256", f"{sha}  {NAME}.safetensors\n".encode())
    write_atomically(SHIPPED / f"{NAME}.md", card.encode())
    CURVES.mkdir(parents=True, exist_ok=True)
    for number, run in enumerate(runs, start=1):
        name = "pretraining" if len(runs) == 1 else f"pretraining_{number}"
        shutil.copyfile(run.folder / "metrics.csv", CURVES / f"{name}.csv")
        for figure in ("accuracy", "loss"):
            shutil.copyfile(run.folder / f"{figure}.png", CURVES / f"{name}_{figure}.png")
    print(card)


class Part:
    """A finished run, begun from a commit."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.result = json.loads((folder / "result.json").read_text())
        if self.result["status"] != "finished":
            raise SystemExit(f"error: {folder} is {self.result['status']}; finish it: python -m run resume={folder}")
        self.environment = json.loads((folder / "environment.json").read_text())
        sources = [start["git"] for start in (self.environment, *self.environment.get("resumed", []))]
        if any(not source or source["changed"] for source in sources):
            raise SystemExit(f"error: {folder} was not run from a commit, so nobody could run it again")
        self.commits = ", ".join(dict.fromkeys(source["commit"] for source in sources))

    @property
    def command(self) -> str:
        return " ".join(["python -m run", *json.loads((self.folder / "overrides.json").read_text())["overrides"]])

    @property
    def time(self) -> str:
        facts = self.environment
        machine = facts["gpu"] or f"{facts['cores']} cores of an {facts['cpu']}"
        return f"{duration(self.result['seconds'])} on {machine} ({facts['precision']}, {facts['threads']} threads)"


def parts(folder: Path) -> list[Path]:
    """A run folder after those whose weights it began with, first to last."""
    source = OmegaConf.load(folder / "config.yaml").model.pretrained
    before = Path(str(source)).parent
    if source == "none":
        return [folder]
    if not (before / "config.yaml").is_file():
        raise SystemExit(f"error: {folder} began with {source}, which is in no run folder: nobody could run it again")
    return [*parts(before), folder]


def test(folder: Path, weights: dict[str, torch.Tensor]) -> dict[str, dict[str, float]]:
    """The test figures of these weights in place of the run's own, by six views and by one."""
    _, facts = load_best(folder / "best.safetensors")
    config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "best.safetensors"
        save_best(path, weights, facts)
        request = {**config, "checkpoint": str(path), "train": {**config["train"], "tta": VIEWS}}
        return evaluate.run(Request(request, {}, [f"train.tta={VIEWS}"])).figures


if __name__ == "__main__":
    main()
