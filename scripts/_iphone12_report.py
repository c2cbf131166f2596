"""The error report of a calibrated device, printed."""

from __future__ import annotations

from typing import Any

from hvnas.latency.calibration.error_report import Calibration, candidate_errors, published_and_predicted


def print_report(report: dict[str, Any], fitted: Calibration) -> None:
    """The error tables, in percent of the measured time."""
    print(
        f"cohort {report['cohort']}: {report['measurements']} measurements of {report['networks']} networks "
        f"({report['networks_in_gate']} in the gate), {report['families']} families; "
        f"one network measured twice differs by {report['noise_floor']['mape']} %"
    )
    print(f"{'':48s} {'MAPE':>6s} {'median':>7s} {'p90':>6s} {'tau':>6s}   (in the gate | without it)")
    for key, entry in report.items():
        if isinstance(entry, dict) and "in_gate" in entry:
            cells = [
                f"{e['mape']:6.2f} {e['median']:7.2f} {e['p90']:6.2f} {e['kendall_tau']:6.3f}"
                for e in (entry["in_gate"], entry["all_networks"])
            ]
            print(f"{key.replace('_', ' '):48s} {' | '.join(cells)}")
    if "candidates" in report:
        _print_choice(report, fitted)
    print("families left out, the worst first")
    for family, entry in report["by_family"].items():
        low, high = entry["measured_to_predicted"]
        networks = f"{entry['networks']:3d} ({entry['in_gate']} in the gate)"
        print(f"  {family:20s} {networks} {entry['mape']:6.2f}  measured / predicted {low} to {high}")
    for name, (low, high) in report["parameters_family_left_out"].items():
        print(f"  {name}: {low} to {high} as families are left out")
    for entry in report["other_cohorts"]:
        print(f"  unseen {entry}")


def _print_choice(report: dict[str, Any], fitted: Calibration) -> None:
    entered = report["entered"]
    print("choice of terms included, by how many may enter")
    for count, (inside, everywhere) in enumerate(report["choice_included_by_number_of_terms"]):
        print(f"  {count} {inside:6.2f} | {everywhere:6.2f}{'  taken' if count == len(entered) else ''}")
    print("what entered, one after another")
    _print_candidates(entered)
    print("candidates, beside what is in every fit")
    _print_candidates(report["candidates"])
    print("candidates, beside what entered")
    _print_candidates(candidate_errors(fitted, given=fitted.chosen))
    print("published differences, ms")
    for name, (published, predicted) in published_and_predicted(fitted).items():
        print(f"  {name:52s} {published:6.2f}, predicted {predicted:6.2f}")


def _print_candidates(errors: dict[str, list[float]]) -> None:
    for name, (inside, everywhere) in errors.items():
        print(f"  + {name:84s} {inside:7.2f} | {everywhere:7.2f}")
