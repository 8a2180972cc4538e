"""What is said of what was found: pure functions, no ranks."""

from __future__ import annotations

import io
import json
import random
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import typer.testing
from rich.console import Console

from syncmetrics.cli import app as cli
from syncmetrics.cli import doctor as printed
from syncmetrics.diagnose import Diagnosis, Finding, RankReport, host, judge, process, tested
from syncmetrics.diagnose.clocks import Clock, clocks_of_ranks
from syncmetrics.diagnose.diagnosis import compare_ranks, judge_clocks, merge_findings, report_of_text
from syncmetrics.diagnose.exchange import Exchange
from syncmetrics.diagnose.findings import note, ok, problem
from syncmetrics.diagnose.host import Cores, Limits, SharedMemoryFolder
from syncmetrics.diagnose.network import Interface, Lookup, gloo_choice, look_up_host, nccl_choice

ROOT = Path(__file__).parents[2]
LO, ETH, IB = Interface("lo", ("127.0.0.1",)), Interface("eth0", ("10.0.0.7",)), Interface("ib0", ("10.1.0.7",))
DOCKER, DOWN = Interface("docker0", ("172.17.0.1",)), Interface("eth1", ("10.2.0.7",), is_up=False)
OWN = Lookup("node7", ("10.0.0.7",), ("10.0.0.7",))
LOST = Lookup("node7", error="Name or service not known")


@pytest.fixture(scope="module")
def here() -> process.Process:
    """Give this process, as it would be in a plain shell."""
    found = replace(process.process_here(), environment={}, launcher="", place=process.Place(), timeout=None)
    network = replace(found.network, interfaces=(LO, ETH), own=OWN, master=None, gloo=gloo_choice(None, [LO, ETH], OWN))
    return replace(found, network=replace(network, nccl=nccl_choice(None, [LO, ETH])), cores=Cores(8, 8, None, 1, "1"))


def said(process: process.Process, about: str) -> Finding:
    (found,) = [finding for finding in judge.judge_process(process) if finding.about == about]
    return found


def test_the_versions_are_those_that_the_tests_run_with() -> None:
    pins = dict(re.findall(r"^([\w.-]+)==([^;\s]+)", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE))
    assert {name: pins[name] for name in tested.LIBRARIES} == tested.LIBRARIES
    assert pins["torch"] == tested.TORCH
    project = (ROOT / "pyproject.toml").read_text()
    assert f'dependencies = ["torch>={tested.TORCH_LEAST}"]' in project


@pytest.mark.parametrize(
    ("setting", "own", "names", "loopback"),
    [
        (None, OWN, ("eth0",), False),
        (None, Lookup("node7", ("127.0.1.1",), ("127.0.1.1",)), ("lo",), True),
        (None, LOST, ("lo",), True),
        (None, Lookup("node7", ("10.9.9.9",)), ("lo",), True),
        ("ib0", LOST, ("ib0",), False),
        ("eth0,ib0", LOST, ("eth0", "ib0"), False),
        ("nothing", OWN, (), False),
    ],
)
def test_what_gloo_takes(setting: str | None, own: Lookup, names: tuple[str, ...], loopback: bool) -> None:
    choice = gloo_choice(setting, [LO, ETH, IB], own)
    assert (choice.names, choice.is_loopback) == (names, loopback)


@pytest.mark.parametrize(
    ("setting", "wires", "names"),
    [
        (None, [LO, DOCKER, DOWN, ETH, IB], ("ib0",)),
        (None, [LO, DOCKER, DOWN, ETH], ("eth0",)),
        (None, [LO, DOCKER], ("docker0",)),
        (None, [LO], ("lo",)),
        ("eth", [LO, ETH, DOWN], ("eth0",)),
        ("=eth", [LO, ETH], ()),
        ("^lo,docker", [LO, DOCKER, ETH], ("eth0",)),
        ("^=lo", [LO, ETH], ("eth0",)),
    ],
)
def test_what_nccl_takes(setting: str | None, wires: list[Interface], names: tuple[str, ...]) -> None:
    assert nccl_choice(setting, wires).names == names


def test_names_are_looked_up_and_a_wrong_one_says_why() -> None:
    assert look_up_host("127.0.0.1").usable == ("127.0.0.1",)
    lost = look_up_host("a.name.that.is.not.there.invalid", seconds=0.5)
    assert lost.error
    assert not lost.addresses


def test_a_plain_machine_is_well(here: process.Process) -> None:
    assert {finding.about for finding in judge.judge_process(here) if finding.level == "problem"} <= {"/dev/shm"}


def test_a_host_name_without_an_address(here: process.Process) -> None:
    alone = replace(here, network=replace(here.network, own=LOST))
    found = said(alone, "host name")
    assert found.level == "problem"
    assert "node7" in found.advice
    assert "--local-addr" in found.advice
    met = replace(alone, network=replace(alone.network, master=Lookup("10.0.0.1", ("10.0.0.1",))))
    assert said(met, "host name").level == "note"  # the ranks meet by another address


