"""timm's VisionTransformer with class token and one patchify convolution (``vit_*_patch*``, ``deit_*``)."""

from __future__ import annotations

from hvnas.arch import Arch
from hvnas.nn.foreign.base import StateDict, foreign, renamed

RULES = (
    (r"^patch_embed\.proj\.", "stem.conv."),
    (r"^cls_token$", "stages.0.downsample.class_token"),
    (r"^pos_embed$", "stages.0.downsample.positions"),
    (r"^blocks\.", "stages.0.global_."),
    (r"^norm\.", "head.norm."),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
)


@foreign("timm", "vit")
def from_timm(state: StateDict, arch: Arch) -> StateDict:
    """Our names; every tensor has the same layout."""
    return renamed(state, RULES)
