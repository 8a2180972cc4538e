"""Why a law is broken: the causes that are known, each found by trying what would be so if it were the cause."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from syncmetrics.metric.again import changed
from syncmetrics.states.spec import StateSpec, declare_state
from syncmetrics.testing.parity import attributes_by_name
from syncmetrics.testing.verification.batches import Drawn
from syncmetrics.testing.verification.laws import LAWS, Law
from syncmetrics.testing.verification.probes import NOT_ASSOCIATIVE, groupings, is_neutral
from syncmetrics.testing.verification.report import Mistake
from syncmetrics.testing.verification.subject import Example, Subject, alike, reductions_of, specs_of

__all__ = ["cause_of", "is_meant"]

#: A name of the mistake, and what to write instead.
Cause = tuple[str, str]
_REDUCTIONS: tuple[Any, ...] = ("sum", "max", "min", "mean", "cat", None)


def cause_of(subject: Subject, law: Law, example: Example, text: str) -> Mistake:
    """Name the mistake behind a broken law, and give the code that shows it."""
    found = next((cause for find in _FINDERS.get(law.key, ()) if (cause := find(subject, law, example))), None)
    name, instead = found or _UNKNOWN.get(law.key, (law.words, "Look at what the example prints."))
    return Mistake(name, f"{text}.", instead, subject.code(law.shows(subject, example)))


def is_meant(subject: Subject, law: Law) -> bool:
    """Whether what does not hold may well be meant: a value that depends on how samples are batched, and is no mean."""
    return law.is_note or (law.key == "batching" and not _is_mean_of_means(subject))


# -- the finders


def _attribute(subject: Subject, law: Law, example: Example) -> Cause | None:
    """`update` sets an attribute that is no state."""
    metric = subject.make()
    before = attributes_by_name(metric)
    for batch in example.batches:
        subject.update(metric, subject.draw(batch))
    names = changed(before, attributes_by_name(metric))
    if not names:
        return None
    return (
        "a plain attribute that is not a state",
        f"`update` sets self.{names[0]}, which is neither synced, nor merged, saved or reset: declare it in `__init__`"
        f" with self.add_state({names[0]!r}, torch.tensor(...), dist_reduce_fx=...).",
    )


def _neutral(subject: Subject, law: Law, example: Example) -> Cause | None:
    """A reduction of the user's own meets the default, as that of a rank without data, and does not leave it be."""
    for spec, reduce, value in reductions_of(subject.fed(example.batches)):
        if not is_neutral(spec, reduce, value):
            return (
                "a default that is not neutral",
                f"state `{spec.name}` begins with {spec.default}, which its reduction does not leave out: begin with"
                " the value that changes nothing, 1 for a product, say.",
            )
    return None


def _associative(subject: Subject, law: Law, example: Example) -> Cause | None:
    for spec, reduce, value in reductions_of(subject.make()):
        if groupings(reduce, *(torch.full_like(value, number) for number in (1, 2, 6))) is not None:
            says = f"The reduction of `{spec.name}` gives other values in other groupings. {NOT_ASSOCIATIVE}"
            return "a reduction that is not associative", says
    return None


def _reduction(subject: Subject, law: Law, example: Example) -> Cause | None:
    """With another reduction of one state, the law holds."""
    for index, (_, spec) in enumerate(specs_of(subject.make())):
        for other in _REDUCTIONS:
            if other == spec.reduction.name:
                continue
            changed_make = _with_reduction(subject.make, index, other)
            if changed_make is None:
                continue
            trial = Subject(changed_make, subject.batches, subject.name, reference=subject.reference)
            try:
                holds = law.fails(trial, example) is None
                holds = holds and all(law.fails(trial, one) is None for one in _OTHERS)
            except Exception:
                continue
            if holds and alike(trial.value(example.batches), subject.value(example.batches)):
                return (
                    "a wrong reduction",
                    f"state `{spec.name}` is declared with dist_reduce_fx={_name(spec)}; with {other!r} all ranks have"
                    " the value of one process.",
                )
    return None


_OTHERS = (
    Example(2, (Drawn(3, 1), Drawn(1, 2), Drawn(2, 3)), (0, 1, 1)),
    Example(3, (Drawn(2, 4), Drawn(4, 5)), (2, 0)),
)


def _name(spec: StateSpec) -> str:
    return repr(spec.reduction.name) if spec.reduction.fx is None else "a function"


def _with_reduction(make: Callable[[], Any], index: int, reduction: Any) -> Callable[[], Any] | None:
    def made() -> Any:
        metric = make()
        module, spec = specs_of(metric)[index]
        module._holder.specs[spec.name] = declare_state(spec.name, spec.default, reduction, spec.persistent)
        return metric

    try:
        made()
    except Exception:  # the reduction cannot be declared for such a state
        return None
    return made


def _mean_state(subject: Subject, law: Law, example: Example) -> Cause | None:
    """A state is averaged over ranks that have seen other numbers of samples."""
    for _, spec in specs_of(subject.make()):
        if spec.reduction.name == "mean":
            return (
                "a mean of means",
                f"state `{spec.name}` is a mean, and is averaged by numbers of updates, not of samples: keep the sum"
                " and the number of samples, both with dist_reduce_fx='sum', and divide in `compute`.",
            )
    return None


