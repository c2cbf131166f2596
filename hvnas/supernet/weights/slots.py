"""A slot: the shared tensors of one branch at one place, and the modules that are slices of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hvnas.nn import build_block
from hvnas.nn.base import DropPath, init_weights
from hvnas.supernet.weights.composite import Finish, Layout, Selection, tensors_of
from hvnas.supernet.weights.variants import Variant, described, inner_of, leaf_of

# a slot's store and key, a module's store and key, and how the second comes of the first
Bound = tuple[dict[str, Tensor | None], str, dict[str, Tensor | None], str, Selection, Finish | None]


class SlotPlan:
    """What a slot will hold, before anything is allocated: the union of its variants' tensors."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        self.variants = tuple(variants)
        self.layouts: dict[str, Layout] = {}
        for variant in variants:
            for name, (layout, _) in described(*variant).items():
                known = self.layouts.get(name)
                self.layouts[name] = layout if known is None else known.union(layout)

    @property
    def elements(self) -> int:
        """Numbers in all tensors."""
        return sum(torch.Size(layout.shape).numel() for layout in self.layouts.values())


class Slot(nn.Module):
    """The tensors of a slot under the names that the block's module has for them."""

    def __init__(self, plan: SlotPlan) -> None:
        super().__init__()
        self.layouts = plan.layouts
        self._draw(plan)

    def _draw(self, plan: SlotPlan) -> None:
        """Initial values: those of the largest variant, or like them where none is as large as the slot."""
        best: dict[str, Tensor] = {}
        for variant in plan.variants:
            module = build_block(*variant)
            init_weights(module)
            for name, tensor in tensors_of(inner_of(module)):
                if name not in best or tensor.numel() > best[name].numel():
                    best[name] = tensor
        for name, tensor in best.items():
            shape = self.layouts[name].shape
            place(self, name, tensor if tuple(tensor.shape) == shape else _alike(tensor, shape))

    def tensor(self, name: str) -> Tensor:
        """A shared tensor."""
        store, leaf = leaf_of(self, name)
        found = store[leaf]
        assert found is not None
        return found


def place(root: nn.Module, name: str, value: Tensor | nn.Module) -> None:
    """Put a tensor or a module under a dotted name, making the modules between."""
    *path, leaf = name.split(".")
    for part in path:
        if part not in root._modules:
            root._modules[part] = nn.Module()
        child = root._modules[part]
        assert child is not None
        root = child
    if isinstance(value, nn.Module):
        root._modules[leaf] = value
    elif isinstance(value, nn.Parameter):
        root.register_parameter(leaf, value)
    else:
        root.register_buffer(leaf, value)


def _alike(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A tensor of `shape` with the mean and the deviation of `tensor`."""
    with torch.no_grad():
        mean = tensor.mean() if tensor.is_floating_point() else tensor.flatten()[0]
        drawn = mean.expand(shape).clone()
        if tensor.is_floating_point() and tensor.numel() > 1 and (deviation := tensor.std()) > 0:
            drawn += deviation * torch.randn(shape)
    return nn.Parameter(drawn, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else drawn


class Sliced:
    """The ordinary module of a concrete block whose tensors are slices of a slot's.

    They are put in before each call and taken out behind it: they are never older than what they are slices
    of, and `module` can stand in several places. `name` is the slot's, in the supernet's state dict.
    """

    def __init__(self, slot: Slot, name: str, module: nn.Module, variant: Variant) -> None:
        self.name, self.module = name, module
        self.drop_path = 0.0
        self._drops = [part for part in module.modules() if isinstance(part, DropPath)]
        inner, tensors = inner_of(module), described(*variant)
        self.names = tuple(tensors)
        self._bound: list[Bound] = []
        for tensor, (layout, finish) in tensors.items():
            assert tensor in slot.layouts, f"{name}.{tensor} is in no variant of the slot"
            selection = Selection(slot.layouts[tensor], layout)
            self._bound.append((*leaf_of(slot, tensor), *leaf_of(inner, tensor), selection, finish))
        # buffers that may be copies of what they are slices of
        self._copies = [
            (inner.get_submodule(tensor.rpartition(".")[0]), bound)
            for tensor, bound in zip(tensors, self._bound, strict=True)
            if not (isinstance(bound[0][bound[1]], nn.Parameter) or bound[5] or bound[4].is_view)
        ]

    def __call__(self, x: Tensor) -> Tensor:
        for drop in self._drops:
            drop.rate = self.drop_path
        with self.plugged():
            y: Tensor = self.module(x)
        return y

    @contextmanager
    def plugged(self) -> Iterator[nn.Module]:
        """The module with the slices in it; buffers that its parts in training write to reach the slot."""
        # without gradients laid out as in a network by itself, so that the same kernels give the same bits
        dense = not torch.is_grad_enabled()
        for source, key, target, leaf, selection, finish in self._bound:
            shared = source[key]
            assert shared is not None
            tensor = selection(shared)
            tensor = tensor if finish is None else finish(tensor)
            target[leaf] = tensor.contiguous() if dense and isinstance(shared, nn.Parameter) else tensor
        try:
            yield self.module
            self._write_back()
        finally:
            for _, _, target, leaf, _, _ in self._bound:
                target[leaf] = None

    def _write_back(self) -> None:
        for part, (source, key, target, leaf, selection, _) in self._copies:
            shared, own = source[key], target[leaf]
            assert shared is not None and own is not None
            if part.training and not _is_view_of(own, shared):
                selection.put(shared, own)

    def tensors(self) -> dict[str, Tensor]:
        """The slices under the names of the module's state dict."""
        with self.plugged():
            return {key: tensor.detach() for key, tensor in tensors_of(self.module)}


def _is_view_of(tensor: Tensor, base: Tensor) -> bool:
    return tensor.untyped_storage().data_ptr() == base.untyped_storage().data_ptr()
