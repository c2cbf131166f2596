"""The supernet that a rediscovery trains where it is given none."""

from __future__ import annotations

from pathlib import Path

from hvnas.supernet.checkpoint import SupernetFolder
from hvnas.supernet.train import Asked, begin, go_on

# 48 px leave its stages 12, 6, 3 and 2 positions a side: two of them are as fine as the cells of the images.
ASKED = Asked(space="metaformer-tiny", data="shapes", resolution=48, importance=True)


def to_train(folder: str | Path) -> SupernetFolder:
    """The folder of the study's own supernet, begun if need be. Raises ValueError where it holds another."""
    return go_on(ASKED, folder) if SupernetFolder(folder).holds_run else begin(ASKED, folder)