def _order(subject: Subject, law: Law, example: Example) -> Cause | None:
    batches = [Drawn(2, key) for key in range(3)]
    try:
        if alike(subject.value(batches), subject.value(batches[::-1])):
            return None
    except Exception:
        return None
    return (
        "an order-dependent value",
        "the value depends on which batch comes first, and ranks have no order in time: keep what does not (sums,"
        " counts, least and greatest), or keep the rows with their places and sort them in `compute`.",
    )


def _reads_states(subject: Subject, law: Law, example: Example) -> Cause | None:
    """What `update` adds depends on what is there already."""
    batch = subject.draw(Drawn(2, 3))
    metric, other = subject.make(), subject.fed([Drawn(3, 1), Drawn(2, 2)])
    steps = []
    for one in (metric, other):
        before = {name: value.clone() for name, value in _sums(one).items()}
        subject.update(one, copy.deepcopy(batch))
        steps.append({name: value - before[name] for name, value in _sums(one).items() if name in before})
    differing = [name for name in steps[0] if name in steps[1] and not alike(steps[0][name], steps[1][name], 1e-4)]
    if not differing:
        return None
    return (
        "an update that reads its states",
        f"what `update` adds to `{differing[0]}` depends on what is in the states already, and those of another rank"
        " are not there: add what the batch alone says, and combine in `compute`, or override `merge_states`.",
    )


def _sums(metric: Any) -> dict[str, Tensor]:
    return {
        spec.name: getattr(module, spec.name)
        for module, spec in specs_of(metric)
        if spec.reduction.name in ("sum", "mean") and isinstance(getattr(module, spec.name), Tensor)
    }


def _is_mean_of_means(subject: Subject) -> bool:
    """Whether batches of one size give what one batch gives, and batches of other sizes do not."""
    (law,) = (one for one in LAWS if one.key == "batching")
    even = [Example(1, tuple(Drawn(2, key + i) for i in range(3)), (0, 0, 0)) for key in (1, 5, 9)]
    try:
        return all(law.fails(subject, example) is None for example in even)
    except Exception:
        return False


def _means(subject: Subject, law: Law, example: Example) -> Cause | None:
    if not _is_mean_of_means(subject):
        return None
    return (
        "a mean of means",
        "batches of one size give the value of all samples, and batches of other sizes do not: each batch counts as"
        " much, however few samples it has. Add up over samples, and count samples.",
    )


def _edited(subject: Subject, law: Law, example: Example) -> Cause | None:
    metric = subject.make()
    arguments = subject.draw(example.batches[0])
    before = copy.deepcopy(arguments)
    subject.update(metric, arguments)
    if alike(arguments, before, 0.0):
        return None
    return ("an input that is edited", "`update` edits what it is given in place: write `preds = preds - 1`, not `-=`.")


def _kept(subject: Subject, law: Law, example: Example) -> Cause:
    return (
        "an input that is kept",
        "a state has the memory of what `update` was given: append `preds.detach().clone()`, or what is made of it.",
    )


Finder = Callable[[Subject, Law, Example], "Cause | None"]
_OF_RANKS: tuple[Finder, ...] = (
    _edited,
    _attribute,
    _associative,
    _neutral,
    _order,
    _reduction,
    _mean_state,
    _reads_states,
)
_FINDERS: dict[str, tuple[Finder, ...]] = {
    "ranks": _OF_RANKS,
    "steps": _OF_RANKS,
    "merge": _OF_RANKS,
    "saved": _OF_RANKS,
    "copies": (_attribute,),
    "forward": _OF_RANKS,
    "batching": (_edited, _attribute, _means),
    "reset": (_attribute,),
    "compute": (_attribute,),
    "inputs": (_edited, _kept),
}
_UNKNOWN: dict[str, Cause] = {
    "twice": (
        "random numbers",
        "the value depends on random numbers, so no two runs agree: draw them from a generator of the metric's own with"
        " a fixed seed, or take none.",
    ),
    "reference": ("another value than the reference", "Compare `update` and `compute` with the formula."),
    "ranks": (
        "other values on ranks than in one process",
        "Look at each state: what all ranks have is what its dist_reduce_fx makes of what each of them has.",
    ),
    "order": (
        "an order-dependent value",
        "If that is meant (rows in their order, say), nothing is wrong; a sampler that shuffles gives another value"
        " each time.",
    ),
    "batching": (
        "a value that depends on the batches",
        "If that is meant (a window of updates, say), nothing is wrong; else add up over samples, and count samples.",
    ),
    "copies": ("a metric that cannot be copied", "Keep no function without a name, no lock and no open file in it."),
    "compute": (
        "states that are edited in `compute`",
        "Compute of copies: `total = self.total / self.count`, and no `self.total /= ...`, `.pop()` or `.sort_()`.",
    ),
    "reset": (
        "a reset that leaves something",
        "Keep in states whatever `update` changes; `reset` then gives each its default.",
    ),
}
