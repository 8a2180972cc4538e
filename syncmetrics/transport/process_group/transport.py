"""The ranks of a `torch.distributed` process group as a transport."""

from __future__ import annotations

import os
import struct
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from syncmetrics.errors import SyncError, said_by
from syncmetrics.transport.base import MovedError, Role, span_of
from syncmetrics.transport.board import Board, NoAnswerError
from syncmetrics.transport.episodes import EpisodicTransport
from syncmetrics.transport.neighbours import Neighbours
from syncmetrics.transport.patience import Patience, current_patience
from syncmetrics.transport.process_group.greeting import greet
from syncmetrics.transport.process_group.groups import GroupRef
from syncmetrics.transport.process_group.lanes import OPEN_TIMEOUT, Lane, lane_of, open_gloo
from syncmetrics.transport.process_group.shared_memory import Between, SharedMemory
from syncmetrics.transport.process_group.standing import can_be_asked, standings_over
from syncmetrics.transport.roll_call import FIRST_SECONDS, QUESTION_SECONDS, SLICE_SECONDS, RollCall, wait_for

__all__ = ["ProcessGroupTransport", "transport_between", "transport_of", "world_transport"]

#: What the words of a backend mean.
_KINDS: dict[Literal["lost", "timeout"], tuple[str, ...]] = {
    "lost": ("connection closed by peer", "connection reset by peer", "broken pipe", "pair closure", "refused"),
    "timeout": ("timed out", "timeout"),
}

#: When a rank came to a greeting.
_ENTERED = struct.Struct("<q")
#: Once in the life of a group a rank writes down that it is there, which takes no longer.
_REGISTER_SECONDS = 10.0
#: The backends of groups whose ranks find out whether they share memory.
_GREET = {"gloo", "nccl"}
#: Where nothing is sent: what goes through memory is waited for as gloo's operations are.
_IN_MEMORY = Lane(None, None, softly=True)
#: When all ranks are there, opening a lane takes milliseconds.
_OPENING = timedelta(seconds=30)
#: Opening a lane between hosts takes no longer. Where gloo finds no way (it does not have to in a group of NCCL), there
#: is none, and all goes over the group.
_BETWEEN_SECONDS, _BETWEEN_SECONDS_OF_A_HOST = 5.0, 0.05

_transports: weakref.WeakKeyDictionary[dist.ProcessGroup, ProcessGroupTransport] = weakref.WeakKeyDictionary()
#: Held by the thread that makes one: two over the same group would each count its operations from the first one on.
_making = threading.RLock()
if hasattr(os, "register_at_fork"):  # or a child that is forked while another thread makes one would wait for ever
    os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release)


def transport_of(ref: GroupRef) -> ProcessGroupTransport:
    """Give the transport over a group: the same one each time, so that its syncs are counted together."""
    return _transport_over(ref.resolve())


def world_transport() -> ProcessGroupTransport:
    """Give the transport over all ranks."""
    group = dist.group.WORLD
    assert group is not None
    return _transport_over(group)


def _transport_over(group: dist.ProcessGroup) -> ProcessGroupTransport:
    transport = _transports.get(group)
    if transport is None:
        with _making:
            transport = _transports.get(group)
            if transport is None:
                transport = _transports[group] = ProcessGroupTransport(_Ranks(group))
    return transport


#: Between ranks of a world that torch has no group of: the ranks, and the transports over them by what they are for.
_between: weakref.WeakKeyDictionary[
    dist.ProcessGroup, dict[tuple[int, ...], tuple[_Ranks, dict[str, ProcessGroupTransport]]]
] = weakref.WeakKeyDictionary()


def transport_between(ranks: tuple[int, ...], purpose: str, make_role: Callable[[], Role]) -> ProcessGroupTransport:
    """Give the transport between ranks of the world that torch has no group of, over CPU lanes of its own.

    It is the same one each time, and does not communicate before it is used.

    Args:
        ranks: Global ranks, this one among them, in the order of the group.
        purpose: What it is for, the same on all of them: for each there are lanes.
        make_role: Gives the role of this rank, the first time.
    """
    world = dist.group.WORLD
    assert world is not None
    with _making:
        known = _between.setdefault(world, {})
        if ranks not in known:
            known[ranks] = _Ranks(world, ranks), {}
        group, transports = known[ranks]
        if purpose not in transports:
            made = ProcessGroupTransport(group, f"{purpose}/")
            made.role = make_role()
            transports[purpose] = made
        return transports[purpose]


