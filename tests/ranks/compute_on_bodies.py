"""What a rank does in the tests of `compute_on`. It imports no pytest, so that ranks start soon."""

from __future__ import annotations

import os
import threading
from typing import Any

import torch
import torch.distributed as dist
import torch.utils._pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from syncmetrics import ClasswiseWrapper, MetricCollection, PeerError, PeerLostError, StateError, share_errors
from syncmetrics.schedule import one_rank
from syncmetrics.transport import resolve_transport
from tests.ranks.async_bodies import everything, feed, raised
from tests.samples import Names, PerClass, Rows, Total, bits, local_bits

VALUES: list[Any] = [
    torch.tensor(3.5),
    torch.zeros(0, 3, dtype=torch.bfloat16),
    torch.arange(6).reshape(2, 3).t(),
    0.1,
    float("inf"),
    7,
    None,
    True,
    "text \ud800 ü",
    b"bytes",
    {"a": torch.ones(2), 3: (1.5, [torch.tensor(True), "x"]), "empty": {}, "tensor": ("tensor", 0, True)},
    (torch.ones(1), {"list": []}, ()),
    torch.arange(5000.0),
    {f"class {number}": torch.tensor(float(number)) for number in range(200)},
]


def given(value: Any) -> Any:
    """A value as `compute` gives it: tensors of one element have no dimensions."""
    return pytree.tree_map_only(torch.Tensor, lambda t: t.reshape(()) if t.numel() == 1 else t, value)


