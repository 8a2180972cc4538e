"""Average precision of two classes, the same to the bit for any order and any shards of the samples."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from syncmetrics.classification._scores import PRECISION, BinaryScores
from syncmetrics.family.exact import FRACTION_BITS, join_parts
from syncmetrics.shuffle import Question

__all__ = ["BinaryAveragePrecision"]


class BinaryAveragePrecision(BinaryScores):
    """Precision at each score, averaged over the positive samples: the area under the steps of precision and recall.

    `sum((recall[k] - recall[k-1]) * precision[k])` over the different scores from the highest down, without
    interpolation. The precision at a score is a quotient of two counts; it is rounded once, to a multiple of 2**-53,
    and the sum over the positives is one of integers: it does not depend on the order of the samples. It shares its
    samples with `BinaryAUROC` in a collection.

    Args:
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the inputs for a check before they are kept. Without it a wrong target label
            raises in `compute`.
        shuffle_above: From how many samples on, of all ranks together, each rank gets a share of them by score in
            place of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.
    """

    @property
    def question(self) -> Question:
        """The sum of precisions."""
        return (PRECISION,)

    def compute(self) -> Tensor:
        """Return the value, 0-d in `torch.get_default_dtype()`; 0, with a warning, if there is no positive sample.

        Raises:
            ValueError: A target label, unchecked by `update`, is neither 0 nor 1.
        """
        _, positives, high, low = self.answer()
        if positives == 0:
            name = type(self).__name__
            warnings.warn(f"{name}: no positive sample was given, so the value is returned as 0.", stacklevel=2)
            positives = 1
        value = join_parts(high, low) / (positives << FRACTION_BITS)
        return torch.tensor(value, dtype=torch.get_default_dtype(), device=self.device)
