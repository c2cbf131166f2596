"""The page in a real browser: its numbers, its console, a phone's width, dark mode, and hostile names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import hostile
import made_runs
import pytest
from browser import Page, browsing

import hvnas
from hvnas.report import Report, compare_folders, make_report, write_comparison, write_report
from hvnas.report.tables import models_table
from hvnas.testing.latency import FormulaBackend, registered

pytestmark = pytest.mark.slow

DESKTOP, TABLET, PHONE = 1280, 768, 390
MOST_BYTES = 1_500_000


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


def check_sizes(page: Page, *, width: int) -> None:
    """Nothing is wider than the page, figures fill their places, and what scrolls says so."""
    assert page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
    wider = page.evaluate(
        "[...document.querySelectorAll('section, article, figure, svg, .plot, .table, dl, pre')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.id || e.tagName)"
    )
    assert wider == []
    figures = page.evaluate(
        "[...document.querySelectorAll('.plot')].map(e => [e.clientWidth, e.closest('section').clientWidth,"
        " e.querySelector('svg').clientWidth, e.querySelector('.axes .frame').getBBox().width])"
    )
    for place, section, drawn, frame in figures:
        assert drawn == place and frame > 0.6 * place
        assert place > 0.95 * section or (width > PHONE and place > 0.45 * section)
    tables = page.evaluate(
        "[...document.querySelectorAll('.scroll')].map(e => [e.scrollWidth > e.clientWidth + 1,"
        " e.parentElement.querySelector('.more').offsetHeight > 0, e.querySelectorAll('tbody tr').length])"
    )
    assert all(wide == told and rows > 0 for wide, told, rows in tables)


@pytest.fixture(scope="module")
def trained(reported: tuple[Report, Path]) -> Path:
    """The page of the same search with the training of its best network inside."""
    report, path = reported
    run = made_runs.copy(path.parent / "run", path.parent / "trained")
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    best = report.runs[0].members[report.runs[0].best]
    made_runs.make_training(run / "train", name=best, epochs=18, classes=names)
    return write_report(make_report([run]), path.parent / "trained.html", command="hvnas report trained")


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory, table_of: Callable[[FormulaBackend], Path]
) -> Iterator[Path]:
    """The page of a search whose best networks were timed."""
    folder = tmp_path_factory.mktemp("measured")
    with registered("formula", FormulaBackend()) as host:
        table = table_of(host)
        hvnas.search("efficientformer", table, budget_ms=9.0, evals=300, measure=6, out=folder / "run")
        yield write_report(make_report([folder / "run"]), folder / "report.html", command="hvnas report run")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, TABLET, PHONE])
@pytest.mark.parametrize("what", ["trained", "measured"])
def test_trained_and_measured_networks_fit_every_width(
    browser: Page, request: pytest.FixtureRequest, tmp_path: Path, what: str, width: int, dark: bool
) -> None:
    path: Path = request.getfixturevalue(what)
    page = opened(browser, path, width=width, dark=dark)
    check_sizes(page, width=width)
    assert path.stat().st_size <= MOST_BYTES
    if what == "trained":
        assert "96.66" in page.text("#training-1")
        drawn = page.evaluate("document.querySelectorAll('svg.training').length")
        assert drawn == 2, "the learning curves and the confusion matrix"
    else:
        assert "measured" in page.text("#front")
        # The device by its name, not by where its file lies; the command to repeat it has that.
        assert page.text("main, body").count("/own.yaml") == page.text("#redo").count("/own.yaml") > 0
    page.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 100_000


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, TABLET, PHONE])
def test_it_fits_every_width(
    browser: Page, reported: tuple[Report, Path], tmp_path: Path, width: int, dark: bool
) -> None:
    page = opened(browser, reported[1], width=width, dark=dark)
    check_sizes(page, width=width)
    rows = page.evaluate(
        "Object.values(Object.groupBy([...document.querySelectorAll('.cards > div')], e => e.offsetTop))"
        ".map(row => row.length)"
    )
    assert len(set(rows)) == 1 and rows[0] >= 2
    page.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 100_000
    assert reported[1].stat().st_size <= MOST_BYTES


def test_the_figure_shows_what_the_tables_show(browser: Page, reported: tuple[Report, Path]) -> None:
    report, path = reported
    page = opened(browser, path, width=DESKTOP)
    assert report.comparison is not None
    models = models_table(report.comparison, timed="ms")
    assert models is not None and models.rows
    big = page.evaluate(
        "[...document.querySelectorAll('#front-1 circle.point')].filter(c => c.r.baseVal.value > 3).length"
    )
    rows = page.evaluate("document.querySelectorAll('#front tbody tr').length")
    # And one in the legend.
    assert big == rows + 1
    inside = """(kind) => {
      const {data} = document.getElementById('front-1');
      const frame = document.querySelector('#front-1 .frame').getBoundingClientRect();
      const shapes = [...document.querySelectorAll('#front-1 .main-svg ' + kind)];
      return shapes.every(shape => {
        const b = shape.getBoundingClientRect(), x = (b.left + b.right) / 2, y = (b.top + b.bottom) / 2;
        return x >= frame.left && x <= frame.right && y >= frame.top && y <= frame.bottom; }); }"""
    assert page.evaluate(f"({inside})('circle[r=\"4\"]')") and page.evaluate(f"({inside})('.mark')")
    told = page.evaluate("document.getElementById('front-1').data.find(t => t.kind === 'marks').hovertext")
    assert {row[0] for row in models.rows} <= {text.partition("<br>")[0] for text in told}
    # What is plotted stands in the table too.
    heads = page.evaluate("[...document.querySelectorAll('#front th')].map(h => h.innerText)")
    titles = page.evaluate("[...document.querySelectorAll('#front-1 .title')].map(t => t.textContent)")
    assert "top-1 − 1 sd" in heads and titles[1] == "top-1 − 1 sd (points)"


def mouse(page: Page, kind: str, at: list[float], *, held: bool = False) -> None:
    button = {"button": "left", "clickCount": 1} if kind != "mouseMoved" or held else {}
    page.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], buttons=int(held), **button)


def test_a_pointer_is_told_of_a_point_and_enlarges_a_part(
    browser: Page, reported: tuple[Report, Path]
) -> None:
    report, path = reported
    page = opened(browser, path, width=DESKTOP)
    page.evaluate("document.getElementById('front-1').scrollIntoView()")
    at = page.evaluate(
        "(() => { const b = document.querySelector('#front-1 .main-svg .star').getBoundingClientRect();"
        " return [b.left + b.width / 2, b.top + b.height / 2]; })()"
    )
    mouse(page, "mouseMoved", at)
    told = page.text("#front-1 .tip")
    assert told.startswith(report.networks[0].name) and "ms (5–95 %: " in told
    ticks = "[...document.querySelectorAll('#front-1 .xtick')].map(t => t.textContent)"
    before = page.evaluate(ticks)
    frame = page.evaluate(
        "(b => [b.left, b.top, b.width, b.height])"
        "(document.querySelector('#front-1 .frame').getBoundingClientRect())"
    )
    left, top, wide, high = frame
    ends = [[left + 0.4 * wide, top + 0.1 * high], [left + 0.6 * wide, top + 0.5 * high]]
    mouse(page, "mouseMoved", ends[0])
    mouse(page, "mousePressed", ends[0], held=True)
    mouse(page, "mouseMoved", ends[1], held=True)
    mouse(page, "mouseReleased", ends[1])
    assert page.evaluate(ticks) != before
    page.evaluate("document.querySelector('#front-1 svg').dispatchEvent(new MouseEvent('dblclick'))")
    assert page.evaluate(ticks) == before
    page.evaluate("document.querySelectorAll('#front-1 .legend button')[1].click()")
    assert page.evaluate("document.querySelectorAll('#front-1 .main-svg .line.dash0').length") == 0
    assert page.complaints == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, TABLET, PHONE])
def test_a_comparison_is_a_page_that_fits(
    browser: Page, reported: tuple[Report, Path], tmp_path: Path, width: int, dark: bool
) -> None:
    run = reported[1].parent / "run"
    found = compare_folders([run, made_runs.copy(run, tmp_path / "other")])
    (path,) = write_comparison(found, tmp_path / "compare.html")
    assert path.stat().st_size <= MOST_BYTES
    page = opened(browser, path, width=width, dark=dark)
    check_sizes(page, width=width)
    assert page.text("h1") == "2 searches of networks for iPhone 12 within 2 ms, compared"
    assert page.evaluate("[...document.querySelectorAll('table')].map(t => t.id)") == [
        "runs",
        "front",
        "models",
        "shares",
        "coverage",
    ]
    assert "100.0 %" in page.text("#coverage")


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
    assert page.evaluate("document.querySelectorAll('img, script:not([id])').length") == 1
    assert "<script>alert(1)</script>" in page.text("h1") + page.text("#networks")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE
