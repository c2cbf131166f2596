"""What runs must agree in to be compared, and what is told of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hvnas.accuracy.estimator import ImageSize
from hvnas.report.runs import Run
from hvnas.search.folder import RunConfig


@dataclass(frozen=True)
class _Agreed:
    """A field in which runs must agree: what is compared, and how it is shown."""

    field: str
    key: object
    shown: str


def _agreed(run: Run) -> tuple[_Agreed, ...]:
    config = run.config
    others = zip(config.others, config.other_hashes, strict=True)
    objectives = ", ".join(config.objectives)
    return (
        _Agreed("objectives", objectives, objectives),
        # The same table may be known by a name and by a path.
        _Agreed("device", config.device_hash, f"{config.device} (hash {config.device_hash})"),
        _Agreed("others", config.other_hashes, ", ".join(f"{n} (hash {h})" for n, h in others) or "none"),
        _Agreed("estimator", config.estimator, config.estimator),
        _Agreed("resolution and classes", _image_size(config), _image_size(config)),
        _Agreed("recipe", config.recipe, config.recipe),
        _Agreed("scenario", config.scenario, config.scenario),
        _Agreed("unit of accuracy", run.unit, run.unit),
    )


def _image_size(config: RunConfig) -> str:
    return str(ImageSize(config.resolution, config.classes)) or "those of its space"


def check_comparable(runs: Sequence[Run]) -> None:
    """Raise ValueError naming the first field in which runs may not differ, and both values."""
    for run in runs[1:]:
        for here, there in zip(_agreed(runs[0]), _agreed(run), strict=True):
            if here.key != there.key:
                raise ValueError(
                    f"{here.field}: {runs[0].name} has {here.shown}, {run.name} has {there.shown}; "
                    "only runs that agree in it compare"
                )


def differences(runs: Sequence[Run]) -> list[str]:
    """A sentence for each thing asked that runs may differ in and that no table of them shows."""
    asked = {
        "budget": [f"{run.config.budget_ms:g} ms" for run in runs],
        "margin": [f"{100 * run.config.margin:.3g} %" for run in runs],
        "constraints": [", ".join(run.config.constraints) or "none" for run in runs],
        "space": [run.config.space for run in runs],
        "outside the gate": [run.config.outside for run in runs],
        "begun from fixed points": ["yes" if run.config.fixed_points else "no" for run in runs],
    }
    if len(set(asked["space"])) < len({run.config.space_hash for run in runs}):
        asked["space"] = [f"{run.config.space} (hash {run.config.space_hash})" for run in runs]
    return [_sentence(name, values, runs) for name, values in asked.items() if len(set(values)) > 1]


def _sentence(name: str, values: Sequence[str], runs: Sequence[Run]) -> str:
    by_value: dict[str, list[str]] = {}
    for value, run in zip(values, runs, strict=True):
        by_value.setdefault(value, []).append(run.name)
    told = "; ".join(f"{value} ({', '.join(names)})" for value, names in by_value.items())
    return f"{name} differs: {told}"
