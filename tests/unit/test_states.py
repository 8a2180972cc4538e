from __future__ import annotations

from typing import Any

import pytest
import torch

from syncmetrics import StateError, dim_zero_cat
from syncmetrics.states.merge import merge_over_time, own_copy
from syncmetrics.states.spec import StateSpec, check_value, declare_state, fresh_states, spec_key
from syncmetrics.states.store import Mode, Store
from tests.samples import bits

CPU = torch.device("cpu")


def specs_of(**declared: Any) -> dict[str, StateSpec]:
    return {name: declare_state(name, *arguments) for name, arguments in declared.items()}


# ---- declarations and values ----------------------------------------------------------------------------------------


def test_a_declaration_owns_its_default() -> None:
    default = torch.zeros(2, requires_grad=True)
    spec = declare_state("x", default, "sum")
    with torch.no_grad():
        default += 1
    states = fresh_states({"x": spec}, CPU)
    states["x"] += 1  # type: ignore[operator]
    assert bits(fresh_states({"x": spec}, CPU)["x"]) == bits(torch.zeros(2))
    assert not states["x"].requires_grad  # type: ignore[union-attr]


def test_a_default_with_strides_becomes_plain_memory() -> None:
    spec = declare_state("x", torch.zeros(1, 3).expand(4, 3), "sum")
    (state,) = fresh_states({"x": spec}, CPU).values()
    assert isinstance(state, torch.Tensor)
    state[0] += 1
    assert state.sum() == 3


def test_a_default_made_in_inference_mode_can_be_edited() -> None:
    with torch.inference_mode():
        (state,) = fresh_states({"x": declare_state("x", torch.zeros(2), "sum")}, CPU).values()
    assert not state.is_inference()  # type: ignore[union-attr]


def test_only_a_sum_that_does_not_start_at_zero_has_an_offset() -> None:
    assert declare_state("x", torch.zeros(2), "sum").offset is None
    assert declare_state("x", torch.ones(2), "max").offset is None
    assert bits(declare_state("x", torch.tensor([0, 3]), "sum").offset) == bits(torch.tensor([0, 3]))


ACCEPTED = [torch.zeros(0), torch.tensor(1), [], [torch.zeros(2), torch.tensor(1)], ["a", 1, None], [[1], (2,), {}]]


@pytest.mark.parametrize("value", ACCEPTED, ids=repr)
def test_values(value: Any) -> None:
    check_value(value)


SPARSE = torch.zeros(2, 2).to_sparse()
REFUSED = [
    (1.0, "is a float"),
    ((torch.zeros(1),), "is a tuple"),
    (None, "is a NoneType"),
    (SPARSE, "sparse"),
    ([torch.zeros(1), SPARSE], "sparse"),
    ([torch.zeros(1), 2.0], "holds a float beside tensors; append torch.as_tensor"),
    (["a", torch.zeros(1)], "holds a torch.Tensor"),
    ([["a", torch.zeros(1)]], "holds a torch.Tensor inside"),
    ([object()], "cannot travel between ranks"),
]


