"""The JSON schema of space files: up to date, takes what ships and what the page shows, refuses mistakes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from jsonschema import Draft202012Validator

from hvnas.space import list_spaces, load_space

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "search_spaces"
SCHEMA = json.loads((FOLDER / "space.schema.json").read_text(encoding="utf-8"))
PAGE = re.findall(r"^```yaml\n(.*?)^```", (FOLDER / "README.md").read_text(encoding="utf-8"), re.M | re.S)


def mistakes(data: Any) -> list[str]:
    return [str(error.message) for error in Draft202012Validator(SCHEMA).iter_errors(data)]


def test_it_is_what_the_reader_says() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    done = subprocess.run([sys.executable, ROOT / "scripts" / "space_schema.py", "--check"], check=False)
    assert done.returncode == 0, "out of date: run scripts/space_schema.py --write"


@pytest.mark.parametrize("name", list_spaces())
def test_it_takes_what_ships(name: str) -> None:
    assert mistakes(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("number", range(len(PAGE)))
def test_every_file_on_the_page_is_valid_and_can_be_searched(number: int, tmp_path: Path) -> None:
    assert mistakes(yaml.safe_load(PAGE[number])) == []
    path = tmp_path / "wish.yaml"
    path.write_text(PAGE[number])
    space = load_space(path)
    rows = space.sample(8, rng=np.random.default_rng(0))
    assert space.size > 1 and all(space.decode(row) in space for row in rows)


def test_the_page_shows_enough_of_them() -> None:
    assert len(PAGE) >= 11


BODY = {"schema": "hvnas.space/1", "parent": "hybrid-mobile"}
WRONG: dict[str, dict[str, Any]] = {
    "a field that is not there": {"stage": {"widths": [32]}},
    "a value that is no list": {"resolution": 224},
    "a name that is no rule": {"rules": ["shrinking_widths"]},
    "a number out of its limits": {"stages": [{"width": [0]}]},
    "blocks where names belong": {"stems": {"conv": {"type": "conv_stem"}}},
    "a block of no type": {"blocks": {"own": {"type": "mb5d"}}},
    "a field that the block does not have": {"blocks": {"own": {"type": "mb4d", "heads": 4}}},
    "a kind of op that is not there": {"exclude": {"op": "attention"}},
}


@pytest.mark.parametrize("case", WRONG)
def test_it_refuses_what_loading_refuses(case: str, tmp_path: Path) -> None:
    data = BODY | WRONG[case]
    assert mistakes(data)
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ValueError, match=r"wrong\.yaml, line \d+\)") as refused:
        load_space(path)
    assert "\n" not in str(refused.value)
