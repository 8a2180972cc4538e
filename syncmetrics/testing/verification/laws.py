"""The laws that a metric is held to, each as a function that says what is wrong for an example, or None.

An example for which one process has no value says nothing.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from syncmetrics.checkpoint import load_state, save_state
from syncmetrics.metric import Metric
from syncmetrics.metric.module import StatefulModule
from syncmetrics.testing.parity import states_of
from syncmetrics.testing.verification.batches import Drawn, joined
from syncmetrics.testing.verification.subject import Example, Subject, alike, said
from syncmetrics.transport.threads import run_threads

__all__ = ["LAWS", "Law"]

#: Says what is wrong for an example.
Fails = Callable[[Subject, Example], "str | None"]
#: Gives the lines of code that show it.
Shows = Callable[[Subject, Example], list[str]]


@dataclass(frozen=True, slots=True)
class Law:
    """A law.

    Attributes:
        key: What the causes know it by.
        words: What it says.
        fails: Says what is wrong for an example.
        shows: Gives code that shows it.
        is_note: Whether what does not hold may well be meant.
    """

    key: str
    words: str
    fails: Fails
    shows: Shows
    is_note: bool = False

    def broken(self, subject: Subject, example: Example) -> str | None:
        """Say what is wrong for an example, also where it is that something is raised."""
        try:
            return self.fails(subject, example)
        except Exception as error:
            return f"it raises {_in_short(error)}"


def _differ(found: Any, right: Any, what: str, than: str = "in one process") -> str | None:
    return None if alike(found, right) else f"{what} it is {said(found)}, {than} {said(right)}"


# -- over ranks


def _ranks(subject: Subject, example: Example) -> str | None:
    right = subject.value(example.in_rank_order())
    try:
        values = subject.values_on_ranks(example)
    except Exception as error:
        return f"on {example.world} ranks it raises {_in_short(error)}, in one process it is {said(right)}"
    for value in values[1:]:
        if not alike(value, values[0], 0.0):
            return f"rank 0 has {said(values[0])}, another rank has {said(value)}"
    return _differ(values[0], right, f"on {example.world} ranks")


def _show_ranks(subject: Subject, example: Example) -> list[str]:
    return [
        "from syncmetrics.testing import run_threads",
        f"parts = [{', '.join(subject.listed(example.of(rank)) for rank in range(example.world))}]",
        "def value(parts):",
        f"    metric = {subject.factory}()",
        "    for batch in parts: metric.update(*batch)",
        "    return metric.compute()",
        "print(value(sum(parts, [])))  # one process",
        f"print(run_threads(lambda rank, world_size: value(parts[rank]), {example.world}))",
    ]


def _steps(subject: Subject, example: Example) -> str | None:
    """Each rank takes the first batch, one after another the others: all have one in every step."""
    steps = example.batches[:2]

    def batch_of(step: Drawn, rank: int) -> Drawn:
        return Drawn(step.rows, step.key + rank)

    def on_rank(rank: int, _: int) -> list[Any]:
        metric = subject.make()
        for module in metric.modules():
            if isinstance(module, StatefulModule):
                module.dist_sync_on_step = True
        return [subject.batches.give(metric, subject.draw(batch_of(step, rank))) for step in steps]

    right = [subject.value([batch_of(step, rank) for rank in range(example.world)]) for step in steps]
    values = run_threads(on_rank, example.world)
    return _differ(values[0], right, "the values of steps that are synced", "those of one process are")


def _show_steps(subject: Subject, example: Example) -> list[str]:
    step = example.batches[0]
    batches = [Drawn(step.rows, step.key + rank) for rank in range(example.world)]
    is_one = isinstance(subject.make(), Metric)
    return [
        "from syncmetrics.testing import run_threads",
        f"batches = {subject.listed(batches)}",
        "def step(rank, world_size):",
        f"    metric = {subject.factory}()",
        "    metric.dist_sync_on_step = True" if is_one else "    metric.sync_every = 1",
        "    return metric(*batches[rank])",
        f"print(run_threads(step, {example.world}))",
    ]


# -- in one process


def _batching(subject: Subject, example: Example) -> str | None:
    whole = joined([subject.draw(batch) for batch in example.batches])
    if whole is None or len(example.batches) < 2:
        return None
    right = subject.value(example.batches)
    metric = subject.make()
    subject.update(metric, whole)
    return _differ(metric.compute(), right, "of the same samples in one batch", f"in {len(example.batches)} batches")


def _show_batching(subject: Subject, example: Example) -> list[str]:
    return [
        *subject.given(example.batches, "apart", "together"),
        "for batch in batches: apart.update(*batch)",
        "together.update(*[torch.cat(parts) for parts in zip(*batches)])",
        "print(apart.compute(), together.compute())",
    ]


def _order(subject: Subject, example: Example) -> str | None:
    right = subject.value(example.batches)
    return _differ(subject.value(example.batches[::-1]), right, "with the last batch first", "as they come")


def _show_order(subject: Subject, example: Example) -> list[str]:
    return [
        *subject.given(example.batches, "one", "other"),
        "for batch in batches: one.update(*batch)",
        "for batch in batches[::-1]: other.update(*batch)",
        "print(one.compute(), other.compute())",
    ]


def _forward(subject: Subject, example: Example) -> str | None:
    stepped, right = subject.make(), subject.value(example.batches)
    for batch in example.batches:
        wanted = subject.value([batch])
        wrong = _differ(
            subject.batches.give(stepped, subject.draw(batch)), wanted, "`metric(...)` gives a batch", "a fresh metric"
        )
        if wrong:
            return wrong
    return _differ(stepped.compute(), right, "after `metric(...)` for each batch", "after `update`")


def _show_forward(subject: Subject, example: Example) -> list[str]:
    return [
        *subject.given(example.batches, "stepped", "updated"),
        "for batch in batches: print(stepped(*batch)); updated.update(*batch)",
        "print(stepped.compute(), updated.compute())",
    ]


def _merge(subject: Subject, example: Example) -> str | None:
    if len(example.batches) < 2 or not hasattr(subject.make(), "merge_state"):
        return None
    right = subject.value(example.batches)
    for cut in {1, len(example.batches) // 2}:
        first, second = subject.fed(example.batches[:cut]), subject.fed(example.batches[cut:])
        first.merge_state(second)
        wrong = _differ(first.compute(), right, "merged of two parts")
        if wrong:
            return wrong
    return None


def _show_merge(subject: Subject, example: Example) -> list[str]:
    return [
        *subject.given(example.batches, "one", "first", "second"),
        "for batch in batches: one.update(*batch)",
        "first.update(*batches[0])",
        "for batch in batches[1:]: second.update(*batch)",
        "first.merge_state(second)",
        "print(one.compute(), first.compute())",
    ]


def _saved(subject: Subject, example: Example) -> str | None:
    """Save on as many ranks as the example has, load on one more, and in one process."""
    right = subject.value(example.in_rank_order())

    def save(rank: int, _: int) -> Any:
        return save_state(subject.fed(example.of(rank)))

    saved = run_threads(save, example.world)[0]

    def load(rank: int, _: int) -> Any:
        metric = subject.make()
        load_state(metric, copy.deepcopy(saved))
        return metric.compute()

    for world in (1, example.world + 1):
        wrong = _differ(run_threads(load, world)[0], right, f"saved on {example.world} ranks and loaded on {world}")
        if wrong:
            return wrong
    if not isinstance(subject.make(), Metric):
        return None
    metric, other = subject.fed(example.batches), subject.make()
    for one in (metric, other):
        one.persistent(mode=True)
    other.load_state_dict(metric.state_dict())
    return _differ(other.compute(), metric.compute(), "loaded from a state_dict")


def _show_saved(subject: Subject, example: Example) -> list[str]:
    return [
        "from syncmetrics import load_state, save_state",
        *subject.given(example.batches, "one", "other"),
        "for batch in batches: one.update(*batch)",
        "load_state(other, save_state(one))",
        "print(one.compute(), other.compute())",
    ]


def _copies(subject: Subject, example: Example) -> str | None:
    metric = subject.fed(example.batches)
    right = subject.value(example.batches)
    try:
        copies = [copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))]
    except Exception as error:
        return f"it cannot be copied: {_in_short(error)}"
    for other in copies:
        wrong = _differ(other.compute(), right, "a copy says")
        if wrong:
            return wrong
    return None


def _show_copies(subject: Subject, example: Example) -> list[str]:
    return ["import copy, pickle", f"metric = {subject.factory}()", "copy.deepcopy(metric)", "pickle.dumps(metric)"]


def _reset(subject: Subject, example: Example) -> str | None:
    right = subject.value(example.batches)
    metric = subject.fed([Drawn(4, 91), Drawn(2, 92), *example.batches])
    metric.reset()
    for batch in example.batches:
        subject.update(metric, subject.draw(batch))
    return _differ(metric.compute(), right, "after `reset`", "a fresh metric gives")


def _show_reset(subject: Subject, example: Example) -> list[str]:
    return [
        *subject.feeding([Drawn(2, 91)]),
        "metric.reset()",
        f"fresh = {subject.factory}()",
        f"for batch in {subject.listed(example.batches)}: metric.update(*batch); fresh.update(*batch)",
        "print(metric.compute(), fresh.compute())",
    ]


def _compute(subject: Subject, example: Example) -> str | None:
    metric = subject.fed(example.batches)
    before = states_of(metric)
    metric.compute()
    if not alike(states_of(metric), before, 0.0):
        return f"`compute` changes the states from {said(before)} to {said(states_of(metric))}"
    subject.update(metric, subject.draw(example.batches[0]))
    wanted = subject.value([*example.batches, example.batches[0]])
    return _differ(metric.compute(), wanted, "with `compute` in between", "without it")


def _show_compute(subject: Subject, example: Example) -> list[str]:
    return [
        *subject.feeding(example.batches),
        "print(metric.metric_state)",
        "metric.compute()",
        "print(metric.metric_state)",
    ]


def _inputs(subject: Subject, example: Example) -> str | None:
    metric, right = subject.make(), subject.value(example.batches)
    kept = []
    for batch in example.batches:
        arguments = subject.draw(batch)
        before = copy.deepcopy(arguments)
        subject.update(metric, arguments)
        if not alike(arguments, before, 0.0):
            return f"`update` changes what it is given, from {said(before)} to {said(arguments)}"
        kept.append(arguments)
    for arguments in kept:
        for argument in arguments:
            if isinstance(argument, torch.Tensor) and argument.numel():
                argument.zero_()
    try:
        value = metric.compute()
    except Exception as error:
        return f"what `update` was given was edited afterwards, as loops do that use a buffer again: {_in_short(error)}"
    return _differ(value, right, "when what `update` was given is edited afterwards", "when it is left alone")


def _show_inputs(subject: Subject, example: Example) -> list[str]:
    return [
        f"metric, batch = {subject.factory}(), {subject.written(example.batches[0])}",
        "metric.update(*batch)",
        "print(batch)  # as it was?",
        "for tensor in batch: tensor.zero_()  # the next batch goes into the same memory",
        "print(metric.compute())",
    ]


def _twice(subject: Subject, example: Example) -> str | None:
    values = []
    state = torch.random.get_rng_state()
    try:
        for seed in (1, 2):
            torch.manual_seed(seed)
            values.append(subject.value(example.batches))
    finally:
        torch.random.set_rng_state(state)
    return _differ(values[0], values[1], "the same batches give", "and then")


def _show_twice(subject: Subject, example: Example) -> list[str]:
    return [
        "for seed in (1, 2):",
        "    torch.manual_seed(seed)",
        *(f"    {line}" for line in subject.feeding(example.batches)),
        "    print(metric.compute())",
    ]


def _reference(subject: Subject, example: Example) -> str | None:
    whole = joined([subject.draw(batch) for batch in example.batches])
    if subject.reference is None or whole is None:
        return None
    right = subject.batches.give(subject.reference, whole)
    value = subject.value(example.batches)
    return _differ(value, right, "in one process", "by the reference")


def _show_reference(subject: Subject, example: Example) -> list[str]:
    return [*subject.feeding(example.batches), "print(metric.compute())"]


def _in_short(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[-1] if text else ''}"[:200]


LAWS = (
    Law("twice", "the same batches give the same value", _twice, _show_twice),
    Law("reference", "one process has the value of the reference", _reference, _show_reference),
    Law("ranks", "2 to 4 ranks, uneven or without data, have the value of one process", _ranks, _show_ranks),
    Law("batching", "the same samples in other batches give the same value", _batching, _show_batching),
    Law("order", "the same batches in another order give the same value", _order, _show_order, is_note=True),
    Law("forward", "`metric(...)` adds what `update` adds, and gives the value of its batch", _forward, _show_forward),
    Law("steps", "a step that is synced has the value of one process", _steps, _show_steps),
    Law("merge", "two parts that are merged have the value of one", _merge, _show_merge),
    Law("saved", "saved, and loaded on another number of ranks, it goes on", _saved, _show_saved),
    Law("copies", "a copy, and what was pickled, has the same value", _copies, _show_copies),
    Law("reset", "after `reset` it is as if it were new", _reset, _show_reset),
    Law("compute", "`compute` changes nothing", _compute, _show_compute),
    Law("inputs", "`update` leaves alone what it is given, and does not keep it", _inputs, _show_inputs),
)
