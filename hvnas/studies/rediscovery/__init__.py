"""Rediscovery: whether a search that never saw a family comes to that family's layouts."""

from hvnas.studies.rediscovery.coatnet import rediscover_coatnet
from hvnas.studies.rediscovery.efficientformer import rediscover_efficientformer

__all__ = ["rediscover_coatnet", "rediscover_efficientformer"]
