"""Plots drawn from a run's files, and those of its images."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from seedbed.files import write_csv
from seedbed.plots import confusion, curves
from seedbed.plots.confusion import ANNOTATED, draw_confusion
from seedbed.plots.curves import MOST_RUNS, draw_comparison, draw_curves
from seedbed.plots.run_plots import draw_run
from seedbed.plots.samples import draw_samples

SIXTY = "a class whose name is long, sixty letters, as in some tables"


def history(epochs: int) -> list[dict[str, float]]:
    return [
        {"epoch": n, "train_loss": 2 / n, "val_loss": 1 / n, "train_accuracy": n / 99, "val_accuracy": n / 100}
        for n in range(1, epochs + 1)
    ]


@pytest.fixture
def axes_of(monkeypatch):
    """The first axes of each plot that a test draws."""
    plots: list[Axes] = []
    for module in (confusion, curves):

        def save(figure, path, real=module.save):
            plots.append(figure.axes[0])
            real(figure, path)

        monkeypatch.setattr(module, "save", save)
    return plots


def test_a_run_is_drawn_from_its_files(tmp_path):
    rows = history(2)
    write_csv(tmp_path / "metrics.csv", list(rows[0]), (row.values() for row in rows))
    write_csv(tmp_path / "confusion.csv", ("label", "a, b", "c"), (("a, b", 3, 1), ("c", 0, 5)))
    draw_run(tmp_path, "a run", 2)
    for name in ("loss", "accuracy", "confusion"):
        with Image.open(tmp_path / f"{name}.png") as plot:
            assert min(plot.size) > 300 and np.ptp(np.asarray(plot.convert("L"))) > 100


def test_a_class_may_be_called_like_a_broken_formula(tmp_path):
    names = ["$a^$b^", "$\\frac{"]
    images = np.zeros((2, 1, 8, 8))
    draw_samples(images, names, {name: [1, 1, 1] for name in names}, "$^", tmp_path / "samples.png")
    draw_confusion(np.eye(2, dtype=int), names, "$^", tmp_path / "confusion.png")
    assert all((tmp_path / f"{name}.png").stat().st_size > 1000 for name in ("samples", "confusion"))


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_epochs_are_whole_numbers_and_the_best_one_is_named(tmp_path, axes_of, epochs):
    draw_curves(history(epochs), "loss", epochs, "a run", tmp_path / "loss.png")
    (axes,) = axes_of
    assert all(tick == int(tick) for tick in axes.get_xticks())
    assert axes.get_legend_handles_labels()[1][-1] == f"best epoch {epochs}: {1 / epochs:.4f}"


def test_curves_of_runs_of_unequal_length_are_drawn(tmp_path):
    draw_comparison({"long": history(7), "short, $x$ _y": history(1)}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_every_run_of_a_comparison_has_a_colour_of_its_own(tmp_path, axes_of):
    draw_comparison({f"run {n}": history(n) for n in range(1, MOST_RUNS + 1)}, tmp_path / "curves.png")
    (axes,) = axes_of
    assert len({line.get_color() for line in axes.get_lines()}) == MOST_RUNS


@pytest.mark.parametrize("k", [2, ANNOTATED, ANNOTATED + 1, 60])
def test_every_class_is_named_whole_in_a_confusion_matrix(tmp_path, axes_of, k):
    counts = np.eye(k, dtype=int) * 1000
    counts[0, 1], names = 7, [SIXTY, *map(str, range(1, k))]
    draw_confusion(counts, names, "a run", tmp_path / "confusion.png")
    (axes,) = axes_of
    for axis in (axes.xaxis, axes.yaxis):
        labels = axis.get_ticklabels()
        assert [label.get_text() for label in labels] == names
        side = 0 if axis is axes.yaxis else 1
        size = [label.get_window_extent().size[side] for label in labels]
        assert max(size) > 3 * sorted(size)[-2], "the long name is not cut"
    text = "\n".join(text.get_text() for text in axes.texts)
    if k <= ANNOTATED:
        assert text.splitlines() == ["1,000", "7", *["1,000"] * (k - 1)]
    else:
        assert text.startswith(f"7 of {1000 * k + 7:,} wrong.") and f"   7   {SIXTY}  →  1" in text


def test_without_a_mistake_none_is_listed(tmp_path, axes_of):
    draw_confusion(np.eye(30, dtype=int), [str(n) for n in range(30)], "a run", tmp_path / "confusion.png")
    assert axes_of[0].texts[0].get_text().startswith("0 of 30 wrong.") and "none" in axes_of[0].texts[0].get_text()


@pytest.mark.parametrize(("n", "k", "channels"), [(1, 2, 1), (5, 3, 3), (80, 141, 3)])
def test_samples_of_few_and_many_classes(tmp_path, n, k, channels):
    names = [SIXTY, *map(str, range(1, k))]
    images = np.random.default_rng(0).random((n, channels, 8, 8))
    counts = {name: [3, 2, 1] for name in names}
    draw_samples(images, [names[i % k] for i in range(n)], counts, "a run", tmp_path / "samples.png")
    with Image.open(tmp_path / "samples.png") as plot:
        pixels = np.asarray(plot.convert("RGB")).astype(int)
    assert min(pixels.shape[:2]) > 500
    edge = np.concatenate([pixels[:, :2].reshape(-1, 3), pixels[:, -2:].reshape(-1, 3)])
    assert (edge == 255).all(), "nothing is cut off at the sides"
