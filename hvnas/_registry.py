"""Names and what they stand for: this package's members, those registered, those of other packages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from hvnas._names import brief, unknown_name

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")
LOGGER = logging.getLogger("hvnas.registry")
_REASON = 200  # most characters of why an entry point does not load


@dataclass(frozen=True)
class Late:
    """A function or class, written ``module:attribute`` and imported when it is first called.

    `first` are arguments that stand before those of each call.
    """

    target: str
    first: tuple[Any, ...] = ()

    def load(self) -> Any:
        """Import it."""
        module, _, attribute = self.target.partition(":")
        return attrgetter(attribute)(import_module(module))

    def __call__(self, *arguments: Any) -> Any:
        """Call it."""
        return self.load()(*self.first, *arguments)


class Registry(dict[str, T]):
    """Things by name, in the order in which they were added; `what` says what one of them is.

    Entry points of `group` go with them: each is the member of its own name, imported when that is asked for.
    Where they are not `named` they register members as they are imported, all of them once a name is asked
    for that is no member yet. ``registry[name]`` raises ValueError, one line: the names there are, or why an
    entry point does not load.
    """

    def __init__(self, what: str, *, group: str = "", named: bool = True) -> None:
        super().__init__()
        self.what, self.group, self.named = what, group, named
        self.broken: list[str] = []
        self._points: list[EntryPoint] | None = None

    def add(self, name: str, member: T) -> None:
        """Make `member` known under `name`. Raises ValueError where there is one of that name."""
        if name in self:
            article = "an" if self.what[0] in "aeiou" else "a"
            raise ValueError(
                f"{article} {self.what} named {name!r} is registered already; choose another name"
            )
        self[name] = member

    def registering(self, name: str) -> Callable[[T], T]:
        """Decorator: see `add`."""

        def register(member: T) -> T:
            self.add(name, member)
            return member

        return register

    def names(self) -> tuple[str, ...]:
        """The names there are, those of entry points included, sorted."""
        points = self._entry_points()
        return tuple(sorted({*self, *(point.name for point in points if self.named)}))

    def has(self, name: str) -> bool:
        """Whether there is a member of that name, or an entry point."""
        return name in self or name in self.names()

    def __missing__(self, name: str) -> T:
        for point in self._entry_points():
            if self.named and point.name == name:
                loaded = self._loaded(point)
                return self.get(name, loaded)  # the module may have registered it itself, with more said
        if name in self:
            return self[name]
        raise ValueError(self.unknown(name, self.names()))

    def unknown(self, name: str, known: Sequence[str], alternative: str = "") -> str:
        """What to say of a name that is none of `known`; it may be that of an entry point that is broken."""
        return "; ".join([unknown_name(self.what, name, known, alternative), *self.broken])

    def _entry_points(self) -> list[EntryPoint]:
        if self._points is None:
            self._points = []
            if self.group:
                from importlib.metadata import entry_points

                self._points.extend(entry_points(group=self.group))
            for point in self._points:
                if not self.named:
                    self._import(point)
        return self._points

    def _import(self, point: EntryPoint) -> None:
        try:
            self._loaded(point)
        except ValueError as error:
            self.broken.append(str(error))
            LOGGER.warning("%s", error)

    def _loaded(self, point: EntryPoint) -> Any:
        """What an entry point names; a function blames it for what goes wrong when it is called."""
        with self._blamed(point, "does not load"):
            member = point.load()
        if not self.named:
            return member

        def call(*arguments: Any) -> Any:
            with self._blamed(point, "fails", but=(ValueError, OSError)):
                return member(*arguments)

        return call

    @contextmanager
    def _blamed(
        self, point: EntryPoint, does: str, *, but: tuple[type[Exception], ...] = ()
    ) -> Iterator[None]:
        try:
            yield
        except but:
            raise
        except (Exception, SystemExit) as error:  # another package's code may raise anything
            package = f" of the package {point.dist.name}" if point.dist else ""
            reason = brief(f"{type(error).__name__}: {error}", most=_REASON)
            raise ValueError(
                f"entry point {point.name!r}{package} in the group {self.group} {does}: {reason}; "
                "update that package or remove it"
            ) from error
