"""YAML that is plain data, in and out: no tags, aliases or merge keys, and nothing deep or without end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

import yaml
from yaml import events as ev

MAX_DEPTH = 32
MAX_VALUES = 20_000
MAX_TEXT = 10_000
MAX_DIGITS = 40

# libyaml, where it is there, reads the same grammar several times faster.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVERS = yaml.SafeLoader.yaml_implicit_resolvers
_TAG = "tag:yaml.org,2002:"
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_CONSTRUCT = {
    f"{_TAG}null": lambda node: None,
    f"{_TAG}bool": _CONSTRUCTOR.construct_yaml_bool,
    f"{_TAG}int": _CONSTRUCTOR.construct_yaml_int,
    f"{_TAG}float": _CONSTRUCTOR.construct_yaml_float,
}


def parse_yaml(text: str) -> Any:
    """The only document in `text`, None where it is empty; a date is text.

    Raises ValueError, one line with the line of `text`: what is no YAML, explicit tags, aliases, merge keys,
    a key that appears twice or is no plain word, several documents, and what is beyond the limits of this
    module.
    """
    # SafeLoader resolves the same scalars in the same way, but composes recursively and follows tags.
    try:
        return _Builder().document(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ValueError(f"{problem} (line {mark.line + 1})" if mark else str(problem)) from None


def line_of(text: str, path: Sequence[str]) -> int | None:
    """The line, from 1, of the field at `path`, or of what should hold it; None where neither is there.

    `text` is one that `parse_yaml` takes; entries of lists are named by their place, from ``0``.
    """
    node = yaml.compose(text, Loader=_LOADER)
    line = None
    for place, part in enumerate(path):
        found = dict(_children(node)).get(part)
        if found is None:
            return line if place == len(path) - 1 else None
        line, node = found
    return line


def _children(node: Any) -> Iterator[tuple[str, tuple[int, Any]]]:
    """The parts of a node by name, each with its line and what it holds."""
    if isinstance(node, yaml.MappingNode):
        yield from ((key.value, (key.start_mark.line + 1, value)) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        yield from ((str(i), (each.start_mark.line + 1, each)) for i, each in enumerate(node.value))


class _Builder:
    """Puts the values of a stream of events together, without recursion."""

    def __init__(self) -> None:
        self.root: Any = None
        self.open: list[_Collection] = []
        self.documents = 0
        self.values = 0

    def document(self, text: str) -> Any:
        for event in yaml.parse(text, Loader=_LOADER):
            self._take(event)
        return self.root

    def _take(self, event: Any) -> None:
        if isinstance(event, ev.ScalarEvent):
            self._count(event)
            self._add(_scalar(event), event)
        elif isinstance(event, (ev.SequenceStartEvent, ev.MappingStartEvent)):
            self._count(event)
            if len(self.open) >= MAX_DEPTH:
                raise _refusal("nested too deeply", event)
            if self.open and self.open[-1].wants_key:
                raise _refusal("keys must be plain words", event)
            self.open.append(_Collection(isinstance(event, ev.MappingStartEvent)))
        elif isinstance(event, (ev.SequenceEndEvent, ev.MappingEndEvent)):
            self._add(self.open.pop().value, event)
        elif isinstance(event, ev.AliasEvent):
            raise _refusal("aliases (*name) are not allowed", event)
        elif isinstance(event, ev.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise _refusal("several documents; one is expected", event)

    def _count(self, event: Any) -> None:
        if event.tag is not None:
            raise _refusal(f"tags ({event.tag[:60]}) are not allowed", event)
        self.values += 1
        if self.values > MAX_VALUES:
            raise _refusal(f"holds more than {MAX_VALUES} values", event)

    def _add(self, value: Any, event: Any) -> None:
        if self.open:
            self.open[-1].add(value, event)
        else:
            self.root = value


class _Collection:
    """A list or a mapping that is being filled."""

    def __init__(self, is_mapping: bool) -> None:
        self.value: Any = {} if is_mapping else []
        self.wants_key = is_mapping
        self.key: Any = None

    def add(self, value: Any, event: Any) -> None:
        if isinstance(self.value, list):
            self.value.append(value)
        elif self.wants_key:
            self.key = self._checked(value, event)
            self.wants_key = False
        else:
            self.value[self.key] = value
            self.wants_key = True

    def _checked(self, key: Any, event: Any) -> Any:
        if not isinstance(key, (str, int, float, bool)):
            raise _refusal("keys must be plain words", event)
        if key == "<<" and event.implicit[0]:
            raise _refusal("merge keys (<<) are not allowed", event)
        if key in self.value:
            raise _refusal(f"the key {str(key)[:60]!r} appears twice", event)
        return key


def _scalar(event: Any) -> Any:
    text: str = event.value
    if len(text) > MAX_TEXT:
        raise _refusal(f"a text of {len(text)} characters; the longest has {MAX_TEXT}", event)
    if not event.implicit[0]:  # in quotes
        return text
    for tag, pattern in _RESOLVERS.get(text[:1], ()):
        if pattern.match(text):
            return _constructed(tag, text, event)
    return text


def _constructed(tag: str, text: str, event: Any) -> Any:
    if tag not in _CONSTRUCT:
        return text
    if len(text) > MAX_DIGITS:
        raise _refusal(f"a number of {len(text)} digits; the longest has {MAX_DIGITS}", event)
    try:
        return _CONSTRUCT[tag](yaml.ScalarNode(tag, text))
    except (ValueError, OverflowError):
        raise _refusal(f"{text!r} is not a number", event) from None


def _refusal(what: str, event: Any) -> ValueError:
    return ValueError(f"{what} (line {event.start_mark.line + 1})")


def dump_yaml(data: dict[str, Any]) -> str:
    """YAML in the order given, innermost collections on one line."""
    text: str = yaml.dump(
        data, Dumper=_dumper(), sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
    )
    return text


@cache
def _dumper() -> Any:
    """One that repeats what stands in several places: `parse_yaml` takes no aliases."""
    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return type("Dumper", (base,), {"ignore_aliases": lambda self, data: True, "resolve": _resolve})


@lru_cache(maxsize=4096)
def _tag(kind: Any, value: Any, plain: bool) -> Any:
    return yaml.resolver.Resolver().resolve(kind, value, (plain, not plain))


def _resolve(dumper: Any, kind: Any, value: Any, implicit: Any) -> Any:
    """As `yaml.resolver.BaseResolver.resolve` where no tags are given by path; plain text is tried once."""
    if kind is not yaml.ScalarNode:
        return dumper.DEFAULT_MAPPING_TAG if kind is yaml.MappingNode else dumper.DEFAULT_SEQUENCE_TAG
    return _tag(kind, value, bool(implicit[0]))
