"""Who has come to an operation, and what became of it: how ranks that wait come to one outcome.

As long as all ranks come, none of this costs anything. A rank that has waited for a second writes its name on the
board. When the time is up, a connection is lost or a process has ended, those that wait read the names of those that
do; the first to conclude writes down the verdict, one for each lane, and the others adopt it. A rank that leaves a sync
midway for a reason of its own writes that down in the same place.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

from syncmetrics.errors import PeerError, PeerLostError, Standing, SyncError, SyncTimeoutError, said_by
from syncmetrics.transport.asking import in_words
from syncmetrics.transport.base import MovedError
from syncmetrics.transport.board import Board, NoAnswerError
from syncmetrics.transport.patience import Patience
from syncmetrics.transport.stacks import decode_standing, encode_standing

__all__ = ["IN_VAIN", "Place", "RollCall", "Verdict", "Why", "wait_for"]

#: Why an operation did not come to its end: a process or a connection is gone, a rank has not come, or has left; or one
#: has waited for nobody, and the others are to go on as if it had not.
Why: TypeAlias = Literal["lost", "timeout", "left", "in vain"]

#: A rank that has waited for so many seconds writes its name down.
FIRST_SECONDS = 1.0
#: From then on it looks so often whether another rank has concluded.
SLICE_SECONDS = 0.25
#: No wait is shorter: torch rounds less than a millisecond to no limit at all.
LEAST_SECONDS = 0.01
#: How many seconds those that wait leave to each other to write their names down. A lost connection is not seen by all
#: ranks at once; who does not see it writes its name down after `FIRST_SECONDS`, and must not be taken for lost.
ROLL_SECONDS: dict[Why, float] = {"lost": 2.5, "timeout": 1.0}
#: A question to the board takes no longer, even where nothing limits the wait itself.
QUESTION_SECONDS = 2.0
#: To ask the missing ranks where they stand takes no longer: where nothing is in a hurry, and at the end.
ASK_SECONDS, LAST_ASK_SECONDS = 2.0, 1.0
#: A process whose connection is closed is found to have ended only a moment later.
ENDING_SECONDS = 0.5
#: What the last rank to come to a new lane writes down.
_ALL_HERE = "all are here"
#: What a rank writes down that has come to the end of an operation when others may be about to give it up.
_DONE = "done"
_TEXT_CHARACTERS = 2000


class Gone(Protocol):
    """Whoever can say which ranks have ended."""

    def gone(self, seconds: float) -> tuple[int, ...]:
        """Give the ranks whose processes have ended."""


class Asks(Protocol):
    """Whoever can find out where ranks stand."""

    def find(self, board: Board, ranks: Sequence[int], seconds: float) -> dict[int, Standing]:
        """Ask ranks where they stand; `board` is what those write for each other who do so at this time."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a lane is not used any more.

    Attributes:
        why: What happened.
        first: Number of the operation that the episode began with in which it happened.
        ranks: The ranks that did not come, are gone or have left.
        text: What all ranks are to raise.
        standings: Where ranks of these stood that were asked.
    """

    why: Why
    first: int
    ranks: tuple[int, ...] = ()
    text: str = ""
    standings: tuple[Standing, ...] = ()

    def encode(self) -> str:
        """Give it as text."""
        told = [encode_standing(standing) for standing in self.standings]
        return json.dumps([self.why, self.first, self.ranks, self.text, *told])

    @classmethod
    def decode(cls, text: str) -> Verdict:
        """Read it."""
        why, first, ranks, said, *told = json.loads(text)
        standings = tuple(standing for one in told if (standing := decode_standing(one)) is not None)
        return cls(why, first, tuple(ranks), said, standings)

    @classmethod
    def of(
        cls, why: Literal["lost", "timeout"], first: int, ranks: tuple[int, ...], meeting: str, waited: float
    ) -> Verdict:
        """Say who is missing from a meeting. What the first rank says that concludes is what all of them raise."""
        who = _ranks(ranks)
        if why == "lost":
            did = f"{who} did not answer" if who else "no rank is known to be missing, but a connection broke"
            return cls(why, first, ranks, f"a process or a connection was lost in {meeting}: {did}.")
        return cls(why, first, ranks, f"{who or 'a rank'} did not come to {meeting} within {waited:.3g} s.")

    @property
    def is_final(self) -> bool:
        """Whether these ranks will never meet again."""
        return self.why == "lost" and bool(self.ranks)

    def saying(self, standings: Sequence[Standing]) -> Verdict:
        """Give the same, which also says where the missing ranks stand."""
        return replace(self, text=self.text + in_words(standings, len(self.ranks)), standings=tuple(standings))

    def error(self) -> SyncError:
        """Give the error that says so."""
        if self.why == "left":
            return PeerError(self.text, dict.fromkeys(self.ranks, self.text))
        return (PeerLostError if self.why == "lost" else SyncTimeoutError)(self.text, self.ranks, self.standings)


IN_VAIN = Verdict("in vain", 0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rank is.

    Attributes:
        lane: Number of the lane.
        first: Number of the operation that its episode began with, on this lane.
        operation: Number of the one that it is at.
    """

    lane: int
    first: int
    operation: int

    def outcome(self, verdict: Verdict) -> SyncError | MovedError:
        """Give what a verdict on the lane means for a rank that is here.

        Where the others left it in an episode before the one that this rank is about to begin, it only has to follow.
        """
        if verdict.why == "in vain" or (verdict.first < self.first == self.operation and not verdict.is_final):
            return MovedError()
        return verdict.error()


