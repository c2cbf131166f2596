"""How a block writes down its ops: a tape of values with shapes.

tape = Tape(state)
x = tape.conv(tape.map, 64, kernel=3, stride=2)
x = tape.act(tape.norm(x, "bn"), "gelu")
return tape.finish(map=x)
"""

from __future__ import annotations

from dataclasses import dataclass

from hvnas.ops.op import Op, Shape

MAP = -1
TOKENS = -2
_NO_CHANNELS = "a layer is left without channels; raise expand or the width"


@dataclass(frozen=True, slots=True)
class State:
    """What flows between blocks: a map ``(C, H, W)``, tokens ``(N, d)``, or both.

    `grid` is the ``(H, W)`` that tokens were flattened from, where they have one.
    """

    map: tuple[int, int, int] | None = None
    tokens: tuple[int, int] | None = None
    grid: tuple[int, int] | None = None


@dataclass(slots=True, eq=False)  # not frozen: searches make millions, and that would cost half of each
class Value:
    """A tensor on the tape: its shape and the local index of the op that wrote it."""

    shape: Shape
    index: int


@dataclass(frozen=True, slots=True)
class Lowered:
    """The ops of one block and the state that it leaves.

    `map_index` and `tokens_index` are the local indices of the ops that wrote the state's map and
    tokens; `MAP` and `TOKENS` where the block passes them through.
    """

    ops: tuple[Op, ...]
    state: State
    map_index: int
    tokens_index: int


def conv_out(size: int, kernel: int, stride: int, padding: int) -> int:
    """Output length of a convolution or pooling along one axis."""
    return (size + 2 * padding - kernel) // stride + 1


