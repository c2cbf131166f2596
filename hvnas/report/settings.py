"""What redoes a run: its command line, and what it depended on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from hvnas.latency import Device
from hvnas.report.runs import Run
from hvnas.search.folder import RunConfig

_SCENARIO = "imagenet1k"


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
    batches = [device.info.batch for device in devices]
    return Settings(
        run=run.name,
        command=shlex.join(_command(config, throughput=any(batch > 1 for batch in batches))),
        notes=tuple(_notes(config, defaults)),
        facts=tuple(_facts(config)),
    )


def _command(config: RunConfig, *, throughput: bool) -> list[str]:
    words = ["hvnas", "search", "--space", config.space]
    for device in (config.device, *config.others):
        words += ["--device", device]
    words += ["--budget-ms", repr(config.budget_ms), "--strategy", config.strategy]
    words += ["--estimator", config.estimator, "--recipe", config.recipe]
    for objective in config.objectives:
        words += ["--objective", objective]
    for constraint in config.constraints:
        words += ["--constraint", constraint]
    if config.classes is not None and config.resolution is None:
        words += ["--classes", str(config.classes)]
    words += ["--evals", str(config.evals), "--seed", str(config.seed), "--outside", config.outside]
    if _one_margin(config):
        words += ["--margin", repr(config.margin)]
    if config.engine != "local":
        words += ["--engine", config.engine]
    return [*words, "--throughput"] if throughput else words


def _one_margin(config: RunConfig) -> bool:
    return set(config.other_margins) <= {config.margin}


def _notes(config: RunConfig, defaults: dict[str, float]) -> list[str]:
    """What the command line has no option for, or takes from the machine that it runs on."""
    notes = []
    if config.scenario != _SCENARIO:
        notes.append(f"the scenario is {config.scenario}: hvnas.search(..., scenario=...) in Python")
    if not config.fixed_points:
        notes.append("it began without the papers' models: hvnas.search(..., fixed_points=False) in Python")
    margins = dict(zip((config.device, *config.others), (config.margin, *config.other_margins), strict=True))
    if not _one_margin(config) and any(defaults.get(name, m) != m for name, m in margins.items()):
        told = ", ".join(f"{margin!r} on {name}" for name, margin in margins.items())
        notes.append(f"the margins were {told}: hvnas.search(..., margin=[...]) in Python")
    if config.storage is not None:
        notes.append(f"its study was shared in {config.storage}: other searches took part in it")
    return notes


def _facts(config: RunConfig) -> list[tuple[str, str]]:
    devices = zip((config.device, *config.others), (config.device_hash, *config.other_hashes), strict=True)
    versions = ", ".join(f"{name} {version}" for name, version in config.versions.items())
    return [
        ("space", f"{config.space} (hash {config.space_hash})"),
        *(("device", f"{name} (hash {mark})") for name, mark in devices),
        ("estimator", f"{config.estimator}, {config.recipe}, {config.scenario}"),
        ("versions", versions),
    ]
