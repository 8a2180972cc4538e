"""The life of a metric in a world of one."""

from __future__ import annotations

import copy
import functools
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from syncmetrics import Metric, StateError, dim_zero_cat
from tests.samples import Accuracy, Names, Outer, PerClass, Rows, Total, Welford, bits, local_bits

ONE, TWO, THREE = torch.tensor([1.0]), torch.tensor([2.0, 2.0]), torch.tensor([3.0])


# ---- states as attributes -------------------------------------------------------------------------------------------


def test_states_are_attributes_that_can_be_edited_rebound_and_appended_to() -> None:
    acc, rows = Accuracy(), Rows()
    acc.update(torch.tensor([1, 2]), torch.tensor([1, 3]))
    acc.update(torch.tensor([1]), torch.tensor([1]))
    rows.update(ONE)
    rows.update(TWO)
    assert bits(acc.metric_state) == bits({"correct": torch.tensor(2), "count": torch.tensor(3)})
    assert bits(rows.rows) == bits([ONE, TWO])
    assert acc.compute() == pytest.approx(2 / 3)
    acc.count = torch.tensor(4)
    assert acc.compute() == 0.5


def test_two_metrics_share_nothing() -> None:
    one, other = Rows(), Rows()
    one.update(ONE)
    assert other.rows == []


def test_metric_state_is_a_new_dict() -> None:
    rows = Rows()
    rows.update(ONE)
    state = rows.metric_state
    state["rows"].append(TWO)
    del state["rows"]
    assert len(rows.rows) == 1


def test_states_are_neither_parameters_nor_buffers() -> None:
    model = nn.ModuleDict({"metric": Outer(), "layer": nn.Linear(2, 1)})
    assert {name for name, _ in (*model.named_parameters(), *model.named_buffers())} == {"layer.weight", "layer.bias"}
    assert "metric.inner.total" not in model.state_dict()


def test_parameters_and_buffers_of_a_metric_stay_what_they_are() -> None:
    class Weighted(Total):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.tensor(2.0))
            self.net = nn.Linear(1, 1)

    metric = Weighted()
    assert [name for name, _ in metric.named_buffers()] == ["scale"]
    assert len(list(metric.parameters())) == 2
    assert metric.half().scale.dtype is torch.float16
    assert metric.total.dtype is torch.float64


def test_a_metric_has_what_modules_have() -> None:
    metric = Total()
    assert not hasattr(metric, "nothing")
    with pytest.raises(AttributeError, match="nothing"):
        _ = metric.nothing
    assert "Total" in repr(metric)
    metric.label = "x"
    del metric.label
    assert not hasattr(metric, "label")


