"""Stems and the downsampling layers between stages."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from hvnas.blocks.base import Block, register_block
from hvnas.ops import Lowered, State, Tape


@register_block("conv_stem", role="stem")
@dataclass(frozen=True, kw_only=True)
class ConvStem(Block):
    """A stack of square convolutions, each with BatchNorm and activation.

    Convolution i has ``round(ratios[i] * out)`` channels. `bare_last` leaves norm and activation
    off the last one. EfficientFormer: two 3x3 stride 2 with bias and ReLU, half and full width
    (2206.01191; the authors' code has ReLU, not GELU). CoAtNet: 3x3 stride 2 and 3x3 stride 1
    without bias, GELU, nothing after the second (2106.04803 section 2.2; norm, activation and the
    bare last convolution follow the official-lineage code, which reproduces the printed counts).
    Mobile-Former: one 3x3 stride 2 without bias, ReLU6. `project` adds a 1x1 to `out` with bias and
    nothing after it: ViT_C's stems (2106.14881 section 3 and Table 3), 3x3 without bias and ReLU
    before it. Even kernels, as in Table 3's S1-S4, have no padding, odd ones ``kernel // 2``.
    `eps` is BatchNorm's.
    """

    ratios: tuple[float, ...] = (0.5, 1.0)
    kernels: tuple[int, ...] = (3, 3)
    strides: tuple[int, ...] = (2, 2)
    bias: bool = True
    act: str = "relu"
    bare_last: bool = False
    project: bool = False
    eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.ratios) == len(self.kernels) == len(self.strides) > 0:
            raise ValueError(
                f"ratios, kernels and strides need one entry per convolution, got "
                f"{len(self.ratios)}, {len(self.kernels)} and {len(self.strides)}"
            )
        if self.ratios[-1] != 1 and not self.project:
            raise ValueError(f"the last of ratios must be 1 without project, got {self.ratios[-1]:g}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels after each convolution of the stack."""
        return tuple(max(1, round(ratio * self.out)) for ratio in self.ratios)

    @property
    def paddings(self) -> tuple[int, ...]:
        """Padding of each convolution of the stack."""
        return tuple(kernel // 2 if kernel % 2 else 0 for kernel in self.kernels)

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.map
        last = len(self.widths) - 1
        for i, width in enumerate(self.widths):
            x = tape.conv(
                x,
                width,
                kernel=self.kernels[i],
                stride=self.strides[i],
                padding=self.paddings[i],
                bias=self.bias,
            )
            if not (self.bare_last and i == last):
                x = tape.act(tape.norm(x, "bn"), self.act)
        if self.project:
            x = tape.conv(x, self.out, bias=True)
        return tape.finish(map=x)


@register_block("patch_stem", role="stem")
@dataclass(frozen=True, kw_only=True)
class PatchStem(Block):
    """One strided convolution with bias.

    PoolFormer: 7x7 stride 4 padding 2 (2111.11418, Table 1). ViT: 16x16 stride 16 without padding.
    """

    kernel: int = 7
    stride: int = 4
    padding: int = 2

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.conv(
            tape.map, self.out, kernel=self.kernel, stride=self.stride, padding=self.padding, bias=True
        )
        return tape.finish(map=x)


@register_block("conv_down", role="downsample")
@dataclass(frozen=True, kw_only=True)
class ConvDown(Block):
    """A 3x3 stride-2 convolution with bias between stages.

    With BatchNorm: EfficientFormer's Embedding. `norm` none: PoolFormer's patch embedding. No
    activation in either. Tokens that arrive are laid out as a map again. `position` adds a learned map
    [out, H, W] of the output's size at the end: PoolFormer's attention hybrids have one in front of
    their first attention stage (2111.11418, Table 5; the authors' AddPositionEmb). It ties the weights
    to the size of the input: the network runs only at the resolution that it was built for.
    """

    kernel: int = 3
    stride: int = 2
    norm: str = "bn"
    position: bool = False

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.conv(tape.as_map(), self.out, kernel=self.kernel, stride=self.stride, bias=True)
        if self.norm != "none":
            x = tape.norm(x, self.norm)
        if self.position:
            x = tape.bias(x, prod(x.shape))
        return tape.finish(map=x)
