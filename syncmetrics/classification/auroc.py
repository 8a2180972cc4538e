"""Area under the receiver operating characteristic curve of two classes, exact."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from syncmetrics.classification._scores import AREA, PARTIAL_AREA, BinaryScores
from syncmetrics.shuffle import SHUFFLE_ABOVE, Question

__all__ = ["BinaryAUROC"]


class BinaryAUROC(BinaryScores):
    """Probability that a positive sample scores higher than a negative one, equal scores counting half.

    All scores are kept as they are: any increasing function of them, the sigmoid too, gives the same area. Twice the
    area times the numbers of positives and negatives is an integer (Mann and Whitney 1947, "On a test of whether one
    of two random variables is stochastically larger than the other"); it is summed in int64 and divided once, so the
    value is exact and does not depend on the order of the samples.

    Args:
        max_fpr: If given, the partial area over false positive rates in [0, max_fpr], standardized to 0.5 for chance
            and 1 for perfect (McClish 1989, "Analyzing a portion of the ROC curve").
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the inputs for a check before they are kept. Without it a wrong target label
            raises in `compute`.
        shuffle_above: From how many samples on, of all ranks together, each rank gets a share of them by score in
            place of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `max_fpr` is not in (0, 1].
    """

    def __init__(
        self,
        max_fpr: float | None = None,
        *,
        ignore_index: int | None = None,
        validate_args: bool = True,
        shuffle_above: int | None = SHUFFLE_ABOVE,
        **kwargs: Any,
    ) -> None:
        super().__init__(ignore_index=ignore_index, validate_args=validate_args, shuffle_above=shuffle_above, **kwargs)
        name = type(self).__name__
        if max_fpr is not None and (isinstance(max_fpr, bool) or not isinstance(max_fpr, (int, float))):
            raise TypeError(f"{name}: `max_fpr` must be a float or None, but is {max_fpr!r} instead. Pass e.g. 0.1.")
        if max_fpr is not None and not 0 < max_fpr <= 1:
            raise ValueError(f"{name}: `max_fpr` must be in (0, 1], but is {max_fpr} instead. Pass e.g. 0.1.")
        self.max_fpr = max_fpr

    @property
    def question(self) -> Question:
        """The area, or the part of it up to `max_fpr`."""
        return (AREA,) if self.max_fpr is None or self.max_fpr == 1 else (PARTIAL_AREA, float(self.max_fpr))

    def compute(self) -> Tensor:
        """Return the area, 0-d in `torch.get_default_dtype()`; 0, with a warning, if a class has no sample.

        Raises:
            ValueError: A target label, unchecked by `update`, is neither 0 nor 1.
        """
        negatives, positives, twice_area, *ends = self.answer()
        if positives == 0 or negatives == 0:
            missing = "positive" if positives == 0 else "negative"
            name = type(self).__name__
            warnings.warn(f"{name}: no {missing} sample was given, so the area is returned as 0.", stacklevel=2)
            area = 0.0
        elif ends:
            assert self.max_fpr is not None, "only a limit has points around it"
            area = _standardized_partial_area(negatives, positives, twice_area, ends[0], ends[1], self.max_fpr)
        else:
            area = twice_area / (2 * positives * negatives)
        return torch.tensor(area, dtype=torch.get_default_dtype(), device=self.device)


def _standardized_partial_area(
    negatives: int,
    positives: int,
    twice_area_within: int,
    within: list[int],
    beyond: list[int] | None,
    max_fpr: float,
) -> float:
    """Return the area up to `max_fpr`, standardized as of McClish 1989, eq. (1): `(1 + (A - min) / (max - min)) / 2`.

    The curve is exact up to its last point before the limit; only the piece from there to the limit is interpolated.

    Args:
        negatives: Number of negative samples.
        positives: Number of positive samples.
        twice_area_within: Twice the area up to the last point before the limit, in counts.
        within: False and true positives at that point.
        beyond: Those at the next point, if there is one.
        max_fpr: The limit.
    """
    limit = max_fpr * negatives
    twice_area = float(twice_area_within)
    if beyond is not None:
        (x0, y0), (x1, y1) = within, beyond
        height = (limit - x0) * (y1 - y0) / (x1 - x0)
        twice_area += (limit - x0) * (2 * y0 + height)
    area = twice_area / (2 * positives * negatives)
    smallest, largest = max_fpr**2 / 2, max_fpr
    return 0.5 * (1 + (area - smallest) / (largest - smallest))
