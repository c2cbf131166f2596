"""A restriction may bring blocks of its own, and nothing else that its parent has not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvnas.space import load_space

SPACE = """
schema: hvnas.space/1
parent: efficientformer
name: with-dense
blocks: {dense: {type: conv_residual}, fused_gelu: {type: fused_mbconv, act: gelu, reads: [expand]}}
stage: {local: [mb4d, dense, fused_gelu]}
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_added_blocks_are_members(tmp_path: Path) -> None:
    parent, space = load_space("efficientformer"), load_space(write(tmp_path / "s.yaml", SPACE))
    assert space.size > parent.size and space.hash != parent.hash
    rows = space.sample(200, rng=np.random.default_rng(0))
    found = {run.block.type for row in rows for stage in space.decode(row).stages for _, run in stage.runs}
    assert {"mb4d", "conv_residual", "fused_mbconv"} <= found
    for row in rows[:20]:
        arch = space.decode(row)
        assert arch in space and (space.encode(arch) == row).all()
    assert set(space.fixed_points()) == set(parent.fixed_points())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dense: {", "mb3d: {", r"blocks\.mb3d: the parent space has a block of that name"),
        ("type: conv_residual", "type: nothing", "nothing"),
        (
            "stage: {local: [mb4d, dense",
            "stages: [{local: [mb4d, other",
            "'other' is not in the parent space",
        ),
        ("reads: [expand]", "reads: [kernel]", r"blocks\.fused_gelu\.reads"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = SPACE.replace(old, new).replace(
        "fused_gelu]}\n", "fused_gelu]}" + ("]\n" if "stages" in new else "\n")
    )
    if "stages" in new:
        text = text.replace("}]", "}, {}, {}, {}]")
    with pytest.raises(ValueError, match=message):
        load_space(write(tmp_path / "s.yaml", text))
