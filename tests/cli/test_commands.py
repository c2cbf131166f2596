"""models, spaces, devices, show: what they print, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvnas.arch import list_models, load_arch, save_arch
from hvnas.cli._screen import clean
from hvnas.latency import list_devices, load_device
from hvnas.space import list_spaces, load_space


def test_models_has_a_row_per_fixed_point(hvnas) -> None:
    lines = hvnas("models").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(list_models())
    row = next(line.split() for line in lines if line.split()[0] == "efficientformer_l1")
    assert row == ["efficientformer_l1", "efficientformer", "224", "12.29", "1.291", "79.2", "distilled300"]


def test_models_as_json(hvnas) -> None:
    rows = {row["name"]: row for row in json.loads(hvnas("models", "--json").stdout)}
    assert set(rows) == set(list_models())
    assert rows["poolformer_s12"]["params"] == 11_915_176
    assert rows["poolformer_s12"]["published"]["top1"] == 77.2


def test_spaces(hvnas) -> None:
    rows = {row["name"]: row for row in json.loads(hvnas("spaces", "--json").stdout)}
    assert set(rows) == set(list_spaces())
    mobile = rows["hybrid-mobile"]
    assert mobile["parent"] == "hybrid"
    assert mobile["size"] < rows["hybrid"]["size"]
    assert "efficientformer_l1" in mobile["fixed_points"]


def test_spaces_in_plain_lines(hvnas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvnas.space.list_spaces", lambda: ("poolformer",))
    space = load_space("poolformer")
    count = str(len(space.fixed_points()))
    lines = hvnas("spaces").stdout.splitlines()
    assert lines[1].split() == ["poolformer", f"{space.size:.2e}", "hybrid", str(len(space.genes)), count]
    assert lines[3] == f"poolformer: {space.size:,} architectures; fixed points inside:"
    assert lines[4].strip().split(", ") == list(space.fixed_points())


def test_devices_say_how_their_numbers_were_obtained(hvnas) -> None:
    rows = {row["name"]: row for row in json.loads(hvnas("devices", "--json").stdout)}
    assert set(rows) == set(list_devices())
    assert rows["iphone12"]["method"] == "calibrated"
    plain = hvnas("devices").stdout
    error = rows["iphone12"]["error"]["family_left_out"]["in_gate"]["mape"]
    assert f"{error:.1f} %" in plain
    assert "iphone12 is calibrated, not measured" in plain


def test_devices_go_by_vendor(hvnas) -> None:
    lines = hvnas("devices").stdout.splitlines()
    table = [line.split() for line in lines[1 : 1 + len(list_devices())]]
    vendors = [row[0] for row in table]
    assert vendors == sorted(vendors, key=str.lower)
    assert [row[1] for row in table if row[0] == "Apple"] == ["iphone12", "iphone12-modelbench"]
    assert [row[1] for row in table if row[0] == "NVIDIA"] == ["rtx4090"]
    (phone,) = (line for line in lines if line.split()[:2] == ["Apple", "iphone12"])
    for said in ("calibrated", "Xcode 14", "2024-06 (", "ago)"):
        assert said in phone


def test_one_device_says_what_its_error_leaves_out(hvnas) -> None:
    shown = hvnas("devices", "iphone12").stdout
    assert "cpu-i7" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    said = " ".join(shown.split())
    chosen = load_device("iphone12").report["family_left_out_choice_of_terms_included"]
    errors = " and ".join(f"{chosen[place]['mape']:.1f} %" for place in ("in_gate", "all_networks"))
    assert f"also the choice of terms {errors}" in said
    assert "also the choice of terms and of the form 5.5 % and 8.7 %" in said
    assert "runtime Xcode 14, iOS 16 measured until 2024-06" in said
    (row,) = json.loads(hvnas("devices", "iphone12", "--json").stdout)
    assert row["vendor"] == "Apple"


def test_an_unknown_device_is_answered_with_the_nearest(hvnas) -> None:
    failed = hvnas("devices", "iphone14")
    assert failed.exit_code and "\n" not in failed.stderr.strip()
    assert len(failed.stderr.strip()) <= 500
    assert "with chips of Apple: iphone12, iphone12-modelbench" in failed.stderr


def test_show_as_json(hvnas) -> None:
    data = json.loads(hvnas("show", "efficientformer_l1", "--device", "iphone12", "--json").stdout)
    assert data["name"] == "efficientformer_l1"
    assert data["params"] == 12_289_928
    assert data["macs"] == load_arch("efficientformer_l1").lower().macs
    assert data["resolution"] == 224
    assert [stage["map"] for stage in data["stages"]][:3] == [[48, 56, 56], [96, 28, 28], [224, 14, 14]]
    assert data["stages"][3]["tokens"] == [49, 448]
    assert [stage["local"]["depth"] for stage in data["stages"]] == [3, 2, 6, 3]
    latency = data["latency"]["iphone12"]
    assert latency["low"] < latency["ms"] < latency["high"]
    assert latency["inside"] is True
    assert 70 < data["top1"] < 85
    assert data["top1_sd"] > 0
    assert data["published"]["top1"] == 79.2
    assert data["published"]["params"] == 12_289_928
    assert "2206.01191" in data["published"]["source"]


def test_show_in_plain_lines(hvnas) -> None:
    lines = hvnas("show", "efficientformer_l1", "--device", "iphone12").stdout.splitlines()
    assert lines[0] == "efficientformer_l1"
    last = next(line for line in lines if line.startswith("  stage 4"))
    assert "mb4d × 3" in last
    assert "mb3d × 1" in last
    assert "49 tokens of 448" in last
    assert any("iphone12 is calibrated, not measured" in line for line in lines)


def test_show_says_why_a_network_is_outside_the_gate(hvnas) -> None:
    result = hvnas("show", "coatnet_0", "--device", "iphone12", "--json")
    latency = json.loads(result.stdout)["latency"]["iphone12"]
    assert latency["inside"] is False
    assert any("attention over 196 tokens" in reason for reason in latency["reasons"])
    assert "outside: attention over 196 tokens" in hvnas("show", "coatnet_0").stdout


def test_show_takes_several_devices_and_a_recipe(hvnas, repo_root: Path) -> None:
    file = repo_root / "latency_tables" / "iphone12.yaml"
    short, long = (
        json.loads(hvnas("show", "poolformer_s12", "--device", file, "--recipe", name, "--json").stdout)
        for name in ("basic300", "distilled1000")
    )
    assert list(short["latency"]) == ["iphone12"]
    assert short["recipe"] == "basic300"
    assert short["top1"] < long["top1"]


def test_show_says_what_top1_assumes(hvnas, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    save_arch(load_arch("poolformer_s12").with_(classes=10), path)
    (said,) = json.loads(hvnas("show", path, "--device", "iphone12", "--json").stdout)["assumed"]
    assert said.startswith("10 classes: the evidence holds 1000")
    assert f"assumed     {said}" in hvnas("show", path, "--device", "iphone12").stdout
    assert "assumed" not in hvnas("show", "poolformer_s12", "--device", "iphone12").stdout


@pytest.mark.parametrize("name", ["coatnet_0_dws", "poolformer_s36", "efficientformer_l7"])
def test_the_layout_names_every_block_type_and_every_depth(hvnas, name: str) -> None:
    out = hvnas("show", name).stdout
    for stage in load_arch(name).stages:
        for _, run in stage.runs:
            assert f"{run.block.type} × {run.depth}" in out


def test_strings_from_a_file_cannot_write_to_the_terminal(hvnas, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    save_arch(load_arch("poolformer_s12").with_(name="net"), path)
    hostile = r'"\e[2J\e]0;title\a[red]net"'
    path.write_text(path.read_text().replace("name: net", f"name: {hostile}"))
    result = hvnas("show", path)
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert result.stdout.splitlines()[0] == "[red]net" == clean("[red]net")


def test_published_facts_of_any_kind_do_no_harm(hvnas, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    save_arch(load_arch("poolformer_s12"), path)
    text = path.read_text()
    facts = "published: {top1: .nan, params: many, macs: 2020-01-01, source: [1, 2]}\n"
    path.write_text(text[: text.index("published:")] + facts)
    assert hvnas("show", path).exit_code == 0
    published = json.loads(hvnas("show", path, "--json").stdout)["published"]
    assert published["top1"] is None
    assert published["macs"] == "2020-01-01"


def test_a_space_is_shown_and_checked(hvnas, tmp_path: Path) -> None:
    shown = json.loads(hvnas("spaces", "show", "hybrid-tiny", "--json").stdout)
    assert shown["genes"]["resolution"] == list(load_space("hybrid-tiny").spec.resolution)
    lines = hvnas("spaces", "show", "hybrid-tiny").stdout
    assert "stages.0.local.type" in lines and f"{shown['size']:,} architectures" in lines
    own = tmp_path / "own.yaml"
    own.write_text("{schema: hvnas.space/1, parent: hybrid-tiny, stem_width: [1000000]}")
    refused = hvnas("spaces", "check", own)
    assert refused.exit_code == 2
    assert "stem_width" in refused.stderr and str(own) in refused.stderr
    checked = json.loads(hvnas("spaces", "check", "hybrid-tiny", "--json").stdout)
    assert checked["unused"] == {} and checked["size"] == shown["size"]
    assert "unused        nothing" in hvnas("spaces", "check", "hybrid-tiny").stdout
