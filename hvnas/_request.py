"""Requests: everything that is asked of a search or of a training, each option listed once.

A request is a frozen dataclass. The type of a field carries an `Option`, from which a command line makes the
option of that field; what has none can be asked for from Python only.

Choices that several requests and what they lead to name: the engine with Ray's shares, the gate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from hvnas._names import brief, check_whole, unknown_name

EngineName = Literal["local", "ray"]
Outside = Literal["forbid", "allow"]  # networks outside the gate of a device
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
# The headings of a command's help.
Heading = Literal[
    "Device and budget",
    "Networks",
    "Accuracy",
    "Search",
    "Data",
    "Training",
    "Fine-tuning",
    "Comparison",
    "Files",
    "Measuring",
    "Engine",
    "Output",
]
MOST = 1024  # CPUs or GPUs of one trial or worker


@dataclass(frozen=True)
class Option:
    """How a command line asks for a field of a request; it stands in the field's `Annotated` type.

    `name` is the option's, without dashes, where it is not called like the field. An `argument` is given by
    its place. `group` is the heading under which help shows it. `least` is the smallest number that will do.
    `also` is another name that it goes by, without dashes.
    """

    help: str
    metavar: str | None = None
    name: str | None = None
    group: Heading | None = None
    argument: bool = False
    least: float | None = None
    also: str | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for; a field may be a request itself.

    `given` names the fields that were asked for, whatever their value: those and no others must be what a run
    that is continued was begun with. A field that differs from its default was asked for in any case.
    """

    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "given", self.given | _changed(self))


def _own_fields(request: Request) -> Iterator[Field[Any]]:
    return (each for each in fields(request) if each.name != "given")


def _changed(request: Request) -> set[str]:
    """The fields that are not at their default."""
    return {each.name for each in _own_fields(request) if getattr(request, each.name) != default_of(each)}


def default_of(of: Field[Any]) -> Any:
    """The default of a field, MISSING where it has none."""
    return of.default if of.default_factory is MISSING else of.default_factory()


R = TypeVar("R", bound=Request)


def options_of(request: type[Request]) -> dict[str, tuple[Any, Option | None]]:
    """Type and Option of each field but `given`, in their order."""
    hints = get_type_hints(request, include_extras=True)
    return {f.name: _split(hints[f.name]) for f in fields(request) if f.name != "given"}


def _split(hint: Any) -> tuple[Any, Option | None]:
    if get_origin(hint) is not Annotated:
        return hint, None
    kind, *said = get_args(hint)
    return kind, next((each for each in said if isinstance(each, Option)), None)


def as_begun(wanted: R, run: object, *, but: Collection[str] = ()) -> R:
    """`wanted` with all that `run` has under the names of its fields, `but` those."""
    names = {each.name for each in _own_fields(wanted)}.intersection(vars(run)).difference(but)
    return replace(wanted, **{name: getattr(run, name) for name in names})


def filled(wanted: Request, begun: R) -> R:
    """`begun` with what `wanted`, of the same kind, gives."""
    return replace(begun, **{name: getattr(wanted, name) for name in wanted.given})


def check_same(wanted: R, begun: R, *, what: str, remedy: str = "choose another folder") -> None:
    """Raise ValueError where `wanted` gives what `begun` does not have; `what` is what was begun.

    A name or file given as a relative path is the same as its absolute path.
    """
    for each in _own_fields(wanted):
        now, then = getattr(wanted, each.name), getattr(begun, each.name)
        if isinstance(now, Request):
            check_same(now, then, what=what, remedy=remedy)
        elif each.name in wanted.given and _settled(now) != _settled(then):
            option = options_of(type(wanted))[each.name][1]
            name = option.name if option is not None and option.name is not None else each.name
            raise _changed_since(name, then, now, what, remedy)


def check_unchanged(then: Mapping[str, Any], now: Mapping[str, Any], *, what: str, remedy: str) -> None:
    """The same for plain values by name; each of `now` is in `then`."""
    for name, value in now.items():
        if value != then[name]:
            raise _changed_since(name, then[name], value, what, remedy)


def _changed_since(name: str, then: object, now: object, what: str, remedy: str) -> ValueError:
    said = f"{what} was begun with {_shown(then)}, not {_shown(now)}"
    return ValueError(brief(f"{name}: {said}; give the same options again, or {remedy}"))


def words_of(request: Request) -> list[str]:
    """The command line that asks for `request`; of its parts it names what is not at its default."""
    words: list[str] = []
    for name, (_, option) in options_of(type(request)).items():
        value = getattr(request, name)
        if isinstance(value, Request):
            words += [word for part in sorted(_changed(value)) for word in _words(value, part)]
        elif option is not None:
            words += _words(request, name)
    return words


def _words(request: Request, name: str) -> list[str]:
    option, value = options_of(type(request))[name][1], getattr(request, name)
    if option is None or value is None or value is False:
        return []
    word = f"--{(option.name or name).replace('_', '-')}"
    if value is True:
        return [word]
    values = value if isinstance(value, tuple) else (value,)
    if option.argument:
        return [str(each) for each in values]
    return [part for each in values for part in (word, str(each))]


def _settled(value: Any) -> Any:
    """A value in the one form that it is compared in."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_settled, value))
    if not isinstance(value, (str, Path)):
        return value
    # As in folder:DIR and supernet:DIR.
    kind, colon, path = str(value).rpartition(":")
    return f"{kind}{colon}{Path(path).resolve()}"


def _shown(value: Any) -> str:
    """A value as a message shows it."""
    return (", ".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)


Address = Annotated[
    str | None,
    Option(group="Engine", metavar="auto|HOST:PORT", help="The Ray cluster. Default: one for this run."),
]


def check_ray_options(
    engine: str,
    *,
    address: str | None,
    workers: int | None,
    cpus: float,
    gpus: float,
    per: Literal["trial", "worker"],
    max_retries: int = 0,
) -> None:
    """Raise ValueError naming what makes no sense; `cpus` and `gpus` are those that each `per` is given."""
    if engine not in ENGINES:
        raise ValueError(unknown_name("engine", engine, ENGINES))
    if workers is not None:
        check_whole("workers", workers, least=1)
    if engine != "ray" and (address is not None or workers is not None):
        field = "name" if per == "trial" else "engine"
        raise ValueError(f"address and workers: need Ray; add --engine ray (in Python, {field}='ray')")
    check_whole("max_retries", max_retries, least=0)
    for name, value in ((f"cpus_per_{per}", cpus), (f"gpus_per_{per}", gpus)):
        if not 0 <= value <= MOST:
            raise ValueError(f"{name}: must be from 0 to {MOST}, got {value}; give 1, or a fraction")
    if cpus == gpus == 0:
        raise ValueError(f"cpus_per_{per}: must be > 0 where gpus_per_{per} is 0; give 1, or a fraction")
