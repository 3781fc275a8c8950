"""What a training run writes into its folder, and says on the terminal, from its beginning to its end."""

import logging
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from omegaconf import OmegaConf
from tqdm import tqdm

from seedbed.data.loader import Batch
from seedbed.errors import UserError
from seedbed.experiment import Experiment
from seedbed.files import write_atomically
from seedbed.request import Request
from seedbed.runs.environment import environment
from seedbed.runs.run_folder import RunFolder, class_counts, make_folder, slug
from seedbed.runs.text_tables import summary
from seedbed.tensors import in_short
from seedbed.training import checkpoint
from seedbed.training.evaluate import Evaluation
from seedbed.training.loop import NonFiniteLoss
from seedbed.types import RunResult

log = logging.getLogger(__name__)
SAMPLES, MANY_SAMPLES = 32, 80
FEW_STEPS, SMALL_BATCH = 10, 16


def new_folder(request: Request) -> Path:
    """Make the folder of a new run: in a sweep by number and values, else by time and title."""
    name = request.config.get("name")
    ending = [name] if name else []
    if request.sweep:
        parent, number = request.sweep
        values = "_".join(f"{key}-{value}" for key, value in request.swept.items())
        return make_folder(parent, slug("_".join([f"{number:03d}", values, *ending])))
    words = [time.strftime("%Y-%m-%d_%H-%M-%S"), request.title.replace(" ", "_"), *ending]
    return make_folder(Path(request.config["output_root"]), slug("_".join(words)))


