"""The free baseline."""

from __future__ import annotations

import numpy as np

from hvnas.accuracy.proxies.acts import ACTS
from hvnas.accuracy.proxies.params import PARAMS
from hvnas.accuracy.proxies.registry import Array, register_count


@register_count("free", PARAMS, ACTS)
def free(values: Array) -> Array:
    """``log(params) + log(acts)``, attention maps included: what every other proxy has to beat.

    No fit and no data. Defined for all layers as `params` and `acts` are. Source: this project, chosen
    because it ranks published networks well, so its own figures on published networks carry a bonus
    of selection. Known failure: a search maximises activations if nothing bounds them; it cannot see
    what costs neither parameters nor activations (BoTNet-26 above ResNet-26 with fewer parameters).
    Cost: a pass over the Program, about a millisecond, no weights allocated.
    """
    scores: Array = np.log(np.maximum(values, 1.0)).sum(axis=1)
    return scores
