"""Data sets that need no files: shapes, which a program draws, and digits, which scikit-learn carries.

Shapes are synthetic images whose class needs a local texture and a global arrangement.

Five square patches of a grating lie on a grid of 4 x 4 cells over noise. Four textures (directions of
the grating) occur; one of them twice, the others once. The class is the pair

    (the texture that occurs twice, how its two patches lie to each other),

4 textures x 4 arrangements = 16 classes. The three single patches are the distractors.

* Local evidence alone tells which texture occurs twice, never how the two lie: in every arrangement each
  patch is uniform over the 16 cells, and the two are two cells apart at least along one axis. A classifier
  that pools local features is bounded by 1 in 4.
* Global form alone tells nothing: the gratings have equal mean and contrast, so that at a coarse resolution
  every image is five equal patches.

So a network has to recognise textures and relate equal ones over half the image. Tint, phase, contrast,
background and the place inside a cell vary freely. Everything scales with the resolution.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hvnas.train.data.registry import Data, Request
from hvnas.train.data.splits import ArraySplit, held_out, stratified, subset, to_three_channels

Array = NDArray[np.float32]
Ints = NDArray[np.int64]

RESOLUTION = 32
TEST_SHARE = 0.2  # of the digits
SPLIT_SEED = 0  # one split for everyone: results on it can be compared
TRAIN_SIZE, TEST_SIZE = 8192, 2048
GRID = 4
DISTRACTORS = 3
PATCH = 7 / 32  # side of a patch, of the image; a cell is 8 / 32
PERIOD = 3.5 / 32  # of the grating
NOISE = 0.06  # standard deviation per pixel, of the range 0..1
MIRROR_KEEPS_CLASS = False  # it exchanges the two diagonal gratings
CHUNK = 1024  # images drawn at a time: bounds memory

TEXTURES = ("horizontal", "rising", "vertical", "falling")
# Columns and rows between the two patches. Each pair of cells lies inside one pair of the table below, which
# makes every cell of the grid equally likely for either patch, whatever the arrangement.
ARRANGEMENTS = {"row": (2, 0), "column": (0, 2), "diagonal": (2, 2), "skew": (1, 2)}
PAIRS = {0: ((0, 0), (1, 1), (2, 2), (3, 3)), 1: ((0, 1), (2, 3)), 2: ((0, 2), (1, 3))}


def shapes(request: Request) -> Data:
    """The synthetic set of this module: 8,192 training, 2,048 validation and 2,048 test images at 32 px.

    Of other sizes where asked. The same for the same sizes, resolution and seed; validation and test images
    come from streams of their own.
    """
    resolution = request.resolution or RESOLUTION
    train, test = request.train_size or TRAIN_SIZE, request.test_size or TEST_SIZE
    return Data(
        name="shapes",
        key=f"shapes@{resolution}:{train}+{test}+{test}#{request.seed}",
        train=_split(train, resolution, request.seed, 0),
        val=_split(test, resolution, request.seed, 2),
        test=_split(test, resolution, request.seed, 1),
        class_names=tuple(f"{texture} {where}" for texture in TEXTURES for where in ARRANGEMENTS),
        resolution=resolution,
        mean=(0.5, 0.5, 0.5),
        std=(0.14, 0.14, 0.14),
        mirrors=MIRROR_KEEPS_CLASS,
        synthetic=True,
        license="Apache-2.0, that of the program which draws them",
    )


@lru_cache(maxsize=8)
def _split(count: int, resolution: int, seed: int, stream: int) -> ArraySplit:
    rng = np.random.default_rng([seed, stream])
    labels = rng.permutation(np.arange(count) % (len(TEXTURES) * len(ARRANGEMENTS)))
    parts = [
        _draw(labels[at : at + CHUNK], resolution, np.random.default_rng([seed, stream, 1, at]))
        for at in range(0, count, CHUNK)
    ]
    return ArraySplit(np.concatenate(parts), labels)


def _draw(labels: Ints, resolution: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Images ``[n, 3, R, R]`` of the classes `labels`."""
    texture, arrangement = np.divmod(labels, len(ARRANGEMENTS))
    cells = _place(arrangement, rng)
    kinds = _textures(texture)
    images = _background(len(labels), resolution, rng)
    for patch in range(kinds.shape[1]):
        _paint(images, cells[:, patch], kinds[:, patch], rng)
    images += rng.normal(0.0, NOISE, images.shape).astype(np.float32)
    return np.clip(np.rint(images * 255.0), 0, 255).astype(np.uint8)


