"""Shards of a data set in which every sample is evaluated once."""

from syncmetrics.data.samplers import EvalSampler, valid_mask

__all__ = ["EvalSampler", "valid_mask"]
