"""The supernet's part of a rediscovery as plain data and as rows."""

from __future__ import annotations

from typing import Any

from hvnas.studies.rediscovery.slimmed import BOTH, Slimmed, WithSupernet


def slimmed_json(slimmed: WithSupernet) -> dict[str, Any]:
    """Plain data of the supernet's part."""
    return {
        "folder": slimmed.folder,
        "space": slimmed.space,
        "top1_of": slimmed.meaning,
        "found": [
            {
                "way": each.way,
                "share": each.share,
                "budget_ms": each.budget_ms,
                "latency_ms": each.ms,
                "score" if each.way == BOTH else "top1": each.top1,
                "stages": each.layout.stage_texts,
                "patterns": each.held,
                "evaluated": each.evaluated,
            }
            for each in slimmed.found
        ],
        "by_chance": [
            {
                "share": each.share,
                "budget_ms": each.budget_ms,
                "networks": each.members,
                "shares": each.held,
            }
            for each in slimmed.chances
        ],
    }


def slimmed_rows(slimmed: WithSupernet) -> list[dict[str, Any]]:
    """One row per network, and one for chance at each budget."""
    return [
        {
            "share": each.share,
            "budget_ms": each.budget_ms,
            "way": each.way,
            "file": f"{file_name(each)}.yaml",
            "latency_ms": each.ms,
            "score" if each.way == BOTH else "top1": each.top1,
            "stem": each.layout.stem,
            **{f"stage{i + 1}": text for i, text in enumerate(each.layout.stage_texts)},
            **each.held,
        }
        for each in slimmed.found
    ] + [
        {
            "share": each.share,
            "budget_ms": each.budget_ms,
            "way": f"{each.members} random",
            **each.held,
        }
        for each in slimmed.chances
    ]


def file_name(each: Slimmed) -> str:
    """The name, without suffix, of the file of its network."""
    return f"{100 * each.share:.0f}-{each.way.replace(' ', '-')}"
