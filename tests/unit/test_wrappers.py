from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from syncmetrics import ClasswiseWrapper, MetricCollection, StateError
from tests.samples import Counts, Most, PerClass, Total, bits, local_bits

LABELS, MORE = torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 0, 0])


def wrapped(**arguments: Any) -> ClasswiseWrapper:
    return ClasswiseWrapper(PerClass(2), **arguments)


NAMES: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({}, ("perclass_0", "perclass_1")),
    ({"labels": ["cat", "dog"]}, ("perclass_cat", "perclass_dog")),
    ({"labels": ["cat", "dog"], "prefix": "p/"}, ("p/cat", "p/dog")),
    ({"prefix": "p/", "postfix": "_q"}, ("p/0_q", "p/1_q")),
    ({"postfix": "_q"}, ("0_q", "1_q")),
    ({"labels": ["a", "b"], "prefix": ""}, ("a", "b")),
]


@pytest.mark.parametrize(("arguments", "names"), NAMES)
def test_names(arguments: dict[str, Any], names: tuple[str, str]) -> None:
    metric = wrapped(**arguments)
    assert metric.output_names == names
    assert bits(metric(LABELS)) == bits(dict(zip(names, torch.tensor([0.25, 0.75]).double(), strict=True)))
    assert tuple(metric.compute()) == names


WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: ClasswiseWrapper(nn.Linear(1, 1)), TypeError, "must be a syncmetrics.Metric.*but is a Linear"),
    (lambda: ClasswiseWrapper(Total()), ValueError, "`labels` must be given for Total"),
    (lambda: wrapped(labels=["a"]), ValueError, "must name 2 classes, but names 1"),
    (lambda: wrapped(labels=["a", "a"]), ValueError, "must differ"),
    (lambda: wrapped(labels=["a", 1]), TypeError, "must be strings"),
]


@pytest.mark.parametrize(("make", "error", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_wrong_arguments(make: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_one_value_for_all_classes_is_told_with_what_to_write() -> None:
    metric = ClasswiseWrapper(Most(2), labels=["a", "b"])
    metric.update(LABELS)
    with pytest.raises(ValueError, match=r"one value for each of 2 classes, but `Most` gave shape \(\).*average=None"):
        metric.compute()


def test_the_states_are_those_of_the_metric_inside() -> None:
    metric = wrapped()
    metric.update(LABELS)
    metric(LABELS)
    assert metric.update_count == metric.metric.update_count == 2
    assert bits(metric.metric_state) == bits({"counts": torch.tensor([2, 6])})
    metric.metric.update(MORE)
    assert metric.compute()["perclass_0"] == 0.5
    assert metric.metric.compute()[0] == 0.5
    metric.reset()
    assert metric.metric.update_count == 0
    assert metric.metric.counts.sum() == 0


def test_merge_state() -> None:
    one, other = wrapped(), wrapped()
    one.update(LABELS)
    other.update(MORE)
    one.merge_state(other)
    assert bits(one.metric.counts) == bits(torch.tensor([5, 3]))
    assert bits(other.metric.counts) == bits(torch.tensor([4, 0]))
    assert one.update_count == 2
    with pytest.raises(StateError, match="PerClass"):
        one.merge_state(other.metric)


def test_sync_context_and_what_is_refused() -> None:
    metric = wrapped()
    metric.update(LABELS)
    before = local_bits(metric)
    with metric.sync_context():
        metric.metric.counts += 1
        for update in (metric.update, metric.metric.update, metric):
            with pytest.raises(StateError, match="is synced"):
                update(LABELS)
    assert local_bits(metric) == before


@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_independent(how: Callable[[Any], Any]) -> None:
    metric = wrapped(labels=["a", "b"])
    metric.update(LABELS)
    before = local_bits(metric)
    twin = how(metric)
    assert local_bits(twin) == before
    twin.update(MORE)
    assert local_bits(metric) == before
    assert twin.compute()["perclass_a"] == 5 / 8


def test_persistent_states_are_those_of_the_metric_inside() -> None:
    metric, twin = wrapped(), wrapped()
    metric.persistent(True)
    twin.persistent(True)
    metric.update(LABELS)
    assert set(metric.state_dict()) == {"metric.counts", "metric._about"}
    twin.load_state_dict(metric.state_dict())
    assert local_bits(twin) == local_bits(metric)


def test_a_wrapped_metric_shares_its_states_in_a_collection() -> None:
    Counts.updates = 0
    collection = MetricCollection({"each": ClasswiseWrapper(Counts(2)), "most": Most(2), "share": Counts(2)})
    assert collection.compute_groups == {0: ["each", "most", "share"]}
    collection.update(LABELS)
    assert collection(LABELS)["most"] == 3
    assert Counts.updates == 2
    assert list(collection.compute()) == ["counts_0", "counts_1", "most", "share"]
    collection["each"].update(MORE)
    assert bits(collection["most"].counts) == bits(torch.tensor([2, 6]))
    assert bits(collection["each"].metric.counts) == bits(torch.tensor([6, 6]))
    collection["each"].metric.reset()
    assert bits(collection["share"].counts) == bits(torch.tensor([2, 6]))


def test_settings_are_those_of_the_metric_inside() -> None:
    class Lower(PerClass):
        higher_is_better = False

    metric = ClasswiseWrapper(Lower(2, sync_on_compute=False, sync_timeout=3.0))
    assert (metric.higher_is_better, metric.sync_on_compute, metric.sync_timeout) == (False, False, 3.0)
