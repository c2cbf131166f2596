"""PoolFormer computes what timm's computes, with either head and as a hybrid; it reads the authors' names."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from hvnas.arch import Arch, load_arch
from hvnas.nn import build
from hvnas.nn.foreign import converter

timm = pytest.importorskip("timm")

LARGE = [pytest.param(f"poolformer_{n}", marks=pytest.mark.slow) for n in ("s24", "s36", "m36", "m48")]


class OfficialHead(nn.Module):
    """timm's network with the authors' head: GroupNorm on the map, then mean and classifier."""

    def __init__(self, theirs: nn.Module) -> None:
        super().__init__()
        self.stem, self.stages, self.head = theirs.stem, theirs.stages, theirs.head
        norm = nn.GroupNorm(1, theirs.num_features)
        norm.weight, norm.bias = theirs.head.norm.weight, theirs.head.norm.bias
        self.head.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.head.fc(self.head.norm(self.stages(self.stem(x))).mean((2, 3)))


def timm_head(arch: Arch) -> Arch:
    """`arch` with timm's head: mean, then LayerNorm of epsilon 1e-6."""
    return replace(arch, head=arch.head.with_(norm="ln", norm_first=False))


@pytest.mark.parametrize("name", ["poolformer_s12", *LARGE])
def test_logits_with_the_authors_head(name: str, parity) -> None:
    parity(OfficialHead(timm.create_model(name)), load_arch(name), torch.float32, torch.float64)


@pytest.mark.parametrize("name", ["poolformer_s12", *LARGE])
def test_logits_with_timms_head(name: str, parity) -> None:
    parity(timm.create_model(name), timm_head(load_arch(name)), torch.float32, torch.float64)


def test_features() -> None:
    theirs = timm.create_model("poolformer_s12").eval()
    arch = load_arch("poolformer_s12")
    ours = build(arch).eval()
    ours.load_state_dict(converter("timm", "poolformer")(theirs.state_dict(), arch))
    image = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        wanted, got = theirs.forward_features(image), ours.forward_features(image)
    assert wanted.shape == (2, 512, 7, 7)
    assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_attention_hybrid(parity) -> None:
    """[Pool, Pool, Pool, Attention], built of timm's parts; timm has no position map, so it is left out."""
    from timm.layers import LayerNorm, LayerNorm2d
    from timm.models.metaformer import Attention, MetaFormer, Pooling

    theirs = MetaFormer(
        token_mixers=[Pooling, Pooling, Pooling, partial_class(Attention, proj_bias=True)],
        norm_layers=[partial(LayerNorm2d, eps=1e-5)] * 3 + [partial(LayerNorm, eps=1e-5)],
        mlp_act=nn.GELU,
        mlp_bias=True,
        downsample_norm=None,
        layer_scale_init_values=1e-5,
        res_scale_init_values=None,
        use_mlp_head=False,
    )
    arch = load_arch("poolformer_s12_pppa")
    last = arch.stages[3]
    without = replace(last, downsample=last.downsample.with_(position=False))
    arch = replace(arch, stages=(*arch.stages[:3], without))
    parity(theirs, timm_head(arch), torch.float64)


def partial_class(cls: type[nn.Module], **fixed: object) -> type[nn.Module]:
    """A subclass of `cls` with some arguments fixed: timm asks for the class of a mixer."""

    def __init__(self: nn.Module, *args: object, **kwargs: object) -> None:
        cls.__init__(self, *args, **kwargs, **fixed)

    return type(cls.__name__, (cls,), {"__init__": __init__})


def test_the_authors_names() -> None:
    """timm's own reader of the authors' checkpoints gives the names that we started from."""
    from timm.models.metaformer import checkpoint_filter_fn

    theirs = timm.create_model("poolformer_s12")
    state = theirs.state_dict()
    official = {}
    for key, tensor in state.items():
        key = re.sub(r"^stages\.(\d)\.blocks\.", lambda m: f"network.{2 * int(m[1])}.", key)
        key = re.sub(r"^stages\.(\d)\.downsample\.conv", lambda m: f"network.{2 * int(m[1]) - 1}.proj", key)
        key = re.sub(r"layer_scale(\d)\.scale", r"layer_scale_\1", key)
        key = (
            key.replace("stem.conv", "patch_embed.proj")
            .replace("head.fc", "head")
            .replace("head.norm", "norm")
        )
        official[key] = tensor
    assert checkpoint_filter_fn(official, theirs).keys() == state.keys()
    arch = load_arch("poolformer_s12")
    ours, same = (converter(s, "poolformer")(d, arch) for s, d in (("official", official), ("timm", state)))
    assert ours.keys() == same.keys() == build(arch).state_dict().keys()
    assert all(torch.equal(ours[key], same[key]) for key in same)


def test_the_authors_names_of_a_hybrid() -> None:
    """metaformer_ppaa: the position map is an entry of its own, which moves all after it by one."""
    arch = load_arch("poolformer_s12_ppaa")
    wanted = build(arch).state_dict()
    official = {}
    for key, tensor in wanted.items():
        key = key.replace("local.", "").replace("global_.", "").replace(".mixer.", ".token_mixer.")
        key = re.sub(r"scale(\d)\.gamma", r"layer_scale_\1", key)
        key = re.sub(r"^stages\.2\.downsample\.position", "network.4.pos_embed", key)
        key = re.sub(
            r"^stages\.(\d)\.downsample\.conv\.conv",
            lambda m: f"network.{(1, 3, 6)[int(m[1]) - 1]}.proj",
            key,
        )
        key = re.sub(r"^stages\.(\d)", lambda m: f"network.{(0, 2, 5, 7)[int(m[1])]}", key)
        key = (
            key.replace("stem.conv", "patch_embed.proj")
            .replace("head.fc", "head")
            .replace("head.norm", "norm")
        )
        official[key] = tensor[None] if key.endswith("pos_embed") else tensor
    got = converter("official", "poolformer")(official, arch)
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[key], wanted[key]) for key in wanted)
