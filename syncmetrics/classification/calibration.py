"""Calibration: how far the confidence of predictions is from how often they are right."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import torch
from torch import Tensor

from syncmetrics.classification._inputs import Labels, binary_labels, count_keys, multiclass_targets
from syncmetrics.classification._range import add_range, are_logits, widen
from syncmetrics.classification._thresholds import check_scores, refuse_nan, sigmoid_of, softmax_of
from syncmetrics.classification.counts import LabelMetric
from syncmetrics.classification.readings import of_task
from syncmetrics.family.checks import accumulate_dtype, check_choice, check_int, zero_count
from syncmetrics.family.exact import fractions_of, from_parts, in_parts
from syncmetrics.family.offenders import reads_data

__all__ = [
    "BinaryCalibrationCurve",
    "BinaryCalibrationError",
    "CalibrationCurve",
    "CalibrationError",
    "MulticlassCalibrationCurve",
    "MulticlassCalibrationError",
]

_NORMS = ("l1", "l2", "max")


class _Calibration(LabelMetric):
    """Count predictions by confidence, and sum confidences, each rounded to a multiple of 2**-53: all are integers.

    Args:
        n_bins: How many bins there are from 0 to 1.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check.
        **kwargs: Arguments of `Metric`.
    """

    higher_is_better: bool | None = None
    counts: Tensor  # by reading (scores as they are, and as logits), bin, and whether the prediction is right
    confidences: Tensor  # by reading and bin: the sums of the high and the low parts
    lowest: Tensor
    highest: Tensor

    def __init__(self, n_bins: int, ignore_index: int | None, validate_args: bool, **kwargs: Any) -> None:
        super().__init__(ignore_index=ignore_index, validate_args=validate_args, **kwargs)
        check_int(type(self).__name__, "n_bins", n_bins, minimum=1)
        self.n_bins = n_bins
        self.add_state("counts", zero_count(2, n_bins, 2), dist_reduce_fx="sum")
        self.add_state("confidences", zero_count(2, n_bins, 2), dist_reduce_fx="sum")
        add_range(self)

    def _bins(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give, by bin, how many predictions there are, how many of them are right, and the sum of confidences."""
        self._tell_invalid()
        is_logit = are_logits(self)
        counts = torch.where(is_logit, self.counts[1], self.counts[0])
        parts = torch.where(is_logit, self.confidences[1], self.confidences[0])
        confidence = from_parts(parts[:, 0], parts[:, 1], accumulate_dtype(self.device))
        return counts.sum(dim=1).to(confidence.dtype), counts[:, 1].to(confidence.dtype), confidence

    def _add(self, scores: Tensor, labels: Labels, is_right: Tensor, confidences: tuple[Tensor, Tensor]) -> None:
        """Add predictions.

        Args:
            scores: As they were given.
            labels: Which samples count.
            is_right: Int64 of shape (N,), 0 or 1.
            confidences: Of scores as they are, and as logits, in float64 and of shape (N,).
        """
        self._note(labels)
        if not scores.numel():
            return
        low = widen(self, scores, labels.left_out_of(scores))
        if self.validate_args and reads_data(low):
            refuse_nan(type(self).__name__, low, scores)
        both = torch.stack(confidences).nan_to_num(0.0).clamp(0, 1)
        edges = torch.arange(1, self.n_bins, device=both.device, dtype=both.dtype) / self.n_bins
        reading = torch.arange(2, device=both.device).unsqueeze(1) * self.n_bins
        bins = torch.bucketize(both, edges, right=True) + reading
        size = 2 * self.n_bins
        if labels.left_out is not None:
            bins = bins.masked_fill(labels.left_out, size)
        keys = bins * 2 + is_right
        counts = count_keys(keys.clamp(max=2 * size), 2 * size)
        self.counts = self.counts + counts.view(self.counts.shape)
        parts = torch.stack(in_parts(fractions_of(both)), dim=-1).view(-1, 2)
        sums = torch.zeros(size + 1, 2, dtype=torch.int64, device=both.device).index_add_(0, bins.flatten(), parts)
        self.confidences = self.confidences + sums[:size].view(self.confidences.shape)


