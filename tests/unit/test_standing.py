"""Where a rank stands: what it says of itself, who asks it, and what comes of strange answers. Without ranks."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from syncmetrics import PeerLostError, StackLine, Standing, SyncTimeoutError
from syncmetrics.transport import answering, asking
from syncmetrics.transport.answering import Address, answer_for, listen, own_address
from syncmetrics.transport.asking import MOST_ASKED, Standings, ask, in_words
from syncmetrics.transport.board import Board
from syncmetrics.transport.neighbours import host_of_process, start_of_process, state_of_process
from syncmetrics.transport.roll_call import Verdict
from syncmetrics.transport.stacks import (
    MOST_LINES,
    decode_standing,
    encode_standing,
    line_of_user,
    stack_of_thread,
    standing_of_thread,
    thread_to_show,
    with_sources,
)
from syncmetrics.transport.threads import run_threads
from tests.samples import Total
from tests.unit.test_patience import FakeStore, GoneStore

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="what a process is at is read from /proc")
LIBRARY = f"{os.sep}".join(["", "opt", "site-packages", "trainer", "loop.py"])
PYTHON = threading.__file__
TORCH = torch.__file__
PROCESS = f" [pid {os.getpid()} on node7]"


@contextmanager
def at_a_lock(target: Callable[[Any], None] | None = None, name: str = "worker") -> Iterator[threading.Thread]:
    """Have a thread wait for a lock."""
    lock, started = threading.Lock(), threading.Event()
    lock.acquire()

    def wait_for_the_lock() -> None:
        started.set()
        lock.acquire()

    thread = threading.Thread(target=target or wait_for_the_lock, args=(lock,) if target else (), name=name)
    thread.start()
    if target is None:
        started.wait()
    try:
        yield thread
    finally:
        lock.release()
        thread.join()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# -- the line of the user


@pytest.mark.parametrize(
    ("files", "right"),
    [
        ([PYTHON, TORCH, "/home/me/train.py", "/home/me/main.py", "<frozen runpy>"], "/home/me/train.py"),
        ([PYTHON, LIBRARY, "/home/me/train.py"], "/home/me/train.py"),
        ([PYTHON, TORCH, LIBRARY, "<frozen runpy>"], LIBRARY),
        ([PYTHON, TORCH, "<frozen runpy>"], PYTHON),
        (["<string>", PYTHON], "<string>"),
        (["<stdin>"], "<stdin>"),
        ([answering.__file__, "/home/me/train.py"], "/home/me/train.py"),
    ],
)
def test_the_line_is_the_innermost_of_the_users_own_code(files: list[str], right: str) -> None:
    found = line_of_user([StackLine(file, number, "f") for number, file in enumerate(files)])
    assert found is not None
    assert (found.file, found.line) == (right, files.index(right))


def test_no_stack_has_no_line() -> None:
    assert line_of_user([]) is None
    assert stack_of_thread(None) == []
    assert stack_of_thread(1) == []


def test_a_thread_at_a_lock() -> None:
    with at_a_lock() as thread:
        wait_until(lambda: "lock.acquire" in str(with_sources(standing_of_thread(2, thread, "")).place))
        standing = with_sources(standing_of_thread(2, thread, "sync 17 of `val`"))
    assert standing.place is not None
    assert Path(standing.place.file) == Path(__file__)
    assert standing.place.function == "wait_for_the_lock"
    assert standing.stack[-1] == standing.place, "the innermost is the last"
    assert str(standing) == (
        f"rank 2 stands in tests/unit/test_standing.py:{standing.place.line} `lock.acquire()` of thread `worker`,"
        " its last sync was 17 of `val`"
    )


def test_code_without_a_file_has_a_line_without_a_source() -> None:
    names: dict[str, Any] = {}
    exec(compile("def wait(lock):\n    lock.acquire()\n", "<stdin>", "exec"), names)
    with at_a_lock(names["wait"]) as thread:
        wait_until(lambda: line_of_user(stack_of_thread(thread.ident)) == StackLine("<stdin>", 2, "wait"))
        standing = with_sources(standing_of_thread(1, thread, ""))
    assert str(standing) == (
        "rank 1 stands in <stdin>:2 in `wait` of thread `worker`, and has not synced over this group yet"
    )


def test_a_deep_stack_is_told_in_a_few_lines() -> None:
    def deeper(lock: Any, left: int = 300) -> None:
        if left:
            deeper(lock, left - 1)
        else:
            lock.acquire()

    with at_a_lock(deeper) as thread:
        wait_until(lambda: len(stack_of_thread(thread.ident)) > 300)
        standing = standing_of_thread(0, thread, "")
    assert len(standing.stack) == MOST_LINES
    assert len(encode_standing(with_sources(standing))) < 8000


def test_the_thread_that_synced_last_is_shown_unless_it_is_one_of_ours_or_gone() -> None:
    main = threading.main_thread()
    with at_a_lock() as mine, at_a_lock(name="syncmetrics background") as ours:
        assert thread_to_show(mine.ident or 0) is mine
        assert thread_to_show(ours.ident or 0) is main
        gone = mine.ident or 0
    assert thread_to_show(gone) is main
    assert thread_to_show(0) is main


def test_what_a_library_does_below_the_line_of_the_user_is_named() -> None:
    place = StackLine("/home/me/train.py", 12, "main", "for batch in loader:")
    loader = StackLine(f"{os.sep}opt{os.sep}site-packages{os.sep}torch{os.sep}loader.py", 1291, "_try_get_data")
    wait = StackLine(PYTHON, 324, "wait")
    standing = Standing(1, place, (place, loader, wait), last_sync="sync 4 of `val`")
    assert "train.py:12 `for batch in loader:` (which is in torch/loader.py:1291 `_try_get_data`)" in str(standing)
    assert "(which is in threading.py:324 `wait`)" in str(replace(standing, stack=(place, wait)))
    within = replace(standing, within="sync 2 of `train` over group of global ranks [1, 2]")
    assert str(within).endswith(
        "loader:`, in sync 2 of `train` over group of global ranks [1, 2], its last sync was 4 of `val`"
    )


# -- what travels


STANDING = Standing(
    3,
    StackLine("a.py", 1, "f", "x()"),
    (StackLine("a.py", 1, "f", "x()"),),
    "worker",
    "sync 2",
    "sync 1",
    "",
    42,
    "node7",
)


@pytest.mark.parametrize("standing", [STANDING, Standing(1, silence="its process is stopped"), Standing(0)])
def test_what_is_sent_arrives(standing: Standing) -> None:
    assert decode_standing(encode_standing(standing)) == standing
    verdict = Verdict("timeout", 7, (3,), "rank 3 did not come.").saying([standing])
    assert Verdict.decode(verdict.encode()) == verdict


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "[1, 2]",
        pickle.dumps(STANDING).decode("latin1"),
        "[" * 5000,
        json.dumps(["3", 0, None, [], "", "", "", "", ""]),
        json.dumps([3, None, None, [], "", "", "", "", ""]),
        json.dumps([3, 0, None, 5, "", "", "", "", ""]),
        json.dumps([3, 0, None, [], "", "", "", "", 5]),
        json.dumps([3, 0, None, [], "", "", "", ""]),
        json.dumps([3, 0, ["a.py", "one", "f", ""], [], "", "", "", "", ""]),
        json.dumps([3, 0, ["a.py", 1, "f"], [], "", "", "", "", ""]),
        json.dumps([3, 0, ["a.py", 1, "f", None], [], "", "", "", "", ""]),
    ],
)
def test_what_is_none_is_not_taken_for_one(text: str) -> None:
    assert decode_standing(text) is None


def test_whatever_is_sent_little_arrives_and_no_control_characters() -> None:
    line = ["/" + "d" * 9000 + "/train.py", 1, "f" * 9000, "x\x1b[2J\n" + "y" * 9000]
    text = json.dumps([3, 0, line, [line] * 900, "t" * 9000, "\r\n", "s" * 9000, "", "h" * 9000])
    found = decode_standing(text)
    assert found is not None
    assert found.place is not None
    assert found.place.file.endswith("/train.py"), "the end of a path says more than its beginning"
    assert len(encode_standing(found)) < 8000
    assert str(found).isprintable()


@pytest.mark.parametrize("kind", [SyncTimeoutError, PeerLostError])
def test_an_error_keeps_where_ranks_stood(kind: Any) -> None:
    error = pickle.loads(pickle.dumps(kind("text", (3, 1), [STANDING, Standing(1)])))
    assert (str(error), error.missing, error.standings) == ("text", (3, 1), {3: STANDING, 1: Standing(1)})
    assert kind("text").standings == {}


def test_the_words_are_a_line_each() -> None:
    assert in_words([], 9) == ""
    assert in_words([Standing(1), Standing(2, silence="its process is stopped")], 9) == (
        "\n  rank 1 does not answer\n  rank 2 does not answer (its process is stopped)\n  7 more have not been asked"
    )


# -- answering


class Group:
    """Something that can be referred to weakly."""


class Syncs:
    """What a transport tells."""

    rank, name, last_thread, last_sync, present_sync = 5, "group of global ranks [5, 6]", 0, "sync 4 of `val`", ""


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Address, Syncs]]:
    """Have this process listen, and give where."""
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    group, syncs, told = Group(), Syncs(), []
    listen(group, None, told.append)
    answer_for("key", syncs)
    wait_until(lambda: bool(told))
    yield Address.decode(told[0]), syncs
    listener = answering._listener
    assert listener is not None
    del group
    gc.collect()
    listener.thread.join(20)
    assert not listener.thread.is_alive(), "it ends with the last group"


def test_a_process_answers(listening: tuple[Address, Syncs]) -> None:
    standing = ask(listening[0], "key", 20)
    assert standing is not None
    assert (standing.rank, standing.last_sync, standing.thread) == (5, "sync 4 of `val`", "")
    assert standing.place is not None
    assert standing.place.file == __file__
    assert standing.place.source == 'standing = ask(listening[0], "key", 20)'


def test_of_a_group_that_it_does_not_know_it_tells_where_it_stands(listening: tuple[Address, Syncs]) -> None:
    standing = ask(listening[0], "another", 20)
    assert standing is not None
    assert standing.place is not None
    assert "has not synced over this group yet" in str(standing)


def test_it_tells_which_sync_it_is_in(listening: tuple[Address, Syncs]) -> None:
    address, syncs = listening
    syncs.present_sync, syncs.last_thread = "sync 5 of `val`", threading.get_ident()
    standing = ask(address, "key", 20)
    assert standing is not None
    assert standing.within == "sync 5 of `val` over group of global ranks [5, 6]"
    syncs.last_thread = 1  # another thread
    standing = ask(address, "key", 20)
    assert standing is not None
    assert standing.within == ""


@pytest.mark.parametrize("work", ["sleep", "matmul", "python"])
def test_it_answers_whatever_it_is_at(listening: tuple[Address, Syncs], work: str) -> None:
    address, _ = listening
    found: list[Standing | None] = []
    asker = threading.Thread(target=lambda: found.append(ask(address, "key", 20)))
    big = torch.ones(700, 700)
    asker.start()
    while asker.is_alive():
        if work == "sleep":
            time.sleep(0.01)
        elif work == "matmul":
            big @ big
        else:
            sum(range(10000))
    (standing,) = found
    assert "rank 5 stands in tests/unit/test_standing.py:" in str(standing)
    assert ", its last sync was 4 of `val`" in str(standing)


def test_who_does_not_know_the_token_is_told_nothing(listening: tuple[Address, Syncs]) -> None:
    address, _ = listening
    for token in ("", "0" * 32, address.token[:-1], "é"):
        with suppress(UnicodeEncodeError):
            assert ask(replace(address, token=token), "key", 20) is None
    with socket.create_connection(address.at) as connection:
        connection.sendall(b"\xff" * 10_000)
        with suppress(ConnectionError):
            assert connection.recv(100) == b""
    assert ask(address, "key", 20) is not None


def test_those_who_say_nothing_do_not_keep_others_from_asking(listening: tuple[Address, Syncs]) -> None:
    with socket.create_connection(listening[0].at), socket.create_connection(listening[0].at):
        assert ask(listening[0], "key", 20) is not None


def test_it_talks_to_so_many_at_a_time(listening: tuple[Address, Syncs], monkeypatch: pytest.MonkeyPatch) -> None:
    open_ones = [socket.create_connection(listening[0].at) for _ in range(answering._MOST_TALKS)]
    try:
        wait_until(lambda: ask(listening[0], "key", 20) is None)
    finally:
        for one in open_ones:
            one.close()
    wait_until(lambda: ask(listening[0], "key", 20) is not None)


def test_an_exception_in_an_answer_disturbs_nobody(
    listening: tuple[Address, Syncs], monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*args: Any) -> None:
        raise ValueError("boom")

    with monkeypatch.context() as patched:
        patched.setattr(answering, "standing_of_thread", raises)
        assert ask(listening[0], "key", 20) is None
    with monkeypatch.context() as patched:
        patched.setattr(answering, "with_sources", raises)
        standing = ask(listening[0], "key", 20)
        assert standing is not None, "what was said before is there"
        assert standing.place is not None
        assert standing.place.source == ""
    assert ask(listening[0], "key", 20) is not None


def test_a_source_that_cannot_be_read_does_not_hold_the_answer(
    listening: tuple[Address, Syncs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file lies where the rank waits for, perhaps: on a file system that does not answer."""
    over = threading.Event()
    monkeypatch.setattr(answering, "with_sources", lambda standing: over.wait(20) and standing)
    try:
        standing = ask(listening[0], "key", 0.5)
    finally:
        over.set()
    assert standing is not None
    assert standing.place is not None
    assert standing.place.file == __file__


