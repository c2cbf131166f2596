"""Conformance cases for blocks: subclass `BlockConformance` in your tests and set `name`.

from hvnas.testing.blocks import BlockConformance

class TestMyBlock(BlockConformance):
    name = "my_block"
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from hvnas.arch import Arch
from hvnas.blocks import Block, block_class, has_stride, lower_block
from hvnas.blocks.mobileformer import GlobalTokens, MobileFormer
from hvnas.blocks.stem import PatchStem
from hvnas.blocks.vit import TokenEmbed
from hvnas.nn import Network, build, build_block
from hvnas.nn.base import init_weights
from hvnas.ops import Program, State
from hvnas.ops.trace import trace
from hvnas.space.canonical.traits import CLASS, MAP, PAIR, TOKENS, state_of
from hvnas.supernet.scoring import recalibrate

if TYPE_CHECKING:
    from hvnas.supernet.weights.slots import SlotPlan

BATCH = 2  # BatchNorm over vectors cannot train on one
CLASSES = 10
SLICED = 16  # side of the larger of two maps that share weights
TOLERANCE = 1e-5  # relative to the largest value: float32, other kernels

Data = Tensor | tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True)
class Case:
    """A block, the state that it is given, and the blocks that make that state of an image.

    Tokens that nothing reads never run: behind the block that adds them stands one that reads them.
    """

    block: Block
    state: State
    prefix: tuple[Block, ...]
    size: int

    def parts(self) -> Iterator[tuple[Block, State]]:
        """Every block with the state that it is given."""
        state = State(map=(3, self.size, self.size))
        reader = (
            (MobileFormer(out=self.state.map[0]),) if self.block.role == "tokens" and self.state.map else ()
        )
        for part in (*self.prefix, self.block, *reader):
            yield part, state
            state = lower_block(part, state).state

    @property
    def kind(self) -> tuple[object, ...]:
        """What tells the states apart that it is tried on, and its stride."""
        state = self.state
        return state.map is None, state.tokens is None, state.grid is None, self.block.own_stride or 1

    @property
    def after(self) -> State:
        """The state behind the last block."""
        part, state = list(self.parts())[-1]
        return lower_block(part, state).state

    def lower(self) -> Program:
        """All blocks as a Program; edges are those within each block."""
        ops = [op for part, state in self.parts() for op in lower_block(part, state).ops]
        return Program(tuple(ops), ("",) * len(ops), self.size)

    def build(self) -> nn.Sequential:
        """All blocks as a module of an image."""
        model = nn.Sequential(*(build_block(part, state) for part, state in self.parts()))
        init_weights(model)
        return model

    def image(self) -> Tensor:
        """The same images at each call. Shape [2, 3, size, size]."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(BATCH, 3, self.size, self.size, generator=generator)