class Tape:
    """Records the ops of one block."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.ops: list[Op] = []

    @property
    def map(self) -> Value:
        """The map that the block is given."""
        if self.state.map is None:
            raise ValueError(
                "this block takes a map, but only tokens arrive; end the network or go back to a map"
            )
        return Value(self.state.map, MAP)

    @property
    def tokens(self) -> Value:
        """The tokens that the block is given."""
        if self.state.tokens is None:
            raise ValueError(
                "this block takes tokens, but only a map arrives; "
                "set tokens: [count, dimension] of the network or choose another block"
            )
        return Value(self.state.tokens, TOKENS)

    def as_map(self) -> Value:
        """Return the map, or the tokens laid out as one again."""
        if self.state.map is None and self.state.tokens is not None and self.state.grid is not None:
            return self.unflatten(self.tokens, self.state.grid)
        return self.map

    def as_tokens(self) -> tuple[Value, tuple[int, int] | None]:
        """Return the tokens, or the map flattened to them, and the grid they come from."""
        if self.state.tokens is None:
            x = self.map
            return self.flatten(x), (x.shape[1], x.shape[2])
        return self.tokens, self.state.grid

    def emit(self, kind: str, x: Value, shape: Shape, *others: Value, **attributes: object) -> Value:
        """Append an op that reads `x` (and `others`) and writes `shape`."""
        inputs = (x.index, *[other.index for other in others]) if others else (x.index,)
        ops = self.ops
        ops.append(Op(kind, x.shape, shape, inputs, **attributes))  # type: ignore[arg-type]
        return Value(shape, len(ops) - 1)

    def conv(
        self,
        x: Value,
        out: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        padding: int | None = None,
    ) -> Value:
        """Convolution; padding kernel // 2 unless given."""
        channels, height, width = x.shape
        if channels % groups or out % groups:
            raise ValueError(f"groups {groups} must divide {channels} input and {out} output channels")
        pad = kernel // 2 if padding is None else padding
        rows = conv_out(height, kernel, stride, pad)
        columns = rows if width == height else conv_out(width, kernel, stride, pad)
        if out < 1:
            raise ValueError(_NO_CHANNELS)
        if rows < 1 or columns < 1:
            raise ValueError(f"a {height} x {width} map is too small for a {kernel} x {kernel} convolution")
        shape = (out, rows, columns)
        ops = self.ops
        ops.append(Op("conv", x.shape, shape, (x.index,), (kernel, kernel), (stride, stride), groups, bias))
        return Value(shape, len(ops) - 1)

    def linear(self, x: Value, out: int, *, bias: bool = True) -> Value:
        """Linear layer on the last axis of ``(N, d)``."""
        if out < 1:
            raise ValueError(_NO_CHANNELS)
        return self.emit("linear", x, (*x.shape[:-1], out), bias=bias)

    def matmul(self, a: Value, b: Value) -> Value:
        """``(h, n, k) x (h, k, m)``."""
        heads, n, inner = a.shape
        assert b.shape[:2] == (heads, inner), (a.shape, b.shape)
        return self.emit("matmul", a, (heads, n, b.shape[2]), b)

    def softmax(self, x: Value) -> Value:
        """Softmax over the last axis."""
        return self.emit("softmax", x, x.shape)

    def norm(self, x: Value, variant: str, *, groups: int = 1, affine: bool = True) -> Value:
        """Normalisation: ``bn``, ``ln`` (over channels) or ``gn``; two weights per channel."""
        channels = x.shape[0] if len(x.shape) == 3 else x.shape[-1]
        return self.emit("norm", x, x.shape, variant=variant, groups=groups, weights=2 * channels * affine)

    def act(self, x: Value, variant: str) -> Value:
        """Activation; ``none`` passes the value through, GELU's tanh form is GELU."""
        if variant == "none":
            return x
        return self.emit("act", x, x.shape, variant="gelu" if variant == "gelu_tanh" else variant)

    def pool(
        self, x: Value, variant: str, *, kernel: int, stride: int = 1, padding: int | None = None
    ) -> Value:
        """Average or max pooling; padding kernel // 2 unless given."""
        channels, height, width = x.shape
        pad = kernel // 2 if padding is None else padding
        shape = (channels, conv_out(height, kernel, stride, pad), conv_out(width, kernel, stride, pad))
        if min(shape[1:]) < 1:
            raise ValueError(f"a {height} x {width} map is too small for {kernel} x {kernel} pooling")
        return self.emit("pool", x, shape, kernel=(kernel, kernel), stride=(stride, stride), variant=variant)

    def mean(self, x: Value) -> Value:
        """Mean over all positions: ``(C, 1, 1)`` from a map, ``(1, d)`` from tokens; of one, nothing."""
        shape = (x.shape[0], 1, 1) if len(x.shape) == 3 else (1, x.shape[-1])
        return x if x.shape == shape else self.emit("pool", x, shape, variant="mean")

    def add(self, a: Value, b: Value) -> Value:
        """Sum (or difference) of two computed tensors."""
        return self._pair("add", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        """Product (or quotient) of two computed tensors, broadcast to the larger."""
        return self._pair("mul", a, b)

    def maximum(self, a: Value, b: Value) -> Value:
        """Return the larger of two computed tensors, element by element."""
        return self._pair("reduce", a, b, variant="maximum")

    def _pair(self, kind: str, a: Value, b: Value, *, variant: str = "") -> Value:
        shape = a.shape
        if b.shape != shape:
            shape = tuple([max(m, n) for m, n in zip(shape, b.shape, strict=True)])
        self.ops.append(Op(kind, shape, shape, (a.index, b.index), variant=variant))
        return Value(shape, len(self.ops) - 1)

    def scale(self, x: Value, weights: int) -> Value:
        """Product with a learned tensor (layer scale)."""
        return self.emit("scale", x, x.shape, weights=weights)

    def bias(self, x: Value, weights: int) -> Value:
        """Sum with a learned tensor (attention bias, position embedding)."""
        return self.emit("bias", x, x.shape, weights=weights)

    def concat(self, *values: Value) -> Value:
        """Concatenation along channels of maps, along the last axis of vectors, else along tokens."""
        first = values[0].shape
        if len(first) == 3:
            shape: Shape = (sum(v.shape[0] for v in values), *first[1:])
        elif all(v.shape[0] == 1 for v in values):
            shape = (1, sum(v.shape[1] for v in values))
        else:
            shape = (sum(v.shape[0] for v in values), first[1])
        return self.emit("concat", values[0], shape, *values[1:])

    def embed(self, shape: Shape) -> Value:
        """Return a learned tensor that enters as data."""
        weights = 1
        for size in shape:
            weights *= size
        self.ops.append(Op("embed", shape, shape, (), weights=weights))
        return Value(shape, len(self.ops) - 1)

    def resize(self, x: Value, height: int, width: int) -> Value:
        """Bilinear interpolation of a map."""
        return self.emit("resize", x, (x.shape[0], height, width))

    def flatten(self, x: Value, *, to: str = "tokens") -> Value:
        """Map to tokens or to windows of them: ``(C, H, W)`` to ``(H W, C)``."""
        channels, height, width = x.shape
        return self.emit("relayout", x, (height * width, channels), variant=f"map>{to}")

    def unflatten(self, x: Value, grid: tuple[int, int], *, source: str = "tokens") -> Value:
        """Tokens, or windows of them, to map: ``(H W, C)`` to ``(C, H, W)``."""
        assert x.shape[0] == grid[0] * grid[1], (x.shape, grid)
        return self.emit("relayout", x, (x.shape[1], *grid), variant=f"{source}>map")

    @staticmethod
    def view(x: Value, shape: Shape) -> Value:
        """Return the same tensor under another shape; costs nothing."""
        return Value(shape, x.index)

    def finish(
        self, *, map: Value | None = None, tokens: Value | None = None, grid: tuple[int, int] | None = None
    ) -> Lowered:
        """Return the block's ops and the state it leaves: exactly the values named here."""
        state = State(
            map.shape if map else None,  # type: ignore[arg-type]
            tokens.shape if tokens else None,  # type: ignore[arg-type]
            grid if tokens else None,
        )
        return Lowered(tuple(self.ops), state, map.index if map else MAP, tokens.index if tokens else TOKENS)