def test_there_is_one_thread_for_all_groups(listening: tuple[Address, Syncs]) -> None:
    def names() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "syncmetrics listener"]

    told: list[str] = []
    more = [Group(), Group()]
    for group in more:
        listen(group, None, told.append)
    wait_until(lambda: len(told) == 2)
    assert {Address.decode(text) for text in told} == {listening[0]}
    assert len(names()) == 1
    del more, group
    gc.collect()
    assert ask(listening[0], "key", 20) is not None, "it lives as long as the first group"


def test_a_listener_of_another_life_is_another(listening: tuple[Address, Syncs]) -> None:
    first = answering._listener
    assert first is not None
    first.close()
    told: list[str] = []
    group = Group()
    listen(group, None, told.append)
    wait_until(lambda: bool(told))
    address = Address.decode(told[0])
    assert address.token != listening[0].token
    assert ask(address, "key", 20) is not None


def test_where_it_is_not_wanted_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCMETRICS_STANDINGS", "0")
    told: list[str] = []
    group = Group()
    before = threading.active_count()
    listen(group, None, told.append)
    assert threading.active_count() == before
    assert not told


def _what_a_child_has(line: Any, inode: int) -> None:
    names = [thread.name for thread in threading.enumerate()]
    inherited = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing itself
            inherited.append(os.fstat(int(descriptor)).st_ino == inode)
    line.send((answering._listener is None, "syncmetrics listener" in names, any(inherited)))