@pytest.mark.parametrize(("value", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_no_values(value: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        check_value(value)


def test_only_new_elements_are_looked_at() -> None:
    check_value([object(), "a"], start=1)
    check_value([torch.zeros(1)], start=1)


# ---- values over time -----------------------------------------------------------------------------------------------

SPECS = specs_of(
    s=(torch.tensor(5), "sum"), m=(torch.tensor(0.0), "mean"), lo=(torch.tensor(9), "min"), c=(torch.zeros(0), "cat"),
    rows=([], "cat"), names=([],), prod=(torch.tensor(1.0), lambda stack: stack.prod(0)),
)  # fmt: skip


def states(s: int, m: float, lo: int, c: list[int], prod: float) -> dict[str, Any]:
    rows = torch.tensor(c)
    return {
        "s": torch.tensor(s), "m": torch.tensor(m), "lo": torch.tensor(lo), "c": rows, "rows": [rows],
        "names": [str(x) for x in c], "prod": torch.tensor(prod),
    }  # fmt: skip


def test_merge_over_time() -> None:
    a, b = states(7, 1.0, 3, [1], 2.0), states(6, 4.0, 4, [2, 3], 5.0)
    before = bits([a, b])
    merged = merge_over_time(SPECS, a, b, (1, 2))
    want = states(8, 3.0, 3, [1, 2, 3], 10.0)
    want["rows"] = [torch.tensor([1]), torch.tensor([2, 3])]
    assert bits(merged) == bits(want)
    assert bits([a, b]) == before
    assert merged["rows"] is not a["rows"]


def test_states_that_saw_no_update_change_nothing() -> None:
    """A callable, too: one process would never have called it on a default."""
    specs = {**SPECS, "mean_of": declare_state("mean_of", torch.tensor(0.0), lambda stack: stack.mean(0))}
    fresh = fresh_states(specs, CPU)
    some = {**states(6, 4.0, 4, [2, 3], 5.0), "mean_of": torch.tensor(4.0)}
    assert bits(merge_over_time(specs, some, fresh, (2, 0))) == bits(some)
    assert bits(merge_over_time(specs, fresh, some, (0, 2))) == bits(some)


def test_a_shape_that_only_an_update_could_know() -> None:
    specs = specs_of(x=(torch.tensor(0.0), "sum"))
    some = {"x": torch.ones(3)}
    assert bits(merge_over_time(specs, fresh_states(specs, CPU), some, (0, 1))) == bits(some)
    assert bits(merge_over_time(specs, some, fresh_states(specs, CPU), (1, 0))) == bits(some)


def test_a_tensor_without_reduction_cannot_be_merged() -> None:
    specs = specs_of(x=(torch.tensor(0.0),))
    with pytest.raises(StateError, match=r"`x` .*dist_reduce_fx=None.*override `merge_states"):
        merge_over_time(specs, fresh_states(specs, CPU), {"x": torch.tensor(1.0)}, (1, 1))


def test_a_copy_shares_no_tensor_and_no_list() -> None:
    a = states(1, 2.0, 3, [4], 5.0)
    before = bits(a)
    b = own_copy(a)
    assert bits(b) == before
    b["s"] += 1  # type: ignore[operator]
    b["rows"].append(torch.zeros(1))  # type: ignore[union-attr]
    assert bits(a) == before


def test_dim_zero_cat() -> None:
    x = torch.arange(3)
    assert dim_zero_cat(x) is x
    assert bits(dim_zero_cat([torch.tensor(0), torch.tensor([1, 2])])) == bits(x)
    assert bits(dim_zero_cat([])) == bits(torch.zeros(0))


# ---- the store ------------------------------------------------------------------------------------------------------


def store_of(value: int) -> Store:
    return Store({"x": torch.tensor(value), "rows": [torch.tensor(value)]}, value)


def test_a_store_shows_other_states_and_puts_its_own_back() -> None:
    store = store_of(3)
    mine, version = store.states, store.version
    store.show({"x": torch.tensor(9), "rows": []}, 9, Mode.SYNCED)
    assert (store.update_count, store.mode, store.local) == (9, Mode.SYNCED, (mine, 3))
    store.put_back()
    store.put_back()
    assert (store.states, store.update_count, store.mode) == (mine, 3, Mode.LOCAL)
    assert store.version == version


def test_new_local_states_replace_whatever_is_shown() -> None:
    store = store_of(3)
    version = store.version
    store.show({}, 9, Mode.SYNCED)
    store.replace({"x": torch.tensor(1)}, 1)
    assert (store.update_count, store.mode, store.aside) == (1, Mode.LOCAL, [])
    assert store.version > version
    store.put_back()
    assert store.update_count == 1


def test_a_fork_has_the_local_states_and_shares_none_of_them() -> None:
    store = store_of(3)
    store.holders = 2
    twin = store.fork()
    assert (store.holders, twin.holders) == (1, 1)
    assert bits(twin.states) == bits(store.states)
    twin.states["x"] += 1  # type: ignore[operator]
    assert store.states["x"] == 3


def test_a_fork_made_in_inference_mode_can_be_edited() -> None:
    with torch.inference_mode():
        twin = store_of(3).fork()
        moved = store_of(3)
        moved.move({}, torch.device("meta"))
    assert not twin.states["x"].is_inference()  # type: ignore[union-attr]
    assert not moved.states["x"].is_inference()  # type: ignore[union-attr]


def test_a_move_takes_lists_and_what_is_aside_along() -> None:
    store = store_of(3)
    store.show(store_of(4).states, 4, Mode.SYNCED)
    store.move({}, torch.device("meta"))
    for states_ in (store.states, store.aside[0].states):
        assert states_["x"].device.type == states_["rows"][0].device.type == "meta"  # type: ignore[union-attr]


def test_the_key_of_equal_declarations_is_equal() -> None:
    def key(default: Any, fx: Any) -> Any:
        return spec_key(specs_of(x=(default, fx)).values())

    assert key(torch.zeros(2), "sum") == key(torch.zeros(2), "sum")
    others = [key(torch.zeros(3), "sum"), key(torch.zeros(2), "max"), key([], "cat")]
    others += [key(torch.zeros(2).double(), "sum"), key([], None)]
    assert len({key(torch.zeros(2), "sum"), *others}) == 6


@pytest.mark.parametrize(
    "default", [torch.zeros(100, 100), torch.full((5000,), 7, dtype=torch.int16), torch.arange(5000.0)]
)
def test_a_large_default_is_kept_in_little_memory_if_it_is_one_value(default: torch.Tensor) -> None:
    spec = declare_state("x", default, "max")
    assert torch.equal(spec.default, default)
    alike = bool((default == default.flatten()[0]).all())
    assert spec.default.untyped_storage().nbytes() == (default.element_size() if alike else default.nbytes)
    (fresh,) = fresh_states({"x": spec}, torch.device("cpu")).values()
    fresh += 1
    assert fresh.is_contiguous()
    assert torch.equal(fresh, default + 1)
    assert torch.equal(spec.default, default)
