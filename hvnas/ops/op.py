"""The closed vocabulary of primitives that every network is lowered to.

Shapes leave the batch out. A *map* is ``(C, H, W)``, *tokens* are ``(N, d)``, the operands of an
attention product are ``(heads, N, d)``. A vector counts as one token, ``(1, d)``.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

Shape = tuple[int, ...]

KINDS = frozenset(
    {
        "conv",  # weights (out, in / groups, kh, kw)
        "linear",  # weights (out, in), applied to every row
        "matmul",  # (h, n, k) x (h, k, m), both operands computed
        "softmax",  # over the last axis of (h, n, m)
        "norm",  # variant: bn | ln | gn
        "act",  # variant: relu | gelu | silu | ...
        "pool",  # variant: avg | max | mean (mean: over all positions)
        "add",  # of two computed tensors; subtraction too
        "mul",  # of two computed tensors, broadcast to shape_out; division too
        "scale",  # by a learned tensor of `weights` elements
        "bias",  # addition of a learned tensor of `weights` elements (attention bias, positions)
        "concat",
        "resize",
        "relayout",  # variant: source>target among map, tokens, windows
        "embed",  # a learned tensor of `weights` elements that enters as data (class token, global tokens)
        "reduce",  # maximum, sum and other reductions that are not pooling
    }
)

# What torch calls the operations that the tracer knows.
ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "silu": "silu",
    "hardswish": "hardswish",
    "hardtanh": "relu6",
    "clamp": "clamp",
    "sigmoid": "sigmoid",
    "hardsigmoid": "hardsigmoid",
    "tanh": "tanh",
    "leaky_relu": "leaky_relu",
    "elu": "elu",
    "mish": "mish",
    "softplus": "softplus",
    "prelu": "prelu",
    "_prelu_kernel": "prelu",
}
NORMS = {
    "native_batch_norm": "bn",
    "_native_batch_norm_legit": "bn",
    "_native_batch_norm_legit_no_training": "bn",
    "_batch_norm_with_update": "bn",
    "native_layer_norm": "ln",
    "_fused_rms_norm": "ln",
    "native_group_norm": "gn",
}
VIEWS = frozenset(
    """
    view _unsafe_view reshape _reshape_alias permute transpose t expand unsqueeze squeeze select slice
    split split_with_sizes unbind clone contiguous alias detach _to_copy constant_pad_nd reflection_pad2d
    roll flip rot90 index index_select gather pixel_shuffle pixel_unshuffle channel_shuffle unfold im2col
    col2im as_strided copy_ repeat lift_fresh neg unsafe_split unsafe_chunk masked_fill where narrow movedim
    dropout native_dropout bernoulli_ slice_scatter select_scatter view_as_real view_as_complex tril triu
    """.split()
)


class Op(NamedTuple):
    """One primitive: shapes, hyperparameters, and the ops that it reads.

    `shape_in` is the shape of the first operand. `inputs` holds indices into the Program; in the
    ops of a block they are local, with `MAP` and `TOKENS` for what the block is given.
    `act` is set in fused Programs only: the activation that the op absorbed.
    """

    kind: str
    shape_in: Shape
    shape_out: Shape
    inputs: tuple[int, ...] = ()
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    groups: int = 1
    bias: bool = False
    variant: str = ""
    weights: int = 0
    act: str = ""

    def reading(self, inputs: tuple[int, ...]) -> Op:
        """Return the same op with other edges; `_replace` takes several times as long."""
        return Op._make((*self[:3], inputs, *self[4:]))

    @property
    def key(self) -> tuple[object, ...]:
        """Everything but the edges: what two ops must share to be the same work."""
        return (
            self.kind,
            self.shape_in,
            self.shape_out,
            self.kernel,
            self.stride,
            self.groups,
            self.bias,
            self.variant,
            self.weights,
            self.act,
        )

    @property
    def weight_count(self) -> int:
        """Elements of the weight tensors, biases and norm parameters left out."""
        if self.kind == "conv":
            return self.shape_out[0] * (self.shape_in[0] // self.groups) * prod(self.kernel)
        if self.kind == "linear":
            return self.shape_in[-1] * self.shape_out[-1]
        return 0

    @property
    def params(self) -> int:
        """Trainable parameters."""
        if self.kind in ("conv", "linear"):
            return self.weight_count + (self.channels if self.bias else 0)
        if self.kind == "norm":
            return self.weights
        return self.weights if self.kind in ("scale", "bias", "embed") else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions, linear layers and matrix products; 0 for the rest."""
        if self.kind == "conv":
            return self.weight_count * self.shape_out[1] * self.shape_out[2]
        if self.kind == "linear":
            return self.weight_count * prod(self.shape_in[:-1])
        if self.kind == "matmul":
            return prod(self.shape_in) * self.shape_out[-1]
        return 0

    @property
    def channels(self) -> int:
        """Output channels of a map, or the last axis of tokens."""
        return self.shape_out[0] if len(self.shape_out) == 3 and self.kind != "matmul" else self.shape_out[-1]

    @property
    def in_count(self) -> int:
        """Elements read, every operand included (weights left out)."""
        first = prod(self.shape_in)
        if self.kind == "matmul":
            heads, _, inner = self.shape_in
            return first + heads * inner * self.shape_out[-1]
        if self.kind in ("add", "mul") or self.variant == "maximum":
            return 2 * first
        if self.kind == "concat":
            return prod(self.shape_out)
        return first

    @property
    def out_count(self) -> int:
        """Elements written."""
        return prod(self.shape_out)

    def act_bytes(self, itemsize: int = 2) -> int:
        """Bytes of activations read and written (float16 unless `itemsize` says otherwise)."""
        return (self.in_count + self.out_count) * itemsize

    def weight_bytes(self, itemsize: int = 2) -> int:
        """Bytes of weight tensors read, biases and norms left out."""
        return self.weight_count * itemsize
