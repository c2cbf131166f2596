"""What a block is, and the registry of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

from hvnas._registry import Registry
from hvnas.blocks.limits import LIMITS, MOST_VALUES, OTHER, out_of_limits
from hvnas.ops import TOKENS, Lowered, State, Value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """One building block: a frozen dataclass whose fields are its hyperparameters.

    `out` is its width: output channels on a map, or the token dimension where there is no map.
    Subclasses lower themselves. Those that can halve the map have a field `stride`.
    """

    type: ClassVar[str] = ""
    role: ClassVar[str] = "body"

    out: int

    def __post_init__(self) -> None:
        kind: Any = type(self)  # mypy takes a class of dataclasses for one that cannot be hashed
        for name, shown, least, most in _numbers(kind):
            value = getattr(self, name)
            if isinstance(value, tuple):
                _check_each(shown, value, least, most)
            elif not isinstance(value, (str, bool)) and not least <= value <= most:
                raise ValueError(out_of_limits(shown, value, least, most))

    def get(self, field: str, default: Any = None) -> Any:
        """Return the value of a field that some blocks have; `default` where this one has none."""
        return vars(self).get(field, default)

    @property
    def own_stride(self) -> int | None:
        """By how much its `stride` or `strides` shrink the map; None for a block without such a field."""
        strides = self.get("strides")
        stride: int | None = self.get("stride") if strides is None else math.prod(strides)
        return stride

    @property
    def two_branch(self) -> bool:
        """Whether the block reads global tokens beside the map; others let them pass."""
        return False

    def lower(self, state: State) -> Lowered:
        """Return the ops of this block on `state`, and the state it leaves.

        Raises ValueError where the block cannot take `state`.
        """
        raise NotImplementedError

    def with_(self, **fields: Any) -> Block:
        """Return a copy with other fields."""
        return dataclasses.replace(self, **fields)


@lru_cache(maxsize=256)
def _numbers(kind: Any) -> tuple[tuple[str, str, float, float], ...]:
    """The fields that may hold numbers: each with its name in files and its limits."""
    names = {f.name: f.name for f in dataclasses.fields(kind) if str(f.type) not in ("str", "bool")}
    names["out"] = "classes" if kind.role == "head" else "width"
    return tuple((name, shown, *LIMITS.get(shown, OTHER)) for name, shown in names.items())


def _check_each(shown: str, values: tuple[Any, ...], least: float, most: float) -> None:
    if len(values) > MOST_VALUES:
        raise ValueError(f"{shown}: {len(values)} values; the most are {MOST_VALUES}")
    for value in values:
        if isinstance(value, (int, float)) and not least <= value <= most:
            raise ValueError(out_of_limits(shown, value, least, most))


def option(default: Any) -> Any:
    """A field for an ablation: files name it, and hashes see it, only where it is not at its default.

    So networks and spaces that do not use it keep the hashes that they had before the field was there.
    """
    return dataclasses.field(default=default, metadata={"option": True})


def is_shown(field: dataclasses.Field[Any], value: object) -> bool:
    """Whether a file names the field: an `option` at its default is left out."""
    return not (field.metadata.get("option") and value == field.default)


B = TypeVar("B", bound=type[Block])
_BLOCKS: Registry[type[Block]] = Registry("block", group="hvnas.blocks", named=False)


def register_block(name: str, *, role: str = "body") -> Callable[[B], B]:
    """Class decorator: make a block known under `name`.

    `role` says where it may stand: ``stem``, ``downsample``, ``body`` or ``head``.
    """

    def register(cls: B) -> B:
        _BLOCKS.add(name, cls)
        cls.type, cls.role = name, role
        return cls

    return register


def list_blocks(role: str | None = None) -> list[str]:
    """List the names of the registered blocks, all or those of one role."""
    return sorted(name for name in _BLOCKS.names() if role is None or _BLOCKS[name].role == role)


def is_block(name: object, role: str) -> bool:
    """Whether a block of that name and role is registered.

    Other packages are looked through only for a name that is not known here.
    """
    return isinstance(name, str) and _BLOCKS.has(name) and _BLOCKS[name].role == role


def block_class(name: str) -> type[Block]:
    """Return the class registered under `name`. Raises ValueError naming those there are."""
    return _BLOCKS[name]


@lru_cache(maxsize=200_000)
def lower_block(block: Block, state: State) -> Lowered:
    """`block.lower(state)`, remembered: blocks and states are values.

    Global tokens pass by a block that does not read them. Raises ValueError where they cannot.
    """
    if state.map is None or state.tokens is None or block.two_branch:
        return block.lower(state)
    lowered = block.lower(dataclasses.replace(state, tokens=None))
    if lowered.state.map is None:
        raise ValueError(
            "global tokens arrive beside the map, and this block neither reads them nor lets them pass; "
            "leave tokens out of the network or choose another block"
        )
    state = dataclasses.replace(lowered.state, tokens=state.tokens)
    return dataclasses.replace(lowered, state=state, tokens_index=TOKENS)


def has_stride(block: Block | type[Block]) -> bool:
    """Return whether the block can halve the map by itself."""
    return any(field.name == "stride" for field in dataclasses.fields(block))


def divided(width: int, by: int, *, what: str) -> int:
    """`width // by`, or ValueError where that leaves a remainder."""
    if by < 1 or width % by:
        raise ValueError(f"{what} {by} must divide the width {width}")
    return width // by


def require_width(x: Value, out: int) -> None:
    """Raise ValueError where a residual block is asked to change the width."""
    channels = x.shape[0] if len(x.shape) == 3 else x.shape[-1]
    if channels != out:
        raise ValueError(
            f"this block keeps its width: {channels} channels arrive, out is {out}; make them equal"
        )


def require_odd(name: str, value: int) -> None:
    """Raise ValueError where a kernel would not keep the size of the map."""
    if value % 2 == 0:
        raise ValueError(f"{name} must be odd so that the map keeps its size, got {value}")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError where a field holds none of its values."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