# ---- dtype and device -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cast", [nn.Module.half, nn.Module.double, nn.Module.bfloat16, nn.Module.float])
def test_a_cast_keeps_the_dtype(cast: Callable[[nn.Module], nn.Module]) -> None:
    class Both(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("f", torch.zeros(2, dtype=torch.float32), "sum")
            self.add_state("d", torch.zeros(2, dtype=torch.float64), "sum")
            self.add_state("rows", [], "cat")

        def update(self) -> None:
            self.rows.append(torch.zeros(1, dtype=torch.float32))

        def compute(self) -> None: ...

    metric = Both()
    metric.update()
    before = local_bits(metric)
    cast(nn.ModuleList([metric]))
    metric.to(torch.bfloat16)
    metric.type(torch.float16)
    assert local_bits(metric) == before
    metric.reset()
    assert (metric.f.dtype, metric.d.dtype) == (torch.float32, torch.float64)


def test_a_move_takes_states_defaults_and_inner_metrics_along() -> None:
    metric = Outer()
    metric.update(ONE)
    nn.ModuleList([metric]).to("meta")
    assert metric.device.type == metric.inner.device.type == "meta"
    assert metric.inner.total.device.type == metric.many[0].rows[0].device.type == "meta"
    metric.reset()
    assert metric.batches.device.type == "meta"


def test_the_first_batch_says_where() -> None:
    metric = Total()
    metric.update(ONE.to("meta"))
    assert metric.total.device.type == "meta"
    metric = Total()
    metric.update(x=ONE.to("meta"))
    assert metric.total.device.type == "meta"


# ---- counting and caching -------------------------------------------------------------------------------------------


class Counted(Total):
    """Counts how often `compute` really runs."""

    runs = 0

    def compute(self) -> Tensor:
        self.runs += 1
        return super().compute()


def test_updates_are_counted() -> None:
    metric = Total()
    assert (metric.update_count, metric.update_called) == (0, False)
    metric.update(ONE)
    metric(ONE)
    assert (metric.update_count, metric.update_called) == (2, True)
    metric.compute()
    assert metric.update_count == 2
    metric.reset()
    assert (metric.update_count, metric.update_called) == (0, False)
    assert metric.total == 0


def change_update(metric: Metric) -> None:
    metric.update(ONE)


def change_forward(metric: Metric) -> None:
    metric(ONE)


def change_merge(metric: Metric) -> None:
    other = Counted()
    other.update(ONE)
    metric.merge_state(other)


def change_set(metric: Metric) -> None:
    metric.total = torch.tensor(7.0, dtype=torch.float64)


def change_load(metric: Metric) -> None:
    metric.persistent(True)
    metric.load_state_dict({"total": torch.tensor(9.0), "_update_count": torch.tensor(3)})


CHANGES = [change_update, change_forward, change_merge, change_set, change_load]


@pytest.mark.parametrize("change", CHANGES)
def test_a_value_is_kept_until_something_changes(change: Callable[[Metric], None]) -> None:
    metric = Counted()
    metric.update(TWO)
    first = metric.compute()
    assert metric.compute() == first
    assert metric.runs == 1
    change(metric)
    metric.runs = 0
    assert metric.compute() == metric.total
    assert metric.compute() != first
    assert metric.runs == 1


def test_a_value_is_forgotten_by_reset_and_by_a_change_inside() -> None:
    outer = Outer()
    outer.update(ONE)
    assert outer.compute()["total"] == 1
    outer.inner.update(TWO)
    assert outer.compute()["total"] == 5
    outer.reset()
    outer.update(ONE)
    assert outer.compute()["total"] == 1


def test_a_compute_that_rebinds_what_it_sees_is_kept_too() -> None:
    class Joined(Rows):
        runs = 0

        def compute(self) -> Tensor:
            self.runs += 1
            self.rows = [dim_zero_cat(self.rows)]
            return self.rows[0]

    for metric in (Joined(), Joined(sync_on_compute=False)):
        metric.update(ONE)
        metric.update(TWO)
        assert torch.equal(metric.compute(), metric.compute())
        assert metric.runs == 1
        assert len(metric.rows) == 2


def test_compute_before_update_warns() -> None:
    with pytest.warns(UserWarning, match=r"`Total` computes before any update on any rank"):
        assert Total().compute() == 0


@pytest.mark.parametrize("sync_on_compute", [True, False])
def test_compute_may_edit_what_it_sees(sync_on_compute: bool) -> None:
    class Editing(Outer):
        def compute(self) -> Any:
            self.inner.total += 100
            self.many[0].rows.append(ONE)
            self.batches = torch.tensor(-1)
            return self.inner.total

    metric = Editing(sync_on_compute=sync_on_compute)
    metric.update(TWO)
    before = local_bits(metric)
    assert metric.compute() == 104
    assert local_bits(metric) == before


# ---- forward --------------------------------------------------------------------------------------------------------


def test_forward_gives_the_batch_and_adds_it() -> None:
    metric, twin = Total(10), Total(10)
    assert metric(ONE) == 11
    assert metric(TWO) == 14
    twin.update(ONE)
    twin.update(TWO)
    assert local_bits(metric) == local_bits(twin)


KEEPERS: dict[str, Callable[[], Metric]] = {
    "sum": lambda: Total(3),
    "list": Rows,
    "flat list": lambda: Rows(None),
    "nested": Outer,
    "welford": Welford,
}


@pytest.mark.parametrize("kind", KEEPERS)
def test_forward_accumulates_what_update_does(kind: str) -> None:
    metric, twin = KEEPERS[kind](), KEEPERS[kind]()
    for x in (ONE, TWO, THREE):
        fresh = KEEPERS[kind]()
        fresh.update(x)
        assert bits(metric(x)) == bits(fresh.compute())
        twin.update(x)
    assert bits(metric.compute()) == bits(twin.compute())
    assert metric.update_count == twin.update_count == 3


def mean_of(stack: Tensor) -> Tensor:
    return stack.mean(0)


REDUCED: list[tuple[Any, list[float]]] = [("min", [3, 1, 2]), ("max", [1, 3, 2]), ("mean", [3, 1]), (mean_of, [4])]


@pytest.mark.parametrize(("fx", "values"), REDUCED)
def test_forward_merges_by_the_reduction(fx: Any, values: list[float]) -> None:
    class One(Metric):
        full_state_update = False  # merging is what is wanted here, though `update` does something else

        def __init__(self) -> None:
            super().__init__()
            default = {"min": float("inf"), "max": -float("inf")}.get(fx, 0.0)
            self.add_state("x", torch.tensor(default), fx)

        def update(self, x: float) -> None:
            self.x = torch.tensor(float(x))

        def compute(self) -> Tensor:
            return self.x

    metric = One()
    for x in values:
        assert metric(x) == x
    want = {"min": min, "max": max}.get(fx, lambda v: sum(v) / len(v))(values)
    assert metric.compute() == want


def test_forward_runs_update_once_and_costs_nothing_for_what_was_accumulated() -> None:
    class Seen(Rows):
        runs = 0

        def update(self, x: Tensor) -> None:
            self.runs += 1
            super().update(x)

    metric = Seen()
    metric(ONE)
    rows, first = metric.rows, metric.rows[0]
    for _ in range(5):
        metric(TWO)
    assert metric.runs == 6
    assert metric.rows is rows
    assert metric.rows[0] is first is ONE
    assert len(rows) == 6


def test_a_tensor_that_cannot_be_merged_is_updated_twice() -> None:
    runs = []

    class Last(Metric):
        seen = 0

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.add_state("x", torch.tensor(0.0), None)

        def update(self, x: Tensor) -> None:
            runs.append(x)
            self.seen += 1
            self.x = self.x + x.sum()

        def compute(self) -> Tensor:
            return self.x

    metric = Last()
    assert metric(ONE) == 1
    assert metric(TWO) == 4
    assert metric.compute() == 5
    assert (metric.update_count, len(runs)) == (2, 4)
    assert metric.seen == 2  # its attributes are as after one


def test_a_metric_may_ask_for_two_updates() -> None:
    class Greedy(Counted):
        full_state_update = True

    metric = Greedy()
    assert metric(ONE) == 1
    assert metric(TWO) == 4
    assert metric.compute() == 5


def test_a_metric_inside_may_be_called_in_update() -> None:
    class Around(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Total()

        def update(self, x: Tensor) -> None:
            self.last = self.inner(x)

        def compute(self) -> Tensor:
            return self.inner.compute()

    metric = Around()
    metric.update(ONE)
    assert metric(TWO) == 4
    assert metric.last == 4
    assert metric.compute() == 5
    assert metric.inner.update_count == 2


# ---- what was raised leaves no trace --------------------------------------------------------------------------------


class Touchy(Metric):
    """Fails after it has changed every kind of state."""

    def __init__(self, error: type[BaseException] | None = None, where: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.error, self.where = error, where
        self.add_state("total", torch.tensor(0.0), "sum")
        self.add_state("rows", [], "cat")
        self.add_state("names", [])
        self.inner = Total()

    def _touch(self, where: str) -> None:
        self.total += 1
        self.rows.append(ONE)
        self.names = [*self.names, "x"]
        self.inner.total += 1
        if where == self.where and self.error is not None:
            raise self.error("on purpose")

    def update(self) -> None:
        self.inner.update(ONE)
        self._touch("update")

    def compute(self) -> Tensor:
        self._touch("compute")
        return self.total


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize(("where", "call"), [("compute", "compute"), ("compute", "forward"), ("update", "forward")])
def test_an_exception_leaves_the_states_byte_for_byte(error: type[BaseException], where: str, call: str) -> None:
    metric = Touchy()
    metric.update()
    before, kept = local_bits(metric), metric.rows
    metric.error, metric.where = error, where
    with pytest.raises(error, match="on purpose"):
        getattr(metric, call)()
    assert local_bits(metric) == before
    assert metric.rows is kept
    metric.error = None
    metric.update()
    assert metric.compute() == 3
    assert metric.forward() == 2
    assert metric.update_count == 3


def test_an_update_that_fails_undoes_all_but_edits_in_place() -> None:
    class Rebinding(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("total", torch.tensor(0.0), "sum")
            self.add_state("rows", [], "cat")
            self.add_state("names", [])

        def update(self, fail: bool) -> None:
            self.total = self.total + 1
            self.rows.append(ONE)
            self.names = [*self.names, "x"]
            if fail:
                raise ValueError("on purpose")

        def compute(self) -> Tensor:
            return self.total

    metric = Rebinding()
    metric.update(False)
    before, kept = local_bits(metric), metric.rows
    with pytest.raises(ValueError, match="on purpose"):
        metric.update(True)
    assert local_bits(metric) == before
    assert metric.rows is kept
    assert metric.update_count == 1


def test_a_list_that_cannot_travel_is_told_at_once_and_undone() -> None:
    rows, names = Rows(), Names()
    rows.update(ONE)
    names.update("a")
    before = local_bits(rows), local_bits(names)
    with pytest.raises(TypeError, match=r"`Rows`: state `rows` holds a float beside tensors"):
        rows.update(2.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"`Names`: state `names` holds a builtins.set"):
        names.update("b", {1})
    assert (local_bits(rows), local_bits(names)) == before


# ---- sync in a world of one -----------------------------------------------------------------------------------------


def test_sync_shows_a_copy_and_unsync_puts_the_local_states_back() -> None:
    metric = Outer()
    metric.update(TWO)
    before = local_bits(metric)
    metric.sync()
    metric.inner.total += 1
    metric.many[0].rows.append(ONE)
    metric.unsync()
    assert local_bits(metric) == before
    with metric.sync_context():
        metric.inner.total += 1
        assert metric.compute()["total"] == 5
    assert local_bits(metric) == before


def test_what_a_synced_metric_refuses() -> None:
    metric, other = Outer(), Outer()
    metric.update(ONE)
    metric.sync()
    for call in (lambda: metric.update(ONE), lambda: metric(ONE), lambda: metric.merge_state(other)):
        with pytest.raises(StateError, match=r"`Outer` is synced.*unsync\(\)"):
            call()
    with pytest.raises(StateError, match=r"`Total` is synced"):
        metric.inner.update(ONE)
    with pytest.raises(StateError, match="synced"):
        other.merge_state(metric)
    for again in (metric.sync, metric.sync_context, metric.inner.sync):
        with pytest.raises(StateError, match="synced already"):
            again()
    metric.unsync()
    with pytest.raises(StateError, match="not synced"):
        metric.unsync()
    assert metric.compute()["total"] == 1


def test_a_metric_inside_that_is_synced_is_told_before_anything_is_sent() -> None:
    metric = Outer()
    metric.update(ONE)
    before = local_bits(metric)
    metric.inner.sync()
    for call in (metric.sync, lambda: metric.sync_context().__enter__()):
        with pytest.raises(StateError, match="synced already"):
            call()
    metric.inner.unsync()
    assert local_bits(metric) == before


def test_reset_while_synced_ends_the_sync() -> None:
    metric = Total()
    metric.update(ONE)
    with metric.sync_context():
        metric.reset()
    assert (metric.total, metric.update_count) == (0, 0)
    metric.update(ONE)
    assert metric.compute() == 1


def test_an_exception_in_a_sync_context_puts_the_states_back() -> None:
    metric = Total()
    metric.update(ONE)

    def use() -> None:
        with metric.sync_context():
            metric.total += 5
            raise KeyError

    with pytest.raises(KeyError):
        use()
    assert metric.total == 1


def test_another_group_means_another_value() -> None:
    from syncmetrics.transport import LocalTransport

    metric = Counted()
    metric.update(ONE)
    metric.compute()
    metric.process_group = LocalTransport()
    metric.compute()
    assert metric.runs == 2


# ---- merging --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KEEPERS)
def test_merge_state(kind: str) -> None:
    one, other, whole = (KEEPERS[kind]() for _ in range(3))
    for metric, batches in ((one, [ONE, TWO]), (other, [THREE]), (whole, [ONE, TWO, THREE])):
        for x in batches:
            metric.update(x)
    before = local_bits(other)
    one.merge_state(other)
    assert local_bits(other) == before
    assert one.update_count == 3
    assert bits(one.compute()) == bits(whole.compute())
    one.update(ONE)
    assert local_bits(other) == before


@pytest.mark.parametrize("kind", KEEPERS)
def test_merging_what_saw_no_update_changes_nothing(kind: str) -> None:
    some, fresh = KEEPERS[kind](), KEEPERS[kind]()
    some.update(TWO)
    before = local_bits(some)
    some.merge_state(KEEPERS[kind]())
    assert local_bits(some) == before
    fresh.merge_state(some)
    assert local_bits(fresh) == before


def test_states_can_be_merged_as_a_dict() -> None:
    metric, other = Total(), Total()
    metric.update(ONE)
    other.update(TWO)
    metric.merge_state(other.metric_state)
    assert (metric.compute(), metric.update_count) == (5, 2)


def test_a_merge_that_fails_changes_nothing() -> None:
    class Pair(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("rows", [], "cat")
            self.add_state("x", torch.zeros(0), "cat")

        def update(self, x: Tensor) -> None:
            self.rows.append(x)
            self.x = torch.cat([self.x.to(x.dtype).reshape(-1, *x.shape[1:]), x])

        def compute(self) -> None: ...

    one, other = Pair(), Pair()
    one.update(torch.zeros(1, 2))
    other.update(torch.zeros(1, 3))
    before = local_bits(one), local_bits(other)
    with pytest.raises(StateError, match="trailing shape"):
        one.merge_state(other)
    assert (local_bits(one), local_bits(other)) == before


# ---- classes --------------------------------------------------------------------------------------------------------


def test_super_is_counted_once() -> None:
    class Doubled(Total):
        def update(self, x: Tensor) -> None:
            super().update(x)
            super().update(x)

        def compute(self) -> Tensor:
            return super().compute() + 1

    metric = Doubled()
    metric.update(ONE)
    assert (metric.update_count, metric.compute()) == (1, 3)
    assert metric(TWO) == 9


def test_a_mixin_in_front_and_one_that_brings_update_and_compute() -> None:
    class Twice:
        def update(self, x: Tensor) -> None:
            super().update(2 * x)  # type: ignore[misc]

    class TwiceTotal(Twice, Total):
        pass

    class Body:
        def update(self, x: Tensor) -> None:
            self.total = self.total + x.sum()

        def compute(self) -> Tensor:
            return self.total

    class Made(Body, Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("total", torch.tensor(0.0), "sum")

    for metric, value in ((TwiceTotal(), 2), (Made(), 1)):
        metric.update(ONE)
        assert (metric.update_count, metric.compute()) == (1, value)
        with metric.sync_context(), pytest.raises(StateError, match="synced"):
            metric.update(ONE)


def test_a_decorated_update() -> None:
    def absolute(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def update(self: Any, x: Tensor) -> None:
            function(self, x.abs())

        return update

    class Inherited(Total):
        update = absolute(Total.update)

    class Own(Total):
        @absolute
        def update(self, x: Tensor) -> None:
            self.total += x.sum()

    for metric in (Own(), Inherited()):
        metric.update(-ONE)
        assert metric.update_count == 1
        assert metric.compute() == 1


def test_a_metric_in_a_metric_in_a_list() -> None:
    metric = Outer()
    metric.update(ONE)
    metric(TWO)
    assert bits(metric.compute()) == bits(
        {"total": torch.tensor(5.0).double(), "rows": torch.tensor([1.0, 2.0, 2.0]), "batches": torch.tensor(2)}
    )
    assert metric.inner.update_count == 2
    metric.reset()
    assert (metric.inner.total, metric.many[0].rows) == (0, [])


def test_what_was_not_written_is_told_when_a_metric_is_made() -> None:
    class Empty(Metric):
        pass

    class Half(Metric):
        def update(self) -> None:
            """Do nothing."""

    with pytest.raises(TypeError, match="`Empty` must have an `update`"):
        Empty()
    with pytest.raises(TypeError, match="`Half` must have a `compute`"):
        Half()


# ---- copies ---------------------------------------------------------------------------------------------------------

COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda metric: pickle.loads(pickle.dumps(metric)),
    "clone": lambda metric: metric.clone(),
}


@pytest.mark.parametrize("kind", [*KEEPERS, "per class"])
@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_the_same_and_independent(how: str, kind: str) -> None:
    make, x = (lambda: PerClass(3), torch.tensor([1, 2])) if kind == "per class" else (KEEPERS[kind], TWO)
    metric = make()
    metric.update(x)
    before, value = local_bits(metric), bits(metric.compute())
    twin = COPIES[how](metric)
    assert local_bits(twin) == before
    twin.update(x)
    assert local_bits(metric) == before
    assert local_bits(twin) != before
    twin.reset()
    twin.update(x)
    assert bits(twin.compute()) == value


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_a_synced_metric_can_be_unsynced(how: str) -> None:
    metric = Total()
    metric.update(ONE)
    with metric.sync_context():
        twin = COPIES[how](metric)
    twin.unsync()
    twin.update(ONE)
    assert (twin.compute(), metric.compute()) == (2, 1)


# ---- autograd -------------------------------------------------------------------------------------------------------


def test_no_state_keeps_a_graph() -> None:
    x = torch.ones(2, requires_grad=True)
    for metric in (Total(), Rows(), Rows(None), Outer(), Welford()):
        metric.update(x * 2)
        metric(x * 2)
        values = [v for _, m in metric.named_modules() if isinstance(m, Metric) for v in m.metric_state.values()]
        flat = [item for v in values for item in (v if isinstance(v, list) else [v])]
        assert not any(item.requires_grad for item in flat)
    total = Total()
    total.total = x.sum()
    assert not total.total.requires_grad


def test_a_module_in_an_update_trains_on() -> None:
    x = torch.ones(2, requires_grad=True)
    Total()(x)
    (x * 2).sum().backward()
    assert x.grad is not None


class First(Metric):
    """Keeps its first input itself as the state, and edits it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("x", torch.zeros(2), "sum")

    def update(self, x: Tensor) -> None:
        if self.update_count == 0:
            self.x = x
        else:
            self.x += x

    def compute(self) -> Tensor:
        self.x += 0
        return self.x


def step_update(metric: Metric) -> None:
    metric.update(TWO.clone())


def step_forward(metric: Metric) -> None:
    metric(TWO.clone())


def step_merge(metric: Metric) -> None:
    other = type(metric)()
    other.update(TWO.clone())
    metric.merge_state(other)


def step_reset(metric: Metric) -> None:
    metric.reset()
    metric.update(TWO.clone())


@pytest.mark.parametrize("then", [step_update, step_forward, step_merge, step_reset])
@pytest.mark.parametrize("first", [step_update, step_forward, step_merge, step_reset])
@pytest.mark.parametrize("make", [First, Total, lambda: First(sync_on_compute=False)], ids=["first", "total", "alone"])
def test_inference_mode(
    make: Callable[[], Metric], first: Callable[[Metric], None], then: Callable[[Metric], None]
) -> None:
    """A state is never an inference tensor, which no one may edit outside of that mode."""
    metric = make()
    with torch.inference_mode():
        first(metric)
        then(metric)
        metric.update(TWO.clone())
        metric.compute()
    metric.update(TWO)
    metric.compute()
    assert metric.update_count == (3 if then is step_reset else 4)


def test_inference_mode_and_a_move() -> None:
    metric = Total()
    with torch.inference_mode():
        metric.update(ONE.to("meta"))
        metric.update(ONE.to("meta"))
    assert metric.update_count == 2


def test_no_warning_in_the_usual_life() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric = Outer()
        for x in (ONE, TWO):
            metric(x)
        metric.compute()
        metric.reset()


# ---- states as attributes -------------------------------------------------------------------------------------------


class Either(Metric):
    """Declares one state or the other."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.add_state(name, torch.tensor(1.0), dist_reduce_fx="sum")

    def update(self) -> None:
        """Do nothing."""

    def compute(self) -> None:
        """Give nothing."""


def test_a_state_of_one_metric_is_none_of_another_of_its_class() -> None:
    low, high = Either("low"), Either("high")
    assert low.low == high.high == 1
    for metric, name in ((low, "high"), (high, "low")):
        assert not hasattr(metric, name)
        with pytest.raises(AttributeError, match=f"'Either' object has no attribute '{name}'"):
            getattr(metric, name)
    low.high = 3  # type: ignore[assignment]  # no state here
    low.register_buffer("more", torch.zeros(2))
    assert low.high == 3
    assert high.high == 1
    high.low = torch.nn.Linear(1, 1)  # type: ignore[assignment]
    assert isinstance(high.low, torch.nn.Linear)


def test_a_metric_that_was_unpickled_elsewhere_reads_its_states() -> None:
    data = pickle.dumps(Either("low"))
    reader = vars(Either).get("low")
    del Either.low  # type: ignore[attr-defined]  # as in a process that has made no such metric
    try:
        assert pickle.loads(data).low == 1
    finally:
        Either.low = reader  # type: ignore[attr-defined]


def test_a_subclass_may_declare_what_its_base_declared_in_another_metric() -> None:
    class Child(Either):
        @property
        def kept(self) -> int:
            return 1

    Either("low")
    assert Child("low").low == 1
    for name in ("kept", "higher_is_better", "compute"):
        with pytest.raises(StateError, match="taken by an attribute"):
            Child(name)
    assert Child.higher_is_better is None
