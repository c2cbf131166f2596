"""``hvnas show``: one network, its latency on devices and its estimated accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas import _numbers as numbers
from hvnas._records import csv_text
from hvnas.cli._group import RECIPE
from hvnas.cli._outcome import print_layout, stages_to_json
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen
from hvnas.cli.devices import all_devices

if TYPE_CHECKING:
    from hvnas.arch import Arch
    from hvnas.latency import Device

EXAMPLE = "hvnas show efficientformer_l1 --device iphone12"

_BEST = "best.yaml"


@answers
def run(
    arch: Annotated[
        str,
        typer.Argument(
            metavar="ARCH|RUN", help="A model's name, a network's YAML file, or the folder of a run."
        ),
    ],
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help="A device; repeat it for several. Default: all."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help=f"The training that top-1 is estimated for. Default: a run's own, or {RECIPE}."),
    ] = None,
) -> Answer:
    """Show a network, its size, latency and top-1.

    Latency comes with its 5-95 % interval, top-1 as estimated for a training recipe.
    """
    from hvnas.latency import load_device
    from hvnas.train.recipes import found_recipe

    network = _load(arch)
    devices = [load_device(name) for name in device] if device else all_devices(load_device)
    facts = _facts(network, devices, recipe or found_recipe(network, arch) or RECIPE)
    return Answer(
        text=lambda screen: _print(screen, network, devices, facts),
        data=lambda: facts,
        csv=lambda: csv_text(_lines(facts)),
    )


def _load(name: str) -> Arch:
    """A fixed point, a file, or the best of a run."""
    from hvnas.arch import list_models, load_arch

    folder = Path(name)
    if name in list_models() or not folder.is_dir():
        return load_arch(name)
    if (folder / _BEST).is_file():
        return load_arch(folder / _BEST)
    from hvnas.train.folder import find_training  # torch comes with it

    training = find_training(folder)
    if training is None:
        raise ValueError(
            f"{folder}: holds no {_BEST} and no training; give a folder of hvnas search or hvnas train"
        )
    return training.arch


def _facts(arch: Arch, devices: list[Device], recipe: str) -> dict[str, Any]:
    from hvnas.accuracy import load_estimator
    from hvnas.arch import block_to_dict

    program = arch.lower()
    estimator = load_estimator("surrogate")
    estimate = estimator.estimate([arch], recipe=recipe)
    crossed = estimator.estimate_cross_fitted([arch], recipe=recipe)
    return {
        "name": arch.name,
        "params": program.params,
        "macs": program.macs,
        "resolution": arch.resolution,
        "classes": arch.head.out,
        "stem": block_to_dict(arch.stem),
        "stages": stages_to_json(arch),
        "head": block_to_dict(arch.head),
        "latency": {d.name: d.latency(program).to_json() for d in devices},
        "top1": float(estimate.mean[0]),
        "top1_sd": float(estimate.sd[0]),
        "top1_cross_fitted": None if crossed is None else float(crossed.mean[0]),
        "top1_cross_fitted_sd": None if crossed is None else float(crossed.sd[0]),
        "recipe": recipe,
        "assumed": list(estimator.assumptions([arch])),
        "published": _published(arch),
        "found": None if arch.found is None else dict(arch.found),
    }


def _published(arch: Arch) -> dict[str, Any] | None:
    if arch.published is None:
        return None
    keys = ("params", "macs", "top1", "source", "recipe", "family")
    return {key: arch.published.get(key) for key in keys}


def _lines(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A line for each device."""
    names = ("name", "params", "macs", "resolution", "classes", "top1", "top1_sd", "recipe")
    for device, latency in facts["latency"].items():
        reasons = "; ".join(latency["reasons"])
        told = {name: facts[name] for name in names} | {"device": device, **latency, "reasons": reasons}
        yield told | {name: facts[name] for name in ("top1_cross_fitted", "top1_cross_fitted_sd")}