class TrainingRecord:
    """The record of one training: of an experiment, in a run folder; `resumed`: the folder has a run to go on with."""

    def __init__(self, folder: RunFolder, experiment: Experiment, request: Request, resumed: bool):
        self.folder, self.experiment, self.request, self.resumed = folder, experiment, request, resumed

    def describe(self) -> None:
        """What can be said before training: configuration, environment, skipped images, samples, features."""
        folder, request, experiment = self.folder, self.request, self.experiment
        state, epochs, images = experiment.state, experiment.settings.train, experiment.images
        folder.write_json("result.json", {"status": "running"})
        folder.write_json("overrides.json", {
            "overrides": request.overrides, "choices": dict(request.choices), "swept": request.swept,
        })  # fmt: skip
        folder.write_environment(environment(experiment.device.metadata()), self.resumed)
        folder.write("config.yaml", OmegaConf.to_yaml(OmegaConf.create(request.config)))
        if images.skipped:
            folder.write("skipped.txt", "\n".join(images.skipped) + "\n")
            log.warning("%d unreadable images are left out, see skipped.txt", len(images.skipped))
        if not self.resumed or not (folder.path / "samples.png").exists():
            self._draw_samples()
        if experiment.pipeline and not (folder.path / "features.json").exists():
            from seedbed.plots.features import describe_features

            describe_features(folder, experiment.pipeline, images, request.title)
        if state.history:
            self._write_epochs()
        counts = ", ".join(f"{len(split):,} {name}" for name, split in experiment.data.splits.items())
        log.info(
            "%s, seed %d: %s images; %s parameters; %s", request.title, experiment.settings.root.seed, counts,
            f"{experiment.parameters:,}", experiment.device,
        )  # fmt: skip
        steps = len(experiment.train_loader)
        if steps < FEW_STEPS and epochs.batch_size > SMALL_BATCH:
            log.info("only %d steps an epoch: few images learn faster with a smaller train.batch_size", steps)

    def _draw_samples(self) -> None:
        from seedbed.plots.figure import drawable
        from seedbed.plots.samples import draw_samples

        data, loader = self.experiment.images, self.experiment.sample_loader
        # Beside a long list of classes there is room for more.
        images, labels = loader.first(SAMPLES if len(data.classes) <= 40 else MANY_SAMPLES)
        images = loader.preprocess.undo(images).cpu().numpy()
        classes = drawable(data.classes)
        counts = dict(zip(classes, class_counts(data).values(), strict=True))
        names = [classes[label] for label in labels.tolist()]
        size = images.shape[-1]
        title = f"{self.request.title}: training images of the first epoch, {size} x {size} pixels"
        draw_samples(images, names, counts, title, self.folder.path / "samples.png")

    def progress(self, batches: Iterable[Batch], epoch: int, step: int, steps: int) -> Iterable[Batch]:
        """A bar for each epoch on a terminal, nothing in a log."""
        if not sys.stderr.isatty():
            return batches
        name = f"epoch {epoch + 1}/{self.experiment.settings.train.epochs}"
        return tqdm(batches, desc=name, initial=step, total=steps, leave=False, mininterval=0.2)

    def write_epoch(self) -> None:
        """Write the finished epochs: `last.pt` first, since the others can be made again from it."""
        experiment, state = self.experiment, self.experiment.state
        checkpoint.save_last(self.folder.path / "last.pt", {**state.state_dict(), **experiment.fingerprints})
        if state.step:
            return
        self._write_epochs(best=state.improved)
        row = state.history[-1]
        log.info(
            "epoch %3d/%d  lr %.2g  train loss %.4f acc %.4f  val loss %.4f acc %.4f f1 %.4f  %.1f s%s",
            row["epoch"], experiment.settings.train.epochs, row["lr"], row["train_loss"], row["train_accuracy"],
            row["val_loss"], row["val_accuracy"], row["val_f1"], row["seconds"], "  best" if state.improved else "",
        )  # fmt: skip

    def _write_epochs(self, best: bool = True) -> None:
        experiment = self.experiment
        self.folder.write_history(experiment.state.history)
        if best:
            weights = {**experiment.state.best, **experiment.feature_arrays}
            checkpoint.save_best(self.folder.path / "best.safetensors", weights, experiment.metadata)

    def interrupted(self, number: int) -> RunResult:
        """Say that a signal stopped the run, and how to go on."""
        state, path = self.experiment.state, self.folder.path
        where = f"after epoch {state.epoch}" if state.step == 0 else f"in epoch {state.epoch + 1}, step {state.step}"
        self.folder.write_json("result.json", {"status": "interrupted", "signal": number, "epochs": state.epoch})
        log.info("stopped %s; go on with: python -m run resume=%s", where, path)
        return RunResult("interrupted", str(path), {}, signal=number)

    def finish(self, evaluation: Evaluation) -> RunResult:
        """Write the result, the tables and the plots; drop `last.pt`."""
        from seedbed.plots.run_plots import draw_run

        experiment, state, path = self.experiment, self.experiment.state, self.folder.path
        self._draw_evidence(evaluation)
        best = state.history[state.stopping.best_epoch - 1]
        seconds = {"seconds": sum(row["seconds"] for row in state.history)}
        if experiment.pipeline:
            seconds["feature_seconds"] = experiment.pipeline.seconds_
        result = {
            "status": "finished",
            "title": self.request.title,
            **evaluation.summary,
            "val": {key.removeprefix("val_"): value for key, value in best.items() if key.startswith("val_")},
            "best_epoch": state.stopping.best_epoch,
            "epochs": state.epoch,
            "stopped_early": state.epoch < experiment.settings.train.epochs,
            **seconds,
            "parameters": experiment.parameters,
            "images": {name: len(split) for name, split in experiment.data.splits.items()},
        }
        self.folder.write_test_tables(experiment.classes, evaluation.metrics)
        draw_run(path, result["title"], result["best_epoch"])
        # Last, since it says that the folder is complete.
        self.folder.write_json("result.json", result)
        if not experiment.settings.train.keep_last:
            (path / "last.pt").unlink(missing_ok=True)
        log.info("finished\n\n%s\n\nrun folder: %s", summary(result), path)
        return RunResult("finished", str(path), result)

    def _draw_evidence(self, evaluation: Evaluation) -> None:
        from seedbed.plots.evidence import draw_evidence

        experiment = self.experiment
        if experiment.preprocess is None:
            return

        draw_evidence(
            experiment.model, experiment.data.test, experiment.loader, evaluation.labels, evaluation.predictions,
            experiment.device.autocast, experiment.classes, f"{self.request.title}: test images",
            self.folder.path / "evidence.png",
        )  # fmt: skip

    def _kept(self) -> Path:
        """Where the run can go on from: its folder, or, where that has lost its state, a new one that has it."""
        path, state = self.folder.path, self.experiment.state
        if (path / "last.pt").is_file() or not state.epoch:
            return path
        with suppress(OSError, UserError):
            rescue = make_folder(Path(tempfile.gettempdir()), path.name)
            write_atomically(rescue / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(self.request.config)))
            checkpoint.save_last(rescue / "last.pt", {**state.state_dict(), **self.experiment.fingerprints})
            return rescue
        return path

    @contextmanager
    def endings(self) -> Iterator[None]:
        """Write down in the folder what ends the run otherwise than as it should; the user's errors as one message."""
        state, path = self.experiment.state, self.folder.path
        try:
            yield
        except NonFiniteLoss as error:
            kept = f"the state after epoch {state.epoch} is kept" if state.epoch else "no epoch was finished"
            message = f"{error}; {kept} in {path}. Try a lower optimizer.lr, or train.grad_clip=1"
            self.folder.write_json("result.json", {"status": "failed", "error": message, "epochs": state.epoch})
            raise UserError(message) from error
        except KeyboardInterrupt:
            if self.folder.status != "finished":
                self.interrupted(signal.SIGINT)
            raise
        except OSError as error:
            raise UserError(
                f"{error.filename or path}: {error.strerror or error}; what was written before is whole. "
                f"Mend it, then go on with: python -m run resume={self._kept()}"
            ) from error
        except Exception as error:
            self.folder.note_failure(in_short(error), state.epoch)
            if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
                raise UserError(
                    f"{self.experiment.device}: out of memory after epoch {state.epoch}; lower train.batch_size, "
                    f"train.eval_batch_size or the images' size ({in_short(error)})"
                ) from error
            raise
