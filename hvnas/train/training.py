"""The part of a recipe that trains: optimiser, schedule, loss, augmentation. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import lru_cache
from math import isfinite
from typing import Any, Literal, get_args, get_type_hints

from hvnas._files import refuse_unknown


def _require(holds: bool, what: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{what}, got {value!r}")


def _share(name: str, value: float) -> None:
    _require(0.0 <= value < 1.0, f"{name} must be a number from 0 to below 1", value)


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """AdamW (1711.05101) or SGD with Nesterov momentum; `lr` is per step of the recipe's own batch.

    `weight_decay` holds for weights of two axes or more: norms, biases and layer scales are left alone.
    `beta2` and `eps` are AdamW's, `momentum` is SGD's momentum and AdamW's first beta.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float
    weight_decay: float = 0.05
    momentum: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _require(isfinite(self.lr) and self.lr > 0, "lr must be a number > 0", self.lr)
        decay = self.weight_decay
        _require(isfinite(decay) and decay >= 0, "weight_decay must be a number >= 0", decay)
        _share("momentum", self.momentum)
        _share("beta2", self.beta2)
        _require(0.0 < self.eps < 1.0, "eps must be a number between 0 and 1", self.eps)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Cosine from `lr` to `min_lr` after a linear warm-up, step by step (1608.03983 without restarts)."""

    warmup_epochs: float = 0.0
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        for name in ("warmup_epochs", "min_lr"):
            value = getattr(self, name)
            _require(isfinite(value) and value >= 0, f"{name} must be a number >= 0", value)


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """`count` operations drawn at random, at `magnitude` of 30 (1909.13719)."""

    count: int
    magnitude: int

    def __post_init__(self) -> None:
        _require(1 <= self.count <= 10, "count must be a whole number from 1 to 10", self.count)
        _require(0 < self.magnitude < 30, "magnitude must be a whole number from 1 to 29", self.magnitude)


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What happens to training images, in this order.

    `shift`: cut out at random after padding by this share of the side (He et al. 2016: 4 of 32 pixels);
    `crop`: instead, the least area of a random resized crop (Inception's, 0.08 in most papers), 0 for none;
    `flip`: probability of a mirror image, on data whose classes survive it; `randaugment`; `erasing`:
    probability that a random rectangle is blanked (1708.04896).
    """

    shift: float = 0.0
    crop: float = 0.0
    flip: float = 0.0
    randaugment: RandAugment | None = None
    erasing: float = 0.0

    def __post_init__(self) -> None:
        for name in ("shift", "crop", "erasing"):
            _share(name, getattr(self, name))
        _require(0.0 <= self.flip <= 1.0, "flip must be a number from 0 to 1", self.flip)
        _require(not (self.shift and self.crop), "crop must be 0 beside a shift", self.crop)

    @property
    def empty(self) -> bool:
        """Whether images pass unchanged."""
        return self == Augment()


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is trained, for as many epochs as the recipe says.

    `clip` bounds the norm of the gradient (None: none). `ema` is the decay of an exponential moving
    average of the weights, which is then what is evaluated (None: none). `drop_path` is the rate of the
    last block. `mixed_precision` speaks of CUDA alone: bfloat16 where the device has it, else float16 with a
    scaled loss.
    """

    batch: int
    optimizer: Optimizer
    schedule: Schedule = field(default_factory=Schedule)
    augment: Augment = field(default_factory=Augment)
    label_smoothing: float = 0.0
    clip: float | None = None
    ema: float | None = None
    drop_path: float = 0.0
    mixed_precision: bool = True

    def __post_init__(self) -> None:
        _require(self.batch >= 1, "batch must be a whole number >= 1", self.batch)
        _share("label_smoothing", self.label_smoothing)
        _share("drop_path", self.drop_path)
        if self.ema is not None:
            _share("ema", self.ema)
        if self.clip is not None:
            _require(isfinite(self.clip) and self.clip > 0, "clip must be a number > 0 or null", self.clip)


def training_to_json(training: Training) -> str:
    """One line that is equal for equal settings."""
    return json.dumps(asdict(training), sort_keys=True)


def training_from_dict(data: Any, *, where: str) -> Training:
    """Settings from plain data: unknown fields, wrong kinds and values out of range are refused.

    Raises ValueError, one line: `where`, the field, what is wrong with it.
    """
    from pydantic import ValidationError

    if not isinstance(data, Mapping):
        raise ValueError(f"{where}: training: must be a mapping, got {data!r}")
    _refuse_unknown_below(data, Training, "training.", where)
    try:
        # Through JSON: there pydantic is strict about numbers and still builds dataclasses from mappings.
        training: Training = _adapter().validate_json(json.dumps(data, default=str), strict=True)
        return training
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["training", *map(str, first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        shown = "" if first["type"] in ("value_error", "missing") else f", got {first['input']!r}"
        raise ValueError(f"{where}: {place}: {message}{shown}") from None


def _refuse_unknown_below(data: Mapping[str, Any], section: type, prefix: str, where: str) -> None:
    """`refuse_unknown` for a section and those inside it: pydantic passes over what it does not know."""
    refuse_unknown(data, (entry.name for entry in fields(section)), prefix, where)
    for name, hint in get_type_hints(section).items():
        inner = next((kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)), None)
        if inner is not None and isinstance(data.get(name), Mapping):
            assert isinstance(inner, type)
            _refuse_unknown_below(data[name], inner, f"{prefix}{name}.", where)


@lru_cache(maxsize=1)
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Training)
