"""What a supernet needs is known before it is there, and holds every member."""

from __future__ import annotations

import numpy as np
import pytest

from hvnas.arch import load_arch
from hvnas.space import Space, load_space
from hvnas.supernet import Supernet, memory
from hvnas.supernet.supernet import _branch
from hvnas.supernet.weights.composite import Selection
from hvnas.supernet.weights.memory import plan
from hvnas.supernet.weights.variants import described

CLASSES = 10


def test_need_is_what_is_allocated(net: Supernet, tiny: Space) -> None:
    need = memory(tiny, classes=CLASSES)
    assert need == net.need
    assert need.params == sum(tensor.numel() for tensor in net.state_dict().values())
    assert need.bytes == sum(need.parts.values())


def test_no_more_than_the_largest_branches(tiny: Space) -> None:
    """The slots are hardly larger than the largest single module that each was made of."""
    slots = plan(tiny, classes=CLASSES).values()
    largest = sum(
        max(sum(np.prod(d.layout.shape) for d in described(*v).values()) for v in slot.variants)
        for slot in slots
    )
    ratio = sum(slot.elements for slot in slots) / largest
    print(f"supernet over the sum of its largest branches: {ratio:.3f}")
    assert ratio <= 1.1


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_members_lie_inside(tiny: Space, rng: np.random.Generator, count: int) -> None:
    slots = plan(tiny, classes=CLASSES)
    rows = tiny.canonicalise(rng.integers(0, tiny.cardinalities, (count, len(tiny.genes))))
    for row in rows:
        arch, choices = tiny.decode(row).with_(classes=CLASSES), tiny.choices(row)
        for label, block, state in arch.states():
            largest = slots[label, _branch(label, block, state, choices)].layouts
            for name, (layout, _) in described(block, state).items():
                Selection(largest[name], layout)  # refuses what does not fit


def test_too_large_a_space_is_refused_with_its_largest_genes(tiny: Space) -> None:
    with pytest.raises(
        ValueError, match=r"hybrid-tiny needs .* MiB .*narrow its largest genes: stages\.2\.width"
    ) as e:
        Supernet(tiny, memory_share=1e-6)
    assert "\n" not in str(e.value)


def test_need_of_a_restriction_around_a_model_is_about_the_model() -> None:
    arch = load_arch("efficientformer_l1")
    need = memory(load_space("hybrid").around(arch))
    assert arch.lower().params <= need.params <= 1.1 * arch.lower().params
