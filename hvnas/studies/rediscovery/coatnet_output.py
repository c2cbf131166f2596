"""Ranks of CoAtNet's layouts as plain data, as rows and as a figure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hvnas.studies.rediscovery.coatnet import CHOSEN, COLUMNS, PUBLISHED, LayoutRanks, verdict


def ranks_json(study: LayoutRanks) -> dict[str, Any]:
    """Plain data of the layouts' ranks."""
    return {
        "study": "coatnet",
        "left_out": {"results": study.rows},
        "layouts": {
            name: {
                "params": found.arch.lower().params,
                "macs": found.arch.lower().macs,
                "scaled": found.did,
            }
            for name, found in study.layouts.items()
        },
        "published": {name: dict(known) for name, (_, known, _) in PUBLISHED.items()},
        "protocols": [
            {
                "protocol": each.name,
                "recipe": each.recipe,
                "columns": {
                    column: {
                        "order": list(ranked.order),
                        "value": dict(ranked.value),
                        "sd": dict(ranked.sd),
                        "probabilities": {name: list(p) for name, p in ranked.chances.items()},
                        "above_next": list(ranked.told),
                        "supported": list(ranked.is_supported),
                    }
                    for column, ranked in each.columns.items()
                },
                "kendall_tau": [asdict(tau) for tau in each.taus],
            }
            for each in study.protocols
        ],
        "chosen": CHOSEN,
        "with_the_family": {name: [asdict(a) for a in again] for name, again in study.again.items()},
        "verdict": verdict(study),
    }


def ranks_rows(study: LayoutRanks) -> list[dict[str, Any]]:
    """One row per protocol, column and layout."""
    return [
        {
            "protocol": each.name,
            "column": column,
            "place": place + 1,
            "layout": name,
            "value": ranked.value[name],
            "sd": ranked.sd[name],
            "p_place": ranked.chances[name][place],
            "p_first": ranked.chances[name][0],
            "p_above_next": ranked.told[place] if place < len(ranked.told) else None,
        }
        for each in study.protocols
        for column, ranked in each.columns.items()
        for place, name in enumerate(ranked.order)
    ]


def draw_ranks(study: LayoutRanks, title: str) -> Any:
    """The chance of each place, a panel per protocol and column: a figure of matplotlib."""
    from matplotlib.figure import Figure

    names = list(study.layouts)
    figure = Figure(figsize=(2 + 3.0 * len(COLUMNS), 0.6 + 2.9 * len(study.protocols)), layout="constrained")
    axes = figure.subplots(len(study.protocols), len(COLUMNS), squeeze=False)
    for row, each in enumerate(study.protocols):
        for column, name in enumerate(COLUMNS):
            axis, ranked = axes[row, column], each.columns[name]
            table = [ranked.chances[layout] for layout in names]
            axis.imshow(table, vmin=0, vmax=1, cmap="Blues", aspect="auto")
            for i, chances in enumerate(table):
                for k, chance in enumerate(chances):
                    axis.text(
                        k,
                        i,
                        f"{chance:.2f}",
                        ha="center",
                        va="center",
                        fontsize=7,
                        color="white" if chance > 0.6 else "black",
                    )
            axis.set_xticks(range(len(names)), [str(k + 1) for k in range(len(names))], fontsize=7)
            axis.set_yticks(range(len(names)), names if column == 0 else [], fontsize=7)
            axis.set_title(f"{each.name}, {name}", fontsize=8)
            axis.set_xlabel("place", fontsize=7)
    figure.suptitle(title, fontsize=10)
    return figure
