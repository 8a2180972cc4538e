"""Structural similarity of images."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import (
    accumulate_dtype,
    check_bool,
    check_choice,
    check_int,
    check_number,
    check_same_shape,
    zero_count,
    zero_sum,
)
from syncmetrics.image._ranges import Range, clipped, width_of
from syncmetrics.metric import Metric

__all__ = ["StructuralSimilarityIndexMeasure"]


class StructuralSimilarityIndexMeasure(Metric):
    """Compare means, variances and covariance of two images around each pixel, and average over the pixels.

    The formula is that of Wang et al., "Image quality assessment: from error visibility to structural similarity"
    (2004), for images that are mirrored at their borders. It is computed in float64, in the same way for an image alone
    and in a batch.

    Args:
        gaussian_kernel: Whether pixels around are weighted by a normal distribution; if False, all alike.
        sigma: Its standard deviation, or one for each spatial dimension; the kernel reaches to 3.5 of them.
        kernel_size: Without `gaussian_kernel`, the width of the kernel, odd, or one for each spatial dimension.
        reduction: "elementwise_mean" or "sum" over the images, or "none" or None for one value each.
        data_range: The width of the range of the data, or (lowest, highest), to which the images are cut first. None
            for that of each image or its target, whichever is wider: it does not depend on the rest of the batch.
        k1: What makes the comparison of means stable, as a share of the range.
        k2: What makes the comparison of variances stable.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If one is out of range, or `reduction` is none of these.

    Example:
        >>> import torch
        >>> from syncmetrics.image import StructuralSimilarityIndexMeasure
        >>> preds = torch.arange(256.0).reshape(1, 1, 16, 16) / 255
        >>> metric = StructuralSimilarityIndexMeasure(data_range=1.0)
        >>> metric.update(preds, 0.75 * preds)
        >>> metric.compute()
        tensor(0.9246, dtype=torch.float64)
    """

    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    similarity: Tensor
    total: Tensor
    similarities: list[Tensor]

    def __init__(
        self,
        gaussian_kernel: bool = True,
        sigma: float | Sequence[float] = 1.5,
        kernel_size: int | Sequence[int] = 11,
        reduction: str | None = "elementwise_mean",
        data_range: Range | None = None,
        k1: float = 0.01,
        k2: float = 0.03,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_bool(name, "gaussian_kernel", gaussian_kernel)
        check_choice(name, "reduction", reduction, ("elementwise_mean", "sum", "none", None))
        self._width = None if data_range is None else width_of(name, data_range)
        check_number(name, "k1", k1, above=-1e-300)
        check_number(name, "k2", k2, above=-1e-300)
        self.gaussian_kernel = gaussian_kernel
        self.sigma = tuple(sigma) if isinstance(sigma, Sequence) else sigma
        self.kernel_size = tuple(kernel_size) if isinstance(kernel_size, Sequence) else kernel_size
        for one in self.sigma if isinstance(self.sigma, tuple) else (self.sigma,):
            check_number(name, "sigma", one, above=0)
        for size in self.kernel_size if isinstance(self.kernel_size, tuple) else (self.kernel_size,):
            check_int(name, "kernel_size", size, minimum=1)
            if size % 2 == 0:
                raise ValueError(
                    f"{name}: `kernel_size` must be odd, so that a pixel is in the middle, but is {kernel_size} "
                    f"instead. Pass {size + 1}."
                )
        self.reduction = reduction
        self.data_range = data_range
        self.k1 = k1
        self.k2 = k2
        if self._keeps_each:
            self.add_state("similarities", [], dist_reduce_fx="cat")
        else:
            self.add_state("similarity", zero_sum(), dist_reduce_fx="sum")
            self.add_state("total", zero_count(), dist_reduce_fx="sum")

    @property
    def _keeps_each(self) -> bool:
        return self.reduction in ("none", None)

    @property
    def compute_group(self) -> Hashable | None:
        """The mean and the sum share."""
        kernel = (self.gaussian_kernel, self.sigma if self.gaussian_kernel else self.kernel_size)
        return ("ssim", *kernel, self.data_range, self.k1, self.k2, self._keeps_each)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add images.

        Args:
            preds: Real tensor of any dtype, (N, C, H, W), or (N, C, D, H, W) for volumes.
            target: Real tensor of any dtype and the same shape.

        Raises:
            TypeError: If one is not a tensor or is complex.
            ValueError: If the shapes differ, do not fit the kernel, or an image is too small to be mirrored.
        """
        check_same_shape(type(self).__name__, preds, target)
        kernels = self._kernels(preds)
        dtype = accumulate_dtype(preds.device)
        preds = clipped(preds.detach().to(dtype), self.data_range)
        target = clipped(target.detach().to(dtype), self.data_range)
        values = self._similarities(preds, target, kernels) if preds.numel() else preds.new_zeros(preds.shape[0])
        if self._keeps_each:
            self.similarities.append(values)
        else:
            self.similarity = self.similarity + values.sum()
            self.total = self.total + values.shape[0]

    def compute(self) -> Tensor:
        """Return the value in float64: 0-d, the mean of no images being NaN; or (N,) with reduction "none"."""
        if self._keeps_each:
            empty = torch.zeros(0, dtype=accumulate_dtype(self.device), device=self.device)
            return torch.cat([empty, *self.similarities])
        return self.similarity.clone() if self.reduction == "sum" else self.similarity / self.total

    def _kernels(self, images: Tensor) -> list[list[float]]:
        """Give the weights of the pixels around, for each spatial dimension, as many as the images have."""
        name = type(self).__name__
        spatial = images.ndim - 2
        if spatial not in (2, 3):
            raise ValueError(
                f"{name}: `preds` must have the shape (N, C, H, W) or (N, C, D, H, W), but has {tuple(images.shape)} "
                "instead. Pass `preds.unsqueeze(0)` for a single image with channels."
            )
        argument, setting = ("sigma", self.sigma) if self.gaussian_kernel else ("kernel_size", self.kernel_size)
        each = setting if isinstance(setting, tuple) else (setting,) * spatial
        if len(each) != spatial:
            raise ValueError(
                f"{name}: `{argument}` must be one number or {spatial}, as the images have the shape "
                f"{tuple(images.shape)}, but is {setting} instead. Pass one for each spatial dimension."
            )
        kernels = [_normal(one) if self.gaussian_kernel else [1 / one] * int(one) for one in each]
        for size, kernel in zip(images.shape[2:], kernels, strict=True):
            if images.numel() and size <= len(kernel) // 2:
                raise ValueError(
                    f"{name}: images must be larger than {len(kernel) // 2} pixels to be mirrored at their borders, "
                    f"but have the shape {tuple(images.shape)} instead. Pass a smaller `{argument}`."
                )
        return kernels

    def _similarities(self, preds: Tensor, target: Tensor, kernels: list[list[float]]) -> Tensor:
        """Give the similarity of each image, (N,)."""
        moments = torch.stack((preds, target, preds * preds, target * target, preds * target))
        for dim, kernel in enumerate(kernels, start=3):
            moments = _blurred(moments, kernel, dim)
        mean, other_mean = moments[0], moments[1]
        squares, product = mean.square() + other_mean.square(), mean * other_mean
        variances = (moments[2] - mean.square()).clamp(min=0) + (moments[3] - other_mean.square()).clamp(min=0)
        covariance = moments[4] - product
        width: Tensor | float
        if self._width is None:
            ranges = [image.flatten(1).amax(dim=1) - image.flatten(1).amin(dim=1) for image in (preds, target)]
            width = torch.maximum(*ranges).view(-1, *(1,) * (preds.ndim - 1))
            # Two images of one colour each have no structure to compare: their colours are.
            variances, covariance = (torch.where(width == 0, 0.0, value) for value in (variances, covariance))
        else:
            width = self._width
        stable, other_stable = (self.k1 * width) ** 2, (self.k2 * width) ** 2
        colour = _quotient(2 * product + stable, squares + stable)
        structure = _quotient(2 * covariance + other_stable, variances + other_stable)
        return (colour * structure).flatten(1).mean(dim=1)


def _quotient(upper: Tensor, lower: Tensor) -> Tensor:
    """Divide; where there is nothing on either side, both are alike."""
    return torch.where(lower == 0, 1.0, upper / lower)


def _normal(sigma: float) -> list[float]:
    """Give the weights of a normal distribution, at whole distances up to 3.5 standard deviations."""
    reach = int(3.5 * sigma + 0.5)
    weights = [math.exp(-0.5 * (place / sigma) ** 2) for place in range(-reach, reach + 1)]
    return [weight / math.fsum(weights) for weight in weights]


def _blurred(images: Tensor, kernel: list[float], dim: int) -> Tensor:
    """Average along a dimension, mirrored at its ends: sums of shifted images, so that no image depends on others."""
    size, reach = images.shape[dim], len(kernel) // 2
    places = torch.arange(-reach, size + reach, device=images.device).abs()
    mirrored = images.index_select(dim, (size - 1) - (places - (size - 1)).abs())
    total = torch.zeros_like(images)
    for shift, weight in enumerate(kernel):
        total = total.add_(mirrored.narrow(dim, shift, size), alpha=weight)
    return total
