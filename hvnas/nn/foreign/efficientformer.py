"""EfficientFormer's weights."""

from __future__ import annotations

import re

from hvnas.arch import Arch
from hvnas.nn.foreign.base import StateDict, foreign, renamed
from hvnas.nn.foreign.mobilevit import renumbered

BLOCKS = r"^stages\.(\d+)\.blocks\.(\d+)\."
OFFICIAL_RULES = (
    (r"^patch_embed\.0\.", "stem.conv1."),
    (r"^patch_embed\.1\.", "stem.norm1."),
    (r"^patch_embed\.3\.", "stem.conv2."),
    (r"^patch_embed\.4\.", "stem.norm2."),
    (r"^(stages\.\d+)\.proj\.", r"\1.downsample.conv."),
    (r"^(stages\.\d+)\.norm\.", r"\1.downsample.norm."),
    (r"\.layer_scale_(\d)$", r".ls\1.gamma"),
    (r"^dist_head\.", "head_dist."),
)
RULES = (
    (r"^stem\.(conv|norm)(\d)\.", r"stem.conv\2.\1."),
    (r"\.downsample\.(conv|norm)\.", r".downsample.conv.\1."),
    (r"\.token_mixer\.attention_biases$", ".attn.bias.table"),
    (r"\.token_mixer\.", ".attn."),
    (r"\.ls(\d)\.gamma$", r".scale\1.gamma"),
    (r"^norm\.", "head.norm."),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
    (r"^head_dist\.", "head.fc_distilled."),
)


def staged(state: StateDict) -> StateDict:
    """The authors' ``network.N``, stages and what is between them in one list, as stages.

    ``network.N.j`` becomes ``stages.i.blocks.j``; an entry without blocks belongs to the stage after it.
    """
    with_blocks = {int(m[1]) for key in state if (m := re.match(r"network\.(\d+)\.\d+\.", key))}

    def stage(match: re.Match[str]) -> str:
        before = sum(entry < int(match[1]) for entry in with_blocks)
        return f"stages.{before}.blocks." if int(match[1]) in with_blocks else f"stages.{before}."

    return {re.sub(r"^network\.(\d+)\.", stage, key): tensor for key, tensor in state.items()}


def without_flat(state: StateDict, arch: Arch) -> StateDict:
    """Block numbers without the layer, counted as a block, that flattens the map before the MB3Ds."""
    flat = {str(i): stage.local.depth if stage.local else 0 for i, stage in enumerate(arch.stages)}

    def counted(match: re.Match[str]) -> str:
        number = int(match[2])
        return f"stages.{match[1]}.blocks.{number - (number > flat[match[1]])}."

    pattern = (
        rf"^stages\.({'|'.join(str(i) for i, s in enumerate(arch.stages) if s.global_)})\.blocks\.(\d+)\."
    )
    return {re.sub(pattern, counted, key): tensor for key, tensor in state.items()}


@foreign("timm", "efficientformer")
def from_timm(state: StateDict, arch: Arch) -> StateDict:
    """timm's efficientformer_l1, _l3 and _l7; index buffers are left out."""
    state = {key: tensor for key, tensor in state.items() if not key.endswith("attention_bias_idxs")}
    state = renumbered(without_flat(state, arch), arch, pattern=BLOCKS, downsample=False)
    return renamed(state, RULES)


@foreign("official", "efficientformer")
def from_official(state: StateDict, arch: Arch) -> StateDict:
    """The authors' checkpoints (snap-research/EfficientFormer, efficientformer.py)."""
    return from_timm(renamed(staged(state), OFFICIAL_RULES), arch)
