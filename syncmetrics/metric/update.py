"""Updates: what goes around the user's own `update`, for one metric and for many, so that all of it happens or nothing.

An update that raises leaves lists, and states that are bound to other tensors, as they were, in every metric that was
given the batch. Tensors that are edited in place are copied before, where that is cheap, or where `atomic=True`.
"""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.metric.again import attributes_of, changed
from syncmetrics.metric.code import raw_function
from syncmetrics.metric.compiled import update_in_graph
from syncmetrics.metric.inputs import DTENSORS, are_plain, local_batch, modules
from syncmetrics.metric.members import Members
from syncmetrics.metric.module import StatefulModule
from syncmetrics.metric.share import keep_apart
from syncmetrics.states.autograd import without_grad
from syncmetrics.states.samples import samples_in
from syncmetrics.states.store import Holder, Mode
from syncmetrics.transport import refuse_outside

__all__ = [
    "all_or_nothing",
    "apply_update",
    "keywords",
    "make_all_ready",
    "make_ready",
    "mark_ready",
    "pass_on",
    "raw_update",
    "update_owners",
    "update_together",
    "wrap_update",
]

_grad_mode = torch.is_grad_enabled
_set_grad_mode = torch._C._set_grad_enabled
_in_inference_mode = torch.is_inference_mode_enabled
_is_compiling = torch.compiler.is_compiling
_NUMBERS = (float, int, bool)


def wrap_update(function: Callable[..., None]) -> Callable[..., None]:
    """Give the `update` of a class: the user's own, with the books kept around it."""

    @functools.wraps(function)
    def update(self: StatefulModule, *args: Any, **kwargs: Any) -> None:
        if type(self).update is not update:  # reached through super(): the outermost one keeps the books
            function(self, *args, **kwargs)
            return
        if DTENSORS in modules and not are_plain(args, kwargs):
            args, kwargs = local_batch((self,), args, kwargs)
        if _is_compiling():
            update_in_graph(self, args, kwargs)
            return
        holder = self._holder
        store = holder.store
        had_grad = _grad_mode()
        if not store.is_ready or (not had_grad and _in_inference_mode()):
            make_ready(self, "update", args, kwargs)
            with all_or_nothing([self]):
                keep_graph = had_grad and store.mode is Mode.STEP and bool(self.is_differentiable)
                apply_update(self, function, args, kwargs, keep_graph=keep_graph)
            mark_ready(self)
            return
        # From here on it is what `all_or_nothing` and `apply_update` do, once more: for what is most common and where
        # every call would be felt, one metric whose states are its own.
        before, count = store.states, store.update_count
        if holder.numbers and store.on_cpu:
            marks = []
            try:
                for value in before.values():
                    marks.append(value.item())  # type: ignore[union-attr]  # they are tensors
            except RuntimeError:  # one of them has grown
                marks = holder.marks()
        else:
            marks = [] if holder.is_trusted else holder.marks()
        try:
            store.lent = before
            store.version += 1
            store.update_count = count + 1
            if had_grad:
                _set_grad_mode(False)
            if kwargs:
                function(self, *args, **kwargs)
            else:
                function(self, *args)
            if holder.lists:
                store.note_appended(holder.lists, self._label)
            if store.states is not before and not holder.rebinds:
                store.keep_own(before)
            # As `samples_in`, in less time. Nothing comes after it that could fail, so it is never to be undone.
            first = args[0] if args else None
            if type(first) is Tensor:
                shape = first.shape
                store.samples += shape[0] if shape else 1
            elif type(first) in _NUMBERS and len(args) == 1:
                store.samples += 1
            else:
                store.samples += samples_in(args, kwargs)
        except BaseException as error:
            _say_lost(error, self._label, holder.undo(store, before, count, marks, store.samples))
            _explain(error, self)
            raise
        finally:
            store.lent = None
            if had_grad:
                _set_grad_mode(True)

    update._wraps = (update, function)  # type: ignore[attr-defined]
    return update


