"""Every random draw has an address: a seed, an epoch, and what it is for."""

import numpy as np
import torch

ORDER, AUGMENT, DROPOUT, WEIGHTS = range(4)


def generator(seed: int, epoch: int, purpose: int) -> np.random.Generator:
    """NumPy's generator for one purpose in one epoch."""
    return np.random.default_rng([seed, epoch, purpose])


def seed_torch(seed: int, epoch: int, purpose: int) -> None:
    """Seed torch's generators, CPU and CUDA, for one purpose in one epoch."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, purpose]).generate_state(1, np.uint64)[0] >> 1))
