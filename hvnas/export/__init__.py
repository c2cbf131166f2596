"""Networks in the file formats that other runtimes read."""

from hvnas.export.coreml import CoreMLReport, export_coreml
from hvnas.export.onnx import OnnxReport, export_onnx

__all__ = ["CoreMLReport", "OnnxReport", "export_coreml", "export_onnx"]
