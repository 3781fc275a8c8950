"""Image classifiers. Each takes `input_shape` and `classes` from the data and ends in logits."""