@ON_LINUX
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_process_does_not_listen(listening: tuple[Address, Syncs]) -> None:
    """The workers of a DataLoader are such processes."""
    listener = answering._listener
    assert listener is not None
    assert listener._socket is not None
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    inode = os.fstat(listener._socket.fileno()).st_ino
    child = context.Process(target=_what_a_child_has, args=(there, inode))
    child.start()
    assert here.recv() == (True, False, False)
    child.join(20)
    assert ask(listening[0], "key", 20) is not None, "the parent still listens"


# -- where it listens


@pytest.mark.parametrize("toward", [None, "localhost", "127.0.0.1", "127.0.1.1", "::1"])
def test_ranks_of_one_host_listen_where_no_other_host_reaches_them(
    toward: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    assert own_address(toward) == "127.0.0.1"


@ON_LINUX
def test_the_interface_of_gloo_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    assert own_address("192.0.2.7") == "127.0.0.1"
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "no-such-one")
    assert own_address(None) == "127.0.0.1"


def test_a_name_that_stands_for_a_loopback_address_is_gone_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Debian, where the name of a host is 127.0.1.1 to itself."""
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    asked: list[str] = []

    def look_up(name: str, port: int, **kwargs: Any) -> list[Any]:
        asked.append(name)
        return [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert own_address("node0") == "127.0.0.1"
    assert asked == ["node0", answering._ANYWHERE]

    def fail(*args: Any, **kwargs: Any) -> None:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert own_address("node0") == "127.0.0.1"


# -- asking


class Asked:
    """Counts who is asked, and answers for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Address], Standing | None]) -> None:
        self.ports: list[int] = []

        def ask(address: Address, key: str, seconds: float) -> Standing | None:
            self.ports.append(address.at[1])
            return answer(address)

        monkeypatch.setattr(asking, "ask", ask)


