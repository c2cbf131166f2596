"""Write the table of fixed points into search_spaces/README.md, between its two markers.

python scripts/fixed_points_table.py           # print it
python scripts/fixed_points_table.py --write   # replace what stands between the markers
python scripts/fixed_points_table.py --check   # exit with 1 where that file holds another table
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hvnas._files import write_atomic
from hvnas.arch import Arch, list_models, load_arch

README = Path(__file__).resolve().parent.parent / "search_spaces" / "README.md"
BEGIN, END = "<!-- fixed points -->", "<!-- /fixed points -->"
FAMILIES = (
    ("efficientformer", "EfficientFormer", "2206.01191"),
    ("efficientformerv2", "EfficientFormerV2", "2212.08059"),
    ("poolformer", "PoolFormer", "2111.11418"),
    ("mobilevit", "MobileViT", "2110.02178"),
    ("mobileformer", "Mobile-Former", "2108.05895"),
    ("efficientvit", "EfficientViT", "2205.14756"),
    ("coatnet", "CoAtNet", "2106.04803"),
    ("vit", "ViT with early convolutions", "2106.14881"),
)
LATENCIES = (("iphone12", "iPhone 12"), ("cpu_i9_10940x", "i9-10940X"), ("cpu_i7_12700h", "i7-12700H"))
NOTE = """\
Params and MACs (convolutions, linear layers, matrix products) are ours, at the resolution given; `hvnas
verify` compares them with the papers' own counts. Top-1 (%) is what the source publishes for the recipe
beside it, at the resolution given or at the one after `@`; figures of different recipes cannot be compared.
Latency is what others published, in ms at batch 1: iPhone 12 under Core ML as in 2212.08059, CPUs from
timm's results (float32, torch 2.4, compiled; `_dws` is timm's form of CoAtNet, `vit_p_18gf` its ViT-B/16).
A – means that nothing is published."""


def table() -> str:
    """The Markdown that belongs between the markers."""
    heads = ["model", "resolution", "params M", "MACs G", "top-1", "recipe"]
    heads += [*(f"{name} ms" for _, name in LATENCIES), "source"]
    rules = ["---" if head in ("model", "recipe", "source") else "--:" for head in heads]
    lines = ["| " + " | ".join(heads) + " |", "|" + "|".join(rules) + "|"]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows()]
    return "\n".join(["", *lines, "", NOTE, ""])


def rows() -> Iterator[list[str]]:
    """A row per fixed point: family by family, small to large."""
    order = [family for family, _, _ in FAMILIES]
    archs = [load_arch(name) for name in list_models()]
    unknown = {facts(arch).get("family") for arch in archs} - set(order)
    assert not unknown, f"families without a place in the table: {unknown}"
    for arch in sorted(archs, key=lambda a: (order.index(facts(a)["family"]), a.lower().macs, a.name)):
        yield row(arch)


def row(arch: Arch) -> list[str]:
    program, published = arch.lower(), facts(arch)
    latency = published.get("latency", {})
    name, paper = next((title, paper) for key, title, paper in FAMILIES if key == published["family"])
    return [
        f"`{arch.name}`",
        str(arch.resolution),
        f"{program.params / 1e6:.2f}",
        f"{program.macs / 1e9:.3f}",
        top1(published),
        recipe(published),
        *(f"{latency[device]:g}" if device in latency else "–" for device, _ in LATENCIES),
        f"{name} ([{paper}](https://arxiv.org/abs/{paper}))",
    ]


def facts(arch: Arch) -> dict[str, Any]:
    return dict(arch.published or {})


def top1(published: dict[str, Any]) -> str:
    """Top-1 with at least one decimal, and the resolution where it is another."""
    if "top1" not in published:
        return "–"
    value = published["top1"]
    at = f" @{published['top1_resolution']}" if "top1_resolution" in published else ""
    return (f"{value:.1f}" if round(value, 1) == value else f"{value:g}") + at


def recipe(published: dict[str, Any]) -> str:
    """The training behind the top-1, with its epochs where the name does not say them."""
    if "recipe" not in published:
        return "–"
    name, epochs = published["recipe"], published.get("epochs")
    return name if epochs is None or name.endswith(str(epochs)) else f"{name}, {epochs} epochs"


def placed(text: str) -> str:
    """The page with the table between its markers. Raises ValueError where they are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(
            f"{README}: the markers {BEGIN} and {END} are missing; put them where the table goes"
        )
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--write", action="store_true", help="replace the table in search_spaces/README.md")
    mode.add_argument(
        "--check", action="store_true", help="exit with 1 where search_spaces/README.md holds another table"
    )
    options = parser.parse_args()
    if not (options.write or options.check):
        print(table())
        return 0
    try:
        old = README.read_text(encoding="utf-8")
        new = placed(old)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.write:
        write_atomic(README, new)
    elif old != new:
        print(
            "search_spaces/README.md: the table of fixed points is stale; run this script with --write",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
