"""A model on a split: its loss, its predictions, and the metrics drawn from them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from seedbed.data.loader import Loader
from seedbed.training.tta import AveragedTTA


@dataclass(frozen=True)
class Metrics:
    """Metrics of a classification, equal to scikit-learn's.

    Precision, recall and F1 are means over the classes that occur among labels or predictions, 0 where undefined.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    per_class: np.ndarray  # float64 [K, 3]: precision, recall and F1 of each class
    confusion: np.ndarray  # int64 [K, K]: rows are labels, columns predictions


def measure(labels: np.ndarray, predictions: np.ndarray, classes: int) -> Metrics:
    """Metrics of int labels and predictions `[N]` in `[0, classes)`."""
    confusion = np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)
    right = np.diag(confusion).astype(float)
    predicted, actual = confusion.sum(0), confusion.sum(1)
    precision = right / np.maximum(predicted, 1)
    recall = right / np.maximum(actual, 1)
    f1 = 2 * right / np.maximum(predicted + actual, 1)
    occurs = predicted + actual > 0
    macro = (float(values[occurs].mean()) for values in (precision, recall, f1))
    return Metrics(float(right.sum() / confusion.sum()), *macro, np.stack([precision, recall, f1], 1), confusion)


@torch.inference_mode()
def predict(
    model: nn.Module, loader: Loader, loss: Callable, autocast: Callable
) -> tuple[float, np.ndarray, np.ndarray]:
    """Run a model over a split without training it.

    Args:
        loss: (logits, targets) -> mean loss of a batch.
        autocast: makes the context that sets the precision.

    Returns:
        mean loss, predictions int64 `[N]`, labels int64 `[N]`, both in the split's order.
    """
    model.eval()
    total = torch.zeros((), dtype=torch.float64, device=loader.device)
    predictions = []
    for x, y in loader.epoch():
        with autocast():
            logits = model(x)
        total += loss(logits.float(), y) * len(y)
        predictions.append(logits.argmax(1))
    return total.item() / loader.samples, torch.cat(predictions).cpu().numpy(), loader.targets.cpu().numpy()


@torch.inference_mode()
def probabilities(model: nn.Module, loader: Loader, autocast: Callable, tta: int = 1) -> np.ndarray:
    """Probability of each class, float32 `[N, K]`, in the split's order; `tta`: views of each image to average."""
    averaged = AveragedTTA(model, tta) if tta > 1 else model
    averaged.eval()
    parts = []
    for x, _ in loader.epoch():
        with autocast():
            outputs = averaged(x)
        outputs = outputs.float()
        parts.append((outputs if getattr(model, "outputs_probabilities", False) else outputs.softmax(1)).cpu())
    return torch.cat(parts).numpy()


@dataclass(frozen=True)
class Evaluation:
    """A model on the test split."""

    summary: dict[str, dict[str, float]]  # `test`, and `test_without_tta` where `test` averages several views
    metrics: Metrics  # those of `test`
    labels: np.ndarray  # int64 [N], in the split's order
    predictions: np.ndarray  # int64 [N], of the images as they are


def test(
    model: nn.Module, loader: Loader, loss: Callable, autocast: Callable, classes: int, tta: int = 1
) -> Evaluation:
    """Test a model on each image as it is and, for `tta` above 1, on that many views of it as well."""
    mean_loss, predictions, labels = predict(model, loader, loss, autocast)
    metrics = measure(labels, predictions, classes)
    summary = {"test": _summary(mean_loss, metrics)}
    if tta > 1:
        mean_loss, averaged, _ = predict(AveragedTTA(model, tta), loader, loss, autocast)
        metrics = measure(labels, averaged, classes)
        summary = {"test": _summary(mean_loss, metrics), "test_without_tta": summary["test"]}
    return Evaluation(summary, metrics, labels, predictions)


def _summary(loss: float, metrics: Metrics) -> dict[str, float]:
    return {"loss": loss, **{name: getattr(metrics, name) for name in ("accuracy", "f1", "recall", "precision")}}
