"""Batches on Ray's actors; what the batches are is the caller's business.

A pool is given a function that makes the function to call: it is called once in every worker, so that what is
slow to make (a data set, a checkpoint) is made once and not per batch.

    with actor_pool(make, workers=4) as pool:
        for value in pool.map(batches):  # in the order of the batches
            ...
"""

from hvnas.parallel.actors import actor_pool, fitting, room
from hvnas.parallel.cluster import NoRay, joined, ray_cluster
from hvnas.parallel.pool import BatchFailed, Failure, Pool, WorkersLost

__all__ = [
    "BatchFailed",
    "Failure",
    "NoRay",
    "Pool",
    "WorkersLost",
    "actor_pool",
    "fitting",
    "joined",
    "ray_cluster",
    "room",
]
