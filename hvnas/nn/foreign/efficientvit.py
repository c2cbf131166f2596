"""EfficientViT's weights."""

from __future__ import annotations

from hvnas.arch import Arch
from hvnas.nn.foreign.base import StateDict, foreign, renamed
from hvnas.nn.foreign.mobilevit import renumbered
from hvnas.nn.network import build_on_meta

RULES = (
    (r"^stem\.in_conv\.", "stem.conv1."),
    (r"^stem\.res(\d+)\.", r"stages.0.local.\1."),
    (r"\.context_module\.main\.qkv\.conv\.", ".attn.qkv."),
    (r"\.context_module\.main\.aggreg\.", ".attn.gather."),
    (r"\.context_module\.main\.proj\.", ".attn.proj."),
    (r"\.local_module\.main\.", ".ffn.layers."),
    (r"\.main\.", ".layers."),
    (r"\.inverted_conv\.", ".expand."),
    (r"\.spatial_conv\.", ".spatial."),
    (r"\.depth_conv\.", ".depthwise."),
    (r"\.point_conv\.", ".project."),
    (r"^head\.in_conv\.", "head.conv."),
    (r"^head\.classifier\.0\.", "head.hidden.fc."),
    (r"^head\.classifier\.1\.", "head.hidden.norm."),
    (r"^head\.classifier\.4\.", "head.fc."),
)


@foreign("timm", "efficientvit")
def from_timm(state: StateDict, arch: Arch) -> StateDict:
    """timm's efficientvit_b0-b3 and l1-l3; the stem's residual blocks are our first stage."""
    return renamed(renumbered(state, arch, pattern=r"^stages\.(\d+)\.blocks\.(\d+)\.", first=1), RULES)


@foreign("official", "efficientvit")
def from_official(state: StateDict, arch: Arch) -> StateDict:
    """The authors' checkpoints, whose modules register their tensors in the order of ours.

    Tensors beyond the number of ours keep their names.
    """
    ours = build_on_meta(arch).state_dict()
    keys = [*ours, *list(state)[len(ours) :]]
    return dict(zip(keys, state.values(), strict=False))
