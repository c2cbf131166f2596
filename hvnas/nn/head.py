"""Classification heads."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from hvnas.blocks.head import Classifier
from hvnas.nn.base import make_norm, map_channels, module_for
from hvnas.nn.folding import into_next
from hvnas.ops import State


@runtime_checkable
class TwoHeads(Protocol):
    """A head that may have a classifier for distillation beside its own."""

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits of both; None for one that it does not have."""


def logits_of(head: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the logits of a head's classifier and of its distillation classifier, where it has one."""
    return head.heads(x) if isinstance(head, TwoHeads) else (head(x), None)


@module_for(Classifier)
class ClassifierModule(nn.Module):
    """Mean over positions, optional norm and hidden layer, one or two linear classifiers."""

    def __init__(self, block: Classifier, state: State, *, drop_path: float = 0.0) -> None:
        super().__init__()
        width = map_channels(state)
        self.tokens = state.tokens is not None
        self.norm_first = block.norm_first
        self.norm = make_norm(
            block.norm, width, tokens=self.tokens or not block.norm_first, eps=self._eps(block)
        )
        self.hidden = nn.Sequential(nn.Linear(width, width), nn.Tanh()) if block.hidden else nn.Identity()
        self.fc = nn.Linear(width, block.out)
        self.fc_distilled = nn.Linear(width, block.out) if block.distilled else None

    @staticmethod
    def _eps(block: Classifier) -> float:
        return 1e-5 if block.norm_first else 1e-6

    def features(self, x: Tensor) -> Tensor:
        """The vector ``[B, width]`` that the classifiers read."""
        if self.norm_first:
            x = self.norm(x)
        x = x.mean(1) if self.tokens else x.mean((2, 3))
        return self.hidden(x if self.norm_first else self.norm(x))

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits of the classifier and of the distillation classifier, where there is one."""
        x = self.features(x)
        return self.fc(x), None if self.fc_distilled is None else self.fc_distilled(x)

    def forward(self, x: Tensor) -> Tensor:
        logits, distilled = self.heads(x)
        return logits if distilled is None else (logits + distilled) / 2

    def fold(self) -> None:
        """The mean over positions commutes with BatchNorm, so the layers after it take that over."""
        norm = self.norm
        if isinstance(self.hidden, nn.Sequential):
            self.norm = into_next(norm, self.hidden[0])
            return
        for layer in (self.fc, self.fc_distilled):
            if layer is not None:
                self.norm = into_next(norm, layer)
