"""Arch: what enters equality and the hash, what can be derived, what cannot be built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hvnas.arch import INNER, Arch, Run, Stage, list_models, load_arch, save_arch, to_dict
from hvnas.blocks.head import Classifier
from hvnas.blocks.mbconv import MBConv
from hvnas.blocks.metaformer import MB4D
from hvnas.blocks.stem import ConvDown, ConvStem


def small() -> Arch:
    """Two stages, every field of a block left at its default."""
    return Arch(
        name="small",
        resolution=64,
        stem=ConvStem(out=16),
        stages=(
            Stage(local=Run(block=MB4D(out=16), depth=1)),
            Stage(
                downsample=INNER,
                local=Run(block=MBConv(out=32), depth=2, vary=(("expand", (4, 2)),)),
            ),
        ),
        head=Classifier(out=10),
    )


def test_parts_are_labelled_in_order() -> None:
    labels = [label for label, _ in small().parts()]
    assert labels == ["stem", "stages.0.local.0", "stages.1.local.0", "stages.1.local.1", "head"]
    blocks = dict(small().parts())
    first, second = blocks["stages.1.local.0"], blocks["stages.1.local.1"]
    assert isinstance(first, MBConv) and isinstance(second, MBConv)
    assert (first.stride, first.expand, second.stride, second.expand) == (2, 4, 1, 2)


def test_global_tokens_are_a_part_behind_the_stem() -> None:
    labels = [label for label, _ in load_arch("mobileformer_26m").parts()]
    assert labels[:2] == ["stem", "tokens"]


def test_program_counts_every_part() -> None:
    program = small().lower()
    assert program.resolution == 64
    assert len(program.labels) == len(program.ops)
    assert set(program.labels) == {label for label, _ in small().parts()}
    assert all(-1 <= source < i for i, op in enumerate(program.ops) for source in op.inputs)


def test_name_published_and_found_do_not_enter_equality_or_hash() -> None:
    arch = small()
    other = replace(arch, name="other", published={"top1": 1.0}, found={"seed": 0})
    assert other == arch
    assert hash(other) == hash(arch)
    assert other.hash == arch.hash


def test_hash_depends_on_everything_else() -> None:
    arch = small()
    others = [
        arch.with_(classes=11),
        arch.with_(resolution=96),
        replace(arch, stem=ConvStem(out=16, act="gelu")),
        replace(arch, stages=arch.stages[:1]),
        replace(arch, tokens=(3, 16)),
    ]
    assert len({other.hash for other in [arch, *others]}) == 1 + len(others)


def test_hash_is_the_same_for_whole_numbers_written_either_way() -> None:
    arch = small()
    runs = [Run(block=MBConv(out=32, expand=e), depth=2, vary=(("expand", (e, e / 2)),)) for e in (4, 4.0)]
    built = [
        replace(arch, stages=(Stage(local=Run(block=MB4D(out=16, expand=e), depth=1)), Stage(local=run)))
        for e, run in zip((4, 4.0), runs, strict=True)
    ]
    assert built[0] == built[1]
    assert built[0].hash == built[1].hash


@pytest.mark.parametrize("name", list_models())
def test_hash_survives_the_file(name: str, tmp_path: Path) -> None:
    arch = load_arch(name)
    save_arch(arch, tmp_path / "again.yaml")
    assert load_arch(tmp_path / "again.yaml").hash == arch.hash


def test_hash_of_an_arch_built_in_code_is_that_of_its_file(tmp_path: Path) -> None:
    save_arch(small(), tmp_path / "small.yaml")
    loaded = load_arch(tmp_path / "small.yaml")
    assert loaded == small()
    assert loaded.hash == small().hash


def test_fixed_points_differ_in_hash_exactly_where_they_differ() -> None:
    archs = {load_arch(name) for name in list_models()}
    assert len({arch.hash for arch in archs}) == len(archs)


def test_with() -> None:
    arch = load_arch("efficientformer_l1")
    assert arch.with_() == arch
    assert arch.with_().published == arch.published
    assert arch.with_(name="mine").published == arch.published
    ten = arch.with_(classes=10, resolution=160, name="ten")
    assert (ten.head.out, ten.resolution, ten.name, ten.published) == (10, 160, "ten", None)
    assert ten.stages == arch.stages
    assert arch.lower().params - arch.with_(classes=10).lower().params == 2 * 990 * (448 + 1)


def test_lower_names_the_part_that_does_not_fit() -> None:
    wrong = replace(small(), stages=(Stage(local=Run(block=MB4D(out=24), depth=1)),))
    with pytest.raises(ValueError, match=r"^stages\.0\.local\.0 \(mb4d\): .*16 channels arrive, out is 24"):
        wrong.lower()


def test_states_are_what_each_block_is_given() -> None:
    states = {label: state.map for label, _, state in small().states()}
    assert states == {
        "stem": (3, 64, 64),
        "stages.0.local.0": (16, 16, 16),
        "stages.1.local.0": (16, 16, 16),
        "stages.1.local.1": (32, 8, 8),
        "head": (32, 8, 8),
    }


def test_runs_and_stages_refuse_what_is_empty() -> None:
    with pytest.raises(ValueError, match="depth: must be >= 1"):
        Run(block=MB4D(out=16), depth=0)
    with pytest.raises(ValueError, match="expand: needs 2 values"):
        Run(block=MB4D(out=16), depth=2, vary=(("expand", (4,)),))
    with pytest.raises(ValueError, match="needs a local or a global run"):
        Stage(downsample=ConvDown(out=16))
    with pytest.raises(ValueError, match="mb4d cannot"):
        Stage(downsample=INNER, local=Run(block=MB4D(out=16), depth=1))


def test_widths_may_vary_within_a_run() -> None:
    run = Run(block=MBConv(out=16), depth=2, vary=(("out", (16, 24)),))
    assert run.width == Stage(local=run).width == 24
    assert [block.out for block in run.blocks()] == [16, 24]


def test_to_dict_is_complete() -> None:
    data = to_dict(small())
    assert list(data) == ["schema", "name", "resolution", "stem", "stages", "head"]
    assert data["stages"][1]["local"] == {
        "type": "mbconv",
        "depth": 2,
        "width": 32,
        "expand": [4, 2],
        "kernel": 3,
        "se": 0,
        "act": "silu",
        "fewer_norm": False,
        "eps": 1e-5,
    }
