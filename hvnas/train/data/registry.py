"""What a data set is, and how one is found by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hvnas._names import check_whole, shown
from hvnas._registry import Late, Registry
from hvnas.train.data.splits import Skipped, Split

# Means and standard deviations of ImageNet's training images, as torchvision's models take them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LARGEST = 4096  # pixels a side
NAMED_CLASSES = 10  # that a line on the data names


@dataclass(frozen=True, kw_only=True)
class Request:
    """A data set as it was asked for; what is None is left to the data set.

    `argument` is what stands behind the colon of ``folder:DIR``. `train_size` and `test_size` bound the
    splits (a procedural set makes as many). `strict` stops at an image that cannot be read.
    """

    argument: str = ""
    resolution: int | None = None
    train_size: int | None = None
    test_size: int | None = None
    seed: int = 0
    strict: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """Three splits of square RGB images and what a training run has to know of them.

    `train` is learnt from, `val` chosen by (the best epoch, when to stop, which network), `test` scored once,
    at the end. `val_from` says where `val` comes from if the data set has none; `remarks` are further
    things to be known before one trains. `mean` and `std` are per channel, of pixels in 0..1. `mirrors` says
    whether a mirrored image keeps its class. `synthetic` marks images that a program drew. `key` tells data
    sets apart in caches and checkpoints: equal keys, equal images. `license` is what the data
    says of its own; empty where it says nothing.
    """

    name: str
    key: str
    train: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]
    resolution: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channels: int = 3
    mirrors: bool = True
    synthetic: bool = False
    val_from: str = ""
    remarks: tuple[str, ...] = ()
    license: str = ""

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Images of all splits that could not be read so far."""
        return tuple(dict.fromkeys((*self.train.skipped, *self.val.skipped, *self.test.skipped)))

    def __str__(self) -> str:
        made = "synthetic, " if self.synthetic else ""
        left = f", {len(self.skipped)} unreadable images left out" if self.skipped else ""
        return (
            f"{self.name} ({made}{len(self.train)} training, {len(self.val)} validation"
            f"{f' ({self.val_from})' if self.val_from else ''} and {len(self.test)} test images of "
            f"{self.classes} classes ({self._named_classes}) at {self.resolution} px"
            f"{''.join(f'; {remark}' for remark in self.remarks)}{left})"
        )

    @property
    def _named_classes(self) -> str:
        shown = ", ".join(self.class_names[:NAMED_CLASSES])
        return shown if self.classes <= NAMED_CLASSES else f"{shown}, …"


Maker = Callable[[Request], Data]


@dataclass(frozen=True)
class _Kind:
    """What makes a data set, and what is written behind the colon of its name, if anything."""

    make: Maker
    argument: str


_KINDS: Registry[_Kind] = Registry("data set")


def register_data(name: str, *, argument: str = "") -> Callable[[Maker], Maker]:
    """Decorator: a function that makes the data set called `name`.

    `argument` names what is written behind the colon, where the data set takes one.
    """

    def register(maker: Maker) -> Maker:
        _KINDS.add(name, _Kind(maker, argument))
        return maker

    return register


def list_data() -> tuple[str, ...]:
    """Return the names that `load_data` takes: ``digits``, ``folder:DIR``, ..."""
    return tuple(_usage(name) for name in _KINDS.names())


def _usage(name: str) -> str:
    argument = _KINDS[name].argument
    return f"{name}:{argument}" if argument else name


# Data sets that people ask for by these names, and where the hub has them.
_ON_THE_HUB = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "fashionmnist": "zalando-datasets/fashion_mnist",
    "food101": "ethz/food101",
    "imagenet": "ILSVRC/imagenet-1k",
    "imagenet1k": "ILSVRC/imagenet-1k",
    "mnist": "ylecun/mnist",
    "tinyimagenet": "zh-plus/tiny-imagenet",
}


def _unknown(name: str) -> str:
    """What to say of a name that is no data set's: it may be a folder, a path, or a name of the hub."""
    said, path = f"unknown data set {shown(name)}", Path(name)
    with suppress(OSError, ValueError):  # a name too long for a path, or with a zero byte
        if path.is_dir():
            return f"{said}; it is a folder: write folder:{name}"
        if path.is_file():
            return f"{said}; it is a file: unpack it, and write folder:DIR with a folder for each class"
    hub = _ON_THE_HUB.get("".join(char for char in name.lower() if char.isalnum()))
    if hub is not None:
        return f"{said}; write hf:{hub} to take it from the Hugging Face hub, or folder:DIR where you have it"
    if name.count("/") == 1 and not name.startswith(("/", ".", "~")):
        return f"{said}; there is no such folder; write hf:{name} if it is of the Hugging Face hub"
    if path.name != name:
        return f"{said}; there is no such folder; check the path, and write folder:DIR"
    return f"{_KINDS.unknown(name, list_data())}; folder:DIR takes images of yours, hf:NAME the hub's"


def load_data(
    name: str,
    *,
    resolution: int | None = None,
    train_size: int | None = None,
    test_size: int | None = None,
    seed: int = 0,
    strict: bool = False,
) -> Data:
    """Return the data set called `name`: ``digits``, ``shapes``, ``folder:DIR`` or ``hf:NAME``.

    `resolution` is in pixels, each data set has its own default; `train_size` and `test_size` are the most
    images of each split, `test_size` of the validation images too; `seed` chooses images, where a choice is
    made; with `strict` an image that cannot be read stops instead of being left out. Raises ValueError, one
    line, for an unknown name, a value out of range, or files that are no data set.
    """
    kind, _, argument = name.partition(":")
    if not _KINDS.has(kind):
        raise ValueError(_unknown(name))
    if bool(argument) != bool(_KINDS[kind].argument):
        raise ValueError(f"data set {name!r}: write it {_usage(kind)}")
    if resolution is not None:
        check_whole("resolution", resolution, least=8, most=LARGEST)
    for field, value in {"train_size": train_size, "test_size": test_size}.items():
        if value is not None:
            check_whole(field, value, least=1)
    request = Request(
        argument=argument,
        resolution=resolution,
        train_size=train_size,
        test_size=test_size,
        seed=seed,
        strict=strict,
    )
    return _KINDS[kind].make(request)


register_data("digits")(Late("hvnas.train.data.builtin:digits"))
register_data("folder", argument="DIR")(Late("hvnas.train.data.folder:folder"))
register_data("hf", argument="NAME")(Late("hvnas.train.data.hub:hub"))
register_data("shapes")(Late("hvnas.train.data.builtin:shapes"))
