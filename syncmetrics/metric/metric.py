"""Metric: declared states, an `update` and a `compute` of the user's own, and everything that happens around them."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from syncmetrics.metric.bookkeeping import check_lists, keep_books, raw_function, wrap_compute, wrap_update
from syncmetrics.schedule.every import SteppingMetric, check_period
from syncmetrics.metric.computing import ComputingMetric
from syncmetrics.schedule.one_rank import check_rank
from syncmetrics.errors import StateError
from syncmetrics.foreign.guest import GuestMixin, meet_hosts, refuse_options
from syncmetrics.schedule.pending import AsyncMetric
from syncmetrics.metric.returned import remember
from syncmetrics.states.rows import mark_of
from syncmetrics.sync.show import Node, absorb, put_back, show_synced, stepping, synced, unique_nodes
from syncmetrics.metric.stateful import StatefulModule
from syncmetrics.states.store import (
    Mode,
    States,
    merge_over_time,
    own_copy,
)
from syncmetrics.sync import Merged, Route
from syncmetrics.transport import WORLD, BoundGroup, Transport, bind_group, transport_over, unbind_group
from syncmetrics.transport.patience import check_seconds

__all__ = ["Metric"]

_Self = TypeVar("_Self", bound="Metric")


class Metric(GuestMixin, ComputingMetric, SteppingMetric, AsyncMetric, StatefulModule):
    """Base class of all metrics.

    A metric declares its states with `add_state`, changes them in `update` and turns them into a value in `compute`::

        class Accuracy(Metric):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.add_state("correct", torch.tensor(0), dist_reduce_fx="sum")
                self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

            def update(self, preds, target):
                self.correct += (preds.argmax(-1) == target).sum()
                self.total += target.numel()

            def compute(self):
                return self.correct / self.total

    States are neither parameters nor buffers: DistributedDataParallel does not broadcast them, and they keep their
    dtype when the module around them is cast. Inside `compute` they are those of all ranks; everywhere else those of
    this process.

    Args:
        dist_sync_on_step: Whether `forward` gives the value of the batches of all ranks, by one sync a step.
        sync_on_compute: Whether `compute` gives the value of all ranks.
        process_group: Over which ranks: a ProcessGroup, a DeviceMesh, a pair `(mesh, "dim")`, or a Transport. Left
            out: all of them.
        sync_timeout: Seconds to wait for the other ranks in a sync; left out, the process group decides.
        sync_every: With a number n, `forward` gives the value of all ranks in every n-th step since the last reset, by
            one sync, and that of the local batch in the others.
        compute_on: The rank in the group that gets the states of all and computes; the others receive the value. Left
            out, every rank computes. The values of steps are not concerned.
        compute_with_cache: Whether `compute` gives the last value again, without a sync, until the next update.
        **unknown: Refused, with what to write in place of an argument that torchmetrics has.
    """

    higher_is_better: bool | None = None
    is_differentiable: bool | None = None
    full_state_update: bool | None = None

    _step_transport: Transport | None = None
    #: Whether the states are those of another metric, which keeps the books: see `_core`.
    _delegates: ClassVar[bool] = False

    def __init__(
        self,
        *,
        dist_sync_on_step: bool = False,
        sync_on_compute: bool = True,
        process_group: Any = WORLD,
        sync_timeout: float | None = None,
        sync_every: int | None = None,
        compute_on: int | None = None,
        compute_with_cache: bool = True,
        **unknown: Any,
    ) -> None:
        refuse_options(type(self).__name__, unknown)
        super().__init__()
        meet_hosts()
        self.dist_sync_on_step = dist_sync_on_step or sync_every is not None
        self.sync_every = check_period(sync_every)
        self.compute_on = check_rank(compute_on)
        self.sync_on_compute = sync_on_compute
        self.compute_with_cache = compute_with_cache
        self.sync_timeout = check_seconds("sync_timeout", sync_timeout)
        self._group: BoundGroup = bind_group(process_group)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Wrap what the user wrote, once a class: bookkeeping around `update`, a sync around `compute`."""
        super().__init_subclass__(**kwargs)
        for name, wrap in (("update", wrap_update), ("compute", wrap_compute)):
            function = inspect.getattr_static(cls, name)
            own = inspect.isfunction(function) and function is not getattr(Metric, name)
            if own and raw_function(function) is function:
                setattr(cls, name, wrap(function))

    # -- what the user writes

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add one batch to the states. To be written by every metric."""
        raise NotImplementedError(f"`{type(self).__name__}` must have an `update` method.")

    def compute(self) -> Any:
        """Give the value of the states.

        Collective: every rank of the group must call this, unless `sync_on_compute=False`, or nothing was updated since
        the last call, whose value is then given again. To be written by every metric, as if there were one process.
        """
        raise NotImplementedError(f"`{type(self).__name__}` must have a `compute` method.")

    def merge_states(self, a: States, b: States) -> States:
        """Merge two whole sets of states, earlier and later or lower and higher rank.

        Override this when states belong together (count, mean and sum of squared deviations, say). Edit neither
        argument. It is called only with states that have seen an update.
        """
        means = [name for name, spec in self._specs.items() if spec.reduction.name == "mean"]
        if means:
            raise StateError(
                f"`{self._label}`: `merge_states` cannot know how many updates are in a 'mean' state"
                f" ({means[0]}); override it."
            )
        return merge_over_time(self._specs, a, b, (1, 1))

    # -- what a metric is

    @property
    def process_group(self) -> Any:
        """Over which ranks the metric is synced."""
        return unbind_group(self._group)

    @process_group.setter
    def process_group(self, process_group: Any) -> None:
        self._group = bind_group(process_group)
        self._forget()

    @property
    def compute_group(self) -> Hashable | None:
        """What this metric accumulates.

        Metrics in a collection share one state if their `update` is the same function, their states are declared
        alike, and this value is equal and not None. It must hold every setting that `update` and the defaults depend
        on.
        """
        return None

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """Names of the values, for a metric whose `compute` gives a dict; None for one that gives one value."""
        return None

    # -- the life of a metric

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add one batch to the states, and give the value of that batch.

        One `update` into fresh states, one `compute` on them, and a merge whose cost does not grow with what was
        accumulated. (A metric whose states cannot be merged, a tensor with dist_reduce_fx=None, is updated twice.)
        Collective if `dist_sync_on_step=True`, in every n-th call with `sync_every=n`.
        """
        is_global = self._count_step()
        self._prepare_update("forward", args, kwargs)
        nodes = self._nodes()
        mergeable = not self.full_state_update and all(node.can_merge for node in nodes)
        with stepping(nodes, merge=mergeable) as sync_step:
            self.update(*args, **kwargs)
            if is_global:
                sync_step(nodes, self._step_route(), self._label)
            self._forward_cache = self.compute()
        if not mergeable:
            self.update(*args, **kwargs)
        remember(self._forward_cache, self, "forward", is_global=is_global)
        return self._forward_cache

    def reset(self) -> None:
        """Give every state its default. It does not communicate."""
        self._leave_group()
        for node in self._nodes():
            node.reset()
        self._steps = 0
        self._forget()

    def sync(self) -> None:
        """Show the states of all ranks from now on. Collective: every rank of the group must call this.

        Raises:
            StateError: They are shown already.
        """
        show_synced(self._local_nodes(), self._route(), self._label)

    def unsync(self) -> None:
        """Show the local states again. It does not communicate.

        Raises:
            StateError: They are shown already.
        """
        if self._store.mode is not Mode.SYNCED:
            raise StateError(f"`{self._label}` is not synced; call sync() first.")
        put_back(self._nodes())

    def sync_context(self) -> AbstractContextManager[None]:
        """Show the states of all ranks inside a `with` block. Collective: every rank of the group must enter it."""
        return synced([(self._local_nodes(), self._route())], self._label)

    def merge_state(self, other: Metric | States) -> None:
        """Add what another metric of the same class has accumulated. It does not communicate.

        Args:
            other: The other metric, which is left as it is; or its states, which then count as one update.

        Raises:
            StateError: It has other states, or one of the two is synced.
        """
        self._refuse_synced("merge_state")
        if isinstance(other, Metric):
            theirs = other._nodes()
            shapes = [[(node.path, list(node.specs)) for node in nodes] for nodes in (self._nodes(), theirs)]
            if type(other) is not type(self) or shapes[0] != shapes[1]:
                raise StateError(
                    f"`{self._label}` cannot merge a `{other._label}`; give a metric of the same class and settings."
                )
            other._refuse_synced("merge_state")
            deltas = [Merged(own_copy(node.store.states), node.store.update_count) for node in theirs]
        elif set(other) != set(self._specs):
            raise StateError(f"`{self._label}` has the states {sorted(self._specs)}, but was given {sorted(other)}.")
        else:
            deltas = [Merged(own_copy(dict(other)), 1)]
        self._leave_group()
        absorb(self._nodes()[: len(deltas)], deltas)

    def clone(self: _Self) -> _Self:
        """Give an independent copy."""
        return copy.deepcopy(self)

    # -- inside

    @property
    def _core(self) -> Metric:
        """The metric whose states these are: another one for a wrapper that has none of its own."""
        return self

    @property
    def _merge(self) -> Callable[[States, States], States] | None:
        return None if type(self).merge_states is Metric.merge_states else self.merge_states

    def _nodes(self, path: str = "") -> list[Node]:
        """Give this metric and all metrics inside it, each store once."""
        if not self._modules:
            return [self._node(path)]
        nodes = []
        for name, module in self.named_modules():
            if isinstance(module, Metric) and module._core is module:
                where = ".".join(part for part in (path, name) if part)
                nodes.append(module._node(where))
        return unique_nodes(nodes)

    def _node(self, path: str) -> Node:
        """Give this metric by itself."""
        return Node(path, self._store, self._specs, self._merge)

    def _update_parameters(self) -> Mapping[str, inspect.Parameter]:
        """Give the arguments that `update` takes."""
        return inspect.signature(self._core.update).parameters

    def _local_nodes(self) -> list[Node]:
        nodes = self._nodes()
        if any(node.store.mode is not Mode.LOCAL for node in nodes):
            raise StateError(f"`{self._label}`, or a metric inside, is synced already; call unsync() first.")
        return nodes

    def _route(self) -> Route:
        return Route(transport_over(self._group), timeout=self.sync_timeout)

    def _step_route(self) -> Route:
        route = self._route()
        return route if self._step_transport is None else replace(route, transport=self._step_transport)

    def _refuse_synced(self, verb: str) -> None:
        if self._store.mode in (Mode.SYNCED, Mode.COPY):
            raise StateError(
                f"`{self._label}` is synced, so `{verb}` would change states that are not its own; call unsync() first."
            )

    def _prepare_update(self, verb: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._refuse_synced(verb)
        if self._store.sharers > 1 and self._store.mode is Mode.LOCAL:
            self._leave_group()
        if self._store.update_count == 0:
            self._adopt_device(args, kwargs)

    def _adopt_device(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Go where the first batch is: metrics in a plain list are not moved with the module that uses them."""
        device = next((x.device for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), self._store.device)
        if device != self._store.device:
            for module in self.modules():
                if isinstance(module, Metric):
                    module._move(device)

    def _update(self, function: Callable[..., None], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Run the user's `update`, and check what it did to the lists. If it fails, it leaves as little as it can."""
        store = self._own_store
        if self._core is not self:
            function(self, *args, **kwargs)  # the metric inside keeps the books
        elif self._list_names:
            lengths = [(name, store.states[name], mark_of(store.states[name])) for name in self._list_names]
            keep_books(store, lengths, check_lists, function, self, args, kwargs)
        else:
            keep_books(store, (), None, function, self, args, kwargs)

    def _update_shared(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Update states on behalf of all metrics that share them."""
        self._refuse_synced("update")
        if self._store.update_count == 0:
            self._adopt_device(args, kwargs)
        self._update(raw_function(type(self).update), args, kwargs)
