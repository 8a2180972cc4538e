"""Metrics of images: peak signal-to-noise ratio, and structural similarity."""

from syncmetrics.image.psnr import PeakSignalNoiseRatio
from syncmetrics.image.ssim import StructuralSimilarityIndexMeasure

__all__ = ["PeakSignalNoiseRatio", "StructuralSimilarityIndexMeasure"]
