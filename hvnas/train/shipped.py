"""Networks as they were shipped, ready to run: a training's folder, an exported folder, an exported file.

Shapes: B batch, R resolution. What a network was trained on comes with it: its classes by name, and what its
images are normalised with. And what one loses and gains in int8: images to calibrate it on, and its files
beside each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hvnas._names import check_whole
from hvnas.arch import Arch
from hvnas.export import Images
from hvnas.export.graph import HASH, NAME, RESOLUTION, images_of
from hvnas.export.running import MOST_NUMBERS, RUNNABLE, Array, OpenedFile, open_file
from hvnas.latency.measure.backends import Sampler, warmed
from hvnas.latency.measure.sampling import clock_for, sample_interleaved
from hvnas.nn import build
from hvnas.nn.weights import holds_network, read_folder
from hvnas.train.data.images import check_pillow, decode
from hvnas.train.data.registry import Data, load_data
from hvnas.train.evaluation import scores_of, to_tensors
from hvnas.train.folder import find_training
from hvnas.train.state import device_of

# Other files that hvnas exports, and where they run.
ELSEWHERE = {".mlpackage": "Core ML runs on Apple's systems", ".pte": "ExecuTorch files run on their device"}
REMEDY = "export it from the folder of a training, which knows them"


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A network ready to run: `module` maps normalised images ``[B, 3, R, R]`` to logits ``[B, classes]``.

    `weights` is the file that they are in. `arch` is None where a file alone does not say it, `images` where
    nothing is said of what the network was trained on.
    """

    name: str
    arch_hash: str | None
    arch: Arch | None
    weights: Path
    resolution: int
    classes: int
    images: Images | None
    module: nn.Module

    def check_data(self, data: Data) -> Data:
        """`data` normalised as this network's images are. Raises ValueError where it has other classes."""
        if self.images is None:
            known = self.classes == data.classes
            what = f"{data.classes} classes, not {self.classes}"
        else:
            known = self.images.class_names == data.class_names
            what = "other classes"
        if not known:
            raise ValueError(
                f"data {data.name}: has {what}; give the data that {self.weights} was trained on, "
                "or data with the same classes"
            )
        if self.images is None:
            return data
        return replace(data, mean=_three(self.images.mean), std=_three(self.images.std))


class _FromFile(nn.Module):
    """An exported file as a module, on the CPU whatever it is told."""

    def __init__(self, file: OpenedFile) -> None:
        super().__init__()
        self._file = file

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits = self._file.run(x_BCHW.cpu().contiguous().numpy())
        return torch.from_numpy(logits).to(x_BCHW.device)


def is_exported(source: str | Path) -> bool:
    """Whether a name is that of an exported file or folder; a training's folder is none."""
    path = Path(source)
    if path.suffix in (*RUNNABLE, *ELSEWHERE):
        return True
    return path.is_dir() and holds_network(path) and find_training(path) is None


def open_shipped(source: str | Path, *, device: str | None = None) -> Shipped:
    """Open the folder of a training, or a file or folder that ``hvnas export`` wrote.

    Raises ValueError, one line: nothing of the kind is there, its training is not through, it is damaged, or
    it does not run here.
    """
    path, where = Path(source), device_of(device)
    if path.suffix in ELSEWHERE:
        raise ValueError(
            f"{path}: {ELSEWHERE[path.suffix]}; give one of {', '.join(RUNNABLE)}, or the training's folder"
        )
    if path.suffix in RUNNABLE:
        return _of_file(path)
    training = find_training(path)
    images: Images | None
    if training is not None:
        made = build(training.arch, weights=training.trained_weights())
        run, arch = training.config, training.arch
        weights = training.trained_weights()
        images = Images(class_names=tuple(run.class_names), mean=_three(run.mean), std=_three(run.std))
    elif holds_network(path):
        folder = read_folder(path)
        made = build(path)
        arch, weights, images = folder.arch, folder.weights, images_of(folder.facts, where=folder.weights)
    else:
        raise ValueError(
            f"{path}: is no trained network; give the folder of a training, or a file or folder "
            "that hvnas export wrote"
        )
    return Shipped(
        name=arch.name,
        arch_hash=arch.hash,
        arch=arch,
        weights=weights,
        resolution=arch.resolution,
        classes=_checked_classes(arch.head.out, images, weights),
        images=images,
        module=made.eval().to(where),
    )


