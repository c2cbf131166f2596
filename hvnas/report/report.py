"""What a report tells: runs with their fronts, networks side by side, and how far to trust the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hvnas.accuracy.estimator import AccuracyEstimator, estimator_error
from hvnas.arch import Arch, load_arch
from hvnas.latency import Device
from hvnas.latency.provenance import beyond_measured, method, provenance
from hvnas.report.compare import Comparison, compare
from hvnas.report.network import (
    RECIPE,
    REFERENCE,
    SCENARIO,
    Accuracy,
    Network,
    describe_network,
    estimated,
    is_training,
    trained_beside,
    trained_network,
    with_training,
)
from hvnas.report.runs import Run, Settings, load_runs, settings_of
from hvnas.search.runs.folder import ARCHS, BEST
from hvnas.train.recipes import found_recipe

DEVICE = "iphone12"
SURROGATE = "surrogate"


@dataclass(frozen=True, kw_only=True)
class Report:
    """Runs, and networks: the chosen one of each run, then those that were asked for.

    `reference` is the paper's network that they are put beside, None where it is one of them. `trust` are
    sentences on how the numbers were obtained and how far off they are, `notes` on what is missing or has
    changed; `estimator` is what told the accuracy, None where it cannot be loaded any more.
    """

    comparison: Comparison | None
    networks: tuple[Network, ...]
    reference: Network | None
    devices: tuple[Device, ...]
    settings: tuple[Settings, ...]
    trust: tuple[str, ...]
    notes: tuple[str, ...]
    recipe: str
    estimator: AccuracyEstimator | None

    def __repr__(self) -> str:
        shown = ", ".join([*(run.name for run in self.runs), *(network.name for network in self.networks)])
        return f"Report({shown})"

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs, if any."""
        return self.comparison.runs if self.comparison else ()

    @property
    def side_by_side(self) -> tuple[Network, ...]:
        """The networks, the reference last."""
        return self.networks if self.reference is None else (*self.networks, self.reference)

    @property
    def not_measured(self) -> tuple[str, ...]:
        """A phrase for each device that was not measured: ``iphone12 (calibrated, not measured)``."""
        return not_measured(self.devices)


def not_measured(devices: Sequence[Device]) -> tuple[str, ...]:
    """A phrase for each of `devices` that was not measured, as `Report.not_measured`."""
    return tuple(f"{d.name} ({method(d.info)})" for d in devices if d.info.method != "measured")


def make_report(
    sources: Sequence[str | Path],
    *,
    devices: Sequence[str | Path] = (),
    recipe: str | None = None,
    choose: str | None = None,
) -> Report:
    """Return the report of run folders and networks (names of the papers' models, or YAML files).

    `devices` are names or files; default: those of the runs, or iphone12. `recipe` is what top-1 is estimated
    for, where no run says it. `choose` names the network of the only run that is shown, in the place of its
    best.

    Raises ValueError, one line, for what cannot be read and for runs that do not compare.
    """
    if not sources:
        raise ValueError("give a run's folder or a network to report on")
    folders = [Path(source) for source in sources if Path(source).is_dir() and not is_training(source)]
    names = [source for source in sources if Path(source) not in folders]
    if choose is not None and len(folders) != 1:
        raise ValueError("choose: names a network of one run; give exactly one run's folder")
    comparison = compare(load_runs(folders)) if folders else None
    runs = comparison.runs if comparison else ()
    notes: list[str] = []
    loaded = _devices(devices, runs, notes)
    assumed = recipe or (runs[0].config.recipe if runs else None)
    networks = [_chosen(run, loaded, choose) for run in runs]
    networks += _named_networks(names, loaded, recipe=assumed)
    estimator = _estimator(runs, notes)
    recipe = assumed or next((n.accuracy.recipe for n in networks if n.accuracy), RECIPE)
    return Report(
        comparison=comparison,
        networks=_named_apart(networks),
        reference=_reference(networks, comparison, loaded, recipe=recipe),
        devices=tuple(loaded),
        settings=tuple(settings_of(run, loaded) for run in runs),
        trust=(
            *map(provenance, loaded),
            *_beyond(networks, loaded),
            *(() if estimator is None else (estimator_error(estimator),)),
        ),
        notes=tuple(notes),
        recipe=recipe,
        estimator=estimator,
    )


def _beyond(networks: Sequence[Network], devices: Sequence[Device]) -> list[str]:
    """What is said of networks faster than all that were measured."""
    said = (
        beyond_measured(device, network.name, macs=network.macs, ms=network.latency[device.name].ms)
        for network in networks
        for device in devices
    )
    return [line for line in said if line]


def _devices(asked: Sequence[str | Path], runs: Sequence[Run], notes: list[str]) -> list[Device]:
    """The devices to show. Those of runs may be gone since, which becomes a note."""
    from hvnas.latency import load_device

    if asked:
        devices = [load_device(name) for name in asked]
    elif runs:
        devices = _devices_of(runs[0], notes)
    else:
        devices = [load_device(DEVICE)]
    names = [device.name for device in devices]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"device: {name} is listed twice; list it once")
    return devices


