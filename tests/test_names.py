"""What files hold is judged as pydantic judges it, whether it is asked or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvnas import _names
from hvnas._names import WrongField, to_plain, unknown_name, validated
from hvnas.arch import list_models, load_arch, to_dict
from hvnas.arch.files import from_dict
from hvnas.latency import list_devices
from hvnas.latency.registry import read_device, shipped_files


@dataclass(frozen=True)
class Inner:
    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "allow_inf_nan": False}
    size: int
    name: Literal["a", "b"] = "a"


@dataclass(frozen=True, kw_only=True)
class Outer:
    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "allow_inf_nan": False}
    whole: int
    real: float
    text: str = "x"
    flag: bool = False
    some: float | None = None
    either: int | float = 1
    one_or_word: int | str = 1
    several: tuple[int, ...] = ()
    pair: tuple[int, float] = (1, 1.0)
    inner: Inner | None = None
    inners: list[Inner] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.whole == 13:
            raise ValueError("whole must not be 13")


ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 20),
    st.sampled_from([2**53 + 1, 10**30, 0.5, 2.0, float("inf"), float("nan"), "", "a", "c", "1"]),
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["size", "name", "z"]), inner, max_size=3)
        | st.dictionaries(st.integers(0, 3), inner, max_size=1)
    ),
    max_leaves=5,
)
DATA = st.fixed_dictionaries(
    {}, optional=dict.fromkeys((*Outer.__dataclass_fields__, "unknown"), VALUES)
).flatmap(lambda data: st.sampled_from([data, {"whole": 1, "real": 2.5} | data, {"whole": 13, "real": 1}]))


def by_pydantic(kind: Any, data: Any, patch: pytest.MonkeyPatch) -> Callable[[], Any]:
    def judge() -> Any:
        with patch.context() as alone:
            alone.setattr(_names, "_as_it_is", lambda *_: _names._OTHER)
            return validated(kind, data)

    return judge


def outcome(judge: Callable[[], Any]) -> str:
    try:
        return repr(judge())
    except WrongField as wrong:
        return f"{wrong.place}: {wrong.said}"


@settings(deadline=None, max_examples=300)
@given(data=DATA)
def test_what_is_plainly_right_is_what_pydantic_makes_of_it(data: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        wanted = outcome(by_pydantic(Outer, data, patch))
    assert outcome(lambda: validated(Outer, data)) == wanted


def test_what_is_plainly_right_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_names, "_adapter", None)
    inner = {"size": 3, "name": "b"}
    data = {"whole": 1, "real": 2, "several": [1, 2], "inner": inner, "inners": [inner], "rest": {"a": [1.5]}}
    assert validated(Outer, data) == Outer(
        whole=1, real=2.0, several=(1, 2), inner=Inner(3, "b"), inners=[Inner(3, "b")], rest={"a": [1.5]}
    )


def test_files_that_ship_are_read_alike_and_without_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> tuple[list[str], list[str]]:
        archs = [from_dict(to_dict(load_arch(name)), where=name) for name in list_models()[::7]]
        devices = [replace(read_device(path), rows=()) for path in shipped_files().values()]
        return list(map(repr, archs)), [repr(vars(device)) for device in devices]

    with monkeypatch.context() as patch:
        patch.setattr(_names, "_adapter", None)
        found = read()
    assert len(found[1]) >= len(list_devices()) > 3
    monkeypatch.setattr(_names, "_as_it_is", lambda *_: _names._OTHER)
    assert found == read()


@given(data=DATA)
@settings(deadline=None)
def test_plain_data_is_what_pydantic_writes(data: dict[str, Any]) -> None:
    try:
        made = validated(Outer, data)
    except WrongField:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_names, "_spelled", lambda _: _names._OTHER)
        wanted = repr(to_plain(made))
    assert repr(to_plain(made)) == wanted


def test_of_few_names_all_are_listed_of_many_the_five_nearest() -> None:
    few = unknown_name("colour", "gren", ["blue", "green"], "a number")
    assert few == "unknown colour 'gren'; did you mean 'green'? There are: blue, green (or a number)"
    many = [f"efficientnet_b{i}" for i in range(30)]
    said = unknown_name("model", "eficientnet_b1", many, "a path")
    assert said.startswith("unknown model 'eficientnet_b1'; nearest of 30: efficientnet_b1, ")
    assert said.count("efficientnet_b") == 5 and said.endswith(" (or a path)")
    assert "there are: efficientnet_b0, efficientnet_b1" in unknown_name("model", "zzz", many)
    assert len(unknown_name("model", "efficientnet_b" * 1000, many)) < 500
