"""What a report tells, and the page and files that it becomes."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import hostile
import made_runs
import pytest

from hvnas.arch import load_arch, save_arch
from hvnas.report import (
    Report,
    compare_folders,
    make_report,
    report_to_json,
    write_comparison,
    write_figures,
    write_report,
)
from hvnas.report.figures import _corners
from hvnas.report.network import FIXED, Accuracy, aligned, by_kind, by_stage, draw_network
from hvnas.report.page import page_title, render_page
from hvnas.report.panels import front_panels
from hvnas.report.runs import settings_of
from hvnas.report.tables import training_table
from hvnas.search.runs.session import Moment

POINTS = [(1.0, 71.0), (2.0, 81.0)]
NAMES = ("efficientformer_l3", "mobileformer_294m")


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text without scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def make_run(folder: Path, **changes: object) -> Path:
    """A run on a device and with an estimator that are there, and a best network that can be loaded."""
    asked = {"device": "iphone12", "device_hash": "f", "budget_ms": 2.4, "margin": 0.2} | changes
    made_runs.make(folder, POINTS, **asked)
    save_arch(load_arch("efficientformer_l1").with_(name="n1"), folder / "best.yaml")
    return folder


@pytest.fixture(scope="module")
def networks() -> Report:
    return make_report(NAMES, devices=["iphone12", "cpu-i7-12700h"])


@pytest.fixture(scope="module")
def page(networks: Report) -> str:
    return render_page(networks, command="hvnas report 'a b' --out r.html")


def test_networks_stand_beside_efficientformer_l1(networks: Report) -> None:
    assert networks.reference is not None
    assert [network.name for network in networks.side_by_side] == [*NAMES, "efficientformer_l1"]
    assert make_report(["efficientformer_l1"]).reference is None
    for network in networks.side_by_side:
        program = network.arch.lower()
        assert (network.params, network.macs) == (program.params, program.macs)


def test_breakdowns_sum_to_the_latency(networks: Report) -> None:
    for network in networks.side_by_side:
        for estimate in network.latency.values():
            assert sum(by_stage(estimate).values()) == pytest.approx(estimate.ms)
            assert sum(by_kind(estimate).values()) == pytest.approx(estimate.ms)


def test_parts_side_by_side_come_in_a_network_s_order(networks: Report) -> None:
    rows = aligned([by_stage(network.latency["iphone12"]) for network in networks.side_by_side])
    stages = [f"stage {i}" for i in range(1, 6)]
    assert [name for name, _ in rows] == ["stem", "tokens", *stages, "head", FIXED]
    cells = dict(rows)
    assert cells["tokens"][0] is None and cells["stage 5"][0] is None
    assert cells["stage 5"][1] is not None


def test_the_page_needs_no_network_and_lets_no_other_script_run(page: str) -> None:
    elements = Elements(page)
    assert not any(tag in ("link", "iframe", "object", "img") for tag, _ in elements.seen)
    assert not any(key in ("src", "href", "action") for _, attrs in elements.seen for key in attrs)
    (policy,) = [a["content"] for _, a in elements.seen if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy and "'unsafe-inline'" not in policy.split("style-src")[0]


def test_the_page_says_what_the_json_says(networks: Report, page: str) -> None:
    text = Elements(page).text
    told = report_to_json(networks)
    json.dumps(told, allow_nan=False)
    for network, said in zip(networks.side_by_side, [*told["networks"], told["reference"]], strict=True):
        assert f"{said['accuracy']['mean']:.1f} ± {said['accuracy']['sd']:.1f}" in text
        for device, estimate in network.latency.items():
            assert said["latency"][device]["ms"] == pytest.approx(estimate.ms, abs=1e-4)
            assert f"{estimate.ms:.3f}" in text
    assert all(line in text for line in networks.trust)
    assert "hvnas report 'a b' --out r.html" in text


def test_calibrated_devices_are_never_taken_for_measured(networks: Report, page: str) -> None:
    text = Elements(page).text
    assert networks.not_measured[0] == "iphone12 (calibrated, not measured)"
    assert "iphone12 (calibrated, not measured)" in text
    assert "Latency on iphone12, calibrated, not measured" in text
    assert "ms iphone12 (calibrated)" in text
    (data,) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    titles = [figure["layout"]["xaxis"]["title"]["text"] for figure in json.loads(data)]
    assert titles.count("ms on iphone12 (calibrated)") == 2


def test_drawings_show_every_block_and_shape(networks: Report) -> None:
    network = networks.networks[0]
    drawn = ET.fromstring(draw_network(network, device="iphone12"))
    bars = [rect for rect in drawn.iter("rect") if rect.get("class") in ("local", "global", "other")]
    assert len(bars) == len(list(network.arch.parts()))
    texts = [text.text or "" for text in drawn.iter("text")]
    assert "→ 320 × 14 × 14" in texts
    stage = by_stage(network.latency["iphone12"])["stage 3"]
    assert f"{stage:.3f} ms" in texts
    standalone = draw_network(network, standalone=True)
    assert standalone.startswith("<svg ") and 'xmlns="http://www.w3.org/2000/svg"' in standalone


def test_a_run_is_reported_with_its_front_and_settings(tmp_path: Path) -> None:
    report = make_report([make_run(tmp_path / "run")])
    (network,) = report.networks
    assert (network.name, network.run, network.chance) == ("n1", "run", 0.9)
    assert network.accuracy is not None and network.accuracy.mean == 81.0
    assert any("iphone12 has changed since run" in note for note in report.notes)
    text = Elements(render_page(report, command="hvnas report run")).text
    for shown in (
        "2.0000 ms",
        "81.0 ± 1.0",
        "1.800–2.200",
        "what the budget of 2.4 ms less its margin of 20.0 %",
    ):
        assert shown in text
    assert "latency on iphone12 (ms, calibrated)" in front_panels(report.comparison)[0].x_label


def test_the_feasible_region_is_the_budget_less_its_margin(tmp_path: Path) -> None:
    report = make_report([make_run(tmp_path / "run", constraints=("top1>=75",))])
    assert report.comparison is not None
    (panel,) = front_panels(report.comparison, [1])
    assert panel.region is not None
    assert panel.region.x == (None, pytest.approx(2.0))
    assert panel.region.y == (75.0, None)
    (star,) = panel.stars
    assert (star.x, star.y, star.y_error) == (2.0, 80.0, (0.0, 2.0))
    assert star.x_error == pytest.approx((0.2, 0.2))
    corners = _corners(panel)
    assert corners is not None and corners[0][1] == pytest.approx(2.0) and corners[1][0] == 75.0


def test_what_cannot_be_had_any_more_becomes_a_note(tmp_path: Path) -> None:
    gone = {"device": str(tmp_path / "gone.yaml"), "estimator": str(tmp_path / "gone.json")}
    report = make_report([make_run(tmp_path / "run", **gone)])
    assert report.devices == ()
    assert [note.partition(":")[0] for note in report.notes] == [
        "latencies are not broken down",
        "the estimator's own error is not known",
    ]
    assert "Latency on" not in Elements(render_page(report, command="hvnas report run")).text


def test_another_network_of_the_run_can_be_chosen(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "archs").mkdir()
    save_arch(load_arch("efficientformer_l3").with_(name="n0"), run / "archs" / "n0.yaml")
    report = make_report([run], choose="n0")
    assert report.networks[0].accuracy is not None and report.networks[0].accuracy.mean == 71.0
    for name in ("n7", "../best", "../archs/n0"):
        with pytest.raises(ValueError, match="is not a network in"):
            make_report([run], choose=name)


def test_the_command_names_every_setting(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", constraints=("params<=3e+07",), scenario="large-data", fixed_points=False
    )
    (settings,) = make_report([run]).settings
    assert settings.command == (
        "hvnas search --device iphone12 --budget-ms 2.4 --space nowhere --strategy evolution "
        "--estimator surrogate --objective top1 --objective latency_ms --constraint 'params<=3e+07' "
        "--recipe modern300 --scenario large-data --evals 100 --seed 0 --margin 0.2 --outside forbid"
    )
    assert [note.partition(":")[0] for note in settings.notes] == ["it began without the papers' models"]


def test_margins_of_several_devices_stay_the_devices_own(tmp_path: Path) -> None:
    more = {"device": ("iphone12", "slow"), "device_hash": ("f", "3" * 12), "margin": (0.2, 0.5)}
    (settings,) = make_report([make_run(tmp_path / "run", **more)]).settings
    assert "--margin" not in settings.command
    assert "the margins were 0.2 on iphone12, 0.5 on slow" in settings.notes[0]


def test_figures_and_tables_are_written(tmp_path: Path) -> None:
    report = make_report([make_run(tmp_path / "run")])
    files = {path.name: path for path in write_figures(report, tmp_path / "figures")}
    assert {"front.png", "front.svg", "latency-1.png", "network-1.svg", "front.csv"} <= set(files)
    assert all(path.stat().st_size > 0 for path in files.values())
    front = list(csv.DictReader(io.StringIO(files["front.csv"].read_text())))
    assert [(line["name"], line["ms"]) for line in front] == [("n0", "1.0"), ("n1", "2.0")]
    parts = list(csv.DictReader(io.StringIO(files["latency.csv"].read_text())))
    assert {line["method"] for line in parts} == {"calibrated"}
    mine = [float(line["ms"]) for line in parts if line["network"] == "n1" and line["by"] == "stage"]
    assert sum(mine) == pytest.approx(report.networks[0].latency["iphone12"].ms, abs=1e-3)


def test_a_score_alone_has_tables_and_no_front(tmp_path: Path) -> None:
    nothing = (Moment(10, 1.0, float("nan"), 2, 3.0),)
    run = make_run(tmp_path / "run", objectives=("top1",), estimator="zico", moments=nothing)
    text = (run / "pareto.csv").read_text().replace(",top1,top1_sd,", ",score,").replace(",1.000,", ",")
    (run / "pareto.csv").write_text(text)
    report = make_report([run])
    assert str(report.networks[0].accuracy) == "81"
    page = render_page(report, command="hvnas report run")
    assert 'id="front-1"' not in page and 'id="latency-stage-1"' in page
    names = {path.name for path in write_figures(report, tmp_path / "figures")}
    assert {"latency-1.png", "front.csv", "history.png"} <= names and "front.png" not in names


@pytest.mark.parametrize(
    ("out", "message"),
    [("page.pdf", "ends in .html"), ("none/page.html", "there is no folder"), (".", "ends in .html")],
)
def test_a_page_that_cannot_be_written_is_refused(
    networks: Report, tmp_path: Path, out: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_report(networks, tmp_path / out, command="")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Report, Path]]:
    folder = tmp_path_factory.mktemp("evil")
    sources = [hostile.make_run(folder / "run<b>&"), hostile.make_arch(folder / "net.yaml")]
    yield make_report(sources), folder


def test_hostile_texts_reach_no_markup(evil: tuple[Report, Path]) -> None:
    report, _ = evil
    text = render_page(report, command=f"hvnas report {hostile.MARKUP!r}")
    elements = Elements(text)
    assert [tag for tag, _ in elements.seen].count("script") == 2
    assert not any(tag == "img" for tag, _ in elements.seen)
    assert not any(key.startswith("on") for _, attrs in elements.seen for key in attrs)
    assert "\x1b" not in text and "\u202e" not in text and "49" not in elements.text.split("alert(2)>")[1][:9]
    # It is shown, as text.
    assert "<script>alert(1)</script>" in elements.text
    # Nor would they as texts of the figures that somebody took for markup.
    (data,) = re.findall(r'id="figures">(.*?)</script>', text, re.DOTALL)
    assert "<" not in data and "<script" not in data.encode().decode("unicode_escape")


def test_hostile_texts_reach_no_path(evil: tuple[Report, Path]) -> None:
    report, folder = evil
    before = {path for path in folder.parent.rglob("*") if folder / "figures" not in path.parents}
    written = write_figures(report, folder / "figures")
    assert {path.parent for path in written} == {folder / "figures"}
    assert all(re.fullmatch(r"[a-z]+(-\d)?\.(png|svg|csv)", path.name) for path in written)
    after = {path for path in folder.parent.rglob("*") if folder / "figures" not in path.parents}
    assert after - before == {folder / "figures"}
    for path in written:
        if path.suffix == ".svg":
            root = ET.fromstring(path.read_text(encoding="utf-8"))
            assert not any(element.tag.endswith("script") for element in root.iter())
        if path.suffix == ".csv":
            assert "\x1b" not in path.read_text(encoding="utf-8")


def test_hostile_settings_stay_one_word_of_the_shell(evil: tuple[Report, Path]) -> None:
    import shlex

    report, _ = evil
    (run,) = report.runs
    words = shlex.split(settings_of(run, ()).command)
    assert words[words.index("--device") + 1] == f"no{hostile.MARKUP}"


def make_training(folder: Path, *, name: str, finished: bool) -> Path:
    """A training whose recipe and one of whose classes have hostile names."""
    names = (hostile.MARKUP, "b")
    return made_runs.make_training(
        folder, name=name, epochs=18 if finished else 0, classes=names, recipe=hostile.MARKUP
    )


def test_a_training_is_told(tmp_path: Path) -> None:
    report = make_report([make_training(tmp_path / "mine", name="net", finished=True)])
    (network,) = report.networks
    assert (
        network.trained == f"top-1 96.66 on digits at 32 px, 10 classes ({hostile.MARKUP}, 18 of 18 epochs)"
    )
    page = render_page(report, command="")
    assert "<script>alert" not in page and "top-1 96.66 on digits" in Elements(page).text


def test_a_training_stands_beside_the_estimate(tmp_path: Path) -> None:
    report = make_report([make_training(tmp_path / "mine", name="net", finished=True)])
    (network,) = report.networks
    table = training_table(report, network, id="t")
    kinds = [row[0] for row in table.rows]
    assert kinds == ["estimated", "cross-fitted", "trained"]
    cells = dict(zip(table.columns, table.rows[-1], strict=True))
    assert (cells["top-1"], cells["95 %"]) == ("96.66", "94.25–98.50")
    assert (cells["data"], cells["px"], cells["classes"], cells["epochs"]) == (
        "digits",
        "32",
        "10",
        "18 of 18",
    )
    program = network.arch.lower()
    assert cells["params M"] == f"{program.params / 1e6:.2f}"
    assert cells["ms iphone12 (calibrated)"] == f"{network.latency['iphone12'].ms:.3f}"
    page = render_page(report, command="")
    drawn = [attrs for tag, attrs in Elements(page).seen if tag == "svg" and attrs.get("class") == "training"]
    assert len(drawn) == 2 and "rows: the true class" in page


def test_top1_has_intervals_of_95_percent() -> None:
    accuracy = Accuracy(80.0, 1.0, "points", "surrogate", "modern300", 79.0, 2.0)
    assert (accuracy.interval, accuracy.cross_fitted_interval) == ("78.0–82.0", "75.1–82.9")
    certain = Accuracy(99.9, 1.0, "points", "surrogate", "modern300")
    assert (certain.interval, certain.cross_fitted_interval) == ("97.9–100.0", None)
    assert Accuracy(5.0, 0.0, "score", "zico", "modern300").interval is None


@pytest.mark.parametrize(
    "text", ["", "true class\n", "true class,a,b\na,1,2\n", "true class,a\na,-1\n", "true class,a\na,1e3\n"]
)
def test_a_damaged_matrix_is_refused(tmp_path: Path, text: str) -> None:
    folder = make_training(tmp_path / "mine", name="net", finished=True)
    (folder / "card" / "confusion.csv").write_text(text)
    with pytest.raises(ValueError, match=r"confusion\.csv: must hold a line of counts for each class"):
        make_report([folder])


def test_titles_are_those_that_a_person_would_write(networks: Report, tmp_path: Path) -> None:
    assert (
        page_title(make_report([make_run(tmp_path / "run")])) == "Image networks for iPhone 12 within 2.4 ms"
    )
    assert page_title(networks) == "efficientformer_l3 and mobileformer_294m on iPhone 12"


def test_a_comparison_is_a_small_page(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("one", "two")]
    (path,) = write_comparison(compare_folders(runs), tmp_path / "compare.html")
    page = path.read_text(encoding="utf-8")
    text = Elements(page).text
    assert "2 searches of networks for iPhone 12 within 2.4 ms, compared" in text
    assert "iphone12 (calibrated, not measured): the milliseconds here are predictions" in text
    assert "Coverage: the share of a column's front" in text and 'id="front-1"' in page
    assert f"hvnas compare {runs[0]} {runs[1]}" in text
    assert path.stat().st_size < 1_500_000


def test_the_training_beside_a_run_is_told_of_its_network_only(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    make_training(run / "train", name="n1", finished=False)
    assert make_report([run]).networks[0].trained == "not through yet"
    other = make_run(tmp_path / "other")
    make_training(other / "train", name="another", finished=True)
    assert make_report([other]).networks[0].trained is None
