"""The part of a recipe that trains: optimiser, schedule, loss, augmentation. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from math import isfinite
from typing import Any, Literal, get_args, get_type_hints

from hvnas._files import refuse_unknown
from hvnas._names import WrongField, shown, validated
from hvnas.blocks.limits import LIMITS

# Of whole numbers in a training section, and of others: what float32 holds. Sides of images have their own.
MOST, MOST_REAL = 1_000_000, 1e38
_MOST_PIXELS = LIMITS["resolution"][1]


def _require(holds: bool, what: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{what}, got {shown(value)}")


def _share(name: str, value: float) -> None:
    _require(0.0 <= value < 1.0, f"{name} must be a number from 0 to below 1", value)


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """AdamW (1711.05101) or SGD with Nesterov momentum; `lr` is per step of the recipe's own batch.

    `weight_decay` holds for weights of two axes or more: norms, biases and layer scales are left alone
    unless `decay_norms`. `beta2` and `eps` are AdamW's, `momentum` is SGD's momentum and AdamW's first beta.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float
    weight_decay: float = 0.05
    momentum: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    decay_norms: bool = False

    def __post_init__(self) -> None:
        _require(isfinite(self.lr) and self.lr > 0, "lr must be a number > 0", self.lr)
        decay = self.weight_decay
        _require(isfinite(decay) and decay >= 0, "weight_decay must be a number >= 0", decay)
        _share("momentum", self.momentum)
        _share("beta2", self.beta2)
        _require(0.0 < self.eps < 1.0, "eps must be a number between 0 and 1", self.eps)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Cosine from `lr` to `min_lr` after a linear warm-up, step by step (1608.03983 without restarts).

    The warm-up begins above `warmup_lr`.
    """

    warmup_epochs: float = 0.0
    warmup_lr: float = 0.0
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        for name in ("warmup_epochs", "warmup_lr", "min_lr"):
            value = getattr(self, name)
            _require(isfinite(value) and value >= 0, f"{name} must be a number >= 0", value)


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """`count` operations drawn at random for a batch, at `magnitude` of at most `of` (1909.13719).

    Each changes an image with `probability`. `mstd` is the standard deviation of a normal noise on the
    magnitude, one draw per image and operation; with `inc` every operation changes an image more the larger
    the magnitude is. timm's ``rand-m9-mstd0.5-inc1`` is magnitude 9 of 10 with probability 0.5, mstd 0.5 and
    inc (timm 1.0.31, data/auto_augment.py).
    """

    count: int
    magnitude: int
    of: int = 30
    probability: float = 1.0
    mstd: float = 0.0
    inc: bool = False

    def __post_init__(self) -> None:
        _require(1 <= self.count <= 10, "count must be a whole number from 1 to 10", self.count)
        _require(self.of >= 1, "of must be a whole number >= 1", self.of)
        allowed = f"magnitude must be a whole number from 1 to {self.of}"
        _require(1 <= self.magnitude <= self.of, allowed, self.magnitude)
        _require(0 < self.probability <= 1, "probability must be a number above 0 up to 1", self.probability)
        _require(isfinite(self.mstd) and self.mstd >= 0, "mstd must be a number >= 0", self.mstd)


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What happens to training images, in this order.

    `shift`: cut out at random after padding by this share of the side (He et al. 2016: 4 of 32 pixels);
    `crop`: instead, the least area of a random resized crop (Inception's, 0.08 in most papers), 0 for none;
    `flip`: probability of a mirror image, on data whose classes survive it; `autoaugment`:
    ImageNet's policy (1805.09501); `randaugment`; `erasing`: probability that a random rectangle is blanked
    (1708.04896).
    """

    shift: float = 0.0
    crop: float = 0.0
    flip: float = 0.0
    autoaugment: bool = False
    randaugment: RandAugment | None = None
    erasing: float = 0.0

    def __post_init__(self) -> None:
        for name in ("shift", "crop", "erasing"):
            _share(name, getattr(self, name))
        _require(0.0 <= self.flip <= 1.0, "flip must be a number from 0 to 1", self.flip)
        _require(not (self.shift and self.crop), "crop must be 0 beside a shift", self.crop)
        policies = self.autoaugment and self.randaugment is not None
        _require(not policies, "autoaugment must be false beside randaugment", self.autoaugment)

    @property
    def empty(self) -> bool:
        """Whether images pass unchanged."""
        return self == Augment()


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Batches mixed with themselves in reverse order, classes in proportion.

    `mixup` (1710.09412) and `cutmix` (1905.04899) are the alphas of the share's Beta distribution, 0 for
    none. A batch is mixed with `probability`; where both are there, by cutmix with probability `switch`.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    probability: float = 1.0
    switch: float = 0.5

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            _require(isfinite(value) and value >= 0, f"{name} must be a number >= 0", value)
        for name in ("probability", "switch"):
            value = getattr(self, name)
            _require(0.0 <= value <= 1.0, f"{name} must be a number from 0 to 1", value)

    @property
    def empty(self) -> bool:
        """Whether no batch is mixed."""
        return not (self.mixup or self.cutmix) or self.probability == 0.0


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """What a network learns of a teacher (2012.12877, section 4).

    ``hard``: the teacher's choice as class; ``soft``: its probabilities at `temperature`. The loss counts
    `alpha`, that of the true classes the rest. `teacher` is the paper's, for the record: which one is taken
    is said where one trains.
    """

    kind: Literal["hard", "soft"] = "hard"
    alpha: float = 0.5
    temperature: float = 1.0
    teacher: str = ""

    def __post_init__(self) -> None:
        _require(0.0 < self.alpha <= 1.0, "alpha must be a number above 0 up to 1", self.alpha)
        heat = self.temperature
        _require(isfinite(heat) and heat > 0, "temperature must be a number > 0", heat)


