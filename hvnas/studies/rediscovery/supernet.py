"""The supernet that a rediscovery trains where it is given none."""

from __future__ import annotations

from pathlib import Path

from hvnas.supernet.checkpoint import SupernetFolder
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.train import begin, go_on

# At 64 px the third stage has as many positions a side as the images have cells, which attention must relate.
REQUEST = SupernetRequest(space="metaformer-tiny", data="shapes", resolution=64, epochs=24, importance=True)


def to_train(folder: str | Path) -> SupernetFolder:
    """The folder of the study's own supernet, begun if need be. Raises ValueError where it holds another."""
    return go_on(REQUEST, folder) if SupernetFolder(folder).holds_run else begin(REQUEST, folder)