class _Binary(_Calibration):
    """Two classes: the confidence is the score of class 1, and a prediction is right if the class is 1."""

    @property
    def _num_labels(self) -> int:
        return 2

    @property
    def compute_group(self) -> Hashable | None:
        """The same for errors of every norm, and for curves: only `compute` reads which."""
        return ("binary calibration", self.n_bins, self.ignore_index, self.validate_args)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples.

        Args:
            preds: Float scores (N, ...): probabilities, or logits if any of them, in all batches and on all ranks,
                lies outside of [0, 1]. N may be 0.
            target: Integer or bool labels of the same shape.

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: The shapes differ, a label is neither 0 nor 1, or a score is NaN.
        """
        name = type(self).__name__
        check_scores(name, preds)
        labels = binary_labels(name, preds.detach(), target, ignore_index=self.ignore_index)
        scores = labels.preds.to(accumulate_dtype(preds.device))
        self._add(scores, labels, labels.target, (scores, sigmoid_of(scores)))


class _Multiclass(_Calibration):
    """Many classes: the confidence is the highest score, and a prediction is right if its class is the true one."""

    def __init__(
        self, num_classes: int, n_bins: int, ignore_index: int | None, validate_args: bool, **kwargs: Any
    ) -> None:
        check_int(type(self).__name__, "num_classes", num_classes, minimum=2)
        super().__init__(n_bins, ignore_index, validate_args, **kwargs)
        self.num_classes = num_classes

    @property
    def _num_labels(self) -> int:
        return self.num_classes

    @property
    def compute_group(self) -> Hashable | None:
        """The same for errors of every norm, and for curves: only `compute` reads which."""
        return ("multiclass calibration", self.num_classes, self.n_bins, self.ignore_index, self.validate_args)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples.

        Args:
            preds: Float scores (N, C, ...): probabilities, or logits if any of them, in all batches and on all ranks,
                lies outside of [0, 1]. N may be 0.
            target: Integer labels (N, ...).

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: Shapes do not fit, a label is out of range, or a score is NaN.
        """
        name = type(self).__name__
        check_scores(name, preds)
        scores, labels = multiclass_targets(
            name, preds.detach(), target, num_classes=self.num_classes, ignore_index=self.ignore_index
        )
        scores = scores.to(accumulate_dtype(preds.device))
        highest, predicted = scores.max(dim=1)
        self._add(scores, labels, (predicted == labels.target).long(), (highest, softmax_of(scores).amax(dim=1)))


class BinaryCalibrationError(_Binary):
    """Average, over bins of confidence, how far the mean confidence is from the part of samples that are of class 1.

    The confidence is the score of class 1. With bins of n samples of N, `l1` (the expected calibration error) is
    `sum(n / N |accuracy - confidence|)`, `l2` is `sqrt(sum(n / N (accuracy - confidence)**2))`, and `max` is the
    largest distance (Guo et al., "On Calibration of Modern Neural Networks", 2017). A bin has its lower edge, and the
    last one the upper, too. Scores outside of [0, 1] are logits, of which the sigmoid is taken.

    Args:
        n_bins: How many bins of equal width there are from 0 to 1.
        norm: "l1", "l2" or "max".
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `n_bins` < 1, or the norm is unknown.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryCalibrationError
        >>> metric = BinaryCalibrationError(n_bins=2)
        >>> metric.update(torch.tensor([0.25, 0.25, 0.55, 0.75, 0.75]), torch.tensor([0, 0, 1, 1, 1]))
        >>> metric.compute()
        tensor(0.2900, dtype=torch.float64)
    """

    higher_is_better = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(
        self,
        n_bins: int = 15,
        norm: str = "l1",
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_bins, ignore_index, validate_args, **kwargs)
        check_choice(type(self).__name__, "norm", norm, _NORMS)
        self.norm = norm

    def compute(self) -> Tensor:
        """Return the error, 0-d in float64; NaN without samples.

        Raises:
            ValueError: If labels were out of range.
        """
        return _error(*self._bins(), self.norm)


class MulticlassCalibrationError(_Multiclass):
    """Average, over bins of confidence, how far the mean confidence is from the part of predictions that are right.

    The confidence is the highest score of a sample. With bins of n samples of N, `l1` (the expected calibration error)
    is `sum(n / N |accuracy - confidence|)`, `l2` is `sqrt(sum(n / N (accuracy - confidence)**2))`, and `max` is the
    largest distance (Guo et al., "On Calibration of Modern Neural Networks", 2017). A bin has its lower edge, and the
    last one the upper, too. Scores outside of [0, 1] are logits, of which the softmax is taken.

    Args:
        num_classes: Number of classes, at least 2.
        n_bins: How many bins of equal width there are from 0 to 1.
        norm: "l1", "l2" or "max".
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_classes` < 2, `n_bins` < 1, or the norm is unknown.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassCalibrationError
        >>> preds = torch.tensor([[0.25, 0.20, 0.55], [0.55, 0.05, 0.40], [0.10, 0.30, 0.60], [0.90, 0.05, 0.05]])
        >>> metric = MulticlassCalibrationError(num_classes=3, n_bins=3)
        >>> metric.update(preds, torch.tensor([0, 1, 2, 0]))
        >>> metric.compute()
        tensor(0.2000, dtype=torch.float64)
    """

    higher_is_better = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(
        self,
        num_classes: int,
        n_bins: int = 15,
        norm: str = "l1",
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, n_bins, ignore_index, validate_args, **kwargs)
        check_choice(type(self).__name__, "norm", norm, _NORMS)
        self.norm = norm

    def compute(self) -> Tensor:
        """Return the error, 0-d in float64; NaN without samples.

        Raises:
            ValueError: If labels were out of range.
        """
        return _error(*self._bins(), self.norm)


