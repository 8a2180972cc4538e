"""Saved on some number of ranks, and gone on with on another: the value is that of a run that never stopped."""

from __future__ import annotations

import contextlib
import io
import random
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from syncmetrics import (
    Metric,
    MetricCollection,
    MetricLogger,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    StateError,
    SumMetric,
    load_state,
    save_state,
)
from syncmetrics.checkpoint.saved import pack
from syncmetrics.transport.threads import run_threads
from tests.fuzz.player import difference
from tests.fuzz.programs import draw_subject
from tests.fuzz.subjects import Histories, Subject, batch, build, expected
from tests.fuzz.thresholds import SETS
from tests.samples import Rows, bits

WORLDS = (1, 2, 3, 4)


def _file(saved: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Write it and read it again, without pickles."""
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    found: dict[str, Any] = torch.load(file, weights_only=True)
    return found


def _subject(seed: int) -> Subject:
    """Draw a metric or collection whose states can become one, and whose value does not depend on their number.

    "backwards" turns the order of what it is given, so that a value reduced twice is another one.
    """
    chance = random.Random(seed)
    while True:
        subject = draw_subject(chance, 4, SETS[1])
        turned = any(state.kind == "backwards" for declared in subject.declared for state in declared)
        if subject.can_merge and subject.can_shrink and not turned:
            options = {"compute_with_cache": False}
            return Subject(subject.kind, subject.declared, None, options, subject.shared)


def _shared_out(keys: Sequence[Sequence[int]], world_size: int) -> list[list[int]]:
    """Give what each of so many ranks has, of what others had: ranks that follow each other."""
    shares = [range(r * len(keys) // world_size, (r + 1) * len(keys) // world_size) for r in range(world_size)]
    return [[key for rank in share for key in keys[rank]] for share in shares]


def _histories(subject: Subject, keys: Sequence[Sequence[int]]) -> Histories:
    return [tuple(tuple(of_rank) for _ in subject.leaves) for of_rank in keys]


def _check(subject: Subject, metric: Any, keys: Sequence[Sequence[int]], where: str) -> None:
    text = difference(metric.compute(), expected(subject, _histories(subject, keys), synced=True), where)
    assert not text, text


@pytest.mark.filterwarnings("ignore:.*before any update")
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(WORLDS), st.sampled_from((1, 2, 3, 5)), st.randoms(use_true_random=False))
def test_any_states_on_any_number_of_ranks(seed: int, before: int, after: int, chance: random.Random) -> None:
    """Random metrics of every reduction, nested ones, collections that share, ones with `merge_states`, our own."""
    subject = _subject(seed)
    first = [[10 * rank + i for i in range(chance.choice([0, 1, 2]))] for rank in range(before)]

    def save(rank: int, world_size: int) -> Any:
        metric = build(subject)
        for key in first[rank]:
            metric.update(*batch(subject, key))
        saved = save_state({"m": metric})
        _check(subject, metric, first, "after it was saved")
        return saved

    saved = [_file(one) for one in run_threads(save, before)]
    assert len({str(bits(dict(sorted(one.items())))) for one in saved}) == 1
    at_once = _shared_out(first, after)
    later = [[*of_rank, 100 + rank] for rank, of_rank in enumerate(at_once)]

    def load(rank: int, world_size: int) -> None:
        metric = build(subject)
        metric.update(*batch(subject, 7))  # it is replaced
        load_state({"m": metric}, saved[0])
        _check(subject, metric, at_once, "after it was loaded")
        metric.update(*batch(subject, 100 + rank))
        _check(subject, metric, later, "after one more update")

    run_threads(load, after)


def test_one_share_is_what_the_rank_had() -> None:
    """On as many ranks as before everything stands where it stood, the order of rows too."""

    def body(rank: int, world_size: int) -> Any:
        metric, again = Rows(), Rows()
        for i in range(rank):
            metric.update(torch.tensor([10.0 * rank + i]))
        load_state([again], save_state([metric]))
        assert bits(dict(again.metric_state)) == bits(dict(metric.metric_state))
        assert again.update_count == metric.update_count
        return again.compute().tolist()

    assert set(map(tuple, run_threads(body, 3))) == {(10.0, 20.0, 21.0)}


def test_a_collection_that_shares_states_and_counts_steps() -> None:
    def collection() -> MetricCollection:
        members = {"accuracy": MulticlassAccuracy(num_classes=4), "matrix": MulticlassConfusionMatrix(num_classes=4)}
        return MetricCollection(members, sync_every=3)

    preds, target = torch.arange(40) % 4, torch.arange(40) % 3

    def save(rank: int, world_size: int) -> Any:
        metrics = collection()
        for at in range(0, 20, 10):
            metrics(preds[at + rank : at + 10 : world_size], target[at + rank : at + 10 : world_size])
        return save_state(metrics)

    def load(rank: int, world_size: int, saved: Any) -> Any:
        metrics = collection()
        load_state(metrics, saved)
        assert metrics._steps == 2
        metrics.update(preds[20 + rank :: world_size], target[20 + rank :: world_size])
        return bits(metrics.compute())

    once = collection()
    once.update(preds, target)
    for before in WORLDS:
        saved = _file(run_threads(save, before)[0])
        for after in (1, 2, 3, 5):
            assert set(run_threads(load, after, saved)) == {bits(once.compute())}, (before, after)


def _saved() -> dict[str, torch.Tensor]:
    matrix = MulticlassConfusionMatrix(num_classes=3)
    matrix.update(torch.tensor([0, 1]), torch.tensor([0, 2]))
    return save_state({"matrix": matrix})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda saved: [], "must be a dict that `save_state` gave"),
        (lambda saved: {"weight": torch.zeros(2)}, "'weight'"),
        (lambda saved: {k: v for k, v in saved.items() if k == "syncmetrics"}, "cannot be read"),
        (lambda saved: saved | {"syncmetrics": saved["syncmetrics"][:-5]}, "cannot be read"),
        (lambda saved: {k: (v if k == "syncmetrics" else object()) for k, v in saved.items()}, "not a tensor"),
        (lambda saved: {k: (v if k == "syncmetrics" else v[:0]) for k, v in saved.items()}, "states of 0 ranks"),
        (lambda saved: _edited(saved, b'"format": 1', b'"format": 9'), "format 9, and this version reads format 1"),
        (lambda saved: _edited(saved, b'"ranks": 1,', b'"ranks": 1' + b"0" * 12 + b","), "cannot be read"),
        (lambda saved: _edited(saved, b'"update_counts": [1]', b'"update_counts": [1e999]'), "cannot be read"),
        (lambda saved: _edited(saved, b'"steps": {"matrix": [0, 0]}', b'"steps": {"matrix": [0]}'), "counts of steps"),
    ],
)
def test_what_is_no_saved_state(spoil: Any, words: str) -> None:
    matrix = MulticlassConfusionMatrix(num_classes=3)
    matrix.update(torch.tensor([1]), torch.tensor([1]))
    before = bits(dict(matrix.metric_state))
    with pytest.raises(StateError, match=words):
        load_state({"matrix": matrix}, spoil(_saved()))
    assert bits(dict(matrix.metric_state)) == before


def _edited(saved: dict[str, torch.Tensor], old: bytes, new: bytes) -> dict[str, torch.Tensor]:
    text = bytes(saved["syncmetrics"].tolist())
    assert old in text
    return saved | {"syncmetrics": torch.tensor(list(text.replace(old, new)), dtype=torch.uint8)}


def test_other_metrics_are_named() -> None:
    with pytest.raises(StateError, match=r"metrics that are not here: \['matrix'\]; here are \['total'\]"):
        load_state({"total": SumMetric()}, _saved())
    with pytest.raises(StateError, match=r"saved as int64 \(3, 3\) reduced by sum, but is int64 \(4, 4\)"):
        load_state({"matrix": MulticlassConfusionMatrix(num_classes=4)}, _saved())
    with pytest.raises(StateError, match=r"was saved with the states .* but has .* here"):
        load_state({"matrix": SumMetric()}, _saved())


def test_a_metric_that_was_not_saved_begins_anew() -> None:
    matrix, total = MulticlassConfusionMatrix(num_classes=3), SumMetric()
    total.update(torch.tensor(5.0))
    load_state({"matrix": matrix, "total": total}, _saved())
    assert matrix.update_count == 1
    assert total.update_count == 0


def test_a_logger_goes_on_in_the_middle_of_an_epoch() -> None:
    """The mean of the plain values, and the metrics, are those of an epoch that was not interrupted."""
    losses, ranks_before, ranks_after = [0.75, 0.5, 0.25, 1.0, 0.125, 2.0], 2, 3

    def log(logger: MetricLogger, total: SumMetric, values: list[float]) -> None:
        for value in values:
            logger.log("loss", value)
            logger.step(batch_size=4)
            total.update(torch.tensor(value))

    def save(rank: int, world_size: int) -> Any:
        logger, total = MetricLogger(), SumMetric()
        logger.track({"total": total})
        log(logger, total, losses[rank:4:world_size])
        return save_state({"logger": logger})

    def load(rank: int, world_size: int, saved: Any) -> Any:
        logger, total = MetricLogger(), SumMetric()
        logger.track({"total": total})
        load_state({"logger": logger}, saved)
        assert logger.global_step == 2
        log(logger, total, losses[4 + rank :: world_size])
        return {name: value.item() for name, value in logger.end_epoch().items()}

    saved = _file(run_threads(save, ranks_before)[0])
    for found in run_threads(load, ranks_after, saved):
        assert found == {"loss": pytest.approx(sum(losses) / 6), "total": sum(losses)}
    logger = MetricLogger()
    log(logger, SumMetric(), losses[:2])
    again = MetricLogger()
    again.load_state_dict(logger.state_dict())
    log(again, SumMetric(), losses[2:])
    assert again.end_epoch()["loss"].item() == pytest.approx(sum(losses) / 6)
    with pytest.raises(ValueError, match=r"what `MetricLogger.state_dict` gave"):
        again.load_state_dict({"epoch": 1})


def test_metrics_of_torchmetrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")

    def metrics() -> Any:
        return {"mean": torchmetrics.MeanMetric(), "cat": torchmetrics.CatMetric()}

    def save(rank: int, world_size: int) -> Any:
        found = metrics()
        for metric in found.values():
            metric.update(torch.tensor([1.0 + rank, 3.0]))
        return save_state(found)

    saved = _file(run_threads(save, 2)[0])
    found = metrics()
    load_state(found, saved)
    for metric in found.values():
        metric.update(torch.tensor([8.0]))
    assert found["mean"].compute() == (1 + 3 + 2 + 3 + 8) / 5
    assert found["cat"].compute().tolist() == [1.0, 3.0, 2.0, 3.0, 8.0]


def test_guests_in_a_collection() -> None:
    """Their states are in the metrics of the other library, on ranks that have some and on ranks that begin."""
    torchmetrics = pytest.importorskip("torchmetrics")

    def metrics() -> Any:
        found = {"most": torchmetrics.MaxMetric(), "cat": torchmetrics.CatMetric(), "own": SumMetric()}
        return MetricCollection(found)

    def save(rank: int, world_size: int) -> Any:
        found = metrics()
        found.update(torch.tensor([-3.0 - rank]))
        return save_state(found)

    def load(rank: int, world_size: int, saved: Any) -> Any:
        found = metrics()
        load_state(found, saved)
        return bits(found.compute())

    once = metrics()
    for rank in range(2):
        once.update(torch.tensor([-3.0 - rank]))
    saved = _file(run_threads(save, 2)[0])
    for after in (1, 2, 3):
        assert set(run_threads(load, after, saved)) == {bits(once.compute())}, after


def test_what_keeps_more_than_its_states_is_refused_by_name() -> None:
    torcheval = pytest.importorskip("torcheval.metrics")
    with pytest.raises(StateError, match="a Mean of torcheval keeps more than its states"):
        save_state({"mean": torcheval.Mean()})


class _Broken(Metric):
    """Cannot be loaded when it comes to it."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self) -> None:
        self.total += 1

    def compute(self) -> Any:
        return self.total

    def _go_on_from(self, steps: Sequence[int]) -> None:
        raise KeyboardInterrupt


def test_what_is_interrupted_is_not_loaded_by_half() -> None:
    def metrics() -> Any:
        found = {"a": SumMetric(), "b": _Broken(), "loss": MetricLogger()}
        found["loss"].log("x", 5.0)
        found["a"].update(torch.tensor(2.0))
        return found

    saved, found = save_state({"a": SumMetric(), "b": _Broken(), "loss": MetricLogger()}), metrics()
    with pytest.raises(KeyboardInterrupt):
        load_state(found, saved)
    assert found["a"].compute() == 2.0
    assert found["loss"].state_dict()["plain"] == {"x": [5.0, 1.0]}


def test_safetensors_can_hold_it(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(_saved(), tmp_path / "metrics.safetensors")
    matrix = MulticlassConfusionMatrix(num_classes=3)
    load_state({"matrix": matrix}, safetensors.load_file(tmp_path / "metrics.safetensors"))
    assert matrix.compute().tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


class _Kinds(Metric):
    """A state of each kind that is saved in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(3, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("names", [], dist_reduce_fx=None)

    def update(self, seed: int) -> None:
        self.total += seed
        self.rows.append(torch.arange(seed + 2.0))
        self.names.append({"seed": seed, "name": "x" * seed})

    def compute(self) -> Any:
        return self.total


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_whatever_is_changed_in_a_file_is_loaded_or_told(chance: random.Random) -> None:
    """Bytes that were cut off, or are others: one named error, and no metric is changed; or it still says something."""

    def save(rank: int, world_size: int) -> Any:
        metric = _Kinds()
        metric.update(rank)
        return save_state({"m": metric})

    saved = run_threads(save, 2)[0]
    if chance.random() < 0.5:
        content = bytearray(pack(saved)["syncmetrics"])
        _spoil(chance, content)
        spoilt: Any = {"syncmetrics": bytes(content)}
    else:
        key = chance.choice(sorted(saved))
        if saved[key].dtype is torch.uint8:
            content = bytearray(saved[key].tolist())
            _spoil(chance, content)
            saved[key] = torch.tensor(list(content), dtype=torch.uint8)
        else:
            other = [
                saved[key].double(),
                saved[key][:1],
                saved[key][..., :2],
                torch.tensor(1),
                {"a": 1},
                saved[key] > 0,
            ]
            saved[key] = chance.choice(other)
        spoilt = saved
    metric = _Kinds()
    metric.update(5)
    before = bits(metric.metric_state)
    try:
        load_state({"m": metric}, spoilt)
    except StateError:
        assert bits(metric.metric_state) == before
    else:
        metric.update(1)
        metric.compute()


def _spoil(chance: random.Random, content: bytearray) -> None:
    if chance.random() < 0.3:
        del content[chance.randrange(len(content)) :]
        return
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(content))
        content[at : at + 8] = chance.choice(
            [b"\xff" * 8, b"\x00" * 8, chance.randbytes(1), chance.randbytes(8), b"9999"]
        )


def test_a_claim_of_many_rows_takes_no_memory() -> None:
    """2^40 rows, said where the number of rows stands, in a file of some hundred bytes."""
    metric = _Kinds()
    metric.update(1)
    saved = save_state({"m": metric})
    for key, value in saved.items():
        if value.dtype is not torch.uint8 or key == "syncmetrics":
            continue
        content = bytes(value.tolist())
        for at in range(0, len(content) - 8, 4):
            many = content[:at] + (1 << 40).to_bytes(8, "little") + content[at + 8 :]
            with contextlib.suppress(StateError):
                load_state({"m": metric}, {**saved, key: torch.tensor(list(many), dtype=torch.uint8)})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak < 8 << 20, "KiB: nothing was allocated for them"


def test_a_file_that_was_cut_off_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.pt"
    torch.save(_saved(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises((RuntimeError, EOFError, OSError)):
        torch.load(path, weights_only=True)
