"""EfficientFormerV2's weights."""

from __future__ import annotations

from hvnas.arch import Arch
from hvnas.nn.foreign.base import StateDict, foreign, renamed
from hvnas.nn.foreign.efficientformer import BLOCKS, staged
from hvnas.nn.foreign.mobilevit import renumbered

OFFICIAL_RULES = (
    (r"^patch_embed\.0\.", "stem.conv1.conv."),
    (r"^patch_embed\.1\.", "stem.conv1.bn."),
    (r"^patch_embed\.3\.", "stem.conv2.conv."),
    (r"^patch_embed\.4\.", "stem.conv2.bn."),
    (r"^(stages\.\d+)\.(?:proj|conv)\.", r"\1.downsample.conv.conv."),
    (r"^(stages\.\d+)\.(?:norm|bn)\.", r"\1.downsample.conv.bn."),
    (r"^(stages\.\d+)\.attn\.", r"\1.downsample.attn."),
    (r"(\.(?:attn|token_mixer)\.proj)\.1\.", r"\1.conv."),
    (r"(\.(?:attn|token_mixer)\.proj)\.2\.", r"\1.bn."),
    (r"\.q\.local\.0\.", ".q.local."),
    (r"(\.(?:stride_conv|q|k|v|v_local|q\.proj))\.0\.", r"\1.conv."),
    (r"(\.(?:stride_conv|q|k|v|v_local|q\.proj))\.1\.", r"\1.bn."),
    (r"\.mlp\.norm(\d)\.", r".mlp.fc\1.bn."),
    (r"\.mlp\.mid_norm\.", ".mlp.mid.bn."),
    (r"\.mlp\.(fc1|mid|fc2)\.(weight|bias)$", r".mlp.\1.conv.\2"),
    (r"\.layer_scale_(\d)$", r".ls\1.gamma"),
    (r"^dist_head\.", "head_dist."),
)
RULES = (
    (r"\.downsample\.attn\.", ".downsample."),
    (r"\.token_mixer\.", ".attn."),
    (r"\.bn\.", ".norm."),
    (r"\.q\.local\.", ".q.near."),
    (r"\.v_local\.", ".kv.local."),
    (r"\.(k|v)\.(conv|norm)\.", r".kv.\1.\2."),
    (r"\.stride_conv\.", ".shrink."),
    (r"\.talking_head1\.", ".talk_before."),
    (r"\.talking_head2\.", ".talk_after."),
    (r"\.attention_biases$", ".bias.table"),
    (r"\.mlp\.mid\.", ".mlp.depthwise."),
    (r"\.local\.(\d+)\.ls2\.gamma$", r".local.\1.scale.gamma"),
    (r"\.ls(\d)\.gamma$", r".scale\1.gamma"),
    (r"^norm\.", "head.norm."),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
    (r"^head_dist\.", "head.fc_distilled."),
)


@foreign("timm", "efficientformerv2")
def from_timm(state: StateDict, arch: Arch) -> StateDict:
    """timm's efficientformerv2_s0, _s1, _s2 and _l; index buffers are left out, scales are vectors."""
    state = {
        key: tensor.flatten() if key.endswith(".gamma") else tensor
        for key, tensor in state.items()
        if not key.endswith("attention_bias_idxs")
    }
    return renamed(renumbered(state, arch, pattern=BLOCKS, downsample=False), RULES)


@foreign("official", "efficientformerv2")
def from_official(state: StateDict, arch: Arch) -> StateDict:
    """The authors' checkpoints (snap-research/EfficientFormer, efficientformer_v2.py)."""
    return from_timm(renamed(staged(state), OFFICIAL_RULES), arch)