def update_together(members: Members, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Update all members with one batch: each store once, and all of them or none.

    Args:
        members: Who.
        args: What `update` is called with.
        kwargs: Likewise; each metric gets those that its `update` takes.

    Raises:
        TypeError: No member takes one of the keyword arguments.
        StateError: A member shows the states of all ranks, which are not to be changed.
    """
    if DTENSORS in modules and not are_plain(args, kwargs):
        args, kwargs = local_batch(members.metrics.values(), args, kwargs)
    chosen = keywords(members, kwargs)
    owners = make_all_ready(members, "update", args, chosen)
    with all_or_nothing([metric for _, metric in owners]):
        update_owners(owners, lambda name, metric: apply_update(metric, raw_update(metric), args, chosen(name)))


def update_owners(
    owners: Sequence[tuple[str, StatefulModule]],
    update: Callable[[str, StatefulModule], None],
    others: Iterable[StatefulModule] = (),
) -> None:
    """Update several metrics with one batch. What `pass_on` is asked to pass on to one of them, or the others, is not.

    Args:
        owners: One metric for each store, with its name.
        update: Updates one.
        others: Metrics that have the batch already, or get it in another way.
    """
    if not any([metric._modules for _, metric in owners]):  # noqa: C419 - of many metrics
        for name, metric in owners:
            update(name, metric)
        return
    given = {id(metric._core._holder.store) for metric in (*(metric for _, metric in owners), *others)}
    token = _given.set(given)
    try:
        for name, metric in owners:
            update(name, metric)
    finally:
        _given.reset(token)


def pass_on(metrics: Iterable[StatefulModule], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Give metrics the batch of the one around them, once, unless they get it anyway: they may be beside it too.

    Args:
        metrics: The metrics inside, which are to see all that the other one sees.
        args: What `update` of the other one is called with.
        kwargs: Likewise; each gets those that its own takes.
    """
    known = _given.get()
    given = set[int]() if known is None else known
    for metric in metrics:
        key = id(metric._core._holder.store)
        if key in given:
            continue
        taken = metric._takes() if kwargs else None
        metric.update(*args, **(kwargs if taken is None else {n: v for n, v in kwargs.items() if n in taken}))
        given.add(id(metric._core._holder.store))  # which may be one of its own by now


#: The stores of whoever gets the batch that several metrics are updated with at the moment.
_given: ContextVar[set[int] | None] = ContextVar("given", default=None)


def make_all_ready(
    members: Members, verb: str, args: tuple[Any, ...], chosen: Callable[[str], Mapping[str, Any]]
) -> list[tuple[str, StatefulModule]]:
    """Make all members ready for a batch, and give one metric, with its name, for each store that they have.

    Raises:
        StateError: One of them shows states that are not its own.
    """
    for one in members.groups:
        if not one.is_whole:
            keep_apart(one)
    if any([metric._modules for metric in members.metrics.values()]):  # noqa: C419 - of many metrics
        _leave_others(members)
    owners = owners_of(members)
    for name, metric in owners:
        if not metric._core._holder.store.is_ready:
            make_ready(metric, verb, args, chosen(name), shared=True)
    return owners


def _leave_others(members: Members) -> None:
    """Give metrics inside of these stores that nobody holds who is neither one of them nor inside of one."""
    inside = {id(module._holder): module for module in members.inside()}
    counts = Counter(id(module._holder.store) for module in inside.values())
    for module in inside.values():
        store = module._holder.store
        if store.holders > counts[id(store)] and store.mode is Mode.LOCAL:
            counts[id(store)] -= 1
            module._leave_group()


def owners_of(members: Members) -> list[tuple[str, StatefulModule]]:
    """Give one metric for each store that the members have between them, with its name."""
    groups = members.groups
    if len(groups) == 1 and len(groups[0].metrics) == 1:
        return [(groups[0].names[0], groups[0].metrics[0])]
    owners, seen = [], set[int]()
    for one in groups:
        for metric in one.owners():
            key = id(metric._core._holder.store)
            if key not in seen or metric._core._modules:
                seen.add(key)
                name = one.names[one.metrics.index(metric)]
                owners.append((name, metric if len(one.metrics) == 1 else metric._core))
    return owners


def raw_update(metric: StatefulModule) -> Callable[..., None]:
    """Give the user's own `update`: that of the class, or one that was put in its place on the metric."""
    own = metric.__dict__.get("update")
    if own is not None:
        return lambda self, *args, **kwargs: own(*args, **kwargs)
    return raw_function(type(metric).update)


def keywords(members: Members, kwargs: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any]]:
    """Give what says which of the keyword arguments a member's `update` takes.

    Raises:
        TypeError: No member takes one of them.
    """
    if not kwargs:
        return lambda name: kwargs
    takes = {name: metric._takes() for name, metric in members.metrics.items()}
    unknown = [k for k in kwargs if all(taken is not None and k not in taken for taken in takes.values())]
    if unknown:
        raise TypeError(f"no metric of `{members.label}` takes the keyword argument(s) {unknown} in `update`.")
    chosen = {
        name: kwargs if taken is None else {k: v for k, v in kwargs.items() if k in taken}
        for name, taken in takes.items()
    }
    return lambda name: chosen[name]


