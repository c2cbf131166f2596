"""Features of the surrogate, derived from the columns of `hvnas.accuracy.columns`, many networks at once.

Sizes enter as logarithms; what a network is made of enters as shares (square roots, so that small shares
tell apart) and as logarithms of counts, which keep the features of deep networks near those of shallow
ones. Every feature is a formula of columns alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from hvnas.accuracy.columns import NAMES, STRIDES

Array = NDArray[np.float64]
Read = Callable[[str], Array]
Rows = dict[str, Array]

_INDEX = {name: i for i, name in enumerate(NAMES)}
_COARSE = STRIDES[1:]  # levels where blocks live; stride 2 holds stems
_KINDS = ("depthwise", "dense", "attention", "pool")
_ACTS = ("act_relu", "act_gelu", "act_silu", "act_hardswish")

SIZE: tuple[str, ...] = ("log_params", "log_macs", "log_acts", "log_resolution", "log_depth")
MIXERS: tuple[str, ...] = (
    *(f"{mixer}_s{s}" for s in _COARSE for mixer in _KINDS),
    *(f"macs_{kind}" for kind in ("depthwise", "grouped", "dense", "matmul")),
    *("acts_depthwise", "acts_matmul", "reach", "keys", "apart", "mixers"),
)
STRUCTURE: tuple[str, ...] = (
    *(f"macs_share_s{s}" for s in STRIDES),
    *(f"params_share_s{s}" for s in _COARSE),
    *(f"depth_s{s}" for s in _COARSE),
    *MIXERS,
    *("depthwise_taps", "layer_norms", "group_norms", *_ACTS),
    *("norms", "gates", "softmaxes", "position_biases", "layer_scales", "stem_stride", "stem_kernel"),
    "largest_stride",
)
FEATURES: tuple[str, ...] = SIZE + STRUCTURE
# What counts or weighs a single stride.
COUNTS: frozenset[str] = frozenset(
    {
        *(f"{mixer}_s{s}" for s in _COARSE for mixer in _KINDS),
        *(f"params_share_s{s}" for s in _COARSE),
        *(f"depth_s{s}" for s in _COARSE),
    }
)


def derive(values: Array) -> Array:
    """Features ``[n, len(FEATURES)]`` from column values ``[n, len(COLUMNS)]``.

    Columns to which no op contributed hold 0, -inf or nan; each formula below says what that means.
    """
    columns = np.ascontiguousarray(np.asarray(values, dtype=np.float64).T)

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


def attending_share(values: Array) -> Array:
    """Attentions among all token mixers, 0 to 1, from column values ``[n, len(COLUMNS)]``. Shape [n]."""
    columns = np.asarray(values, dtype=np.float64).T

    def c(name: str) -> Array:
        row: Array = columns[_INDEX[name]]
        return row

    attention = 0.5 * _total(c, (f"attention_s{s}" for s in _COARSE))
    others = _total(c, (f"{kind}_s{s}" for s in _COARSE for kind in ("depthwise", "dense", "pool")))
    share: Array = attention / np.maximum(attention + others, 1.0)
    return share


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
    macs, params = np.maximum(c("macs"), 1.0), np.maximum(c("params"), 1.0)
    for s in STRIDES:
        np.sqrt(c(f"macs_s{s}") / macs, out=rows[f"macs_share_s{s}"])
    for s in _COARSE:
        np.sqrt(c(f"params_s{s}") / params, out=rows[f"params_share_s{s}"])
        np.log1p(c(f"layers_s{s}"), out=rows[f"depth_s{s}"])
        for mixer in _KINDS:
            np.log1p(c(f"{mixer}_s{s}"), out=rows[f"{mixer}_s{s}"])


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
    # Doublings by which all tokens outnumber those that attend to each other: windows, patches.
    tokens = c("tokens") / np.maximum(c("token_layers"), 1.0)
    np.maximum(np.where(attention > 0, tokens - rows["keys"], 0.0), 0.0, out=rows["apart"])
    # Mean taps of a depthwise kernel; 9, that of a 3 x 3, where there is none.
    count = _total(c, (f"depthwise_s{s}" for s in STRIDES[1:]))
    taps = np.where(count > 0, c("depthwise_taps") / np.maximum(count, 1.0), 9.0)
    np.log(np.maximum(taps, 1.0), out=rows["depthwise_taps"])


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
