"""Columns and features of known networks."""

from __future__ import annotations

import numpy as np
import pytest

import hvnas
from hvnas.accuracy.surrogate.ablations import ablation_values
from hvnas.accuracy.surrogate.features import (
    COLUMNS,
    FEATURES,
    LEVELS,
    NAMES,
    VECTOR,
    derive,
    level,
    positions,
)
from hvnas.ops import Op, evaluate_columns


def read(name: str) -> dict[str, float]:
    program = hvnas.load_arch(name).lower()
    return dict(zip(NAMES, evaluate_columns(COLUMNS, program), strict=True))


@pytest.mark.parametrize("resolution", [160, 192, 224, 256, 288])
def test_levels_tell_strides_apart_at_every_resolution_of_the_space(resolution: int) -> None:
    for stride, _ in LEVELS:
        side = resolution // stride
        assert level(Op("conv", (8, side, side), (8, side, side))) == stride
        assert level(Op("linear", (side * side, 8), (side * side, 8))) == stride
    assert level(Op("linear", (1, 8), (1, 8))) == VECTOR


def test_positions_of_maps_tokens_and_scores() -> None:
    assert positions(Op("conv", (3, 224, 224), (48, 112, 112))) == 112 * 112
    assert positions(Op("linear", (49, 448), (49, 1536))) == 49
    assert positions(Op("matmul", (8, 49, 32), (8, 49, 49))) == 49


def test_efficientformer_l1_by_its_layout() -> None:
    found = read("efficientformer_l1")
    assert found["params"] == 12_289_928
    # Depths 3, 2, 6, 4, of which the last is a 3D block: one softmax, two products over 49 tokens.
    assert [found[f"pool_s{s}"] for s in (4, 8, 16, 32)] == [3, 2, 6, 3]
    assert found["softmaxes"] == 1
    assert [found[f"attention_s{s}"] for s in (4, 8, 16, 32)] == [0, 0, 0, 2]
    assert (found["stem_kernel"], found["stem_stride"], found["resolution"]) == (3, 2, 224)
    assert sum(found[f"macs_s{s}"] for s in (2, 4, 8, 16, 32)) == pytest.approx(found["macs"], rel=1e-3)


def test_coatnet_0_by_its_layout() -> None:
    found = read("coatnet_0")
    # Two MBConv blocks at stride 4, three at 8; five transformer blocks at 16, two at 32.
    assert [found[f"depthwise_s{s}"] for s in (4, 8, 16, 32)] == [2, 3, 0, 0]
    assert found["softmaxes"] == 7
    assert [found[f"attention_s{s}"] for s in (4, 8, 16, 32)] == [0, 0, 10, 4]
    assert found["gates"] > 0


def test_poolformer_has_a_patch_stem_and_group_norms() -> None:
    found = read("poolformer_s12")
    assert (found["stem_kernel"], found["stem_stride"]) == (7, 4)
    assert found["norm_gn"] >= 24
    assert found["softmaxes"] == 0


def test_features_name_what_attends_where_and_how_wide_the_end_is() -> None:
    names = ["efficientformer_l1", "coatnet_0", "poolformer_s12", "poolformer_s24"]
    columns = [read(name) for name in names]
    l1, coatnet, s12, s24 = (
        dict(zip(FEATURES, row, strict=True))
        for row in derive(np.array([list(each.values()) for each in columns]))
    )
    # One attention beside three poolings and the convolution that strides; all transformer blocks; none.
    assert [f["attend_s32"] for f in (l1, coatnet, s12)] == [0.2, 1.0, 0.0]
    assert [f["attend_s16"] for f in (l1, coatnet, s12)] == [0.0, 1.0, 0.0]
    assert [f["attend_fine"] for f in (l1, coatnet, s12)] == [0.0, 0.0, 0.0]
    # Width says nothing of depth, but for the one layer between the stages.
    assert s24["last_width"] == pytest.approx(s12["last_width"], abs=0.1)
    assert l1["last_width"] == pytest.approx(np.log(columns[0]["params_s32"] / columns[0]["layers_s32"]))
    assert 2.0 < s12["params_stride"] < 5.0


def test_features_are_finite_and_one_row_at_a_time_gives_the_same() -> None:
    names = ["efficientformer_l1", "coatnet_0", "poolformer_s12"]
    values = np.array([list(read(name).values()) for name in names])
    together = derive(values)
    assert together.shape == (3, len(FEATURES))
    assert np.isfinite(together).all()
    for row, alone in zip(together, values, strict=True):
        assert derive(alone[None])[0].tolist() == row.tolist()


def test_finer_patches_move_no_layer_to_another_stage() -> None:
    values = ablation_values()
    pair = [values[f"timm:xcit_tiny_24_p{patch}_224@224"] for patch in (16, 8)]
    coarse, fine = (dict(zip(FEATURES, row, strict=True)) for row in derive(np.array(pair)))
    for name in ("last_width", "depth_s8", "depth_s16", "params_stride", "macs_share_s16"):
        assert fine[name] == pytest.approx(coarse[name], rel=0.02), name
    assert fine["log_macs"] - coarse["log_macs"] == pytest.approx(np.log(4), rel=0.05)


def test_layers_of_relative_positions_are_no_tokens_apart() -> None:
    values = ablation_values()
    names = ("eca_botnext26ts_256@256", "swin_tiny_patch4_window7_224@224", "swinv2_tiny_window16_256@256")
    found = derive(np.array([values[f"timm:{name}"] for name in names]))
    bot, small, large = (dict(zip(FEATURES, row, strict=True)) for row in found)
    assert bot["apart"] == 0.0  # attends everywhere
    assert small["apart"] > large["apart"] > 0.0