def _of_file(path: Path) -> Shipped:
    file = open_file(path, threads=torch.get_num_threads())
    images = images_of(file.facts, where=path)
    resolution = _resolution_of(file)
    example = np.zeros((1, 3, resolution, resolution), np.float32)
    classes = file.run(example).shape[1:]
    if len(classes) != 1:
        raise ValueError(f"{path}: its first output has shape {list(classes)} per image, which is no logits")
    return Shipped(
        name=file.facts.get(NAME, path.stem),
        arch_hash=file.facts.get(HASH),
        arch=None,
        weights=path,
        resolution=resolution,
        classes=_checked_classes(classes[0], images, path),
        images=images,
        module=_FromFile(file),
    )


def _resolution_of(file: OpenedFile) -> int:
    """The side in pixels of a file's images. Raises ValueError where it is not said, or not one."""
    shape = next(iter(file.inputs.values()), ())
    sides = {side for side in shape[2:] if side is not None}
    said = file.facts.get(RESOLUTION, "")
    if len(shape) != 4 or shape[1] not in (3, None) or len(sides) > 1:
        raise ValueError(f"{file.path}: takes {list(shape)}, not square images [batch, 3, side, side]")
    if not sides and not said.isdecimal():
        raise ValueError(f"{file.path}: does not say the size of its images; export it again")
    most = isqrt(MOST_NUMBERS // 3)
    # longer texts are no sides, and Python reads no number of thousands of digits
    side = sides.pop() if sides else int(said[:9])
    if not 1 <= side <= most:
        raise ValueError(f"{file.path}: takes images of {side} px; must be 1 to {most}; export it again")
    return side


def _checked_classes(count: int, images: Images | None, where: Path) -> int:
    if images is not None and len(images.class_names) != count:
        raise ValueError(f"{where}: names {len(images.class_names)} classes, but scores {count}; {REMEDY}")
    return count


@dataclass(frozen=True)
class Guess:
    """A class with its share of the softmax."""

    name: str
    index: int
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of an image, best first."""

    image: str
    top: tuple[Guess, ...]


@torch.no_grad()
def predict(
    source: str | Path, images: Sequence[str | Path], *, top: int = 5, device: str | None = None
) -> list[Prediction]:
    """Return what a shipped network sees in image files, the `top` likeliest classes of each.

    `source` is as in `open_shipped`. Images are read as in training: shorter side scaled to the network's
    resolution, the centre cut out. Raises ValueError, one line, as `open_shipped`, where an image cannot be
    read, or where the classes and the normalisation are not known.
    """
    check_whole("top", top, least=1)
    check_pillow("predict")
    shipped, where = open_shipped(source, device=device), device_of(device)
    known = shipped.images
    if known is None:
        raise ValueError(
            f"{shipped.weights}: does not say its classes, nor what its images are normalised with; {REMEDY}"
        )
    mean, std = ((torch.tensor(values, device=where).view(-1, 1, 1)) for values in (known.mean, known.std))
    predictions = []
    for image in images:
        pixels = torch.from_numpy(_read(Path(image), shipped.resolution)).to(where)
        logits = shipped.module(((pixels / 255.0 - mean) / std)[None]).float()
        if not logits.isfinite().all():
            raise ValueError(
                f"{shipped.weights}: its scores for {image} are not finite; train it or export it again, for "
                "weights, mean or std are damaged"
            )
        shares, indices = logits.softmax(1)[0].topk(min(top, shipped.classes))
        guesses = zip(indices.tolist(), shares.tolist(), strict=True)
        predictions.append(
            Prediction(str(image), tuple(Guess(known.class_names[i], i, share) for i, share in guesses))
        )
    return predictions


def _read(path: Path, resolution: int) -> np.ndarray:
    """An image ``[3, R, R]``. Raises ValueError, one line, where it cannot be read."""
    if not path.is_file():
        said = "is a folder; name its images" if path.is_dir() else "there is no such file; check the path"
        raise ValueError(f"{path}: {said}")
    try:
        return decode(path, resolution)
    except Exception as error:  # Pillow raises what its decoders raise: struct.error, EOFError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not a readable image ({reason}); give a PNG, a JPEG or the like") from None


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue


CALIBRATION = 128  # images: activations are in the ranges of the first hundred, more change them little
ROUNDS, RUNS = 5, 10


@dataclass(frozen=True)
class FileScores:
    """A file's bytes, its top-1 in points, and the milliseconds of a call on one thread of this host."""

    bytes: int
    top1: float
    ms: float


@dataclass(frozen=True)
class QuantisedScores:
    """A network before and after: scores for `images` test images of `data`, `runtime` ran both.

    `calibration` is the number of training images that the ranges are from.
    """

    data: str
    images: int
    calibration: int
    runtime: str
    float32: FileScores
    int8: FileScores

    @property
    def loss(self) -> float:
        """Points of top-1 that int8 costs; below zero where it gains some."""
        return self.float32.top1 - self.int8.top1


def data_for(
    source: str, arch: Arch, images: Images | None, *, data: str | None, test_size: int | None
) -> Data:
    """The data of a network that is to be quantised, normalised as it was trained: `data`, or its training's.

    Raises ValueError where neither is known, and where the classes differ.
    """
    training = find_training(source) if Path(source).is_dir() else None
    if data is None and training is None:
        raise ValueError(f"int8 needs images to calibrate {arch.name} on; name them: --data folder:DIR")
    own = None if training is None else training.config
    loaded = load_data(
        own.data if own is not None and data is None else str(data),
        resolution=arch.resolution,
        train_size=own.train_size if own is not None and data is None else None,
        test_size=own.test_size if own is not None and data is None and test_size is None else test_size,
    )
    names = None if images is None else images.class_names
    if loaded.classes != arch.head.out or names not in (None, loaded.class_names):
        raise ValueError(
            f"data {loaded.name}: has other classes than {arch.name}; give the data that it was trained on"
        )
    if images is None:
        return loaded
    return replace(loaded, mean=_three(images.mean), std=_three(images.std))


def calibration_images(data: Data, *, count: int = CALIBRATION, seed: int = 0) -> Array:
    """Normalised training images [N, 3, R, R], drawn at random: `count`, or all where there are fewer."""
    chosen = np.random.default_rng(seed).permutation(len(data.train))[:count]
    images, _ = to_tensors(data.train.batch(chosen), data, device=torch.device("cpu"))
    return images.numpy()


def compare(
    float32: Path,
    int8: Path,
    data: Data,
    *,
    calibration: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> QuantisedScores:
    """Scores of two files of one network on the test split of `data`, timed in turns on one thread.

    `progress` is told images done, of how many. Raises ValueError where a file does not run.
    """
    cpu, total = torch.device("cpu"), len(data.test)
    modules = [open_shipped(path).module for path in (float32, int8)]
    first = scores_of(
        modules[0], data.test, data, device=cpu, progress=lambda done: progress(done, 2 * total)
    )
    second = scores_of(
        modules[1], data.test, data, device=cpu, progress=lambda done: progress(total + done, 2 * total)
    )
    opened = [open_file(path) for path in (float32, int8)]
    times = sample_interleaved([_calls(file) for file in opened], rounds=ROUNDS, runs=RUNS)
    before, after = (
        FileScores(file.path.stat().st_size, scores.top1, sampled.ms)
        for file, scores, sampled in zip(opened, (first, second), times, strict=True)
    )
    return QuantisedScores(
        data=data.name,
        images=second.images,
        calibration=calibration,
        runtime=opened[0].runtime,
        float32=before,
        int8=after,
    )


def _calls(file: OpenedFile) -> Sampler:
    """A sampler of one call, batch as in the file."""
    clock, _ = clock_for(1)
    rng = np.random.default_rng(0)
    feeds = {
        name: rng.standard_normal([side or 1 for side in shape], dtype=np.float32)
        for name, shape in file.inputs.items()
    }

    def once() -> float:
        start = clock()
        file.call(feeds)
        return 1e3 * (clock() - start)

    return warmed(once)