def test_an_interface_that_is_not_there(here: process.Process) -> None:
    network = replace(here.network, gloo=gloo_choice("nothing", [LO, ETH], OWN))
    found = said(replace(here, network=network, environment={"GLOO_SOCKET_IFNAME": "nothing"}), "gloo")
    assert found.level == "problem"
    assert "There are lo and eth0." in found.advice


@pytest.mark.parametrize(
    ("folder", "level"),
    [
        (SharedMemoryFolder(False), "problem"),
        (SharedMemoryFolder(True, False, 1 << 30, 1 << 30), "problem"),
        (SharedMemoryFolder(True, True, 1 << 16, 1 << 16), "problem"),
        (SharedMemoryFolder(True, True, 1 << 30, 1 << 16), "problem"),
        (SharedMemoryFolder(True, True, 1 << 26, 1 << 26), "note"),
        (SharedMemoryFolder(True, True, 1 << 30, 1 << 30), "ok"),
        (None, "ok"),
    ],
)
def test_shared_memory(here: process.Process, folder: SharedMemoryFolder | None, level: str) -> None:
    assert said(replace(here, folder=folder), "/dev/shm").level == level


@pytest.mark.parametrize(
    ("cores", "ranks", "about", "advice"),
    [
        (Cores(64, 64, 2.0, 64, None), None, "threads", "OMP_NUM_THREADS=2"),
        (Cores(8, 8, None, 8, None), 4, "threads", "OMP_NUM_THREADS=2"),
        (Cores(8, 2, None, 1, "1"), 4, "ranks", "fewer ranks"),
        (Cores(8, 8, None, 8, None), None, "cores", ""),
    ],
)
def test_cores(here: process.Process, cores: Cores, ranks: int | None, about: str, advice: str) -> None:
    place = process.Place(0, ranks or 1, 0, ranks)
    found = said(replace(here, cores=cores, place=place), about)
    assert found.level == ("note" if advice else "ok")
    assert advice in found.advice


def test_what_a_container_may_use(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    two = tmp_path / "two" / "pod" / "inner"
    two.mkdir(parents=True)
    (two.parent / "cpu.max").write_text("150000 100000\n")
    (two / "cpu.max").write_text("max 100000\n")
    own.write_text("0::/pod/inner\n")
    assert host._quota(tmp_path / "two", own) == 1.5
    one = tmp_path / "one" / "cpu" / "pod"
    one.mkdir(parents=True)
    (one / "cpu.cfs_quota_us").write_text("400000\n")
    (one / "cpu.cfs_period_us").write_text("100000\n")
    own.write_text("5:memory:/other\n4:cpu:/pod\n")
    assert host._quota(tmp_path / "one", own) == 4.0
    own.write_text("1:name=systemd:/\n")
    assert host._quota(tmp_path / "one", own) is None


def test_variables_and_limits(here: process.Process) -> None:
    half = replace(here, environment={"RANK": "0", "WORLD_SIZE": "2"})
    assert said(half, "variables").level == "problem"
    assert "MASTER_ADDR and MASTER_PORT" in said(half, "variables").text
    assert said(replace(here, launcher="Slurm"), "variables").text.startswith("Slurm has started this process")
    old = replace(here, environment={"NCCL_BLOCKING_WAIT": "1"})
    assert "TORCH_NCCL_BLOCKING_WAIT" in said(old, "old names").advice
    few = replace(here, limits=Limits(256, None, None))
    assert "ulimit -n" in said(few, "open files").advice
    unfit = replace(here, bad_patience="`SYNCMETRICS_TIMEOUT` must be a positive number")
    assert said(unfit, "sync").level == "problem"


def test_whoever_finds_fault_says_what_to_do() -> None:
    for level in ("note", "problem"):
        with pytest.raises(ValueError, match="must say what to do"):
            Finding(level, "network", "gloo", "It is gone.")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`level` must be one of"):
        Finding("bad", "network", "gloo", "It is gone.", "Find it.")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bare", "shared", "on_one_host", "notes"),
    [
        (1e-3, 1e-3, True, []),
        (1e-2, 1e-3, True, ["time"]),
        (1e-3, None, True, ["shared memory"]),
        (1e-2, None, False, []),
    ],
)
def test_exchanges(
    here: process.Process, bare: float, shared: float | None, on_one_host: bool, notes: list[str]
) -> None:
    roomy = replace(here, folder=SharedMemoryFolder(True, True, 1 << 30, 1 << 30))
    exchange = Exchange(2, "cpu:gloo,cuda:nccl", bare, 1e-3, shared, accelerator=2e-3)
    found = judge.judge_exchange(exchange, roomy, on_one_host=on_one_host)
    assert [finding.about for finding in found if finding.level == "note"] == notes
    assert any("Between accelerators the gather takes 2.00 ms" in finding.text for finding in found)


# ---- between ranks --------------------------------------------------------------------------------------------------


def reports(*facts: dict[str, str]) -> list[RankReport]:
    return [RankReport(rank, {"host": "a", "machine": "1/x", **each}) for rank, each in enumerate(facts)]


