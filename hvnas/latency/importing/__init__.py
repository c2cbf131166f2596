"""Measurements out of the files that benchmarking tools write, one module per format.

`hvnas.latency.importing.reading` lists them; `ops_of` of the modules `ort_profile` and `tflite_csv` gives the
times of single ops.
"""

from hvnas.latency.importing.reading import (
    UNSUPPORTED,
    Format,
    OpTime,
    Reading,
    list_formats,
    load_format,
    register_format,
)
from hvnas.latency.importing.rows import Given, Source, import_files
from hvnas.latency.importing.suite import Entry, read_suite

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
