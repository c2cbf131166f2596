"""Modules without weights of their own: the ordinary modules of hvnas.nn, given tensors before each call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hvnas.blocks import Block
from hvnas.nn import build_block
from hvnas.nn.base import PassTokens
from hvnas.ops import State
from hvnas.supernet.composite import Described, describe

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# torch.nn.init's and Tensor's own
_DRAWING = frozenset(
    ("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "trunc_normal_", "uniform_", "normal_")
)


class Recent(Generic[K, V]):
    """The `most` values that were asked for last, made where they are unknown."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._known: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of `key`."""
        if key not in self._known:
            self._known[key] = make()
            if len(self._known) > self.most:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


def inner_of(module: nn.Module) -> nn.Module:
    """The block's own module, whose names do not depend on whether tokens pass beside it."""
    return module.block if isinstance(module, PassTokens) else module


_DESCRIBED: Recent[tuple[Block, State], dict[str, Described]] = Recent(100_000)


def described(block: Block, state: State) -> dict[str, Described]:
    """The tensors of a block's module, by name; nothing is allocated."""
    return _described(block, state, lambda: on_meta(block, state))


def build_empty(block: Block, state: State, *, device: torch.device) -> nn.Module:
    """A block's module on meta, but with those buffers that are outside the state dict on `device`.

    Torch's generators are left as they were: a run that goes on knows fewer modules than one that was never
    stopped, and both have to draw the same numbers afterwards.
    """
    module = on_meta(block, state)
    _described(block, state, lambda: module)
    if any(part._non_persistent_buffers_set for part in module.modules()):
        with torch.random.fork_rng(devices=[]), _Undrawn():
            real = build_block(block, state)
        for part, source in zip(module.modules(), real.modules(), strict=True):
            for name in part._non_persistent_buffers_set:
                buffer = source._buffers[name]
                part._buffers[name] = None if buffer is None else buffer.to(device)
    return module


def _described(block: Block, state: State, make: Callable[[], nn.Module]) -> dict[str, Described]:
    return _DESCRIBED.get((block, state), lambda: describe(inner_of(make())))


def on_meta(block: Block, state: State) -> nn.Module:
    with torch.device("meta"), _Undrawn():
        return build_block(block, state)


class _Undrawn(TorchFunctionMode):
    """Initial weights stay undrawn: the drawing costs much of a module's time, and all are replaced."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _DRAWING:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def leaf_of(module: nn.Module, name: str) -> tuple[dict[str, Tensor | None], str]:
    """The dictionary of parameters or of buffers that holds a dotted name, and the name in it."""
    prefix, _, leaf = name.rpartition(".")
    owner = module.get_submodule(prefix)
    store: dict[str, Tensor | None] = owner._parameters if leaf in owner._parameters else owner._buffers  # type: ignore[assignment]
    return store, leaf
