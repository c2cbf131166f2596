"""Columns that the surrogate reads off a plain Program, and its features: formulas of columns, vectorised.

Sizes enter as logarithms; what a network is made of enters as shares (square roots, so that small shares
tell apart) and as logarithms of counts, which keep the features of deep networks near those of shallow
ones. Every feature is a formula of columns alone.

What the surrogate reads off a plain Program, one column at a time.

Every column is a sum or a maximum over ops, so that a whole Program and the segments of the
fast path give the same numbers. An op belongs to the *level* of the map or tokens that it writes,
named after the stride that an image of 160 to 288 pixels has there: the number of positions tells
strides 2, 4, 8, 16 and 32 apart at these resolutions without knowing the resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import log2, sqrt

import numpy as np
from numpy.typing import NDArray

from hvnas.ops import Column, Op

Array = NDArray[np.float64]
Read = Callable[[str], Array]
Rows = dict[str, Array]


# Fewest positions of a level, midway between what neighbouring strides have at 160 and at 288 px: stride 4
# has 1600 to 5184, stride 8 400 to 1296, stride 16 100 to 324, stride 32 25 to 81. Below 16 lie pooled
# vectors and class tokens. At 128 px maps count as one stride coarser; no evidence lies there anyway.
LEVELS = ((2, 5800), (4, 1450), (8, 360), (16, 90), (32, 16))
STRIDES = tuple(stride for stride, _ in LEVELS)


def _size_columns() -> list[Column]:
    return [
        _sum("params", lambda op: float(op.params)),
        _sum("macs", lambda op: float(op.macs), COSTLY),
        # Outputs of convolutions, linear layers and attention products: timm's `macts`, maps included.
        _sum("acts", lambda op: float(op.out_count), COSTLY),
    ]


def _level_columns(stride: int) -> list[Column]:
    here = (level, stride)
    return [
        _sum(f"macs_s{stride}", lambda op: float(op.macs), COSTLY, here),
        _sum(f"params_s{stride}", lambda op: float(op.params), WEIGHTED, here),
        _count(f"layers_s{stride}", lambda op: True, *WEIGHTED, where=here),
    ]


def _mixer_columns(stride: int) -> list[Column]:
    here = (level, stride)
    return [
        _count(f"depthwise_s{stride}", is_depthwise, "conv", where=here),
        _count(f"dense_s{stride}", _is_dense, "conv", where=here),
        _count(f"attention_s{stride}", is_attention, "matmul", where=(_attended, stride)),
        _count(f"pool_s{stride}", is_mixer_pool, "pool", where=here),
    ]


def _kind_columns() -> list[Column]:
    return [
        _sum("macs_depthwise", lambda op: float(op.macs) if is_depthwise(op) else None, ["conv"]),
        _sum(
            "macs_grouped", lambda op: float(op.macs) if _is_dense(op) and op.groups > 1 else None, ["conv"]
        ),
        _sum("macs_dense", lambda op: float(op.macs) if _is_dense(op) and op.groups == 1 else None, ["conv"]),
        _sum("macs_matmul", lambda op: float(op.macs), ["matmul"]),
        _sum("acts_depthwise", lambda op: float(op.out_count) if is_depthwise(op) else None, ["conv"]),
        _sum("acts_matmul", lambda op: float(op.out_count), ["matmul"]),
        # Taps of the depthwise kernels: larger ones reach further at almost no cost.
        _sum(
            "depthwise_taps",
            lambda op: float(op.kernel[0] * op.kernel[1]) if is_depthwise(op) else None,
            ["conv"],
        ),
        # Side lengths of the map that kernels step over, one after the other: how far positions see.
        _sum("reach", _reach, ["conv", "pool"]),
        # Doublings of the tokens that each attention product runs over.
        _sum("keys", _doublings, ["matmul"]),
        # As much for the tokens of linear layers: where windows or patches attend apart, there are more.
        _sum("token_layers", lambda op: 1.0 if _on_tokens(op) else None, ["linear"]),
        _sum("tokens", lambda op: log2(positions(op)) if _on_tokens(op) else None, ["linear"]),
        _count("softmaxes", lambda op: True, "softmax"),
        _count("position_biases", lambda op: op.weights > 0, "bias"),
        _count("layer_scales", lambda op: True, "scale"),
        _count("gates", _is_gate, "conv"),
    ]


def _style_columns() -> list[Column]:
    def counted(kind: str, *variants: str) -> Column:
        return _count(f"{kind}_{variants[0]}", lambda op: op.variant in variants, kind)

    return [
        counted("norm", "bn"),
        counted("norm", "ln"),
        counted("norm", "gn"),
        counted("act", "relu", "relu6"),
        counted("act", "gelu"),
        counted("act", "silu"),
        counted("act", "hardswish"),
    ]


def _stem_columns() -> list[Column]:
    def first(op: Op) -> bool:
        return op.kind == "conv" and op.shape_in[0] == 3 and op.shape_in[1] > 16

    return [
        Column("resolution", "max", lambda op: float(op.shape_in[1]) if first(op) else None),
        Column("stem_stride", "max", lambda op: float(op.stride[0]) if first(op) else None),
        Column("stem_kernel", "max", lambda op: float(op.kernel[0]) if first(op) else None),
        # 16 where patches of 16 x 16 pixels, or of a stem's maps, become tokens at once.
        Column("largest_stride", "max", lambda op: float(op.stride[0]), kinds=frozenset({"conv"})),
    ]


def _count(name: str, holds: Callable[[Op], bool], *kinds: str, where: Where | None = None) -> Column:
    return _sum(name, lambda op: 1.0 if holds(op) else None, kinds or None, where)


def _sum(
    name: str,
    value: Callable[[Op], float | None],
    kinds: Iterable[str] | None = None,
    where: Where | None = None,
) -> Column:
    return Column(name, "sum", value, kinds=None if kinds is None else frozenset(kinds), where=where)


Where = tuple[Callable[[Op], object], object]


def _is_gate(op: Op) -> bool:
    """A convolution or linear layer on a pooled vector that is no classifier: squeeze-excitation."""
    return op.kind == "conv" and positions(op) == 1 and op.shape_out[0] != 1000


def positions(op: Op) -> int:
    """Positions of the map, or tokens, that `op` writes."""
    shape = op.shape_out
    if op.kind in ("matmul", "softmax", "linear") or len(shape) != 3:
        return shape[-2] if len(shape) > 1 else 1
    return shape[1] * shape[2]


def _doublings(op: Op) -> float | None:
    return log2(max(op.shape_in[1:])) if is_attention(op) else None


def is_attention(op: Op) -> bool:
    """A product of two computed tensors over 16 positions or more."""
    return op.kind == "matmul" and max(op.shape_in[1:]) >= 16


def _on_tokens(op: Op) -> bool:
    return positions(op) >= LEVELS[-1][1]


def _reach(op: Op) -> float | None:
    count = positions(op)
    return (max(op.kernel) - 1) / sqrt(count) if count >= LEVELS[-1][1] else None


def _is_dense(op: Op) -> bool:
    return op.kind == "conv" and op.kernel != (1, 1) and not is_depthwise(op)


def is_depthwise(op: Op) -> bool:
    """A convolution with one filter per input channel, spatial."""
    return op.kind == "conv" and op.groups > 1 and op.groups == op.shape_in[0] and op.kernel != (1, 1)


def _attended(op: Op) -> int:
    """Level of the tokens that an attention product runs over.

    Rows or contraction are the tokens in scores, in weighted sums, and in linear attention alike; the
    last axis is left out, since value heads may be wider than there are tokens.
    """
    count = max(op.shape_in[1:])
    return next((stride for stride, least in LEVELS if count >= least), VECTOR)


VECTOR = 0


def is_mixer_pool(op: Op) -> bool:
    """Pooling that keeps the size: a token mixer."""
    return op.kind == "pool" and op.kernel != (1, 1) and op.shape_in == op.shape_out


def level(op: Op) -> int:
    """The stride that `op` works at, or VECTOR."""
    count = positions(op)
    for stride, least in LEVELS:
        if count >= least:
            return stride
    return VECTOR


COSTLY = frozenset({"conv", "linear", "matmul"})


WEIGHTED = frozenset({"conv", "linear"})


COLUMNS: tuple[Column, ...] = (
    *_size_columns(),
    *(column for stride in STRIDES for column in _level_columns(stride)),
    *(column for stride in STRIDES[1:] for column in _mixer_columns(stride)),
    *_kind_columns(),
    *_style_columns(),
    *_stem_columns(),
)
NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)


_INDEX = {name: i for i, name in enumerate(NAMES)}
_COARSE = STRIDES[1:]  # levels where blocks live; stride 2 holds stems
# Attention is told by its shares of the mixers.
_KINDS = ("depthwise", "dense", "pool")
# What is counted or summed by level.
_BY_LEVEL = ("macs", "params", "layers", "depthwise", "dense", "attention", "pool")
_ACTS = ("act_relu", "act_gelu", "act_silu", "act_hardswish")


SIZE: tuple[str, ...] = ("log_params", "log_macs", "log_acts", "log_resolution", "log_depth")
# Shares of the MACs add up to 1: what moves MACs to another stage is told twice, with opposite signs. The
# range of the evidence is judged by all of them; the regression reads the others beside this one.
RANGE_ONLY: frozenset[str] = frozenset({"macs_share_s16"})
MIXERS: tuple[str, ...] = (
    *(f"{mixer}_s{s}" for s in _COARSE for mixer in _KINDS),
    *(f"macs_{kind}" for kind in ("depthwise", "grouped", "dense", "matmul")),
    *("acts_depthwise", "acts_matmul", "reach", "keys", "apart", "mixers"),
    *("attend_s16", "attend_s32", "attend_fine"),
)
STRUCTURE: tuple[str, ...] = (
    *(f"macs_share_s{s}" for s in STRIDES),
    *("params_stride", "last_width"),
    *(f"depth_s{s}" for s in _COARSE),
    *MIXERS,
    *("depthwise_taps", "layer_norms", "group_norms", *_ACTS),
    *("norms", "gates", "softmaxes", "position_biases", "layer_scales", "stem_stride", "stem_kernel"),
    "largest_stride",
)
FEATURES: tuple[str, ...] = SIZE + STRUCTURE
# What counts or measures a single stride.
COUNTS: frozenset[str] = frozenset(
    {
        *(f"{mixer}_s{s}" for s in _COARSE for mixer in _KINDS),
        *(f"depth_s{s}" for s in _COARSE),
        "last_width",
    }
)


def derive(values: Array) -> Array:
    """Features ``[n, len(FEATURES)]`` from column values ``[n, len(COLUMNS)]``.

    Columns to which no op contributed hold 0, -inf or nan; each formula below says what that means.
    """
    columns = _with_late_levels(np.ascontiguousarray(np.asarray(values, dtype=np.float64).T))

    def c(name: str) -> Array:
        row: Array = columns[_INDEX[name]]
        return row

    out = np.empty((len(FEATURES), columns.shape[1]))
    rows = dict(zip(FEATURES, out, strict=True))
    _sizes(c, rows)
    _levels(c, rows)
    _kinds(c, rows)
    _style(c, rows)
    return out.T


def _with_late_levels(columns: Array) -> Array:
    """`columns` [len(COLUMNS), n], levels one coarser in networks that have nothing coarser than stride 8.

    What layers do by their stride is known of networks that end at stride 16 or 32. One that ends at stride
    8, as a transformer with small patches, has its last layers there: its finer tokens show in MACs, in
    activations and in the tokens that attend.
    """
    fine = columns[_INDEX["layers_s16"]] + columns[_INDEX["layers_s32"]] == 0.0
    if not fine.any():
        return columns
    columns = columns.copy()
    for kind in _BY_LEVEL:
        for coarse, finer in ((16, 8), (8, 4), (4, 2)):
            moved = _INDEX.get(f"{kind}_s{finer}")
            if moved is not None:
                columns[_INDEX[f"{kind}_s{coarse}"], fine] = columns[moved, fine]
                columns[moved, fine] = 0.0
    return columns


def attending_share(values: Array) -> Array:
    """Attentions among all token mixers, 0 to 1, from column values ``[n, len(COLUMNS)]``. Shape [n]."""
    columns = np.asarray(values, dtype=np.float64).T

    def c(name: str) -> Array:
        row: Array = columns[_INDEX[name]]
        return row

    return _attending(c, _COARSE)


def _total(c: Read, names: Iterable[str]) -> Array:
    return np.sum([c(name) for name in names], axis=0)


def _sizes(c: Read, rows: Rows) -> None:
    np.log(np.maximum(c("params"), 1.0), out=rows["log_params"])
    np.log(np.maximum(c("macs"), 1.0), out=rows["log_macs"])
    np.log(np.maximum(c("acts"), 1.0), out=rows["log_acts"])
    # Unknown, and taken for 224, where no convolution reads the image itself.
    seen = c("resolution") > 0.0
    np.log(np.where(seen, c("resolution"), 224.0) / 224.0, out=rows["log_resolution"])
    layers = _total(c, (f"layers_s{s}" for s in STRIDES))
    np.log(np.maximum(layers, 1.0), out=rows["log_depth"])


def _levels(c: Read, rows: Rows) -> None:
    macs = np.maximum(c("macs"), 1.0)
    for s in STRIDES:
        np.sqrt(c(f"macs_s{s}") / macs, out=rows[f"macs_share_s{s}"])
    for s in _COARSE:
        np.log1p(c(f"layers_s{s}"), out=rows[f"depth_s{s}"])
        for mixer in _KINDS:
            np.log1p(c(f"{mixer}_s{s}"), out=rows[f"{mixer}_s{s}"])
    _params(c, rows)
    for name, strides in (("attend_s16", (16,)), ("attend_s32", (32,)), ("attend_fine", (4, 8))):
        rows[name][:] = _attending(c, strides)


def _params(c: Read, rows: Rows) -> None:
    """Where the params lie, as mean halvings of the image before them, and how wide the last stage is.

    Width is the logarithm of params a layer, those of depthwise layers aside: of stride 32, or of stride 16
    where nothing is coarser.
    """
    each = {s: c(f"params_s{s}") for s in _COARSE}
    halvings = np.sum([log2(s) * params for s, params in each.items()], axis=0)
    np.divide(halvings, np.maximum(np.sum(list(each.values()), axis=0), 1.0), out=rows["params_stride"])
    coarse = np.maximum(c("layers_s32") - c("depthwise_s32"), 1.0)
    fine = np.maximum(c("layers_s16") - c("depthwise_s16"), 1.0)
    width = np.where(c("layers_s32") > 0, each[32] / coarse, each[16] / fine)
    np.log(np.maximum(width, 1.0), out=rows["last_width"])


def _attending(c: Read, strides: Iterable[int]) -> Array:
    """Attentions among the token mixers at `strides`; they come as two products each."""
    strides = tuple(strides)
    attention = 0.5 * _total(c, (f"attention_s{s}" for s in strides))
    others = _total(c, (f"{kind}_s{s}" for s in strides for kind in ("depthwise", "dense", "pool")))
    share: Array = attention / np.maximum(attention + others, 1.0)
    return share


def _kinds(c: Read, rows: Rows) -> None:
    macs, acts = np.maximum(c("macs"), 1.0), np.maximum(c("acts"), 1.0)
    for kind in ("depthwise", "grouped", "dense", "matmul"):
        np.sqrt(c(f"macs_{kind}") / macs, out=rows[f"macs_{kind}"])
    for kind in ("depthwise", "matmul"):
        np.sqrt(c(f"acts_{kind}") / acts, out=rows[f"acts_{kind}"])
    np.log1p(c("reach"), out=rows["reach"])
    # Attention products come in pairs; an attention is one mixer, as a convolution or a pooling is.
    attention = _total(c, (f"attention_s{s}" for s in _COARSE))
    others = _total(c, (f"{kind}_s{s}" for s in _COARSE for kind in ("depthwise", "dense", "pool")))
    np.log1p(others + 0.5 * attention, out=rows["mixers"])
    # Mean doublings of the tokens attended; none where nothing attends.
    np.divide(c("keys"), np.maximum(attention, 1.0), out=rows["keys"])
    _apart(c, rows, attention > 0)
    # Mean taps of a depthwise kernel; 9, that of a 3 x 3, where there is none.
    count = _total(c, (f"depthwise_s{s}" for s in STRIDES[1:]))
    taps = np.where(count > 0, c("depthwise_taps") / np.maximum(count, 1.0), 9.0)
    np.log(np.maximum(taps, 1.0), out=rows["depthwise_taps"])


def _apart(c: Read, rows: Rows, attends: NDArray[np.bool_]) -> None:
    """Doublings by which all tokens outnumber those that attend to each other: windows, patches.

    `rows` has the keys already.
    """
    tokens = c("tokens") / np.maximum(c("token_layers"), 1.0)
    apart = np.maximum(np.where(attends, tokens - rows["keys"], 0.0), 0.0)
    # A transformer has four linear layers or more for an attention. Where there are two, they are those of
    # relative positions, which run over as many rows as all heads together have tokens.
    linear = c("token_layers") / np.maximum(c("softmaxes"), 1.0) - 2.0
    apart *= np.where(c("softmaxes") > 0, np.clip(linear, 0.0, 1.0), 1.0)
    rows["apart"][:] = apart


def _style(c: Read, rows: Rows) -> None:
    # Shares beside batch norm, which is what is left: merged networks have none to see.
    norms = c("norm_bn") + c("norm_ln") + c("norm_gn") + 1.0
    np.divide(c("norm_ln"), norms, out=rows["layer_norms"])
    np.divide(c("norm_gn"), norms, out=rows["group_norms"])
    np.log(norms, out=rows["norms"])
    acts = _total(c, _ACTS) + 1.0
    for name in _ACTS:
        np.divide(c(name), acts, out=rows[name])
    for name in ("gates", "softmaxes", "position_biases", "layer_scales"):
        np.log1p(c(name), out=rows[name])
    for name in ("stem_stride", "stem_kernel", "largest_stride"):
        np.log(np.maximum(c(name), 1.0), out=rows[name])
