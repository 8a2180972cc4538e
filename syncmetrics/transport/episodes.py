"""Episodes: operations that belong together, over a lane that is never used again once one was left midway.

A lane is one way for bytes to go between the ranks of a group, on which operation number n of one rank meets number n
of the others. That holds as long as every rank goes through all of them. A rank that leaves midway (its patience is
over, a connection broke, an exception or a signal came in between) does not come back to that lane: its next episode
begins with a meeting of all ranks on a fresh one, and the others follow when they find out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from syncmetrics.errors import PeerLostError, SyncError, said_by
from syncmetrics.transport.base import MovedError
from syncmetrics.transport.roll_call import Place

__all__ = ["EpisodicTransport"]

_Result = TypeVar("_Result")


class EpisodicTransport:
    """Which lane a rank is on, and where: what transports over several lanes have in common.

    Args:
        has_lane: Whether there is one to begin with.

    Attributes:
        last_thread: Which thread began an episode last; 0 if none has.
        last_sync: What the last episode was that came to its end; empty if none has.
    """

    def __init__(self, has_lane: bool) -> None:
        self._lane_number = self._lane_at_birth = 0 if has_lane else -1
        self._left = not has_lane
        self._operations = 0
        self._first = 0
        self._depth = 0
        self._lost: PeerLostError | None = None
        self._what = "a sync"
        self.last_thread = 0
        self.last_sync = ""

    def begin(self, *, timeout: float | None = None, what: str = "a sync", vainly: bool = False) -> bool:
        """Begin an episode, or one inside of another. If the lane was left midway, all ranks meet on a fresh one.

        Returns:
            Whether they have met for this episode.
        """
        if self._lost is not None:
            raise PeerLostError(str(self._lost), self._lost.missing, self._lost.standings.values())
        self.last_thread = threading.get_ident()
        if not self._left and not self._depth:
            self._first = self._operations + 1
        while self._left:
            self._lane_number += 1
            self._operations = self._first = 0
            try:
                self._meet(timeout, what, vainly)
            except MovedError:
                continue
            except SyncError as error:
                self._fail(error)
                raise
            self._left = False
            self._first = 1
        self._what = what
        self._depth += 1
        return self._first == 1 and self._lane_number > self._lane_at_birth

    def end(self, error: BaseException | None = None) -> None:
        """End an episode.

        Args:
            error: Why this rank leaves it midway, if it does and the others do not know of it.
        """
        self._depth -= 1
        if error is None:
            self.last_sync = self._what
        elif not self._left:
            self._left = True
            self._tell(f"rank {self.rank} has left {self._what} midway: {said_by(error)}")

    def _fail(self, error: BaseException) -> None:
        """Remember that an operation has failed, so that the lane is of no use any more."""
        self._left = True
        if isinstance(error, PeerLostError) and error.missing:
            self._lost = error

    def _within_episode(self, timeout: float | None, what: str, operate: Callable[[], _Result]) -> _Result:
        """Do one operation: in the episode that has begun, or as one by itself."""
        if self._depth:
            if self._left:
                raise SyncError(f"{what} cannot go on: it was left midway.")
            return operate()
        while True:
            try:
                self.begin(timeout=timeout, what=what)
                try:
                    result = operate()
                except BaseException as error:
                    self.end(error)
                    raise
                self.end()
                return result
            except MovedError:
                continue

    @property
    def present_sync(self) -> str:
        """What the episode is that is under way; empty if none is."""
        return self._what if self._depth else ""

    @property
    def _place(self) -> Place:
        return Place(self._lane_number, self._first, self._operations)

    @property
    def rank(self) -> int:
        """Rank in the group."""
        raise NotImplementedError

    def _meet(self, timeout: float | None, what: str, vainly: bool) -> None:
        """Open the lane number `self._lane_number` together with all other ranks.

        Raises:
            MovedError: One of them has waited there in vain: all go to the next one.
        """
        raise NotImplementedError

    def _tell(self, text: str) -> None:
        """Tell the others that this rank has left the lane. It does not raise."""
        raise NotImplementedError
