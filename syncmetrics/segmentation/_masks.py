"""Counts of pixels by sample and class, from masks in any of three formats."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from syncmetrics.family.checks import check_bool, check_choice, check_int, check_tensor, zero_count
from syncmetrics.family.offenders import labels_in_range, raise_for_offenders
from syncmetrics.metric import Metric

__all__ = ["MaskMetric", "Pixels"]

_FORMATS = ("one-hot", "index", "mixed")


class Pixels(NamedTuple):
    """Numbers of pixels, int64 of shape (N, C): of a class in both masks, in the prediction, and in the target."""

    both: Tensor
    preds: Tensor
    target: Tensor


class MaskMetric(Metric):
    """Check the settings and count pixels; the subclasses keep scores or counts.

    Args:
        num_classes: The number of classes; None to leave it to the masks.
        include_background: Whether class 0 counts.
        input_format: "one-hot", "index" or "mixed".
        ignore_index: A label of the target to leave out, with what was predicted there.
        **kwargs: Arguments of `Metric`.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    #: How many dimensions masks must have if both are of labels; with a third, (H, W) is not taken for (N, pixels).
    _index_dims = 2
    invalid: Tensor

    def __init__(
        self,
        num_classes: int | None,
        include_background: bool,
        input_format: str,
        ignore_index: int | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_bool(name, "include_background", include_background)
        if num_classes is not None:
            check_int(name, "num_classes", num_classes, minimum=1 if include_background else 2)
        check_choice(name, "input_format", input_format, _FORMATS)
        if ignore_index is not None:
            check_int(name, "ignore_index", ignore_index)
            if input_format == "one-hot":
                raise ValueError(
                    f"{name}: `ignore_index` must be None for one-hot masks, which have no labels, but is "
                    f"{ignore_index} instead. Pass the target as labels, with input_format='index' or 'mixed'."
                )
        self.num_classes = num_classes
        self.include_background = include_background
        self.input_format = input_format
        self.ignore_index = ignore_index
        self.add_state("invalid", zero_count(), dist_reduce_fx="sum")

    @property
    def _mask_settings(self) -> tuple[int | None, bool, str, int | None]:
        return (self.num_classes, self.include_background, self.input_format, self.ignore_index)

    @property
    def _kept_classes(self) -> int:
        """How many classes count."""
        assert self.num_classes is not None
        return self.num_classes - (not self.include_background)

    def _raise_for_offenders(self) -> None:
        raise_for_offenders(self, self.invalid)

    def _count_pixels(self, preds: Tensor, target: Tensor) -> Pixels:
        """Count pixels, and the labels out of range in `invalid`.

        Raises:
            TypeError: A mask is no tensor, or one of labels is not integer.
            ValueError: The shapes do not fit, or a label on a CPU is out of range.
        """
        name = type(self).__name__
        check_tensor(name, "preds", preds)
        check_tensor(name, "target", target)
        by_class = self._find_class_dims(preds, target)
        classes = self._check_classes(preds, target, by_class)
        counted: Tensor | None = None
        if self.ignore_index is not None:
            if by_class[1]:
                raise ValueError(
                    f"{name}: `target` must be labels, as `ignore_index` is one, but is one-hot instead. "
                    "Pass `target.argmax(1)`, or ignore_index=None."
                )
            counted = target.long() != self.ignore_index
        masks: list[Tensor] = []
        for argument, mask, has_classes in (("preds", preds, by_class[0]), ("target", target, by_class[1])):
            if not has_classes:
                labels = mask.detach().long()
                counted, offenders = labels_in_range(name, argument, labels, counted, classes)
                if offenders is not None:
                    self.invalid = self.invalid + offenders
                masks.append(labels)
            else:
                masks.append(mask.detach().argmax(dim=1) if mask.is_floating_point() else mask != 0)
        if all(mask.dtype is torch.int64 for mask in masks):
            pixels = _from_labels(masks[0], masks[1], counted, classes)
        else:
            one, other = (mask if mask.dtype is torch.bool else _members(mask, classes) for mask in masks)
            pixels = _from_members(one, other, counted)
        return pixels if self.include_background else Pixels(*(count[:, 1:] for count in pixels))

    def _find_class_dims(self, preds: Tensor, target: Tensor) -> tuple[bool, bool]:
        """Tell which of the two masks have a dimension of classes, and check that their shapes are alike but for it."""
        name = type(self).__name__
        if self.input_format == "mixed":
            if abs(preds.ndim - target.ndim) != 1:
                raise ValueError(
                    f"{name}: one of `preds` and `target` must have the shape (N, C, ...) and the other (N, ...), but "
                    f"they have {tuple(preds.shape)} and {tuple(target.shape)} instead. Pass input_format='index' or "
                    "'one-hot' if both are alike."
                )
            by_class = (preds.ndim > target.ndim, target.ndim > preds.ndim)
        else:
            by_class = (self.input_format == "one-hot",) * 2
        shapes = []
        for argument, mask, has_classes in (("preds", preds, by_class[0]), ("target", target, by_class[1])):
            least = 2 + has_classes if any(by_class) else self._index_dims
            if mask.ndim < least:
                layout = "(N, C, ...)" if has_classes else "(N, ...)"
                raise ValueError(
                    f"{name}: `{argument}` must have the shape {layout} with {least} dimensions or more, but has "
                    f"{tuple(mask.shape)} instead. Pass `{argument}.unsqueeze(0)` if it is one sample, and the right "
                    "`input_format`."
                )
            if not has_classes and mask.is_floating_point():
                raise TypeError(
                    f"{name}: `{argument}` must be integer labels with input_format={self.input_format!r}, but is "
                    f"{mask.dtype} instead. Pass `{argument}.long()`."
                )
            shapes.append((*mask.shape[:1], *mask.shape[2:]) if has_classes else tuple(mask.shape))
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{name}: `preds` and `target` must be masks of one shape, but have {tuple(preds.shape)} and "
                f"{tuple(target.shape)} instead. Resize one of them; nothing is broadcast."
            )
        return by_class

    def _check_classes(self, preds: Tensor, target: Tensor, by_class: tuple[bool, bool]) -> int:
        """Give the number of classes, checked against the masks."""
        given = [mask.shape[1] for mask, has_classes in zip((preds, target), by_class, strict=True) if has_classes]
        classes = self.num_classes if self.num_classes is not None else given[0]
        if any(number != classes for number in given) or classes < 2 - self.include_background:
            raise ValueError(
                f"{type(self).__name__}: one-hot masks must have the shape (N, {self.num_classes or 'C'}, ...), but "
                f"`preds` and `target` have {tuple(preds.shape)} and {tuple(target.shape)} instead. Correct "
                "`num_classes`, or pass input_format='index' if these are labels."
            )
        return classes


