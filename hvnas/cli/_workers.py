"""Workers of Ray Train, as commands are asked for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hvnas.cli._failure import Failure

if TYPE_CHECKING:
    from hvnas.train.on_ray import Workers

EngineOption = Annotated[
    Literal["local", "ray"], typer.Option(help="Here, or data parallel on workers of Ray Train.")
]
WorkersOption = Annotated[int | None, typer.Option(help="Workers of Ray that share each batch. Default: 2.")]
CpusOption = Annotated[float, typer.Option(help="CPUs that Ray keeps for a worker.")]
GpusOption = Annotated[float, typer.Option(help="GPUs that Ray keeps for a worker.")]
AddressOption = Annotated[
    str | None, typer.Option(metavar="auto|HOST:PORT", help="The Ray cluster. Default: one for this run.")
]

COUNT = 2


def counted(engine: str, workers: int | None) -> int | None:
    """How many workers are asked for. Raises Failure where they are asked for without Ray."""
    if engine == "local" and workers not in (None, 1):
        raise Failure("--workers share batches on Ray: add --engine ray")
    return COUNT if engine == "ray" and workers is None else workers


def workers_of(
    engine: str,
    *,
    count: int,
    cpus: float,
    gpus: float,
    address: str | None,
    device: str | None,
    save_every: float,
) -> Workers | None:
    """None where the training runs here."""
    if engine == "local":
        return None
    from hvnas.train.on_ray import Workers

    return Workers(count=count, cpus=cpus, gpus=gpus, address=address, device=device, save_every=save_every)
