"""What notebooks show, and the tour from its first cell to its last."""

from __future__ import annotations

import ast
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import hvnas
from hvnas._records import html_of
from hvnas.search import SearchResult

TOUR = json.loads((Path(__file__).parents[1] / "scripts" / "tour.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(cell["source"]) for cell in TOUR["cells"] if cell["cell_type"] == "code"]


class Rows(HTMLParser):
    """The cells of a table, a list a row, and its caption."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.caption = self._tag = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._tag = tag
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""

    def handle_data(self, data: str) -> None:
        if self._tag in ("td", "th"):
            self.rows[-1].append(data)
        if self._tag == "caption":
            self.caption += data


@pytest.fixture(scope="module")
def result() -> SearchResult:
    return hvnas.search("efficientformer", budget_ms=2.0, evals=300)


def test_a_result_shows_the_networks_that_tables_show(result: SearchResult) -> None:
    table = Rows(result._repr_html_())
    names, *rows = table.rows
    assert [row[names.index("name")] for row in rows] == [found.name for found in result.shown]
    assert "2 ms on iphone12" in table.caption and result.best.name in table.caption


def test_a_frame_holds_the_front_in_full(result: SearchResult) -> None:
    frame = result.to_pandas()
    assert frame.to_dict("records") == [found.to_json() for found in result.front]


def test_a_plot_holds_front_models_and_budget(result: SearchResult) -> None:
    (axes,) = result.plot().axes
    known = [near for near in result.fixed_points if near.feasible]
    sizes = {len(line.get_xdata()) for line in axes.lines}
    assert known and len(known) in sizes
    assert axes.lines[-1].get_xdata()[0] == 2.0


def test_a_network_shows_its_stages(result: SearchResult) -> None:
    arch = hvnas.load_arch("efficientformer_l1")
    parts = [row[0] for row in Rows(arch._repr_html_()).rows]
    assert parts == ["part", "stem", "stage 1", "stage 2", "stage 3", "stage 4", "head"]
    latency = hvnas.load_device("iphone12").latency(arch.lower())
    times = [float(row[1]) for row in Rows(latency._repr_html_()).rows[1:]]
    assert sum(times) == pytest.approx(latency.ms, abs=0.01)
    estimate = hvnas.load_estimator("surrogate").estimate([arch] * 30)
    assert len(Rows(estimate._repr_html_()).rows) == 21


def test_what_is_shown_is_escaped() -> None:
    assert "<b>" not in html_of([{"<b>": "<b>", "n": None}], caption="<b>")
    assert Rows(html_of([{"<b>": "<b>", "n": None}])).rows[1] == ["<b>", "–"]


def test_the_tour_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = [shown_by(cell, names) for cell in CELLS]
    assert sum(value is not None for value in shown) >= 8
    assert isinstance(shown[0], SearchResult) and names["mine"].best.inside
    acts = {op.variant for op in names["mine"].best.arch.lower().ops if op.kind == "act"}
    assert "silu" not in acts


def shown_by(cell: str, names: dict[str, Any]) -> Any:
    """Run a cell in `names`, and return what it shows: its last expression."""
    body = ast.parse(cell).body
    last = ast.Expression(body.pop().value) if isinstance(body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    exec(compile(ast.Module(body, []), "tour", "exec"), names)
    return None if last is None else eval(compile(last, "tour", "eval"), names)
