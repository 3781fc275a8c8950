"""The training loop, evaluation, early stopping, checkpoints."""
