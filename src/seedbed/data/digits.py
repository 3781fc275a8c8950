"""scikit-learn's bundled digits: real images without a download."""

import numpy as np

from seedbed.data.sources import UNSPLIT, Listing


class Digits:
    """1,797 handwritten digits of 8x8 pixels and 17 grey levels (UCI's test set, as scikit-learn bundles it)."""

    name = "digits"

    def fingerprint(self) -> str:
        """The version of scikit-learn."""
        import sklearn

        return f"scikit-learn {sklearn.__version__}"

    def listing(self) -> Listing:
        """All images, without a split."""
        from sklearn.datasets import load_digits

        bundle = load_digits()
        images = np.rint(bundle.images * (255 / 16)).astype(np.uint8)[:, None]
        labels = bundle.target.astype(np.int64)
        parts, names = np.full(len(labels), UNSPLIT, np.int8), [f"{i:04d}" for i in range(len(labels))]
        return Listing(tuple("0123456789"), labels, parts, names, images=images)
