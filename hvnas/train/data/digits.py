"""Handwritten digits: 1,797 grey images of 8 x 8 pixels that scikit-learn carries with it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hvnas.train.data.registry import Data, Request
from hvnas.train.data.splits import ArraySplit, held_out, stratified, subset, to_three_channels

RESOLUTION = 32
TEST_SHARE = 0.2
SPLIT_SEED = 0  # one split for everyone: results on it can be compared


def digits(request: Request) -> Data:
    """scikit-learn's copy of the test part of UCI's Optical Recognition of Handwritten Digits.

    Upscaled from 8 px (32 by default), three equal channels, and a fifth of each class as test split, the
    same whatever the seed: 1,295 training, 143 validation and 359 test images. Bounds on the sizes leave
    images out by `request.seed`. Raises ValueError where scikit-learn is missing.
    """
    resolution = request.resolution or RESOLUTION
    images, labels = _load(resolution)
    train, test = stratified(labels, share=TEST_SHARE, seed=SPLIT_SEED)
    kept, val, val_from = held_out(labels[train])
    train, val = train[kept], train[val]
    whole = len(train) + len(val) + len(test)
    train = train[subset(labels[train], request.train_size, seed=request.seed)]
    val, test = (part[subset(labels[part], request.test_size, seed=request.seed)] for part in (val, test))
    drawn = len(train) + len(val) + len(test) < whole
    counts = [str(len(part)) for part in (train, val, test)]
    mean, std = float(images.mean() / 255.0), float(images.std() / 255.0)
    return Data(
        name="digits",
        key=f"digits@{resolution}:{'+'.join(counts)}" + (f"#{request.seed}" if drawn else ""),
        train=ArraySplit(images[train], labels[train]),
        val=ArraySplit(images[val], labels[val]),
        test=ArraySplit(images[test], labels[test]),
        val_from=val_from,
        class_names=tuple("0123456789"),
        resolution=resolution,
        mean=(mean, mean, mean),
        std=(std, std, std),
        mirrors=False,
    )


@lru_cache(maxsize=4)
def _load(resolution: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All images ``[1797, 3, R, R]`` and labels; bilinear, with pixel centres as the anchors."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ValueError(
            "digits: scikit-learn is not installed; pip install 'hvnas[train]' brings it"
        ) from None
    from scipy.ndimage import zoom

    raw = load_digits()
    grey_nRR = raw.images / 16.0  # the file's pixels are 0..16
    factor = resolution / grey_nRR.shape[1]
    scaled = zoom(grey_nRR, (1, factor, factor), order=1, mode="nearest", grid_mode=True)
    pixels = np.clip(np.rint(scaled * 255.0), 0, 255).astype(np.uint8)
    return to_three_channels(pixels), raw.target.astype(np.int64)
