"""scikit-learn's bundled digits: real images without a download."""

from __future__ import annotations

import numpy as np

from seedbed.data.sources import UNSPLIT, Listing
from seedbed.errors import UserError


class Digits:
    """1,797 handwritten digits of 8x8 pixels and 17 grey levels (UCI's test set, as scikit-learn bundles it)."""

    name = "digits"

    def __init__(self, data_root: str, root: str | None = None):
        if root is not None:
            raise UserError("dataset.root: the digits come with scikit-learn, leave it null")

    def fingerprint(self) -> str:
        import sklearn

        return f"scikit-learn {sklearn.__version__}"

    def listing(self) -> Listing:
        from sklearn.datasets import load_digits

        bundle = load_digits()
        images = np.rint(bundle.images * (255 / 16)).astype(np.uint8)[:, None]
        labels = bundle.target.astype(np.int64)
        names = [f"{i:04d}" for i in range(len(labels))]
        parts = np.full(len(labels), UNSPLIT, np.int8)
        return Listing(tuple("0123456789"), labels, parts, names, images=images)
