"""Verify a metric: try to break each law, shrink what breaks it, and name the mistake."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from syncmetrics import registry
from syncmetrics.metric import Metric, MetricCollection
from syncmetrics.optional import load
from syncmetrics.testing.verification.batches import Batches, Drawn, draw_for, given
from syncmetrics.testing.verification.causes import cause_of, is_meant
from syncmetrics.testing.verification.laws import LAWS, Law
from syncmetrics.testing.verification.probes import PROBES
from syncmetrics.testing.verification.report import Check, Mistake, Outcome, Report
from syncmetrics.testing.verification.subject import Example, Subject, quietly

__all__ = ["verify"]

#: What is tried before anything is drawn: uneven, with ranks that have nothing, and of one batch.
_FIRST = (
    Example(3, (Drawn(3, 0), Drawn(1, 1), Drawn(2, 2), Drawn(4, 3)), (0, 0, 2, 2)),
    Example(4, (Drawn(5, 4), Drawn(2, 5), Drawn(3, 6)), (3, 1, 0)),
)
_MOST_ROWS, _MOST_KEYS, _MOST_BATCHES, _MOST_RANKS = 5, 7, 4, 4


def verify(
    make_metric: Callable[[], Metric | MetricCollection],
    batches: Sequence[Any] | Callable[[], Sequence[Any]] | None = None,
    *,
    reference: Callable[..., Any] | None = None,
    examples: int = 15,
    name: str = "",
) -> Report:
    """Find out whether a metric is right on any number of ranks, and if not, which mistake it has.

    Ranks are threads of this process. Each law is tried on a few examples of batches and ranks, the smallest that
    breaks it is looked for, and what is known to break it is tried to name the mistake. It takes a few seconds. It does
    not communicate, and is not to be called where a process group is in use.

    Args:
        make_metric: Makes a fresh metric or collection; best a function of a module, so that examples can name it.
        batches: Batches, or a function that gives them: each a tuple of the arguments of `update`, or its only
            argument. Left out, they are drawn from the names of the arguments.
        reference: A function of all samples, which gives the true value: called as `update` is, with all batches
            joined.
        examples: How many examples are drawn for each law.
        name: What to call the metric; left out, what makes it.

    Returns:
        What was found: `report.ok`, `report.checks`, `report.mistakes`; printed, it is a text.

    Raises:
        TypeError: What is made is no metric of ours.
        NoBatchesError: No batches were given, and none could be drawn.
        ImportError: hypothesis, which finds the smallest examples, is missing.

    Example:
        >>> from syncmetrics import SumMetric
        >>> from syncmetrics.testing import verify
        >>> verify(SumMetric).ok
        True
    """
    hypothesis = load("hypothesis", needed_by="`verify`", install="syncmetrics[verify]")
    start = time.monotonic()
    metric: Any = make_metric()
    make, is_foreign = make_metric, not isinstance(metric, (Metric, MetricCollection))
    if is_foreign:
        make = partial(_collected, make_metric)
        if registry.recognise(metric) is None:
            raise TypeError(
                "`make_metric` must give a Metric or a MetricCollection, or a metric of torchmetrics, torcheval or"
                f" ignite, but gives a {type(metric).__name__} instead."
            )
    with quietly():
        source = _source(make, batches)
        subject = Subject(
            make,
            source,
            name or _name(make_metric),
            _importable(make_metric),
            _importable(batches),
            reference,
            is_foreign,
        )
        laws = [law for law in LAWS if law.key != "reference" or reference]
        known: set[str] = set()
        checks = [_check(hypothesis, subject, laws[0], examples, known)]
        if checks[0].outcome == "holds":  # else no two values of it can be compared
            checks += [_check(hypothesis, subject, law, examples, known) for law in laws[1:]]
        else:
            checks += [Check(law.words, "not checked") for law in laws[1:]]
        checks += [_once(probe(subject), known) for probe in PROBES]
    return Report(subject.name, tuple(checks), source.words, time.monotonic() - start)


def _collected(make: Callable[[], Any]) -> MetricCollection:
    """Give a collection of ours that has a metric of another library."""
    return MetricCollection([make()])


def _once(check: Check, known: set[str]) -> Check:
    """Tell what to write instead of a mistake, and its example, where it is met first."""
    mistakes = [replace(m, instead="See above.", example="") if m.name in known else m for m in check.mistakes]
    known |= {mistake.name for mistake in check.mistakes}
    return replace(check, mistakes=tuple(mistakes))


def _source(make: Callable[[], Any], batches: Any) -> Batches:
    if batches is None:
        return draw_for(make)
    importable = _importable(batches)
    return given(list(batches() if callable(batches) else batches), "" if importable is None else importable[1])


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


def _importable(function: Any) -> tuple[str, str] | None:
    """Give where code finds a function or class, if it stands at the top of a module."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    return (module, name) if module and name.isidentifier() else None


def _check(hypothesis: Any, subject: Subject, law: Law, examples: int, known: set[str]) -> Check:
    example = _counterexample(hypothesis, subject, law, examples)
    if example is None:
        return Check(law.words, "holds")
    mistake = _mistake(subject, law, example)
    if mistake.name not in known:  # a small example is looked for once
        mistake = _mistake(subject, law, _smallest(hypothesis, subject, law, 10 * examples) or example)
    outcome: Outcome = "note" if is_meant(subject, law) else "broken"
    return _once(Check(law.words, outcome, (mistake,)), known)


def _mistake(subject: Subject, law: Law, example: Example) -> Mistake:
    torch.manual_seed(0)
    return cause_of(subject, law, example, law.broken(subject, example) or law.words)


def _counterexample(hypothesis: Any, subject: Subject, law: Law, examples: int) -> Example | None:
    """Find an example that breaks a law, or None."""
    for example in _FIRST:
        if _breaks(subject, law, example):
            return example
    return _smallest(hypothesis, subject, law, examples)


def _breaks(subject: Subject, law: Law, example: Example) -> bool:
    torch.manual_seed(0)
    return _says_something(subject, example) and law.broken(subject, example) is not None


def _smallest(hypothesis: Any, subject: Subject, law: Law, examples: int) -> Example | None:
    """Find the smallest example that breaks a law, among so many."""
    settings = hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    drawn, seed = _examples(hypothesis.strategies), random.Random(0)
    try:
        found: Example = hypothesis.find(drawn, partial(_breaks, subject, law), settings=settings, random=seed)
    except (hypothesis.errors.NoSuchExample, hypothesis.errors.Flaky):
        return None
    return found


def _says_something(subject: Subject, example: Example) -> bool:
    """Whether one process has a value of all and of each batch."""
    try:
        subject.value(example.batches)
        for batch in example.batches:
            subject.value([batch])
    except Exception:
        return False
    return True


def _examples(strategies: Any) -> Any:
    def make(world: int, entries: Sequence[tuple[int, int, int]]) -> Example:
        batches = tuple(Drawn(rows, key) for rows, key, _ in entries)
        return Example(world, batches, tuple(rank % world for *_, rank in entries))

    entry = strategies.tuples(
        strategies.integers(1, _MOST_ROWS), strategies.integers(0, _MOST_KEYS), strategies.integers(0, _MOST_RANKS - 1)
    )
    return strategies.builds(
        make, strategies.integers(2, _MOST_RANKS), strategies.lists(entry, min_size=1, max_size=_MOST_BATCHES)
    )
