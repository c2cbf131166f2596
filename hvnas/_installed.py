"""What is installed of what hvnas asks for: its own packages, and those of each extra."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

NAME = "hvnas"
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^]]*)\])?\s*([^;]*)(?:;\s*(.*))?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


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
