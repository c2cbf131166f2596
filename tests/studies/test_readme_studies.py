"""The tables of the shipped studies in the studies' README hold what the studies compute now."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from hvnas.studies.ablation import list_studies, load_study, run_study
from hvnas.studies.ablation.facts import tables

ROOT = Path(__file__).parents[2]
README = ROOT / "hvnas" / "studies" / "README.md"
COMMAND = re.compile(r"^(?:\$ )?hvnas ablate (\S+)(.*)$", re.MULTILINE)
FIGURE = re.compile(r"!\[[^\]]*\]\(\.\./\.\./(scripts/figures/[^)]+)\)")
# Its latency is measured on the machine that runs it.
MEASURED = "linear-attention"


def sections() -> dict[str, str]:
    """The subsections that begin with a study, by the study's name."""
    found = {}
    for section in re.split(r"^#{2,3} ", README.read_text(encoding="utf-8"), flags=re.MULTILINE):
        command = COMMAND.search(section)
        if command is not None and FIGURE.search(section):
            found[command[1]] = section
    return found


def shown(section: str) -> list[tuple[str, list[str]]]:
    """Rows of the section's tables: name and the cells with a number."""
    rows = re.findall(r"^\| (.+) \|$", section, re.MULTILINE)
    split = [[cell.strip().replace("−", "-") for cell in row.split(" | ")] for row in rows]
    return [
        (name, [cell for cell in cells if re.search(r"\d", cell)]) for name, *cells in split if name != "row"
    ]


@cache
def printed(study: str, options: str) -> dict[str, set[str]]:
    """All cells that the command prints, by row."""
    words = shlex.split(options)
    parts = [after for word, after in pairwise(words) if word == "--part"]
    found: dict[str, set[str]] = defaultdict(set)
    for part in run_study(load_study(study).only(parts)).parts:
        for table in tables(part):
            for name, *cells in table.rows:
                found[name].update(cells)
    return found


def test_every_shipped_study_has_a_section_and_a_figure() -> None:
    assert set(sections()) == set(list_studies())
    for section in sections().values():
        for figure in FIGURE.findall(section):
            assert (ROOT / figure).stat().st_size < 65_000


@pytest.mark.parametrize("study", [name for name in list_studies() if name != MEASURED])
def test_the_numbers_are_what_the_study_prints(study: str) -> None:
    section = sections()[study]
    command = COMMAND.search(section)
    assert command is not None
    cells = printed(study, command[2])
    rows = shown(section)
    assert len(rows) >= 4
    for name, numbers in rows:
        assert name in cells, name
        assert len(numbers) >= 3 and set(numbers) <= cells[name], (name, set(numbers) - cells[name])
