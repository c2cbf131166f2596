"""What a comparison's figures show, and the files they become."""

from __future__ import annotations

from pathlib import Path

import made_runs
import numpy as np
import pytest

from hvnas.report import Comparison, check_out, compare_folders, write_comparison
from hvnas.report.panels import _marks, front_panels, history_panels
from hvnas.search.runs.session import Moment

POINTS = [(1.0, 71.0), (2.0, 81.0)]


def comparison(
    tmp_path: Path, *, points: list[tuple[float, float]] = POINTS, **changes: object
) -> Comparison:
    return compare_folders(
        [made_runs.make(tmp_path / name, points, **changes) for name in ("one", "two <b>", "three $x$")]  # type: ignore[arg-type]
    )


def test_fronts_are_steps_in_the_units_of_their_axes(tmp_path: Path) -> None:
    (panel,) = front_panels(comparison(tmp_path))
    assert (panel.x_label, panel.y_label) == ("latency on no-device (ms)", "top-1 − 1 sd (points)")
    assert [curve.name for curve in panel.curves] == ["one", "two <b>", "three $x$"]
    first = panel.curves[0]
    assert (first.x, first.y, first.steps) == ([1.0, 2.0], [70.0, 80.0], True)
    assert first.texts == ["n0", "n1"]


def test_of_three_objectives_there_are_two_pairs_of_loose_points(tmp_path: Path) -> None:
    panels = front_panels(comparison(tmp_path, objectives=("top1", "latency_ms", "params")))
    assert [panel.x_label for panel in panels] == ["latency on no-device (ms)", "params (M)"]
    assert panels[1].curves[0].x == [1e-6, 2e-6]
    assert not any(curve.steps for panel in panels for curve in panel.curves)


def test_the_frame_leaves_out_what_is_of_little_use(tmp_path: Path) -> None:
    points = [(0.1, -50.0), *((1 + i / 10, 70.0 + i) for i in range(10))]
    (panel,) = front_panels(comparison(tmp_path, points=points))
    assert panel.x_range is not None and panel.y_range is not None
    assert 60 < panel.y_range[0] < 70
    assert panel.y_range[1] > 78
    assert 0.9 < panel.x_range[0] < 1.0


def test_histories_are_volumes_of_one_corner_or_shares_of_their_own(tmp_path: Path) -> None:
    by_evaluations, by_seconds = history_panels(comparison(tmp_path / "a"))
    assert by_evaluations.y_label == "hypervolume (points·ms)"
    assert by_evaluations.curves[0].x == [10, 100]
    assert by_seconds.curves[0].x == [0.5, 2.0]
    assert by_seconds.curves[0].y == [100.0, 140.0]

    folders = [made_runs.make(tmp_path / name, POINTS, budget_ms=b) for name, b in (("x", 3.0), ("y", 4.0))]
    panel = history_panels(compare_folders(folders))[0]
    assert panel.y_label == "hypervolume (% of the run's last)"
    assert panel.curves[0].y == pytest.approx([100 * 100 / 140, 100.0])


def test_without_volumes_the_best_tells_how_it_went(tmp_path: Path) -> None:
    scores = (Moment(10, 1.0, float("nan"), 2, 3.0), Moment(20, 2.0, float("nan"), 2, 4.0))
    panel, _ = history_panels(comparison(tmp_path / "scores", moments=scores))
    assert (panel.title, panel.curves[0].y) == ("Best top-1 − 1 sd over evaluations", [3.0, 4.0])

    params = (Moment(10, 1.0, 5e6, 1, 2e6), Moment(20, 2.0, 6e6, 1, 1e6))
    found = comparison(tmp_path / "one", moments=params, objectives=("params",))
    assert front_panels(found) == ()
    panel, _ = history_panels(found)
    assert (panel.y_label, panel.curves[0].y) == ("best params (M)", [2.0, 1.0])
    for name in ("a.html", "a.svg", "a.csv"):
        assert write_comparison(found, tmp_path / name)[0].stat().st_size > 0


def test_where_nothing_can_be_drawn_nothing_is_written(tmp_path: Path) -> None:
    nan = float("nan")
    found = comparison(tmp_path, moments=(Moment(10, 1.0, nan, 0, nan),), objectives=("params",))
    assert history_panels(found) == ()
    with pytest.raises(ValueError, match=r"leave nothing to draw; write a \.csv"):
        write_comparison(found, tmp_path / "a.svg")
    assert not (tmp_path / "a.svg").exists()


def test_labels_of_fixed_points_keep_apart() -> None:
    rng = np.random.default_rng(0)
    points = [(f"m{i}", float(x), float(y), "") for i, (x, y) in enumerate(rng.uniform(-0.2, 1.2, (200, 2)))]
    marks = _marks(points, (0.0, 1.0), (0.0, 1.0))
    assert all(0 <= mark.x <= 1 and 0 <= mark.y <= 1 for mark in marks)
    labels = [mark for mark in marks if mark.labelled]
    assert 5 < len(labels) < len(marks) < len(points)
    for i, a in enumerate(labels):
        assert all(abs(a.x - b.x) > 0.17 or abs(a.y - b.y) > 0.07 for b in labels[:i])


@pytest.mark.parametrize("suffix", [".html", ".png", ".svg", ".csv"])
def test_a_file_is_written_by_its_ending(tmp_path: Path, suffix: str) -> None:
    found = comparison(tmp_path)
    path = tmp_path / f"figure{suffix}"
    assert write_comparison(found, path) == (path,)
    content = path.read_bytes()
    if suffix == ".png":
        assert content.startswith(b"\x89PNG")
    else:
        text = content.decode()
        assert "three $x$" in text
    if suffix == ".html":
        assert "two &lt;b&gt;" in text.replace("\\u0026", "&")
        assert "two <b>" not in text
        assert "<script src=" not in text


def test_a_folder_gets_every_kind(tmp_path: Path) -> None:
    paths = write_comparison(comparison(tmp_path), tmp_path / "out")
    assert [path.name for path in paths] == ["compare.html", "compare.png", "compare.csv"]
    assert all(path.stat().st_size > 0 for path in paths)
    assert write_comparison(comparison(tmp_path / "again"), tmp_path / "out") == paths


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.pdf", "choose one of them, or a folder"),
        ("no/a.csv", "there is no folder"),
        ("no/a.png", "no folder"),
    ],
)
def test_what_cannot_be_written_is_told_before(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_out(tmp_path / name)


@pytest.mark.parametrize(("name", "extra"), [("a.html", "report"), ("a.png", "plot"), ("folder", "report")])
def test_a_missing_package_names_its_extra(
    tmp_path: Path, name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hvnas.latency.plots.find_spec", lambda package: None)
    with pytest.raises(ValueError, match=rf"hvnas\[{extra}\]"):
        check_out(tmp_path / name)


def test_a_short_span_is_linear_and_a_long_one_tells_its_decades(tmp_path: Path) -> None:
    moments = (Moment(10, 1.0, 100.0, 1, 70.0), Moment(10_000, 5.0, 140.0, 2, 80.0))
    by_evaluations, by_seconds = history_panels(comparison(tmp_path, moments=moments))
    assert by_evaluations.decades == pytest.approx(3.0)
    assert by_seconds.decades is None
