"""Lightning with a real Trainer: what is logged is what one process would log, for one exchange an epoch."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from syncmetrics.testing import run_ranks
from tests.pages import examples_of

pytest.importorskip("lightning", reason="lightning is not installed")
pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")

from tests.ranks import lightning_bodies as bodies
from tests.ranks.bodies import run_code

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*many workers"),
    pytest.mark.ranks_import("torchmetrics", "lightning.pytorch"),
]

NAMES = {"val/acc", "val/nested_macro_f1", "val/loss", *(f"val/multiclassaccuracy_{name}" for name in bodies.CLASSES)}


@pytest.mark.parametrize("kind", ["automatic", "manual", "fused", "loaders"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_epoch_values_are_those_of_one_process(world_size: int, kind: str) -> None:
    one, _ = bodies.fitted(0, 1, kind)
    assert len(one) == 3
    assert one[0] != one[1], "the network learns, so that the epochs can be told apart"
    found = run_ranks(bodies.fitted, world_size, kind)
    for seen, exchanges in found:
        assert [set(epoch) for epoch in seen] == [set(epoch) for epoch in one]
        for epoch, expected in zip(seen, one, strict=True):
            assert epoch == pytest.approx(expected, abs=1e-6)
        # By hand, one for each that is computed; and Lightning ends the epoch of one loader before the next begins.
        assert exchanges == [2 if kind in ("manual", "loaders") else 1] * 3, "one for all that is logged"
    assert all(seen == found[0][0] for seen, _ in found), "the same, to the bit, on every rank"


def test_both_modes_give_the_same_numbers_under_the_names_that_were_promised() -> None:
    (automatic, _), (manual, _) = bodies.fitted(0, 1, "automatic"), bodies.fitted(0, 1, "manual")
    assert automatic == manual
    assert set(automatic[0]) == NAMES
    assert set(bodies.all_metrics().output_names) == NAMES - {"val/loss"}


@pytest.mark.parametrize("world_size", [1, 2])
def test_values_of_steps_and_of_epochs(world_size: int) -> None:
    found = run_ranks(bodies.fitted, world_size, "steps") if world_size > 1 else [bodies.fitted(0, 1, "steps")]
    for seen, _ in found:
        first = seen[0]
        for name in NAMES - {"val/loss"}:
            assert {name, f"{name}_step", f"{name}_epoch"} <= first.keys()
            assert first[name] == first[f"{name}_epoch"]
        assert first["val/acc_step"] != first["val/acc_epoch"]
        assert "loss" in first
    assert found[0][0][-1]["val/acc_epoch"] == found[-1][0][-1]["val/acc_epoch"]


def test_the_same_decision_on_every_rank(tmp_path: Path) -> None:
    one = bodies.decided(0, 1, str(tmp_path / "one"))
    two = run_ranks(bodies.decided, 2, str(tmp_path / "two"))
    assert two[0] == two[1]
    for name in ("epochs", "stopped", "path"):
        assert two[0][name] == one[name]
    assert two[0]["score"] == pytest.approx(one["score"])
    assert one["stopped"] > 0, "it has stopped early, so that there was a decision"
    assert one["keys"] == ["net.bias", "net.weight"], "metrics leave nothing in a checkpoint"


@pytest.mark.parametrize(
    ("how", "advice"),
    [
        ("forward", "`self.log('f1', self.f1)`"),
        ("compute", "`self.log('f1', self.f1)`"),
        ("collection", "`self.log_dict(self.metrics)`"),
    ],
)
def test_a_value_where_the_metric_was_meant_is_told_once(how: str, advice: str) -> None:
    first, second = run_ranks(bodies.told, 2, how)
    assert len(first) == 1, first
    assert advice in first[0]
    assert ("compute()" if how == "compute" else "forward()") in first[0]
    assert second == [], "one rank says it"


def test_two_networks_two_optimizers() -> None:
    from syncmetrics import BinaryAUROC, MeanMetric

    found = run_ranks(bodies.gan, 2)
    auroc, loss = BinaryAUROC(), MeanMetric()
    for _, outputs in found:
        auroc.update(bodies.as_tensor(outputs["d_preds"]), bodies.as_tensor(outputs["d_target"]).long())
        loss.update(bodies.as_tensor(outputs["g_loss"]))
    for logged, _ in found:
        assert logged["d/auroc"] == pytest.approx(auroc.compute().item())
        assert logged["g/loss"] == pytest.approx(loss.compute().item())


def test_a_step_that_returns_nothing_adds_nothing() -> None:
    metric = bodies.MeanMetric()
    callback = bodies.MetricsCallback({"g/loss": metric}, take={"g/loss": ["g_loss"]})
    with bodies.quiet():
        run = bodies.trainer(0, 1, callbacks=[callback], max_epochs=1)
        run.fit(
            bodies.Gan(returns=False), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(9, 2)))
        )
    assert run.callback_metrics["g/loss"].isnan()
    assert metric.update_count == 0


def test_a_metric_that_is_made_in_the_step_is_refused() -> None:
    with bodies.quiet(), pytest.raises(ValueError, match="`accuracy` is logged with another MulticlassAccuracy"):
        bodies.trainer(0, 1, max_epochs=1).fit(bodies.Forgotten())


@pytest.mark.parametrize("collected", [False, True])
def test_one_metric_over_two_loaders_has_the_value_of_each(collected: bool) -> None:
    run = bodies.trainer(0, 1, max_epochs=1)
    with bodies.quiet():
        run.fit(bodies.OneMetricTwoLoaders(collected))
    logged = {name: value.item() for name, value in run.callback_metrics.items()}
    assert logged == {"m/dataloader_idx_0": 4.0, "m/dataloader_idx_1": 14.0}


def test_what_a_user_wrote_runs_over_epochs() -> None:
    module, run = bodies.Overriding(), bodies.trainer(0, 1, max_epochs=3)
    watch = bodies.Watch([])
    run.callbacks.append(watch)
    with bodies.quiet():
        run.fit(module)
    assert module.seen == [{"alone": epoch, "a": epoch, "b": epoch} for epoch in (1.0, 2.0, 3.0)]
    batches = len(module.val_dataloader())
    assert [metric.forwards for metric in module.together.values()] == [3 * batches + 2] * 2
    assert module.alone.forwards == 0


def test_a_metric_that_gives_a_tuple_is_answered_with_what_to_write() -> None:
    with (
        bodies.quiet(),
        pytest.raises(TypeError, match=r"`self.log\('several', metric\)`.*gives a tuple.*`output_names`"),
    ):
        bodies.trainer(0, 1, max_epochs=1).fit(bodies.LogsSeveral())


def test_states_hold_no_graph_and_no_batch() -> None:
    metric = bodies.MetricCollection({"auroc": bodies.BinaryAUROC(), "loss": bodies.MeanMetric()})
    kept: list[Any] = []
    callback = bodies.MetricsCallback(
        metric,
        take=lambda outputs: {
            "preds": outputs["d_preds"],
            "target": outputs["d_target"],
            "value": outputs["g_loss"],
        },
    )

    class Keep(bodies.pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
            if index in (0, 300):
                kept.extend(weakref.ref(value) for value in [*outputs.values(), *batch])
            if index in (300, 599):
                gc.collect()
                alive.append(sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects()))

    alive: list[int] = []
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(600, 2)), 1)
    with bodies.quiet():
        bodies.trainer(0, 1, callbacks=[callback, Keep()], max_epochs=1).fit(bodies.Gan(), loader)
    gc.collect()
    assert len(alive) == 2
    assert all(reference() is None for reference in kept)
    rows = 2 * 299  # what an exact AUROC keeps of a step: its scores and its labels
    assert alive[1] - alive[0] <= rows + 15, "nothing else grows"


def test_what_is_no_number_becomes_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    assert bodies.pictures(str(tmp_path)) == {"confusion": 2, "by hand": 2}, "one an epoch, none in the sanity check"


IMPORT_ORDER = """
import sys

