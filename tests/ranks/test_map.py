"""Mean average precision, whose lists hold tuples that torchmetrics gathers by itself."""

from __future__ import annotations

import pytest

from syncmetrics.testing import run_ranks

pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
pytest.importorskip("pycocotools", reason="pycocotools is not installed")

from tests.ranks import map_bodies as bodies

pytestmark = pytest.mark.ranks_import("torchmetrics")


@pytest.mark.filterwarnings("ignore:.*before the ``update`` method")
@pytest.mark.parametrize("how", ["install", "synced"])
@pytest.mark.parametrize("segm", [False, True], ids=["boxes", "masks"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_mean_average_precision_is_that_of_one_process(world_size: int, segm: bool, how: str) -> None:
    one = bodies.make(segm=segm)
    for rank in range(world_size):
        for index in bodies.images_of(rank):
            one.update(*bodies.image(index, segm=segm))
    expected = bodies.as_lists(one.compute())
    assert 0 < expected["bbox_map" if segm else "map"] < 1
    for rank, (values, lengths) in enumerate(run_ranks(bodies.body, world_size, segm, how)):
        assert values == expected
        assert set(lengths) <= {0, len(bodies.images_of(rank))}, "the local states are what they were"
