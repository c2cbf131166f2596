"""Choices that several requests and what they lead to name: the engine with Ray's shares, the gate."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from hvnas._request import Option
from hvnas._validation import check_whole

EngineName = Literal["local", "ray"]
Outside = Literal["forbid", "allow"]  # networks outside the gate of a device
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
MOST = 1024  # CPUs or GPUs of one trial or worker

Address = Annotated[
    str | None, Option(metavar="auto|HOST:PORT", help="The Ray cluster. Default: one for this run.")
]


def check_ray_options(
    engine: str,
    *,
    address: str | None,
    workers: int | None,
    cpus: float,
    gpus: float,
    per: Literal["trial", "worker"],
    max_retries: int = 0,
) -> None:
    """Raise ValueError naming what makes no sense; `cpus` and `gpus` are those that each `per` is given."""
    if engine not in ENGINES:
        from hvnas._names import unknown_name

        raise ValueError(unknown_name("engine", engine, ENGINES))
    if workers is not None:
        check_whole("workers", workers, least=1)
    if engine != "ray" and (address is not None or workers is not None):
        field = "name" if per == "trial" else "engine"
        raise ValueError(f"address and workers: are Ray's; add --engine ray (in Python, {field}='ray')")
    check_whole("max_retries", max_retries, least=0)
    for name, value in ((f"cpus_per_{per}", cpus), (f"gpus_per_{per}", gpus)):
        if not 0 <= value <= MOST:
            raise ValueError(f"{name}: must be from 0 to {MOST}, got {value}; give 1, or a fraction")
    if cpus == gpus == 0:
        raise ValueError(f"cpus_per_{per}: must be > 0 where gpus_per_{per} is 0; give 1, or a fraction")
