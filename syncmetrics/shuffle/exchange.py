"""Send every row to the rank that has its range of keys, and answers back to where the rows came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from syncmetrics.shuffle.peers import Peers
from syncmetrics.shuffle.plan import choose_bounds, sample_places
from syncmetrics.shuffle.rows import Rows

__all__ = ["Share", "send_back", "share_by_key"]


@dataclass(frozen=True, slots=True)
class _Journey:
    """Who sends how much to whom, and when.

    Attributes:
        bounds: The least key of each range but the first.
        step: Number of rows that a rank sends in one round.
        counts: Of shape `(world_size, rounds, world_size)`: rows from a rank, in a round, to a rank.
    """

    bounds: Tensor
    step: int
    counts: Tensor


@dataclass(frozen=True, slots=True)
class Share:
    """The rows of one range of keys, from all ranks: by rank, and in the order that each of them had.

    Attributes:
        keys: Their keys. Those of a rank are all less than those of the next.
        columns: What else the rows have.
        below: How many rows the ranges of all lower ranks have.
        journey: How they came; None in a world of one.
    """

    keys: Tensor
    columns: tuple[Tensor, ...]
    below: int
    journey: _Journey | None


def share_by_key(peers: Peers, keys: Rows, columns: Sequence[Rows] = ()) -> Share:
    """Bring rows with equal keys to one rank, and of all keys about as many to each rank.

    Rows travel in rounds, whose buffers are bounded by the route's `max_chunk_bytes`; only the share itself is held as
    a whole. Collective: every rank of the group must call this.

    Args:
        peers: The ranks.
        keys: Integers by which the rows are shared.
        columns: What else the rows have.
    """
    if peers.world_size == 1:
        return Share(keys.slice(0, len(keys)), tuple(c.slice(0, len(c)) for c in columns), 0, None)
    samples = keys.take(sample_places(len(keys), sum(peers.told.rows), peers.world_size))
    pooled = torch.cat([told.long() for told in peers.tell(samples)]).sort().values
    bounds = torch.tensor(choose_bounds(pooled, peers.world_size), dtype=samples.dtype, device=keys.device)
    step = max(1, peers.route.max_chunk_bytes // (256 * peers.world_size))
    rounds = -(-max(peers.told.rows) // step)
    mine = torch.zeros(rounds, peers.world_size, dtype=torch.int64)
    for index, start in enumerate(range(0, len(keys), step)):
        mine[index] = _targets(keys, bounds, start, step).bincount(minlength=peers.world_size).cpu()
    journey = _Journey(bounds, step, torch.stack(peers.tell(mine)))
    total = int(journey.counts[:, :, peers.rank].sum())
    arrived = [torch.empty(total, dtype=c.slice(0, 0).dtype, device=keys.device) for c in (keys, *columns)]
    _send_rows(peers, journey, keys, columns, arrived)
    below = int(journey.counts[:, :, : peers.rank].sum())
    return Share(arrived[0], tuple(arrived[1:]), below, journey)


def send_back(peers: Peers, share: Share, values: Tensor, keys: Rows) -> Tensor:
    """Bring a value for each row of the shares back to the rank that the row came from.

    Collective: every rank of the group must call this.

    Args:
        peers: The ranks.
        share: What this rank got.
        values: One for each row of the share.
        keys: The keys of this rank, by which its rows were shared.

    Returns:
        One value for each row of this rank, in the order of its rows.
    """
    journey, rank = share.journey, peers.rank
    if journey is None:
        return values
    result = torch.empty(len(keys), dtype=values.dtype, device=values.device)
    # Where the rows of each rank and round begin in the share.
    begins = _places(journey.counts[:, :, rank])
    plan = _RoundPlan(peers, values.dtype, journey.counts[:, :, rank].T, journey.counts[rank])

    def fill(index: int, out: Tensor) -> None:
        pieces = zip(begins[index], plan.sent[index], strict=True)
        out.copy_(torch.cat([values[begin : begin + size] for begin, size in pieces]))

    def place(index: int, arrived: Tensor) -> None:
        start = index * journey.step
        order = _targets(keys, journey.bounds, start, journey.step).sort(stable=True).indices
        result[start + order] = arrived.to(result.device)

    plan.run(fill, place)
    return result


def _send_rows(peers: Peers, journey: _Journey, keys: Rows, columns: Sequence[Rows], arrived: Sequence[Tensor]) -> None:
    rank, step = peers.rank, journey.step
    begins = _places(journey.counts[:, :, rank])
    for column, target in zip((keys, *columns), arrived, strict=True):
        plan = _RoundPlan(peers, target.dtype, journey.counts[rank], journey.counts[:, :, rank].T)

        def fill(index: int, out: Tensor, column: Rows = column) -> None:
            start = index * step
            order = _targets(keys, journey.bounds, start, step).sort(stable=True).indices
            out.copy_(column.slice(start, min(start + step, len(keys)))[order])

        def place(index: int, got: Tensor, target: Tensor = target, plan: _RoundPlan = plan) -> None:
            for begin, piece in zip(begins[index], torch.split(got, plan.received[index]), strict=True):
                target[begin : begin + piece.shape[0]].copy_(piece)

        plan.run(fill, place)


class _RoundPlan:
    """The rounds in which one column travels.

    Args:
        peers: The ranks.
        dtype: Of the column.
        sent: Of shape `(rounds, world_size)`: rows for each rank.
        received: Of shape `(rounds, world_size)`: rows from each rank.
    """

    def __init__(self, peers: Peers, dtype: torch.dtype, sent: Tensor, received: Tensor) -> None:
        self._peers = peers
        self._dtype = dtype
        self.sent: list[list[int]] = sent.tolist()
        self.received: list[list[int]] = received.tolist()

    def run(self, fill: Callable[[int, Tensor], None], place: Callable[[int, Tensor], None]) -> None:
        """Send and receive round by round. Collective: every rank of the group must call this.

        A rank that fails in between goes on with whatever is in its buffers, for the others would wait for it; they
        hear of it at the next step.

        Args:
            fill: Writes what this rank sends in a round, rank by rank.
            place: Reads what has arrived in a round, rank by rank.
        """
        device = self._peers.route.transport.wire_device(self._peers.told.devices)
        size, failure = self._dtype.itemsize, None
        out, got = (
            torch.empty(max(map(sum, rows), default=0), dtype=self._dtype, device=device)
            for rows in (self.sent, self.received)
        )
        self._peers.tell("ready")  # all ranks have what they need, or all hear which one has not
        for index, (sent, received) in enumerate(zip(self.sent, self.received, strict=True)):
            leaving, coming = out[: sum(sent)], got[: sum(received)]
            if sum(sent) and failure is None:
                failure = _failure_of(fill, index, leaving)
            sizes = [[size * count for count in counts] for counts in (received, sent)]
            self._peers.all_to_all(coming.view(torch.uint8), leaving.view(torch.uint8), *sizes)
            if sum(received) and failure is None:
                failure = _failure_of(place, index, coming)
        if failure is not None:
            raise failure


def _failure_of(work: Callable[[int, Tensor], None], index: int, buffer: Tensor) -> Exception | None:
    try:
        work(index, buffer)
    except Exception as error:
        return error
    return None


def _targets(keys: Rows, bounds: Tensor, start: int, step: int) -> Tensor:
    """Say which rank has the range of each key in one round's rows."""
    return torch.searchsorted(bounds, keys.slice(start, min(start + step, len(keys))), right=True)


def _places(counts: Tensor) -> list[list[int]]:
    """Say where the rows of each round and rank begin, when they stand by rank and then by round.

    Args:
        counts: Of shape `(world_size, rounds)`.

    Returns:
        By round, then by rank.
    """
    flat = counts.reshape(-1)
    begins: list[list[int]] = (flat.cumsum(0) - flat).view(counts.shape).T.tolist()
    return begins