def make_ready(
    metric: StatefulModule, verb: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, shared: bool = False
) -> None:
    """Make a metric ready for a batch: with a store of its own, unless others are given the batch too; on its device.

    Raises:
        StateError: It shows states that are not its own.
    """
    core = metric._core
    store = core._holder.store
    if "_is_replica" in metric.__dict__:
        raise StateError(
            f"`{metric._label}` is a replica that torch.nn.DataParallel has made, so `{verb}` would be lost with it;"
            " update the metric outside of the module's forward, or use DistributedDataParallel."
        )
    if store.mode in (Mode.SYNCED, Mode.COPY):
        raise StateError(
            f"`{metric._label}` is synced, so `{verb}` would change states that are not its own; call unsync() first."
        )
    refuse_outside(metric._books.group, metric._label)
    if store.before_update is not None:
        act, store.before_update = store.before_update, None
        act()
        store = core._holder.store
    if not shared and store.holders > 1 and store.mode is Mode.LOCAL:
        core._leave_group()
    if store.update_count == 0:
        _adopt_device(metric, args, kwargs)
        if type(metric) not in _asked:
            _asked.add(type(metric))
            _tell_hidden(metric)


def mark_ready(metric: StatefulModule) -> None:
    """Note after an update that the next one needs no preparation, if that is so."""
    store = metric._core._holder.store
    store.is_ready = store.mode is Mode.LOCAL and store.holders == 1 and not metric._modules


