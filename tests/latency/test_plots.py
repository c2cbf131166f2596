"""Figures are written whole, in each format, or refused before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvnas.latency import plots
from hvnas.latency.plots import Bar, Points, check_target, save_bars, save_scatter

BARS = [Bar("by stage", "phone", {"stem": 0.5, "head": 0.1}), Bar("by kind", "phone", {"conv": 0.6})]
POINTS = [
    Points("vit", ["a", "<b>"], [1.0, 2.0], [1.1, 1.9]),
    Points("other $\\x$", ["c"], [0.01], [0.02]),
]
MAGIC = {".png": b"\x89PNG", ".svg": b"<?xml", ".html": b"<!doctype html>"}


@pytest.mark.parametrize("suffix", [".png", ".svg", ".html"])
def test_both_figures(tmp_path: Path, suffix: str) -> None:
    bars, scatter = tmp_path / f"bars{suffix}", tmp_path / f"scatter{suffix}"
    save_bars(BARS, bars, title="where they go")
    save_scatter(POINTS, scatter, title="a & b")
    for path in (bars, scatter):
        data = path.read_bytes()
        assert data.startswith(MAGIC[suffix]) and len(data) > 3000
    assert sorted(tmp_path.iterdir()) == [bars, scatter]


def test_html_holds_the_numbers_and_no_markup_of_names(tmp_path: Path) -> None:
    path = tmp_path / "scatter.html"
    save_scatter(POINTS, path, title="x")
    text = path.read_text(encoding="utf-8")
    data = text[text.rindex("Plotly.newPlot(") :]
    assert "&lt;b&gt;" in data.replace("\\u0026", "&") and "<b>" not in data


@pytest.mark.parametrize(
    ("name", "says"),
    [("x.pdf", "ends in .html, .png, .svg"), ("x", "ends in"), ("none/x.png", "there is no folder")],
)
def test_refused_targets(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_target(tmp_path / name)


@pytest.mark.parametrize(("suffix", "extra"), [(".png", "plot"), (".html", "report")])
def test_a_missing_package_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, extra: str
) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"pip install 'hvnas\[{extra}\]'"):
        check_target(tmp_path / f"x{suffix}")