def _textures(texture: Ints) -> Ints:
    """Texture of each of the five patches: the class's twice, then the others. Shape [n, 5]."""
    others = (texture[:, None] + np.arange(1, DISTRACTORS + 1)) % len(TEXTURES)
    return np.concatenate([texture[:, None], texture[:, None], others], axis=1)


def _place(arrangement: Ints, rng: np.random.Generator) -> Ints:
    """Cells, numbered row by row, of the five patches, all different. Shape [n, 5]."""
    count = len(arrangement)
    ends = np.zeros((count, 2), dtype=np.int64)
    for index, (across, down) in enumerate(ARRANGEMENTS.values()):
        here = np.flatnonzero(arrangement == index)
        columns = np.array(PAIRS[across])[rng.integers(len(PAIRS[across]), size=len(here))]
        rows = np.array(PAIRS[down])[rng.integers(len(PAIRS[down]), size=len(here))]
        # Which end of the column pair meets which end of the row pair: both diagonals occur.
        swapped = rng.random(len(here)) < 0.5
        columns[swapped] = columns[swapped, ::-1]
        ends[here] = rows * GRID + columns
    rank = rng.random((count, GRID * GRID))
    np.put_along_axis(rank, ends, 2.0, axis=1)  # taken: last in the order
    free = np.argsort(rank, axis=1)[:, :DISTRACTORS]
    return np.concatenate([ends, free], axis=1)


def _background(count: int, resolution: int, rng: np.random.Generator) -> Array:
    """A flat colour and a gentle slope of brightness. Shape [n, 3, R, R]."""
    ramp = np.linspace(-1.0, 1.0, resolution, dtype=np.float32)
    slope = rng.uniform(-0.08, 0.08, (2, count, 1, 1, 1)).astype(np.float32)
    colour = rng.uniform(0.35, 0.65, (count, 3, 1, 1)).astype(np.float32)
    return colour + slope[0] * ramp[:, None] + slope[1] * ramp


def _paint(images: Array, cells: Ints, kinds: Ints, rng: np.random.Generator) -> None:
    """Lay a patch of grating over each image, in place."""
    count, _, resolution, _ = images.shape
    side = max(2, round(PATCH * resolution))
    slack = resolution // GRID - side + 1
    rows, columns = np.divmod(cells, GRID)
    top = rows * (resolution // GRID) + rng.integers(0, slack + 1, count)
    left = columns * (resolution // GRID) + rng.integers(0, slack + 1, count)
    y, x = np.minimum(top, resolution - side), np.minimum(left, resolution - side)
    grating = _gratings(kinds, side, resolution, rng)
    contrast = rng.uniform(0.25, 0.4, (count, 1, 1, 1)).astype(np.float32)
    tint = rng.uniform(0.6, 1.0, (count, 3, 1, 1)).astype(np.float32)
    patch = 0.5 + contrast * tint * grating[:, None]
    at = np.arange(side)
    picture = np.arange(count)[:, None, None]
    # Advanced indices around a slice: numpy puts the channels last.
    images[picture, :, (y[:, None] + at)[:, :, None], (x[:, None] + at)[:, None, :]] = patch.transpose(
        0, 2, 3, 1
    )


def _gratings(kinds: Ints, side: int, resolution: int, rng: np.random.Generator) -> Array:
    """Waves of mean zero in the direction of each texture, any phase. Shape [n, side, side]."""
    angle = (kinds * np.pi / len(TEXTURES) + np.pi / 2).astype(np.float32)[:, None, None]
    wave = np.float32(2.0 * np.pi / (PERIOD * resolution))
    phase = rng.uniform(0.0, 2.0 * np.pi, (len(kinds), 1, 1)).astype(np.float32)
    at = np.arange(side, dtype=np.float32)
    waves = np.sin(wave * (np.cos(angle) * at + np.sin(angle) * at[:, None]) + phase)
    return np.asarray(waves - waves.mean((1, 2), keepdims=True), dtype=np.float32)


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
