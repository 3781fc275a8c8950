"""The classical pipeline: local descriptors, a vocabulary of words, selection by a forest; scikit-learn estimators."""
