"""The command line, a file per command: nothing but argument handling and printing."""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """Run ``hvnas`` on the arguments of the process, and exit with its code.

    Exit codes: 0; 2 bad usage or a bad file; 3 no architecture meets the budget; 130 interrupted.
    """
    # The matrices of a search are small: a second BLAS thread spins more than it computes.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from hvnas.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a ± must not end a search with a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app(prog_name="hvnas")
