"""Every file of a run's folder states of a network what ``hvnas show`` of the same file prints."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml

from hvnas.arch import load_arch, save_arch
from hvnas.latency import load_device
from hvnas.latency.provenance import method

DEVICE = "cpu-i7-12700h"
FILES = Path(__file__).parents[1] / "supernet"
DATA = ("--data", "shapes", "--train-size", 16, "--test-size", 16)


@pytest.fixture(scope="module")
def run(hvnas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search, a training of its best at another size, its exports and its report."""
    out = tmp_path_factory.mktemp("made") / "run"
    options = ("--space", FILES / "small.yaml", "--device", DEVICE, "--budget-ms", 50, "--outside", "allow")
    for command in (
        ("search", *options, "--strategy", "random", "--evals", 4, "--out", out),
        (
            "train",
            out,
            *DATA,
            "--resolution",
            32,
            "--recipe",
            FILES / "short.yaml",
            "--epochs",
            1,
            "--device",
            "cpu",
        ),
        ("export", out, "--format", "torch"),
        ("export", out, "--format", "yaml"),
        ("export", out, "--format", "yaml", "--resolution", 96, "--out", out / "larger.yaml"),
        ("report", out),
    ):
        result = hvnas(*command)
        assert result.exit_code == 0, result.stderr
    return out


def stated(data: Any) -> Iterator[tuple[str, float]]:
    """Names and values of the latencies, top-1 and sizes that plain data states, at any depth."""
    for key, value in data.items() if isinstance(data, dict) else ():
        if key in ("latency_ms", "top1", "params", "macs") and value is not None:
            yield key, float(value)
        elif key not in ("history", "published"):
            yield from stated(value)


def shown(hvnas, source: Path) -> dict[str, set[float]]:
    """What ``hvnas show`` prints of a file, rounded as files are."""
    facts = json.loads(hvnas("show", source, "--device", DEVICE, "--json").stdout)
    found = facts["found"] or {}
    return {
        "latency_ms": {round(facts["latency"][DEVICE]["ms"], 4)},
        "top1": {round(value, 3) for value in (facts["top1"], found.get("top1")) if value is not None},
        "params": {facts["params"]},
        "macs": {facts["macs"]},
    }


def test_no_file_states_what_show_does_not_print(run: Path, hvnas) -> None:
    networks = [path for path in run.rglob("*.yaml") if path.name not in ("config.yaml",)]
    networks += [run / "model_torch" / "config.yaml"]
    assert {"best.yaml", "arch.yaml", "model.yaml", "larger.yaml"} <= {path.name for path in networks}
    for path in networks:
        arch, prints = load_arch(path), shown(hvnas, path)
        assert arch.found is not None
        numbers = dict(stated(arch.found))
        assert "latency_ms" in numbers, path
        for key, value in numbers.items():
            assert value in prints[key], (path, key)
        assert ("choices" in arch.found) == (arch.resolution == 64), path
    for row in csv.DictReader((run / "pareto.csv").open(encoding="utf-8")):
        prints = shown(hvnas, run / row["file"])
        for key in prints:
            assert float(row[key]) in prints[key], (row["name"], key)
    metrics = json.loads((run / "train" / "metrics.json").read_text(encoding="utf-8"))
    prints = shown(hvnas, run / "train")
    for key in ("params", "macs"):
        assert metrics[key] in prints[key]
    assert metrics["latency"]["latency_ms"] in prints["latency_ms"]


def test_what_is_trained_is_told_at_its_size_beside_the_budget(run: Path, hvnas) -> None:
    arch, best = load_arch(run / "train" / "arch.yaml"), load_arch(run / "best.yaml")
    assert (arch.resolution, arch.head.out) == (32, 16) != (best.resolution, best.head.out)
    assert arch.found is not None and "top1" not in arch.found
    assert (arch.found["device"], arch.found["budget_ms"]) == (DEVICE, 50)
    ms = load_device(DEVICE).latency(arch.lower()).ms
    said = f"{ms:.3f} ms predicted on {DEVICE} ({method(load_device(DEVICE).info)}; 5–95 %: "
    evaluated = hvnas("evaluate", run, "--device", "cpu")
    assert said in evaluated.stdout and "50 ms budget" in evaluated.stdout
    assert "32 px, 16 classes" in hvnas("report", run).stdout and said in hvnas("report", run).stdout
    facts = json.loads(hvnas("evaluate", run, "--device", "cpu", "--json").stdout)
    assert facts["latency"]["latency_ms"] == round(ms, 4) != best.found["latency_ms"]  # type: ignore[index]


def test_a_calibrated_device_says_so_and_an_option_names_another(run: Path, hvnas, tmp_path: Path) -> None:
    train = ("train", run, *DATA, "--resolution", 32, "--recipe", FILES / "short.yaml", "--device", "cpu")
    result = hvnas(*train, "--out", tmp_path / "other", "--latency-device", "iphone12")
    assert result.exit_code == 0, result.stderr
    assert "ms predicted on iphone12 (calibrated, not measured; " in result.stdout
    refused = hvnas(*train, "--out", tmp_path / "none", "--latency-device", "nowhere")
    assert refused.exit_code == 2 and "nowhere" in refused.stderr and not (tmp_path / "none").exists()


def test_a_network_of_another_size_carries_nothing_of_the_first() -> None:
    arch = replace(load_arch("efficientformer_l1"), found={"latency_ms": 1.0, "top1": 80.0})
    assert arch.with_(name="same", resolution=224, classes=1000).found == arch.found
    assert arch.with_(name="same").published == arch.published != None  # noqa: E711
    for other in (arch.with_(resolution=64), arch.with_(classes=10)):
        assert (other.found, other.published) == (None, None)


def test_a_device_of_a_file_is_found_through_the_run(run: Path, tmp_path: Path, repo_root: Path) -> None:
    from hvnas.latency.registry import restated

    out = tmp_path / "run"
    copytree(run, out)
    best = load_arch(out / "best.yaml")
    for suffix in ("yaml", "csv"):
        source = repo_root / "latency_tables" / f"{DEVICE}.{suffix}"
        (tmp_path / f"host.{suffix}").write_bytes(source.read_bytes().replace(DEVICE.encode(), b"host"))
    config = (out / "config.yaml").read_text(encoding="utf-8")
    (out / "config.yaml").write_text(
        config.replace(f"device: {DEVICE}", f"device: {tmp_path / 'host.yaml'}"), encoding="utf-8"
    )
    smaller = restated(best.with_(resolution=32), best, beside=out)
    assert smaller.found is not None
    assert smaller.found["device_file"] == str(tmp_path / "host.yaml")
    save_arch(smaller, tmp_path / "smaller.yaml")
    again = restated(smaller.with_(classes=3), load_arch(tmp_path / "smaller.yaml"))
    assert again.found is not None and again.found["budget_ms"] == 50


def test_a_recipe_that_is_not_known_is_named_with_the_file(run: Path, hvnas, tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    data = yaml.safe_load((run / "best.yaml").read_text())
    data["found"]["recipe"] = "magic"
    file.write_text(yaml.safe_dump(data))
    for command in (("show", file), ("report", file, "--out", tmp_path / "page.html")):
        done = hvnas(*command)
        assert done.exit_code == 2 and f"{file}: unknown recipe 'magic'" in done.stderr
    assert not (tmp_path / "page.html").exists()
