"""Texts that would do harm in a page, a path or a terminal, and runs and networks that bear them."""

from __future__ import annotations

import csv
from pathlib import Path

import made_runs

from hvnas.arch import load_arch, save_arch

ESCAPES = "\x1b]0;title\x07\x1b[31m"
MARKUP = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}"
NAME = f"../../{MARKUP}[red]{ESCAPES}\u202e"


def make_arch(path: Path, *, name: str = NAME) -> Path:
    """A small network under a hostile name, its published source hostile too."""
    arch = load_arch("efficientformer_l1").shrunk()
    found = {"recipe": "modern300", "space": MARKUP, "device": ESCAPES}
    from dataclasses import replace

    save_arch(replace(arch, name=name, published={"top1": 50.0, "source": MARKUP}, found=found), path)
    return path


def make_run(folder: Path, **changes: object) -> Path:
    """A run of two networks with hostile names, on a device and in a space with hostile names."""
    asked = {"device": f"no{MARKUP}", "space": f"nowhere{MARKUP}", "versions": {MARKUP: ESCAPES}} | changes
    made_runs.make(folder, [(1.0, 71.0), (2.0, 81.0)], **asked)
    front = folder / "pareto.csv"
    rows = list(csv.reader(front.read_text().splitlines()))
    for row in rows[1:]:
        row[1] = f"{row[1]}{NAME}"
    with front.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    make_arch(folder / "best.yaml", name=f"n1{NAME}")
    return folder
