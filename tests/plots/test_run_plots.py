"""UnlabelledImages drawn from a run's files."""

from __future__ import annotations

import numpy as np

from seedbed.plots import run_plots as plots


def test_a_class_may_be_called_like_a_broken_formula(tmp_path):
    names = ["$a^$b^", "$\\frac{"]
    images = np.zeros((2, 1, 8, 8))
    plots.draw_samples(images, names, {name: [1, 1, 1] for name in names}, "$^", tmp_path / "samples.png")
    plots.draw_confusion(np.eye(2, dtype=int), names, "$^", tmp_path / "confusion.png")
    assert all((tmp_path / f"{name}.png").stat().st_size > 1000 for name in ("samples", "confusion"))
