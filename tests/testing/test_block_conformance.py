"""Every registered block passes the conformance cases, and the cases fail blocks that should fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import hvnas
import hvnas.blocks.base as registry
import hvnas.nn.base as modules
from hvnas.blocks import Block, register_block
from hvnas.nn import module_for
from hvnas.ops import Lowered, State, Tape
from hvnas.testing.blocks import BlockConformance


@pytest.mark.parametrize("name", hvnas.list_blocks())
class TestRegisteredBlocks(BlockConformance):
    @pytest.fixture(autouse=True)
    def _block(self, name: str) -> None:
        self.name = name


def test_every_role_is_there() -> None:
    roles = {registry.block_class(name).role for name in hvnas.list_blocks()}
    assert roles == {"stem", "downsample", "body", "head", "tokens"}


@pytest.fixture
def registered() -> Iterator[Callable[..., BlockConformance]]:
    """``registered(module)``: cases for a 3x3 convolution that becomes `module`; forgotten afterwards."""

    def register(module: type[nn.Module], odd: bool = True) -> BlockConformance:
        @register_block("broken")
        @dataclass(frozen=True, kw_only=True)
        class Broken(Block):
            def lower(self, state: State) -> Lowered:
                tape = Tape(state)
                if not odd and tape.map.shape[1] % 2:
                    raise ValueError("no")
                return tape.finish(map=tape.conv(tape.map, self.out, kernel=3))

        module_for(Broken)(module)
        cases = BlockConformance()
        cases.name = "broken"
        return cases

    yield register
    cls = registry._BLOCKS.pop("broken", None)
    if cls is not None:
        del modules._MODULES[cls]


class Conv(nn.Module):
    """What the lowering of `broken` says."""

    def __init__(self, block: Block, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(block.out, block.out, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Unused(Conv):
    def __init__(self, block: Block, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__(block, state)
        self.extra = nn.Parameter(torch.zeros(3))


class Biased(Conv):
    def __init__(self, block: Block, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__(block, state)
        self.conv = nn.Conv2d(64, 64, 3, padding=1)


class Strided(Conv):
    def __init__(self, block: Block, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__(block, state)
        self.conv = nn.Conv2d(64, 64, 3, 2, padding=1, bias=False)


class Random(Conv):
    def __init__(self, block: Block, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__(block, state)
        self.hidden = torch.randn(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.hidden.item()


class Numbered(Conv):
    made = 0

    def __init__(self, block: Block, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__(block, state)
        Numbered.made += 1
        self.number = Numbered.made

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.number


Registered = Callable[..., BlockConformance]


def test_a_sound_block_passes(registered: Registered) -> None:
    cases = registered(Conv)
    for name in dir(cases):
        if name.startswith("test_"):
            getattr(cases, name)()


def test_other_work_than_lowered_fails(registered: Registered) -> None:
    cases = registered(Biased)
    with pytest.raises(AssertionError, match=r"only traced.*conv"):
        cases.test_trace_is_what_lower_says()
    with pytest.raises(AssertionError):
        cases.test_parameters_are_those_of_the_program()


def test_other_shapes_than_lowered_fail(registered: Registered) -> None:
    with pytest.raises(AssertionError, match=r"returned \[\(64, 16, 16\)\], lowered to \[\(64, 32, 32\)\]"):
        registered(Strided).test_output_has_the_lowered_shape()


def test_parameters_without_gradient_fail(registered: Registered) -> None:
    with pytest.raises(AssertionError, match="extra has no gradient"):
        registered(Unused).test_backward_reaches_every_parameter()


def test_state_outside_the_state_dict_fails(registered: Registered) -> None:
    with pytest.raises(AssertionError):
        registered(Random).test_state_dict_round_trip()


def test_modules_that_differ_by_more_than_their_tensors_fail(registered: Registered) -> None:
    with pytest.raises(AssertionError, match="Broken"):
        registered(Numbered).test_every_block_is_a_slice_of_a_larger_one()


def test_a_refusal_without_reason_fails(registered: Registered) -> None:
    with pytest.raises(AssertionError, match="no"):
        registered(Conv, odd=False).test_odd_sizes_work_or_name_the_constraint()