class _Ranks:
    """The ranks of a group, and what they write down for each other: the same for all transports over them.

    Args:
        group: The group.
        between: Some of its ranks, which torch has no group of: then these are meant, and no backend serves them.

    Attributes:
        group: The group, held weakly.
        rank: Rank of this process in it.
        global_ranks: The ranks of the world, by rank in the group.
        backends: Which backend serves which device type: {"cpu": "gloo", "cuda": "nccl"}.
        name: What to tell the group by: the same on all of its ranks.
    """

    def __init__(self, group: dist.ProcessGroup, between: tuple[int, ...] | None = None) -> None:
        self.group = weakref.ref(group)
        self.global_ranks = tuple(dist.get_process_group_ranks(group)) if between is None else between
        self.rank = dist.get_rank(group) if between is None else between.index(dist.get_rank())
        self.backends = _backends(group) if between is None else {}
        self.name = f"syncmetrics/{getattr(group, 'group_name', '')}{self.global_ranks}"
        if between is not None:
            self.name += "between"
        self._met: tuple[Board, Neighbours] | None = None
        self._claim = uuid.uuid4().hex

    def meet(self, seconds: float = _REGISTER_SECONDS) -> tuple[Board, Neighbours]:
        """Give the board of this life of the group, and the ranks on this host.

        A group may be destroyed and made again under its name, with the same store: each rank counts its lives. Where
        the store does not answer within so many seconds, nobody is met there, and it is asked again the next time.
        """
        if self._met is not None:
            return self._met
        whole = Board(dist.distributed_c10d._get_default_store, self.name)
        if "fake" in self.backends.values():
            self._met = whole.part("0"), Neighbours(whole.part("0"), self.rank)
            return self._met
        try:
            board = whole.part(str(self._count_lives(whole, seconds)))
        except NoAnswerError:
            return whole.part("0"), Neighbours(whole.part("0"), self.rank)
        neighbours = Neighbours(board, self.rank)
        with suppress(NoAnswerError):
            neighbours.register(seconds)
        group = self.group()
        if group is not None and len(self.global_ranks) > 1:
            can_be_asked(group)
        self._met = board, neighbours
        return self._met

    def _count_lives(self, whole: Board, seconds: float) -> int:
        """Give the number of this life: the first that nobody has claimed, or this one has, unanswered before."""
        life = 1
        while whole.claim(f"lives/{self.rank}/{life}", self._claim, seconds) != self._claim:
            life += 1
        return life


