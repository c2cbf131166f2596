"""What torch calls the operations that the tracer knows."""

from __future__ import annotations

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
