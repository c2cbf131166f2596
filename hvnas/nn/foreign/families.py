"""Converters of timm's and the papers' own weights, and the registry of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from torch import Tensor

from hvnas.arch import Arch
from hvnas.nn.network import build_on_meta

MOBILEVIT_RULES = (
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


def foreign(source: str, *families: str) -> Callable[[Converter], Converter]:
    """Function decorator: converts state dicts of `source` (``timm``, ``official``) for these families.

    The function maps ``(state dict, arch)`` to a state dict with our names and layouts.
    """

    def register(function: Converter) -> Converter:
        for family in families:
            _CONVERTERS[source, family] = function
        return function

    return register


_CONVERTERS: dict[tuple[str, str], Converter] = {}


StateDict = dict[str, Tensor]
Converter = Callable[[StateDict, Arch], StateDict]


@foreign("timm", "mobilevit")
def mobilevit_from_timm(state: StateDict, arch: Arch) -> StateDict:
    """timm's mobilevit_xxs, _xs and _s; the tensors' layouts are ours."""
    return renamed(renumbered(state, arch, pattern=r"^stages\.(\d+)\.(\d+)\."), MOBILEVIT_RULES)


COATNET_RULES = (
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
def coatnet_from_timm(state: StateDict, arch: Arch) -> StateDict:
    """timm's coatnet_0 to coatnet_5 and their layouts; bias tables have one row per head here."""
    state = renamed(renumbered(state, arch, pattern=BLOCKS, downsample=False), COATNET_RULES)
    return {key: tensor.t() if key.endswith(".bias.table") else tensor for key, tensor in state.items()}


