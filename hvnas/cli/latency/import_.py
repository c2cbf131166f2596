"""``hvnas latency import``: measurements out of the files that benchmarking tools write."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas import _numbers as numbers
from hvnas._request import Option, Request
from hvnas.cli._request import takes
from hvnas.cli._screen import JsonOption, Screen, print_json

if TYPE_CHECKING:
    from hvnas.latency.remote.importing import Source

EXAMPLE = "hvnas latency import vit.csv --format tflite-csv --key vit_p --out times.csv"


@dataclass(frozen=True, kw_only=True)
class Stated(Request):
    """What a file may not say of its measurements."""

    resolution: Annotated[
        int | None, Option(group="Files", help="Side of the input. Default: the model's.")
    ] = None
    device: Annotated[
        str | None, Option(group="Measuring", help="The device's name, such as 'iPhone 12'.")
    ] = None
    os: Annotated[str | None, Option(group="Measuring", help="System and version, such as 'iOS 16.5'.")] = (
        None
    )
    runtime: Annotated[
        str | None, Option(group="Measuring", help="What ran the model, if the file does not say.")
    ] = None
    runtime_version: Annotated[str | None, Option(group="Measuring", help="Its version.")] = None
    compute_unit: Annotated[str | None, Option(group="Measuring", help="cpu, gpu, all, ...")] = None
    precision: Annotated[str | None, Option(group="Measuring", help="float32, float16, int8, ...")] = None
    threads: Annotated[int | None, Option(group="Measuring", least=1, help="Threads on the CPU.")] = None
    batch: Annotated[int | None, Option(group="Measuring", least=1, help="Images at a time.")] = None
    protocol: Annotated[
        str | None, Option(group="Measuring", help="How it was measured. Default: the tool's way.")
    ] = None
    source: Annotated[
        str | None, Option(group="Measuring", help="Where the numbers are from. Default: the file's name.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class ImportRequest(Request):
    """What is asked of an import."""

    files: Annotated[
        tuple[Path, ...],
        Option(argument=True, metavar="FILE", help="Files that a tool wrote, one per model."),
    ]
    form: Annotated[
        str,
        Option(
            name="format",
            group="Files",
            metavar="FORMAT",
            help="csv, coremltools, ort-profile, tflite-csv, tflite-text or xcode.",
        ),
    ]
    key: Annotated[
        str | None,
        Option(group="Files", help="What the file measures: a model's name, or a network's YAML file."),
    ] = None
    suite: Annotated[
        Path | None,
        Option(group="Files", help="Manifest of the exported suite, to look files up in by their names."),
    ] = None
    kind: Annotated[str, Option(group="Files", metavar="model|block|op", help="What --key names.")] = "model"
    stated: Stated = field(default_factory=Stated)


@takes(ImportRequest)
def run(
    request: ImportRequest,
    *,
    out: Annotated[Path, typer.Option(rich_help_panel="Output", help="The CSV of measurements to write.")],
    force: Annotated[bool, typer.Option("--force", rich_help_panel="Output", help="Replace OUT.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Import measurements from the output of benchmarking tools.

    Device, runtime, precision, threads and batch are taken from the file where it states them; the rest must
    be given, and must not contradict the file. OUT is written whole or not at all.
    """
    from hvnas._files import check_parent
    from hvnas.latency.remote.importing import Given, import_files, load_format
    from hvnas.latency.remote.measurements import kind_of, write_measurements

    check_parent(out)
    if out.exists() and not force:
        raise ValueError(f"{out}: exists; give --force to replace it, or another --out")
    facts = {name: getattr(request.stated, name) for name in request.stated.given}
    given = Given(key=request.key, kind=kind_of(request.kind), suite=request.suite, facts=facts)
    sources = import_files(request.files, load_format(request.form), given=given, out=out)
    write_measurements(out, [row for source in sources for row in source.rows])
    if as_json:
        print_json(_facts(sources, out))
    else:
        _show(sources, out)


def _facts(sources: tuple[Source, ...], out: Path) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "out": str(out),
        "files": [{"file": str(s.path), "rows": [asdict(row) for row in s.rows]} for s in sources],
    }


def _show(sources: tuple[Source, ...], out: Path) -> None:
    screen = Screen()
    first = sources[0].rows[0]
    cells = [
        (
            source.path.name,
            row.kind,
            row.key,
            row.resolution,
            row.n,
            numbers.ms(row.ms),
            None if row.spread is None else numbers.ms(row.spread),
        )
        for source in sources
        for row in source.rows
    ]
    columns = ("file", "kind", "key", ">input", ">runs", f">{first.statistic} ms", ">spread ms")
    screen.table(columns, cells)
    screen.line()
    threads = "" if first.threads is None else f", {_counted(first.threads, 'thread')}"
    screen.line(
        f"{first.device} ({first.os}), {first.runtime} {first.runtime_version}, {first.compute_unit}, "
        f"{first.precision}{threads}, batch {first.batch}"
    )
    screen.line(f"{out}: {_counted(len(cells), 'row')} from {_counted(len(sources), 'file')}")


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