class RollCall:
    """Who has come to one operation.

    Args:
        board: What the ranks write for each other about one lane.
        rank: Rank in the group.
        world_size: Number of ranks.
        meeting: What to call it in a message.
        place: Which one it is.
        neighbours: Knows which ranks have ended, of those that can be seen from here.
        asks: Finds out where ranks stand that have not come.
    """

    def __init__(
        self,
        board: Board,
        rank: int,
        world_size: int,
        meeting: str,
        place: Place,
        neighbours: Gone | None = None,
        asks: Asks | None = None,
    ) -> None:
        self._board = board
        self._rank = rank
        self._world_size = world_size
        self._meeting = meeting
        self._place = place
        self._neighbours = neighbours
        self._asks = asks
        self._announced = False

    def announce(self, seconds: float) -> None:
        """Write this rank's name down."""
        if not self._announced:
            self._board.write(f"here/{self._rank}", str(self._place.operation), seconds)
            self._announced = True

    def missing(self, seconds: float) -> tuple[int, ...]:
        """Read who has not written a name."""
        deadline = time.monotonic() + seconds
        others = [r for r in range(self._world_size) if r != self._rank]
        return tuple(r for r in others if not self._is_here(self._board.read(f"here/{r}", _until(deadline))))

    def _is_here(self, entry: str | None) -> bool:
        return entry is not None and int(entry) >= self._place.operation

    def gone(self, seconds: float) -> tuple[int, ...]:
        """Give the ranks whose processes are known to have ended."""
        return () if self._neighbours is None else self._neighbours.gone(seconds)

    def standings(self, missing: Sequence[int], occasion: str, seconds: float) -> list[Standing]:
        """Find out where ranks stand, as far as they can be reached.

        Args:
            missing: Which.
            occasion: All that ask on the same one get the same answers.
            seconds: How long it may take.
        """
        if self._asks is None or not missing:
            return []
        board = self._board.part(f"stands/{self._place.operation}/{occasion}")
        return list(self._asks.find(board, missing, seconds).values())

    def verdict(self, seconds: float) -> Verdict | None:
        """Read what the rank concluded which was the first to do so; None if none has."""
        text = self._board.read("verdict", seconds)
        return None if text is None else Verdict.decode(text)

    def look(self, seconds: float) -> None:
        """Raise what another rank has concluded.

        Raises:
            SyncError: It concerns what this rank is at.
            MovedError: The others left the lane after the episode before this one, and this rank has to follow.
        """
        found = self.verdict(seconds)
        if found is not None and found.first <= self._place.first:
            raise self._place.outcome(found)

    def confirm(self, seconds: float) -> None:
        """Say that the operation has come to its end, where others may be about to give it up: one of both holds.

        Raises:
            SyncError: They have given it up, or left.
            MovedError: This rank has to follow them.
        """
        self.look(seconds)
        answer = self._board.claim(self._end, _DONE, seconds)
        if answer != _DONE:
            raise self._place.outcome(Verdict.decode(answer))

    @property
    def _end(self) -> str:
        return f"end/{self._place.operation}"

    def give_up(self, waited: float) -> SyncError | MovedError | None:
        """Conclude that the time is up; give None if the operation has come to its end on other ranks."""
        return self._conclude("timeout", waited, self._end)

    def conclude(self, why: Literal["lost", "timeout"], waited: float) -> SyncError | MovedError:
        """Find out who is missing, as the others do, and give the error that says so.

        Those that wait leave each other a moment to write their names down.
        """
        concluded = self._conclude(why, waited, None)
        assert concluded is not None, "nobody was asked whether it is done"
        return concluded

    def _conclude(
        self, why: Literal["lost", "timeout"], waited: float, end: str | None
    ) -> SyncError | MovedError | None:
        start = time.monotonic()
        deadline = start + ROLL_SECONDS[why]
        mine: Verdict | None = None
        try:
            while mine is None:
                self.announce(_until(deadline))
                found = self.verdict(_until(deadline))
                if found is not None:
                    return self._place.outcome(found)
                mine = self._find(why, waited, time.monotonic() - start, _until(deadline))
                if mine is None:
                    time.sleep(min(max(0.02, self._world_size / 2000), _until(deadline)))
            mine = mine.saying(self.standings(mine.ranks, "end", LAST_ASK_SECONDS))
            deadline = max(deadline, time.monotonic() + QUESTION_SECONDS)
            if end is not None:
                answer = self._board.claim(end, mine.encode(), _until(deadline))
                if answer == _DONE:
                    return None
                mine = Verdict.decode(answer)
            mine = Verdict.decode(self._board.claim("verdict", mine.encode(), _until(deadline)))
        except NoAnswerError:  # there is nobody to ask, or to tell
            mine = mine or self._alone(why, waited)
        return self._place.outcome(mine)

    def _find(self, why: Literal["lost", "timeout"], waited: float, since: float, seconds: float) -> Verdict | None:
        """Give the verdict as this rank sees it; None if it is too early to say."""
        gone = self.gone(seconds)
        if gone:
            time.sleep(0.05)  # who kills one process often kills several
            return Verdict.of("lost", self._place.first, self.gone(seconds) or gone, self._meeting, waited)
        missing = self.missing(seconds)
        over = since >= ROLL_SECONDS[why]
        if over or len(missing) == 1 or (not missing and (why != "lost" or since >= ENDING_SECONDS)):
            return Verdict.of(why, self._place.first, missing, self._meeting, waited)
        return None

    def _alone(self, why: Literal["lost", "timeout"], waited: float) -> Verdict:
        """Give the verdict of a rank that can ask nobody."""
        gone = self.gone(LEAST_SECONDS)
        return Verdict.of("lost" if gone else why, self._place.first, gone, self._meeting, waited)

    def assemble(self, patience: Patience, vainly: bool = False) -> None:
        """Wait until all ranks have come to a lane that is to be opened: all of them come to it, or none.

        Args:
            patience: How long to wait.
            vainly: Whether the others may never come, and are not to be told then.

        Raises:
            MovedError: A rank has waited in vain there.
            SyncTimeoutError: The time is up, here or on another rank.
            PeerLostError: A rank is gone, or the board.
            PeerError: A rank left while it waited.
        """
        start, pause, warned = time.monotonic(), 0.001, False
        timeout = float("inf") if patience.timeout is None else patience.timeout

        def left() -> float:
            return min(max(start + timeout - time.monotonic(), LEAST_SECONDS), QUESTION_SECONDS)

        answer: str | None = None
        counted = False
        try:
            while answer is None:
                waited = time.monotonic() - start
                try:
                    self.announce(left())
                    if not counted:
                        counted = True  # at most once: a count whose answer was lost is one that nobody can rely on
                        if self._board.count("count", left()) == self._world_size:
                            answer = self._board.claim("open", _ALL_HERE, left())
                            break
                    answer = self._board.read("open", left())
                    if answer is None:
                        mine = self._give_up(waited, timeout, left())
                        if mine is not None:
                            said = IN_VAIN if vainly and mine.why == "timeout" else mine
                            answer = self._board.claim("open", said.encode(), QUESTION_SECONDS)
                            if said is IN_VAIN and answer == said.encode():
                                raise mine.error()
                    if answer is None and waited >= patience.warn_after and not warned:
                        warned = True
                        self.warn(waited)
                except NoAnswerError as error:
                    if error.is_gone or waited >= timeout:
                        raise self._alone("lost" if error.is_gone else "timeout", waited).error() from error
                if answer is None:
                    time.sleep(min(pause, left()))
                    pause = min(2 * pause, 0.05 + self._world_size / 20000)
        except BaseException as error:
            if not isinstance(error, (SyncError, MovedError)):
                self._leave("open", f"rank {self._rank} has left {self._meeting}: {said_by(error)}")
            raise
        if answer != _ALL_HERE:
            verdict = Verdict.decode(answer)
            raise MovedError if verdict == IN_VAIN else verdict.error()

    def _give_up(self, waited: float, timeout: float, seconds: float) -> Verdict | None:
        """Say why this rank does not wait any longer for the others to come to a new lane; None if it does."""
        gone = self.gone(seconds)
        if gone:
            return Verdict.of("lost", 0, gone, self._meeting, waited)
        if waited < timeout:
            return None
        missing = self.missing(ROLL_SECONDS["timeout"])
        verdict = Verdict.of("timeout", 0, missing, self._meeting, waited)
        return verdict.saying(self.standings(missing, "end", LAST_ASK_SECONDS))

    def leave(self, text: str) -> None:
        """Tell the others that this rank has left the lane midway, for a reason of its own. It does not raise."""
        self._leave("verdict", text)

    def _leave(self, key: str, text: str) -> None:
        verdict = Verdict("left", self._place.first, (self._rank,), text[:_TEXT_CHARACTERS])
        with suppress(NoAnswerError):  # the others find out by their own patience
            self._board.claim(key, verdict.encode(), ROLL_SECONDS["timeout"])

    def warn(self, waited: float) -> None:
        """Say whom this rank is waiting for."""
        try:
            missing = self.missing(QUESTION_SECONDS)
        except NoAnswerError:
            missing = ()
        who = f"{_ranks(missing)} to come" if missing else "the transfer to end"
        where = in_words(self.standings(missing, "warning", ASK_SECONDS), len(missing))
        warnings.warn(f"rank {self._rank} has waited {waited:.0f} s in {self._meeting} for {who}.{where}", stacklevel=2)


