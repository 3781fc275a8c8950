"""The classical pipeline: local descriptors, visual words, selection by a forest; scikit-learn estimators."""