class BlockConformance:
    """What every registered block must do. Subclass it and set `name`.

    The block is tried on every kind of state that it takes: a map, tokens of a map, tokens with a class
    token, and a map with global tokens where the block reads them; at stride 1 and, where it has a
    stride, at 2. Override `make` where the defaults of its fields do not fit `width`.
    """

    name: str
    width: int = 64
    sizes: tuple[int, int, int] = (32, 24, 16)
    odd_sizes: tuple[int, ...] = (7, 15, 33)

    def make(self) -> Block:
        """The block under test: `width` channels, all else by default."""
        cls = block_class(self.name)
        return cls(out=CLASSES if cls.role == "head" else self.width)

    def cases(self, size: int) -> Iterator[Case]:
        """The block, strided and not, on every kind of state of this size that it takes."""
        for block in self._strided(self.make()):
            for prefix, state in self._states(block, size):
                try:
                    lower_block(block, state)
                except ValueError:
                    continue
                yield Case(block, state, prefix, size)

    @staticmethod
    def _strided(block: Block) -> Iterator[Block]:
        yield block
        if has_stride(block) and block.role == "body":
            yield block.with_(stride=2)

    def _states(self, block: Block, size: int) -> Iterator[tuple[tuple[Block, ...], State]]:
        """Kinds of state to probe, each with the blocks that make it of an image."""
        if block.role == "stem":
            yield (), State(map=(3, size, size))
            return
        stem = PatchStem(out=self.width, kernel=1, stride=1, padding=0)
        embeds = {
            MAP: (),
            TOKENS: (TokenEmbed(out=self.width, class_token=False),),
            CLASS: (TokenEmbed(out=self.width),),
            PAIR: (GlobalTokens(out=64, count=4),),
        }
        for kind, embed in embeds.items():
            if kind != PAIR or block.two_branch:
                yield (stem, *embed), state_of(kind, self.width, size)

    def test_takes_some_state(self) -> None:
        """At every size there is a state that the block takes."""
        for size in self.sizes:
            assert list(self.cases(size)), f"{self.name} takes no state of size {size}"

    def test_two_branch_blocks_read_tokens(self) -> None:
        """A block that says it reads global tokens takes them; others let them pass, or refuse them."""
        for size in self.sizes:
            block, state = self.make(), state_of(PAIR, self.width, size)
            if block.two_branch:
                assert any(case.state == state for case in self.cases(size))
            elif block.role in ("body", "downsample"):
                try:
                    after = lower_block(block, state).state
                except ValueError as error:
                    assert_one_line(error)
                else:
                    assert after.tokens == state.tokens

    def test_trace_is_what_lower_says(self) -> None:
        """At three sizes the module computes exactly the ops that the block lowers to."""
        for size in self.sizes:
            for case in self.cases(size):
                assert_traces(case)

    def test_output_has_the_lowered_shape(self) -> None:
        """What the module returns is the state that the block leaves."""
        for case in self.cases(self.sizes[0]):
            with torch.no_grad():
                data = case.build().eval()(case.image())
            assert_state(data, case.after)

    def test_parameters_are_those_of_the_program(self) -> None:
        """As many parameters as the lowering says."""
        for case in self.cases(self.sizes[0]):
            assert sum(p.numel() for p in case.build().parameters()) == case.lower().params

    def test_backward_reaches_every_parameter(self) -> None:
        """A step of training gives every parameter a finite gradient."""
        for case in self.cases(self.sizes[-1]):
            torch.manual_seed(0)
            model = case.build().train()
            loss = sum((part.square().mean() for part in tensors(model(case.image()))), torch.zeros(()))
            loss.backward()
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None, f"{case}: {name} has no gradient"
                assert parameter.grad.isfinite().all(), f"{case}: the gradient of {name} is not finite"

    def test_state_dict_round_trip(self) -> None:
        """Weights and statistics survive a safetensors file and decide the output."""
        for case in self.cases(self.sizes[-1]):
            torch.manual_seed(0)
            model, other = case.build().train(), case.build()
            model(case.image())  # so that statistics differ from their initial values
            other.load_state_dict(load(save(model.state_dict())))
            with torch.no_grad():
                wanted, got = (tensors(m.eval()(case.image())) for m in (model, other))
            assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))

    def test_odd_sizes_work_or_name_the_constraint(self) -> None:
        """A map of odd size is lowered, built and traced as any other, or refused in one line."""
        for size in self.odd_sizes:
            for block in self._strided(self.make()):
                for prefix, state in self._states(block, size):
                    case = Case(block, state, prefix, size)
                    try:
                        lower_block(block, state)
                    except ValueError as error:
                        assert_one_line(error)
                        continue
                    assert_traces(case)
                    with torch.no_grad():
                        assert_state(case.build().eval()(case.image()), case.after)

    def test_every_block_is_a_slice_of_a_larger_one(self) -> None:
        """In a supernet, on slices of a block twice as wide on a map twice as large, it does the same.

        The module has to read its weights where it runs, and to keep nothing that is not in its state dict.
        """
        from hvnas.supernet.weights.slots import SlotPlan

        larger = copy.copy(self)
        larger.width = 2 * self.width
        found = 0
        for big in larger.cases(SLICED):
            for small in self.cases(SLICED // 2):
                if big.kind == small.kind:
                    found += 1
                    variants = [(case.block, case.state) for case in (big, small)]
                    plan = SlotPlan(variants)
                    for variant in variants:
                        assert_sliced(plan, *variant)
        assert found, f"{self.name} takes no state of size {SLICED}"


def assert_sliced(plan: SlotPlan, block: Block, state: State) -> None:
    """The block's module on slices of a slot does what it does with copies of them."""
    from hvnas.supernet.weights.slots import Sliced, Slot
    from hvnas.supernet.weights.variants import build_empty

    torch.manual_seed(0)
    slot = Slot(plan)
    _randomise(slot)
    sliced = Sliced(slot, "", build_empty(block, state, device=torch.device("cpu")).eval(), (block, state))
    alone = build_block(block, state).eval()
    alone.load_state_dict(sliced.tensors())
    shapes = [shape for shape in (state.map, state.tokens) if shape is not None]
    drawn = tuple(torch.randn(BATCH, *shape) for shape in shapes)
    data: Any = drawn[0] if len(drawn) == 1 else drawn
    with torch.no_grad():
        for got, wanted in zip(tensors(sliced(data)), tensors(alone(data)), strict=True):
            assert (got - wanted).abs().max() <= TOLERANCE * wanted.abs().max(), f"{block} on {state}"


def _randomise(module: nn.Module) -> None:
    """Draw every weight and every statistic, activations staying of order one."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if not tensor.is_floating_point():
                continue
            if tensor.dim() > 1:
                tensor.normal_(std=tensor[0].numel() ** -0.5)
            elif name.endswith(("bias", "running_mean")):
                tensor.normal_(std=0.1)
            else:
                tensor.uniform_(0.5, 1.5)


def assert_traces(case: Case) -> None:
    """The Program of the module on meta is the lowered one."""
    with torch.device("meta"):
        model = case.build()
    traced, lowered = trace(model, resolution=case.size), case.lower()
    only_traced, only_lowered = traced.difference(lowered)
    assert traced == lowered, (
        f"{case}:\n  only traced: {dict(only_traced)}\n  only lowered: {dict(only_lowered)}"
    )


def assert_one_line(error: ValueError) -> None:
    """A message for users: one line that says more than a word."""
    message = str(error)
    assert "\n" not in message
    assert len(message.split()) > 3, message


def tensors(data: Data) -> tuple[Tensor, ...]:
    """The parts of what flows between blocks."""
    return data if isinstance(data, tuple) else (data,)


def assert_state(data: Data, state: State) -> None:
    """Shapes are those of `state`; logits leave the token axis out."""
    shapes = [tuple(part.shape[1:]) for part in tensors(data)]
    expected = [shape for shape in (state.map, state.tokens) if shape is not None]
    if shapes and len(shapes[0]) == 1:
        shapes[0] = (1, *shapes[0])
    assert shapes == expected, f"returned {shapes}, lowered to {expected}"
    assert all(part.isfinite().all() for part in tensors(data))


def lively(arch: Arch) -> Network:
    """A network in eval with biases and layer scales as training may leave them, and statistics of images.

    The same weights at each call; torch's generator is left elsewhere. Freshly initialised, a branch behind a
    layer scale of 1e-5 could be wrong altogether without a trace; with statistics at random, activations grow
    until attention turns over at a rounding error.
    """
    torch.manual_seed(0)
    network = build(arch).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("gamma"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(("bias", "table")):
                tensor.normal_(std=0.1)
    recalibrate(network, [torch.randn(4, 3, arch.resolution, arch.resolution)])
    return network
