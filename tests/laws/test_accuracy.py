"""Law: no value is farther from the truth in float64 than that of torchmetrics, for inputs in any float dtype."""

from __future__ import annotations

import math

import pytest
import torch

from tests.natives.accuracy import DTYPES, errors_of, judged
from tests.natives.native import Native

pytest.importorskip("torchmetrics")
ROWS = judged()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("name", "row"), ROWS, ids=[name for name, _ in ROWS])
def test_ours_is_never_the_larger_error(name: str, row: Native, dtype: torch.dtype) -> None:
    errors = errors_of(row, dtype)
    if errors is None:
        return
    theirs = math.inf if errors.theirs is None else errors.theirs
    assert errors.ours <= max(theirs, errors.bound), errors
    # What is summed at all is summed in float64: half precision of the inputs is no excuse.
    assert errors.ours <= max(errors.bound, row.digits), errors
