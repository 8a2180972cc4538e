"""Jobs that stand still, on real processes: those that wait say where each rank stands that can answer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from syncmetrics import StackLine, SyncTimeoutError
from syncmetrics.testing.ranks import run_ranks_outcomes
from tests.ranks import hang_bodies
from tests.ranks.hosts import Host
from tests.ranks.test_two_hosts import hosts  # noqa: F401 - a fixture

BODIES = (Path(__file__).parent / "hang_bodies.py").read_text().splitlines()
PROCESS = r" \[pid \d+ on \S+\]"
FILE = r"tests/ranks/hang_bodies\.py"


def line_of(code: str) -> int:
    """Give the number of the last line that is this."""
    return max(number for number, line in enumerate(BODIES, 1) if line.strip() == code)


def test_four_ranks_of_which_one_loads_one_waits_and_one_is_stopped() -> None:
    outcomes = run_ranks_outcomes(hang_bodies.three_places, 4, timeout=60)
    assert [o.status for o in outcomes] == ["returned", "died", "died", "died"], [o.error for o in outcomes]
    seen = outcomes[0].value
    error = seen["error"]
    assert isinstance(error, SyncTimeoutError)
    assert error.missing == (1, 2, 3)
    (warning,) = seen["warnings"]
    for text, head in (
        (warning, r"rank 0 has waited \d+ s in sync 4 of `MetricCollection` for ranks 1, 2, 3 to come\."),
        (str(error), r"ranks 1, 2, 3 did not come to sync 4 of `MetricCollection` within 2\.5\d* s\."),
    ):
        first, *lines = text.split("\n  ")
        assert re.fullmatch(head, first), text
        loads, waits, stopped = lines
        assert re.fullmatch(
            rf"rank 1 stands in {FILE}:{line_of('for _ in DataLoader(Slow(), num_workers=1):')}"
            r" `for _ in DataLoader\(Slow\(\), num_workers=1\):` \(which is in torch/utils/data/dataloader\.py:\d+"
            rf" `\w+`\), its last sync was 3 of `MetricCollection`{PROCESS}",
            loads,
        ), loads
        assert re.fullmatch(
            rf"rank 2 stands in {FILE}:{line_of('lock.acquire()')} `lock\.acquire\(\)`,"
            rf" its last sync was 3 of `MetricCollection`{PROCESS}",
            waits,
        ), waits
        assert re.fullmatch(rf"rank 3 does not answer \(its process is stopped\){PROCESS}", stopped), stopped
    assert set(error.standings) == {1, 2, 3}
    assert error.standings[2].place.function == "three_places"
    assert any(line.function == "_try_get_data" for line in error.standings[1].stack)
    assert seen["seconds"] < 2.5 + 1.0 + 8.0  # the last ones for a machine that is busy


def test_a_thread_of_the_users_code_without_a_file_and_a_sync_of_other_ranks() -> None:
    outcomes = run_ranks_outcomes(hang_bodies.other_places, 4, timeout=60)
    assert [o.status for o in outcomes] == ["returned"] * 4, [o.error for o in outcomes]
    seen = outcomes[0].value
    standings = seen["error"].standings
    waits, multiplies, syncs = (standings[rank] for rank in (1, 2, 3))
    assert {standing.thread for standing in (waits, multiplies, syncs)} == {"trainer"}
    assert str(waits).startswith("rank 1 stands in tests/ranks/faults_watch.py:")
    assert " of thread `trainer`, its last sync was 3 of `MetricCollection` [pid " in str(waits)
    assert multiplies.within == ""
    where = (StackLine("<stdin>", line, "multiply") for line in (4, 5))
    assert multiplies.place in where or multiplies.place.function in ("_train", "<lambda>"), multiplies
    assert any(line.file == "<stdin>" for line in multiplies.stack)
    assert f"hang_bodies.py:{line_of('return train.compute()')} `return train.compute()` of thread" in str(syncs)
    assert syncs.within == "sync 1 of `Total` over group of global ranks [2, 3]"
    assert "its last sync was 3 of `MetricCollection`" in str(syncs)


@pytest.mark.parametrize("wanted", ["1", "0"])
def test_it_can_be_turned_off(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCMETRICS_STANDINGS", wanted)
    outcomes = run_ranks_outcomes(hang_bodies.quiet, 2, timeout=60)
    assert [o.status for o in outcomes] == ["returned"] * 2, [o.error for o in outcomes]
    names, seen = outcomes[0].value
    assert names == (["syncmetrics listener"] if wanted == "1" else []), "one thread, whatever has been synced"
    text = str(seen["error"])
    if wanted == "1":
        assert "\n  rank 1 stands in" in text
        return
    assert text == "rank 1 did not come to sync 4 of `MetricCollection` within 1.5 s."
    assert seen["error"].standings == {}
    assert len(seen["warnings"]) == 1
    assert "\n" not in seen["warnings"][0]


_ENDING = """
import sys, time, torch, torch.distributed as dist
from syncmetrics import SumMetric

rank = int(sys.argv[1])
port = int(sys.stdin.readline()) if rank else 0
store = dist.TCPStore("127.0.0.1", port, 2, rank == 0, wait_for_workers=False)
if rank == 0:
    print(store.port, flush=True)
dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
metric = SumMetric()
metric.update(1.0)
assert metric.compute() == 2.0
if rank == 1:
    time.sleep(1.5)  # the process that keeps the store has ended by then
print("ends", flush=True)
"""


def test_a_job_ends_without_a_word_whoever_ends_first() -> None:
    """Something that waits at the store would have torch print a broken connection on every rank."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", _ENDING, str(rank)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        assert ranks[0].stdout is not None
        assert ranks[1].stdin is not None
        ranks[1].stdin.write(ranks[0].stdout.readline())
        ranks[1].stdin.flush()
        for rank in ranks:
            out, said = rank.communicate(timeout=60)
            assert (rank.returncode, out, said) == (0, "ends\n", "")
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()


_TWO_HOSTS = """
import os, sys, time, torch, torch.distributed as dist
from syncmetrics import SumMetric, SyncTimeoutError
from syncmetrics.transport.answering import own_address

rank, address, interface = int(sys.argv[1]), sys.argv[2], sys.argv[3]
print(own_address(address), flush=True)
os.environ["GLOO_SOCKET_IFNAME"] = interface
store = dist.TCPStore(address, 29778, 2, rank == 0, wait_for_workers=False)
dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
metric = SumMetric(sync_timeout=2.0)
metric.update(1.0)
metric.compute()
metric.update(1.0)
if rank == 1:
    sys.stdin.readline()
else:
    try:
        metric.compute()
    except SyncTimeoutError as error:
        print(error.standings[1], flush=True)
os._exit(0)
"""


def test_a_rank_on_another_host_answers(hosts: tuple[Host, Host], tmp_path: Path) -> None:  # noqa: F811 - the fixture
    script = tmp_path / "train.py"
    script.write_text(_TWO_HOSTS)
    ranks = [
        subprocess.Popen(
            host.command(
                sys.executable, str(script), str(rank), hosts[0].address, host.interface, cwd=Path(__file__).parents[2]
            ),
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank, host in enumerate(hosts)
    ]
    try:
        for process, host in zip(ranks, hosts, strict=True):
            assert process.stdout is not None
            assert process.stdout.readline().strip() == host.address, "the way to the store leads from there"
        said, _ = ranks[0].communicate(timeout=60)
    finally:
        for process in ranks:
            process.kill()
            process.communicate()
    assert re.match(
        r"rank 1 stands in train\.py:\d+ `sys\.stdin\.readline\(\)`, its last sync was 1 of `SumMetric`", said
    )
