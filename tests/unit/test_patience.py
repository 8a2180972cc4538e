"""How long a rank waits, and what it finds out about those that do not come: without ranks, and without waiting."""

from __future__ import annotations

import itertools
import random
import threading
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import syncmetrics
from syncmetrics import PeerError, PeerLostError, SyncTimeoutError
from syncmetrics.transport import patience as patience_module
from syncmetrics.transport import roll_call
from syncmetrics.transport.base import MovedError
from syncmetrics.transport.board import Board, NoAnswerError
from syncmetrics.transport.patience import Patience, current_patience, set_sync_timeout
from syncmetrics.transport.process_group.transport import _finished_within
from syncmetrics.transport.roll_call import Place, RollCall, wait_for
from tests.samples import Total


class FakeStore:
    """What a store keeps, in a dict."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.asked = 0

    def set(self, key: str, value: str, /) -> None:
        self.asked += 1
        self.kept[key] = value.encode()

    def get(self, key: str, /) -> bytes:
        return self.kept[key]

    def add(self, key: str, amount: int, /) -> int:
        self.asked += 1
        self.kept[key] = str(int(self.kept.get(key, b"0")) + amount).encode()
        return int(self.kept[key])

    def check(self, keys: list[str], /) -> bool:
        self.asked += 1
        return all(key in self.kept for key in keys)

    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes:
        self.asked += 1
        if key not in self.kept:
            if expected:
                return expected.encode()
            self.kept[key] = desired.encode()
        elif self.kept[key] == expected.encode():
            self.kept[key] = desired.encode()
        return self.kept[key]


class GoneStore:
    """The process that kept it has gone."""

    def __getattr__(self, name: str) -> Any:
        def refuse(*args: Any) -> None:
            raise RuntimeError("failed to recv, got 0 bytes")

        return refuse


class FakeTime:
    """A clock that goes on only when somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def operation(self, done_at: float = float("inf"), then: Callable[[], None] = lambda: None) -> Any:
        """Give an operation that is done after so many seconds, which then does something."""
        start = self.now

        def finished_within(seconds: float) -> bool:
            self.waits.append(seconds)
            self.now = max(self.now, min(self.now + seconds, start + done_at))
            then()
            return self.now >= start + done_at

        return finished_within


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(roll_call, "time", fake)
    return fake


