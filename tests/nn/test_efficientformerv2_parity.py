"""EfficientFormerV2 computes what timm's computes, and reads the authors' names."""

from __future__ import annotations

import re

import pytest
import torch

from hvnas.arch import load_arch
from hvnas.nn.foreign import converter

timm = pytest.importorskip("timm")

SMALL = ["efficientformerv2_s0", "efficientformerv2_s1"]
LARGE = [pytest.param(f"efficientformerv2_{size}", marks=pytest.mark.slow) for size in ("s2", "l")]


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_parity(name: str, parity) -> None:
    parity(timm.create_model(name), load_arch(name), torch.float32, torch.float64)


OFFICIAL = (
    (r"^stem\.conv1\.conv\.", "patch_embed.0."),
    (r"^stem\.conv1\.bn\.", "patch_embed.1."),
    (r"^stem\.conv2\.conv\.", "patch_embed.3."),
    (r"^stem\.conv2\.bn\.", "patch_embed.4."),
    (r"^(network\.[13])\.downsample\.conv\.conv\.", r"\1.proj."),
    (r"^(network\.[13])\.downsample\.conv\.bn\.", r"\1.norm."),
    (r"^network\.5\.downsample\.conv\.", "network.5."),
    (r"^network\.5\.downsample\.attn\.", "network.5.attn."),
    (r"\.q\.local\.", ".q.local.0."),
    (r"\.mlp\.(fc1|fc2|mid)\.conv\.", r".mlp.\1."),
    (r"\.mlp\.fc(\d)\.bn\.", r".mlp.norm\1."),
    (r"\.mlp\.mid\.bn\.", ".mlp.mid_norm."),
    (r"(attn|token_mixer)\.proj\.conv\.", r"\1.proj.1."),
    (r"(attn|token_mixer)\.proj\.bn\.", r"\1.proj.2."),
    (r"(\.(?:attn|token_mixer)\.[a-z_.]+)\.conv\.", r"\1.0."),
    (r"(\.(?:attn|token_mixer)\.[a-z_.]+)\.bn\.", r"\1.1."),
    (r"\.ls(\d)\.gamma", r".layer_scale_\1"),
    (r"^head_dist\.", "dist_head."),
)


def as_official(key: str) -> str:
    """The authors' name of a tensor of timm's: stages and what is between them in one list."""
    key = re.sub(r"^stages\.(\d)\.blocks\.", lambda m: f"network.{2 * int(m[1])}.", key)
    key = re.sub(r"^stages\.(\d)\.downsample", lambda m: f"network.{2 * int(m[1]) - 1}.downsample", key)
    for pattern, replacement in OFFICIAL:
        key = re.sub(pattern, replacement, key)
    return key


def test_the_authors_names() -> None:
    state = timm.create_model("efficientformerv2_s0").state_dict()
    official = {as_official(k): v[:, None, None] if k.endswith("gamma") else v for k, v in state.items()}
    for key in (
        "patch_embed.3.weight",
        "network.3.norm.running_mean",
        "network.5.conv.weight",
        "network.5.bn.weight",
        "network.5.attn.q.local.0.weight",
        "network.5.attn.q.proj.1.bias",
        "network.4.5.token_mixer.stride_conv.0.weight",
        "network.4.5.token_mixer.proj.2.weight",
        "network.6.0.mlp.mid_norm.weight",
        "network.6.0.layer_scale_2",
        "dist_head.weight",
    ):
        assert key in official
    arch = load_arch("efficientformerv2_s0")
    ours = converter("official", "efficientformerv2")(official, arch)
    same = converter("timm", "efficientformerv2")(state, arch)
    assert ours.keys() == same.keys()
    assert all(torch.equal(ours[key], same[key]) for key in same)