class Gives(Total):
    """Gives any value, on the rank that computes, and counts how often."""

    def __init__(self, value: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._value, self.computed = value, 0

    def compute(self) -> Any:
        self.computed += 1
        return self._value() if callable(self._value) else self._value


def every_value(rank: int, world_size: int) -> None:
    for number, value in enumerate(VALUES):
        chosen = number % world_size
        metric = Gives(value if rank == chosen else "not mine", compute_on=chosen)
        metric.update(torch.ones(rank + 1))
        kept = local_bits(metric)
        for _ in range(2):  # the second one is cached
            assert bits(metric.compute()) == bits(given(value))
        assert metric.computed == (rank == chosen)
        assert local_bits(metric) == kept


def as_on_all(rank: int, world_size: int) -> list[str]:
    """A collection of many kinds, with other numbers of rows on every rank: as if every rank computed."""
    found = []
    for chosen in range(world_size):
        collection, usual = everything(compute_on=chosen), everything()
        for step in range(3):
            feed(collection, rank, step)
            feed(usual, rank, step)
            kept = local_bits(collection)
            values = collection.compute()
            wanted = usual.compute()
            assert bits(values) == bits(wanted)
            assert bits(collection.compute()) == bits(wanted)
            assert local_bits(collection) == kept
            found.append(str(bits(values)))
        collection["list"].update(torch.ones(rank))
        usual["list"].update(torch.ones(rank))
        assert bits(collection.compute()) == bits(usual.compute())
    return found


class Allocated(TorchDispatchMode):
    """Adds up the memory of all tensors that are made in this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.storages[leaf.untyped_storage().data_ptr()] = leaf.untyped_storage()  # kept: none is counted twice
        return out

    @property
    def nbytes(self) -> int:
        return sum(storage.nbytes() for storage in self.storages.values())


class Counted(Rows):
    """Looks at every row, and makes nothing of them."""

    def compute(self) -> int:
        return sum(row.numel() for row in self.rows)


def memory(rank: int, world_size: int, rows: int) -> list[int]:
    """Give how much memory this rank needs in `compute`: with one rank that computes, and with all of them."""
    needed = []
    for chosen in (1, None):
        metric = Counted(compute_on=chosen)
        metric.update(torch.ones(rows))
        with Allocated() as allocated:
            assert metric.compute() == world_size * rows
        needed.append(allocated.nbytes)
    return needed


def long_compute(rank: int, world_size: int) -> None:
    """Compute for longer than the timeout: until the others have heard of it six times, every quarter of a timeout."""
    beats, enough = [], threading.Event()
    usual = one_rank._Delivery._round

    def counting(self: Any, mine: bytes) -> bytes:
        arrived = usual(self, mine)
        beats.append(mine)
        if len(beats) == 6:
            enough.set()
        return arrived

    if rank == 1:
        one_rank._Delivery._round = counting  # type: ignore[method-assign]

    def slow() -> float:
        assert enough.wait(60)
        return 0.25

    metric = Gives(slow, compute_on=1, sync_timeout=1.0)
    metric.update(torch.ones(1))
    assert metric.compute() == 0.25
    one_rank._Delivery._round = usual  # type: ignore[method-assign]
    assert metric.computed == (rank == 1)
    metric = Total(sync_timeout=1.0)
    metric.update(torch.ones(1))
    assert metric.compute() == world_size


def fails(text: str) -> Any:
    def act() -> Any:
        raise ZeroDivisionError(text)

    return act


def failing(rank: int, world_size: int) -> list[str]:
    """Every way in which the computing rank can fail; the others hear of it, and the group is as it was."""

    def reduction(stack: torch.Tensor) -> torch.Tensor:
        raise KeyError("no such reduction")

    class Odd(Total):
        def __init__(self) -> None:
            super().__init__(compute_on=1)
            self.add_state("odd", torch.zeros(1), dist_reduce_fx=reduction)

    causes = {
        ZeroDivisionError: Gives(fails("in compute"), compute_on=1),
        OverflowError: Gives(lambda: (_ for _ in ()).throw(OverflowError("long " * 1000)), compute_on=1),
        StateError: Gives(object(), compute_on=1),
        KeyError: Odd(),
    }
    texts = []
    for kind, metric in causes.items():
        metric.update(torch.ones(1))
        kept = local_bits(metric)

        def act(metric: Any = metric) -> None:
            with share_errors():
                metric.compute()

        error = raised(act)
        assert type(error) is (kind if rank == 1 else PeerError), error
        if isinstance(error, PeerError):
            assert list(error.failures) == [1]
            assert error.failures[1].startswith(kind.__name__)
            texts.append(str(error))
        assert local_bits(metric) == kept
        right = Total(compute_on=0)
        right.update(torch.ones(1))
        assert right.compute() == world_size
    return texts


def dies(rank: int, world_size: int, who: int) -> tuple[int, ...]:
    """A rank is gone while rank 1 computes: rank 1 itself, or one that waits."""
    store = dist.distributed_c10d._get_default_store()

    def act() -> float:
        if who == 1:
            os._exit(7)
        store.wait(["gone"])
        return 1.0

    metric = Gives(act, compute_on=1)
    metric.update(torch.ones(1))
    if rank == who != 1:
        threading.Timer(0.3, lambda: (store.set("gone", "1"), os._exit(7))).start()
    try:
        value = metric.compute()
    except PeerLostError as error:
        return error.missing
    # Through the memory of a host, what the rank had done before it ended has arrived: it is missed in the next sync.
    assert (who, value) == (2, 1.0)
    metric.update(torch.ones(1))
    error = raised(metric.compute)
    assert type(error) is PeerLostError, error
    return error.missing


def mixed(rank: int, world_size: int) -> None:
    """Options of the metrics inside."""
    agreed = MetricCollection({"a": Total(compute_on=1), "b": Names(compute_on=1), "c": Total(sync_on_compute=False)})
    agreed["a"].update(torch.ones(1))
    agreed["b"].update(f"rank {rank}")
    agreed["c"].update(torch.ones(rank))
    names = [f"rank {r}" for r in range(world_size)]
    assert agreed.compute() == {"a": world_size, "b": names, "c": rank}
    with agreed.sync_context():
        assert agreed.compute()["b"] == names
    differ = MetricCollection({"a": Total(compute_on=1), "b": Total()})
    error = raised(differ.compute)
    assert type(error) is StateError
    assert "give it to the collection" in str(error)
    classes = ClasswiseWrapper(PerClass(2, compute_on=0))
    classes.update(torch.tensor([0, 1, rank % 2]))
    assert list(classes.compute()) == ["perclass_0", "perclass_1"]
    assert sum(classes.compute().values()) == 1
    error = raised(Total(compute_on=world_size).compute)
    assert type(error) is ValueError
    assert resolve_transport().world_size == world_size