@pytest.fixture
def patience_of_this_test(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let a test set the times as if this process had just begun."""
    monkeypatch.setattr(patience_module, "_patience", None)
    for name in ("SYNCMETRICS_TIMEOUT", "SYNCMETRICS_WARN_AFTER"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


HERE = Place(0, 7, 7)


def rolls(world_size: int, store: Any, place: Place = HERE, gone: Any = None) -> list[RollCall]:
    board = Board(lambda: store, "lane")
    return [RollCall(board, rank, world_size, "sync 7 of `F1`", place, gone) for rank in range(world_size)]


class Ended:
    """Knows which ranks have ended."""

    def __init__(self, *ranks: int) -> None:
        self.ranks = ranks

    def gone(self, seconds: float) -> tuple[int, ...]:
        return self.ranks


# -- the roll


def test_nobody_is_missing_once_all_have_come() -> None:
    store = FakeStore()
    three = rolls(3, store)
    assert three[0].missing(1.0) == (1, 2), "a rank knows that it is here itself"
    three[1].announce(1.0)
    assert three[0].missing(1.0) == (2,)
    for roll in three:
        roll.announce(1.0)
    assert [roll.missing(1.0) for roll in three] == [()] * 3


def test_a_name_is_written_once() -> None:
    store = FakeStore()
    roll = rolls(2, store)[0]
    roll.announce(1.0)
    roll.announce(1.0)
    assert store.asked == 1


def test_who_waits_in_an_operation_before_is_not_here_and_who_waits_in_a_later_one_is() -> None:
    store = FakeStore()
    before, after = (rolls(2, store, Place(0, 7, operation))[1] for operation in (8, 10))
    before.announce(1.0)
    assert rolls(2, store, Place(0, 7, 9))[0].missing(1.0) == (1,)
    after.announce(1.0)
    assert rolls(2, store, Place(0, 7, 9))[0].missing(1.0) == ()


@pytest.mark.parametrize("why", ["lost", "timeout"])
@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_all_that_wait_give_the_same_error(why: Any, world_size: int, clock: FakeTime) -> None:
    """Whoever concludes first decides; a rank that comes to its conclusion later adopts it."""
    for count in range(1, world_size):
        for absent in itertools.combinations(range(world_size), count):
            store = FakeStore()
            here = [roll for roll in rolls(world_size, store) if roll._rank not in absent]
            random.Random(count).shuffle(here)
            for roll in here:
                roll.announce(1.0)
            errors = [roll.conclude(why, 5.0) for roll in here]
            assert {type(e) for e in errors} == {PeerLostError if why == "lost" else SyncTimeoutError}
            assert {e.missing for e in errors} == {absent}  # type: ignore[attr-defined]
            assert len({str(e) for e in errors}) == 1
            assert ", ".join(map(str, absent)) in str(errors[0])
            assert "sync 7 of `F1`" in str(errors[0])


def test_the_first_conclusion_holds_whatever_the_second_would_have_been(clock: FakeTime) -> None:
    """One rank finds a connection broken, another only that its time is up."""
    store = FakeStore()
    first, second, _ = rolls(3, store)
    first.announce(1.0)
    second.announce(1.0)
    assert isinstance(first.conclude("lost", 1.0), PeerLostError)
    later = second.conclude("timeout", 5.0)
    assert isinstance(later, PeerLostError)
    assert later.missing == (2,)


def test_there_is_no_verdict_before_anyone_has_concluded(clock: FakeTime) -> None:
    store = FakeStore()
    first, second = rolls(2, store)
    assert second.verdict(1.0) is None
    assert not any("verdict" in key for key in store.kept), "to look for a verdict must not make one"
    first.conclude("timeout", 3.0)
    with pytest.raises(SyncTimeoutError) as caught:
        second.look(1.0)
    assert caught.value.missing == (1,), "the late rank is told what the others are told"


def test_those_that_wait_leave_each_other_a_moment(clock: FakeTime) -> None:
    """Only rank 3 is gone, but ranks 1 and 2 notice 0.3 s later than rank 0."""
    store = FakeStore()
    four = rolls(4, store)
    sleep = clock.sleep

    def others_come(seconds: float) -> None:
        sleep(seconds)
        if clock.now >= 100.3:
            four[1].announce(1.0)
            four[2].announce(1.0)

    clock.sleep = others_come  # type: ignore[method-assign]
    error = four[0].conclude("lost", 0.0)
    assert error.missing == (3,)  # type: ignore[attr-defined]
    assert clock.now < 100.5, "it does not wait any longer than it has to"


def test_that_moment_ends(clock: FakeTime) -> None:
    error = rolls(4, FakeStore())[0].conclude("lost", 0.0)
    assert error.missing == (1, 2, 3)  # type: ignore[attr-defined]
    assert clock.now <= 100.1 + max(roll_call.ROLL_SECONDS.values())


def test_a_verdict_ends_that_moment_at_once(clock: FakeTime) -> None:
    store = FakeStore()
    four = rolls(4, store)
    store.kept["lane/verdict"] = b'["timeout", 7, [2, 3], "ranks 2, 3 did not come"]'
    error = four[0].conclude("lost", 0.0)
    assert isinstance(error, SyncTimeoutError)
    assert error.missing == (2, 3)
    assert clock.now == 100.0


@pytest.mark.parametrize(("why", "kind"), [("lost", PeerLostError), ("timeout", SyncTimeoutError)])
def test_without_a_store_the_error_names_nobody(why: Any, kind: type[Exception], clock: FakeTime) -> None:
    roll = rolls(3, GoneStore())[1]
    for question in (roll.announce, roll.missing, roll.verdict):
        with pytest.raises(NoAnswerError):
            question(1.0)
    error = roll.conclude(why, 1.0)
    assert isinstance(error, kind)
    assert error.missing == ()  # type: ignore[attr-defined]
    assert "sync 7 of `F1`" in str(error)


def test_the_others_have_left_the_lane_before_what_this_rank_is_about_to_begin(clock: FakeTime) -> None:
    """A rank that has its value of sync 5, in which another gave up, follows; one that is in the middle does not."""
    store = FakeStore()
    rolls(3, store, Place(0, 5, 5))[2].leave("rank 2 has left sync 5")
    with pytest.raises(MovedError):
        rolls(3, store, Place(0, 6, 6))[0].look(1.0)
    for place in (Place(0, 5, 5), Place(0, 5, 6), Place(0, 6, 7)):
        with pytest.raises(PeerError, match="has left sync 5") as caught:
            rolls(3, store, place)[0].look(1.0)
        assert caught.value.failures == {2: "rank 2 has left sync 5"}
    rolls(3, store, Place(0, 4, 4))[0].look(1.0)  # the others have gone through what it is in


@pytest.mark.parametrize("why", ["lost", "timeout"])
def test_a_process_that_has_ended_is_lost_whoever_else_has_not_come(why: Any, clock: FakeTime) -> None:
    error = rolls(4, FakeStore(), gone=Ended(2))[0].conclude(why, 1.0)
    assert isinstance(error, PeerLostError)
    assert error.missing == (2,), "ranks 1 and 3 are late, and alive"
    assert clock.now < 101.0


def test_an_operation_has_come_to_its_end_or_is_given_up(clock: FakeTime) -> None:
    """A rank that has what it needs, and one whose time is up: who says so first decides for both."""
    store = FakeStore()
    first, second, third = rolls(3, store)
    first.confirm(1.0)
    assert second.give_up(1.0) is None
    third.confirm(1.0)
    store = FakeStore()
    first, second, third = rolls(3, store)
    given_up = second.give_up(1.0)
    assert isinstance(given_up, SyncTimeoutError)
    for roll in (first, third):
        with pytest.raises(SyncTimeoutError) as caught:
            roll.confirm(1.0)
        assert str(caught.value) == str(given_up)


# -- coming to a lane that is to be opened


def test_a_rank_that_waited_in_vain_tells_nobody(clock: FakeTime) -> None:
    store = FakeStore()
    first, second, _ = rolls(3, store)
    with pytest.raises(SyncTimeoutError):
        first.assemble(Patience(2.0), vainly=True)
    with pytest.raises(MovedError):
        second.assemble(Patience(2.0))


def test_all_come_to_a_lane_or_none(clock: FakeTime) -> None:
    store = FakeStore()
    first = rolls(3, store)[0]
    sleep = clock.sleep

    def others_come(seconds: float) -> None:
        sleep(seconds)
        if clock.now >= 103.0 and "lane/here/2" not in store.kept:
            store.kept["lane/here/2"] = b"7"
            for _ in range(2):
                store.add("lane/count", 1)
            store.compare_set("lane/open", "", "all are here")

    clock.sleep = others_come  # type: ignore[method-assign]
    first.assemble(Patience(5.0))
    assert clock.now < 103.2


def test_who_gives_up_decides_for_those_that_come_later(clock: FakeTime) -> None:
    store = FakeStore()
    first, second, third = rolls(3, store)
    texts = set()
    for roll in (first, second, third):
        with pytest.raises(SyncTimeoutError) as caught:
            roll.assemble(Patience(2.0))
        assert caught.value.missing == (1, 2)
        texts.add(str(caught.value))
    assert len(texts) == 1, "also the last one, though with it all have come"


def test_who_is_interrupted_while_it_waits_decides_too(clock: FakeTime) -> None:
    store = FakeStore()
    first, second = rolls(2, store)

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    clock.sleep = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.assemble(Patience(2.0))
    with pytest.raises(PeerError, match="KeyboardInterrupt"):
        second.assemble(Patience(2.0))


def test_nobody_waits_for_one_that_has_ended(clock: FakeTime) -> None:
    with pytest.raises(PeerLostError) as caught:
        rolls(3, FakeStore(), gone=Ended(1))[0].assemble(Patience(60.0))
    assert caught.value.missing == (1,)
    assert clock.now < 101.0


def test_without_a_store_no_lane_is_opened(clock: FakeTime) -> None:
    with pytest.raises(PeerLostError):
        rolls(3, GoneStore())[0].assemble(Patience(60.0))


# -- the board


def test_a_question_to_a_store_that_does_not_answer_takes_no_longer_than_it_may() -> None:
    """The link is cut: torch would wait for minutes."""
    over = threading.Event()

    class Silent(FakeStore):
        def check(self, keys: list[str], /) -> bool:
            over.wait(60)
            return super().check(keys)

    board = Board(Silent, "lane")
    start = time.monotonic()
    for _ in range(2):
        with pytest.raises(NoAnswerError) as caught:
            board.read("verdict", 0.1)
        assert not caught.value.is_gone
    assert time.monotonic() - start < 5.0
    over.set()
    while True:
        try:
            assert board.read("verdict", 10.0) is None
            return
        except NoAnswerError:
            assert time.monotonic() - start < 30.0


# -- waiting


def test_what_is_done_at_once_asks_nobody(clock: FakeTime) -> None:
    store = FakeStore()
    wait_for(clock.operation(done_at=0.9), rolls(2, store)[0], Patience(timeout=5.0))
    assert store.asked == 0
    assert store.kept == {}


def test_who_has_waited_for_a_second_is_on_the_roll(clock: FakeTime) -> None:
    store = FakeStore()
    wait_for(clock.operation(done_at=1.5), rolls(2, store)[0], Patience(timeout=5.0))
    assert "lane/here/0" in store.kept


@pytest.mark.parametrize("timeout", [0.2, 1.0, 2.5, 60.0])
def test_the_time_is_kept(timeout: float, clock: FakeTime) -> None:
    with pytest.raises(SyncTimeoutError, match="rank 1 did not come to sync 7 of `F1`") as caught:
        wait_for(clock.operation(), rolls(2, FakeStore())[0], Patience(timeout, warn_after=1000.0))
    assert caught.value.missing == (1,)
    assert timeout <= clock.now - 100.0 <= timeout + 0.1


def test_nobody_waits_for_ever_for_what_the_others_have_had(clock: FakeTime) -> None:
    """They have said that they are done, and what they sent to this rank is lost: it waits once more, and no longer."""
    first, second = rolls(2, FakeStore())
    second.confirm(1.0)
    with pytest.raises(SyncTimeoutError):
        wait_for(clock.operation(), first, Patience(5.0, warn_after=1000.0))
    assert 110.0 <= clock.now <= 110.2
    first, second = rolls(2, FakeStore())
    second.confirm(1.0)
    wait_for(clock.operation(done_at=6.0), first, Patience(5.0, warn_after=1000.0))


@pytest.mark.parametrize("timeout", [1e-9, 1e-4, 0.005])
def test_no_wait_is_so_short_that_torch_takes_it_for_none(timeout: float, clock: FakeTime) -> None:
    with pytest.raises(SyncTimeoutError):
        wait_for(clock.operation(), rolls(2, FakeStore())[0], Patience(timeout))
    assert min(clock.waits) >= 0.001


def test_without_a_time_it_waits_until_it_is_done(clock: FakeTime) -> None:
    wait_for(clock.operation(done_at=5000.0), rolls(2, FakeStore())[0], Patience(None, warn_after=1e6))
    assert clock.now == pytest.approx(5100.0)


def test_a_verdict_of_another_rank_ends_the_wait(clock: FakeTime) -> None:
    """Its own time would be up much later, or never."""
    store = FakeStore()
    first, second, _ = rolls(3, store)

    def other_gives_up() -> None:
        if clock.now >= 102.0:
            second.conclude("timeout", 2.0)

    with pytest.raises(SyncTimeoutError) as caught:
        wait_for(clock.operation(then=other_gives_up), first, Patience(None))
    assert caught.value.missing == (2,)
    assert clock.now < 104.5


def test_what_the_operation_raises_is_raised(clock: FakeTime) -> None:
    def broken(seconds: float) -> bool:
        raise RuntimeError("Connection closed by peer")

    with pytest.raises(RuntimeError, match="closed by peer"):
        wait_for(broken, rolls(2, FakeStore())[0], Patience(5.0))


def test_one_warning_names_who_has_not_come(clock: FakeTime) -> None:
    store = FakeStore()
    three = rolls(3, store)
    three[2].announce(1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wait_for(clock.operation(done_at=100.0), three[0], Patience(None, warn_after=30.0))
    (warning,) = caught
    assert str(warning.message) == "rank 0 has waited 30 s in sync 7 of `F1` for rank 1 to come."


def test_when_all_are_there_the_warning_says_that_it_is_the_transfer(clock: FakeTime) -> None:
    store = FakeStore()
    two = rolls(2, store)
    two[1].announce(1.0)
    with pytest.warns(UserWarning, match="for the transfer to end"):
        wait_for(clock.operation(done_at=40.0), two[0], Patience(None))


def test_who_comes_in_time_is_not_warned_of(clock: FakeTime) -> None:
    wait_for(clock.operation(done_at=29.5), rolls(2, FakeStore())[0], Patience(None))


# -- one operation of gloo


class FakeWork:
    """An operation: when it is done, how a wait for it ends, and how it ended itself."""

    def __init__(self, waits: list[str | None], done: bool) -> None:
        self.waits, self.done = waits, done

    def wait(self, limit: timedelta | None = None) -> None:
        text = self.waits.pop(0) if len(self.waits) > 1 else self.waits[0]
        if text is not None:
            raise RuntimeError(text)

    def is_completed(self) -> bool:
        return self.done


def test_an_operation_that_is_done() -> None:
    assert _finished_within([FakeWork([None], True)], True, 1.0)


def test_an_operation_that_goes_on() -> None:
    assert not _finished_within([FakeWork(["Operation timed out!"], False)], True, 0.01)


def test_an_operation_that_failed() -> None:
    with pytest.raises(RuntimeError, match="closed by peer"):
        _finished_within([FakeWork(["Connection closed by peer"], True)], True, 1.0)


def test_an_operation_that_ends_just_as_the_wait_runs_out() -> None:
    """It has come to its end, so there is nothing to raise."""
    work = FakeWork([None], False)
    going = work.wait

    def ends(limit: timedelta | None = None) -> None:
        if not work.done:
            work.done = True
            raise RuntimeError("Operation timed out!")
        going(limit)

    work.wait = ends  # type: ignore[method-assign]
    assert _finished_within([work], True, 1.0)


def test_an_operation_that_fails_behind_one_that_goes_on() -> None:
    works = [FakeWork(["Operation timed out!"], False), FakeWork(["Connection closed by peer"], True)]
    with pytest.raises(RuntimeError, match="closed by peer"):
        _finished_within(works, True, 60.0)


# -- setting the times


def test_times_are_set_one_by_one(patience_of_this_test: pytest.MonkeyPatch) -> None:
    assert current_patience() == Patience(None, 30.0)
    set_sync_timeout(12.0)
    assert current_patience() == Patience(12.0, 30.0)
    set_sync_timeout(warn_after=3)
    assert current_patience() == Patience(12.0, 3)
    set_sync_timeout(None)
    assert current_patience() == Patience(None, 3)
    assert syncmetrics.set_sync_timeout is set_sync_timeout


@pytest.mark.parametrize("bad", [0, -1.0, float("nan")])
def test_a_time_is_positive(bad: float, patience_of_this_test: pytest.MonkeyPatch) -> None:
    for name in ("timeout", "warn_after"):
        with pytest.raises(ValueError, match=f"`{name}` must be a positive number of seconds"):
            set_sync_timeout(**{name: bad})
    assert current_patience() == Patience(None, 30.0), "what is refused changes nothing"


def test_the_environment_holds_before_the_first_call(patience_of_this_test: pytest.MonkeyPatch) -> None:
    patience_of_this_test.setenv("SYNCMETRICS_TIMEOUT", "2.5")
    patience_of_this_test.setenv("SYNCMETRICS_WARN_AFTER", "1")
    assert current_patience() == Patience(2.5, 1.0)
    set_sync_timeout(7.0)
    assert current_patience() == Patience(7.0, 1.0)


@pytest.mark.parametrize("name", ["SYNCMETRICS_TIMEOUT", "SYNCMETRICS_WARN_AFTER"])
@pytest.mark.parametrize("bad", ["0", "-3", "nan", "soon"])
def test_the_environment_is_checked_as_the_call_is(
    name: str, bad: str, patience_of_this_test: pytest.MonkeyPatch
) -> None:
    patience_of_this_test.setenv(name, bad)
    with pytest.raises(ValueError, match=name):
        current_patience()


@pytest.mark.parametrize("bad", [0, -1.0, float("nan")])
def test_the_time_of_a_metric_is_checked_as_the_call_is(bad: float) -> None:
    with pytest.raises(ValueError, match="`sync_timeout` must be a positive number of seconds"):
        Total(sync_timeout=bad)
