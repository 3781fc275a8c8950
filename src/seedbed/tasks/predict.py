"""task=predict: name the classes of images that nobody has labelled."""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from pathlib import Path

import numpy as np

from seedbed import build
from seedbed.data.cache import open_store
from seedbed.data.unlabelled import UnlabelledImages
from seedbed.errors import UserError
from seedbed.files import write_atomically
from seedbed.request import Request
from seedbed.runs.text_tables import table
from seedbed.trained import read
from seedbed.training.evaluate import probabilities
from seedbed.types import RunResult, Split

log = logging.getLogger(__name__)
SHOWN = 12  # rows
IDLE = ("dataset", "split")
PICTURES = f"{UnlabelledImages.__module__}.{UnlabelledImages.__qualname__}"
HEADER = ("file", "class", "probability")


def run(request: Request) -> RunResult:
    """Name the class of every image in `images`, a folder, a zip or a file, by the model of `checkpoint`.

    Writes the table `predictions`: file, class, probability, a line an image, and the store of decoded images.

    Raises:
        UserError: the checkpoint is none of ours, there are no images, one is unreadable (unless
            `dataset.on_bad_image=skip`), or the table is there already.
    """
    target = Path(request.config["predictions"])
    if target.exists():
        raise UserError(f"predictions: {target} is there already; remove it, or give another file, predictions=PATH")
    if not target.parent.is_dir():
        raise UserError(f"predictions: {target.parent} is no folder; make it, or give another file, predictions=PATH")
    trained = read(request, idle=IDLE, source={"_target_": PICTURES, "place": request.config["images"]})
    settings = trained.settings
    source = UnlabelledImages(request.config["images"], trained.facts["channels"])
    size = settings.dataset.stored_size or build.image_size(settings)
    store = open_store(source, size, settings.root.cache_root, settings.dataset.on_bad_image)
    rows = np.setdiff1d(np.arange(len(store.names)), list(store.bad))
    if not len(rows):
        raise UserError(f"images: none of those in {request.config['images']} can be read")
    for row, reason in sorted(store.bad.items()):
        log.warning("left out: %s: %s", store.names[row], reason)
    model, on, loader = trained.model_and_loader(Split(store.images, store.labels, rows))
    logits = not settings.model_node.get("softmax_output", False)
    found = probabilities(model, loader, on.autocast, settings.train.tta, logits)
    classes, best = trained.facts["classes"], found.argmax(1)
    lines = [
        (store.names[row], classes[number], f"{share:.4f}")
        for row, number, share in zip(rows, best, found.max(1), strict=True)
    ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEADER, *lines])
    write_atomically(target, text.getvalue())
    more = f"\n… and {len(lines) - SHOWN:,} more" if len(lines) > SHOWN else ""
    log.info("\n%s%s\n", table(HEADER, lines[:SHOWN]), more)
    counts = ", ".join(f"{name} {n:,}" for name, n in Counter(name for _, name, _ in lines).most_common(SHOWN))
    log.info("%s images: %s\npredictions: %s", f"{len(lines):,}", counts, target)
    return RunResult("finished", str(trained.path.parent), {})
