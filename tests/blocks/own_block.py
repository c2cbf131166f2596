from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

import hvnas
from hvnas.blocks import Block, register_block
from hvnas.nn import module_for
from hvnas.nn.base import DropPath, make_norm
from hvnas.ops import Tape


@register_block("convnext")
@dataclass(frozen=True, kw_only=True)
class ConvNeXt(Block):
    """x += MLP(LN(7x7 depthwise(x))), as in 2201.03545; it keeps the width."""

    expand: float = 4

    def lower(self, state):
        tape = Tape(state)
        x = tape.map
        y = tape.norm(tape.conv(x, self.out, kernel=7, groups=self.out, bias=True), "ln")
        y = tape.act(tape.conv(y, int(self.out * self.expand), bias=True), "gelu")
        return tape.finish(map=tape.add(x, tape.conv(y, self.out, bias=True)))


@module_for(ConvNeXt)
class ConvNeXtModule(nn.Sequential):
    def __init__(self, block, state, *, drop_path=0.0):
        width, hidden = block.out, int(block.out * block.expand)
        mixer = nn.Conv2d(width, width, 7, padding=3, groups=width)
        mlp = nn.Conv2d(width, hidden, 1), nn.GELU(), nn.Conv2d(hidden, width, 1)
        super().__init__(mixer, make_norm("ln", width), *mlp, DropPath(drop_path))

    def forward(self, x):
        return x + super().forward(x)


SPACE = """
schema: hvnas.space/1
parent: efficientformer
name: with-convnext
blocks: {convnext: {type: convnext, reads: [expand]}}
stage: {local: [mb4d, convnext]}
"""

with TemporaryDirectory() as folder:
    path = Path(folder) / "space.yaml"
    path.write_text(SPACE)
    best = hvnas.search(path, "iphone12", budget_ms=2.0, evals=2000, outside="allow").best
print(f"{best.latency_ms:.2f} ms, top-1 {best.top1:.1f} ± {best.top1_sd:.1f}, inside: {best.inside}")
print([f"{run.block.type} × {run.depth}" for stage in best.arch.stages for _, run in stage.runs])
assert hvnas.trace(hvnas.build(best.arch), resolution=best.arch.resolution) == best.arch.lower()
