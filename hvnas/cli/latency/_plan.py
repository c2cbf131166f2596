"""What `plan` and `measure` are asked alike."""

from __future__ import annotations

from typing import Annotated

import typer

SPACE = Annotated[str, typer.Option(metavar="NAME|FILE", help="The space: see hvnas spaces.")]
BACKEND = Annotated[
    str, typer.Option(metavar="torch-cpu|torch-cuda|onnxruntime", help="What runs the networks.")
]
THREADS = Annotated[int, typer.Option(min=1, help="Threads to run on.")]
OPS = Annotated[int, typer.Option(help="About how many distinct ops to measure.")]
BLOCKS = Annotated[
    int | None,
    typer.Option(min=0, help="How many blocks to measure as stacks. Default: 60, for onnxruntime none."),
]
NETWORKS = Annotated[int, typer.Option(help="How many whole networks to measure beside the ops.")]
SEED = Annotated[int, typer.Option(min=0, help="The same seed plans the same.")]


def blocks_for(backend: str, asked: int | None) -> int:
    """Blocks to measure; each must be exported twice for ONNX Runtime, which takes longer than all else."""
    if asked is not None:
        return asked
    return 0 if backend == "onnxruntime" else 60
