"""PoolFormer's weights, those of its hybrids included."""

from __future__ import annotations

from hvnas.arch import Arch
from hvnas.nn.foreign.base import StateDict, foreign, renamed
from hvnas.nn.foreign.efficientformer import BLOCKS, staged
from hvnas.nn.foreign.mobilevit import renumbered

OFFICIAL_RULES = (
    (r"^patch_embed\.proj\.", "stem.conv."),
    (r"^(stages\.\d+)\.proj\.", r"\1.downsample.conv."),
    (r"^(stages\.\d+)\.pos_embed$", r"\1.downsample.position"),
    (r"\.layer_scale_(\d)$", r".layer_scale\1.scale"),
    (r"^norm\.", "head.norm."),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
)
RULES = (
    (r"\.downsample\.conv\.", ".downsample.conv.conv."),
    (r"\.layer_scale(\d)\.scale$", r".scale\1.gamma"),
    (r"\.token_mixer\.", ".mixer."),
)


@foreign("timm", "poolformer")
def from_timm(state: StateDict, arch: Arch) -> StateDict:
    """timm's poolformer_*.

    timm's head normalises after the mean, with epsilon 1e-6: the same outputs need a head with
    ``norm: ln, norm_first: false`` in `arch`. Every tensor fits the authors' head too.
    """
    state = renamed(renumbered(state, arch, pattern=BLOCKS, downsample=False), RULES)
    mlp = {k: v[..., None, None] for k, v in state.items() if ".mlp." in k and v.dim() == 2}
    return state | mlp


@foreign("official", "poolformer")
def from_official(state: StateDict, arch: Arch) -> StateDict:
    """The authors' checkpoints (sail-sg/poolformer, poolformer.py and metaformer.py)."""
    state = from_timm(renamed(staged(state), OFFICIAL_RULES), arch)
    return {key: tensor[0] if key.endswith(".position") else tensor for key, tensor in state.items()}