import torch
from syncmetrics import MetricCollection
from syncmetrics import MulticlassAccuracy

assert "lightning" not in sys.modules
metrics = MetricCollection({"acc": MulticlassAccuracy(3)})  # before anybody has heard of Lightning

from tests.ranks import lightning_bodies as bodies


class Late(bodies.Automatic):
    def __init__(self):
        super().__init__()
        self.metrics = metrics


torch.distributed.destroy_process_group()  # the Trainer is on its own
module = Late()
with bodies.quiet():
    run = bodies.trainer(0, 1, max_epochs=1)
    run.fit(module)
assert set(run.callback_metrics) == {"acc", "val/loss"}, run.callback_metrics
"""


@pytest.mark.ranks_import
def test_no_import_order_has_to_be_known() -> None:
    run_ranks(run_code, 1, IMPORT_ORDER, timeout=100)


@pytest.mark.parametrize(("body", "world_size"), [(bodies.spawned, 1), (bodies.sharded, 2)], ids=["ddp_spawn", "fsdp2"])
def test_other_strategies(body: Any, world_size: int) -> None:
    found = run_ranks(body, world_size, timeout=100)
    one, _ = bodies.fitted(0, 1, "automatic")
    assert found == [pytest.approx(one[-1], abs=1e-6)] * world_size


@pytest.mark.parametrize(("before", "after", "stop_at"), [(1, 1, 27), (2, 2, 15), (2, 1, 15), (1, 2, 27), (1, 1, 21)])
def test_a_job_that_goes_on_from_a_checkpoint(tmp_path: Path, before: int, after: int, stop_at: int) -> None:
    """Stopped in the middle of the second epoch, or at its end, with validations in between."""
    whole = bodies.resumed(0, 1, str(tmp_path / "whole"), 0)
    args = (str(tmp_path / "run"), stop_at)
    first = [bodies.resumed(0, 1, *args)] if before == 1 else run_ranks(bodies.resumed, before, *args)
    last = str(tmp_path / "run" / "last.ckpt")
    content = torch.load(last, weights_only=True)
    in_it = {"MetricsCheckpoint", "MetricsCallback[train: most]"} if stop_at != 21 else set()
    assert set(content.get("syncmetrics", {})) == in_it, "what is at its end is not in it"
    again = (str(tmp_path / "run"), 0, last)
    second = [bodies.resumed(0, 1, *again)] if after == 1 else run_ranks(bodies.resumed, after, *again)
    assert len(whole) == 3
    for seen in first:
        assert seen == whole[: len(seen)]
    for seen in second:
        assert seen == whole[-len(seen) :]
        assert len(seen) == 2


def test_the_code_of_the_page_runs() -> None:
    names: dict[str, Any] = {"__name__": "page"}
    whole = examples_of("docs/lightning.md")[-1]  # it goes on from the others
    exec(compile(whole.code, whole.name, "exec"), names)

    def logged(cls: Any) -> dict[str, Any]:
        class Run(cls):  # type: ignore[misc]
            training_step, configure_optimizers = bodies.Base.training_step, bodies.Base.configure_optimizers
            train_dataloader, val_dataloader = bodies.Base.train_dataloader, bodies.Base.val_dataloader

        torch.manual_seed(0)
        with bodies.quiet():
            run = bodies.trainer(0, 1, max_epochs=1)
            run.fit(Run())
        return dict(run.callback_metrics)

    automatic, by_hand = logged(names["Classifier"]), logged(names["WithPicture"])
    assert automatic.keys() - by_hand.keys() == {"val/loss"}
    assert "val/accuracy_of_cat" in automatic
    assert all(torch.equal(by_hand[name], automatic[name]) for name in by_hand)
