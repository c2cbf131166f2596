"""Space: genes, encoding, sampling, fixed points; the fast path over populations."""

from hvnas.space.fastpath.fastpath import FastPath
from hvnas.space.layout import Gene
from hvnas.space.reading import list_spaces
from hvnas.space.space import Space, load_space

__all__ = ["FastPath", "Gene", "Space", "list_spaces", "load_space"]