def _print(screen: Screen, arch: Arch, devices: list[Device], facts: dict[str, Any]) -> None:
    from hvnas.latency.provenance import beyond_measured, provenance

    screen.line(arch.name, style="bold")
    published = facts["published"] or {}
    screen.fields(
        [
            ("resolution", f"{arch.resolution}×{arch.resolution}"),
            ("params", f"{facts['params']:,}"),
            ("MACs", f"{facts['macs']:,}"),
            ("top-1", _top1_line(facts)),
            ("assumed", "; ".join(facts["assumed"]) or None),
            ("published", _published_line(published)),
            ("source", published.get("source")),
            ("found", _found_line(arch.found or {})),
        ]
    )
    screen.heading("Stage by stage")
    print_layout(screen, arch)
    screen.heading("Latency")
    screen.table(
        ("device", ">ms", ">5–95 %", "method", "gate"),
        [_latency_cells(device, facts["latency"][device.name]) for device in devices],
    )
    for device in devices:
        screen.line(provenance(device))
        ms = facts["latency"][device.name]["ms"]
        if said := beyond_measured(device, arch.name, macs=facts["macs"], ms=ms):
            screen.line(said)


def _top1_line(facts: Mapping[str, Any]) -> str:
    crossed = _cross_fitted_line(facts)
    estimate = f"{numbers.points(facts['top1'], facts['top1_sd'])} (estimated for {facts['recipe']})"
    return estimate if crossed is None else f"{estimate}, cross-fitted {crossed}"


def _cross_fitted_line(told: Mapping[str, Any]) -> str | None:
    """The cross-fitted top-1 with its standard deviation; a file of one's own may say anything there."""
    top1, sd = (numbers.optional(told.get(name)) for name in ("top1_cross_fitted", "top1_cross_fitted_sd"))
    return None if top1 is None or sd is None else f"{top1} ± {sd}"


def _published_line(published: dict[str, Any]) -> str | None:
    """What the file says was published; a file of one's own may say anything there."""
    top1, recipe = numbers.optional(published.get("top1")), published.get("recipe")
    shown = (
        (top1, f"top-1 {top1}" + (f" ({recipe})" if recipe else "")),
        (params := numbers.optional(published.get("params"), scale=1e6, digits=2), f"{params} M params"),
        (macs := numbers.optional(published.get("macs"), scale=1e9, digits=3), f"{macs} G MACs"),
    )
    return ", ".join(text for value, text in shown if value is not None) or None


def _found_line(found: Mapping[str, Any]) -> str | None:
    """What the file says that was found of the network; a file of one's own may say anything there."""
    top1, sd = numbers.optional(found.get("top1")), numbers.optional(found.get("top1_sd"))
    score, ms = (
        numbers.optional(found.get("score"), digits=4),
        numbers.optional(found.get("latency_ms"), digits=3),
    )
    meaning = found.get("accuracy") or (f"trained as {found['recipe']}" if found.get("recipe") else None)
    shown = (
        (top1, f"top-1 {top1}" + (f" ± {sd}" if sd else "") + (f" {meaning}" if meaning else "")),
        (crossed := _cross_fitted_line(found), f"cross-fitted {crossed}"),
        (score, f"score {score}"),
        (ms, f"{ms} ms {'measured ' if found.get('measured_ms') else ''}on {found.get('device')}"),
        (budget := numbers.optional(found.get("budget_ms"), digits=3), f"budget {budget} ms"),
    )
    return ", ".join(text for value, text in shown if value is not None) or None


def _latency_cells(device: Device, latency: dict[str, Any]) -> tuple[object, ...]:
    from hvnas.latency.provenance import label

    gate = "inside" if latency["inside"] else "outside: " + "; ".join(latency["reasons"])
    interval = numbers.interval(latency["low"], latency["high"])
    return label(device), numbers.ms(latency["ms"]), interval, device.info.method, gate
