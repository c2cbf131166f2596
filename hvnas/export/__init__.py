"""Networks in the file formats that other runtimes read."""

from hvnas.export.coreml import CoreMLReport, export_coreml
from hvnas.export.executorch import ExecutorchReport, export_executorch
from hvnas.export.graph import Images
from hvnas.export.onnx import OnnxReport, export_onnx
from hvnas.export.tflite import TfliteReport, export_tflite
from hvnas.export.torch_folder import HuggingFaceReport, TorchReport, export_huggingface, export_torch

__all__ = [
    "CoreMLReport",
    "ExecutorchReport",
    "HuggingFaceReport",
    "Images",
    "OnnxReport",
    "TfliteReport",
    "TorchReport",
    "export_coreml",
    "export_executorch",
    "export_huggingface",
    "export_onnx",
    "export_tflite",
    "export_torch",
]
