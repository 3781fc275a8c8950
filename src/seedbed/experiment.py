"""The composition root: a checked configuration becomes data, model and loop, and a run folder."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import nn
from tqdm import tqdm

from seedbed import build, config, randomness
from seedbed.config import OF_TASKS, Settings, TrainSettings
from seedbed.data.augment import Chain
from seedbed.data.dataset import warn_of_missing
from seedbed.data.loader import Batch, Loader
from seedbed.errors import UserError
from seedbed.request import PLACES, Request
from seedbed.runs import text_tables as report
from seedbed.runs.environment import environment
from seedbed.runs.run_folder import RunFolder, class_counts, make_folder, slug
from seedbed.tensors import in_short
from seedbed.training import checkpoint, device
from seedbed.training.early_stopping import EarlyStopping
from seedbed.training.evaluate import Evaluation, test
from seedbed.training.interrupt import StopRequest
from seedbed.training.loop import NonFiniteLoss, State, fit
from seedbed.types import ImageData, RunResult

if TYPE_CHECKING:
    from seedbed.features.pipeline import FeaturePipeline

log = logging.getLogger(__name__)
SAMPLES, MANY_SAMPLES = 32, 80
FEW_STEPS, SMALL_BATCH = 10, 16
FEATURES = "features:"  # before the names of a feature pipeline's arrays in best.safetensors


def train(request: Request, resumed: RunFolder | None = None) -> RunResult:
    """Train, test the best epoch, and leave a run folder.

    Args:
        resumed: the record of a run to go on with, whose own configuration `request` carries.

    Raises:
        UserError: before anything is written, or when the loss becomes non-finite or the disk full.
    """
    settings = config.check(request.config)
    own, seed = settings.train, settings.root.seed
    if resumed:
        device.require(settings.device.name)
    else:
        build.rehearse(settings, request.overrides)
    pipeline = build.make_features(settings)
    data = images = build.load_data(settings)
    warn_of_missing(images, request.title)
    augment: Chain = build.instance(settings.augment_node, "augment")
    augment.sizes(images.train.images.shape[-1])
    preprocess = build.make_preprocess(settings, images)
    taught = shown = build.training_preprocess(settings, preprocess)
    learned: dict[str, torch.Tensor] = {}
    if pipeline:
        build.require_vectors(settings)
        from seedbed.features.cache import extract

        data = extract(pipeline, images, settings.features_node, settings.root.cache_root)
        preprocess = taught = None
        learned = {f"{FEATURES}{name}": torch.from_numpy(array) for name, array in pipeline.arrays().items()}
    randomness.seed_torch(seed, 0, randomness.WEIGHTS)
    shape = build.input_shape(data, preprocess)
    model, on = build.make_model(settings, shape, len(data.classes))

    loader = partial(Loader, preprocess=preprocess, device=on.torch, channels_last=on.channels_last)
    train_loader = loader(
        data.train, preprocess=taught, batch_size=own.batch_size, seed=seed, augment=augment,
        classes=len(data.classes), initial=build.initial_images(settings, model, shape[0]),
    )  # fmt: skip
    val_loader = loader(data.val, batch_size=own.eval_batch_size)
    begins = not (resumed and (resumed.folder / "last.pt").exists())
    build.prepare_tuning(settings, model, preprocess, begins)
    optimizer = build.make_optimizer(settings, model)
    schedule, by_batch = build.make_schedule(settings, optimizer, own.epochs * len(train_loader))
    state = State(model, optimizer, schedule, EarlyStopping(own.monitor, own.patience), by_batch)
    if resumed:
        _restore(state, resumed.folder, data)
    loss = nn.CrossEntropyLoss(label_smoothing=own.label_smoothing)
    marks = {"data": data.fingerprint, "pixels": data.pixels}
    facts = {
        # Where things lay says nothing of the model, and would make equal runs differ.
        "config": {k: v for k, v in request.config.items() if k not in (*PLACES, *OF_TASKS[1:], "name")},
        "choices": dict(request.choices),
        "classes": data.classes,
        "channels": images.channels,
        **marks,
        "preprocess": asdict(preprocess) if preprocess else None,
    }

    def keep() -> None:
        """Write the finished epochs: `last.pt` first, since the others can be made again from it."""
        checkpoint.save_last(record.folder / "last.pt", {**state.state_dict(), **marks})
        if state.step == 0:
            record.history(state.history)
            if state.improved:
                checkpoint.save_best(record.folder / "best.safetensors", {**state.best, **learned}, facts)

    with resumed or RunFolder(_new_folder(request, settings)) as record:
        try:
            with StopRequest() as stop:  # from the folder on: a stop while it is described is heeded after a step
                seen = train_loader if preprocess else loader(
                    images.train, preprocess=shown, batch_size=own.batch_size, seed=seed
                )  # fmt: skip
                _describe(record, request, on, images, seen, bool(resumed))
                if pipeline and not (record.folder / "features.json").exists():
                    _describe_features(record, request, images, pipeline)
                if state.history:
                    record.history(state.history)
                    checkpoint.save_best(record.folder / "best.safetensors", {**state.best, **learned}, facts)
                counts = ", ".join(f"{len(s):,} {name}" for name, s in data.splits.items())
                log.info("%s, seed %d: %s images; %s parameters; %s", request.title, seed, counts,
                         f"{count_parameters(model):,}", on)  # fmt: skip
                if len(train_loader) < FEW_STEPS and own.batch_size > SMALL_BATCH:
                    log.info("only %d steps an epoch: few images learn faster with a smaller train.batch_size",
                             len(train_loader))  # fmt: skip
                loop = fit(
                    state, train_loader, val_loader, epochs=own.epochs, seed=seed, classes=len(data.classes),
                    loss=loss, autocast=on.autocast, forward=torch.compile(model) if settings.device.compile else None,
                    grad_clip=own.grad_clip, progress=partial(_progress, own.epochs), stop=stop,
                )  # fmt: skip
                for state in loop:
                    keep()
                    if state.step == 0:
                        _log_epoch(state, own.epochs)
                    if stop():
                        return _interrupted(record, stop.signal, state)
            model.load_state_dict(state.best)
            tested = test(
                model, loader(data.test, batch_size=own.eval_batch_size), loss, on.autocast, len(data.classes),
                own.tta,
            )  # fmt: skip
            if preprocess and hasattr(model, "stages"):
                from seedbed.plots.evidence import choose, draw_evidence

                labels, predictions = tested.labels, tested.predictions
                rows = choose(labels, predictions)
                some = loader(replace(data.test, index=data.test.index[rows]), batch_size=len(rows))
                draw_evidence(
                    model, some, labels[rows], predictions[rows], on.autocast, data.classes,
                    f"{request.title}: test images", record.folder / "evidence.png",
                )  # fmt: skip
            return _finish(record, request, state, data, tested, own, pipeline)
        except NonFiniteLoss as error:
            raise _spoilt(record, state, error) from error
        except KeyboardInterrupt:
            if record.status != "finished":
                _interrupted(record, signal.SIGINT, state)
            raise
        except OSError as error:
            raise UserError(
                f"{error.filename or record.folder}: {error.strerror or error}; what was written before is whole. "
                f"Mend it, then go on with: python -m run resume={record.folder}"
            ) from error
        except Exception as error:
            record.failure(in_short(error), state.epoch)
            if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
                raise UserError(
                    f"{on}: out of memory after epoch {state.epoch}; lower train.batch_size, train.eval_batch_size or "
                    f"the images' size ({in_short(error)})"
                ) from error
            raise


def _restore(state: State, folder: Path, data: ImageData) -> None:
    """Load `last.pt`, or leave the state at its beginning if the run was killed before its first epoch ended."""
    path = folder / "last.pt"
    if not path.exists() and not (folder / "metrics.csv").exists():
        log.info("%s holds no checkpoint yet: it begins anew", folder)
        return
    saved = checkpoint.load_last(path)
    if "data" not in saved:
        raise UserError(f"{path}: not a checkpoint that seedbed wrote")
    if saved["data"] != data.fingerprint or saved.get("pixels", data.pixels) != data.pixels:
        raise UserError(f"resume: the images or their splits are not those that {folder} began with; start a new run")
    try:
        state.load_state_dict(saved)
    except (KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise UserError(
            f"{path}: does not fit the run that {folder / 'config.yaml'} describes ({in_short(error)})"
        ) from error


def _new_folder(request: Request, settings: Settings) -> Path:
    name = settings.root.name
    if request.sweep:
        parent, number = request.sweep
        values = "_".join(f"{key}-{value}" for key, value in request.swept.items())
        return make_folder(parent, slug("_".join([f"{number:03d}", values, *([name] if name else [])])))
    words = [time.strftime("%Y-%m-%d_%H-%M-%S"), request.title.replace(" ", "_"), *([name] if name else [])]
    return make_folder(Path(settings.root.output_root), slug("_".join(words)))


def _describe(
    record: RunFolder, request: Request, on: device.Device, data: ImageData, loader: Loader, resumed: bool
) -> None:
    """What can be said before training: configuration, environment, skipped images, samples."""
    from seedbed.plots import run_plots as plots

    record.write_json("result.json", {"status": "running"})
    record.write_json("overrides.json", {
        "overrides": request.overrides, "choices": dict(request.choices), "swept": request.swept,
    })  # fmt: skip
    record.environment(environment(on.facts()), resumed)
    record.write("config.yaml", OmegaConf.to_yaml(OmegaConf.create(request.config)))
    if data.skipped:
        record.write("skipped.txt", "\n".join(data.skipped) + "\n")
        log.warning("%d unreadable images are left out, see skipped.txt", len(data.skipped))
    if resumed and (record.folder / "samples.png").exists():
        return
    # Beside a long list of classes there is room for more.
    images, labels = loader.first(SAMPLES if len(data.classes) <= 40 else MANY_SAMPLES)
    images = loader.preprocess.undo(images).cpu().numpy()
    names = [data.classes[label] for label in labels.tolist()]
    title = f"{request.title}: training images of the first epoch, {images.shape[-1]} x {images.shape[-1]} pixels"
    plots.draw_samples(images, names, class_counts(data), title, record.folder / "samples.png")


def _describe_features(record: RunFolder, request: Request, images: ImageData, pipeline: FeaturePipeline) -> None:
    """Key points, words and importances as pictures; how many images had no key point."""
    from seedbed.plots import features as feature_plots

    ends = np.cumsum([len(split) for split in images.splits.values()])
    found = dict(zip(images.splits, np.split(pipeline.found_, ends[:-1]), strict=True))
    train = images.train
    # One image a class, as far as they go: 16 are drawn.
    _, first = np.unique(train.targets, return_index=True)
    rows = train.index[np.concatenate([first, np.setdiff1d(np.arange(min(len(train), 64)), first)])[:16]]
    names = [images.classes[label] for label in train.labels[rows]]
    feature_plots.draw(record.folder, pipeline, train.images[rows], names, request.title)
    # Last: a run killed before it draws them when it goes on.
    record.write_json("features.json", feature_plots.facts(pipeline, found))


def _progress(epochs: int, batches: Iterable[Batch], epoch: int, step: int, steps: int) -> Iterable[Batch]:
    """A bar for each epoch on a terminal, nothing in a log."""
    if not sys.stderr.isatty():
        return batches
    return tqdm(batches, desc=f"epoch {epoch + 1}/{epochs}", initial=step, total=steps, leave=False, mininterval=0.2)


def _log_epoch(state: State, epochs: int) -> None:
    row = state.history[-1]
    log.info(
        "epoch %3d/%d  lr %.2g  train loss %.4f acc %.4f  val loss %.4f acc %.4f f1 %.4f  %.1f s%s",
        row["epoch"], epochs, row["lr"], row["train_loss"], row["train_accuracy"], row["val_loss"],
        row["val_accuracy"], row["val_f1"], row["seconds"], "  best" if state.improved else "",
    )  # fmt: skip


def _interrupted(record: RunFolder, number: int, state: State) -> RunResult:
    where = f"after epoch {state.epoch}" if state.step == 0 else f"in epoch {state.epoch + 1}, step {state.step}"
    record.write_json("result.json", {"status": "interrupted", "signal": number, "epochs": state.epoch})
    log.info("stopped %s; go on with: python -m run resume=%s", where, record.folder)
    return RunResult("interrupted", str(record.folder), {}, signal=number)


def _spoilt(record: RunFolder, state: State, error: NonFiniteLoss) -> UserError:
    kept = f"the state after epoch {state.epoch} is kept" if state.epoch else "no epoch was finished"
    message = f"{error}; {kept} in {record.folder}. Try a lower optimizer.lr, or train.grad_clip=1"
    record.write_json("result.json", {"status": "failed", "error": message, "epochs": state.epoch})
    return UserError(message)


def _finish(
    record: RunFolder, request: Request, state: State, data: ImageData, tested: Evaluation, own: TrainSettings,
    pipeline: FeaturePipeline | None,
) -> RunResult:  # fmt: skip
    """Write the result, the tables and the pictures; drop `last.pt`."""
    from seedbed.plots import run_plots as plots

    best = state.history[state.stopping.best_epoch - 1]
    result = {
        "status": "finished",
        "title": request.title,
        **tested.summary,
        "val": {key.removeprefix("val_"): value for key, value in best.items() if key.startswith("val_")},
        "best_epoch": state.stopping.best_epoch,
        "epochs": state.epoch,
        "stopped_early": state.epoch < own.epochs,
        "seconds": sum(row["seconds"] for row in state.history),
        **({"feature_seconds": pipeline.seconds_} if pipeline else {}),
        "parameters": count_parameters(state.model),
        "images": {name: len(split) for name, split in data.splits.items()},
    }
    record.test_tables(data.classes, tested.metrics)
    plots.draw_run(record.folder, result["title"], result["best_epoch"])
    # Last, since it says that the folder is complete.
    record.write_json("result.json", result)
    if not own.keep_last:
        (record.folder / "last.pt").unlink(missing_ok=True)
    log.info("finished\n\n%s\n\nrun folder: %s", report.summary(result), record.folder)
    return RunResult("finished", str(record.folder), result)


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
