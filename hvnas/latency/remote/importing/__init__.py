"""Measurements out of the files that benchmarking tools write, one module per tool.

`hvnas.latency.remote.importing.reading` lists them; `ort_ops` and `tflite_ops` of
`runtimes` give the times of single ops.
"""

from hvnas.latency.remote.importing.reading import (
    UNSUPPORTED,
    Format,
    OpTime,
    Reading,
    list_formats,
    load_format,
    register_format,
)
from hvnas.latency.remote.importing.rows import Entry, Given, Source, import_files, read_suite

__all__ = [
    "UNSUPPORTED",
    "Entry",
    "Format",
    "Given",
    "OpTime",
    "Reading",
    "Source",
    "import_files",
    "list_formats",
    "load_format",
    "read_suite",
    "register_format",
]
