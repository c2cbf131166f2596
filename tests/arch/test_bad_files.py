"""Files that are wrong or hostile: one line that names the file and the field, and no harm done."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hvnas.arch import load_arch, to_dict

Edit = Callable[[dict[str, Any]], None]


def edited(path: tuple[Any, ...], value: Any) -> Edit:
    """Put `value` at `path`."""

    def edit(data: dict[str, Any]) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return edit


def without(*path: Any) -> Edit:
    """Remove what is at `path`."""

    def edit(data: dict[str, Any]) -> None:
        for key in path[:-1]:
            data = data[key]
        del data[path[-1]]

    return edit


LOCAL = ("stages", 2, "local")
WRONG_FIELDS = {
    "unknown field": (edited((*LOCAL, "kernal"), 3), r"stages\.2\.local\.kernal: unknown field; .*pool"),
    "unknown field at the top": (edited(("widht",), 3), r"widht: unknown field; .*stages"),
    "unknown slot": (edited(("stages", 0, "locale"), {}), r"stages\.0\.locale: unknown field"),
    "depth -1": (edited((*LOCAL, "depth"), -1), r"stages\.2\.local\.depth: must be .* from 0 .* got -1"),
    "depth true": (edited((*LOCAL, "depth"), True), r"stages\.2\.local\.depth: .* got True"),
    "depth too large": (edited((*LOCAL, "depth"), 10**9), r"stages\.2\.local\.depth: .* to 256"),
    "width 0": (edited((*LOCAL, "width"), 0), r"stages\.2\.local: width must be .* from 1 to 65536, got 0"),
    "width is text": (edited((*LOCAL, "width"), "wide"), r"stages\.2\.local\.width: .* got 'wide'"),
    "width missing": (without(*LOCAL, "width"), r"stages\.2\.local\.width: missing"),
    "another width": (
        edited((*LOCAL, "width"), 220),
        r"stages\.2\.local\.0 \(mb4d\): .*220; make them equal",
    ),
    "expand nan": (
        edited((*LOCAL, "expand"), math.nan),
        r"stages\.2\.local: expand must be a number from 0 to 64, got nan",
    ),
    "expand inf": (
        edited((*LOCAL, "expand"), math.inf),
        r"stages\.2\.local: expand must be a number from 0 to 64, got inf",
    ),
    "even pool": (edited((*LOCAL, "pool"), 2), r"stages\.2\.local: pool must be odd"),
    "profile of another length": (
        edited((*LOCAL, "expand"), [4, 3]),
        r"stages\.2\.local\.expand: needs 6 values, one per block, got 2",
    ),
    "unknown type": (edited((*LOCAL, "type"), "mb5d"), r"stages\.2\.local\.type: .*did you mean 'mb[34]d'"),
    "no type": (without(*LOCAL, "type"), r"stages\.2\.local: must be a mapping with a type"),
    "type of another role": (
        edited((*LOCAL, "type"), "classifier"),
        r"stages\.2\.local\.type: unknown block",
    ),
    "run is a list": (edited(LOCAL, [1]), r"stages\.2\.local: must be a mapping, got list"),
    "stage is a number": (edited(("stages", 1), 5), r"stages\.1: must be a mapping, got int"),
    "no stages": (edited(("stages",), []), r"stages: must be a list of 1 to 16 stages"),
    "empty stage": (edited(("stages", 1), {"downsample": None}), r"stages\.1: a stage needs a local or"),
    "downsample": (edited(("stages", 1, "downsample"), "outer"), r"stages\.1\.downsample: .* got 'outer'"),
    "resolution nan": (edited(("resolution",), math.nan), r"resolution: must be a whole number .* nan"),
    "resolution 0": (edited(("resolution",), 0), r"resolution: must be a whole number from 1 to 4096, got 0"),
    "resolution 1.5": (edited(("resolution",), 1.5), r"resolution: must be a whole number .* got 1\.5"),
    "tokens": (edited(("tokens",), [3]), r"tokens: must be \[count, dimension\]"),
    "no stem": (without("stem"), r"stem: must be a mapping with a type"),
    "no head": (without("head"), r"head: must be a mapping with a type"),
    "classes 0": (edited(("head", "classes"), 0), r"head: classes must be .* from 1 to 1000000, got 0"),
    "published": (edited(("published",), "much"), r"published: must be a mapping, got str"),
    "wrong schema": (edited(("schema",), "hvnas.arch/99"), r"schema: must be hvnas\.arch/1, got 'hvnas"),
    "no schema": (without("schema"), r"schema: must be hvnas\.arch/1, got None"),
}


def one_line(path: Path) -> str:
    """The error that `path` gives; it must be one line that names the file."""
    with pytest.raises(ValueError) as caught:
        load_arch(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    assert len(message) <= 500
    return message


@pytest.mark.parametrize("case", WRONG_FIELDS)
def test_wrong_field(case: str, tmp_path: Path) -> None:
    edit, expected = WRONG_FIELDS[case]
    data = to_dict(load_arch("efficientformer_l1"))
    edit(data)
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert re.search(expected, one_line(path))


def test_width_that_heads_do_not_divide(tmp_path: Path) -> None:
    data = to_dict(load_arch("coatnet_0"))
    data["stages"][2]["global"]["width"] = 400
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    expected = r"stages\.2\.global\.0 \(coat_transformer\): head_dim 32 must divide the width 400"
    assert re.search(expected, one_line(path))


def explosion() -> str:
    """Nine levels of ten aliases each: a billion words if they were followed."""
    levels = ["a0: &a0 [lol]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    return "schema: hvnas.arch/1\n" + "\n".join(levels)


WRONG_TEXTS = {
    "truncated": ("schema: hvnas.arch/1\nstem: {type: conv_stem, width: 4", r"not valid YAML: .*\(line \d"),
    "empty": ("", r"is empty; it must hold a mapping with schema: hvnas\.arch/1"),
    "a list": ("- 1\n- 2\n", r"must hold a mapping .* found list"),
    "python tag": ("schema: !!python/object/apply:os.system ['true']\n", r"not valid YAML: .*\(line 1\)"),
    "own tag": ("schema: !mine 1\n", r"tags \(!mine\) are not allowed \(line 1\)"),
    "aliases": (explosion(), r"aliases \(\*name\) are not allowed \(line 3\)"),
    "merge key": (
        "schema: hvnas.arch/1\na: &a {b: 1}\nc: {<<: *a}\n",
        r"merge keys \(<<\) are not allowed \(line 3\)",
    ),
    "duplicate key": (
        "schema: hvnas.arch/1\nstem: {}\nstem: {}\n",
        r"the key 'stem' appears twice \(line 3\)",
    ),
    "key is a list": ("schema: hvnas.arch/1\n? [1, 2]\n: 3\n", r"keys must be plain words \(line 2\)"),
    "two documents": (
        "schema: hvnas.arch/1\n---\nschema: hvnas.arch/1\n",
        r"several documents; one is expected \(line 2\)",
    ),
    "nested deeply": ("schema: " + "[" * 20_000, r"not valid YAML: nested too deeply"),
    "impossible date": ("schema: 2024-99-99\n", r"schema: must be hvnas\.arch/1, got '2024-99-99'"),
}


@pytest.mark.parametrize("case", WRONG_TEXTS)
def test_wrong_text(case: str, tmp_path: Path) -> None:
    text, expected = WRONG_TEXTS[case]
    path = tmp_path / "wrong.yaml"
    path.write_text(text, encoding="utf-8")
    assert re.search(expected, one_line(path))


def test_truncated_before_the_head_is_refused(tmp_path: Path) -> None:
    whole = yaml.safe_dump(to_dict(load_arch("efficientformer_l1")), sort_keys=False)
    path = tmp_path / "cut.yaml"
    for end in range(0, whole.index("\nhead:"), 37):
        path.write_text(whole[:end], encoding="utf-8")
        one_line(path)


def test_huge_file(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(9 * 2**20)
    assert "larger than 8 MiB" in one_line(path)


def test_directory(tmp_path: Path) -> None:
    path = tmp_path / "folder.yaml"
    path.mkdir()
    assert "is a directory" in one_line(path)


def test_missing(tmp_path: Path) -> None:
    assert "no such file" in one_line(tmp_path / "missing.yaml")


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00\xff", b"PK\x03\x04\xe9", bytes(range(256))])
def test_binary(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(content)
    assert "not a text file (UTF-8)" in one_line(path)


def test_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"schema: hvnas.arch/1\x00\x07")
    assert "not valid YAML" in one_line(path)
