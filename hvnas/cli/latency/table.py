"""``hvnas latency table``: a device's latency block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvnas import _numbers as numbers
from hvnas.cli._screen import JsonOption, Screen, check_output, print_json, writing

EXAMPLE = "hvnas latency table --device iphone12 --space efficientformer --out blocks.csv"


def run(
    device: Annotated[str, typer.Option(metavar="NAME|FILE", help="The device: see hvnas devices.")],
    out: Annotated[Path, typer.Option(metavar="FILE.csv", help="The table to write.")],
    space: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="The space whose blocks to list: see hvnas spaces.")
    ] = "hybrid-mobile",
    networks: Annotated[
        int, typer.Option(min=1, help="How many networks to draw; their blocks are the rows.")
    ] = 1000,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Write at most this many rows, for the most used blocks.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same networks.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write the lookup table of a device, block by block.

    A row is a block at its input size, with its milliseconds and the share of each kind of op. The fixed cost
    has a row of its own: a network's latency is that cost once, plus its blocks.
    """
    from hvnas._files import write_atomic
    from hvnas.latency import load_device
    from hvnas.latency.provenance import provenance
    from hvnas.latency.tables.block_keys import fixed_ms, lookup, lookup_text, space_keys
    from hvnas.space import load_space

    check_output(out)
    loaded, members = load_device(device), load_space(space)
    keys = space_keys(members, networks, seed=seed)
    rows = lookup(loaded, keys[:limit])
    with writing(out):
        write_atomic(out, lookup_text(loaded, members.name, rows, networks=networks))
    fixed = fixed_ms(loaded)
    if as_json:
        facts = {"table": str(out), "device": loaded.name, "space": members.name, "fixed_ms": fixed}
        print_json(facts | {"rows": len(rows), "blocks": len(keys), "inside": sum(r.inside for r in rows)})
        return
    screen = Screen()
    screen.line(
        f"{out}: {len(rows):,} of {len(keys):,} blocks of {networks:,} networks of {members.name}, "
        f"{sum(row.inside for row in rows):,} of them inside the gate of {loaded.name}."
    )
    screen.line(f"A network takes {numbers.ms(fixed)} ms once (the row fixed), plus its blocks.")
    screen.line(provenance(loaded))
