"""A Program from any torch module: what torch emits, normalised to the vocabulary.

The module runs once on the meta device under a dispatch mode. Views, casts, scalings by constants
and buffers vanish; ``addmm``, ``mm`` plus bias, and ``bmm`` with an expanded weight are `linear`; a
`relayout` is emitted once for each value that switches between map, tokens and windows, which is
decided from the rank of the tensor at its reader and never from copies.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from hvnas.ops.op import ACTIVATIONS, NORMS, VIEWS, Op, Shape
from hvnas.ops.program import Program


@dataclass(frozen=True)
class _Info:
    """Where a tensor comes from.

    `index` is the op that wrote it, None for constants; `layout` is that op's layout; `seen` is the
    layout by rank at the last view of rank three or more; `origins` are the parameters a constant
    was made of; `channels_last` holds for 4-d views of maps with channels moved to the end; `token` is
    the dimension of a parameter that was expanded to the batch, 0 for everything else.
    """

    index: int | None
    layout: str = "map"
    seen: str = "map"
    origins: frozenset[int] = frozenset()
    channels_last: bool = False
    token: int = 0

    @property
    def op(self) -> int:
        """The index, where the tensor is computed from the image."""
        assert self.index is not None
        return self.index


def trace(model: nn.Module, *, resolution: int = 224, channels: int = 3) -> Program:
    """Lower a torch module by running it once on the meta device.

    `model` is run in eval mode on one image ``[1, channels, resolution, resolution]``; its weights
    are neither read nor moved. Labels are module names. Raises ValueError where the module computes
    nothing from the image.
    """
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(
        model.named_buffers(remove_duplicate=False)
    )
    meta = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    image = torch.empty(1, channels, resolution, resolution, device="meta")
    recorder = _Recorder(image, meta, parameters)
    with _evaluating(model), _labelled(model, recorder), sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with recorder:
                torch.func.functional_call(model, meta, (image,), tie_weights=False, strict=False)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
    if not recorder.ops:
        raise ValueError(
            f"{type(model).__name__} computes nothing from its input image; pass an image network"
        )
    return Program(tuple(recorder.ops), tuple(recorder.labels), resolution)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


@contextmanager
def _labelled(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Keep `recorder.label` at the name of the innermost running submodule."""
    stack: list[str] = []
    handles = []

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            stack.append(name)
            recorder.label = name

        return hook

    def leave(*_: Any) -> None:
        stack.pop()
        recorder.label = stack[-1] if stack else ""

    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(enter(name)))
        handles.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Recorder(TorchDispatchMode):
    def __init__(self, image: Tensor, meta: dict[str, Tensor], parameters: set[str]) -> None:
        super().__init__()
        self.ops: list[Op] = []
        self.labels: list[str] = []
        self.label = ""
        self._info: dict[int, tuple[Tensor, _Info]] = {}
        self._sizes: dict[int, int] = {}
        self._relayouts: dict[tuple[int, str], int] = {}
        self._embeds: dict[frozenset[int], int] = {}
        self._remember(image, _Info(-1))
        for name, tensor in meta.items():
            origins = frozenset((id(tensor),)) if name in parameters else frozenset()
            self._sizes[id(tensor)] = tensor.numel()
            self._remember(tensor, _Info(None, origins=origins))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        inputs = [a for a in _flatten(args) if isinstance(a, Tensor)]
        outputs = [r for r in _flatten((result,)) if isinstance(r, Tensor)]
        if outputs:
            self._record(name, args, inputs, outputs)
        return result

    def _record(self, name: str, args: tuple[Any, ...], inputs: list[Tensor], outputs: list[Tensor]) -> None:
        data = [t for t in inputs if self._of(t).index is not None]
        if not data and name not in VIEWS:
            data = self._entering(inputs)
        if not data:
            info = self._constant(name, inputs, outputs[0])
            for out in outputs:
                self._remember(out, info)
            return
        in_place = name.endswith("_") and not name.endswith("__") and name not in VIEWS
        handler = self._handler(name.rstrip("_") if in_place else name)
        info = handler(args, inputs, data, outputs[0])
        for out in outputs:
            self._remember(out, info)

    def _constant(self, name: str, inputs: list[Tensor], out: Tensor) -> _Info:
        known = [self._of(t) for t in inputs]
        origins = frozenset().union(*(info.origins for info in known))
        token = max((info.token for info in known), default=0) if name in VIEWS else 0
        if name == "expand" and len(origins) == 1 and self._weights(inputs[0]) == inputs[0].numel():
            token = out.shape[-1]
        layout = _layout(out) if token and out.dim() >= 3 else "map"
        return _Info(None, layout, layout, origins, token=token)

    def _entering(self, inputs: list[Tensor]) -> list[Tensor]:
        """Tokens that a parameter meets before the image does (global tokens): data from here on."""
        tokens = [t for t in inputs if self._of(t).token]
        for origins, token in {(self._of(t).origins, self._of(t).token) for t in tokens}:
            weights = sum(self._sizes[origin] for origin in origins)
            shape = (weights // token, token)
            self._embeds[origins] = self._emit(Op("embed", shape, shape, (), weights=weights))
        return tokens

    def _handler(self, name: str) -> Callable[..., _Info]:
        if name in VIEWS:
            return lambda args, inputs, data, out: self._view(name, args, data, out)
        if name in ACTIVATIONS:
            return lambda args, inputs, data, out: self._same("act", data[0], out, variant=ACTIVATIONS[name])
        if name in NORMS:
            return lambda args, inputs, data, out: self._norm(NORMS[name], args, inputs, out)
        if name in ("max_pool2d_with_indices", "avg_pool2d", "max_pool2d", "avg_pool2d_backward"):
            return lambda args, inputs, data, out: self._pool(name[:3], args, data[0], out)
        specific = {
            "convolution": self._conv,
            "addmm": lambda args, inputs, data, out: self._product(args[1], args[2], out, bias=args[0]),
            "mm": lambda args, inputs, data, out: self._product(args[0], args[1], out),
            "bmm": lambda args, inputs, data, out: self._product(args[0], args[1], out),
            "baddbmm": lambda args, inputs, data, out: self._add(
                (args[0], self._wrap(self._product(args[1], args[2], out), out)), [], [], out
            ),
            "mv": lambda args, inputs, data, out: self._product(args[0], args[1].unsqueeze(-1), out),
            "_softmax": lambda args, inputs, data, out: self._softmax(data[0], out),
            "_safe_softmax": lambda args, inputs, data, out: self._softmax(data[0], out),
            "add": self._add,
            "sub": self._add,
            "rsub": self._add,
            "mul": self._mul,
            "div": self._mul,
            "mean": self._mean,
            "_adaptive_avg_pool2d": self._mean,
            "adaptive_avg_pool2d": self._mean,
            "maximum": self._maximum,
            "cat": self._cat,
        }
        if name in specific:
            return specific[name]
        if name.startswith(("upsample", "_upsample", "grid_sampler")):
            return lambda args, inputs, data, out: self._resize(data[0], out)
        return lambda args, inputs, data, out: self._other(name, data[0], out)

    # what is known of a tensor

    def _remember(self, tensor: Tensor, info: _Info) -> None:
        self._info[id(tensor)] = (tensor, info)

    def _of(self, tensor: Tensor) -> _Info:
        known = self._info.get(id(tensor))
        info = known[1] if known else _Info(None)
        if info.token and info.index is None and info.origins in self._embeds:
            return replace(info, index=self._embeds[info.origins])
        return info

    def _wrap(self, info: _Info, like: Tensor) -> Tensor:
        holder = torch.empty_like(like)
        self._remember(holder, info)
        return holder

    def _weights(self, tensor: Tensor) -> int:
        return sum(self._sizes[origin] for origin in self._of(tensor).origins)

    # emitting

    def _emit(self, op: Op) -> int:
        self.ops.append(op)
        self.labels.append(self.label)
        return len(self.ops) - 1

    def _read(self, tensor: Tensor, layout: str) -> int:
        """Index of `tensor`'s op, after a relayout where that op's layout is another."""
        info = self._of(tensor)
        assert info.index is not None
        if info.layout == layout or layout == "vector" or info.layout == "vector" or info.index < 0:
            return info.index
        key = (info.index, layout)
        if key not in self._relayouts:
            source = self.ops[info.index].shape_out
            target = _shape(tensor, layout, info.channels_last)
            op = Op("relayout", source, target, (info.op,), variant=f"{info.layout}>{layout}")
            self._relayouts[key] = self._emit(op)
        return self._relayouts[key]

    def _view(self, name: str, args: tuple[Any, ...], data: list[Tensor], out: Tensor) -> _Info:
        source = data[0] if name not in ("copy_", "where") else data[-1]
        info = self._of(source)
        seen = _layout(out) if out.dim() >= 3 else info.seen
        last = info.channels_last
        if name == "permute" and source.dim() == 4:
            last = {(0, 2, 3, 1): True, (0, 3, 1, 2): False}.get(tuple(args[1]), last)
        elif out.dim() != 4:
            last = False
        elif source.dim() == 3 and name in ("view", "_unsafe_view", "reshape"):
            split = out.shape[2:] == source.shape[1:]  # heads from the batch of a matrix product
            last = out.shape[-1] == source.shape[-1] and out.shape[1] != source.shape[1] and not split
        return replace(info, seen=seen, channels_last=last)

    def _same(self, kind: str, x: Tensor, out: Tensor, **attributes: Any) -> _Info:
        info = self._of(x)
        index = self._emit(
            Op(
                kind,
                _shape(x, info.layout, info.channels_last),
                _shape(out, info.layout, info.channels_last),
                (info.op,),
                **attributes,
            )
        )
        return replace(info, index=index)

    def _conv(self, args: tuple[Any, ...], inputs: list[Tensor], data: list[Tensor], out: Tensor) -> _Info:
        x, weight, bias, stride = args[0], args[1], args[2], args[3]
        if self._of(x).index is None:
            return self._same("conv", data[0], out)
        kernel = _pair(weight.shape[2:])
        op = Op(
            "conv",
            _shape(x, "map", False),
            _shape(out, "map", False),
            (self._read(x, "map"),),
            kernel=kernel,
            stride=_pair(stride),
            groups=args[8],
            bias=bias is not None,
        )
        return _Info(self._emit(op))

    def _resize(self, x: Tensor, out: Tensor) -> _Info:
        """Interpolation is of maps, whatever layout `x` was computed in."""
        shapes = _shape(x, "map", False), _shape(out, "map", False)
        return _Info(self._emit(Op("resize", *shapes, (self._read(x, "map"),))))

    def _product(self, a: Tensor, b: Tensor, out: Tensor, bias: Any = None) -> _Info:
        ia, ib = self._of(a), self._of(b)
        if ia.index is None or ib.index is None:
            x, info = (a, ia) if ia.index is not None else (b, ib)
            if not self._weights(b if x is a else a):
                return self._frozen_product(x, info, a, b)
            return self._linear(x, info, a, b, out, bias is not None)
        heads = a.shape[0] if a.dim() == 3 else 1
        n, k, m = a.shape[-2], a.shape[-1], b.shape[-1]
        op = Op("matmul", (heads, n, k), (heads, n, m), (ia.op, ib.op))
        layout = {("map", True): "vector", ("vector", False): "tokens"}.get((ib.layout, n == 1), ib.layout)
        return replace(ib, index=self._emit(op), layout=layout, channels_last=False)

    def _frozen_product(self, x: Tensor, info: _Info, a: Tensor, b: Tensor) -> _Info:
        """A product with a buffer: nothing in it is trained, so it is no linear layer."""
        heads = a.shape[0] if a.dim() == 3 else 1
        n, k, m = a.shape[-2], a.shape[-1], b.shape[-1]
        layout = info.seen
        op = Op("matmul", (heads, n, k), (heads, n, m), (self._read(x, layout),))
        return _Info(self._emit(op), layout, layout)

    def _linear(self, x: Tensor, info: _Info, a: Tensor, b: Tensor, out: Tensor, bias: bool) -> _Info:
        inner, outer = a.shape[-1], (b.shape[-1] if x is a else a.shape[-2])
        rows = x.numel() // inner
        layout = info.seen if rows > 1 else "vector"
        index = self._emit(Op("linear", (rows, inner), (rows, outer), (self._read(x, layout),), bias=bias))
        return _Info(index, layout, layout, channels_last=layout == "map")

    def _norm(self, variant: str, args: tuple[Any, ...], inputs: list[Tensor], out: Tensor) -> _Info:
        x = inputs[0]
        info = self._of(x)
        weights = sum(self._weights(t) for t in inputs[1:3]) if len(inputs) > 1 else 0
        layout = info.layout
        if variant != "ln" and x.dim() == 4:
            layout, info = "map", replace(info, channels_last=False)
        elif variant == "ln":
            layout = _layout(x) if x.dim() >= 3 else ("vector" if x.shape[0] == 1 else info.seen)
            info = replace(info, channels_last=x.dim() == 4)
        shape = _shape(out, layout, info.channels_last)
        groups = args[6] if variant == "gn" else 1
        op = Op(
            "norm", shape, shape, (self._read(x, layout),), variant=variant, groups=groups, weights=weights
        )
        return _Info(self._emit(op), layout, info.seen, channels_last=info.channels_last)

    def _pool(self, variant: str, args: tuple[Any, ...], x: Tensor, out: Tensor) -> _Info:
        kernel = _pair(args[1])
        stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel
        shapes = _shape(x, "map", False), _shape(out, "map", False)
        inputs = (self._read(x, "map"),)
        return _Info(self._emit(Op("pool", *shapes, inputs, kernel=kernel, stride=stride, variant=variant)))

    def _mean(self, args: tuple[Any, ...], inputs: list[Tensor], data: list[Tensor], out: Tensor) -> _Info:
        x = data[0]
        info = self._of(x)
        if out.numel() == x.numel():
            return info
        axes = (args[1] if len(args) > 1 else None) or ()
        of_map = x.dim() == 4 and sorted(axis % 4 for axis in axes) == [2, 3]
        layout = "map" if of_map else info.layout
        source = _shape(x, layout, info.channels_last and not of_map)
        channels = source[0] if len(source) == 3 else source[-1]
        if out.numel() == channels:
            shape: Shape = (channels, 1, 1) if len(source) == 3 else (1, channels)
            index = self._emit(Op("pool", source, shape, (self._read(x, layout),), variant="mean"))
            return _Info(index, "map" if len(shape) == 3 else "vector", info.seen, channels_last=False)
        return self._other("mean", x, out)

    def _softmax(self, x: Tensor, out: Tensor) -> _Info:
        info = self._of(x)
        shape = (x.numel() // (x.shape[-1] * x.shape[-2]), x.shape[-2], x.shape[-1])
        return replace(info, index=self._emit(Op("softmax", shape, shape, (info.op,))))

    def _add(self, args: tuple[Any, ...], inputs: list[Tensor], data: list[Tensor], out: Tensor) -> _Info:
        return self._pairwise("add", "bias", args, out)

    def _mul(self, args: tuple[Any, ...], inputs: list[Tensor], data: list[Tensor], out: Tensor) -> _Info:
        return self._pairwise("mul", "scale", args, out)

    def _pairwise(self, kind: str, constant_kind: str, args: tuple[Any, ...], out: Tensor) -> _Info:
        tensors = [a for a in args[:2] if isinstance(a, Tensor)]
        data = [t for t in tensors if self._of(t).index is not None]
        first = max(data, key=lambda t: t.numel())
        info = self._of(first)
        if len(data) == 2:
            layouts = {self._of(t).layout for t in data} - {"vector"}
            layout = _layout(first) if len(layouts) > 1 and first.dim() >= 3 else info.layout
            shape = _shape(out, layout, info.channels_last)
            op = Op(kind, shape, shape, tuple(self._read(t, layout) for t in data))
            return replace(info, index=self._emit(op), layout=layout)
        weights = sum(self._weights(t) for t in tensors if t is not first)
        if not weights:
            return info
        if kind == "add" and self._is_bias_of_linear(info, weights):
            assert info.index is not None
            self.ops[info.index] = self.ops[info.index]._replace(bias=True)
            return info
        scores = self._attention_shape(first, info)
        layout = "tokens" if not scores and self._is_flattened(first, info) else info.layout
        shape = scores or _shape(out, layout, info.channels_last)
        op = Op(constant_kind, shape, shape, (self._read(first, layout),), weights=weights)
        return replace(info, index=self._emit(op), layout=layout)

    def _is_flattened(self, tensor: Tensor, info: _Info) -> bool:
        """Whether `tensor` holds a map as tokens ``[1, H W, C]``."""
        if info.layout != "map" or info.op < 0 or tensor.dim() != 3 or tensor.shape[0] != 1:
            return False
        source = self.ops[info.op].shape_out
        return len(source) == 3 and tuple(tensor.shape[1:]) == (source[1] * source[2], source[0])

    def _is_bias_of_linear(self, info: _Info, weights: int) -> bool:
        if info.index is None or info.index != len(self.ops) - 1:
            return False
        op = self.ops[info.index]
        return op.kind == "linear" and not op.bias and op.shape_out[-1] == weights

    def _attention_shape(self, tensor: Tensor, info: _Info) -> Shape | None:
        """``(h, n, m)`` where `tensor` holds attention scores."""
        if info.index is None or info.index < 0:
            return None
        source = self.ops[info.index]
        if source.kind in ("matmul", "softmax") or (source.kind == "bias" and len(source.shape_out) == 3):
            shape = source.shape_out
            if prod(shape) == tensor.numel() and tensor.shape[-1] == shape[-1]:
                return shape
        return None

    def _cat(self, args: tuple[Any, ...], inputs: list[Tensor], data: list[Tensor], out: Tensor) -> _Info:
        info = self._of(data[0])
        mixed = len({self._of(t).layout for t in data} - {"vector"}) > 1
        layout = _layout(data[0]) if data[0].dim() == 3 or (mixed and data[0].dim() == 4) else info.layout
        indices: list[int] = []
        for tensor in inputs:
            if self._of(tensor).index is not None:
                indices.append(self._read(tensor, layout) if tensor.dim() >= 3 else self._of(tensor).op)
            elif self._of(tensor).token:
                self._entering([tensor])
                indices.append(self._of(tensor).op)
            elif weights := self._weights(tensor):
                shape = _shape(tensor, layout, False)
                indices.append(self._emit(Op("embed", shape, shape, (), weights=weights)))
        if len(indices) == 1:
            return info
        first = _shape(inputs[0], layout, info.channels_last)
        op = Op("concat", first, _shape(out, layout, info.channels_last), tuple(indices))
        return replace(info, index=self._emit(op), layout=layout)

    def _maximum(self, args: tuple[Any, ...], inputs: list[Tensor], data: list[Tensor], out: Tensor) -> _Info:
        if len(data) == 1:
            return self._other("maximum", data[0], out)
        info = self._of(data[0])
        shape = _shape(out, info.layout, info.channels_last)
        sources = tuple(self._read(t, info.layout) for t in data)
        return replace(info, index=self._emit(Op("reduce", shape, shape, sources, variant="maximum")))

    def _other(self, name: str, x: Tensor, out: Tensor) -> _Info:
        kind = "act" if out.numel() == x.numel() else "reduce"
        return self._same(kind, x, out, variant=name)


def _flatten(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flatten(value)
        else:
            yield value


def _pair(value: Any) -> tuple[int, int]:
    sizes = [value] if isinstance(value, int) else [int(v) for v in value]
    return (sizes[0], sizes[1]) if len(sizes) > 1 else (sizes[0], sizes[0] if isinstance(value, int) else 1)


def _layout(tensor: Tensor) -> str:
    if tensor.dim() == 4:
        return "map"
    return "tokens" if tensor.dim() == 3 and tensor.shape[0] == 1 else "windows"


def _shape(tensor: Tensor, layout: str, channels_last: bool) -> Shape:
    """The vocabulary's shape of a batch-one tensor."""
    sizes = tuple(tensor.shape)
    if layout == "map" and len(sizes) == 4:
        return (sizes[3], sizes[1], sizes[2]) if channels_last else (sizes[1], sizes[2], sizes[3])
    if layout == "map" and len(sizes) == 3:
        return (sizes[1], sizes[2], 1)
    return (prod(sizes[:-1]), sizes[-1]) if sizes else (1, 1)
