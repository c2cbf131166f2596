"""The moves of slimming, in spaces of one family and of many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvnas.space import Space, load_space
from hvnas.supernet.slimming import CONVERT, IDENTITY, NARROW, Move, Moves, Scores

FILES = Path(__file__).parent
# Positions that matter more, and a type that does.
SCORES: Scores = {
    "stages.0.local.0": {"mb4d": 2.0, "conv_residual": 9.0},
    "stages.0.local.1": {"mb4d": 2.0, "conv_residual": 7.0},
    "stages.1.local.0": {"mb4d": 8.0},
    "stages.2.local.0": {"mb4d": 4.0},
    "stages.2.local.1": {"mb4d": 3.0},
    "stages.2.global.0": {"mb3d": 6.0},
    "stages.2.global.1": {"mb3d": 5.0},
}


@pytest.fixture(scope="module")
def moves() -> Moves:
    return Moves(load_space(FILES / "slim.yaml"), SCORES)


def shape_of(moves: Moves, row: np.ndarray) -> dict[str, object]:
    """Depths and widths by gene."""
    return {
        gene.name: moves.value(row, gene.name)
        for gene in moves.space.genes
        if gene.name.endswith(("depth", "width")) and len(gene.values) > 1
    }


def test_it_starts_with_all_that_the_order_allows(moves: Moves) -> None:
    row = moves.start()
    assert shape_of(moves, row) == {
        "stages.0.width": 48,
        "stages.0.local.depth": 2,
        "stages.1.width": 64,
        "stages.1.local.depth": 1,
        "stages.1.global.depth": 0,
        "stages.2.width": 128,
        "stages.2.local.depth": 2,
        "stages.2.global.depth": 2,
    }
    assert moves.value(row, "stages.0.local.type") == "conv_residual", "the more important type"
    assert moves.value(row, "stages.2.local.expand") == 3
    assert moves.importance(row, "stages.0.local") == 16.0
    assert moves.stage_importance(row, 2) == 18.0


def test_order_is_of_the_whole_network(moves: Moves) -> None:
    row = moves.start()
    assert moves.in_order(row)
    row[moves.column["stages.1.global.depth"]] = 1
    assert not moves.in_order(row), "a local run stands behind this one"


def test_identity_takes_the_least_important_block(moves: Moves) -> None:
    move = moves.identity(moves.start())
    assert move is not None
    assert (move.kind, move.part, move.lost) == (IDENTITY, "stages.2.local.1", 3.0)
    assert moves.depth(move.row, "stages.2.local") == 1


def test_the_first_global_block_becomes_a_local_one_where_there_is_room(moves: Moves) -> None:
    full = moves.convert(moves.start())
    assert full is not None
    assert (moves.depth(full.row, "stages.2.local"), moves.depth(full.row, "stages.2.global")) == (2, 1)
    assert full.lost == 5.0
    shorter = moves.identity(moves.start())
    assert shorter is not None
    move = moves.convert(shorter.row)
    assert move is not None and move.kind == CONVERT
    assert (moves.depth(move.row, "stages.2.local"), moves.depth(move.row, "stages.2.global")) == (2, 1)
    assert move.lost == 5.0 - 3.0
    assert move.change == "depth 2 -> 1, local depth 1 -> 2"


def test_an_empty_local_run_is_begun_by_conversion(moves: Moves) -> None:
    row = moves.start()
    row[moves.column["stages.2.local.depth"]] = 0
    move = moves.convert(moves.space.canonicalise(row[None])[0])
    assert move is not None
    assert (moves.depth(move.row, "stages.2.local"), moves.depth(move.row, "stages.2.global")) == (1, 1)


def test_the_least_important_stage_is_narrowed_by_16(moves: Moves) -> None:
    move = moves.narrow(moves.start())
    assert move is not None
    assert (move.kind, move.part, move.change) == (NARROW, "stages.1", "width 64 -> 48")
    assert move.lost == pytest.approx(8.0 / 4)
    again = moves.narrow(move.row)
    assert again is not None, "stage 1 is as narrow as it gets: the next one's turn"
    assert (again.part, again.change) == ("stages.0", "width 48 -> 32")
    last = moves.narrow(again.row)
    assert last is not None
    assert (last.part, last.change) == ("stages.0", "width 32 -> 24"), "no 16: the next that there is"


def test_the_frontier_is_every_size_by_itself(moves: Moves) -> None:
    row = moves.start()
    frontier = moves.frontier(row)
    parts = [(move.kind, move.part) for move in frontier]
    assert ("shrink", "stages.2.global") in parts and ("shrink", "stages.0.local") not in parts
    assert parts.count((NARROW, "stages.0")) == 1
    for move in frontier:
        depths = moves.space.choices(move.row).keys()
        changed = [name for name in depths if moves.value(row, name) != moves.value(move.row, name)]
        assert len(changed) == 1, "conversion without room takes a block, too"


def walks(moves: Moves, *, most: int = 400) -> list[list[Move]]:
    """Ways from the start to where no action is left, each preferring another kind."""
    ways = []
    for preferred in (IDENTITY, CONVERT, NARROW):
        row = moves.start()
        way: list[Move] = []
        while (actions := moves.actions(row)) and len(way) < most:
            way.append(min(actions, key=lambda move: move.kind != preferred))
            row = way[-1].row
        ways.append(way)
    return ways


@pytest.mark.parametrize(
    "space", [FILES / "slim.yaml", "hybrid-tiny", "efficientformer", "efficientformerv2", "coatnet", "vit"]
)
def test_every_way_stays_in_the_space_in_order_and_ends(space: str | Path) -> None:
    loaded = load_space(space)
    moves = Moves(loaded, {})
    start = loaded.decode(moves.start())
    for way in walks(moves):
        assert 3 < len(way) < 400
        rows = np.stack([move.row for move in way])
        assert np.array_equal(loaded.canonicalise(rows), rows)
        assert len(np.unique(rows, axis=0)) == len(rows)
        assert all(moves.in_order(row) for row in rows)
        last = loaded.decode(rows[-1])
        assert last in loaded
        assert last.lower().macs < start.lower().macs / 2


def test_a_space_without_such_networks_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mixed.yaml"
    text = (FILES / "slim.yaml").read_text()
    text = text.replace("global_depth: [0, 1]\n", "global_depth: [1]\n").replace(
        "local_depth: [0, 1, 2]\n", "local_depth: [1, 2]\n"
    )
    file.write_text(text)
    with pytest.raises(ValueError, match="holds no network with all local blocks before the global ones"):
        Moves(load_space(file), {}).start()


def test_swaps_reach_what_the_actions_do_not(moves: Moves) -> None:
    row = moves.start()
    found = [move for move in moves.swaps(row) if move.part == "stages.0.local.type"]
    assert [move.change for move in found] == ["conv_residual -> mb4d"]
    assert found[0].lost == pytest.approx(16.0 - 4.0)


def test_scores_of_a_larger_space_do_for_a_restriction(moves: Moves) -> None:
    whole: Space = load_space("hybrid-tiny")
    start = Moves(whole, SCORES).start()
    assert Moves(whole, SCORES).value(start, "stages.0.local.type") == "conv_residual"
