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
# Modes of Pillow whose values are 0 to 255 in each channel, or are indices of such colours.
EIGHT_BITS = ("1", "L", "P", "RGB", "RGBA", "LA", "PA", "La", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")
LARGEST, SMALL = 224, 32  # pixels
LOOKED_AT = 200
THREADS = 4  # decoding leaves Python's lock


def check_pillow(name: str) -> None:
    """Raise ValueError where Pillow is missing."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise ValueError(f"{name}: Pillow is not installed; pip install 'hvnas[train]' brings it") from None


def decode(source: Path | bytes, resolution: int) -> Images:
    """An image file as ``[3, R, R]``: shorter side scaled to R (bicubic), centre cut out, RGB.

    Turned as its EXIF tag says. Grey values of 16 bits are scaled to 8; what is transparent is laid on
    white; of several frames the first counts. Raises OSError, ValueError or SyntaxError, as Pillow does,
    where it cannot be read in full, or where its pixels have no range that would be known (32-bit numbers).
    """
    from PIL import Image, ImageOps

    with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as file:
        file.draft("RGB", (resolution, resolution))  # a JPEG decodes at the next larger eighth: faster
        image = ImageOps.fit(
            in_rgb(ImageOps.exif_transpose(file), sixteen_bits=file.format == "PNG"),
            (resolution, resolution),
            method=Image.Resampling.BICUBIC,
        )
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


def in_rgb(image: Any, *, sixteen_bits: bool = False) -> Any:
    """A Pillow image of any mode as RGB, 8 bits a channel; raises ValueError for modes without a range.

    `sixteen_bits` says that 32-bit grey values are of 16 bits, which is how Pillow reads some PNGs.
    """
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and sixteen_bits):
        grey = np.asarray(image).astype(np.int64) * 255 // 65535
        return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode not in EIGHT_BITS:
        raise ValueError(f"its mode {image.mode} has no fixed range; save it with 8 or 16 bits a channel")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        whole = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    return image.convert("RGB")


def chosen_resolution(sources: Sequence[Path | bytes], asked: int | None) -> tuple[int, str]:
    """The side in pixels that images are read at, `asked` or their own, and a remark on it.

    The median of their shorter sides, of at most `LOOKED_AT` of them; at most `LARGEST`, and above `SMALL`
    a multiple of it, which networks divide by.
    """
    from PIL import Image

    sides = []
    for index in np.unique(np.linspace(0, len(sources) - 1, LOOKED_AT).astype(int)).tolist():
        source = sources[index]
        try:
            with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as file:
                sides.append(min(file.size))
        except Exception:  # what cannot be read is told when the images are read
            continue
    if not sides:
        return asked or LARGEST, ""
    side = int(np.median(sides))
    resolution = asked or (max(8, side) if side <= SMALL else min(LARGEST, side // SMALL * SMALL))
    what = "the images' own size" if min(sides) == max(sides) else "the median of their shorter sides"
    if resolution == side:
        return resolution, f"{resolution} px is {what}"
    return resolution, f"{what} is {side} px"


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