BLOCKS = r"^stages\.(\d+)\.blocks\.(\d+)\."
EFFICIENTFORMER_OFFICIAL_RULES = (
    (r"^patch_embed\.0\.", "stem.conv1."),
    (r"^patch_embed\.1\.", "stem.norm1."),
    (r"^patch_embed\.3\.", "stem.conv2."),
    (r"^patch_embed\.4\.", "stem.norm2."),
    (r"^(stages\.\d+)\.proj\.", r"\1.downsample.conv."),
    (r"^(stages\.\d+)\.norm\.", r"\1.downsample.norm."),
    (r"\.layer_scale_(\d)$", r".ls\1.gamma"),
    (r"^dist_head\.", "head_dist."),
)
EFFICIENTFORMER_RULES = (
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
def efficientformer_from_timm(state: StateDict, arch: Arch) -> StateDict:
    """timm's efficientformer_l1, _l3 and _l7; index buffers are left out."""
    state = {key: tensor for key, tensor in state.items() if not key.endswith("attention_bias_idxs")}
    state = renumbered(without_flat(state, arch), arch, pattern=BLOCKS, downsample=False)
    return renamed(state, EFFICIENTFORMER_RULES)


@foreign("official", "efficientformer")
def efficientformer_from_official(state: StateDict, arch: Arch) -> StateDict:
    """The authors' checkpoints (snap-research/EfficientFormer, efficientformer.py)."""
    return efficientformer_from_timm(renamed(staged(state), EFFICIENTFORMER_OFFICIAL_RULES), arch)


EFFICIENTFORMERV2_OFFICIAL_RULES = (
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
EFFICIENTFORMERV2_RULES = (
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
def efficientformerv2_from_timm(state: StateDict, arch: Arch) -> StateDict:
    """timm's efficientformerv2_s0, _s1, _s2 and _l; index buffers are left out, scales are vectors."""
    state = {
        key: tensor.flatten() if key.endswith(".gamma") else tensor
        for key, tensor in state.items()
        if not key.endswith("attention_bias_idxs")
    }
    return renamed(renumbered(state, arch, pattern=BLOCKS, downsample=False), EFFICIENTFORMERV2_RULES)


@foreign("official", "efficientformerv2")
def efficientformerv2_from_official(state: StateDict, arch: Arch) -> StateDict:
    """The authors' checkpoints (snap-research/EfficientFormer, efficientformer_v2.py)."""
    return efficientformerv2_from_timm(renamed(staged(state), EFFICIENTFORMERV2_OFFICIAL_RULES), arch)


EFFICIENTVIT_RULES = (
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
def efficientvit_from_timm(state: StateDict, arch: Arch) -> StateDict:
    """timm's efficientvit_b0-b3 and l1-l3; the stem's residual blocks are our first stage."""
    return renamed(
        renumbered(state, arch, pattern=r"^stages\.(\d+)\.blocks\.(\d+)\.", first=1), EFFICIENTVIT_RULES
    )


@foreign("official", "efficientvit")
def efficientvit_from_official(state: StateDict, arch: Arch) -> StateDict:
    """The authors' checkpoints, whose modules register their tensors in the order of ours.

    Tensors beyond the number of ours keep their names.
    """
    ours = build_on_meta(arch).state_dict()
    keys = [*ours, *list(state)[len(ours) :]]
    return dict(zip(keys, state.values(), strict=False))


POOLFORMER_OFFICIAL_RULES = (
    (r"^patch_embed\.proj\.", "stem.conv."),
    (r"^(stages\.\d+)\.proj\.", r"\1.downsample.conv."),
    (r"^(stages\.\d+)\.pos_embed$", r"\1.downsample.position"),
    (r"\.layer_scale_(\d)$", r".layer_scale\1.scale"),
    (r"^norm\.", "head.norm."),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
)
POOLFORMER_RULES = (
    (r"\.downsample\.conv\.", ".downsample.conv.conv."),
    (r"\.layer_scale(\d)\.scale$", r".scale\1.gamma"),
    (r"\.token_mixer\.", ".mixer."),
)


@foreign("timm", "poolformer")
def poolformer_from_timm(state: StateDict, arch: Arch) -> StateDict:
    """timm's poolformer_*.

    timm's head normalises after the mean, with epsilon 1e-6: the same outputs need a head with
    ``norm: ln, norm_first: false`` in `arch`. Every tensor fits the authors' head too.
    """
    state = renamed(renumbered(state, arch, pattern=BLOCKS, downsample=False), POOLFORMER_RULES)
    mlp = {k: v[..., None, None] for k, v in state.items() if ".mlp." in k and v.dim() == 2}
    return state | mlp


@foreign("official", "poolformer")
def poolformer_from_official(state: StateDict, arch: Arch) -> StateDict:
    """The authors' checkpoints (sail-sg/poolformer, poolformer.py and metaformer.py)."""
    state = poolformer_from_timm(renamed(staged(state), POOLFORMER_OFFICIAL_RULES), arch)
    return {key: tensor[0] if key.endswith(".position") else tensor for key, tensor in state.items()}


VIT_RULES = (
    (r"^patch_embed\.proj\.", "stem.conv."),
    (r"^cls_token$", "stages.0.downsample.class_token"),
    (r"^pos_embed$", "stages.0.downsample.positions"),
    (r"^blocks\.", "stages.0.global_."),
    (r"^norm\.", "head.norm."),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
)


@foreign("timm", "vit")
def vit_from_timm(state: StateDict, arch: Arch) -> StateDict:
    """Our names; every tensor has the same layout."""
    return renamed(state, VIT_RULES)


def converter(source: str, family: str) -> Converter:
    """Return the converter registered for a source and a family.

    Raises ValueError naming those that exist.
    """
    if (source, family) not in _CONVERTERS:
        known = ", ".join(sorted(f"{s}/{f}" for s, f in _CONVERTERS))
        raise ValueError(f"no weights of {source!r} can be read for family {family!r}; there are: {known}")
    return _CONVERTERS[source, family]


def sources(family: str) -> tuple[str, ...]:
    """Whose weights of `family` can be read, timm's first."""
    return tuple(sorted((source for source, f in _CONVERTERS if f == family), reverse=True))


def renamed(state: StateDict, rules: Iterable[tuple[str, str]]) -> StateDict:
    """Return every key after the substitutions of `rules` (regular expression, replacement), in order."""
    result = {}
    for key, tensor in state.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        result[key] = tensor
    return result
