"""Metrics of images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from tests.natives.native import Native, Samples

__all__ = ["ROWS", "ssim"]


def images(n: int, gen: torch.Generator) -> Samples:
    target = torch.rand(n, 2, 12, 13, generator=gen)
    return target + 0.2 * torch.randn(target.shape, generator=gen), target


def volumes(n: int, gen: torch.Generator) -> Samples:
    target = torch.rand(n, 1, 7, 8, 9, generator=gen)
    return target + 0.2 * torch.randn(target.shape, generator=gen), target


def psnr(preds: Tensor, target: Tensor, width: float | None = None, base: float = 10.0) -> float:
    p, t = preds.double().numpy(), target.double().numpy()
    width = t.max() - t.min() if width is None else width
    return float(10 * math.log(width**2 / ((p - t) ** 2).mean(), base))


def each_psnr(preds: Tensor, target: Tensor, width: float) -> list[float]:
    return [psnr(one, other, width) for one, other in zip(preds, target, strict=True)]


def ssim(
    preds: Tensor,
    target: Tensor,
    *,
    sigma: float | tuple[float, ...] = 1.5,
    uniform: tuple[int, ...] | None = None,
    width: float | None = None,
    k1: float = 0.01,
    k2: float = 0.03,
) -> list[float]:
    """Give the value of each image, with the filters of scipy."""

    def blur(channel: np.ndarray) -> np.ndarray:
        if uniform is not None:
            return ndimage.uniform_filter(channel, uniform, mode="mirror")
        return ndimage.gaussian_filter(channel, sigma, truncate=3.5, mode="mirror")

    values = []
    for one, other in zip(preds.double().numpy(), target.double().numpy(), strict=True):
        span = max(np.ptp(one), np.ptp(other)) if width is None else width
        c1, c2 = (k1 * span) ** 2, (k2 * span) ** 2
        maps = []
        for x, y in zip(one, other, strict=True):
            mx, my = blur(x), blur(y)
            vx, vy, vxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
            maps.append((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
        values.append(float(np.mean(maps)))
    return values


def mean_ssim(preds: Tensor, target: Tensor, **kwargs: Any) -> float:
    values = ssim(preds, target, **kwargs)
    return sum(values) / len(values)


_DIMS = (1, 2, 3)
ROWS: list[Native] = [
    Native("PeakSignalNoiseRatio", images, truth=psnr, exact=False, peer=False),
    Native(
        "PeakSignalNoiseRatio",
        images,
        {"data_range": 2.0, "base": 2.0},
        truth=lambda preds, target: psnr(preds, target, 2.0, 2.0),
        exact=False,
    ),
    Native(
        "PeakSignalNoiseRatio",
        images,
        {"data_range": (0.0, 0.5)},
        truth=lambda preds, target: psnr(preds.clamp(0.0, 0.5), target.clamp(0.0, 0.5), 0.5),
        exact=False,
    ),
    Native(
        "PeakSignalNoiseRatio",
        images,
        {"data_range": 1.0, "dim": _DIMS},
        truth=lambda preds, target: float(np.mean(each_psnr(preds, target, 1.0))),
        exact=False,
    ),
    Native(
        "PeakSignalNoiseRatio",
        images,
        {"data_range": 1.0, "dim": _DIMS, "reduction": "sum"},
        truth=lambda preds, target: sum(each_psnr(preds, target, 1.0)),
        exact=False,
    ),
    Native(
        "PeakSignalNoiseRatio",
        images,
        {"data_range": 1.0, "dim": _DIMS, "reduction": "none"},
        truth=lambda preds, target: each_psnr(preds, target, 1.0),
        exact=False,
    ),
    Native("StructuralSimilarityIndexMeasure", images, truth=mean_ssim, exact=False, peer=False),
    Native(
        "StructuralSimilarityIndexMeasure",
        images,
        {"data_range": 1.0, "k1": 0.02, "k2": 0.05},
        truth=lambda preds, target: mean_ssim(preds, target, width=1.0, k1=0.02, k2=0.05),
        exact=False,
    ),
    Native(
        "StructuralSimilarityIndexMeasure",
        images,
        {"data_range": 1.0, "gaussian_kernel": False, "kernel_size": (3, 5), "reduction": "sum"},
        truth=lambda preds, target: sum(ssim(preds, target, uniform=(3, 5), width=1.0)),
        exact=False,
    ),
    Native(
        "StructuralSimilarityIndexMeasure",
        images,
        {"data_range": (0.1, 0.9), "sigma": (0.8, 1.2), "reduction": "none"},
        truth=lambda preds, target: ssim(
            preds.double().clamp(0.1, 0.9), target.double().clamp(0.1, 0.9), sigma=(0.8, 1.2), width=0.8
        ),
        exact=False,
    ),
    Native(
        "StructuralSimilarityIndexMeasure",
        volumes,
        {"data_range": 1.0, "sigma": 1.0, "kernel_size": 9},
        truth=lambda preds, target: mean_ssim(preds, target, sigma=1.0, width=1.0),
        exact=False,
    ),
]
