"""``hvnas weights``: weights of other code bases for our networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvnas import _numbers as numbers
from hvnas.cli._group import add_command, new_group
from hvnas.cli._screen import JsonOption, Screen, print_json

EXAMPLE = "hvnas weights import l1.pth --arch efficientformer_l1 --out l1.safetensors"

app = new_group("Weights of other code bases for our networks.")


def run(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A safetensors file, or a state dict of torch.save.")
    ],
    arch: Annotated[str, typer.Option(help="A model's name, or a network's YAML file.")],
    out: Annotated[Path, typer.Option(help="The safetensors file to write.")],
    source: Annotated[
        str | None,
        typer.Option(
            metavar="timm|official", help="The code base that named the tensors. Default: the one that fits."
        ),
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="Whose converter reads the file. Default: the model's own family.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="Classes of the checkpoint. Default: the model's.")
    ] = None,
    averaged: Annotated[
        bool,
        typer.Option("--ema/--no-ema", help="Which to read: the weights or their moving average."),
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Convert a checkpoint of timm or of a paper's authors.

    Every tensor is checked against the network. If one is missing, left over or has another shape, nothing
    is written.
    """
    from hvnas._files import check_parent
    from hvnas.arch import load_arch
    from hvnas.arch.edits import resized
    from hvnas.nn.foreign.checkpoint import import_weights
    from hvnas.nn.weights import save_weights

    check_parent(out)
    network = load_arch(arch)
    family = family or (network.published or {}).get("family")
    if classes is not None:
        network = resized(network, classes=classes)
    imported = import_weights(checkpoint, network, source=source, family=family, averaged=averaged)
    metadata = {
        "arch": network.name,
        "arch_hash": network.hash,
        "source": imported.source,
        "source_file": checkpoint.name,
        "source_part": imported.part,
    }
    save_weights(imported.state, out, metadata=metadata)
    params = network.lower().params
    if as_json:
        print_json({"out": str(out), "tensors": len(imported.state), "params": params, **metadata})
        return
    Screen().line(
        f"{out}: {len(imported.state)} tensors, {numbers.millions(params)} M params of {network.name}, "
        f"read from {checkpoint.name}{f', {imported.part}' if imported.part else ''} ({imported.source})"
    )


add_command(app, "import", run, example=EXAMPLE)
