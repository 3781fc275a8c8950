"""Descriptors at ORB's key points: the paper's."""

from typing import Annotated

import cv2
import numpy as np

from seedbed.annotations import Count, Pixels, Range
from seedbed.features.descriptors import Descriptor, Descriptors, at_least, hog, resized, to_grey

Side = Annotated[int, Range(2, 4096)]


class OrbHog(Descriptor):
    """HoG of a patch round each ORB key point; HoG of the whole image where it has none (the paper, section 1).

    Source of ORB: Rublee et al., "ORB: an efficient alternative to SIFT or SURF", 2011.

    Args:
        threshold: of ORB's FAST detector, in grey levels.
        patch: side of the described patch in pixels.
        size: side to which images are resized before detection; None: as they are.
        key_points: the most that are kept of an image.
        whole: side to which an image without key points is resized.
        edge: margin without key points, and side of ORB's own patch; None: OpenCV's 31 pixels, but at most an eighth of
            the image's side: on a small image 31 pixels leave no room.
    """

    def __init__(
        self, threshold: Annotated[int, Range(0, 255)] = 25, patch: Pixels = 16, size: Side | None = None,
        key_points: Count = 500, whole: Side = 64, edge: Side | None = None,
    ):  # fmt: skip
        self.threshold = threshold
        self.patch = patch
        self.size = size
        self.key_points = key_points
        self.whole = whole
        self.edge = edge

    def describe_chunk(self, images: np.ndarray) -> Descriptors:
        """Describe a few images, the strongest key point of each first."""
        at_least(0, self, "threshold")
        at_least(1, self, "key_points")
        at_least(2, self, "size", "edge", "whole")
        self._check_patch(self.size or min(images.shape[2:]))
        detector, patch_hog, whole_hog = self.detector(self.size or images.shape[-1]), hog(self.patch), hog(self.whole)
        half = self.patch // 2
        values, positions, found = [], [], []
        for image in images:
            grey = resized(to_grey(image), self.size)
            # ORB may give a few more than asked: equally strong ones.
            points = sorted(detector.detect(grey), key=lambda point: -point.response)[: self.key_points]
            found.append(len(points) > 0)
            if points:
                pixels = cv2.KeyPoint_convert(points)
                bordered = cv2.copyMakeBorder(grey, half, half, half, half, cv2.BORDER_REFLECT_101)
                described = patch_hog.compute(bordered, locations=np.rint(pixels).astype(int).tolist())
                positions.append(pixels / grey.shape[0])
            else:
                described = whole_hog.compute(resized(grey, self.whole))
                positions.append(np.full((1, 2), 0.5, np.float32))
            values.append(described.reshape(len(positions[-1]), -1))
        counts = np.array([len(position) for position in positions])
        return Descriptors(np.concatenate(values), np.concatenate(positions), counts, np.array(found, dtype=bool))

    def detector(self, size: int) -> cv2.ORB:
        """ORB for grey images of this size."""
        edge = self.edge or max(2, min(31, size // 8))
        return cv2.ORB_create(
            nfeatures=self.key_points, edgeThreshold=edge, patchSize=edge, fastThreshold=self.threshold,
            nlevels=8 if size >= 64 else 3,
        )  # fmt: skip
