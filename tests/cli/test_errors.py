"""Bad input: one clear line on standard error, exit 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvnas.arch import load_arch, save_arch

SEARCH = ("search", "--budget-ms", "2", "--device", "iphone12", "--space", "efficientformer")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of each test."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def refused(hvnas, *args: object, folder: Path, before: frozenset[Path] = frozenset()) -> str:
    """The single line that the arguments are refused with."""
    result = hvnas(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("hvnas: error: ")
    assert "Traceback" not in result.stderr
    assert set(folder.rglob("*")) == set(before)
    return lines[0]


@pytest.mark.parametrize("command", ["predict", "resume", "export"])
def test_names_of_any_length_are_one_short_line(hvnas, empty_folder: Path, command: str) -> None:
    more = {"predict": ["photo.png"], "export": ["--format", "yaml"]}.get(command, [])
    assert len(refused(hvnas, command, "x" * 5000, *more, folder=empty_folder)) <= 500


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("search", "--budget-ms", "2", "--device", "iphone13"), "did you mean 'iphone12'?"),
        ((*SEARCH, "--space", "hybrid-mobil"), "did you mean 'hybrid-mobile'?"),
        ((*SEARCH, "--strategy", "evolutoin"), "did you mean 'evolution'?"),
        ((*SEARCH, "--recipe", "modern30"), "did you mean 'modern300'?"),
        ((*SEARCH, "--outside", "perhaps"), "'forbid'"),
        ((*SEARCH, "--resume"), "--out"),
        (("show", "efficientformer_l2"), "nearest of 92: efficientformer_l1, efficientformer_l3, efficientf"),
        (("show", "runs/phone"), "'runs/phone': leads to no network; check the path"),
        (("train", "coatnet_0", "--data", "imagenet"), "write hf:ILSVRC/imagenet-1k"),
        (("modle",), "Did you mean 'models'? See hvnas --help"),
        (("show", "coatnet_0", "--device", "iphone"), "did you mean 'iphone12'?"),
        (("show", "coatnet_0", "--recipe", "modern"), "unknown recipe 'modern'"),
        (("show", "missing.yaml"), "missing.yaml: no such file"),
        (("resume", "missing"), "missing: holds no run"),
        (("resume",), "Missing argument"),
        (("modles",), "'models'"),
        (("models", "--jsn"), "--json"),
        (("search", "--budget-ms", "2"), "--device"),
    ],
)
def test_unknown_names_and_missing_arguments(hvnas, empty_folder: Path, args: tuple, said: str) -> None:
    assert said in refused(hvnas, *args, folder=empty_folder)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--budget-ms", "nan", "budget_ms: must be a finite number > 0, got nan"),
        ("--budget-ms", "inf", "budget_ms: must be a finite number > 0, got inf"),
        ("--budget-ms", "-1", "budget_ms: must be a finite number > 0, got -1"),
        ("--budget-ms", "0", "budget_ms: must be a finite number > 0, got 0"),
        ("--budget-ms", "two", "--budget-ms"),
        ("--evals", "0", "evals: must be a whole number >= 1, got 0"),
        ("--evals", "-5", "evals: must be a whole number >= 1, got -5"),
        ("--evals", "1.5", "--evals"),
        ("--seed", "-1", "seed: must be a whole number >= 0, got -1"),
        ("--seed", "4294967296", "seed: must be a whole number <= 4294967295, got 4294967296"),
        ("--classes", "0", "classes: must be a whole number from 1 to 1000000, got 0"),
        (
            "--classes",
            "1000000000000",
            "classes: must be a whole number from 1 to 1000000, got 1000000000000",
        ),
        ("--classes", "ten", "--classes"),
        ("--margin", "nan", "margin: must be a number from 0 to 10, got nan"),
        ("--margin", "-0.1", "margin: must be a number from 0 to 10, got -0.1"),
    ],
)
def test_numbers_out_of_range(hvnas, empty_folder: Path, option: str, value: str, said: str) -> None:
    assert said in refused(hvnas, *SEARCH, option, value, folder=empty_folder)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--cpus-per-trial", "0", "cpus_per_trial: must be > 0 where gpus_per_trial is 0"),
        ("--max-retries", "-1", "max_retries: must be a whole number >= 0, got -1"),
        ("--workers", "-1", "workers: must be a whole number >= 1, got -1"),
    ],
)
def test_shares_of_ray_out_of_range_leave_nothing(
    hvnas, empty_folder: Path, option: str, value: str, said: str
) -> None:
    assert said in refused(hvnas, *SEARCH, "--engine", "ray", option, value, folder=empty_folder)


@pytest.mark.parametrize(
    "option", [("--resolution", "0"), ("--resolution", "100000"), ("--classes", "2000000")]
)
def test_no_file_is_exported_that_could_not_be_read(
    hvnas, empty_folder: Path, option: tuple[str, str]
) -> None:
    args = ("export", "efficientvit_b0", "--format", "yaml", *option, "--out", empty_folder / "net.yaml")
    assert f"{option[0][2:]}: must be a whole number from 1 to" in refused(hvnas, *args, folder=empty_folder)


BAD_YAML = {
    "malformed": ("schema: [hvnas", "not valid YAML"),
    "tag": ("schema: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    "alias": ("a: &a [1, 2]\nb: [*a, *a]\n", "aliases (*name) are not allowed"),
    "empty": ("", "must hold a mapping"),
    "schema": ("schema: other/1\n", "schema: must be hvnas."),
    "twice": ("schema: a\nschema: b\n", "appears twice"),
    "deep": ("[" * 20_000, "not valid YAML"),
}


@pytest.mark.parametrize("case", BAD_YAML)
@pytest.mark.parametrize("what", ["arch", "device", "space"])
def test_bad_yaml(hvnas, tmp_path: Path, empty_folder: Path, case: str, what: str) -> None:
    text, said = BAD_YAML[case]
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    args = {
        "arch": ("show", path),
        "device": ("search", "--budget-ms", "2", "--device", path),
        "space": (*SEARCH, "--space", path),
    }[what]
    line = refused(hvnas, *args, folder=empty_folder)
    assert said in line
    assert "bad.yaml" in line


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("head_dim: 32", "head_dim: 36", "head_dim 36 must divide the width 384"),
        ("depth: 5", "depth: -1", "stages.2.global.depth: must be a whole number from 0 to 256, got -1"),
        ("width: 384", "width: many", "stages.2.global.width: "),
        ("type: coat_transformer", "type: coat_transfomer", "did you mean 'coat_transformer'?"),
        ("resolution: 224", "resolution: 225", "stages.0"),
        ("stages:", "stagse:", "stagse: unknown field"),
    ],
)
def test_networks_that_cannot_be(
    hvnas, tmp_path: Path, empty_folder: Path, old: str, new: str, said: str
) -> None:
    path = tmp_path / "net.yaml"
    save_arch(load_arch("coatnet_0"), path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    line = refused(hvnas, "show", path, folder=empty_folder)
    assert said in line
    assert "net.yaml" in line


def test_a_folder_with_other_things_is_refused(hvnas, empty_folder: Path) -> None:
    taken = empty_folder / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    before = frozenset(empty_folder.rglob("*"))
    line = refused(hvnas, *SEARCH, "--out", taken, folder=empty_folder, before=before)
    assert "taken: exists and holds no run" in line


def test_a_folder_that_cannot_be_made_is_refused(hvnas, empty_folder: Path) -> None:
    (empty_folder / "file").write_text("")
    before = frozenset(empty_folder.rglob("*"))
    line = refused(hvnas, *SEARCH, "--evals", "20", "--out", "file/run", folder=empty_folder, before=before)
    assert "file" in line


def test_a_folder_without_a_run_is_not_shown(hvnas, empty_folder: Path) -> None:
    (empty_folder / "some").mkdir()
    before = frozenset(empty_folder.rglob("*"))
    line = refused(hvnas, "show", "some", folder=empty_folder, before=before)
    assert "some: holds no best.yaml" in line


def test_messages_from_files_cannot_write_to_the_terminal(hvnas, tmp_path: Path, empty_folder: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text('schema: "\\e[2J\\nhvnas: all is well"\n')
    assert "\x1b" not in refused(hvnas, "show", path, folder=empty_folder)