def address_of(rank: int, host: str | None = None, pid: int = 0) -> Address:
    pid = pid or os.getpid()
    at = ("127.0.0.1" if host is None else "192.0.2.1", 1000 + rank)
    return Address(host or host_of_process() or "", pid, start_of_process(pid), at, "token", "node7")


def board_with(addresses: dict[int, Address], store: Any) -> Board:
    board = Board(lambda: store, "processes")
    for rank, address in addresses.items():
        store.set(f"processes/{rank}", address.encode())
    return board


def test_one_of_those_that_wait_asks_and_the_others_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    line = StackLine("train.py", 41, "main", "loss.backward()")
    asked = Asked(monkeypatch, lambda address: Standing(-1, line, (line,), last_sync="sync 17 of `val`"))
    store = FakeStore()
    processes = board_with({rank: address_of(rank) for rank in (3, 4)}, store)
    found = [
        Standings(processes, rank, range(5), "key").find(Board(lambda: store, "now"), (3, 4), 20) for rank in range(3)
    ]
    assert sorted(asked.ports) == [1003, 1004]
    assert found[0] == found[1] == found[2]
    assert {rank: standing.rank for rank, standing in found[0].items()} == {3: 3, 4: 4}
    assert str(found[0][4]) == "rank 4 stands in train.py:41 `loss.backward()`, its last sync was 17 of `val`" + PROCESS


