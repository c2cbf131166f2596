"""Estimators by name: ``surrogate``, a family with options, a file of one's own, or several joined by
``+``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hvnas._registry import Late, Registry
from hvnas.accuracy.estimator import AccuracyEstimator, as_estimator
from hvnas.accuracy.proxies.registry import COUNTED, PROBED

# What they make is taken as `as_estimator` takes it.
Factory = Callable[[], object]
Family = Callable[[str], object]

_FACTORIES: Registry[Factory] = Registry("estimator", group="hvnas.estimators")
_FAMILIES: Registry[Family] = Registry("estimator", group="hvnas.estimator_families")
_ARGUMENTS: dict[str, str] = {}
_AND, _OWN = "+", ".json"
_COMBINED: Family = Late("hvnas.accuracy.combine:RankMean.of")
_FITTED: Family = Late("hvnas.accuracy.surrogate.own:load_own")


class Located(NamedTuple):
    """What of an estimator's name leads to files.

    `name` has whole paths for them, so that it is found from any folder. `files` decide what is estimated:
    where one of them changes, it is another estimator.
    """

    name: str
    files: tuple[Path, ...] = ()


Locate = Callable[[str], Located]
_LOCATE: dict[str, Locate] = {}


def register_estimator(name: str) -> Callable[[Factory], Factory]:
    """Decorator: a function without arguments that makes the estimator called `name`."""
    return _FACTORIES.registering(name)


def register_estimator_family(
    name: str, *, argument: str = "OPTIONS", locate: Locate | None = None
) -> Callable[[Family], Family]:
    """Decorator: a function that makes an estimator of what stands behind ``name:``, such as options.

    `argument` is what to write there, as `list_estimators` shows it. `locate` names the files that it leads
    to; without it there are none.
    """

    def register(factory: Family) -> Family:
        _FAMILIES.add(name, factory)
        _ARGUMENTS[name] = argument
        if locate is not None:
            _LOCATE[name] = locate
        return factory

    return register


def _family(name: str) -> Family | None:
    return _FAMILIES[name] if _FAMILIES.has(name) else None


def list_estimators() -> tuple[str, ...]:
    """List the names that `load_estimator` takes, those of other packages' entry points included.

    A family stands with a colon and what to write behind it: ``supernet:DIR``.
    """
    families = (f"{family}:{_ARGUMENTS.get(family, 'OPTIONS')}" for family in _FAMILIES.names())
    return tuple(sorted({*_FACTORIES.names(), *families}))


def locate_estimator(name: str) -> Located:
    """Return the files that an estimator's name leads to. Nothing is read, and nothing has to be there."""
    parts = [_located(part) for part in name.split(_AND)]
    return Located(_AND.join(part.name for part in parts), tuple(f for part in parts for f in part.files))


def _located(name: str) -> Located:
    family, colon, argument = name.partition(":")
    if colon and _family(family) is not None:
        found = _LOCATE[family](argument) if family in _LOCATE else Located(argument)
        return Located(f"{family}:{found.name}", found.files)
    if name.endswith(_OWN):
        file = Path(name).resolve()
        return Located(str(file), (file,))
    return Located(name)


def load_estimator(name: str = "surrogate") -> AccuracyEstimator:
    """Load the estimator called `name`, which is made once. Raises ValueError naming those that exist.

    Several names joined by ``+``, such as ``surrogate+zico``, make one that ranks by all of them; see
    `hvnas.accuracy.combine`. Behind the name of a family and a colon stand options, such as
    ``train:data=digits,epochs=3``; see `hvnas.accuracy.trained.short_training`.
    """
    return _made(name)


@cache
def _made(name: str) -> AccuracyEstimator:
    return as_estimator(_new(name))


def _new(name: str) -> object:
    if _AND in name:
        return _COMBINED(name)
    before, colon, options = name.partition(":")
    family = _family(before) if colon else None
    if family is not None:
        return family(options)
    if name.endswith(_OWN):
        return _FITTED(name)
    if not _FACTORIES.has(name):
        raise ValueError(_FACTORIES.unknown(name, list_estimators()))
    return _FACTORIES[name]()


register_estimator("surrogate")(Late("hvnas.accuracy.surrogate.surrogate:load_surrogate"))
register_estimator("surrogate-lowest")(Late("hvnas.accuracy.surrogate.surrogate:load_lowest"))
register_estimator("train")(Late("hvnas.accuracy.trained.short_training:ShortTrainingEstimator"))
register_estimator_family("train", argument="NAME=VALUE,…")(
    Late("hvnas.accuracy.trained.short_training:from_options")
)
register_estimator_family("supernet", argument="DIR", locate=Late("hvnas.accuracy.trained.inherited:locate"))(
    Late("hvnas.accuracy.trained.inherited:from_options")
)
register_estimator_family("table", argument="FILE,space=NAME", locate=Late("hvnas.accuracy.table:locate"))(
    Late("hvnas.accuracy.table:from_options")
)
for _name in COUNTED:
    register_estimator(_name)(Late("hvnas.accuracy.proxies.estimators:CountEstimator.of", (_name,)))
for _name in PROBED:
    register_estimator(_name)(Late("hvnas.accuracy.proxies.estimators:ProbeEstimator", (_name,)))
