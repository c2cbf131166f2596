"""Image files, read when they are needed or once for all."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from hvnas.train.data.splits import ArraySplit, Batch, Images, Indices, Labels, Skipped, Split

KEEP_BYTES = 512 * 2**20  # splits up to this size stay in memory, decoded
THREADS = 4  # decoding leaves Python's lock


def check_pillow(name: str) -> None:
    """Raise ValueError where Pillow is missing."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise ValueError(f"{name}: Pillow is not installed; pip install 'hvnas[train]' brings it") from None


def decode(source: Path | bytes, resolution: int) -> Images:
    """An image file as ``[3, R, R]``: shorter side scaled to R (bicubic), centre cut out, RGB.

    Raises OSError, ValueError or SyntaxError, as Pillow does, where it cannot be read in full.
    """
    from PIL import Image, ImageOps

    with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as file:
        file.draft("RGB", (resolution, resolution))  # a JPEG decodes at the next larger eighth: faster
        image = ImageOps.fit(
            ImageOps.exif_transpose(file).convert("RGB"),
            (resolution, resolution),
            method=Image.Resampling.BICUBIC,
        )
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


class ImageSplit:
    """Images decoded on every read.

    An image that cannot be read is left out of its batch and named in `skipped`, or stops with `strict`.
    `read` gives the file (path or content) of an index, `names` what to call it.
    """

    def __init__(
        self,
        read: Callable[[int], Path | bytes],
        names: Sequence[str],
        labels: Labels,
        *,
        resolution: int,
        strict: bool,
    ) -> None:
        assert len(names) == len(labels)
        self._read = read
        self._names = names
        self._labels = labels
        self._resolution = resolution
        self._strict = strict
        self._skipped: dict[int, Skipped] = {}

    @property
    def labels(self) -> Labels:
        return self._labels

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        return tuple(self._skipped[index] for index in sorted(self._skipped))

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, indices: Indices) -> Batch:
        with ThreadPoolExecutor(THREADS) as threads:
            images = list(threads.map(self._one, indices.tolist()))
        kept = [(image, index) for image, index in zip(images, indices, strict=True) if image is not None]
        shape = (0, 3, self._resolution, self._resolution)
        stack = np.stack([image for image, _ in kept]) if kept else np.empty(shape, dtype=np.uint8)
        return Batch(stack, self._labels[[index for _, index in kept]])

    def _one(self, index: int) -> Images | None:
        if index in self._skipped:
            return None
        try:
            return decode(self._read(index), self._resolution)
        except Exception as error:  # Pillow raises what its decoders raise: struct.error, EOFError, ...
            reason = " ".join(str(error).split()) or type(error).__name__
            if self._strict:
                raise ValueError(
                    f"{self._names[index]}: not a readable image ({reason}); mend or remove it, "
                    "or leave strict out to skip it"
                ) from None
            self._skipped[index] = Skipped(self._names[index], reason)
            return None

    def in_memory(self) -> ArraySplit:
        """Everything decoded once."""
        batch = self.batch(np.arange(len(self)))
        return ArraySplit(batch.images, batch.labels, self.skipped)


def kept_if_small(split: ImageSplit, resolution: int) -> Split:
    """The split in memory where it fits in KEEP_BYTES, as it is otherwise."""
    return split.in_memory() if len(split) * 3 * resolution**2 <= KEEP_BYTES else split


def refuse_empty(split: Split, where: str, first: Sequence[Any]) -> None:
    """Raise ValueError where nothing of a split could be read; `first` is what was skipped."""
    if len(split) == 0:
        shown = f", such as {first[0].name} ({first[0].reason})" if first else ""
        raise ValueError(f"{where}: holds no readable image{shown}; check the path")
