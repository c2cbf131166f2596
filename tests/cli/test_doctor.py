"""`hvnas doctor`: what it finds, what it tries, and what its exit code means."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from hvnas.cli import _checks, doctor
from hvnas.cli._checks import TRIES, Outcome, Try, run_checks
from hvnas.cli.doctor import Extra, Package, installed


def tried(monkeypatch: pytest.MonkeyPatch, job: Try, script: str) -> Outcome:
    """The outcome of `job` where its process runs `script`."""
    monkeypatch.setattr(_checks, "TRIES", (job,))
    real = _checks.subprocess.run
    monkeypatch.setattr(
        _checks.subprocess, "run", lambda command, **options: real([sys.executable, "-c", script], **options)
    )
    (outcome,) = run_checks()
    return outcome


JOB = Try("thing", (), "ray", lambda: "", seconds=20.0)


@pytest.mark.parametrize(
    ("script", "state", "detail"),
    [
        ("print('noise'); print('all well')", "works", "all well"),
        ("print('not here'); raise SystemExit(9)", "absent", "not here"),
        ("raise RuntimeError('no such thing')", "broken", "RuntimeError: no such thing"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "broken", "ended by signal 11: no word"),
    ],
)
def test_a_try_ends_in_one_of_three_states(
    monkeypatch: pytest.MonkeyPatch, script: str, state: str, detail: str
) -> None:
    outcome = tried(monkeypatch, JOB, script)
    assert (outcome.state, outcome.detail) == (state, detail)


def test_a_try_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = tried(monkeypatch, replace(JOB, seconds=0.5), "import time; time.sleep(60)")
    assert (outcome.state, outcome.detail) == ("broken", "no answer within 0.5 s")


def test_what_is_not_installed_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = tried(monkeypatch, replace(JOB, needs=("json", "no_such_module")), "raise SystemExit(1)")
    assert (outcome.state, outcome.detail) == ("absent", "not installed: no_such_module")


def test_requirements_are_read_with_their_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "numpy>=2.0",
        'ray[tune]>=2.40; extra == "ray"',
        'onnx>=1.17; extra == "onnx"',
        "hvnas[onnx,ray]; extra == 'all'",
    ]
    versions = {"numpy": "1.0", "onnx": "1.20"}
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: lines)
    monkeypatch.setattr(doctor, "version_of", versions.get)
    own, everything, onnx, ray = installed()
    assert own.packages == (Package("numpy", ">=2.0", "1.0"),) and own.missing == ("numpy",)
    assert [package.name for package in everything.packages] == ["onnx", "ray"]
    assert onnx.missing == ()
    assert (ray.missing, ray.command) == (("ray",), "pip install 'hvnas[ray]'")


def test_every_try_names_an_extra_there_is() -> None:
    names = {extra.name for extra in installed()} | {"executorch", "litert"}
    assert {job.extra for job in TRIES} <= names
    assert len({job.name for job in TRIES}) == len(TRIES)


def test_it_really_tries_what_is_here(hvnas) -> None:
    result = hvnas("doctor", "--only", "shipped data", "--only", "torch", "--json")
    told = json.loads(result.stdout)
    assert [(each["name"], each["state"]) for each in told["tried"]] == [
        ("shipped data", "works"),
        ("torch", "works"),
    ]
    assert result.exit_code == (0 if told["ok"] else 1)
    assert told["packages"]["numpy"]


@pytest.fixture
def told_by(monkeypatch: pytest.MonkeyPatch, hvnas):
    """Runs the doctor where the extras and the outcomes are these."""

    def run(extras: tuple[Extra, ...], outcomes: list[Outcome], *words: str):
        monkeypatch.setattr(doctor, "installed", lambda: extras)
        monkeypatch.setattr(_checks, "run_checks", lambda names, done: outcomes)
        return hvnas("doctor", *words)

    return run


OWN = Extra("", (Package("numpy", ">=2", "2.1"),))
RAY = Extra("ray", (Package("ray", ">=2.40", None),))


def test_what_is_absent_is_no_fault(told_by) -> None:
    result = told_by((OWN, RAY), [Outcome("cuda", "absent", "no CUDA device", "")])
    assert result.exit_code == 0
    assert "pip install 'hvnas[ray]'" in result.stdout
    assert result.stdout.splitlines()[-1] == "Everything installed works."


@pytest.mark.parametrize(
    ("extras", "outcomes", "fault"),
    [
        ((OWN, RAY), [Outcome("ray", "broken", "\x1b[31mboom", "ray")], "ray does not work: boom"),
        (
            (Extra("", (Package("numpy", ">=2", None),)),),
            [],
            "numpy is missing or too old: pip install hvnas",
        ),
        (
            (OWN, Extra("ray", (Package("ray", ">=2.40", "1.0"),))),
            [],
            "ray 1.0 is not >=2.40: pip install 'hvnas[ray]'",
        ),
    ],
)
def test_what_is_broken_or_too_old_is_a_fault(told_by, extras, outcomes, fault: str) -> None:
    result = told_by(extras, outcomes)
    assert result.exit_code == 1
    assert f"Fault: {fault}" in result.stdout
    assert "\x1b" not in result.stdout
    assert json.loads(told_by(extras, outcomes, "--json").stdout)["ok"] is False


def test_an_unknown_try_is_refused(hvnas) -> None:
    result = hvnas("doctor", "--only", "luck")
    assert result.exit_code == 2 and "choose from shipped data, torch" in result.stderr