def test_what_holds_on_all_ranks_is_said_once() -> None:
    everywhere, somewhere, fine = note("a", "x", "X.", "Do."), problem("b", "y", "Y.", "Do it."), ok("b", "y", "Well.")
    three = [RankReport(0, {}, (everywhere, fine)), RankReport(1, {}, (everywhere, somewhere))]
    three.append(RankReport(2, {}, (everywhere, somewhere)))
    assert merge_findings(three) == [everywhere, replace(somewhere, ranks=(1, 2))]


def test_what_is_wrong_on_every_host_is_said_once() -> None:
    found = [
        RankReport(rank, {"host": name}, (note("network", "host name", f"{name} is lost.", f"Find {name}."),))
        for rank, name in enumerate(("node-a", "node-b"))
    ]
    (merged,) = merge_findings(found)
    assert (merged.text, merged.advice, merged.ranks) == ("HOST is lost.", "Find HOST.", ())


def test_ranks_that_differ_are_named() -> None:
    same = {"torch": "2.13.0", "$RANK": "0", "threads": "1"}
    found = compare_ranks(reports(same, same | {"$RANK": "1"}, same | {"torch": "2.12.0"}, same | {"$NCCL_ALGO": "x"}))
    by_about = {finding.about: finding for finding in found}
    assert set(by_about) == {"hosts", "torch differs", "NCCL_ALGO differs"}
    assert by_about["torch differs"].level == "problem"
    assert by_about["torch differs"].text == "2.13.0 on ranks 0-1 and 3; 2.12.0 on rank 2."
    assert by_about["NCCL_ALGO differs"].text == "not there on ranks 0-2; x on rank 3."
    assert [finding.level for finding in compare_ranks(reports(same, same))] == ["ok", "ok"]


def test_the_loopback_is_a_problem_between_hosts_alone() -> None:
    loop = {"gloo address": "127.0.0.1"}
    assert [finding.level for finding in compare_ranks(reports(loop, loop))] == ["ok", "ok"]
    found = compare_ranks(reports({"gloo address": "10.0.0.1"}, loop | {"host": "b", "machine": "2/x"}))
    assert [finding.about for finding in found if finding.level == "problem"] == ["gloo"]
    assert "on rank 1," in found[-1].text


def test_clocks_are_told_within_what_is_said() -> None:
    draw = random.Random(0)
    for _ in range(50):
        truth = [0, *(draw.randint(-(10**10), 10**10) for _ in range(3))]
        entered, left = [], []
        for start in range(0, 10**9, 10**8):
            came = [start + draw.randint(0, 10**6) for _ in truth]
            went = [max(came) + draw.randint(1, 10**6) for _ in truth]
            entered.append([moment + off for moment, off in zip(came, truth, strict=True)])
            left.append([moment + off for moment, off in zip(went, truth, strict=True)])
        for clock, off in zip(clocks_of_ranks(entered, left), truth, strict=True):
            assert abs(clock.ahead - off / 1e9) <= clock.within + 1e-9
            assert clock.within < 0.003


def test_a_clock_that_is_an_hour_off() -> None:
    exchange = Exchange(2, "cpu:gloo", 0.001, 0.001, None, clocks=(Clock(0.0, 0.001), Clock(3600.0, 0.001)))
    (found,) = judge_clocks(exchange)
    assert found.level == "note"
    assert "rank 1 by +3600.0 s" in found.text


# ---- what is printed ------------------------------------------------------------------------------------------------

WRONG = problem("network", "host name", "The name of this host has no address, " * 5 + "and more.", "Mend it. " * 20)
DIAGNOSIS = Diagnosis((ok("software", "torch", "Well."), replace(WRONG, ranks=(1,))), 2, (RankReport(0, {"a": "b"}),))


def test_it_can_be_read_in_80_columns_without_colour() -> None:
    out = io.StringIO()
    printed.print_diagnosis(DIAGNOSIS, Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in out.getvalue()
    assert "problem host name (rank 1): The name of this host" in out.getvalue()
    assert lines[-1] == "1 problem of 2 ranks, no notes."


@pytest.mark.parametrize(("findings", "code"), [((ok("a", "b", "c."),), 0), ((WRONG,), 1)])
def test_a_problem_is_the_exit_code(monkeypatch: pytest.MonkeyPatch, findings: tuple[Finding, ...], code: int) -> None:
    asked: list[dict[str, Any]] = []

    def examine(**options: Any) -> Diagnosis:
        asked.append(options)
        return replace(DIAGNOSIS, findings=findings)

    monkeypatch.setattr(printed, "examine", examine)
    monkeypatch.setattr(printed, "quiet", lambda: None)
    run = typer.testing.CliRunner().invoke(cli.app, ["doctor", "--json", "--ranks", "3"])
    assert run.exit_code == code
    told = json.loads(run.stdout)
    assert told["findings"][0]["text"] == findings[0].text
    assert asked[0]["world_size"] == 3


def test_a_report_travels_as_text() -> None:
    report = RankReport(1, {"host": "a"}, (replace(WRONG, ranks=(1, 2)),))
    assert report_of_text(json.dumps(asdict(report)).encode()) == report