def _from_labels(preds: Tensor, target: Tensor, counted: Tensor | None, classes: int) -> Pixels:
    """Count labels of shape (N, ...), without a mask for each class; what does not count goes to a place of its own."""
    samples = preds.shape[0]
    first = classes * torch.arange(samples, device=preds.device).unsqueeze(1)
    preds, target = preds.flatten(1), target.flatten(1)
    equal = preds == target
    if counted is not None:
        counted = counted.flatten(1)
        equal = equal & counted
    one = torch.ones((), dtype=torch.int64, device=preds.device)

    def tally(labels: Tensor, where: Tensor | None) -> Tensor:
        places = labels + first
        if where is not None:
            places = torch.where(where, places, samples * classes)
        counts = torch.zeros(samples * classes + 1, dtype=torch.int64, device=labels.device)
        counts.scatter_add_(0, places.flatten(), one.expand(places.numel()))
        return counts[:-1].view(samples, classes)

    return Pixels(tally(target, equal), tally(preds, counted), tally(target, counted))


def _from_members(preds: Tensor, target: Tensor, counted: Tensor | None) -> Pixels:
    """Count what is true in masks of shape (N, C, ...)."""
    if counted is not None:
        preds, target = preds & counted.unsqueeze(1), target & counted.unsqueeze(1)
    return Pixels(*(mask.flatten(2).sum(dim=2) for mask in (preds & target, preds, target)))


def _members(labels: Tensor, classes: int) -> Tensor:
    """Give the mask of each class, of shape (N, C, ...)."""
    every = torch.arange(classes, device=labels.device).view(1, -1, *(1,) * (labels.ndim - 1))
    return labels.unsqueeze(1) == every
