"""Suites: what is in one, and that it is never half there."""

from __future__ import annotations

import csv
import re
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

import hvnas.export as exports
from hvnas.arch import load_arch
from hvnas.latency.remote import measure_onnx
from hvnas.latency.remote import suite as suite_module
from hvnas.latency.remote.importing import read_suite
from hvnas.latency.remote.measurements import FIELDS, read_measurements
from hvnas.latency.remote.suite import SUFFIXES, Suite, export_suite, plan_suite
from hvnas.latency.tables.block_keys import load_block_key
from hvnas.space import Space, load_space

NETWORKS, BLOCKS = 2, 6


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("efficientformer")


@pytest.fixture(scope="module")
def suite(space: Space) -> Suite:
    return plan_suite(space, format="onnx", networks=NETWORKS, blocks=BLOCKS)


class Stop(Exception):
    pass


class Exporter:
    """Writes an empty file in place of a model, and stops the job at the `stop_at`-th."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.stop_at = 10**6

    def __call__(self, source: object, path: Path, **options: object) -> None:
        if len(self.paths) == self.stop_at:
            raise Stop
        self.paths.append(path)
        path.write_text(type(source).__name__)


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Exporter:
    fake = Exporter()
    monkeypatch.setattr(exports, "export_onnx", fake)
    monkeypatch.setattr(exports, "export_coreml", fake)
    monkeypatch.setattr(exports, "export_tflite", fake)
    return fake


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "suite.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_in_it(space: Space, suite: Suite) -> None:
    models = [entry for entry in suite.entries if entry.kind == "model"]
    assert [entry.key for entry in models[:-NETWORKS]] == ["efficientformer_l1", "efficientformer_l3"]
    for entry in models[-NETWORKS:]:
        assert entry.source in space
        assert 0.1e9 <= entry.source.lower().macs <= 3e9
    blocks = [entry for entry in suite.entries if entry.kind == "block"]
    assert len(blocks) == 2 * BLOCKS
    for low, high in zip(blocks[::2], blocks[1::2], strict=True):
        assert low.source == high.source
        assert (low.depth, high.depth) == low.source.depths(4)
    assert len({entry.file for entry in suite.entries}) == len(suite.entries)
    assert suite.uncovered


def test_the_seed_decides(space: Space, suite: Suite) -> None:
    assert plan_suite(space, format="onnx", networks=NETWORKS, blocks=BLOCKS) == suite
    other = plan_suite(space, format="onnx", networks=NETWORKS, blocks=0, seed=1)
    assert not {e.file for e in other.entries[-NETWORKS:]} & {e.file for e in suite.entries}


def test_numbers_that_make_no_suite(space: Space) -> None:
    with pytest.raises(ValueError, match="unknown format 'onyx'; did you mean 'onnx'"):
        plan_suite(space, format="onyx")
    with pytest.raises(ValueError, match="depth: must be >= 3, got 2"):
        plan_suite(space, format="onnx", depth=2)
    with pytest.raises(ValueError, match="networks: must be >= 0, got -1"):
        plan_suite(space, format="onnx", networks=-1)
    with pytest.raises(ValueError, match="2 blocks cannot stand for 5 block types"):
        plan_suite(space, format="onnx", networks=0, blocks=2)


def test_the_folder(suite: Suite, exporter: Exporter, tmp_path: Path) -> None:
    out = tmp_path / "suite"
    seen: list[int] = []
    done = export_suite(suite, out, on_step=lambda at, _: seen.append(at))
    assert (done.written, done.kept) == (len(suite.entries), 0)
    assert seen == list(range(len(suite.entries)))
    listed = read_suite(out / "suite.csv")
    assert listed.keys() == {path.stem for path in (out / "models").iterdir()}
    for entry in rows(out):
        if entry["kind"] == "block":
            name, _, depth = entry["key"].rpartition("-d")
            assert load_block_key(out / "blocks" / f"{name}.yaml").name == name
            assert depth == entry["depth"]
        elif entry["key"].endswith(".yaml"):
            assert load_arch(out / entry["key"]).resolution == int(entry["resolution"])
    assert "measure_onnx.py" in (out / "README.md").read_text()
    assert (out / "measure_onnx.py").is_file()


def test_stopped_anywhere_it_goes_on(suite: Suite, exporter: Exporter, tmp_path: Path) -> None:
    exporter.stop_at = 3
    with pytest.raises(Stop):
        export_suite(suite, tmp_path)
    assert [row["file"] for row in rows(tmp_path)] == [entry.file for entry in suite.entries[:3]]
    remains = tmp_path / "models" / ".x.onnx.abc.part"
    remains.mkdir()
    (tmp_path / "suite.csv").unlink()  # as if killed between the model and the list
    exporter.stop_at = 10**6
    done = export_suite(suite, tmp_path)
    assert (done.written, done.kept) == (len(suite.entries) - 3, 3)
    assert not remains.exists()
    assert len(exporter.paths) == len(suite.entries)
    assert [row["file"] for row in rows(tmp_path)] == [entry.file for entry in suite.entries]
    assert export_suite(suite, tmp_path).written == 0


def test_a_folder_of_something_else_is_left_alone(suite: Suite, exporter: Exporter, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="holds other files and no suite"):
        export_suite(suite, tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        export_suite(suite, tmp_path / "thesis.tex")
    with pytest.raises(ValueError, match="there is no folder"):
        export_suite(suite, tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_suite_of_other_settings_is_left_alone(suite: Suite, exporter: Exporter, tmp_path: Path) -> None:
    export_suite(suite, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    other = Suite(replace(suite.settings, seed=1), suite.entries, ())
    with pytest.raises(ValueError, match=r"seed: the suite in .* was begun with 0, not 1"):
        export_suite(other, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_is_seen_before_anything_long(
    suite: Suite, exporter: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    with pytest.raises(ValueError, match="GB are free; make room"):
        export_suite(suite, tmp_path)
    assert not exporter.paths


@pytest.mark.parametrize("format", SUFFIXES)
def test_instructions_name_commands_that_exist(
    suite: Suite, exporter: Exporter, tmp_path: Path, format: str
) -> None:
    from hvnas.cli.latency import COMMANDS
    from hvnas.latency.remote.importing import list_formats

    export_suite(Suite(replace(suite.settings, format=format), suite.entries[:1], ()), tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert {"import", "calibrate"} <= set(re.findall(r"hvnas latency ([\w-]+)", text)) <= COMMANDS.keys()
    formats = set(re.findall(r"--format (\S+)", text))
    assert formats and formats <= {form.name for form in list_formats()}
    assert "{" not in text
    # TensorFlow's own benchmark times TFLite files.
    scripts = [path.name for path in tmp_path.glob("measure_*.py")]
    assert len(scripts) == (format in suite_module.SCRIPTS) and all(name in text for name in scripts)


def test_the_script_writes_what_is_read(tmp_path: Path, space: Space) -> None:
    """From models to measurements, with one network and one block in place of all."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    assert tuple(measure_onnx.COLUMNS) == FIELDS
    full = plan_suite(space, format="onnx", networks=1, blocks=5)
    block = min((entry for entry in full.entries if entry.kind == "block"), key=lambda entry: entry.params)
    network = next(entry for entry in full.entries if entry.file.startswith("random"))
    network = replace(network, source=network.source.shrunk())
    export_suite(Suite(full.settings, (network, block), ()), tmp_path)
    files = sorted(map(str, (tmp_path / "models").iterdir()))
    options = ["--suite", tmp_path / "suite.csv", "--out", tmp_path / "m.csv", "--device", "here"]
    options += ["--rounds", "1", "--seconds", "0.01"]
    measure_onnx.main([files[0], *map(str, options)])
    measure_onnx.main([*files, *map(str, options)])
    measured = read_measurements(tmp_path / "m.csv")
    assert {row.key for row in measured} == {network.key, block.key}
    with pytest.raises(SystemExit, match="put it there"):
        measure_onnx.main([*files, *map(str, options[:2]), "--out", "m.csv", "--device", "here"])


def test_models_differ_in_nothing_but_the_format() -> None:
    assert suite_module.SUFFIXES.keys() == suite_module.BYTES_PER_WEIGHT.keys()
    assert suite_module.SUFFIXES.keys() - suite_module.SCRIPTS.keys() == {"tflite"}
