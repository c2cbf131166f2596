"""``hvnas doctor``: what is installed, what is missing, and what works."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas._records import Column, Table, csv_of
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen

if TYPE_CHECKING:
    from hvnas.cli._checks import Outcome

EXAMPLE = "hvnas doctor --only torch"

_TRIED: tuple[Column[Outcome], ...] = (
    Column("what", "name"),
    Column("state", "state"),
    Column("found", "detail"),
)
NAME = "hvnas"
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^]]*)\])?\s*([^;]*)(?:;\s*(.*))?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


@answers
def run(
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Check only this, such as ray; repeat for several."),
    ] = None,
) -> Answer:
    """Show what is installed, what is missing, and what works.

    Every installed part is tried in a process of its own. Exits with 0 if all of them work, and with 1 if one
    does not or if hvnas itself lacks a package. Missing extras and devices are not errors.
    """
    from hvnas.cli._checks import TRIES

    names = [job.name for job in TRIES]
    for name in only or ():
        if name not in names:
            raise ValueError(f"only: unknown check {name!r}; choose from {', '.join(names)}")
    extras = installed()
    outcomes = _tried(only or names)
    faults = _faults(extras, outcomes)
    return Answer(
        text=lambda screen: _print(screen, extras, outcomes, faults),
        data=lambda: _facts(extras, outcomes, faults),
        csv=lambda: csv_of(_TRIED, outcomes),
        code=1 if faults else 0,
    )


def _tried(names: list[str]) -> list[Outcome]:
    from hvnas.cli._checks import run_checks
    from hvnas.cli._progress import Steps

    ended: list[str] = []
    with Steps("tries", len(names)) as steps:

        def done(outcome: Outcome) -> None:
            ended.append(outcome.name)
            steps.at(len(ended), next((name for name in names if name not in ended), "the outcome"))

        steps.at(0, names[0])
        return run_checks(names, done=done)


def _faults(extras: tuple[Extra, ...], outcomes: list[Outcome]) -> list[str]:
    """What makes the exit code 1."""
    own = [f"{name} is missing or too old: {extras[0].command}" for name in extras[0].missing]
    old = [
        f"{p.name} {p.version} is not {p.asked}: {extra.command}"
        for extra in extras[1:]
        for p in extra.packages
        if p.version is not None and not p.fits
    ]
    broken = [f"{each.name} does not work: {each.detail}" for each in outcomes if each.state == "broken"]
    return [*own, *dict.fromkeys(old), *broken]


def _facts(extras: tuple[Extra, ...], outcomes: list[Outcome], faults: list[str]) -> dict[str, Any]:
    from dataclasses import asdict

    from hvnas._version import __version__

    return {
        "hvnas": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "interpreter": sys.executable,
        "packages": {p.name: p.version for p in extras[0].packages},
        "extras": {
            extra.name: {
                "complete": not extra.missing,
                "packages": {p.name: p.version for p in extra.packages},
                "missing": list(extra.missing),
                "add": extra.command if extra.missing else None,
            }
            for extra in extras[1:]
        },
        "tried": [asdict(outcome) for outcome in outcomes],
        "faults": faults,
        "ok": not faults,
    }


def _print(screen: Screen, extras: tuple[Extra, ...], outcomes: list[Outcome], faults: list[str]) -> None:
    from hvnas._version import __version__

    screen.line(f"hvnas {__version__}", style="bold")
    screen.fields(
        [
            ("python", f"{platform.python_version()} ({sys.executable})"),
            ("platform", platform.platform()),
            ("packages", _listed(extras[0])),
        ]
    )
    screen.heading("Extras")
    screen.table(
        ("extra", "state", "installed", "missing", "to add it"),
        [
            (
                extra.name,
                "complete" if not extra.missing else "missing",
                _listed(extra) or None,
                ", ".join(extra.missing) or None,
                extra.command if extra.missing else None,
            )
            for extra in extras[1:]
        ],
    )
    screen.heading("Tried")
    screen.show(Table.of(_TRIED, outcomes))
    screen.line()
    for fault in faults:
        screen.line(f"Fault: {fault}", style="red")
    if not faults:
        screen.line("Everything installed works.")


def _listed(extra: Extra) -> str:
    return ", ".join(f"{p.name} {p.version}" for p in extra.packages if p.version is not None)


@dataclass(frozen=True)
class Package:
    """A package that is asked for, as ``>=2.0``; `version` is None where it is not installed."""

    name: str
    asked: str
    version: str | None

    @property
    def fits(self) -> bool:
        """Whether the version that is installed is one of those asked for."""
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        if self.version is None:
            return False
        try:
            return SpecifierSet(self.asked).contains(self.version, prereleases=True)
        except InvalidSpecifier:
            return True


@dataclass(frozen=True)
class Extra:
    """An extra with its packages; of hvnas itself the name is empty."""

    name: str
    packages: tuple[Package, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The packages that are not there, or too old."""
        return tuple(package.name for package in self.packages if not package.fits)

    @property
    def command(self) -> str:
        """What adds it."""
        return f"pip install '{NAME}[{self.name}]'" if self.name else f"pip install {NAME}"


def installed() -> tuple[Extra, ...]:
    """What hvnas itself asks for, then its extras by name.

    Raises ValueError where hvnas runs without having been installed.
    """
    try:
        requirements = metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        raise ValueError(
            f"{NAME} is not installed, only its files are here; pip install -e . in them"
        ) from None
    wanted: dict[str, list[tuple[str, str, str]]] = {"": []}
    for text in requirements:
        for extra, name, extras, asked in _read(text):
            wanted.setdefault(extra, []).append((name, extras, asked))
    return tuple(Extra(name, tuple(_packages(name, wanted))) for name in ("", *sorted(set(wanted) - {""})))


def version_of(name: str) -> str | None:
    """The version of a package, None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _read(text: str) -> Iterator[tuple[str, str, str, str]]:
    """The extra that a requirement belongs to, the package, the package's own extras, and its versions."""
    found = _REQUIREMENT.match(text)
    if found is None:
        return
    name, extras, asked, marker = found.groups()
    extra = _EXTRA.search(marker or "")
    yield (extra[1] if extra else "", name, extras or "", asked.strip(" ()"))


def _packages(extra: str, wanted: dict[str, list[tuple[str, str, str]]]) -> Iterator[Package]:
    """The packages of an extra; those that it takes from other extras of hvnas among them."""
    for name, extras, asked in wanted.get(extra, ()):
        if name == NAME:
            for other in extras.split(","):
                yield from _packages(other.strip(), wanted)
        else:
            yield Package(name, asked, version_of(name))
