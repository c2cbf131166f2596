"""A space in another process."""

import pickle

from hvnas.space import load_space


def test_a_space_travels_to_another_process() -> None:
    space = load_space("efficientformer")
    copy = pickle.loads(pickle.dumps(space))
    assert (copy.hash, copy.name) == (space.hash, space.name)
    assert (copy.cardinalities == space.cardinalities).all()