def test_ranks_of_a_group_have_other_numbers_in_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, lambda address: None)
    store = FakeStore()
    Standings(board_with({7: address_of(7)}, store), 0, (2, 7), "key").find(Board(lambda: store, "now"), (1,), 20)
    assert asked.ports == [1007]


def test_no_more_are_asked_than_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, lambda address: None)
    store = FakeStore()
    processes = board_with({rank: address_of(rank) for rank in range(1, 50)}, store)
    found = Standings(processes, 0, range(50), "key").find(Board(lambda: store, "now"), range(1, 50), 20)
    assert len(asked.ports) == len(found) == MOST_ASKED


@ON_LINUX
def test_only_who_is_on_its_host_sees_why_a_rank_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, lambda address: None)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = start_of_process(process.pid)
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: state_of_process(process.pid, started) == "T")
        near = address_of(1, pid=process.pid)
        far = replace(near, host="another", at=("192.0.2.1", 1001))
        for kept, said in ((near, " (its process is stopped)"), (far, " [pid")):
            store = FakeStore()
            standings = Standings(board_with({1: kept}, store), 0, range(2), "key")
            found = standings.find(Board(lambda store=store: store, "now"), (1,), 0.2)  # type: ignore[misc]
            assert str(found[1]).startswith(f"rank 1 does not answer{said}")
        process.kill()
        process.wait()
        store = FakeStore()
        found = Standings(board_with({1: near}, store), 0, range(2), "key").find(Board(lambda: store, "now"), (1,), 20)
        assert str(found[1]) == f"rank 1 does not answer (its process has ended) [pid {process.pid} on node7]"
    assert len(asked.ports) == 1, "whoever is seen not to run is not asked, and costs no time"


