"""What a value rests on: how many updates and samples each rank brought to the last sync. It communicates nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.sync import Host, Node, hosts_in

__all__ = ["Coverage", "Share", "coverage", "shares_of"]

#: So many ranks are listed one by one, and so many names.
_LISTED, _NAMED = 16, 3


@dataclass(frozen=True, slots=True)
class Share:
    """What the values of some metrics rest on: those that saw the same.

    Attributes:
        names: Names of the metrics.
        updates: Number of updates on each rank, in rank order.
        samples: Number of samples on each rank; None where a rank does not know it.
    """

    names: tuple[str, ...]
    updates: tuple[int, ...]
    samples: tuple[int | None, ...]

    @property
    def total(self) -> int | None:
        """Number of samples on all ranks, or None if a rank does not know its own."""
        known = [count for count in self.samples if count is not None]
        return sum(known) if len(known) == len(self.samples) else None

    @property
    def idle_ranks(self) -> tuple[int, ...]:
        """Ranks that brought no sample: without an update, or with empty batches alone."""
        both = enumerate(zip(self.updates, self.samples, strict=True))
        return tuple(rank for rank, (updates, samples) in both if updates == 0 or samples == 0)

    def __str__(self) -> str:
        """Give a line: the samples and updates, on how many ranks, and which of them had none."""
        ranks = len(self.updates)
        what = "an unknown number of samples" if self.total is None else _count(self.total, "sample")
        text = f"{what} in {_count(sum(self.updates), 'update')} on {_count(ranks, 'rank')}"
        known = [count for count in self.samples if count is not None]
        if 1 < ranks <= _LISTED:
            text += ": " + ", ".join("?" if count is None else f"{count:,}" for count in self.samples)
        elif ranks > 1 and known:
            text += f": {min(known):,} to {max(known):,} each"
        return f"{text}; {_ranks(self.idle_ranks)} had none" if self.idle_ranks else text


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the values of the last sync rest on.

    Attributes:
        shares: What was brought, for metrics that saw the same; those with the most samples first.
        dataset_size: Number of samples that there should be, if it was given.
        repeated: How many ids came more than once, counting each but its first time; None if no ids were given.
    """

    shares: tuple[Share, ...]
    dataset_size: int | None = None
    repeated: int | None = None

    @property
    def updates(self) -> tuple[int, ...]:
        """Number of updates on each rank, of the metrics with the most samples."""
        return self.shares[0].updates

    @property
    def samples(self) -> tuple[int | None, ...]:
        """Number of samples on each rank, of the metrics with the most; None where a rank does not know it."""
        return self.shares[0].samples

    @property
    def total(self) -> int | None:
        """Number of samples on all ranks, of the metrics with the most; None if a rank does not know its own."""
        return self.shares[0].total

    @property
    def idle_ranks(self) -> tuple[int, ...]:
        """Ranks that brought no sample to the metrics with the most."""
        return self.shares[0].idle_ranks

    @property
    def is_padded(self) -> bool:
        """Whether it looks as if a sampler had repeated samples to make the ranks even, as `DistributedSampler` does.

        All ranks have equally many, and these are just as many more than there should be, or than there are ids, as it
        takes for that: fewer than there are ranks.
        """
        ranks, total = len(self.samples), self.total
        if ranks == 1 or total is None or len(set(self.samples)) > 1:
            return False
        size = total - self.repeated if self.dataset_size is None and self.repeated else self.dataset_size
        return size is not None and 0 < total - size < ranks

    @property
    def findings(self) -> tuple[str, ...]:
        """What is wrong with it, in sentences; nothing if all is well, or nothing to compare with was given."""
        found, total = [], self.total
        if self.dataset_size is not None and total is not None and total != self.dataset_size:
            more = total > self.dataset_size
            there = f"{_count(abs(total - self.dataset_size), 'sample')} {'too many' if more else 'missing'}"
            found.append(f"{there}: the dataset has {self.dataset_size:,}")
        if self.repeated:
            found.append(f"{_count(self.repeated, 'sample')} counted twice")
        if self.is_padded:
            found.append("the sampler seems to repeat samples so that all ranks have as many: take EvalSampler")
        return tuple(found)

    def __str__(self) -> str:
        """Give a line for each share, with the names of its metrics if there are several; and what is wrong."""
        single = len(self.shares) == 1
        lines = [str(share) if single else f"{_names(share.names)}: {share}" for share in self.shares]
        lines[0] = "; ".join([lines[0], *self.findings])
        return "\n".join(lines)