@dataclass(frozen=True, kw_only=True)
class MultiScale:
    """Batches at several resolutions (MobileViT, 2110.02178, section 3.2).

    `sizes` are pixels where the data has `base`; other data scales them, each to the nearest multiple of
    `multiple`. With `grow` the batch grows as the images shrink; it never falls below the recipe's.
    """

    base: int
    sizes: tuple[int, ...]
    multiple: int = 32
    grow: bool = True

    def __post_init__(self) -> None:
        _require(self.base >= 1, "base must be a whole number >= 1", self.base)
        _require(self.multiple >= 1, "multiple must be a whole number >= 1", self.multiple)
        sizes = (self.base, self.multiple, *self.sizes)
        _require(len(self.sizes) > 0 and min(self.sizes) >= 1, "sizes must be whole numbers", self.sizes)
        _require(max(sizes) <= _MOST_PIXELS, f"sizes must be at most {_MOST_PIXELS} pixels", max(sizes))

    def at(self, resolution: int) -> tuple[int, ...]:
        """The sizes for data of `resolution` pixels, in ascending order, none twice."""

        def nearest(size: int) -> int:
            return max(1, round(size * resolution / self.base / self.multiple)) * self.multiple

        return tuple(sorted({nearest(size) for size in self.sizes}))


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How much of a network that begins with trained weights is trained, and how fast.

    The head alone for `freeze` epochs; then, with `unfreeze`, one more stage from the last on every so many
    epochs, the stem with the first stage; without, all at once. What is not trained keeps its weights and
    statistics. `layer_decay` is the learning rate of a block as a share of the next one's; the head has the
    recipe's (1801.06146 for both).
    """

    freeze: int = 0
    unfreeze: int = 0
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        for name in ("freeze", "unfreeze"):
            value = getattr(self, name)
            _require(value >= 0, f"{name} must be a whole number >= 0", value)
        decay = self.layer_decay
        _require(isfinite(decay) and 0 < decay <= 1, "layer_decay must be a number above 0 up to 1", decay)

    def open_stages(self, epoch: int, stages: int) -> int:
        """How many of `stages` stages, from the last on, are trained in epoch `epoch` (from 0)."""
        if epoch < self.freeze:
            return 0
        return min(stages, 1 + (epoch - self.freeze) // self.unfreeze) if self.unfreeze else stages


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is trained, for as many epochs as the recipe says.

    `repeats`: how often an image occurs in an epoch, each time augmented anew, of which as many fewer images
    are seen (repeated augmentation, 1901.09335). `loss` is the cross-entropy of the softmax, or the binary
    one of each class's sigmoid, the mean over classes. `clip` bounds the norm of the gradient (None: none),
    `agc` that of each output's gradient to a share of its weights' norm (2102.06171; not in the head). `ema`
    is the decay of an exponential moving average of the weights, which is then what is evaluated (None:
    none). `drop_path` is the rate of the last block, `head_dropout` that of what the classifiers read.
    `patience`: after so many epochs without a better top-1
    training ends (None: never before the last). `mixed_precision` speaks of CUDA alone: bfloat16 where the
    device has it, else float16 with a scaled loss. `fine_tuning` is for networks that begin with weights.
    """

    batch: int
    optimizer: Optimizer
    schedule: Schedule = field(default_factory=Schedule)
    augment: Augment = field(default_factory=Augment)
    repeats: int = 1
    mix: Mix = field(default_factory=Mix)
    scales: MultiScale | None = None
    loss: Literal["softmax", "sigmoid"] = "softmax"
    label_smoothing: float = 0.0
    distillation: Distillation | None = None
    clip: float | None = None
    agc: float | None = None
    ema: float | None = None
    patience: int | None = None
    drop_path: float = 0.0
    head_dropout: float = 0.0
    mixed_precision: bool = True
    fine_tuning: FineTuning = field(default_factory=FineTuning)

    def __post_init__(self) -> None:
        _require(self.batch >= 1, "batch must be a whole number >= 1", self.batch)
        _share("label_smoothing", self.label_smoothing)
        _share("drop_path", self.drop_path)
        _share("head_dropout", self.head_dropout)
        if self.ema is not None:
            _share("ema", self.ema)
        _require(self.repeats >= 1, "repeats must be a whole number >= 1", self.repeats)
        for name in ("clip", "agc"):
            value = getattr(self, name)
            if value is not None:
                _require(isfinite(value) and value > 0, f"{name} must be a number > 0 or null", value)
        if self.patience is not None:
            _require(self.patience >= 1, "patience must be a whole number >= 1 or null", self.patience)


