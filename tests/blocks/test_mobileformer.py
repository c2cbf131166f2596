"""Mobile-Former: the published models, their counts, the ablation switches, and tokens beside the map."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from hvnas.arch import INNER, Arch, Run, Stage, load_arch
from hvnas.arch.arch import to_dict
from hvnas.arch.files import from_dict
from hvnas.blocks import lower_block
from hvnas.blocks.head import Classifier
from hvnas.blocks.metaformer import MB4D
from hvnas.blocks.mobileformer import BneckLite, GlobalTokens, MobileFormer, MobileFormerHead
from hvnas.blocks.stem import ConvStem
from hvnas.nn import build_on_meta
from hvnas.ops import TOKENS, State
from hvnas.ops.trace import trace

# Counts of the authors' code: parameters; MACs (M) of convolutions, linear layers and attention
# products; elements (M) that pass dynamic ReLU.
COUNTS = {
    "mobileformer_26m": (3_232_788, 16.709, 5.205, 1.637, 0.818),
    "mobileformer_52m": (3_469_092, 42.449, 5.205, 1.637, 0.818),
    "mobileformer_96m": (4_585_252, 80.916, 7.380, 3.721, 1.218),
    "mobileformer_151m": (7_595_828, 116.205, 22.591, 7.453, 1.801),
    "mobileformer_214m": (9_425_920, 174.661, 24.868, 8.845, 2.263),
    "mobileformer_294m": (11_422_648, 248.791, 27.176, 10.764, 2.879),
    "mobileformer_508m": (13_976_976, 451.959, 30.307, 16.202, 3.940),
}
BOTH = State(map=(64, 14, 14), tokens=(6, 192))
PLAIN = {"to_former": False, "former": False, "from_former": False, "act": "relu"}


@pytest.mark.parametrize("name", COUNTS)
def test_fixed_point(name: str, check_fixed_point) -> None:
    check_fixed_point(name, params=COUNTS[name][0], macs_within=0.04)


@pytest.mark.parametrize("name", COUNTS)
def test_macs_by_kind(name: str) -> None:
    program = load_arch(name).lower()
    macs = Counter[str]()
    for op in program.ops:
        macs[op.kind] += op.macs
    dynamic = sum(op.out_count for op in program.ops if op.variant == "maximum")
    found = [macs["conv"], macs["linear"], macs["matmul"], dynamic]
    assert [round(n / 1e6, 3) for n in found] == list(COUNTS[name][1:])


def test_widths_that_vary_inside_a_run() -> None:
    stage = load_arch("mobileformer_294m").stages[3]
    assert [block.out for _, block in stage.parts()] == [96, 96, 128, 128]
    assert stage.width == 128


def network(
    *, tokens: tuple[int, int] | None = (6, 64), head: MobileFormerHead | None = None, **fields: object
) -> Arch:
    """Three blocks at two sizes behind a lite bottleneck and an MB4D, which do not read the tokens."""
    block = MobileFormer(out=16, **fields)  # type: ignore[arg-type]
    return Arch(
        resolution=64,
        tokens=tokens,
        stem=ConvStem(out=8, ratios=(1.0,), kernels=(3,), strides=(2,), bias=False),
        stages=(
            Stage(local=Run(block=BneckLite(out=8), depth=1), global_=Run(block=MB4D(out=8), depth=1)),
            Stage(downsample=INNER, local=Run(block=block, depth=3, vary=(("out", (16, 16, 32)),))),
        ),
        head=head or MobileFormerHead(out=10, hidden=32),
    )


VARIANTS = {
    "default": {},
    "one token": {"tokens": (1, 64)},
    "one token, no gate": {"tokens": (1, 64), "gate": False},
    "no Mobile->Former": {"to_former": False},
    "no Mobile->Former at all": {"to_former": False, "head": MobileFormerHead(hidden=32, to_former=False)},
    "no Former": {"former": False},
    "no Mobile<-Former": {"from_former": False},
    "static activation": {"act": "relu6"},
    "strided depthwise": {"down": "depthwise"},
    "no shortcut": {"shortcut": False},
    "keys and values of their own": {"shared_kv": False},
    "groups": {"groups": 4},
    "tokens read by the head alone": {**PLAIN},
    "tokens only joined on": {**PLAIN, "head": MobileFormerHead(hidden=32, to_former=False)},
    "no tokens": {
        **PLAIN,
        "tokens": None,
        "head": MobileFormerHead(hidden=32, to_former=False, token=False),
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_traces_to_what_it_lowers_to(name: str) -> None:
    arch = network(**VARIANTS[name])  # type: ignore[arg-type]
    traced = trace(build_on_meta(arch), resolution=arch.resolution)
    assert traced.difference(arch.lower()) == ({}, {})
    assert from_dict(to_dict(arch), where="test") == arch


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "default"])
def test_every_switch_changes_the_network(name: str) -> None:
    assert network(**VARIANTS[name]).lower() != network().lower()  # type: ignore[arg-type]


def test_tokens_pass_by_a_block_that_does_not_read_them() -> None:
    lowered = lower_block(MB4D(out=64), BOTH)
    alone = lower_block(MB4D(out=64), State(map=BOTH.map))
    assert lowered.ops == alone.ops
    assert lowered.state == BOTH
    assert lowered.tokens_index == TOKENS


def test_tokens_enter_behind_the_stem() -> None:
    arch = network()
    labels = [label for label, _ in arch.parts()]
    assert labels[:3] == ["stem", "tokens", "stages.0.local.0"]
    program = arch.lower()
    (embed,) = (op for op in program.ops if op.kind == "embed")
    assert embed.shape_out == (6, 64)
    assert embed.params == 384
    readers = [label for op, label in zip(program.ops, program.labels, strict=True) if _reads(op, program)]
    assert set(readers) == {"stages.1.local.0"}


def _reads(op, program) -> bool:
    return any(i >= 0 and program.ops[i].kind == "embed" for i in op.inputs)


def test_a_stride_needs_no_even_map() -> None:
    state = State(map=(16, 15, 13), tokens=(6, 64))
    assert MobileFormer(out=24, stride=2).lower(state).state == State(map=(24, 8, 7), tokens=(6, 64))


def test_shuffles_cost_nothing_and_groups_divide_the_pointwise_weights() -> None:
    one, four = (
        [op.params for op in MobileFormer(out=64, groups=g).lower(BOTH).ops if op.kind == "conv"]
        for g in (1, 4)
    )
    assert [a // b for a, b in zip(one, four, strict=True)] == [4, 1, 4]


@pytest.mark.parametrize(
    "block, state, words",
    [
        (MobileFormer(out=64), State(map=(64, 7, 7)), "takes tokens, but only a map arrives; set tokens"),
        (MobileFormer(out=64, heads=3), BOTH, "heads 3 must divide the width 64"),
        (MobileFormer(out=64, former_heads=5), BOTH, "former_heads 5 must divide the width 192"),
        (MobileFormer(out=63), BOTH, "heads 2 must divide the width 63"),
        (MobileFormer(out=64, groups=3), BOTH, "groups 3 must divide"),
        (MobileFormer(out=64, stride=2, expand=1.2), BOTH, "groups 64 must divide"),
        (MobileFormerHead(), State(map=(64, 7, 7)), "takes tokens"),
        (GlobalTokens(out=8), State(tokens=(196, 64), grid=(14, 14)), "takes a map"),
        (Classifier(), BOTH, "neither reads them nor lets them pass"),
    ],
)
def test_refuses_a_state(block, state: State, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lower_block(block, state)


@pytest.mark.parametrize(
    "fields, words",
    [({"down": "pool"}, "down must be one of"), ({"groups": 0}, "groups"), ({"heads": 0}, "heads")],
)
def test_refuses_fields(fields: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MobileFormer(out=64, **fields)


def test_head_refuses_a_bridge_whose_tokens_nobody_reads() -> None:
    with pytest.raises(ValueError, match="to_former needs token"):
        MobileFormerHead(token=False)


def test_another_number_of_tokens_changes_no_weight_of_the_blocks() -> None:
    arch = load_arch("mobileformer_96m")
    more = replace(arch, tokens=(5, 128))
    assert more.lower().params - arch.lower().params == 128
