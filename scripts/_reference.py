"""Networks that published ablations compare and that no library holds: timm's classes edited, and small ones.

A network is named ``MODEL/CHANGE``, such as ``maxvit_tiny/no_grid_3``. Sizes and block kinds are the papers';
where a paper does not print a detail, the choice is the one whose parameters match the print. Only what an
image costs is of interest, so nothing here is initialised for training.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from _timm import import_timm
from torch import nn


def network(name: str) -> nn.Module:
    """The network of a name. Raises KeyError for an unknown model or change."""
    model, _, change = name.partition("/")
    built: nn.Module = MODELS[model](change)
    return built


def _timm(name: str, **settings: Any) -> Any:
    return import_timm().create_model(name, pretrained=False, **settings)


# MetaFormer baselines (arXiv 2210.13452): PoolFormerV2 with another mixer.
METAFORMERS = {
    "s12": ((2, 2, 6, 2), (64, 128, 320, 512)),
    "s24": ((4, 4, 12, 4), (64, 128, 320, 512)),
    "s36": ((6, 6, 18, 6), (64, 128, 320, 512)),
    "m36": ((6, 6, 18, 6), (96, 192, 384, 768)),
    "m48": ((8, 8, 24, 8), (96, 192, 384, 768)),
}


class _RandomMixing(nn.Module):
    """Positions times a frozen random matrix. timm hands a mixer its width alone: the side is the class's."""

    side: int

    def __init__(self, dim: int, **_: Any) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.empty(self.side**2, self.side**2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = (x.flatten(2) @ self.matrix).reshape(x.shape)
        return y


class _RandomMixing14(_RandomMixing):
    side = 14


class _RandomMixing7(_RandomMixing):
    side = 7


def metaformer(change: str) -> nn.Module:
    """``identity_s24``: that mixer in every stage; ``random_s24``: random in stages 3 and 4, none before."""
    import_timm()
    from timm.models import metaformer as timm_metaformer

    mixer, _, size = change.partition("_")
    depths, dims = METAFORMERS[size]
    late = {"identity": [nn.Identity] * 2, "random": [_RandomMixing14, _RandomMixing7]}[mixer]
    model: nn.Module = timm_metaformer.MetaFormer(
        depths=depths,
        dims=dims,
        token_mixers=[nn.Identity, nn.Identity, *late],
        norm_layers=timm_metaformer.GroupNorm1NoBias,
        use_mlp_head=False,
    )
    return model


class _PlainAttention(nn.Module):
    """Single-head attention of iFormer without its modulation."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        from timm.models.iformer import ConvNorm

        self.q, self.k = ConvNorm(dim, inner), ConvNorm(dim, inner)
        self.v, self.proj = ConvNorm(dim, dim), ConvNorm(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.q(x).flatten(2), self.k(x).flatten(2), self.v(x).flatten(2)
        weights = (q.transpose(-2, -1) @ k).softmax(dim=-1)
        mixed: torch.Tensor = self.proj((v @ weights.transpose(-2, -1)).reshape(x.shape))
        return mixed


def iformer(change: str) -> nn.Module:
    """The road to iFormer-M (arXiv 2501.15369, section 3 and Table 7).

    ``4-2``: attention groups in stages 3 and 4, each for two blocks of convolutions; ``4-2-plain`` without
    modulation, ``4-2-blind`` without position encoding; ``depths-3-3-9-3``: convolutions alone, 3x3 stem.
    """
    first, *rest = change.split("-")
    if first == "depths":
        model = _iformer(tuple(map(int, rest)), (0, 0))
        model.stem.conv1.c, model.stem.conv2.c = (
            nn.Conv2d(conv.in_channels, conv.out_channels, 3, 2, 1, bias=False)
            for conv in (model.stem.conv1.c, model.stem.conv2.c)
        )
        return model
    groups = int(first), int(rest[0])
    # A group takes the place of two convolution blocks and is three blocks long; stage 4 is all attention.
    late = 3 * groups[1] if groups[1] else 2
    model = _iformer((2, 2, 18 + groups[0], late), groups)
    _alter_iformer(model, rest[1:])
    return model


def _iformer(depths: tuple[int, ...], groups: tuple[int, int]) -> Any:
    return _timm(
        "iformer_m",
        depths=depths,
        attn_groups=(0, 0, *groups),
        attn_head_dim_reduction=(0, 0, 1, 1),
        ffn_ratio=4,
    )


def _alter_iformer(model: Any, changes: list[str]) -> None:
    from timm.models.iformer import SHMA, RepCPE, Residual

    for module in list(model.modules()):
        if "plain" in changes and isinstance(module, Residual) and isinstance(module.module, SHMA):
            conv = module.module.q.c
            module.module = _PlainAttention(conv.in_channels, conv.out_channels)
        if "blind" in changes and isinstance(module, nn.Sequential):
            for name, child in list(module.named_children()):
                if isinstance(child, RepCPE):
                    setattr(module, name, nn.Identity())


def maxvit(change: str) -> nn.Module:
    """MaxViT-T with a part of one stage removed or replaced (arXiv 2204.01697, Tables 7 to 9)."""
    model = _timm("maxvit_tiny_tf_224")
    what, _, stage = change.rpartition("_")
    for block in model.stages[int(stage) - 1].blocks:
        if what == "no_grid":
            block.attn_grid = nn.Identity()
        elif what == "block_for_grid":
            block.attn_grid.partition_block = True
        elif what == "no_conv":
            block.conv = block.conv.shortcut
        else:
            raise KeyError(change)
    built: nn.Module = model
    return built


def levit(change: str) -> nn.Module:
    """LeViT-128S without one of its parts (arXiv 2104.01136, Table 4)."""
    from timm.models.levit import Attention, AttentionDownsample

    settings: dict[str, Any] = {
        "isotropic": {"embed_dim": (114,), "key_dim": 19, "num_heads": (3,), "depth": (11,)},
        "narrow": {"attn_ratio": 1, "mlp_ratio": 4},
    }.get(change, {})
    model = _timm("levit_128s", **settings)
    attentions = [m for m in model.modules() if isinstance(m, Attention | AttentionDownsample)]
    if change == "patch_stem":
        model.stem = nn.Sequential(nn.Conv2d(3, 128, 16, 16, bias=False), nn.BatchNorm2d(128))
    elif change == "layer_norm":
        _pre_norms(model)
    elif change == "no_bias":
        for module in attentions:
            module.get_attention_biases = lambda device: 0.0
    elif change == "no_attention_act":
        for module in attentions:
            module.proj.act = nn.Identity()
    elif not settings:
        raise KeyError(change)
    built: nn.Module = model
    return built


def _pre_norms(model: Any) -> None:
    """A layer norm before each residual branch for the batch norms of the linear layers."""
    from timm.models.levit import LevitBlock, LinearNorm

    for module in list(model.modules()):
        if isinstance(module, LinearNorm):
            module.bn = nn.Identity()
        if isinstance(module, LevitBlock):
            width = module.mlp.ln1.linear.in_features
            module.attn = nn.Sequential(nn.LayerNorm(width), module.attn)
            module.mlp = nn.Sequential(nn.LayerNorm(width), module.mlp)


class _OverMap(nn.Module):
    """A module of maps that ResMLP calls with channels and positions. Shape [batch, width, positions]."""

    def __init__(self, module: nn.Module, side: int) -> None:
        super().__init__()
        self.module, self.side = module, side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.module(x.unflatten(2, (self.side, self.side))).flatten(2)
        return y


def resmlp(change: str) -> nn.Module:
    """ResMLP-S12 with another mixer, norm or patch (arXiv 2105.03404, Table 3)."""
    from timm.models.mlp_mixer import MlpMixer, ResBlock

    patch = int(change.removeprefix("patch_")) if change.startswith("patch_") else 16
    norm = {"norm_layer": nn.LayerNorm} if change == "layer_norm" else {}
    mixer = partial(ResBlock, mlp_ratio=4)
    affine = import_timm().models.mlp_mixer.Affine
    model = MlpMixer(
        patch_size=patch,
        num_blocks=12,
        embed_dim=384,
        block_layer=lambda dim, length, _, **rest: mixer(dim, length, **rest),
        **(norm or {"norm_layer": affine}),
    )
    layer = _RESMLP_MIXERS.get(change)
    if layer is not None:
        for block in model.blocks:
            block.linear_tokens = layer(384, 14)
    return model


_RESMLP_MIXERS: dict[str, Callable[[int, int], nn.Module]] = {
    "identity": lambda width, side: nn.Identity(),
    "mlp": lambda width, side: nn.Sequential(
        nn.Linear(side**2, 4 * side**2), nn.GELU(), nn.Linear(4 * side**2, side**2)
    ),
    "conv": lambda width, side: _OverMap(nn.Conv2d(width, width, 3, padding=1), side),
    "depthwise": lambda width, side: _OverMap(nn.Conv2d(width, width, 3, padding=1, groups=width), side),
    "separable": lambda width, side: _OverMap(
        nn.Sequential(nn.Conv2d(width, width, 3, padding=1, groups=width), nn.Conv2d(width, width, 1)), side
    ),
}


class _LocalMlp(nn.Module):
    """A transformer's MLP with a depthwise 3x3 on its inner map; `prefix` class tokens pass it by."""

    def __init__(self, mlp: Any, side: int, prefix: int) -> None:
        super().__init__()
        width = mlp.fc1.out_features
        self.first, self.act, self.last = mlp.fc1, nn.GELU(), mlp.fc2
        self.local = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.side, self.prefix = side, prefix

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.act(self.first(x))
        tokens = hidden[:, self.prefix :].transpose(1, 2).unflatten(2, (self.side, self.side))
        local = self.act(self.local(tokens)).flatten(2).transpose(1, 2)
        y: torch.Tensor = self.last(torch.cat((hidden[:, : self.prefix], local), dim=1))
        return y


def localvit(change: str) -> nn.Module:
    """LocalViT (arXiv 2104.05707): a depthwise 3x3 inside every MLP of a transformer of timm's."""
    model = _timm(change)
    if hasattr(model, "layers"):
        for stage, layer in enumerate(model.layers):
            for block in layer.blocks:
                block.mlp = _LocalMlp(block.mlp, 56 // 2**stage, 0)
    else:
        for block in model.blocks:
            block.mlp = _LocalMlp(block.mlp, 14, 1)
    built: nn.Module = model
    return built


def dwnet(change: str) -> nn.Module:
    """DWNet (arXiv 2106.04263): Swin with a depthwise 7x7 between two linear layers for its attention."""
    from timm.models.swin_transformer import SwinTransformerBlock

    class Block(SwinTransformerBlock):
        def _attn(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.attn(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            return y

    model = _timm(f"swin_{change}_patch4_window7_224")
    for layer in model.layers:
        for block in layer.blocks:
            width = block.dim
            block.__class__ = Block
            block.attn = nn.Sequential(
                *(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
                nn.Conv2d(width, width, 7, padding=3, groups=width, bias=False),
                *(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 1)),
            )
    built: nn.Module = model
    return built


def _small(name: str) -> Callable[[str], nn.Module]:
    """A model of `_pyramids`, imported when it is built."""

    def build(change: str) -> nn.Module:
        import _pyramids

        found: nn.Module = getattr(_pyramids, name)(change)
        return found

    return build


MODELS: dict[str, Callable[[str], nn.Module]] = {
    "metaformer": metaformer,
    "iformer_m": iformer,
    "maxvit_tiny": maxvit,
    "levit_128s": levit,
    "resmlp_12": resmlp,
    "localvit": localvit,
    "dwnet": dwnet,
    "spach": _small("spach"),
    "cvt_13": _small("cvt"),
    "convnext_road": _small("convnext_road"),
    "litv2_s": _small("litv2"),
}
