"""MobileViT's weights."""

from __future__ import annotations

import re

from hvnas.arch import Arch
from hvnas.nn.foreign.base import StateDict, foreign, renamed

RULES = (
    (r"^stem\.", "stem.conv1."),
    (r"\.conv1_1x1\.", ".layers.expand."),
    (r"\.conv2_kxk\.", ".layers.depthwise."),
    (r"\.conv3_1x1\.", ".layers.project."),
    (r"\.conv_kxk\.", ".spatial."),
    (r"\.conv_1x1\.", ".to_dim."),
    (r"\.conv_proj\.", ".project."),
    (r"\.conv_fusion\.", ".fuse."),
    (r"^final_conv\.", "head.conv."),
    (r"^head\.fc\.", "head.fc."),
    (r"\.bn\.", ".norm."),
)


def renumbered(
    state: StateDict, arch: Arch, *, pattern: str, first: int = 0, downsample: bool = True
) -> StateDict:
    """Keys with our block names where another code base counts the blocks of a stage in one sequence.

    `pattern` has two groups, the number of the stage and of the block; their stage 0 is our `first`.
    `downsample`: their sequence begins with what is our downsample, where the stage has one. Keys of
    blocks that `arch` does not have stay as they are.
    """
    names = [
        [part.replace("global", "global_") for part, _ in stage.parts() if downsample or part != "downsample"]
        for stage in arch.stages
    ]

    def ours(match: re.Match[str]) -> str:
        stage, block = int(match[1]) + first, int(match[2])
        if stage >= len(names) or block >= len(names[stage]):
            return match[0]
        return f"stages.{stage}.{names[stage][block]}."

    return {re.sub(pattern, ours, key): tensor for key, tensor in state.items()}


@foreign("timm", "mobilevit")
def from_timm(state: StateDict, arch: Arch) -> StateDict:
    """timm's mobilevit_xxs, _xs and _s; the tensors' layouts are ours."""
    return renamed(renumbered(state, arch, pattern=r"^stages\.(\d+)\.(\d+)\."), RULES)