class CalibrationError(of_task):
    """Calibration error by task.

    `BinaryCalibrationError` or `MulticlassCalibrationError`.

    Example:
        >>> import torch
        >>> from syncmetrics import CalibrationError
        >>> metric = CalibrationError(task="binary", n_bins=2)
        >>> metric.update(torch.tensor([0.25, 0.25, 0.55, 0.75, 0.75]), torch.tensor([0, 0, 1, 1, 1]))
        >>> metric.compute()
        tensor(0.2900, dtype=torch.float64)
    """

    _classes: ClassVar = {"binary": BinaryCalibrationError, "multiclass": MulticlassCalibrationError}


class BinaryCalibrationCurve(_Binary):
    """Mean confidence, and the part of samples of class 1, in bins of confidence: the reliability diagram.

    (DeGroot and Fienberg, "The Comparison and Evaluation of Forecasters", 1983.) It has the bins of
    `BinaryCalibrationError`, and in a collection with it costs nothing. `plot` draws it beside the diagonal on which
    both are equal.

    Args:
        n_bins: How many bins of equal width there are from 0 to 1.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `n_bins` < 1.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryCalibrationCurve
        >>> metric = BinaryCalibrationCurve(n_bins=2)
        >>> metric.update(torch.tensor([0.25, 0.25, 0.55, 0.75, 0.75]), torch.tensor([0, 0, 1, 1, 0]))
        >>> confidence, accuracy, count = metric.compute()
        >>> confidence, accuracy, count
        (tensor([0.2500, 0.6833], dtype=torch.float64), tensor([0.0000, 0.6667], dtype=torch.float64), tensor([2, 3]))
    """

    plot_kind = "calibration"

    def __init__(
        self, n_bins: int = 15, ignore_index: int | None = None, validate_args: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(n_bins, ignore_index, validate_args, **kwargs)

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean confidences, parts that are of class 1, and counts, each of shape (n_bins,) and by bin.

        The first two are in float64, and NaN where a bin is empty.

        Raises:
            ValueError: If labels were out of range.
        """
        return _curve(*self._bins())


class MulticlassCalibrationCurve(_Multiclass):
    """Mean confidence, and the part of predictions that are right, in bins of confidence: the reliability diagram.

    (Guo et al., "On Calibration of Modern Neural Networks", 2017.) It has the bins of `MulticlassCalibrationError`, and
    in a collection with it costs nothing. `plot` draws it beside the diagonal on which both are equal.

    Args:
        num_classes: Number of classes, at least 2.
        n_bins: How many bins of equal width there are from 0 to 1.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_classes` < 2, or `n_bins` < 1.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassCalibrationCurve
        >>> preds = torch.tensor([[0.25, 0.20, 0.55], [0.55, 0.05, 0.40], [0.10, 0.30, 0.60], [0.90, 0.05, 0.05]])
        >>> metric = MulticlassCalibrationCurve(num_classes=3, n_bins=2)
        >>> metric.update(preds, torch.tensor([0, 1, 2, 0]))
        >>> confidence, accuracy, count = metric.compute()
        >>> confidence[1], accuracy[1], count
        (tensor(0.6500, dtype=torch.float64), tensor(0.5000, dtype=torch.float64), tensor([0, 4]))
    """

    plot_kind = "calibration"

    def __init__(
        self,
        num_classes: int,
        n_bins: int = 15,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, n_bins, ignore_index, validate_args, **kwargs)

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean confidences, parts that are right, and counts, each of shape (n_bins,) and by bin.

        The first two are in float64, and NaN where a bin is empty.

        Raises:
            ValueError: If labels were out of range.
        """
        return _curve(*self._bins())


class CalibrationCurve(of_task):
    """Reliability diagram by task.

    `BinaryCalibrationCurve` or `MulticlassCalibrationCurve`.

    Example:
        >>> import torch
        >>> from syncmetrics import CalibrationCurve
        >>> metric = CalibrationCurve(task="binary", n_bins=2)
        >>> metric.update(torch.tensor([0.25, 0.25, 0.55, 0.75, 0.75]), torch.tensor([0, 0, 1, 1, 0]))
        >>> confidence, accuracy, count = metric.compute()
        >>> accuracy
        tensor([0.0000, 0.6667], dtype=torch.float64)
    """

    _classes: ClassVar = {"binary": BinaryCalibrationCurve, "multiclass": MulticlassCalibrationCurve}


def _error(count: Tensor, right: Tensor, confidence: Tensor, norm: str) -> Tensor:
    share = count / count.sum()
    apart = (right - confidence).abs() / count.clamp(min=1)
    if norm == "l1":
        return (apart * share).sum()
    if norm == "l2":
        return (apart.square() * share).sum().sqrt()
    return torch.where(count.sum() > 0, apart.amax(), torch.nan)


def _curve(count: Tensor, right: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return confidence / count, right / count, count.long()
