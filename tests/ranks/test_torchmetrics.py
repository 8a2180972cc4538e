"""torchmetrics through the engine: a table of its metrics, `install`, `fuse`, and what it gets wrong by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from syncmetrics.testing import run_ranks
from syncmetrics.testing.ranks import run_ranks_outcomes

tm = pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")

from torchmetrics.metric import CompositionalMetric  # noqa: E402
from torchmetrics.wrappers.abstract import WrapperMetric  # noqa: E402

from syncmetrics.foreign import torchmetrics as room  # noqa: E402
from tests.ranks import torchmetrics_bodies as bodies  # noqa: E402

pytestmark = pytest.mark.ranks_import("torchmetrics")


@pytest.mark.timeout(400)  # three launches over all rows, each with a limit of its own
def test_the_table_is_right_and_stands_in_the_page() -> None:
    rows = bodies.rows_of_page()
    assert len(rows) > 180
    assert [row for row in rows if "NO:" in row] == []
    after = {row.split(" | ")[0]: row.split(" | ")[-1] for row in rows[2:]}
    # One exchange; or that, a transfer, and the votes before and after it.
    assert {name for name, count in after.items() if count not in ("1 |", "4 |", "- |")} == {"| MetricCollection"}
    page = bodies.PAGE.read_text()
    assert rows == page[page.index("| metric |") :].splitlines()


@pytest.mark.parametrize("world_size", [2, 3])
def test_all_metrics_in_one_call(world_size: int) -> None:
    for together in run_ranks(bodies.together, world_size):
        assert together == 1


def test_over_a_mesh_replicas_count_once() -> None:
    found = run_ranks(bodies.over_a_mesh, 4)
    assert found == [{"in a collection": [42.0] * 5, "alone": [21.0, 21.0]}] * 4


CASES: dict[str, Any] = {
    "empty, int64": None,
    "empty, two dimensions": None,
    "dtypes": [0.0, 10.0],
    "lengths": [0.0, 10.0, 11.0],
    "mean": 4.0,
    "raises": "ValueError('no value')",
    "updated while synced": [0.0, 10.0, 5.0, 5.0],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_what_torchmetrics_gets_wrong_by_itself(case: str) -> None:
    right = CASES[case]
    if right is None:
        name = "BinaryAUROC" if "int64" in case else "MulticlassAUROC"
        right = bodies.alone(bodies.updated(name, [[4, 4], []], [0, 1])).item()

    def is_right(value: Any) -> bool:
        if isinstance(value, list):
            value = torch.stack([row.reshape(()) for row in value])
        if isinstance(value, str) or isinstance(right, str):
            return bool(value == right)
        return bool(value.tolist() == pytest.approx(right))

    plain = run_ranks_outcomes(bodies.run_failing, 2, case, False, timeout=5)
    assert any(o.status != "returned" or o.value[1] or not is_right(o.value[0]) for o in plain)
    for value, is_synced, _ in run_ranks(bodies.run_failing, 2, case, True):
        assert is_right(value), value
        assert not is_synced


def test_groups_that_are_found_by_comparing_values_differ_between_ranks() -> None:
    right = []
    for metric in bodies.with_and_without_a_class().values():
        for rank in range(2):
            for batch in bodies.same_at_first(rank):
                metric.update(*batch)
        right.append(metric.compute().item())
    plain = run_ranks(bodies.groups_by_value, 2, False)
    assert [groups for _, groups in plain] == [1, 2]
    assert any(values != pytest.approx(right) for values, _ in plain)
    ours = run_ranks(bodies.groups_by_value, 2, True)
    assert [groups for _, groups in ours] == [2, 2], "metrics share what they declare, not what happens to be equal"
    assert all(values == pytest.approx(right) for values, _ in ours)


@pytest.mark.parametrize("world_size", [2, 3])
def test_fused_metrics_sync_in_one_exchange(world_size: int) -> None:
    for found in run_ranks(bodies.fused, world_size):
        right = sum(range(1, world_size)) / (world_size - 1), float(sum(range(1, world_size + 1))), 1
        assert found == {
            "calls 0": 1,
            "right 0": True,
            "calls 1": 1,
            "right 1": True,
            "calls again": 0,
            "calls with an update between": 2,
            "right with an update between": True,
            "modules": right,
            "left": ([], {}, []),
        }


def test_ranks_that_disagree_hear_of_it() -> None:
    for used, after, others, last in run_ranks(bodies.disagreeing, 2):
        assert used.startswith("SchemaMismatchError")
        assert after == "tensor(5.)"
        assert others.startswith("SchemaMismatchError")
        assert last == "(False, None, tensor(5.))"


def test_own_gather_functions_and_metrics_without_states() -> None:
    assert run_ranks(bodies.own_gather, 2) == [([6.0, 3, 1], 0, False)] * 2


def test_meaning_of_torchmetrics_is_kept() -> None:
    expected = (12.0, [0, 10, 1, 11], (torch.Size([0]), torch.float32), [3.0, 5.0, 8.0])
    assert run_ranks(bodies.running_and_orders, 2) == [expected] * 2


def test_uninstall_puts_everything_back() -> None:
    from torchmetrics.detection import _mean_ap, mean_ap

    classes = [tm.Metric, CompositionalMetric, WrapperMetric, mean_ap.MeanAveragePrecision]
    classes.append(_mean_ap.MeanAveragePrecision)
    before = [dict(vars(cls)) for cls in classes]
    wrapper = tm.wrappers.MinMaxMetric(tm.SumMetric())
    compute = vars(wrapper)["compute"]
    room.install()
    room.install()
    assert vars(classes[3])["_sync_dist"] is not before[3]["_sync_dist"]
    assert vars(wrapper)["compute"] is not compute
    room.uninstall()
    room.uninstall()
    for cls, attributes in zip(classes, before, strict=True):
        assert vars(cls).keys() == attributes.keys()
        assert all(vars(cls)[name] is value for name, value in attributes.items())
    assert vars(wrapper)["compute"] is compute


def test_fuse_needs_metrics() -> None:
    with pytest.raises(TypeError, match="torchmetrics metrics in it, but a list"):
        room.fuse([])
