"""Classification heads."""

from __future__ import annotations

from dataclasses import dataclass

from hvnas.blocks.base import Block, register_block
from hvnas.ops import Lowered, State, Tape


@register_block("classifier", role="head")
@dataclass(frozen=True, kw_only=True)
class Classifier(Block):
    """Mean over positions and a linear classifier on a map or on tokens; `out` is the number of classes.

    `norm` before the mean (`norm_first`) or after it; `hidden` adds a square linear layer with tanh;
    `distilled` adds a second classifier whose logits are averaged with the first's. EfficientFormer:
    LN on tokens, mean, distilled. PoolFormer: GN(1) on the map, mean (the official order).
    CoAtNet: mean, LN, hidden layer, classifier (the hidden layer is in the official-lineage code
    and needed for the printed counts).
    """

    out: int = 1000
    norm: str = "ln"
    norm_first: bool = True
    hidden: bool = False
    distilled: bool = False

    def lower(self, state: State) -> Lowered:
        tape = Tape(state)
        x = tape.tokens if state.tokens else tape.map
        if self.norm_first and self.norm != "none":
            x = tape.norm(x, self.norm)
        x = tape.mean(x)
        x = tape.view(x, (1, x.shape[0] if len(x.shape) == 3 else x.shape[1]))
        if not self.norm_first and self.norm != "none":
            x = tape.norm(x, self.norm)
        if self.hidden:
            x = tape.act(tape.linear(x, x.shape[1]), "tanh")
        y = tape.linear(x, self.out)
        if self.distilled:
            y = tape.add(y, tape.linear(x, self.out))
        return tape.finish(tokens=y)
