"""Data sources, the store of decoded images, splits, augmentation, and the loader."""
