"""Networks in the file formats that other runtimes read."""

from hvnas.export.coreml import CoreMLReport, export_coreml
from hvnas.export.executorch import ExecutorchReport, export_executorch
from hvnas.export.graph import Images
from hvnas.export.onnx import OnnxReport, export_onnx
from hvnas.export.torch_folder import TorchReport, export_torch

__all__ = [
    "CoreMLReport",
    "ExecutorchReport",
    "Images",
    "OnnxReport",
    "TorchReport",
    "export_coreml",
    "export_executorch",
    "export_onnx",
    "export_torch",
]
