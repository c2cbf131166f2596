"""CoAtNet's weights."""

from __future__ import annotations

from hvnas.arch import Arch
from hvnas.nn.foreign.base import StateDict, foreign, renamed
from hvnas.nn.foreign.efficientformer import BLOCKS
from hvnas.nn.foreign.mobilevit import renumbered

RULES = (
    (r"^stem\.conv(\d)\.", r"stem.conv\1.conv."),
    (r"^stem\.norm1\.", "stem.conv1.norm."),
    (r"\.shortcut\.expand\.", ".shortcut.1."),
    (r"(\.local\.\d+)\.norm1\.", r"\1.expand.norm."),
    (r"(\.local\.\d+)\.norm2\.", r"\1.depthwise.norm."),
    (r"\.conv1_1x1\.", ".expand.conv."),
    (r"\.conv2_kxk\.", ".depthwise.conv."),
    (r"\.conv3_1x1\.", ".project."),
    (r"\.norm1\.norm\.", ".norm1."),
    (r"\.rel_pos\.relative_position_bias_table$", ".bias.table"),
    (r"^head\.pre_logits\.fc\.", "head.hidden.0."),
)


@foreign("timm", "coatnet")
def from_timm(state: StateDict, arch: Arch) -> StateDict:
    """timm's coatnet_0 to coatnet_5 and their layouts; bias tables have one row per head here."""
    state = renamed(renumbered(state, arch, pattern=BLOCKS, downsample=False), RULES)
    return {key: tensor.t() if key.endswith(".bias.table") else tensor for key, tensor in state.items()}
