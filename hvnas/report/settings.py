"""What redoes a run: its command line, and what it depended on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hvnas._request import options_of, words_of
from hvnas.latency import Device
from hvnas.report.runs import Run
from hvnas.search.folder import RunConfig
from hvnas.search.request import SearchRequest


@dataclass(frozen=True)
class Settings:
    """`command` redoes the run; `notes` are what it cannot say; `facts` what the result depends on."""

    run: str
    command: str
    notes: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


def settings_of(run: Run, devices: Sequence[Device]) -> Settings:
    """The settings of a run. `devices` are those of its devices that can be loaded."""
    config = run.config
    defaults = {device.name: device.default_margin() for device in devices}
    request = _request(config, throughput=any(device.info.batch > 1 for device in devices))
    return Settings(
        run=run.name,
        command=shlex.join(["hvnas", "search", *words_of(request)]),
        notes=tuple(_notes(config, defaults)),
        facts=tuple(_facts(config)),
    )


def _request(config: RunConfig, *, throughput: bool) -> SearchRequest:
    """What a command line asks for to have the run again, the estimates made here and the study its own."""
    fixed = {
        "margin": config.margin[0] if _one_margin(config) else None,
        # The resolution and classes of an estimator's images are no choice.
        "classes": config.classes if config.resolution is None else None,
        "throughput": throughput,
        "engine": replace(config.engine, storage=None),
    }
    return SearchRequest(**{name: getattr(config, name) for name in options_of(SearchRequest)} | fixed)


def _one_margin(config: RunConfig) -> bool:
    return len(set(config.margin)) == 1


def _notes(config: RunConfig, defaults: dict[str, float]) -> list[str]:
    """What the command line has no option for, or takes from the machine that it runs on."""
    notes = []
    if not config.fixed_points:
        notes.append("it began without the papers' models: hvnas.search(..., fixed_points=False) in Python")
    margins = dict(zip(config.device, config.margin, strict=True))
    if not _one_margin(config) and any(defaults.get(name, m) != m for name, m in margins.items()):
        told = ", ".join(f"{margin!r} on {name}" for name, margin in margins.items())
        notes.append(f"the margins were {told}: hvnas.search(..., margin=[...]) in Python")
    if config.engine.storage is not None:
        notes.append(f"its study was shared in {config.engine.storage}: other searches took part in it")
    return notes


def _facts(config: RunConfig) -> list[tuple[str, str]]:
    devices = zip(config.device, config.device_hash, strict=True)
    versions = ", ".join(f"{name} {version}" for name, version in config.versions.items())
    return [
        ("space", f"{config.space} (hash {config.space_hash})"),
        *(("device", f"{name} (hash {mark})") for name, mark in devices),
        ("estimator", f"{config.estimator}, {config.recipe}, {config.scenario}"),
        ("versions", versions),
    ]
