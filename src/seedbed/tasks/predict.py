"""task=predict: name the classes of images that nobody has labelled."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np

from seedbed.data.cache import open_store
from seedbed.data.pixels import sentences
from seedbed.data.unlabelled import UnlabelledImages, expand
from seedbed.errors import UserError
from seedbed.files import require_file, write_csv, write_or_keep
from seedbed.request import Request
from seedbed.runs.text_tables import table
from seedbed.trained import read
from seedbed.training.evaluate import probabilities
from seedbed.types import RunResult, Split

log = logging.getLogger(__name__)
SHOWN = 12  # rows
SOURCE = f"{UnlabelledImages.__module__}.{UnlabelledImages.__qualname__}"
HEADER = ("file", "class", "probability")


def run(request: Request) -> RunResult:
    """Name the class of every image in `images`, what `expand` takes, by the model of `checkpoint`.

    Writes the table `predictions`: file, class, probability, a line an image, and the cache of decoded images. An image
    that is not read has a line without a class.

    Raises:
        UserError: the checkpoint is none of ours, it finds no images, one is unreadable (unless
            `dataset.on_bad_image=skip`), or the table exists already.
    """
    target = Path(request.config["predictions"])
    require_file("predictions", target, (".csv",))
    if target.exists():
        raise UserError(f"predictions: {target} is there already; remove it, or give another file, predictions=PATH")
    paths = expand(request.config["images"])
    trained = read(request, source={"_target_": SOURCE, "path": paths[0]})
    settings = trained.settings
    source = UnlabelledImages(paths[0] if paths == [request.config["images"]] else paths, trained.metadata["channels"])
    size = settings.dataset.stored_size or trained.image_size
    store = open_store(source, size, settings.root.cache_root, settings.dataset.on_bad_image, trained.bits)
    for line in sentences(store.notes, store.names, store.bits):
        log.warning("%s", line)
    rows = np.setdiff1d(np.arange(len(store.names)), list(store.bad))
    if not len(rows):
        raise UserError(f"images: none of those in {', '.join(paths[:3])} can be read")
    for row, reason in sorted(store.bad.items()):
        log.warning("left out: %s: %s", store.names[row], reason)
    samples = trained.samples(Split(store.images, store.labels, rows))
    loader, model = trained.loader(samples), trained.model
    shares = probabilities(model, loader, trained.device.autocast, settings.train.tta)
    lines = [
        (store.names[row], trained.classes[label], f"{share:.4f}")
        for row, label, share in zip(rows, shares.argmax(1), shares.max(1), strict=True)
    ]
    unread = source.unread()
    for kind, files in unread.items():
        log.warning("left out: %s %s", f"{len(files):,}", kind)
    left_out = [
        *(store.names[row] for row in sorted(store.bad)),
        *(file for files in unread.values() for file in files),
    ]
    table_lines = [*lines, *((file, "", "") for file in left_out)]
    write_or_keep("predictions", target, lambda path: write_csv(path, HEADER, table_lines))
    more = f"\n… and {len(lines) - SHOWN:,} more" if len(lines) > SHOWN else ""
    log.info("\n%s%s\n", table(HEADER, lines[:SHOWN]), more)
    counts = ", ".join(f"{name} {n:,}" for name, n in Counter(name for _, name, _ in lines).most_common(SHOWN))
    log.info("%s images: %s\npredictions: %s", f"{len(lines):,}", counts, target)
    return RunResult("finished", str(trained.path.parent), {})