class ProcessGroupTransport(EpisodicTransport):
    """The ranks of a `torch.distributed` process group.

    Only operations on equal sizes or on sizes known beforehand are used, only on contiguous buffers of the transport's
    callers, and only ones that gloo and NCCL agree on. Its first lane is the group itself; the later ones are CPU
    groups of its own.

    Args:
        ranks: Of the group.
        name: Which transport over these ranks it is: empty for the one over the group itself.
    """

    def __init__(self, ranks: _Ranks, name: str = "") -> None:
        super().__init__(has_lane=not name and any(map(_is_here, ranks.backends)))
        self._ranks = ranks
        self._name = name
        self._rank = ranks.rank
        self._global_ranks = ranks.global_ranks
        self._world_size = len(ranks.global_ranks)
        self._opened: Lane | None = None
        self._shared: SharedMemory | None = None
        self._between: Lane | None = None
        self._old: list[tuple[float, Lane]] = []
        self._twin: ProcessGroupTransport | None = None
        self._standings = standings_over(self, self._global_ranks, f"{ranks.name}/{name}")
        self.role = Role()

    def __deepcopy__(self, memo: dict[int, Any]) -> ProcessGroupTransport:
        return self

    @property
    def rank(self) -> int:
        """Rank of this process in the group."""
        return self._rank

    @property
    def world_size(self) -> int:
        """Number of ranks in the group."""
        return self._world_size

    @property
    def global_ranks(self) -> tuple[int, ...]:
        """The ranks of the world, by rank in the group."""
        return self._global_ranks

    @property
    def name(self) -> str:
        """What to call the group in a message."""
        return f"group of global ranks {list(self._global_ranks)}"

    @property
    def shares_memory(self) -> bool:
        """Whether the ranks exchange packets through memory that they share: found out with their first sync."""
        return self._shared is not None

    def wire_device(self, device_types: Sequence[str]) -> torch.device:
        """Give the device to send from.

        It is the one where the data lies if the lane serves it, else the CPU, else one that the lane serves.
        """
        backends = self._backends
        kinds = set(device_types)
        if len(kinds) == 1:
            (kind,) = kinds
            if kind != "cpu" and kind in backends and _is_here(kind):
                return _current_device(kind)
        if "cpu" in backends:
            return torch.device("cpu")
        for kind in backends:
            if _is_here(kind):
                return _current_device(kind)
        return torch.device("cpu")

    @property
    def _backends(self) -> dict[str, str]:
        """Which backend serves which device type on the present lane."""
        return self._ranks.backends if self._lane_number == 0 and self._opened is None else {"cpu": "gloo"}

    def twin(self) -> ProcessGroupTransport:
        """Give a transport over CPU lanes of its own between the same ranks."""
        with _making:
            if self._twin is None:
                made = ProcessGroupTransport(self._ranks, f"{self._name}twin/")
                made.role = self.role.twin()
                self._twin = made
            return self._twin

    def confirm(self, apart: float, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Raise what another rank has concluded about this episode, if one may have."""
        limit = _patience_of(timeout).timeout
        least = FIRST_SECONDS if limit is None else min(FIRST_SECONDS, limit)
        if apart < least / 2:
            return
        try:
            self._roll(what).confirm(QUESTION_SECONDS)
        except (SyncError, MovedError) as error:
            self._fail(error)
            raise
        except NoAnswerError:
            pass

    def all_gather(
        self,
        out: Tensor,
        local: Tensor,
        *,
        filled: int | None = None,
        timeout: float | None = None,
        what: str = "a sync",
    ) -> None:
        """Gather `local` of every rank into `out`.

        Through shared memory where the ranks of a host share some; from the CPU also where no lane serves it.
        """
        self._act(timeout, what, partial(self._gather_all, out, local, filled))

    def _gather_all(self, out: Tensor, local: Tensor, filled: int | None, patience: Patience, what: str) -> None:
        shared = self._shared
        if shared is not None and shared.fits(local):
            self._operate(None, lambda lane, limit: [shared.all_gather(out, local, limit, filled)], patience, what)
        elif self._opened is not None or local.device.type in self._backends:
            self._operate(local, lambda lane, limit: lane.all_gather(out, local, limit), patience, what)
        else:
            device = self.wire_device([local.device.type])
            sent, arrived = local.to(device), torch.empty(out.numel(), dtype=torch.uint8, device=device)
            self._operate(sent, lambda lane, limit: lane.all_gather(arrived, sent, limit), patience, what)
            out.copy_(arrived)

    def broadcast(self, buffer: Tensor, src: int, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Fill `buffer` with what rank `src` has in it."""
        self._run(buffer, lambda lane, limit: lane.broadcast(buffer, src, limit), timeout, what)

    def broadcasts(
        self, buffers: Sequence[tuple[int, Tensor]], *, timeout: float | None = None, what: str = "a sync"
    ) -> None:
        """Fill every buffer with what its rank has in it, all of them under way at the same time."""
        if buffers:
            self._run(
                buffers[0][1],
                lambda lane, limit: [work for src, buffer in buffers for work in lane.broadcast(buffer, src, limit)],
                timeout,
                what,
            )

    def gather(self, pieces: Sequence[Tensor], dst: int, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Send every rank's own piece to rank `dst`, straight into place."""
        mine = pieces[self._rank]
        if mine.device.type == "cpu" or self._backends.get(mine.device.type) == "gloo":
            self._gather_softly(pieces, dst, timeout, what)
            return
        sends = [(dst, mine)] if self._rank != dst and mine.numel() else []
        others = enumerate(pieces) if self._rank == dst else []
        receives = [(rank, piece) for rank, piece in others if rank != dst and piece.numel()]
        self._run(mine, lambda lane, limit: lane.exchange(sends, receives), timeout, what)

    def _gather_softly(self, pieces: Sequence[Tensor], dst: int, timeout: float | None, what: str) -> None:
        """Gather over gloo, by a collective: a wait for its sends and receives that runs out closes all connections."""
        mine, ranks = pieces[self._rank], range(self._world_size)
        if self._rank != dst:
            sizes = [mine.numel() if rank == dst else 0 for rank in ranks]
            self.all_to_all(mine[:0], mine, [0] * self._world_size, sizes, timeout=timeout, what=what)
            return
        whole = span_of(pieces)
        out = torch.cat([*pieces]) if whole is None else whole
        sizes = [piece.numel() for piece in pieces]
        to_itself = [mine.numel() if rank == dst else 0 for rank in ranks]
        self.all_to_all(out, mine, sizes, to_itself, timeout=timeout, what=what)
        if whole is None:
            for piece, arrived in zip(pieces, torch.split(out, sizes), strict=True):
                piece.copy_(arrived)

    def all_to_all(
        self,
        out: Tensor,
        local: Tensor,
        out_sizes: Sequence[int],
        local_sizes: Sequence[int],
        *,
        timeout: float | None = None,
        what: str = "a sync",
    ) -> None:
        """Send to every rank a piece of its own."""
        source, target = self._point_to_point(local), self._point_to_point(out)
        sizes = (list(out_sizes), list(local_sizes))
        self._run(source, lambda lane, limit: lane.all_to_all(target, source, *sizes, limit), timeout, what)
        if target is not out:
            out.copy_(target)

    def all_reduce_sum(self, buffer: Tensor, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Replace an `int64` buffer by its sum over ranks."""
        self._run(buffer, lambda lane, limit: lane.all_reduce_sum(buffer, limit), timeout, what)

    def _run(
        self,
        tensor: Tensor,
        post: Callable[[Lane, timedelta | None], Sequence[Any]],
        timeout: float | None,
        what: str,
    ) -> None:
        """Start an operation, wait for it, and turn what the backend raises into the errors of this package.

        The backend gets a limit beyond ours, if there is one: it would otherwise hold the process at its end for as
        long as the group's timeout.
        """
        self._act(timeout, what, partial(self._operate, tensor, post))

    def _act(self, timeout: float | None, what: str, act: Callable[[Patience, str], None]) -> None:
        """Do something within an episode; on a new lane the ranks find out first what they share."""
        patience = _patience_of(timeout)

        def greet_and_act() -> None:
            if not self._operations:
                self._greet(patience, what)
            act(patience, what)

        self._within_episode(timeout, what, greet_and_act)

    def _operate(
        self,
        tensor: Tensor | None,
        post: Callable[[Lane, timedelta | None], Sequence[Any]],
        patience: Patience,
        what: str,
    ) -> None:
        """Start an operation and wait for it: on a buffer that a lane sends, or None for one through shared memory."""
        limit = _limit_of(patience)
        start = time.monotonic()
        self._operations += 1
        try:
            lane = _IN_MEMORY if tensor is None else self._lane(tensor)
            works = [work for work in post(lane, limit) if work is not None]
            if lane.pretends:
                for work in works:
                    work.wait()
            elif len(works) == 1 and lane.softly and works[0].is_completed():
                works[0].wait()
            else:
                wait_for(partial(_finished_within, works, lane.softly), self._roll(what), patience)
        except (SyncError, MovedError) as error:
            self._fail(error)
            raise
        except RuntimeError as error:
            text = str(error).lower()
            why = next((kind for kind, words in _KINDS.items() if any(word in text for word in words)), None)
            if why is None:
                raise
            concluded = self._roll(what).conclude(why, time.monotonic() - start)
            self._fail(concluded)
            raise concluded from error

    def _let_go_of_memory(self) -> None:
        if self._shared is not None:  # what an operation that was given up has of it may live on in an exception
            self._shared.close()
            self._shared = None

    def _put_away(self, lanes: Sequence[Lane | None], limit: timedelta) -> None:
        """Keep lanes until no operation is left on them: to let go of one before means to wait for it."""
        now = time.monotonic()
        self._old = [(until, lane) for until, lane in self._old if until > now]
        self._old += [(now + limit.total_seconds(), lane) for lane in lanes if lane is not None]

    def _greet(self, patience: Patience, what: str) -> None:
        """Find out, as the first thing on a lane, which ranks share memory. All ranks of a group come here."""
        self._let_go_of_memory()
        if self._world_size < 2 or not set(self._backends.values()) <= _GREET:
            return

        def gather(said: bytes) -> list[bytes]:
            start = time.monotonic()
            mine = torch.frombuffer(bytearray(_ENTERED.pack(time.time_ns()) + said), dtype=torch.uint8)
            found = torch.empty(self._world_size * mine.numel(), dtype=torch.uint8)
            self._gather_all(found, mine, None, patience, what)
            texts = [bytes(row.tolist()) for row in found.view(self._world_size, -1)]
            entered = [_ENTERED.unpack_from(text)[0] for text in texts]
            # A rank that comes late does its part of one operation at most that the others have given up.
            apart = max((max(entered) - min(entered)) / 1e9, time.monotonic() - start)
            self.confirm(apart, timeout=patience.timeout, what=what)
            return [text[_ENTERED.size :] for text in texts]

        self._shared = greet(self._rank, gather, partial(self._open_between, patience.timeout))

    def _open_between(self, timeout: float | None, host: int, hosts: int) -> Between:
        """Open a lane between the first ranks of the hosts, soon: the others of their hosts wait meanwhile."""
        board = self._ranks.meet()[0].part(f"{self._name}{self._lane_number}/hosts")
        limit = _BETWEEN_SECONDS + _BETWEEN_SECONDS_OF_A_HOST * hosts
        limit = limit if timeout is None else min(limit, timeout / 4)
        lane = self._between = open_gloo(board, host, hosts, timedelta(seconds=limit))
        return lambda out, local, limit: lane.all_gather(out, local, limit)[0]

    def _roll(self, what: str) -> RollCall:
        board, neighbours = self._ranks.meet()
        return RollCall(
            board.part(f"{self._name}{self._lane_number}"),
            self._rank,
            self._world_size,
            what,
            self._place,
            neighbours,
            self._standings,
        )

    def begin(self, *, timeout: float | None = None, what: str = "a sync", vainly: bool = False) -> bool:
        """Begin an episode. Collective if the lane was left midway, or if there is none yet."""
        limit = _patience_of(timeout).timeout
        self._ranks.meet(_REGISTER_SECONDS if limit is None else min(_REGISTER_SECONDS, limit))
        return super().begin(timeout=timeout, what=what, vainly=vainly)

    def _meet(self, timeout: float | None, what: str, vainly: bool) -> None:
        now = time.monotonic()
        patience = _patience_of(timeout)
        self._let_go_of_memory()
        self._put_away([self._opened, self._between], _limit_of(patience) or OPEN_TIMEOUT)
        self._opened = self._between = None
        if patience.timeout is None:
            patience = replace(patience, timeout=OPEN_TIMEOUT.total_seconds())
        roll = self._roll(what)
        roll.assemble(patience, vainly)
        try:
            name = self._ranks.meet()[0].part(f"{self._name}{self._lane_number}/lane")
            self._opened = open_gloo(name, self._rank, self._world_size, _OPENING)
        except RuntimeError as error:
            raise roll.conclude("timeout", time.monotonic() - now) from error
        except BaseException as error:
            roll.leave(f"rank {self._rank} has left {what} midway: {said_by(error)}")
            raise

    def _tell(self, text: str) -> None:
        self._roll(self._what).leave(text)

    def _point_to_point(self, piece: Tensor) -> Tensor:
        """Give a buffer that can be sent from rank to rank: gloo does so from the CPU alone."""
        kind = piece.device.type
        return piece.cpu() if kind != "cpu" and self._backends.get(kind) == "gloo" else piece

    def _lane(self, tensor: Tensor) -> Lane:
        if self._opened is not None:
            return self._opened
        kind = tensor.device.type
        assert kind in self._backends, f"no lane for {kind}: the buffer must lie where wire_device said"
        group = self._ranks.group()
        if group is None:
            raise SyncError("the process group of this metric has been destroyed.")
        return lane_of(group, self._global_ranks, kind, self._backends[kind])


def _patience_of(timeout: float | None) -> Patience:
    patience = current_patience()
    return patience if timeout is None else replace(patience, timeout=timeout)


def _limit_of(patience: Patience) -> timedelta | None:
    if patience.timeout is None:
        return None
    return timedelta(seconds=patience.timeout + min(max(patience.timeout, 2.0), 30.0))


def _backends(group: dist.ProcessGroup) -> dict[str, str]:
    """Read which backend serves which device type: {"cpu": "gloo", "cuda": "nccl"}."""
    pairs = (entry.partition(":") for entry in str(dist.get_backend_config(group)).split(","))
    found = {device: backend for device, _, backend in pairs if backend}
    return found or {"cpu": str(dist.get_backend(group))}


def _is_here(kind: str) -> bool:
    if kind == "cpu":
        return True
    module = getattr(torch, kind, None)
    return bool(module is not None and module.is_available())


def _current_device(kind: str) -> torch.device:
    return torch.device(kind, getattr(torch, kind).current_device()) if kind != "mps" else torch.device("mps")


def _finished_within(works: Sequence[Any], softly: bool, seconds: float) -> bool:
    """Wait for all operations for at most so long, and raise what one of them raises, whichever it is.

    Gloo leaves an operation going when a wait runs out. NCCL takes that for the end of the communicator, and is only
    asked.
    """
    deadline, pause = time.monotonic() + seconds, 1e-5
    while True:
        going = [work for work in works if not work.is_completed()]
        for work in works:
            if work not in going:
                work.wait()  # which raises what it ended with
        if not going:
            return True
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        if softly:
            with suppress(RuntimeError):  # that the time is over; how it ended is asked above
                going[0].wait(timedelta(seconds=max(min(left, SLICE_SECONDS if len(works) > 1 else left), 0.001)))
        else:
            time.sleep(min(pause, left))
            pause = min(2 * pause, 1e-3)