def training_to_json(training: Training) -> str:
    """One line that is equal for equal settings.

    Fields that came later are left out at their defaults: checkpoints from before go on.
    """
    data = asdict(training)
    _leave_out(data, {"head_dropout": 0.0, "fine_tuning": asdict(FineTuning())})
    if data["augment"]["randaugment"] is not None:
        _leave_out(data["augment"]["randaugment"], {"of": 30, "probability": 1.0, "mstd": 0.0, "inc": False})
    return json.dumps(data, sort_keys=True)


def _leave_out(data: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    for name, value in defaults.items():
        if data[name] == value:
            del data[name]


def training_from_dict(data: Any, *, where: str) -> Training:
    """Settings from plain data: unknown fields, wrong kinds and values out of range are refused.

    Raises ValueError, one line: `where`, the field, what is wrong with it.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{where}: training: must be a mapping, got {shown(data)}")
    _refuse_unknown_below(data, Training, "training.", where)
    try:
        training = validated(Training, data)
    except WrongField as wrong:
        place = ".".join(["training", *wrong.place])
        raise ValueError(f"{where}: {place}: {wrong.said}") from None
    if place := _beyond(asdict(training), "training"):
        raise ValueError(
            f"{where}: {place}: must be at most {MOST:,}, or {MOST_REAL:g} where it is not a count"
        )
    return training


def _beyond(data: Any, place: str) -> str:
    """The place of the first number that is larger than any may be, empty where there is none."""
    if isinstance(data, int | float):
        return place if data > (MOST if isinstance(data, int) else MOST_REAL) else ""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, tuple) else ()
    return next((found for key, value in items if (found := _beyond(value, f"{place}.{key}"))), "")


def _refuse_unknown_below(data: Mapping[str, Any], section: type, prefix: str, where: str) -> None:
    """`refuse_unknown` for a section and those inside it: pydantic passes over what it does not know."""
    refuse_unknown(data, (entry.name for entry in fields(section)), prefix, where)
    for name, hint in get_type_hints(section).items():
        inner = next((kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)), None)
        if inner is not None and isinstance(data.get(name), Mapping):
            assert isinstance(inner, type)
            _refuse_unknown_below(data[name], inner, f"{prefix}{name}.", where)
