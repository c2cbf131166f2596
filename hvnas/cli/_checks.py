"""Small jobs that show whether what is installed works, each in a process of its own: one may crash it.

``python -m hvnas.cli._checks NAME`` does one and prints a line on what it found.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

State = Literal["works", "absent", "broken"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# At once: they are short, and most of them wait for imports.
_WORKERS = 2


class Absent(Exception):
    """The thing is not there, which is no fault."""


@dataclass(frozen=True)
class Try:
    """A job: the modules it needs, the extra that brings them, and how many seconds it may take."""

    name: str
    needs: tuple[str, ...]
    extra: str
    run: Callable[[], str]
    seconds: float = 120.0


@dataclass(frozen=True)
class Outcome:
    """What came of a job: one line of `detail`; `extra` is what would add what is absent, if one does."""

    name: str
    state: State
    detail: str
    extra: str


def run_checks(
    names: Sequence[str] = (), *, done: Callable[[Outcome], None] = lambda outcome: None
) -> list[Outcome]:
    """The outcomes of the jobs called `names`, default all, in order; `done` is told of each as it ends."""
    chosen = [job for job in TRIES if not names or job.name in names]

    def one(job: Try) -> Outcome:
        outcome = _outcome(job)
        done(outcome)
        return outcome

    with ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(one, chosen))


def _outcome(job: Try) -> Outcome:
    missing = [name for name in job.needs if find_spec(name) is None]
    if missing:
        return Outcome(job.name, "absent", f"not installed: {', '.join(missing)}", job.extra)
    command = [sys.executable, "-m", __name__, job.name]
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=job.seconds,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Outcome(job.name, "broken", f"no answer within {job.seconds:g} s", job.extra)
    lines = (ended.stdout.strip() or ended.stderr.strip() or "no word").splitlines()
    if ended.returncode == 0:
        return Outcome(job.name, "works", lines[-1], job.extra)
    if ended.returncode == _ABSENT:
        return Outcome(job.name, "absent", lines[-1], "")
    reason = (ended.stderr.strip() or ended.stdout.strip() or "no word").splitlines()[-1]
    died = f"ended by signal {-ended.returncode}: " if ended.returncode < 0 else ""
    return Outcome(job.name, "broken", f"{died}{reason}", job.extra)


_ABSENT = 9


def _search() -> str:
    from hvnas.latency import list_devices, load_device
    from hvnas.space import list_spaces, load_space

    spaces, devices = list_spaces(), list_devices()
    for name in spaces:
        load_space(name)
    for name in devices:
        load_device(name)
    return f"{len(spaces)} spaces, {len(devices)} devices"


def _torch() -> str:
    import torch

    import hvnas

    arch = hvnas.load_arch("efficientformer_l1").shrunk().with_(resolution=32)
    with torch.inference_mode():
        out = hvnas.build(arch).eval()(torch.zeros(1, 3, 32, 32))
    assert torch.isfinite(out).all()
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads: a network ran"


def _cuda() -> str:
    import torch

    if not torch.cuda.is_available():
        raise Absent("no CUDA device, or a build of torch without CUDA")
    a = torch.ones(64, 64, device="cuda")
    assert float((a @ a).sum()) == 64.0**3
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"


def _ray() -> str:
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        assert ray.get(ray.remote(lambda: 41 + 1).remote(), timeout=60) == 42
    finally:
        ray.shutdown()
    return f"ray {ray.__version__}: a task ran"


def _onnxruntime() -> str:
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "try", [value[0]], [value[1]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {"x": np.ones(2, np.float32)})
    assert out.tolist() == [-1.0, -1.0]
    return f"onnxruntime {onnxruntime.__version__}: a model ran"


def _coremltools() -> str:
    import coremltools
    from coremltools.converters.mil import Builder

    @Builder.program(input_specs=[Builder.TensorSpec(shape=(1, 2))])
    def program(x: object) -> object:
        return Builder.relu(x=x)

    model = coremltools.convert(
        program, convert_to="mlprogram", minimum_deployment_target=coremltools.target.iOS16
    )
    assert model.get_spec().description.input
    where = "" if sys.platform == "darwin" else "; models run on a Mac only"
    return f"coremltools {coremltools.__version__}: a model was converted{where}"


def _executorch() -> str:
    import torch
    from executorch.exir import to_edge

    program = torch.export.export(torch.nn.ReLU(), (torch.zeros(2),))
    assert to_edge(program).to_executorch().buffer
    return "a program was written"


def _litert() -> str:
    import litert_torch
    import torch
    from ai_edge_litert.interpreter import Interpreter

    content = litert_torch.convert(torch.nn.ReLU(), (torch.ones(1, 2),)).model_content()
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.invoke()
    return f"ai-edge-litert {version('ai-edge-litert')}: a file was made and ran"


def _matplotlib() -> str:
    import io

    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot([0, 1])
    figure.savefig(io.BytesIO(), format="png")
    return f"matplotlib {matplotlib.__version__}: a figure was drawn"


def _report() -> str:
    import jinja2
    import plotly
    from plotly.graph_objects import Figure

    assert Figure().to_json()
    return f"plotly {plotly.__version__}, jinja2 {jinja2.__version__}"


def _data() -> str:
    from sklearn.datasets import load_digits

    return f"digits: {len(load_digits().target)} images"


def _tensorboard() -> str:
    from torch.utils.tensorboard import SummaryWriter

    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder) as writer:
            writer.add_scalar("try", 1.0, 0)
        assert any(Path(folder).iterdir())
    return "an event was written"


def _browser() -> str:
    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        raise Absent("no browser: only the tests of hvnas report need one (apt-get install chromium)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        page = "data:text/html,<p id=p></p><script>p.textContent=6*7</script>"
        ended = subprocess.run(
            [program, *quiet, "--no-first-run", f"--user-data-dir={profile}", "--dump-dom", page],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert "42" in ended.stdout, ended.stderr.strip().splitlines()[-1:]
    return f"{Path(program).name}: a page was shown"


TRIES = (
    Try("shipped data", (), "", _search),
    Try("torch", ("torch",), "", _torch),
    Try("cuda", ("torch",), "", _cuda),
    Try("ray", ("ray",), "ray", _ray, seconds=180.0),
    Try("onnxruntime", ("onnx", "onnxruntime"), "onnx", _onnxruntime),
    Try("coremltools", ("coremltools",), "coreml", _coremltools),
    Try("executorch", ("executorch",), "executorch", _executorch),
    Try("litert", ("litert_torch", "ai_edge_litert"), "litert", _litert, seconds=180.0),
    Try("matplotlib", ("matplotlib",), "plot", _matplotlib),
    Try("report", ("plotly", "jinja2"), "report", _report),
    Try("digits", ("sklearn",), "train", _data),
    Try("tensorboard", ("tensorboard",), "train", _tensorboard),
    Try("browser", (), "", _browser),
)


def main(name: str) -> int:
    """Do one job; its exit code is that of the process."""
    job = next(job for job in TRIES if job.name == name)
    try:
        print(job.run())
    except Absent as reason:
        print(reason)
        return _ABSENT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
