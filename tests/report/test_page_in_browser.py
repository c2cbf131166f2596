"""The page in a real browser: its numbers, its console, a phone's width, dark mode, and hostile names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import hostile
import pytest
from browser import Page, browsing

import hvnas
from hvnas.report import Report, make_report, write_report

pytestmark = pytest.mark.slow

PHONE = 390


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with browsing() as page:
        yield page


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory, browser: Page) -> tuple[Report, Path]:
    """A report of a small search on the calibrated device, and its page."""
    folder = tmp_path_factory.mktemp("report")
    hvnas.search("hybrid-mobile", "iphone12", budget_ms=2.0, evals=300, seed=1, out=folder / "run")
    report = make_report([folder / "run", "coatnet_0"])
    return report, write_report(report, folder / "report.html", command="hvnas report run coatnet_0")


def opened(browser: Page, path: Path, *, width: int = 1200, dark: bool = False) -> Page:
    """The page, drawn, without a word on the console and without a request but for itself."""
    browser.complaints.clear()
    browser.fetched.clear()
    browser.open(path, width=width, dark=dark)
    figures = browser.evaluate("document.getElementsByClassName('plot').length")
    assert browser.evaluate("Number(document.documentElement.dataset.drawn)") == figures
    assert browser.evaluate("document.querySelectorAll('.plot .main-svg').length") >= figures
    assert browser.complaints == []
    assert browser.fetched == [path.as_uri()]
    return browser


def luminance(colour: str) -> float:
    red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_numbers_on_the_page_are_the_run_s(browser: Page, reported: tuple[Report, Path]) -> None:
    report, path = reported
    page = opened(browser, path)
    (run,) = report.runs
    rows = page.evaluate(
        "[...document.querySelectorAll('#front tbody tr')].map(r => [...r.cells].map(c => c.innerText))"
    )
    assert [row[-1] for row in rows] == [run.members[place] for place in run.shown]
    assert float(rows[-1][0]) == pytest.approx(float(run.ms[run.shown[-1]]), abs=1e-9)
    for network in report.side_by_side:
        assert f"{network.latency['iphone12'].ms:.3f}" in page.text("#networks")
    stages = page.evaluate(
        "[...document.querySelectorAll('#stages-1 tbody tr')].map(r => r.cells[1].innerText)"
    )
    *parts, whole = (float(cell) for cell in stages)
    assert sum(parts) == pytest.approx(whole, abs=0.005)
    assert page.text("#redo pre").startswith(
        "hvnas search --device iphone12 --budget-ms 2.0 --space hybrid-mobile"
    )
    assert "iphone12 (calibrated, not measured)" in page.text(".warning")


def test_figures_hold_the_front_and_its_hover(browser: Page, reported: tuple[Report, Path]) -> None:
    report, path = reported
    page = opened(browser, path)
    (run,) = report.runs
    traces = page.evaluate(
        "document.getElementById('front-1').data.map(t => ({name: t.name, x: t.x, text: t.hovertext}))"
    )
    names = [trace["name"] for trace in traces]
    assert names == ["feasible", "run", "fixed points", "chosen, with its intervals"]
    assert traces[1]["x"] == pytest.approx(run.ms.tolist())
    assert traces[1]["text"][-1].startswith(f"{run.members[-1]}<br>{run.ms[-1]:.4f} ms (5–95 %: ")
    edge = max(traces[0]["x"])
    assert edge == pytest.approx(run.config.budget_ms / (1 + run.config.margin[0]))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_a_phone(browser: Page, reported: tuple[Report, Path], tmp_path: Path, dark: bool) -> None:
    page = opened(browser, reported[1], width=PHONE, dark=dark)
    assert page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [PHONE, PHONE]
    wider = page.evaluate(
        "[...document.querySelectorAll('section, article, figure, svg.network, .plot')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.id || e.tagName)"
    )
    assert wider == []
    page.screenshot(tmp_path / "phone.png")
    assert (tmp_path / "phone.png").stat().st_size > 100_000


def test_dark_mode_reaches_page_and_figures(browser: Page, reported: tuple[Report, Path]) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    ink = "getComputedStyle(document.querySelector('#front-1 .xtick text')).fill"
    for dark in (False, True):
        page = opened(browser, reported[1], dark=dark)
        on, under = luminance(page.evaluate(ink)), luminance(page.evaluate(paper))
        assert (on > 0.7 and under < 0.1) if dark else (on < 0.2 and under > 0.9)
    # It follows a change while it is open.
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    page.evaluate("new Promise(done => setTimeout(done, 300))")
    assert luminance(page.evaluate(ink)) < 0.2


def test_hostile_names_run_nothing(browser: Page, tmp_path: Path) -> None:
    sources = [
        hostile.make_run(tmp_path / "run<img src=x onerror=alert(3)>"),
        hostile.make_arch(tmp_path / "n.yaml"),
    ]
    path = write_report(make_report(sources), tmp_path / "r.html", command=hostile.MARKUP.replace("'", ""))
    page = opened(browser, path, width=PHONE)
    assert page.evaluate("document.querySelectorAll('img, script:not([id])').length") == 2
    assert "<script>alert(1)</script>" in page.text("h1") + page.text("#networks")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE
