"""A rediscovery as plain data, as a table of rows and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hvnas._files import csv_text, write_atomic
from hvnas.arch import save_arch
from hvnas.latency.plots import check_target, save_figure
from hvnas.studies.rediscovery.coatnet import LayoutRanks
from hvnas.studies.rediscovery.coatnet_output import draw_ranks, ranks_json, ranks_rows
from hvnas.studies.rediscovery.efficientformer import Rediscovery
from hvnas.studies.rediscovery.efficientformer_output import draw_searches, searches_json, searches_rows
from hvnas.studies.rediscovery.slimmed import WithSupernet
from hvnas.studies.rediscovery.slimmed_output import file_name, slimmed_json, slimmed_rows

Result = Rediscovery | LayoutRanks
_DIGITS = 4


def to_json(result: Result, slimmed: WithSupernet | None = None) -> dict[str, Any]:
    """Plain data, numbers as measured; four decimals."""
    made = ranks_json(result) if isinstance(result, LayoutRanks) else searches_json(result)
    if slimmed is not None:
        made["with_supernet"] = slimmed_json(slimmed)
    rounded = _rounded(made)
    assert isinstance(rounded, dict)
    return rounded


def write(result: Result, out: Path, *, slimmed: WithSupernet | None = None) -> tuple[Path, ...]:
    """Write ``rediscover-FAMILY.csv`` and ``.png`` into the folder `out`, made if need be.

    And ``rediscover-FAMILY-supernet.csv`` where there is a supernet's part, with its networks in a folder of
    that name.
    """
    check_out(out)
    out.mkdir(exist_ok=True)
    ranks = isinstance(result, LayoutRanks)
    stem = out / f"rediscover-{'coatnet' if ranks else 'efficientformer'}"
    table, figure = stem.with_suffix(".csv"), stem.with_suffix(".png")
    write_atomic(table, to_csv(result))
    if isinstance(result, LayoutRanks):
        save_figure(draw_ranks, result, figure, "CoAtNet's layouts at one size, the family left out")
    else:
        save_figure(draw_searches, result, figure, "EfficientFormer's models, the family left out")
    if slimmed is None:
        return table, figure
    added = out / f"{stem.name}-supernet.csv"
    write_atomic(added, csv_text(_rounded(slimmed_rows(slimmed))))
    networks = added.with_suffix("")
    networks.mkdir(exist_ok=True)
    for each in slimmed.found:
        save_arch(each.arch, networks / f"{file_name(each)}.yaml")
    return table, figure, added, networks


def check_out(out: Path) -> None:
    """Raise ValueError where `out` cannot become a folder with a table and a figure."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; name a folder")
    check_target(out.parent / "rediscover.png")


def to_csv(result: Result) -> str:
    """One row per network, or per column and layout."""
    rows = ranks_rows(result) if isinstance(result, LayoutRanks) else searches_rows(result)
    return csv_text(_rounded(rows))


def _rounded(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _rounded(value) for key, value in data.items()}
    if isinstance(data, Sequence) and not isinstance(data, str):
        return [_rounded(value) for value in data]
    return round(data, _DIGITS) if isinstance(data, float) else data