def wait_for(finished_within: Callable[[float], bool], roll: RollCall, patience: Patience) -> None:
    """Wait until something is done, as long as the patience lasts.

    Args:
        finished_within: Waits for it for at most so many seconds, and says whether it is done. It may raise.
        roll: Who has come.
        patience: How long to wait.

    Raises:
        SyncTimeoutError: The time is up, here or on another rank.
        PeerLostError: A rank is lost.
        PeerError: A rank has left.
        MovedError: The others have gone to another lane.
    """
    timeout, start = patience.timeout, time.monotonic()
    warned = is_done = False
    if finished_within(FIRST_SECONDS if timeout is None else max(min(FIRST_SECONDS, timeout), LEAST_SECONDS)):
        return

    def left() -> float:
        """No question takes longer than the patience that is left."""
        over = QUESTION_SECONDS if timeout is None else start + timeout - time.monotonic()
        return min(max(over, LEAST_SECONDS), QUESTION_SECONDS)

    while True:
        waited = time.monotonic() - start
        if timeout is not None and waited >= timeout:
            given_up = roll.conclude("timeout", waited) if is_done else roll.give_up(waited)
            if given_up is not None:
                raise given_up
            is_done, start = True, time.monotonic()  # others have all that they need: it is here in a moment, or lost
        try:
            roll.announce(left())
            roll.look(left())
            if roll.gone(left()):
                # What it has sent may still be on its way: a rank may have done its part, and ended.
                if finished_within(ENDING_SECONDS):
                    return
                raise roll.conclude("lost", waited)
        except NoAnswerError:
            pass  # it goes on without
        if waited >= patience.warn_after and not warned:
            warned = True
            roll.warn(waited)
        pause = SLICE_SECONDS
        if timeout is not None:
            pause = min(pause, start + timeout - time.monotonic())
        if not warned:
            pause = min(pause, start + patience.warn_after - time.monotonic())
        if finished_within(max(pause, LEAST_SECONDS)):
            return


def _until(deadline: float) -> float:
    return max(deadline - time.monotonic(), LEAST_SECONDS)


def _ranks(ranks: tuple[int, ...]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}" if ranks else ""
