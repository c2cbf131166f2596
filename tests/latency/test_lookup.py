"""The lookup table of a device adds up to the device."""

from __future__ import annotations

import csv
import dataclasses
import io

import numpy as np
import pytest

from hvnas.arch import list_models, load_arch
from hvnas.latency import Device, LinearModel, Term
from hvnas.latency.tables.block_keys import LookupRow, fixed_ms, lookup, lookup_text, network_keys, space_keys
from hvnas.space import load_space


def total(device: Device, rows: list[LookupRow]) -> float:
    """What the docstring of `lookup` says a network takes."""
    floors = [row.floor_ms for row in rows if row.floor_ms is not None]
    return fixed_ms(device) + max(sum(row.ms for row in rows), sum(floors))


@pytest.mark.parametrize("name", list_models())
def test_blocks_add_up_to_the_network(device: Device, name: str) -> None:
    arch = load_arch(name)
    rows = lookup(device, list(network_keys(arch)))
    assert total(device, rows) == pytest.approx(device.latency(arch.lower()).ms, rel=1e-12)


@pytest.mark.parametrize("model", [LinearModel(0.3, (Term("macs", 0.001),)), None])
def test_where_the_floor_decides_and_where_there_is_none(device: Device, model: LinearModel | None) -> None:
    high = LinearModel(0.1, (Term("macs", 1e-6),), (Term("weight_bytes", 0.05), Term("other_bytes", 0.01)))
    other = dataclasses.replace(device, model=model or high)
    for name in ("mobileformer_96m", "efficientformer_l1"):
        arch = load_arch(name)
        rows = lookup(other, list(network_keys(arch)))
        assert total(other, rows) == pytest.approx(other.latency(arch.lower()).ms, rel=1e-12)
        assert all((row.floor_ms is None) == (model is not None) for row in rows)


def test_random_networks(device: Device) -> None:
    space = load_space("hybrid-mobile")
    for row in space.sample(20, rng=np.random.default_rng(5)):
        arch = space.decode(row)
        rows = lookup(device, list(network_keys(arch)))
        assert total(device, rows) == pytest.approx(device.latency(arch.lower()).ms, rel=1e-12)


def test_keys_of_a_space_are_distinct_and_by_use() -> None:
    space = load_space("hybrid-mobile")
    keys = space_keys(space, 20, seed=0)
    assert len({key.name for key in keys}) == len(keys) > 50
    assert [key.uses for key in keys] == sorted((key.uses for key in keys), reverse=True)
    assert keys == space_keys(space, 20, seed=0)
    wanted = {t for t in space.genes[space.layout.tokens].values if t is not None}
    found = {(k.block.count, k.block.out) for k in keys if k.block.type == "global_tokens"}  # type: ignore[attr-defined]
    assert found == wanted


def test_the_text_reads_back(device: Device) -> None:
    space = load_space("hybrid-mobile")
    rows = lookup(device, space_keys(space, 20, seed=0))
    text = lookup_text(device, space.name, rows, networks=20)
    lines = text.splitlines()
    comments = [line for line in lines if line.startswith("#")]
    assert any("calibrated, not measured" in line for line in comments) and device.hash in comments[0]
    first, *table = csv.DictReader(io.StringIO("\n".join(lines[len(comments) :])))
    assert (first["key"], float(first["ms"])) == ("fixed", fixed_ms(device))
    assert len(table) == len(rows)
    for cells, row in zip(table, rows, strict=True):
        assert float(cells["ms"]) == row.ms and float(cells["floor_ms"]) == row.floor_ms
        assert cells["block"] == row.key.block.type and int(cells["out"]) == row.key.block.out
        assert cells["inside"] == str(row.inside).lower()
        shares = [float(value) for name, value in cells.items() if name.startswith("share_") and value]
        assert sum(shares) == pytest.approx(1 if row.ms else 0, abs=1e-3)


def test_a_block_outside_the_gate_says_so(device: Device) -> None:
    rows = lookup(device, list(network_keys(load_arch("vit_p_4gf"))))
    assert {row.key.block.type for row in rows if not row.inside} >= {"vit_block"}
    assert all(row.inside for row in lookup(device, list(network_keys(load_arch("efficientformer_l1")))))
