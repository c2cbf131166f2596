"""Core ML: Xcode's report, and what our script saves of coremltools' benchmarker."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from hvnas.latency.remote.importing import coreml, measure_coreml

DATA = Path(__file__).parent / "data"
BUNDLE = DATA / "spike_segformer-you.mlperf"
SAVED = DATA / "coremltools.json"
SAMPLES = [1.31, 1.29, 1.30, 1.33, 1.28, 1.30, 1.45, 1.30, 1.29, 1.31]


def write(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("path", [BUNDLE, BUNDLE / "report.json"])
def test_report_of_xcode(path: Path) -> None:
    (reading,) = coreml.read_xcode(path)
    assert (reading.ms, reading.statistic, reading.n) == (12.690485, "median", 24)
    assert reading.spread == pytest.approx(0.059, abs=0.001)
    assert reading.names == ("spike_segformer", "spike_segformer-you")
    assert reading.stated == {
        "runtime": "coreml",
        "runtime_version": "iOS 26.5.2",
        "device": "iPhone 16 Pro",
        "os": "iOS 26.5.2",
        "compute_unit": "all",
        "precision": "float16",
        "batch": 1,
        "resolution": 513,
    }


@pytest.fixture
def report() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((BUNDLE / "report.json").read_text())
    return data


def with_model(report: dict[str, Any], **fields: Any) -> dict[str, Any]:
    raw = json.loads(report["modelMetadata"]["rawMetadata"])
    raw[0] |= fields
    report["modelMetadata"]["rawMetadata"] = json.dumps(raw)
    return report


def test_report_on_a_model_of_images(tmp_path: Path, report) -> None:
    image = {"type": "Image", "height": "224", "width": "224", "colorspace": "RGB", "name": "image"}
    model = with_model(report, inputSchema=[image], computePrecision="Float32")
    stated = coreml.read_xcode(write(tmp_path / "r.json", model | {"computeUnit": 0}))[0].stated
    assert (stated["batch"], stated["resolution"], stated["precision"]) == (1, 224, "float32")
    assert stated["compute_unit"] == "cpu"


@pytest.mark.parametrize(
    "raw", [None, "", "[", "{}", "[]", "[1]", '[{"inputSchema": 3}]', '[{"inputSchema": [{}]}]']
)
def test_report_without_what_it_may_lack(tmp_path: Path, report, raw: str | None) -> None:
    report["modelMetadata"] = {"rawMetadata": raw}
    report["deviceInfo"] = {}
    (reading,) = coreml.read_xcode(write(tmp_path / "net.mlperf", report))
    assert reading.names == ("net",)
    assert reading.stated == {"runtime": "coreml", "compute_unit": "all"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"deviceResults": None}, "deviceResults.predict.samples: must be a list of times"),
        ({"deviceResults": {"predict": {"samples": []}}}, "must be a list of times; is the file complete?"),
        ({"deviceResults": {"predict": {"samples": [0.1, -0.1]}}}, "samples: must hold times > 0, got -0.1"),
        ({"deviceResults": {"predict": {"samples": [0.1, "x"]}}}, "samples: must hold times > 0, got 'x'"),
        (
            {"deviceResults": {"predict": {"samples": [float("nan")]}}},
            "'NaN' is not a finite number (line 1)",
        ),
        ({"deviceResults": {"predict": {"samples": [1e300]}}}, "samples: must hold times > 0, got 1e+300"),
        ({"jsonVersion": True}, "jsonVersion: must be 1, the one known, got True"),
        ({"jsonVersion": 7}, "jsonVersion: must be 1, the one known, got 7"),
    ],
)
def test_other_reports(tmp_path: Path, report, change: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "r.json", report | change)
    with pytest.raises(ValueError) as caught:
        coreml.read_xcode(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_not_a_report(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="this is not a performance report, check --format"):
        coreml.read_xcode(write(tmp_path / "r.json", []))
    with pytest.raises(ValueError, match=r"report\.json: no such file"):
        coreml.read_xcode(tmp_path)


def test_saved_by_the_script() -> None:
    (reading,) = coreml.read_coremltools(SAVED)
    assert (reading.ms, reading.n, reading.names[0]) == (1.3, 10, "efficientvit_b0")
    assert reading.stated == {
        "runtime": "coreml",
        "runtime_version": "iOS 17.5",
        "device": "iPhone 12",
        "os": "iOS 17.5",
        "compute_unit": "all",
        "batch": 1,
        "resolution": 224,
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "other/1"}, "schema: must be hvnas.coremltools/1"),
        ({"unit": "s"}, "unit: must be ms, got 's'"),
        ({"device": " "}, "device: must be a text, got ' '"),
        ({"model": 3}, "model: must be a text, got 3"),
        ({"compute_units": "GPU"}, "compute_units: must be one of CPU_ONLY, "),
        ({"samples": [1.0, 0]}, "samples: must hold times > 0, got 0"),
        ({"samples": [True]}, "samples: must hold times > 0, got True"),
        ({"samples": [10**400]}, "a number of 401 digits; the longest has 40 (line 1)"),
        ({"samples": 1.0}, "samples: must be a list of times"),
    ],
)
def test_other_saved_files(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "s.json", json.loads(SAVED.read_text()) | change)
    with pytest.raises(ValueError) as caught:
        coreml.read_coremltools(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


class Phone(SimpleNamespace):
    async def prepare_for_model_debugging(self, *, credentials: Any) -> Phone:
        assert credentials.development_team == "ABCDE"
        return self


class Benchmarker:
    """Stands in for MLModelBenchmarker: the same calls, no Mac."""

    calls: list[tuple[str, object, int]] = []  # noqa: RUF012

    def __init__(self, *, model: Any, device: Any) -> None:
        self.model, self.device = model, device

    async def benchmark_predict(self, *, iterations: int, warmup: bool) -> Any:
        assert warmup
        self.calls.append((self.model.path, self.device, iterations))
        return SimpleNamespace(samples=SAMPLES, statistics=SimpleNamespace(median=1.3))


class Model:
    def __init__(self, path: str, *, compute_units: str) -> None:
        self.path, self.compute_units = path, compute_units

    def get_spec(self) -> Any:
        array = SimpleNamespace(shape=[1, 3, 224, 224])
        kind = SimpleNamespace(imageType=None, multiArrayType=array, WhichOneof=lambda _: "multiArrayType")
        return SimpleNamespace(description=SimpleNamespace(input=[SimpleNamespace(type=kind)]))


@pytest.fixture
def fake_coremltools(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object, int]]:
    phone = Phone(name="My iPhone", os_version="17.5")
    remote = SimpleNamespace(
        AppSigningCredentials=lambda **fields: SimpleNamespace(**fields),
        DeviceType=SimpleNamespace(IPHONE="iphone"),
        Device=SimpleNamespace(get_connected_devices=lambda kind: [phone]),
    )
    top: Any = ModuleType("coremltools")
    top.__version__ = "9.0"
    top.ComputeUnit = {name: name for name in measure_coreml.UNITS}
    top.models = SimpleNamespace(MLModel=Model)
    base = "coremltools.models.ml_program.experimental"
    modules = {"coremltools": top, f"{base}.remote_device": remote}
    modules[f"{base}.perf_utils"] = SimpleNamespace(MLModelBenchmarker=Benchmarker)
    for parent in ("coremltools.models", "coremltools.models.ml_program", base):
        modules[parent] = ModuleType(parent)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(Benchmarker, "calls", [])
    return Benchmarker.calls


def test_the_script_writes_what_is_imported(tmp_path: Path, fake_coremltools, capsys) -> None:
    arguments = ["a.mlpackage", "b.mlpackage", "--out", str(tmp_path / "results"), "--device", "iPhone 12"]
    arguments += ["--iphone", "My iPhone", "--team", "ABCDE", "--iterations", "10"]
    measure_coreml.main(arguments)
    assert [(path, n) for path, _, n in fake_coremltools] == [("a.mlpackage", 10), ("b.mlpackage", 10)]
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["a.json", "b.json"]
    (reading,) = coreml.read_coremltools(tmp_path / "results" / "a.json")
    assert (reading.ms, reading.names) == (1.3, ("a", "a"))
    assert reading.stated == coreml.read_coremltools(SAVED)[0].stated
    assert "a.json: 1.300 ms" in capsys.readouterr().out
    measure_coreml.main(arguments)
    assert len(fake_coremltools) == 2
    assert "there already" in capsys.readouterr().out


def test_the_script_on_the_mac_itself(tmp_path: Path, fake_coremltools) -> None:
    arguments = ["a.mlpackage", "--out", str(tmp_path), "--device", "Mac mini", "--compute-units", "CPU_ONLY"]
    measure_coreml.main(arguments)
    assert fake_coremltools[0][1:] == (None, 100)
    stated = coreml.read_coremltools(tmp_path / "a.json")[0].stated
    assert (stated["device"], stated["compute_unit"]) == ("Mac mini", "cpu")
    with pytest.raises(SystemExit, match="no connected iPhone is called 'Other'; there are: My iPhone"):
        measure_coreml.main([*arguments, "--iphone", "Other"])


def test_the_script_stands_alone() -> None:
    text = Path(measure_coreml.__file__).read_text()
    assert "import hvnas" not in text
    assert "from hvnas" not in text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_objects_of_coremltools_itself(tmp_path: Path) -> None:
    coremltools = pytest.importorskip("coremltools")
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

    measured = MLModelBenchmarker.Measurement.from_samples(SAMPLES)
    spec = coremltools.proto.Model_pb2.Model()
    array = spec.description.input.add(name="x").type.multiArrayType
    array.shape.extend([1, 3, 224, 224])
    shape = measure_coreml.input_shape(spec)
    facts = {"device": "iPhone 12", "os": "iOS 17.5", "compute_units": "ALL", "version": "9.0"}
    path = tmp_path / "m.json"
    measure_coreml.save(measure_coreml.record(measured, model="efficientvit_b0", shape=shape, **facts), path)
    assert json.loads(path.read_text()) == json.loads(SAVED.read_text())
    image = coremltools.proto.Model_pb2.Model()
    kind = image.description.input.add(name="x").type.imageType
    kind.width = kind.height = 192
    assert measure_coreml.input_shape(image) == [1, 3, 192, 192]
    image.description.input.add(name="y")
    assert measure_coreml.input_shape(image) == []
