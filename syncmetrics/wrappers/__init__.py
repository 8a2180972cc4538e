"""Metrics around a metric: they have no states of their own, and no sync of their own."""

from syncmetrics.wrappers.classwise import ClasswiseWrapper

__all__ = ["ClasswiseWrapper"]
