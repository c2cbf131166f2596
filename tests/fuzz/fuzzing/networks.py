"""Files of networks, spaces, recipes and studies."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from fuzzing.reader import ROOT, Reader, add, command, copied
from hvnas._yaml import dump_yaml
from hvnas.arch import load_arch, save_arch, to_dict
from hvnas.latency.tables.block_keys import keys_of, load_block_key, save_block_key
from hvnas.space import load_space
from hvnas.studies.ablation import load_study
from hvnas.studies.ablation.run import count_rows
from hvnas.train.recipes import load_recipe

SPACES = ROOT / "search_spaces"
FOUND = {
    "space": "hybrid-mobile",
    "space_hash": "0" * 12,
    "choices": {"resolution": 224, "count": 4, "stage1_width": 48},
    "device": "iphone12",
    "device_hash": "1" * 12,
    "budget_ms": 2.0,
    "latency_ms": 1.376,
    "latency_low": 1.2,
    "latency_high": 1.5,
    "p_within_budget": 0.99,
    "inside": True,
    "top1": 79.2,
    "top1_sd": 0.6,
    "recipe": "modern300",
    "seed": 0,
    "version": "0.1.0",
}


def _archs(folder: Path) -> list[tuple[Path, str]]:
    files = []
    for name in (
        "efficientformer_l1",
        "coatnet_0",
        "mobileformer_52m",
        "mobilevit_xxs",
        "efficientformerv2_s0",
    ):
        path = folder / f"{name}.yaml"
        save_arch(load_arch(name), path)
        files.append((path, "yaml"))
    return files


def _read_arch(path: Path) -> None:
    program = load_arch(path).lower()
    assert 0 < program.params < 2**63 and 0 < program.macs < 2**63
    assert math.isfinite(program.peak_bytes)
    dump_yaml(to_dict(load_arch(path)))


def _found(folder: Path) -> list[tuple[Path, str]]:
    path = folder / "found.yaml"
    data = to_dict(load_arch("efficientformer_l1"))
    path.write_text(dump_yaml(data | {"found": FOUND}), encoding="utf-8")
    return [(path, "yaml")]


def _spaces(folder: Path) -> list[tuple[Path, str]]:
    files = []
    for name in ("poolformer", "metaformer-tiny", "hybrid-tiny", "mobileformer", "efficientvit"):
        path = folder / f"{name}.yaml"
        path.write_bytes((SPACES / f"{name}.yaml").read_bytes())
        files.append((path, "yaml"))
    return files


def _read_space(path: Path) -> None:
    space = load_space(path)
    rows = space.sample(3, rng=np.random.default_rng(0))
    for row in rows:
        arch = space.decode(row)
        assert np.array_equal(space.encode(arch), row)
        arch.lower()


def _block_key(folder: Path) -> list[tuple[Path, str]]:
    path = folder / "block.yaml"
    save_block_key(next(iter(keys_of(load_arch("coatnet_0")))), path)
    return [(path, "yaml")]


STUDY = {
    "schema": "hvnas.ablation/1",
    "title": "two stages",
    "device": "iphone12",
    "parts": [
        {
            "name": "depths",
            "base": "poolformer_s12",
            "equal": ["params"],
            "variants": {
                "a": {"published": {"top1": 77.2, "params": 11.9e6, "macs": 1.8e9}, "note": "as published"},
                "b": {"edits": {"stages.0.local.depth": 3}, "published": {"top1": 77.4, "ms": 1.5}},
            },
            "axes": {"@poolformer.pool": [3, 5]},
            "evidence": [],
            "notes": ["of one seed"],
        }
    ],
}


def _study(folder: Path) -> list[tuple[Path, str]]:
    path = folder / "mine.yaml"
    path.write_text(dump_yaml(STUDY), encoding="utf-8")
    return [(path, "yaml")]


add(Reader(name="arch", make=_archs, read=_read_arch))
add(
    Reader(
        name="arch-show",
        make=_found,
        read=lambda path: command("show", path, "--device", "iphone12"),
        share=0.3,
    )
)
add(
    Reader(
        name="arch-show-json",
        make=_found,
        read=lambda path: command("show", path, "--device", "iphone12", "--json"),
        share=0.1,
    )
)
add(
    Reader(
        name="arch-report",
        make=_found,
        read=lambda path: command("report", path, "--out", path.parent / "page.html"),
        share=0.1,
    )
)
add(Reader(name="arch-verify", make=_found, read=lambda path: command("verify", path), share=0.03))
add(Reader(name="space", make=_spaces, read=_read_space))
add(Reader(name="space-check", make=_spaces, read=lambda path: command("spaces", "check", path), share=0.15))
add(Reader(name="space-show", make=_spaces, read=lambda path: command("spaces", "show", path), share=0.15))
add(Reader(name="block-key", make=_block_key, read=load_block_key))
add(
    Reader(
        name="recipe",
        make=copied(ROOT / "hvnas/train/recipes/efficientformer.yaml", "yaml", "own.yaml"),
        read=load_recipe,
    )
)
add(Reader(name="study", make=_study, read=lambda path: count_rows(load_study(path))))
add(Reader(name="study-ablate", make=_study, read=lambda path: command("ablate", path, "--json"), share=0.1))