def _adopt_device(metric: StatefulModule, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Go where the first batch is: metrics in a plain list are not moved with the module that uses them."""
    device = next((x.device for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), None)
    if device is not None and device != metric.device:
        for module in metric.modules():
            if isinstance(module, StatefulModule):
                module._move(device)


def apply_update(
    metric: StatefulModule,
    function: Callable[..., None],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    keep_graph: bool = False,
) -> None:
    """Run the user's `update` and count it. Whoever calls this undoes what it did if it raises.

    Args:
        metric: Its `self`.
        function: The user's own function.
        args: What else it is called with.
        kwargs: Likewise.
        keep_graph: Whether the states may keep a graph: those of a batch whose value is to be differentiated.
    """
    if metric._delegates:
        function(metric, *args, **kwargs)  # the metric inside keeps the books
        return
    holder = metric._holder
    store = holder.store
    before = store.lent = store.states
    store.version += 1
    store.update_count += 1
    nothing_declared = store.update_count == 1 and not holder.specs and not metric._modules
    attributes = attributes_of(metric)[0][1] if nothing_declared else {}
    try:
        if keep_graph:
            function(metric, *args, **kwargs)
        else:
            without_grad(function, metric, args, kwargs)
    except Exception as error:
        _explain(error, metric)
        raise
    finally:
        store.lent = None
    store.samples += samples_in(args, kwargs)
    if keep_graph:
        return
    if holder.lists:
        store.note_appended(holder.lists, metric._label)
    if store.states is not before and not holder.rebinds:
        store.keep_own(before)
    if nothing_declared:
        _tell_undeclared(metric, attributes)


class all_or_nothing:  # noqa: N801 - it stands in a `with` statement
    """Put every state of these metrics, and of those inside them, back if something is raised in the block.

    Args:
        metrics: Whose.
    """

    __slots__ = ("_undo",)

    def __init__(self, metrics: Iterable[StatefulModule]) -> None:
        self._undo: list[Any] = []
        for metric in metrics:
            core = metric._core
            if core._modules or type(core)._before_guests is not StatefulModule._before_guests:
                self._undo += core._before()
            else:  # likewise, in less time
                holder = core._holder
                store = holder.store
                self._undo.append((core, store, store.states, store.update_count, holder.marks(), store.samples))

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        if error is None:
            return
        for first, *rest in reversed(self._undo):
            if isinstance(first, str):
                _say_lost(error, first, rest[0]())
            else:
                _say_lost(error, first._label, Holder.undo(*rest))


def _say_lost(error: BaseException, label: str, names: Iterable[str]) -> None:
    """Add to an error which states could not be put back."""
    for name in names:
        _add_note(
            error,
            f"`{label}`: `update` had edited state `{name}` in place before it failed, which cannot be undone:"
            " construct the metric with atomic=True, which copies its tensors before each update, or bind the state"
            f" anew, `self.{name} = self.{name} + ...`.",
        )


def _add_note(error: BaseException, text: str) -> None:
    if hasattr(error, "add_note"):  # from Python 3.11 on
        error.add_note(text)
    else:
        warnings.warn(text, UserWarning, stacklevel=4)


def _explain(error: BaseException, metric: StatefulModule) -> None:
    """Raise an error that names the state in place of one that torch raised, where it is known what it is about.

    Raises:
        StateError: The user's code added something to a state that its dtype cannot hold.
    """
    if isinstance(error, RuntimeError) and "can't be cast to the desired output type" in str(error):
        narrow = [
            f"`{name}` ({value.dtype})"
            for name, value in metric._holder.store.states.items()
            if isinstance(value, Tensor) and not value.is_floating_point()
        ]
        raise StateError(
            f"`{metric._label}`: something was added in place to a state that cannot hold it ({error}); its states of"
            f" integers are {', '.join(narrow) or 'none'}: declare the state with a float default, torch.tensor(0.0),"
            " or convert what is added."
        ) from error


def _tell_undeclared(metric: StatefulModule, before: Mapping[str, Any]) -> None:
    """Tell once of attributes that `update` sets in a metric without states: nobody else will ever hear of them."""
    cls, found = type(metric), changed(before, attributes_of(metric)[0][1])
    if found and cls not in _told:
        _told.add(cls)
        names = " and ".join(f"`self.{name}`" for name in found)
        warnings.warn(
            f"`{metric._label}` declares no state, but its `update` sets {names}: it is neither synced over ranks nor"
            " reset. Declare it in `__init__`:"
            f" self.add_state({found[0]!r}, torch.tensor(0.0), dist_reduce_fx='sum').",
            UserWarning,
            stacklevel=6,
        )


def _tell_hidden(metric: StatefulModule) -> None:
    """Tell of metrics in plain containers, which torch does not know to be inside of this one: nor does anybody."""
    for name, value in metric.__dict__.items():
        items = value.values() if type(value) is dict else value if type(value) in (list, tuple) else ()
        if not name.startswith("_") and any(isinstance(item, StatefulModule) for item in items):
            kind = "ModuleDict" if type(value) is dict else "ModuleList"
            warnings.warn(
                f"`{metric._label}` keeps metrics in a plain {type(value).__name__}, `self.{name}`: they are not reset,"
                f" moved, saved or synced with it. Write self.{name} = torch.nn.{kind}(...).",
                UserWarning,
                stacklevel=5,
            )


_told: set[type] = set()
_asked: set[type] = set()
