"""Our metrics in the containers of torchmetrics, and theirs in ours: one sync, and the value of one process."""

from __future__ import annotations

import pytest

from syncmetrics.testing import run_ranks

torchmetrics = pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")

from tests.ranks import guest_bodies as bodies  # noqa: E402 - it imports torchmetrics

pytestmark = pytest.mark.ranks_import("torchmetrics")


def test_ours_in_their_containers() -> None:
    found = run_ranks(bodies.in_their_containers, 2)
    assert found[0] == found[1]
    one = torchmetrics.MetricCollection(
        {"v_acc": bodies.theirs.MulticlassAccuracy(3), "v_f1": bodies.theirs.MulticlassF1Score(3)}
    )
    for batch in bodies.all_batches(2, 2):
        one.update(*batch)
    expected = bodies.as_floats(one.compute())
    for name in ("collection", "together"):
        assert found[0][name]["v_acc"] == pytest.approx(expected["v_acc"], abs=1e-6)
        assert found[0][name]["v_f1"] == pytest.approx(expected["v_f1"], abs=1e-6)
    assert found[0]["range"] == {"raw": 1.0, "max": 1.0, "min": 0.5}
    assert found[0]["best"] == 0.5
    assert found[0]["sum"] == 1.0


@pytest.mark.filterwarnings("ignore:.*before the ``update`` method")
@pytest.mark.parametrize("world_size", [2, 3])
def test_theirs_in_our_collection(world_size: int) -> None:
    found = run_ranks(bodies.in_our_collection, world_size)
    values = found[0][0]
    assert all(value == values for value, _ in found)
    assert [calls for _, calls in found] == [1] * world_size
    one = bodies.theirs.MulticlassAccuracy(3, average=None)
    matrix = bodies.theirs.MulticlassConfusionMatrix(3)
    for rank in range(world_size):
        for batch in bodies.batches(rank, 2 * rank):
            one.update(*batch)
            matrix.update(*batch)
    per_class = bodies.as_floats(one.compute())
    assert [values[f"v/multiclassaccuracy_{c}"] for c in range(3)] == pytest.approx(per_class)
    assert values["v/acc"] == pytest.approx(values["v/theirs"]) == pytest.approx(sum(per_class) / 3)
    assert values["v/matrix"] == bodies.as_floats(matrix.compute())
    assert values["v/raw"] == pytest.approx(values["v/acc"])
