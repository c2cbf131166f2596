"""Several processes that train one network: the same steps as one process with the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from hvnas.train.process_group import DistributedGroup, ProcessGroup


@pytest.fixture
def group() -> Iterator[DistributedGroup]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield DistributedGroup(torch.device("cpu"))
    finally:
        dist.destroy_process_group()


def test_a_group_of_one_is_a_process_alone(group: DistributedGroup) -> None:
    alone = ProcessGroup()
    assert (group.rank, group.count, group.first) == (alone.rank, alone.count, alone.first)
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    net[2].requires_grad_(False)
    net(torch.randn(4, 2)).sum().backward()
    before = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    assert group.average(net, 0.5) == alone.average(net, 0.5) == 0.5
    after = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert net[2].weight.grad is None
    assert [group.any(flag) for flag in (True, False)] == [True, False]
    assert group.from_first(lambda: 99.25) == 99.25
    state = torch.get_rng_state()
    assert torch.equal(group.gather(state)[0], state)


CHILD = """
import sys
import numpy as np, torch, torch.distributed as dist
from torch import nn
from hvnas.train.data import ArraySplit, Data
from hvnas.train.trainer import Trainer
from hvnas.train.process_group import DistributedGroup, ProcessGroup
from hvnas.train.recipes import Recipe
from hvnas.train.settings import Optimizer, Training

rank, count, store, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
torch.set_num_threads(1)
if count > 1:
    dist.init_process_group("gloo", store=dist.FileStore(store, count), rank=rank, world_size=count)
rng = np.random.default_rng(0)
split = ArraySplit(rng.integers(0, 255, (24, 3, 8, 8)).astype(np.uint8), np.arange(24) % 2)
names = ("a", "b")
data = Data(name="noise", key="noise", train=split, val=split, test=split, class_names=names, resolution=8)
torch.manual_seed(0)
net = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Tanh(), nn.Linear(8, 2))
recipe = Recipe("mine", 3, False, "basic", "", Training(batch=8, optimizer=Optimizer(name="sgd", lr=0.1)))
trainer = Trainer(net, data, recipe=recipe, device="cpu", checkpoint=out,
                  peers=DistributedGroup(torch.device("cpu")) if count > 1 else ProcessGroup())
result = trainer.run()
assert trainer.identity.get("workers", 1) == count
torch.save({"weights": net.state_dict(), "loss": [e.loss for e in result.history]}, f"{out}.{rank}")
"""


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    runs = {1: tmp_path / "one", 2: tmp_path / "two"}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(rank), str(count), str(tmp_path / "store"), str(out)],
            env={**os.environ, "PYTHONPATH": str(Path.cwd()), "GLOO_SOCKET_IFNAME": "lo"},
        )
        for count, out in runs.items()
        for rank in range(count)
    ]
    assert [child.wait(timeout=300) for child in children] == [0, 0, 0]
    one, *two = [torch.load(tmp_path / name) for name in ("one.0", "two.0", "two.1")]
    assert all(torch.equal(two[0]["weights"][key], two[1]["weights"][key]) for key in one["weights"])
    assert all(
        torch.allclose(two[0]["weights"][key], one["weights"][key], atol=1e-5) for key in one["weights"]
    )
    assert two[0]["loss"] == pytest.approx(one["loss"], abs=1e-5)
    assert two[1]["loss"] == two[0]["loss"]
