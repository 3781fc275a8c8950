"""Descriptors at ORB's key points: HoG round them (the report's), or the bytes that ORB gives itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from seedbed.features.descriptors import Descriptor, Descriptors, hog, resized, to_grey
from seedbed.features.limits import at_least

Describe = Callable[[np.ndarray, Sequence[cv2.KeyPoint]], tuple[Sequence[cv2.KeyPoint], np.ndarray]]
DescribeWhole = Callable[[np.ndarray], np.ndarray]
OPENCVS_EDGE = 31  # ORB's default margin and patch, in pixels


class Orb(Descriptor):
    """Finds key points; an image without any gets one descriptor of the whole.

    Source: Rublee et al., "ORB: an efficient alternative to SIFT or SURF", 2011.
    """

    def _refuse(self, shape: tuple[int, ...]) -> None:
        at_least(0, self, "threshold")
        at_least(1, self, "key_points")
        at_least(2, self, "size", "edge")

    def describe_chunk(self, images: np.ndarray) -> Descriptors:
        self._refuse(images.shape)
        orb = self.detector(self.size or images.shape[-1])
        near, of_whole = self.describers(orb)
        values, positions, counts, found = [], [], [], []
        for image in images:
            grey = resized(to_grey(image), self.size)
            # Strongest first; ORB may give a few more than asked: equally strong ones.
            points = sorted(orb.detect(grey), key=lambda p: -p.response)[: self.key_points]
            found.append(len(points) > 0)
            if points:
                points, described = near(grey, points)
                values.append(described)
                positions.append(cv2.KeyPoint_convert(points) / grey.shape[0])
            else:
                values.append(of_whole(grey))
                positions.append(np.full((1, 2), 0.5, np.float32))
            counts.append(len(positions[-1]))
        return Descriptors(
            np.concatenate(values), np.concatenate(positions), np.array(counts), np.array(found, dtype=bool)
        )

    def detector(self, size: int) -> cv2.ORB:
        """For grey images of this size."""
        edge = self.edge_on(size)
        return cv2.ORB_create(
            nfeatures=self.key_points, edgeThreshold=edge, patchSize=edge, fastThreshold=self.threshold,
            nlevels=8 if size >= 64 else 3,
        )  # fmt: skip

    def edge_on(self, size: int) -> int:
        """OpenCV's own margin and patch leave no room on a small image: unless given, they shrink with it."""
        return self.edge or max(2, min(OPENCVS_EDGE, size // 8))

    def patch_on(self, size: int) -> int:
        """Side of the described patch on images of this size, in pixels."""
        raise NotImplementedError

    def describers(self, orb: cv2.ORB) -> tuple[Describe, DescribeWhole]:
        """Two functions of a grey image: one takes `P` key points, too, and gives them in the order of its float32
        `[P, D]`, one gives `[1, D]`."""
        raise NotImplementedError


class OrbHog(Orb):
    """HoG of a patch round each ORB key point; HoG of the whole image where there is none (report, section 1).

    Args:
        threshold: of ORB's FAST detector, in grey levels.
        patch: side of the described patch in pixels.
        size: side to which images are resized before detection; None: as they are.
        key_points: the most that are kept of an image.
        whole: side to which an image without key points is resized.
        edge: margin without key points, and side of ORB's own patch; None: OpenCV's 31 pixels, but at most an eighth of
            the image's side.
    """

    def __init__(
        self, threshold: int = 25, patch: int = 16, size: int | None = None, key_points: int = 500, whole: int = 64,
        edge: int | None = None,
    ):  # fmt: skip
        self.threshold = threshold
        self.patch = patch
        self.size = size
        self.key_points = key_points
        self.whole = whole
        self.edge = edge

    def _refuse(self, shape: tuple[int, ...]) -> None:
        super()._refuse(shape)
        at_least(2, self, "whole")
        self._refuse_patch(self.size or min(shape[2:]))

    def patch_on(self, size: int) -> int:
        return self.patch

    def describers(self, orb: cv2.ORB) -> tuple[Describe, DescribeWhole]:
        patch_hog, whole_hog, half = hog(self.patch), hog(self.whole), self.patch // 2

        def near(grey: np.ndarray, points: Sequence[cv2.KeyPoint]) -> tuple[Sequence[cv2.KeyPoint], np.ndarray]:
            bordered = cv2.copyMakeBorder(grey, half, half, half, half, cv2.BORDER_REFLECT_101)
            corners = np.rint(cv2.KeyPoint_convert(points)).astype(int).tolist()
            return points, patch_hog.compute(bordered, locations=corners).reshape(len(points), -1)

        return near, lambda grey: whole_hog.compute(resized(grey, self.whole)).reshape(1, -1)


class OrbBytes(Orb):
    """ORB's own descriptor of each key point: 32 bytes as 32 numbers in [0, 1]; the other reading of the report.

    The bits of the 32 bytes are comparisons of pixels, in no order: one that differs may change a number by 1 or by
    128. ORB is made for Hamming distances. An image without key points is described at its centre, enlarged.

    Args:
        threshold, size, key_points, edge: as in `OrbHog`.
    """

    def __init__(self, threshold: int = 25, size: int | None = None, key_points: int = 500, edge: int | None = None):
        self.threshold = threshold
        self.size = size
        self.key_points = key_points
        self.edge = edge

    def patch_on(self, size: int) -> int:
        return self.edge_on(size)

    def describers(self, orb: cv2.ORB) -> tuple[Describe, DescribeWhole]:
        side = 2 * OPENCVS_EDGE + 2
        centre, on_whole = cv2.KeyPoint(side / 2, side / 2, OPENCVS_EDGE), cv2.ORB_create()

        def near(grey: np.ndarray, points: Sequence[cv2.KeyPoint]) -> tuple[Sequence[cv2.KeyPoint], np.ndarray]:
            points, described = orb.compute(grey, points)  # which sorts them by ORB's levels
            return points, _as_shares(described)

        return (
            near,
            lambda grey: _as_shares(on_whole.compute(resized(grey, side), [centre])[1]),
        )


def _as_shares(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) / 255