def _devices_of(run: Run, notes: list[str]) -> list[Device]:
    from hvnas.latency import load_device

    config = run.config
    devices = []
    for name, then in zip(config.device, config.device_hash, strict=True):
        try:
            device = load_device(name)
        except ValueError as error:
            notes.append(f"latencies are not broken down: {error}")
            continue
        if device.hash != then:
            notes.append(
                f"{name} has changed since {run.name} (hash {device.hash}, was {then}): the front and its "
                "numbers are those of the run, the breakdowns are of now"
            )
        devices.append(device)
    return devices


def _chosen(run: Run, devices: Sequence[Device], choose: str | None) -> Network:
    """The run's best network, or the one that is asked for, with the numbers of the run."""
    arch = _arch_of(run, choose)
    if arch.name not in run.members:
        raise ValueError(f"{run.folder / BEST}: {arch.name!r} is not on the run's front; it is damaged")
    i = run.members.index(arch.name)
    config = run.config
    accuracy = Accuracy(
        mean=float(run.top1[i]),
        sd=float(run.sd[i]),
        unit=run.unit,
        estimator=config.estimator,
        recipe=config.recipe,
        cross_fitted=float(run.cross_fitted[i]),
        cross_fitted_sd=float(run.cross_fitted_sd[i]),
    )
    network = describe_network(arch, devices, accuracy=accuracy)
    found = replace(network, run=run.name, budget_ms=config.budget_ms, chance=float(run.chance[i]))
    return with_training(found, trained_beside(run.folder, arch), devices)


def _arch_of(run: Run, choose: str | None) -> Arch:
    if choose is None:
        if not (run.folder / BEST).is_file():
            raise ValueError(f"{run.folder}: has no {BEST}; hvnas resume {run.folder} writes it")
        return load_arch(run.folder / BEST)
    # A name from a file never becomes part of a path: only files that are there are taken.
    files = {path.stem: path for path in (run.folder / ARCHS).glob("*.yaml")}
    if choose not in files:
        raise ValueError(f"choose: {choose!r} is not a network in {run.folder / ARCHS}; see the names there")
    return load_arch(files[choose])


def _named_networks(
    sources: Sequence[str | Path], devices: Sequence[Device], *, recipe: str | None
) -> list[Network]:
    """Networks by name, file or training, each estimated for `recipe` or the one that it was found with."""
    from hvnas.accuracy import load_estimator

    if not sources:
        return []
    estimator = load_estimator(SURROGATE)
    networks = []
    for source in sources:
        arch, training = trained_network(source) if is_training(source) else (load_arch(source), None)
        wanted = recipe or found_recipe(arch, source) or RECIPE
        (accuracy,) = estimated([arch], estimator, SURROGATE, recipe=wanted, scenario=SCENARIO)
        assumed = estimator.assumptions([arch])
        network = describe_network(arch, devices, accuracy=accuracy, assumed=assumed)
        networks.append(with_training(network, training, devices))
    return networks


def _reference(
    networks: Sequence[Network], comparison: Comparison | None, devices: Sequence[Device], *, recipe: str
) -> Network | None:
    from hvnas.accuracy import load_estimator

    arch = load_arch(REFERENCE)
    if any(network.arch == arch for network in networks):
        return None
    if comparison is None or comparison.runs[0].config.estimator == SURROGATE:
        scenario = comparison.runs[0].config.scenario if comparison else SCENARIO
        estimator = load_estimator(SURROGATE)
        (accuracy,) = estimated([arch], estimator, SURROGATE, recipe=recipe, scenario=scenario)
        return describe_network(arch, devices, accuracy=accuracy)
    # Of another estimator a point is known where the comparison could ask it, and else none.
    points = [point for point in comparison.fixed_points if point.name == REFERENCE]
    run = comparison.runs[0]
    said = [Accuracy(p.top1, p.sd, run.unit, run.config.estimator, recipe) for p in points]
    return describe_network(arch, devices, accuracy=said[0] if said else None)


def _named_apart(networks: Sequence[Network]) -> tuple[Network, ...]:
    """The networks under names that differ: a number behind those that return."""
    seen: dict[str, int] = {}
    named = []
    for network in networks:
        count = seen[network.name] = seen.get(network.name, 0) + 1
        named.append(network if count == 1 else replace(network, name=f"{network.name} ({count})"))
    return tuple(named)


def _estimator(runs: Sequence[Run], notes: list[str]) -> AccuracyEstimator | None:
    """What told the accuracy. One that cannot be loaded any more becomes a note."""
    from hvnas.accuracy import load_estimator

    try:
        return load_estimator(runs[0].config.estimator if runs else SURROGATE)
    except ValueError as error:
        notes.append(f"the estimator's own error is not known: {error}")
        return None