def test_what_a_rank_on_its_host_has_found_is_told_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 is on another host than rank 2, and asks in vain; rank 1 is on its host."""
    Asked(monkeypatch, lambda address: None)
    store = FakeStore()
    board = Board(lambda: store, "now")
    board.write("2/told", encode_standing(Standing(2, silence="its process is stopped")), 1.0)
    processes = board_with({2: address_of(2, host="another")}, store)
    found = Standings(processes, 0, range(3), "key").find(board, (2,), 20)
    assert found == {2: Standing(2, silence="its process is stopped")}


def test_what_cannot_be_reached_is_not_said_to_be_at_anything() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        at = closed.getsockname()
    store = FakeStore()
    processes = board_with({1: replace(address_of(1), at=at), 2: replace(address_of(2, host="another"), at=at)}, store)
    found = Standings(processes, 0, range(3), "key").find(Board(lambda: store, "now"), (1, 2), 20)
    assert [str(one) for one in found.values()] == [
        f"rank {rank} does not answer (it cannot be reached at 127.0.0.1){PROCESS}" for rank in (1, 2)
    ]


def test_a_rank_that_has_never_synced_is_told_so() -> None:
    store = FakeStore()
    found = Standings(board_with({}, store), 0, range(2), "key").find(Board(lambda: store, "now"), (1,), 20)
    assert str(found[1]) == "rank 1 does not answer (it has not come to any sync yet, so it cannot be asked)"


@pytest.mark.parametrize("store", [GoneStore(), FakeStore()])
def test_without_a_store_nothing_is_known_and_nothing_raised(store: Any) -> None:
    if isinstance(store, FakeStore):
        store.set("processes/1", "no address")
    standings = Standings(Board(lambda: store, "processes"), 0, range(2), "key")
    assert standings.find(Board(lambda: store, "now"), (1,), 0.2) == {}


# -- threads as ranks


def _one_waits(rank: int, world_size: int, lock: Any, over: threading.Event) -> Any:
    metric = Total(sync_timeout=1.0)
    metric.update(torch.ones(1))
    metric.compute()
    metric.update(torch.ones(1))
    if rank == 1:
        with lock:
            pass
    try:
        metric.compute()
    except SyncTimeoutError as error:
        return error
    finally:
        if rank == 0:
            over.set()
    return None


def test_threads_tell_where_they_stand() -> None:
    lock, over = threading.Lock(), threading.Event()
    lock.acquire()
    releases = threading.Thread(target=lambda: (over.wait(20), lock.release()))
    releases.start()
    first, second = run_threads(_one_waits, 2, lock, over)
    releases.join()
    assert str(first) == str(second)
    assert "\n  rank 1 stands in tests/unit/test_standing.py:" in str(first)
    assert "`with lock:`, its last sync was 1 of `Total`" in str(first)
    assert first.standings[1].place.function == "_one_waits"


def test_no_transport_is_kept_alive() -> None:
    class Kept(Syncs):
        pass

    syncs = Kept()
    answer_for("short-lived", syncs)
    ref = weakref.ref(syncs)
    del syncs
    assert ref() is None
