"""ONNX Runtime's CPU provider."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hvnas._files import read_json
from hvnas.arch import Arch
from hvnas.latency.block_keys import BlockKey
from hvnas.latency.measure.backends import Runtime, Sampler
from hvnas.latency.measure.clock import clock_for
from hvnas.ops import Op

FLUSH_BYTES = 24_000_000
WARM_UPS = 3
# Between two convolutions of a network nothing is reordered; an op by itself pays on either side.
AT_THE_EDGES = frozenset({"ReorderInput", "ReorderOutput"})


class OnnxRuntime:
    """float32 on so many threads.

    An op's time is that of its kernels in the runtime's own profile (whole microseconds of wall time),
    a network's that of a call.
    """

    fuses_attention = False

    def __init__(self, threads: int) -> None:
        try:
            import onnx  # noqa: F401
            import onnxruntime
        except ImportError as error:
            raise ValueError(
                f"the backend onnxruntime needs the package {error.name}; pip install 'hvnas[onnx]'"
            ) from None
        self.ort: Any = onnxruntime
        self.threads = threads
        self.clock, clock = clock_for(threads)
        self.runtime = Runtime(
            runtime="onnxruntime",
            runtime_version=str(onnxruntime.__version__),
            compute_unit="CPU",
            precision="float32",
            threads=threads,
            clock=f"{clock}; ops: the runtime's profile, wall time",
        )
        self.elsewhere = np.zeros(FLUSH_BYTES // 4, np.float32)
        self.folder = tempfile.TemporaryDirectory(prefix="hvnas-")

    def op(self, op: Op) -> Sampler:
        """An op; before each run other memory goes through the cache, then what the op reads."""
        from hvnas.latency.measure.ops_onnx import onnx_op

        model, feeds = onnx_op(op)

        def sample(n: int) -> list[float]:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(self.folder.name) / "op")
            session = self.ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            for _ in range(n + 1):
                self.elsewhere.sum()
                for x in feeds.values():
                    x.sum()
                session.run(None, feeds)
            return _kernel_ms(Path(session.end_profiling()))[1:]

        return sample

    def block(self, key: BlockKey, depth: int) -> Sampler:
        """A stack of a block, exported."""
        from hvnas.export.onnx import export_onnx
        from hvnas.nn.stack import stack

        path = Path(self.folder.name) / f"{key.name}-{depth}.onnx"
        if not path.exists():
            module = stack(key.block, key.state, depth=depth)
            export_onnx(module, path, inputs=module.inputs, check=False)
        return self._whole(path)

    def network(self, arch: Arch) -> Sampler:
        """A whole network, exported."""
        from hvnas.export.onnx import export_onnx

        path = Path(self.folder.name) / f"{arch.hash}.onnx"
        if not path.exists():
            export_onnx(arch, path, check=False)
        return self._whole(path)

    def _whole(self, path: Path) -> Sampler:
        session = self.ort.InferenceSession(str(path), self._options(), providers=["CPUExecutionProvider"])
        rng = np.random.default_rng(0)
        feeds = {x.name: rng.standard_normal(x.shape, dtype=np.float32) for x in session.get_inputs()}

        def once() -> float:
            start = self.clock()
            session.run(None, feeds)
            return 1e3 * (self.clock() - start)

        return _warm(once)

    def _options(self) -> Any:
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return options


def _warm(once: Callable[[], float]) -> Sampler:
    return lambda n: [once() for _ in range(n + WARM_UPS)][WARM_UPS:]


def _kernel_ms(profile: Path) -> list[float]:
    """Milliseconds of each run's kernels; those at the graph's edges are left out."""
    events = read_json(profile)
    profile.unlink()
    runs: list[float] = []
    pending = 0.0
    for event in sorted((e for e in events if "ts" in e), key=lambda e: e["ts"] + e.get("dur", 0)):
        if event["name"].endswith("_kernel_time") and event["args"]["op_name"] not in AT_THE_EDGES:
            pending += event["dur"] / 1e3
        elif event["name"] == "model_run":
            runs.append(pending)
            pending = 0.0
    return runs
