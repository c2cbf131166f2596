"""What members share, and what they leave alone."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hvnas.arch import Arch
from hvnas.blocks.base import list_blocks
from hvnas.nn.weights import read_safetensors, save_weights
from hvnas.space import Space, load_space
from hvnas.supernet import Supernet

BATCH = 4


@pytest.fixture(scope="module")
def another(tiny: Space) -> Supernet:
    """A second supernet of the same space, hardly any of whose members is built yet."""
    return Supernet(tiny, classes=10).eval()


def images() -> torch.Tensor:
    return torch.randn(BATCH, 3, 64, 64)


def train_once(net: Supernet, arch: Arch) -> set[str]:
    """Names of the tensors that a step of plain SGD on `arch` changes."""
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.train().set(arch)
    net.zero_grad()
    F.cross_entropy(net(images()), torch.arange(BATCH)).backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    return {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}


def types_in(space: Space) -> set[str]:
    spec = space.spec
    offered = {name for stage in spec.stages for name in (*stage.local, *stage.global_)}
    return {spec.blocks[name].block.type for name in offered}  # type: ignore[union-attr]


def test_tiny_has_every_block(tiny: Space) -> None:
    assert types_in(tiny) == set(list_blocks("body")) - {"identity"}


def test_blocks_that_do_nothing_are_members_of_a_supernet_too(rng: np.random.Generator) -> None:
    space = load_space("nas-bench-macro")
    assert "identity" in types_in(space)
    net = Supernet(space).eval()
    x = torch.randn(BATCH, 3, 32, 32)
    archs = [net.sample(rng) for _ in range(8)]
    assert any(
        run.block.type == "identity" for arch in archs for stage in arch.stages for _, run in stage.runs
    )
    for arch in archs:
        alone = net.extract(arch).eval()
        net.set(arch)
        with torch.no_grad():
            torch.testing.assert_close(net(x), alone(x))


def test_tiny_is_tiny(net: Supernet, rng: np.random.Generator) -> None:
    macs = [net.sample(rng).lower().macs for _ in range(200)]
    assert 10e6 < np.median(macs) < 60e6


@pytest.mark.parametrize("seed", range(3))
def test_a_step_changes_what_the_member_uses_and_no_more(net: Supernet, seed: int) -> None:
    arch = net.sample(np.random.default_rng(seed))
    changed = train_once(net, arch)
    prefixes = {name.rpartition(".")[0] for name in net.active_parameters()}
    assert {name.rpartition(".")[0] for name in changed} <= prefixes
    unreached = {
        name
        for name, parameter in net.active_parameters().items()
        if parameter.grad is None and "matrix" not in name
    }
    assert not unreached, unreached


def test_two_members_share_slices_and_nothing_else(net: Supernet, rng: np.random.Generator) -> None:
    """Behind the step of a smaller member of the same types, the larger differs in the slices only."""
    large = net.grown(net.sample(rng))
    small = net.shrunk(large)
    assert small.lower().macs < large.lower().macs
    net.set(large)
    whole = net.active_parameters()
    before = {name: parameter.detach().clone() for name, parameter in whole.items()}
    changed = train_once(net, small)
    net.set(small)
    own = {name: parameter.shape for name, parameter in net.extract().named_parameters()}
    stem = next(name for name in own if name.startswith("stem") and name.endswith("weight"))
    shared = next(name for name in changed if name.startswith("stem") and name.endswith(stem[5:]))
    difference = (whole[shared].detach() != before[shared]).nonzero()
    assert len(difference) and (difference < torch.tensor(own[stem])).all()


def test_running_statistics_are_written_to_the_shared_buffers(net: Supernet, tiny: Space) -> None:
    bneck = [preset for preset in tiny.spec.stages[0].local if preset == "bneck_lite"]
    assert bneck
    for seed in range(40):
        arch = net.sample(np.random.default_rng(seed))
        run = arch.stages[0].local
        if run is not None and run.block.type == "bneck_lite" and run.block.expand == 2:  # type: ignore[attr-defined]
            break
    before = {name: b.clone() for name, b in net.named_buffers()}
    net.train().set(arch)
    with torch.no_grad():
        net(images())
    changed = {name for name, b in net.named_buffers() if not torch.equal(b, before[name])}
    assert any("bneck_lite.body.depthwise.norm.running_mean" in name for name in changed)
    wanted = net.extract().state_dict()["stages.0.local.0.body.depthwise.norm.running_mean"]
    shared = dict(net.named_buffers())["stages.0.local.0.bneck_lite.body.depthwise.norm.running_mean"]
    assert wanted.numel() < shared.numel()
    assert set(wanted.tolist()) <= set(shared.tolist())


def test_weights_travel_by_readable_names(net: Supernet, another: Supernet, tmp_path: Path) -> None:
    file = tmp_path / "supernet.safetensors"
    save_weights(net.state_dict(), file)
    another.load_state_dict(read_safetensors(file))
    assert "stages.0.local.0.mb4d.mlp.fc1.weight" in another.state_dict()
    x = images()
    net.set(net.smallest)
    another.set(another.smallest)
    with torch.no_grad():
        assert torch.equal(net(x), another(x))


def test_a_deep_copy_is_apart(net: Supernet) -> None:
    net.set(net.smallest)
    x = images()
    with torch.no_grad():
        before = net(x)
        twin = copy.deepcopy(net)
        for parameter in net.parameters():
            parameter.zero_()
        assert torch.equal(twin(x), before)
        assert not torch.equal(net(x), before)


def test_autocast(net: Supernet) -> None:
    net.train().set(net.smallest)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = F.cross_entropy(net(images()).float(), torch.arange(BATCH))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.active_parameters().values())


def test_another_precision_moves_the_members_too(net: Supernet) -> None:
    twin = copy.deepcopy(net).double()
    assert twin(images().double()).dtype == torch.float64


def test_members_outside_are_refused_by_name(net: Supernet) -> None:
    arch = replace(net.smallest, stem=net.smallest.stem.with_(out=20))
    with pytest.raises(ValueError, match=r"stem\.width 20 is not among"):
        net.set(arch)


def test_classes_and_resolution(tiny: Space) -> None:
    net = Supernet(tiny, classes=7, resolution=32).eval()
    arch = net.sample(np.random.default_rng(0))
    assert (arch.head.out, arch.resolution) == (7, 32)
    net.set(arch)
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    assert net.grown(arch).resolution == 32


def test_stochastic_depth_grows_over_the_blocks(net: Supernet) -> None:
    net.train().set(net.largest, drop_path=0.2)
    rates = [part.drop_path for part in net.active if ".local." in part.name or ".global." in part.name]
    assert rates[0] == 0 and rates[-1] == pytest.approx(0.2) and rates == sorted(rates)
    net.set(net.largest)
    assert not any(part.drop_path for part in net.active)


def test_extremes(net: Supernet, rng: np.random.Generator) -> None:
    sizes = [net.sample(rng).lower().macs for _ in range(300)]
    assert net.smallest.lower().macs <= min(sizes)
    assert net.largest.lower().macs >= max(sizes)


def test_draws_are_uniform_over_types(net: Supernet) -> None:
    rng = np.random.default_rng(2)
    types = [net.sample(rng).stages[0].local.block.type for _ in range(400)]  # type: ignore[union-attr]
    counts = dict(zip(*np.unique(types, return_counts=True), strict=True))
    assert len(counts) == 8
    assert counts.pop("mobileformer") > 0  # where there are no tokens the rules put its neighbour
    assert max(counts.values()) < 2 * min(counts.values())


def test_new_modules_draw_no_numbers(another: Supernet, rng: np.random.Generator) -> None:
    before = torch.random.get_rng_state()
    for _ in range(20):
        another.set(another.sample(rng))
    assert torch.equal(torch.random.get_rng_state(), before)