def coverage(metrics: Any, *, dataset_size: int | None = None, ids: Tensor | Sequence[Any] | None = None) -> Coverage:
    """Say what the values of metrics rest on: the updates and samples of each rank in their last sync.

    It does not communicate: every sync brings these numbers along. A batch has as many samples as the first tensor that
    `update` was given has rows. After more updates it says still what the last values rest on, and after `reset` too.

    Args:
        metrics: A metric, a collection, or lists, tuples and dicts of them, that were synced: computed, mostly.
        dataset_size: How many samples there should be, to be compared with how many there were.
        ids: Ids of all samples of all ranks, to find those that came more than once: the value of a `CatMetric` that
            is given them, in the same collection.

    Returns:
        What there was, on every rank that took part in the sync.

    Raises:
        StateError: None of the metrics was synced since it was made.
        TypeError: Something is no metric.

    Example:
        >>> import torch
        >>> from syncmetrics import MeanMetric, coverage
        >>> loss = MeanMetric()
        >>> loss.update(torch.tensor([0.5, 0.25, 0.75]))
        >>> value = loss.compute()
        >>> print(coverage(loss, dataset_size=4))
        3 samples in 1 update on 1 rank; 1 sample missing: the dataset has 4
    """
    if dataset_size is not None and dataset_size < 0:
        raise ValueError(f"`dataset_size` must be a number of samples, but is {dataset_size} instead.")
    hosts = list(hosts_in(metrics))
    shares = shares_of(hosts)
    if not shares:
        names = ", ".join(f"`{name}`" if name else f"`{type(host).__name__}`" for name, host in hosts) or "nothing"
        raise StateError(f"no sync has told what {names} rests on; call compute() first.")
    return Coverage(shares, dataset_size, None if ids is None else _repeated(ids))


def shares_of(hosts: Iterable[tuple[str, Host]]) -> tuple[Share, ...]:
    """Group metrics by what they saw, those that saw the most first; those that have not been synced are left out."""
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], list[str]] = {}
    for name, updates, samples in _heard(hosts):
        found.setdefault((updates, samples), []).append(name)
    shares = [
        Share(tuple(names), updates, tuple(None if count < 0 else count for count in samples))
        for (updates, samples), names in found.items()
    ]
    return tuple(sorted(shares, key=lambda share: -1 if share.total is None else share.total, reverse=True))


def _heard(hosts: Iterable[tuple[str, Host]]) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Give the name of each metric, and the updates and samples of each rank that it has heard of."""
    for path, host in hosts:
        for node, _ in host._hosted(path):
            if not isinstance(node, Node):
                continue  # of another library, which counts no samples
            for ref, (name, _) in zip(node.metrics, node.holders, strict=False):
                metric = ref()
                heard = None if metric is None else metric._heard
                if heard is not None:
                    tally, index = heard
                    yield (_dotted(name) or node.label, *tally.of(index))


def _dotted(name: str) -> str:
    """Give `['val']['loss']` as `val.loss`."""
    return re.sub(r"""\[(['"]?)(.+?)\1\]""", r".\2", name).lstrip(".")


def _repeated(ids: Tensor | Sequence[Any]) -> int:
    given = ids.reshape(-1).tolist() if isinstance(ids, Tensor) else [_plain(one) for one in ids]
    return len(given) - len(set(given))


def _plain(one: Any) -> Any:
    return one.item() if isinstance(one, Tensor) else one


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _ranks(ranks: Sequence[int]) -> str:
    if len(ranks) > _LISTED:
        return f"{len(ranks)} ranks"
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


def _names(names: Sequence[str]) -> str:
    text = ", ".join(names[:_NAMED])
    return text if len(names) <= _NAMED else f"{text} and {len(names) - _NAMED} more"
