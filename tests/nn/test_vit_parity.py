"""ViT computes what timm's computes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hvnas.arch import Arch, load_arch
from hvnas.nn import build
from hvnas.nn.foreign import converter
from hvnas.ops.trace import trace

timm = pytest.importorskip("timm")


def twin(name: str, *, depth: int) -> Arch:
    """ViT-S/16 is ViT_P-4GF with an MLP of four times the width; ViT-B/16 is ViT_P-18GF."""
    arch = load_arch({"vit_small_patch16_224": "vit_p_4gf", "vit_base_patch16_224": "vit_p_18gf"}[name])
    (stage,) = arch.stages
    assert stage.global_ is not None
    run = replace(stage.global_, block=stage.global_.block.with_(expand=4), depth=depth)
    return replace(arch, stages=(replace(stage, global_=run),))


def test_parity_at_two_blocks(parity) -> None:
    name = "vit_small_patch16_224"
    parity(timm.create_model(name, depth=2), twin(name, depth=2), torch.float32, torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_small_patch16_224", "vit_base_patch16_224"])
def test_parity_at_full_depth(name: str, parity) -> None:
    parity(timm.create_model(name), twin(name, depth=12), torch.float32, torch.float64)


def test_parity_of_the_tokens_before_the_classifier() -> None:
    theirs = timm.create_model("vit_small_patch16_224", depth=2).double().eval()
    arch = twin("vit_small_patch16_224", depth=2)
    ours = build(arch).double().eval()
    ours.load_state_dict(converter("timm", "vit")(theirs.state_dict(), arch))
    image = torch.randn(2, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        wanted = theirs.forward_features(image)
        got = ours.head.norm(ours.forward_features(image))
    assert got.shape == (2, 197, 384)
    assert (got - wanted).abs().max() <= 1e-10 * wanted.abs().max()


def test_traces_to_the_same_program_but_for_the_last_norm() -> None:
    """timm normalises every token before it takes the class token; here the class token is taken first."""
    with torch.device("meta"):
        theirs = timm.create_model("vit_small_patch16_224")
    ours_only, theirs_only = twin("vit_small_patch16_224", depth=12).lower().difference(trace(theirs))
    assert [(key[0], key[1]) for key in ours_only] == [("norm", (1, 384))]
    assert [(key[0], key[1]) for key in theirs_only] == [("norm", (197, 384))]
