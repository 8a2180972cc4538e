"""The table of all metrics of the package: data, and no tests. `tests/laws/test_natives.py` takes them through."""

from tests.natives import aggregation, classification, image, regression, retrieval, segmentation, text, wrappers
from tests.natives.native import Native

__all__ = ["ROWS"]

ROWS: list[Native] = [
    *classification.ROWS,
    *regression.ROWS,
    *retrieval.ROWS,
    *aggregation.ROWS,
    *text.ROWS,
    *segmentation.ROWS,
    *image.ROWS,
    *wrappers.ROWS,
]
