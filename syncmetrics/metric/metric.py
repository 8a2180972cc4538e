"""Metric: what a user subclasses. Declared states, an `update` and a `compute` of the user's own, and the verbs."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch

from syncmetrics import registry
from syncmetrics.metric.code import raw_function
from syncmetrics.metric.deltas import add_states
from syncmetrics.metric.members import one
from syncmetrics.metric.module import StatefulModule
from syncmetrics.metric.operators import Operators
from syncmetrics.metric.options import explain_call
from syncmetrics.metric.pending import PendingStates, PendingValue, compute_async, sync_async
from syncmetrics.metric.showing import SyncContext, unsync
from syncmetrics.metric.step import step
from syncmetrics.metric.update import make_ready, wrap_update
from syncmetrics.metric.value import wrap_compute
from syncmetrics.schedule.every import is_due
from syncmetrics.states.spec import States

__all__ = ["Metric"]

_Self = TypeVar("_Self", bound="Metric")


class Metric(Operators, StatefulModule):
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
        process_group: Over which ranks: a ProcessGroup, a DeviceMesh, a pair `(mesh, "dim")`, `over(mesh, ...)` for
            more than one dimension, or a Transport. Left out, or None: all of them. What torch gives to a rank outside
            of a new group is refused.
        sync_timeout: Seconds to wait for the other ranks in a sync; left out, the process group decides.
        sync_every: With a number n, `forward` gives the value of all ranks in every n-th step since the last reset, by
            one sync, and that of the local batch in the others.
        compute_on: The rank in the group that gets the states of all and computes; the others receive the value. Left
            out, every rank computes. The values of steps are not concerned.
        compute_with_cache: Whether `compute` gives the last value again, without a sync, until the next update, or
            until an attribute of the metric is set.
        atomic: Whether tensors are copied before an update, so that one which edits them in place and then raises is
            undone. Left out: on the CPU, and up to 4,096 elements. Whatever an update binds anew, or appends, is
            undone in any case.
        **unknown: Refused, with what to write in place of an argument that torchmetrics has.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Wrap what the user wrote, once a class: books around `update`, a sync around `compute`."""
        super().__init_subclass__(**kwargs)
        for name, wrap in (("update", wrap_update), ("compute", wrap_compute)):
            function = inspect.getattr_static(cls, name)
            own = inspect.isfunction(function) and function is not getattr(StatefulModule, name)
            if own and raw_function(function) is function:
                setattr(cls, name, wrap(function))
        if "__init__" in vars(cls):
            cls.__init__ = _wrap_init(cls.__init__)  # type: ignore[method-assign]
        cls._overrides_forward = cls.forward is not Metric.forward

    # -- the life of a metric

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add one batch to the states, and give the value of that batch.

        One `update` into fresh states, one `compute` on them, and a merge whose cost does not grow with what was
        accumulated. A metric of which a batch cannot be merged (a tensor with dist_reduce_fx=None, an `update` that
        reads its states, which is found out) is updated twice. With `is_differentiable = True` on the class the value
        keeps its graph; the states never do.

        Collective if `dist_sync_on_step=True`, in every n-th call with `sync_every=n`.
        """
        if not self._core._holder.store.is_ready:
            make_ready(self, "forward", args, kwargs)  # which may begin to count steps anew
        return step(one(self), args, kwargs, [""] if self._is_due() else [])[""]

    def sync(
        self,
        dist_sync_fn: None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """Show the states of all ranks from now on. Collective: every rank of the group must call this.

        Args:
            dist_sync_fn: Refused: give a transport of your own as `process_group` instead.
            process_group: Over which ranks, as for the constructor; left out, the metric's own.
            should_sync: Whether to do so at all.
            distributed_available: Asked whether to do so.

        Raises:
            StateError: They are shown already.
        """
        SyncContext(one(self), dist_sync_fn, process_group, should_sync, False, distributed_available).__enter__()

    def unsync(self, should_unsync: bool = True) -> None:
        """Show the local states again. It does not communicate.

        Args:
            should_unsync: Whether to do so at all.

        Raises:
            StateError: They are shown already.
        """
        unsync(one(self), should_unsync)

    def sync_context(
        self,
        dist_sync_fn: None = None,
        process_group: Any = None,
        should_sync: bool = True,
        should_unsync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> AbstractContextManager[None]:
        """Show the states of all ranks inside a `with` block. Collective: every rank of the group must enter it.

        Args:
            dist_sync_fn: As for `sync`.
            process_group: As for `sync`.
            should_sync: Whether to show them; else the block sees the local ones.
            should_unsync: Whether to show the local ones again behind it.
            distributed_available: As for `sync`.

        Raises:
            StateError: They are shown already.
        """
        return SyncContext(one(self), dist_sync_fn, process_group, should_sync, should_unsync, distributed_available)

    def merge_state(self, incoming_state: StatefulModule | States) -> None:
        """Add what another metric of the same class has accumulated. It does not communicate.

        Args:
            incoming_state: The other metric, which is left as it is; or its states, which then count as one update.

        Raises:
            StateError: It has other states, or one of the two is synced.
        """
        make_ready(self, "merge_state", (), {})
        add_states(self, incoming_state)

    def clone(self: _Self) -> _Self:
        """Give an independent copy."""
        return copy.deepcopy(self)

    def plot(
        self,
        val: Any = None,
        ax: Any = None,
        add_text: bool = True,
        labels: Sequence[str] | None = None,
        cmap: Any = None,
        *,
        score: Any = None,
    ) -> tuple[Any, Any]:
        """Draw the value: as bars, lines, curves or a matrix, as `plot_kind` says. It takes matplotlib.

        Collective if `val` is None, as `compute`: every rank of the group must call this. To draw on one rank alone,
        compute on all, and give it the value.

        Args:
            val: What to draw: a value that `compute` or `forward` gave, or a list of such, which is drawn over steps.
                Left out, `compute()` is.
            ax: Axes to draw into; an array of them for what takes several panels, one for each label. Left out, those
                of a new figure.
            add_text: Whether the numbers of a matrix are written into it, where they can be read.
            labels: Names of the classes, in place of their numbers. One number needs none, and those in a dict have
                theirs.
            cmap: Colours of a matrix, as matplotlib takes them.
            score: For a curve: True to tell the area below it in the legend, or what to tell in its place, one number
                for each line.

        Returns:
            The figure and its axes, or an array of these for several panels. A new figure is not known to pyplot: it is
            shown in no window, needs no `close`, and is saved by `figure.savefig(path)`.

        Raises:
            ImportError: matplotlib is missing.
            TypeError: A value cannot be drawn, or an argument has the wrong type.
            ValueError: There is nothing to draw, or `labels` or `ax` are more or fewer than what is drawn.
        """
        drawn: tuple[Any, Any] = registry.painter().plot_metric(
            self, val, ax, labels=labels, add_text=add_text, cmap=cmap, score=score
        )
        return drawn

    def _plot(self, val: Any = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw numbers, as torchmetrics names what a `plot` that a user wrote calls."""
        return Metric.plot(self, val, ax)

    # -- while the work goes on

    def compute_async(self) -> PendingValue:
        """Ask for the value of all ranks as of now, and go on.

        The states are copied and synced in the background, over a CPU group of their own: no collective of the model
        or of another metric can get between. Several may be on their way; they arrive in the order of the calls.

        Collective: every rank of the group must call this, in the same order as other such calls. The first call of a
        process opens the group and waits for the other ranks; the others return at once.

        Raises:
            StateError: The metric is synced, or has `compute_on`.
        """
        return compute_async(one(self), lambda: one(self), lambda values: values[""])

    def sync_async(self) -> PendingStates:
        """Ask for the states of all ranks as of now, and go on. As `compute_async`, and as collective."""
        return sync_async(one(self), lambda: one(self))

    # -- for the rooms of this package

    def _is_due(self) -> bool:
        """Say whether the value of this call of `forward` is that of all ranks; counted, unless a collection has."""
        told = self._books.is_due
        return self._count_step() if told is None else told

    def _count_step(self) -> bool:
        """Count a call of `forward` since the last reset, and say whether its value is that of all ranks.

        A call that raises counts too, so that ranks that take every step of a loop count alike.
        """
        if self.sync_every is None:
            return self.dist_sync_on_step
        self._books.steps += 1
        return self.dist_sync_on_step and is_due(self._books.steps, self.sync_every)


def _wrap_init(function: Callable[..., None]) -> Callable[..., None]:
    """Give the `__init__` of a class: the user's own, with errors in the words of the class that was called.

    On the meta device it runs on the CPU, for a default must have values; the states go to the meta device afterwards.
    """

    @functools.wraps(function)
    def __init__(self: Metric, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it stands where that method stands
        cls = type(self)
        if cls.__init__ is not __init__:  # reached through super()
            function(self, *args, **kwargs)
            return
        device = torch.empty(0).device  # older versions of torch do not say it of `with torch.device(...)`
        try:
            if device.type == "meta":
                with torch.device("cpu"):
                    function(self, *args, **kwargs)
                self.to(device)
            else:
                function(self, *args, **kwargs)
        except TypeError as error:
            trace = error.__traceback__
            is_call = trace is not None and trace.tb_next is None  # raised by the call above, not inside of it
            said = explain_call(cls, args, kwargs) if is_call else None
            if said is None:
                raise
            raise TypeError(said) from None

    return __init__
