"""What is not in a space: the error names the gene, or the part that no preset has."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hvnas.arch import Arch, load_arch
from hvnas.blocks.stem import ConvDown
from hvnas.space import Space, load_space

Edit = Callable[[Arch], Arch]


def run_field(stage: int, slot: str, **fields: Any) -> Edit:
    """Change fields of the block of a run."""

    def edit(arch: Arch) -> Arch:
        run = dict(arch.stages[stage].runs)[slot]
        return with_run(arch, stage, slot, replace(run, block=run.block.with_(**fields)))

    return edit


def run_depth(stage: int, slot: str, depth: int) -> Edit:
    """Change the depth of a run."""
    return lambda arch: with_run(arch, stage, slot, replace(dict(arch.stages[stage].runs)[slot], depth=depth))


def with_run(arch: Arch, stage: int, slot: str, run: Any) -> Arch:
    name = {"local": "local", "global": "global_"}[slot]
    stages = list(arch.stages)
    stages[stage] = replace(stages[stage], **{name: run})
    return replace(arch, stages=tuple(stages))


def with_downsample(stage: int, downsample: Any) -> Edit:
    def edit(arch: Arch) -> Arch:
        stages = list(arch.stages)
        stages[stage] = replace(stages[stage], downsample=downsample)
        return replace(arch, stages=tuple(stages))

    return edit


# Of EfficientFormer-L1.
OUTSIDE = {
    "resolution": (lambda arch: arch.with_(resolution=230), r"resolution 230 is not among 64, .*512"),
    "stages": (lambda arch: replace(arch, stages=arch.stages * 2), r"stages 8 is not among 1, 2, 3, 4, 5"),
    "tokens": (lambda arch: replace(arch, tokens=(5, 100)), r"tokens \(5, 100\) is not among None, "),
    "depth": (run_depth(2, "local", 13), r"stages\.2\.local\.depth 13 is not among 0, 1, 2"),
    "width": (run_field(3, "local", out=444), r"stages\.3\.\w+.*(444 is not among|not as wide)"),
    "expand": (
        run_field(2, "local", expand=5),
        r"stages\.2\.local\.expand 5 is not among those of the space",
    ),
    "a field that no preset has": (
        run_field(2, "local", pool=5),
        r"stages\.2\.local: no preset has its pool",
    ),
    "a block in the wrong run": (
        lambda arch: with_run(arch, 3, "local", arch.stages[3].global_),
        r"stages\.3\.local: mb3d is not among those of the space",
    ),
    "stem": (
        lambda arch: replace(arch, stem=arch.stem.with_(act="silu")),
        r"stem: no preset has its ",
    ),
    "stem width": (lambda arch: replace(arch, stem=arch.stem.with_(out=50)), r"stem\.width 50 is not among"),
    "head": (lambda arch: replace(arch, head=arch.head.with_(norm="none")), r"head: no preset has its "),
    "downsample": (
        with_downsample(1, ConvDown(out=96, norm="gn")),
        r"stages\.1\.downsample: no preset has its norm",
    ),
    "downsample missing": (with_downsample(1, None), r"stages\.1\.downsample none is not among"),
    "downsample width": (
        with_downsample(1, ConvDown(out=64)),
        r"stages\.1\.downsample is not as wide as the run after it",
    ),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_error_names_the_gene(hybrid: Space, case: str) -> None:
    edit, expected = OUTSIDE[case]
    arch = edit(load_arch("efficientformer_l1"))
    with pytest.raises(ValueError) as caught:
        hybrid.encode(arch)
    message = str(caught.value)
    assert message.startswith("not in ")
    assert "\n" not in message
    assert re.search(expected, message), message
    assert arch not in hybrid


def test_only_architectures_are_members(hybrid: Space) -> None:
    assert "efficientformer_l1" not in hybrid
    assert None not in hybrid


def test_name_and_classes_are_outside_the_encoding(hybrid: Space) -> None:
    arch = load_arch("efficientformer_l1")
    assert arch.with_(classes=7, name="mine") in hybrid


def test_profiles_name_the_gene(hybrid: Space) -> None:
    arch = load_arch("mobileformer_26m")
    run = arch.stages[1].local
    assert run is not None
    other = with_run(arch, 1, "local", replace(run, vary=(("expand", (1, 6)),)))
    with pytest.raises(
        ValueError, match=r"stages\.1\.local\.expand \[1, 6\] is not among those of the space"
    ):
        hybrid.encode(other)
    fixed = with_run(arch, 1, "local", replace(run, vary=(("kernel", (3, 5)),)))
    with pytest.raises(ValueError, match=r"stages\.1\.local: kernel cannot differ by block"):
        hybrid.encode(fixed)


def test_rules_are_part_of_membership() -> None:
    space = load_space("efficientformer")
    arch = load_arch("efficientformer_l1")
    assert arch in space
    local, global_ = arch.stages[3].local, arch.stages[3].global_
    assert local is not None and global_ is not None
    widths = {"block": replace(global_.block, out=224)}
    early = with_run(arch, 2, "global", dataclasses.replace(global_, **widths))
    with pytest.raises(ValueError, match=r"not in space efficientformer: its rules move stages\."):
        space.encode(early)


def test_limits_are_part_of_membership(mobile: Space) -> None:
    assert mobile.limits == {"params": 100e6, "macs": 12e9}
    assert load_arch("efficientformer_l7") in mobile
    spec = replace(mobile.spec, limits={"params": 10e6})
    arch = load_arch("efficientformer_l1")
    with pytest.raises(
        ValueError, match="not in space hybrid-mobile: 12,289,928 params exceed its limit of 10,0"
    ):
        Space(spec).encode(arch)
