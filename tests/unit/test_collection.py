"""MetricCollection in a world of one: names, sharing, and the life of all metrics together."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from syncmetrics import ClasswiseWrapper, Metric, MetricCollection, StateError, synced
from syncmetrics.transport import LocalTransport
from syncmetrics.transport.threads import run_threads
from tests.samples import Accuracy, Counts, Most, Names, Outer, PerClass, Rows, Total, Welford, bits, local_bits

ONE, TWO = torch.tensor([1.0]), torch.tensor([2.0, 2.0])
LABELS, MORE = torch.tensor([0, 1, 1]), torch.tensor([0])


def group(**arguments: Any) -> MetricCollection:
    return MetricCollection({"share": Counts(2), "most": Most(2)}, **arguments)


class Several(Total):
    """Gives two values by name."""

    output_names = ("low", "high")

    def compute(self) -> dict[str, Tensor]:
        return {"low": self.total - 1, "high": self.total + 1}


# ---- names ----------------------------------------------------------------------------------------------------------

NAMED: dict[str, tuple[Callable[[], MetricCollection], list[str]]] = {
    "one": (lambda: MetricCollection(Total()), ["Total"]),
    "list": (lambda: MetricCollection([Total(), Rows()]), ["Total", "Rows"]),
    "arguments": (lambda: MetricCollection(Total(), Rows()), ["Total", "Rows"]),
    "mapping": (lambda: MetricCollection({"b": Total(), "a": Rows()}), ["b", "a"]),
    "prefix": (lambda: MetricCollection([Total()], prefix="val/"), ["val/Total"]),
    "postfix": (lambda: MetricCollection([Total()], prefix="a_", postfix="_z"), ["a_Total_z"]),
    "several values": (lambda: MetricCollection([Several(), Rows()]), ["low", "high", "Rows"]),
    "several values, affixed": (
        lambda: MetricCollection([Several()], prefix="p_", postfix="_q"),
        ["p_low_q", "p_high_q"],
    ),
    "nested": (
        lambda: MetricCollection([MetricCollection([Total()], prefix="in_"), Rows()], prefix="out_"),
        ["out_in_Total", "out_Rows"],
    ),
    "nested in a mapping": (
        lambda: MetricCollection({"k": MetricCollection([Several(), Total()], prefix="p_", postfix="_q")}),
        ["k_p_low_q", "k_p_high_q", "k_p_Total_q"],
    ),
    "thrice": (
        lambda: MetricCollection(
            {"a": MetricCollection({"b": MetricCollection([Total()], postfix="_z")}, prefix="y_")}
        ),
        ["a_y_b_Total_z"],
    ),
}


@pytest.mark.parametrize("kind", NAMED)
def test_output_names_are_the_keys_of_every_result(kind: str) -> None:
    make, names = NAMED[kind]
    collection = make()
    assert list(collection.output_names) == names
    assert list(collection(ONE)) == names
    assert list(collection.compute()) == names
    assert list(collection.clone().compute()) == names


def test_it_is_read_as_a_mapping() -> None:
    collection = MetricCollection({"a": Total(), "b": Rows()}, prefix="p_")
    assert list(collection) == list(collection.keys()) == ["p_a", "p_b"]
    assert list(collection.keys(keep_base=True)) == ["a", "b"]
    assert [type(m) for m in collection.values()] == [Total, Rows]
    assert dict(collection.items()) == {"p_a": collection["a"], "p_b": collection["p_b"]}
    assert (len(collection), "a" in collection, "c" in collection) == (2, True, False)
    assert all(name in collection for name in collection)
    with pytest.raises(KeyError, match="no metric `c`"):
        collection["c"]


def test_a_collection_is_a_module() -> None:
    collection = MetricCollection({"a": Total(), "b": Rows()}, prefix="p_")
    assert {name for name, _ in collection.named_children()} == {"a", "b"}
    assert nn.ModuleDict({"m": collection}).to("meta")["m"]["a"].device.type == "meta"  # type: ignore[index]
    assert "p_" in repr(collection)


TWICE: dict[str, Callable[[], Any]] = {
    "classes": lambda: MetricCollection([Total(), Total()]),
    "nested": lambda: MetricCollection([MetricCollection([Total()]), Total()]),
    "nested by key": lambda: MetricCollection({"a_b": Total(), "a": MetricCollection({"b": Total()})}),
    "added": lambda: MetricCollection([Total()]).add_metrics(Total()),
    "set apart": lambda: MetricCollection({"a": Several(), "a_low": Total(), "low": Total()}),
}


@pytest.mark.filterwarnings("ignore:more than one metric")
@pytest.mark.parametrize("kind", TWICE)
def test_a_name_is_given_once(kind: str) -> None:
    with pytest.raises(ValueError, match="would"):
        TWICE[kind]()


def test_values_of_one_name_are_named_apart_when_the_collection_is_made() -> None:
    with pytest.warns(UserWarning, match="gives a value named 'low', 'high'"):
        collection = MetricCollection({"a": Several(), "b": Several(), "t": Total()}, prefix="p/")
    assert collection.output_names == ("p/a_low", "p/a_high", "p/b_low", "p/b_high", "p/t")
    collection.update(ONE)
    assert tuple(collection.compute()) == tuple(collection(ONE)) == collection.output_names
    with pytest.warns(UserWarning, match="'low'"):
        assert MetricCollection({"a": Several(), "low": Total()}).output_names == ("a_low", "a_high", "low")


def test_values_of_one_name_that_was_not_declared_are_named_apart_when_they_are_met() -> None:
    class Undeclared(Total):
        def compute(self) -> Any:
            return {"Rows": self.total}

    collection = MetricCollection([Undeclared(), Rows()])
    collection.update(ONE)
    with pytest.warns(UserWarning, match="gives a value named 'Rows'"):
        assert list(collection.compute()) == ["Undeclared_Rows", "Rows"]
    assert list(collection.compute()) == ["Undeclared_Rows", "Rows"]  # and that is told once


WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: MetricCollection(5), TypeError, "`int` must be a syncmetrics.Metric"),
    (lambda: MetricCollection([Total(), nn.Linear(1, 1)]), TypeError, "Linear"),
    (lambda: MetricCollection({"a": nn.Linear(1, 1)}), TypeError, "`a` must be a syncmetrics.Metric"),
    (lambda: MetricCollection({"a": Total()}, Rows()), TypeError, "put them into the mapping"),
    (lambda: MetricCollection([Total()], prefix=5), TypeError, "`prefix` must be a string or None, but is a int"),
    (lambda: MetricCollection({"update": Total()}), ValueError, "cannot be named 'update'"),
    (lambda: MetricCollection({"a.b": Total()}), ValueError, "has no dot"),
    (lambda: MetricCollection({"": Total()}), ValueError, "not empty"),
]


@pytest.mark.parametrize(("make", "error", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_what_is_no_collection(make: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


# ---- arguments ------------------------------------------------------------------------------------------------------


class Weighted(Total):
    def update(self, x: Tensor, *, weight: float = 1.0) -> None:
        self.total += weight * x.sum()


class Open(Total):
    def update(self, x: Tensor, **settings: Any) -> None:
        self.total += x.sum() * len(settings)


def test_keywords_go_to_whoever_takes_them() -> None:
    collection = MetricCollection([Total(), Weighted(), Open()])
    assert bits(collection(ONE, weight=3.0)) == bits(
        {name: torch.tensor(v).double() for name, v in (("Total", 1.0), ("Weighted", 3.0), ("Open", 1.0))}
    )
    collection.update(x=ONE)
    assert collection["Weighted"].total == 4


def test_a_keyword_that_no_one_takes_is_told_before_anything_is_updated() -> None:
    collection = MetricCollection([Total(), Weighted()])
    for call in (collection.update, collection.forward):
        with pytest.raises(TypeError, match=r"no metric of `MetricCollection` takes .*\['weigth'\]"):
            call(ONE, weigth=2.0)
    assert collection["Total"].update_count == 0


def test_keywords_reach_the_metric_in_a_wrapper() -> None:
    collection = MetricCollection([ClasswiseWrapper(PerClass(2)), Total()])
    collection.update(x=ONE, labels=MORE)
    assert list(collection.compute().values()) == [1, 0, 1]


# ---- sharing --------------------------------------------------------------------------------------------------------


def test_groups_are_declared_and_not_guessed_from_values() -> None:
    collection = MetricCollection(
        {"a": Counts(2), "b": Most(2), "other": Counts(3), "plain": PerClass(2), "plain2": PerClass(2), "t": Total()}
    )
    assert collection.compute_groups == dict(enumerate([["a", "b"], ["other"], ["plain"], ["plain2"], ["t"]]))


def test_other_settings_are_another_group() -> None:
    assert len(MetricCollection({"a": Counts(2), "b": Most(2, sync_on_compute=False)}).compute_groups) == 2
    assert len(MetricCollection({"a": Counts(2), "b": Most(2, dist_sync_on_step=True)}).compute_groups) == 2
    assert len(MetricCollection({"a": Counts(2), "b": Most(2, sync_timeout=3.0)}).compute_groups) == 2


def test_another_update_is_another_group_whatever_is_declared() -> None:
    class Twice(Counts):
        def update(self, labels: Tensor) -> None:
            super().update(labels.repeat(2))

    collection = MetricCollection({"a": Counts(2), "b": Twice(2)})
    collection.update(MORE)
    assert bits(collection["b"].counts) == bits(torch.tensor([2, 0]))


def test_a_group_is_updated_once() -> None:
    Counts.updates = 0
    collection = group()
    collection.update(LABELS)
    collection(LABELS)
    assert Counts.updates == 2
    assert collection["share"].update_count == collection["most"].update_count == 2
    assert bits(collection["most"].counts) == bits(torch.tensor([2, 4]))
    assert collection["most"].counts is collection["share"].counts


def decorated(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def update(self: Any, labels: Tensor) -> None:
        function(self, labels.abs())

    return update


class Signed(Counts):
    @decorated
    def update(self, labels: Tensor) -> None:
        self.counts += torch.bincount(labels, minlength=self.num_classes)


class SignedMost(Signed):
    def compute(self) -> Tensor:
        return self.counts.max()


def test_a_shared_update_keeps_its_decorator() -> None:
    collection = MetricCollection({"a": Signed(2), "b": SignedMost(2)})
    collection.update(torch.tensor([-1]))
    assert bits(collection["b"].counts) == bits(torch.tensor([0, 1]))


def member_update(metric: Metric) -> None:
    metric.update(MORE)


def member_forward(metric: Metric) -> None:
    metric(MORE)


def member_reset(metric: Metric) -> None:
    metric.reset()


def member_merge(metric: Metric) -> None:
    other = type(metric)(2)  # type: ignore[call-arg]
    other.update(MORE)
    metric.merge_state(other)


def member_load(metric: Metric) -> None:
    metric.persistent(True)
    metric.load_state_dict({"counts": torch.tensor([9, 9]), "_update_count": torch.tensor(4)})


ALONE = [member_update, member_forward, member_reset, member_merge, member_load]


@pytest.mark.filterwarnings("ignore:.*before any update")
@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("name", ["share", "most"])
@pytest.mark.parametrize("act", ALONE)
def test_a_member_that_goes_its_own_way_leaves_the_group(
    act: Callable[[Metric], None], name: str, inference: bool
) -> None:
    collection, apart = group(), {"share": Counts(2), "most": Most(2)}
    with torch.inference_mode(inference):
        collection.update(LABELS)
        for metric in apart.values():
            metric.update(LABELS)
        act(collection[name])
        act(apart[name])
        assert bits(collection.compute()) == bits({n: m.compute() for n, m in apart.items()})
        collection.update(LABELS)
    for metric in apart.values():
        metric.update(LABELS)
    assert bits(collection.compute()) == bits({n: m.compute() for n, m in apart.items()})


POLICY = {"sync_on_compute": False, "dist_sync_on_step": True, "sync_every": 2}


@pytest.mark.parametrize("name", POLICY)
def test_a_member_that_is_to_be_synced_otherwise_leaves_the_group(name: str) -> None:
    collection = group()
    collection.update(LABELS)
    setattr(collection["most"], name, getattr(collection["most"], name))
    assert len(collection.compute_groups) == 1  # it is what it was
    setattr(collection["most"], name, POLICY[name])
    assert collection.compute_groups == {0: ["share"], 1: ["most"]}
    assert bits(collection.compute()) == bits({"share": torch.tensor([1, 2]).double() / 3, "most": torch.tensor(2)})
    collection.reset()
    assert collection.compute_groups == {0: ["share"], 1: ["most"]}
    setattr(collection["share"], name, POLICY[name])
    collection.reset()
    assert collection.compute_groups == {0: ["share", "most"]}


def apart(rank: int, world_size: int) -> dict[str, Any]:
    """Have one metric of a group stay alone, and one sync with nobody else."""
    collection = MetricCollection({name: Counts(2) for name in ("all", "mine", "alone")})
    collection["mine"].process_group = LocalTransport()
    collection["alone"].sync_on_compute = False
    collection.update(torch.tensor([rank] * (rank + 1)))
    with synced(collection["all"], collection["mine"]):
        inside = [collection[name].compute() for name in ("all", "mine")]
    assert bits(inside) == bits([collection.compute()[name] for name in ("all", "mine")])
    return collection.compute()


def test_metrics_of_a_group_that_sync_with_others_have_their_own_values() -> None:
    for rank, values in enumerate(run_threads(apart, 2)):
        own = torch.tensor([1.0 - rank, rank]).double()
        shares = {"all": torch.tensor([1, 2]).double() / 3, "mine": own, "alone": own}
        assert bits(values) == bits(shares)


def test_after_a_reset_of_all_the_group_is_one_again() -> None:
    collection = group()
    collection.update(LABELS)
    collection["most"].update(MORE)
    assert len(collection.compute_groups) == 2
    collection.reset()
    assert collection.compute_groups == {0: ["share", "most"]}
    collection.update(MORE)
    assert bits(collection.compute()) == bits({"share": torch.tensor([1.0, 0.0]).double(), "most": torch.tensor(1)})


def test_metrics_that_have_seen_updates_do_not_join() -> None:
    used = Counts(2)
    used.update(MORE)
    collection = MetricCollection({"used": used, "new": Most(2)})
    collection.update(LABELS)
    assert bits([collection["used"].counts, collection["new"].counts]) == bits(
        [torch.tensor([2, 2]), torch.tensor([1, 2])]
    )


def test_one_metric_in_two_collections() -> None:
    metric = Counts(2)
    one = MetricCollection({"a": metric, "b": Most(2)})
    two = MetricCollection({"a": metric, "z": Most(2)})
    one.update(LABELS)
    one(LABELS)
    assert bits(two["z"].counts) == bits(torch.tensor([0, 0]))
    assert two["a"] is metric
    two.update(MORE)
    assert bits([metric.counts, one["b"].counts, two["z"].counts]) == bits(
        [torch.tensor([3, 4]), torch.tensor([2, 4]), torch.tensor([1, 0])]
    )
    one.reset()
    assert bits([metric.counts, one["b"].counts, two["z"].counts]) == bits(
        [torch.tensor([0, 0]), torch.tensor([0, 0]), torch.tensor([1, 0])]
    )


def test_one_metric_under_two_names_is_updated_once() -> None:
    metric = Total()
    collection = MetricCollection({"a": metric, "b": metric})
    collection.update(ONE)
    assert bits(collection.compute()) == bits({"a": torch.tensor(1.0).double(), "b": torch.tensor(1.0).double()})


# ---- the life of all ------------------------------------------------------------------------------------------------


def everything() -> MetricCollection:
    return MetricCollection(
        {
            "sum": Total(3),
            "list": Rows(),
            "outer": Outer(),
            "welford": Welford(),
            "inner": MetricCollection({"flat": Rows(None)}, prefix="p_"),
        }
    )


def test_forward_is_the_batch_and_an_update() -> None:
    collection, twin = everything(), everything()
    for x in (ONE, TWO, torch.tensor([5.0, 6.0, 7.0])):
        fresh = everything()
        fresh.update(x)
        assert bits(collection(x)) == bits(fresh.compute())
        twin.update(x)
    assert bits(collection.compute()) == bits(twin.compute())
    assert all(metric.update_count == 3 for metric in collection.values())


def test_values_are_kept_until_something_changes() -> None:
    runs = []

    class Seen(Total):
        def compute(self) -> Tensor:
            runs.append(self)
            return super().compute()

    collection = MetricCollection({"sum": Seen(3), "list": Rows()})
    collection.update(ONE)
    first = collection.compute()
    assert bits(collection.compute()) == bits(first)
    assert len(runs) == 1
    collection["sum"].update(ONE)
    assert collection.compute()["sum"] == 5
    assert len(runs) == 2


def test_an_exception_in_one_metric_leaves_all_as_they_were() -> None:
    class Failing(Total):
        fails = ""

        def update(self, x: Tensor) -> None:
            super().update(x)
            if self.fails == "update":
                raise KeyboardInterrupt

        def compute(self) -> Tensor:
            self.total += 1
            if self.fails == "compute":
                raise KeyboardInterrupt
            return self.total

    collection = MetricCollection({"a": Rows(), "b": Failing(), "c": Total()})
    collection.update(ONE)
    before = local_bits(collection)
    for where, call in (("compute", collection.compute), ("compute", collection), ("update", collection)):
        collection["b"].fails = where
        with pytest.raises(KeyboardInterrupt):
            call(*([] if call == collection.compute else [TWO]))
        assert local_bits(collection) == before
    collection["b"].fails = ""
    assert collection(TWO)["b"] == 5
    assert collection.compute()["c"] == 5


def test_a_forward_that_cannot_be_merged_leaves_all_as_they_were() -> None:
    class Tensors(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("x", torch.zeros(0), "cat")

        def update(self, x: Tensor) -> None:
            self.x = x

        def compute(self) -> Tensor:
            return self.x

    collection = MetricCollection({"a": Rows(), "b": Tensors(), "c": Total()})
    collection(torch.ones(1, 2))
    before = local_bits(collection)
    with pytest.raises(StateError, match="trailing shape"):
        collection(torch.ones(1, 3))
    assert local_bits(collection) == before


def test_sync_unsync_and_what_is_refused() -> None:
    collection = group()
    collection.update(LABELS)
    before = local_bits(collection)
    with collection.sync_context():
        with pytest.raises(StateError, match="is synced"):
            collection.update(LABELS)
        with pytest.raises(StateError, match="is synced"):
            collection(LABELS)
        with pytest.raises(StateError, match="synced already"):
            collection.sync()
        assert collection.compute()["most"] == 2
    assert local_bits(collection) == before
    with pytest.raises(StateError, match="not synced"):
        collection.unsync()
    collection.sync()
    collection.unsync()
    collection["most"].sync()
    with pytest.raises(StateError, match="synced already"):
        collection.sync_context().__enter__()
    collection["most"].unsync()
    assert local_bits(collection) == before


def test_compute_before_update_names_the_idle_metrics() -> None:
    collection = MetricCollection({"a": Total(), "b": Rows()}, prefix="val/")
    collection["a"].update(ONE)
    with pytest.warns(UserWarning, match="`b` of `val` computes before any update"):
        collection.compute()


@pytest.mark.parametrize("how", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c)), MetricCollection.clone])
def test_a_copy_is_independent_and_still_shares_inside(how: Callable[[Any], MetricCollection]) -> None:
    collection = group()
    collection.update(LABELS)
    before = local_bits(collection)
    twin = how(collection)
    assert local_bits(twin) == before
    assert twin.compute_groups == {0: ["share", "most"]}
    twin.update(LABELS)
    assert bits(twin["most"].counts) == bits(torch.tensor([2, 4]))
    assert local_bits(collection) == before
    alone = how(collection["most"])  # type: ignore[arg-type]
    alone.update(LABELS)
    assert local_bits(collection) == before


def test_a_clone_may_have_other_affixes() -> None:
    collection = MetricCollection([Total()], prefix="a_", postfix="_z")
    twin = collection.clone(prefix="b_")
    assert (twin.output_names, collection.output_names) == (("b_Total_z",), ("a_Total_z",))
    assert collection.clone(postfix="").output_names == ("a_Total",)


def test_metrics_can_be_added_later() -> None:
    collection = MetricCollection({"share": Counts(2)})
    collection.add_metrics({"most": Most(2)})
    assert collection.compute_groups == {0: ["share", "most"]}
    collection.update(LABELS)
    collection.add_metrics([Names()])
    assert list(collection.output_names) == ["share", "most", "Names"]


def test_a_state_dict_goes_round() -> None:
    collection = MetricCollection({"share": Counts(2), "most": Most(2), "rows": Rows()})
    collection.persistent(True)
    collection["rows"].update(ONE)
    collection["share"].update(LABELS)
    collection["most"].update(LABELS)
    twin = MetricCollection({"share": Counts(2), "most": Most(2), "rows": Rows()})
    twin.persistent(True)
    twin.load_state_dict(collection.state_dict())
    assert local_bits(twin) == local_bits(collection)
    twin["most"].update(MORE)
    assert bits(twin["share"].counts) == bits(torch.tensor([1, 2]))


def test_accuracy_and_rows_take_what_they_know() -> None:
    collection = MetricCollection({"acc": Accuracy(), "classes": PerClass(2)})
    collection.update(preds=LABELS, target=LABELS, labels=LABELS)
    assert collection.compute()["acc"] == 1
