"""The bench's arithmetic and its tables. Nothing is timed here."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torcheval", reason="the peers are not installed")

from bench.cases import Case, Scale, Target
from bench.cli import main
from bench.compare import compare, take_turns
from bench.difference import FEWEST, Compared, Difference, counts, difference, hidden, sign_interval
from bench.duel import Found
from bench.ours import stay_in_this_tree
from bench.picture import draw
from bench.readme import BEGIN, END, between_markers, markdown, write_readme
from bench.report import cell, cells, compared_line, reached
from bench.rows import ROWS, row_of
from bench.rows.cats import shares
from bench.sides import SideError, distinct
from bench.trees import ROOT, CommitError, commit_of
from bench.units import amount, factor, tick
from bench.verdict import judged, outcome, slowest, spread

FACTS: dict[str, Any] = {
    "torch": "2.0",
    "cores": 2,
    "processor": "a processor",
    "backend": "gloo over loopback",
    "peers": {"torchmetrics": "1.0", "torcheval": None},
}
FOUR: Any = {"mine": "ours", "theirs": "peer", "slow": "raw", "quick": "raw", "before": "other"}


def case_with(*targets: Target, unit: Any = "s", contenders: Any = None, row: str = "compute") -> Case:
    return Case(row, 2, "a case", FOUR if contenders is None else contenders, targets=targets, unit=unit, headline=True)


def found_with(samples: dict[str, list[float]]) -> dict[str, list[Found]]:
    """Give two ranks, of which the second is the slower one."""
    return {
        name: [Found([s / 2 for s in times], {"all_gather": 3}, sent=10), Found(times, {"all_gather": 3}, sent=5)]
        for name, times in samples.items()
    }


SAMPLES = {
    "mine": [1.0, 2.0, 3.0],
    "theirs": [10.0, 40.0, 90.0],
    "slow": [2.0, 4.0, 6.0],
    "quick": [0.5, 2.0, 2.0],
    "before": [1.0, 1.0, 1.0],
}


def test_spread_is_median_and_quartiles() -> None:
    assert spread([]) is None
    assert spread([3.0]) == {"median": 3.0, "q1": 3.0, "q3": 3.0}
    assert spread([5.0, 1.0, 2.0, 3.0, 4.0]) == {"median": 3.0, "q1": 2.0, "q3": 4.0}


def test_a_round_takes_as_long_as_its_slowest_rank() -> None:
    assert slowest([[1.0, 5.0, 2.0], [3.0, 4.0, 2.5]]) == [3.0, 5.0, 2.5]


def test_ratios_are_medians_over_rounds() -> None:
    result = outcome(case_with(), "title", found_with(SAMPLES))
    assert result["ratios"]["peer"] == {"name": "theirs", "median": 20.0, "q1": 15.0, "q3": 25.0}
    assert result["ratios"]["raw"]["name"] == "quick"  # the faster one of the two by hand
    assert result["ratios"]["raw"]["median"] == 1.5
    assert result["ratios"]["other"]["median"] == 2.0
    assert result["contenders"]["mine"]["spread"]["median"] == 2.0
    assert result["contenders"]["mine"]["sent"] == 15
    assert result["contenders"]["mine"]["calls"] == {"all_gather": 3}


@pytest.mark.parametrize(
    ("target", "reading", "is_reached"),
    [
        (Target("peer", 20.0), 20.0, True),
        (Target("peer", 20.5), 20.0, False),
        (Target("raw", 1.5), 1.5, True),
        (Target("raw", 1.4), 1.5, False),
        (Target("value", 2.0), 2.0, True),
        (Target("value", 1.9), 2.0, False),
        (Target("over raw", 0.5), 0.5, True),
        (Target("over raw", 0.4), 0.5, False),
        (Target("other", 2.0), 2.0, True),
        (Target("other", 1.9), 2.0, False),
    ],
)
def test_targets(target: Target, reading: float, is_reached: bool) -> None:
    (verdict,) = outcome(case_with(target), "title", found_with(SAMPLES))["targets"]
    assert (verdict["reading"], verdict["reached"]) == (reading, is_reached)


@pytest.mark.parametrize(("before", "is_reached"), [("0x1p-1", True), ("0x1p-2", False)])
def test_the_same_value_is_a_target(before: str, is_reached: bool) -> None:
    found = {name: [Found([1.0], shown=text)] for name, text in (("mine", "0x1p-1"), ("before", before))}
    (verdict,) = outcome(case_with(Target("same", 1.0), unit="bytes"), "title", found)["targets"]
    assert verdict["reached"] is is_reached


def test_without_a_reading_no_target_is_reached() -> None:
    for kind in ("peer", "raw", "value", "over raw", "other", "same"):
        assert not judged(Target(kind, 1.0), None, "s")["reached"]


def test_a_failure_is_shown_and_reaches_nothing() -> None:
    found = found_with(SAMPLES)
    found["mine"] = [Found([1.0], failed="failed on another rank"), Found(failed="ValueError: no | yes")]
    result = outcome(case_with(Target("peer", 1.0), Target("value", 9.0)), "title", found)
    assert result["contenders"]["mine"]["failed"] == "ValueError: no | yes"
    assert result["contenders"]["mine"]["spread"] is None
    assert cell(result, "ours") == "failed: ValueError: no | yes"
    assert result["ratios"] == {}
    assert reached(result) == "no: -, no: -"
    assert "ValueError: no \\| yes" in markdown([result], FACTS)


def test_a_peer_that_fails_leaves_the_others() -> None:
    found = {**found_with(SAMPLES), "theirs": [Found(failed="RuntimeError: gone")], "quick": [Found(failed="gone too")]}
    result = outcome(case_with(Target("peer", 1.0), Target("raw", 1.0)), "title", found)
    assert [target["reached"] for target in result["targets"]] == [False, True]
    assert result["ratios"]["raw"]["name"] == "slow"


def test_a_skipped_case_says_why() -> None:
    result = outcome(case_with(Target("peer", 1.0)), "title", None, "there is no such thing")
    assert "skipped: there is no such thing" in cells(result)
    assert result["targets"] == []
    assert "a case" not in markdown([result], FACTS)


def test_cells_of_a_whole_line() -> None:
    result = outcome(case_with(Target("peer", 30.0), Target("raw", 2.0)), "title", found_with(SAMPLES))
    assert cells(result) == [
        "compute",
        "a case",
        "2",
        "2.00 s (3)",
        "40.0 s (3)",
        "2.00 s (3)",
        "20.0x (15.0-25.0x)",
        "1.50x (1.25-1.75x)",
        "before: 1.00 s (3)",
        "≥ 30x faster than the peer, ≤ 2x raw",
        "no: 20.0x, yes",
    ]


def test_the_readme_gets_the_table_between_its_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    results = [outcome(case_with(Target("raw", 1.0)), "what it is", found_with(SAMPLES))]
    for _ in range(2):  # a second time changes nothing
        write_readme(readme, results, FACTS)
        text = readme.read_text(encoding="utf-8")
        assert text.startswith(f"before\n{BEGIN}\n| what |")
        assert text.endswith(f"{END}\nafter\n")
        assert "old" not in text
        assert (
            "| what it is: a case | 2 | 2.00 s (3) | theirs: 40.0 s (3) | quick: 2.00 s (3) | 20.0x | 1.50x |" in text
        )
        assert "torchmetrics 1.0." in text
        assert text.count("\n| ") == 3


def test_the_picture_is_drawn_with_failures_and_without_results(tmp_path: Path) -> None:
    worlds = [outcome(case_with(row="worlds"), "title", found_with(SAMPLES))]
    failed = outcome(case_with(), "title", {name: [Found(failed="gone")] for name in FOUR})
    skipped = outcome(case_with(), "title", None, "no reason")
    for index, results in enumerate(([], [failed], [failed, skipped, *worlds])):
        draw(tmp_path / f"{index}.png", results, FACTS)
        assert (tmp_path / f"{index}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_readme_without_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="once each"):
        between_markers(text, "table")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "s", "-"),
        (0.0, "s", "0.00 ns"),
        (1.234e-6, "s", "1.23 µs"),
        (0.0123, "s", "12.3 ms"),
        (123.4, "s", "123 s"),
        (-2e-6, "s", "-2.00 µs"),
        (512.0, "bytes", "512 B"),
        (float(3 << 19), "bytes", "1.50 MiB"),
    ],
)
def test_amounts(value: float | None, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_factors_and_ticks() -> None:
    assert [factor(x) for x in (None, 0.5, 12.34, 1234.5)] == ["-", "0.50x", "12.3x", "1,234x"]
    assert [tick(x) for x in (1e-6, 1e-5, 1e-3, 0.1, 10.0)] == ["1 µs", "10 µs", "1 ms", "100 ms", "10 s"]


@pytest.mark.parametrize("shape", ["even", "ragged", "skewed"])
@pytest.mark.parametrize("world", [2, 3, 4])
def test_shares_are_all_rows(shape: str, world: int) -> None:
    found = shares(1001, world, shape)
    assert (len(found), sum(found)) == (world, 1001)
    assert found == sorted(found)
    assert (found[0] == 1) == (shape == "skewed")


@pytest.mark.parametrize("size", ["quick", "default", "full"])
def test_every_case_has_its_own_name_and_one_that_is_judged(size: Any) -> None:
    cases = [case for row in ROWS for case in row.cases(Scale(size))]
    assert len({case.name for case in cases}) == len(cases)
    for case in cases:
        assert list(case.contenders.values()).count("ours") == 1
        assert {row.id for row in ROWS} == {case.row for case in cases}


def test_only_the_world_sizes_that_were_asked_for() -> None:
    cases = [case for row in ROWS for case in row.cases(Scale(worlds=(4,)))]
    assert {case.world for case in cases} == {4}


@pytest.mark.parametrize("row", ["update", "forward", "one-add", "flat", "import"])
def test_builders_make_the_contenders_of_their_cases(row: str) -> None:
    for case in row_of(row).cases(Scale("quick")):
        assert list(row_of(row).build(case, 0)) == list(case.contenders)


@pytest.mark.parametrize("arguments", [["--rows", "nothing"], ["--worlds", "two"], ["--quick", "--full"], ["table"]])
def test_wrong_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "error" in capsys.readouterr().err


def test_no_case_at_all_is_refused() -> None:
    with pytest.raises(SystemExit, match="no row has a case"):
        main(["--rows", "compute", "--worlds", "17"])


def noisy(factor: float, rounds: int, seed: int) -> tuple[list[float], list[float]]:
    """Give samples of two sides on a machine that is disturbed for some rounds at a time, and now and then in one."""
    g = random.Random(seed)
    here, there, load = [], [], 1.0
    for index in range(rounds):
        load = g.choice((1.0, 1.5, 3.0)) if index % 7 == 0 else load
        here.append(factor * load * g.lognormvariate(0, 0.15) * (20 if g.random() < 0.05 else 1))
        there.append(load * g.lognormvariate(0, 0.15) * (20 if g.random() < 0.05 else 1))
    return here, there


def judged_twice(factor: float, seed: int, rounds: int = 80) -> str:
    first, again = (difference(*noisy(factor, rounds, 1000 * part + seed)) for part in (1, 2))
    return Compared(case_with(), first, again).verdict


def test_the_interval_of_a_sign_test() -> None:
    assert sign_interval(range(7)) is None
    assert sign_interval(range(8)) == (0, 7)  # two of 2 ** 8 orders have all on one side
    assert sign_interval(range(FEWEST)) == (1, FEWEST - 2)
    assert sign_interval(range(FEWEST - 1)) == (0, FEWEST - 2)
    assert sign_interval(range(100, 0, -1)) == (37, 64)


def test_noise_is_no_difference_and_what_is_slower_is_found() -> None:
    seeds = range(100)
    assert [seed for seed in seeds if judged_twice(1.0, seed) != "the same"] == []
    assert [seed for seed in seeds if judged_twice(1.03, seed) == "better"] == []
    assert sum(judged_twice(1.2, seed) == "worse" for seed in seeds) > 90
    assert sum(judged_twice(1 / 1.2, seed) == "better" for seed in seeds) > 90


def test_what_is_certain_but_small_is_no_difference() -> None:
    there = [1.0 + index / 10 for index in range(50)]
    assert difference([1.04 * sample for sample in there], there).verdict == "the same"
    assert difference([1.06 * sample for sample in there], there).verdict == "worse"


def test_one_disturbed_round_hides_nothing_and_makes_nothing() -> None:
    there = [1.0] * FEWEST
    assert difference([1.2] * (FEWEST - 1) + [0.1], there).verdict == "worse"
    assert difference([1.0] * (FEWEST - 1) + [99.0], there).verdict == "the same"
    assert difference([2.0] * 7, [1.0] * 7) is None


def like(ratio: float, width: float = 0.01) -> Difference:
    return Difference(20, ratio, 1.0, ratio, ratio - width, ratio + width, ratio - width, ratio + width)


def test_a_difference_counts_if_it_shows_twice() -> None:
    case = case_with()
    assert Compared(case, like(1.5)).suspect
    assert not Compared(case, like(1.0)).suspect
    found = [
        Compared(case, like(1.5), like(1.4)),
        Compared(case, like(0.5), like(0.6)),
        Compared(case, like(1.5), like(1.0)),
        Compared(case, like(1.5), like(0.5)),
        Compared(case, like(1.4, 0.5), like(1.4, 0.5)),
        Compared(case, like(0.7, 0.4), like(0.7, 0.4)),
        Compared(case),
        Compared(case, like(1.5), failed={"here": "no"}),
    ]
    expected = ["worse", "better", *["the same"] * 4, "not compared", "not compared"]
    assert [compared.verdict for compared in found] == expected
    assert counts(found) == {"worse": 1, "better": 1, "the same": 4, "not compared": 2}
    assert hidden(found) == 3


class FakeSide:
    """A side that tells what it is told to, and writes down that it was its turn."""

    def __init__(self, name: str, seconds: list[float], turns: list[str], failed: str | None = None) -> None:
        self.name, self.origin, self._seconds, self._turns, self._failed = name, name, seconds, turns, failed

    def stand_by(self, case: Case) -> list[Found]:
        return [Found(), Found(failed=self._failed)]

    def turn(self, case: Case, times: int) -> list[Found]:
        self._turns.append(self.name)
        if not self._seconds:
            return [Found(failed="failed on another rank"), Found(failed="ValueError: used up")]
        seconds = self._seconds.pop(0)
        return [Found([seconds / 2] * times), Found([seconds] * times)]


def fake_pair(
    here: list[float], there: list[float], here_fails: str | None = None, there_fails: str | None = None
) -> tuple[Any, list[str]]:
    turns: list[str] = []
    return (FakeSide("here", here, turns, here_fails), FakeSide("there", there, turns, there_fails)), turns


def test_sides_take_turns_and_change_who_begins() -> None:
    pair, turns = fake_pair([2.0] * 99, [1.0] * 99)
    found = take_turns(case_with(unit="bytes"), pair, Scale(rounds=50, budget=0.0))
    assert turns == ["here", "there", "there", "here"] * (FEWEST // 2)
    assert (found.first.rounds, found.first.here, found.first.there, found.first.ratio) == (FEWEST, 2.0, 1.0, 2.0)
    assert found.suspect
    pair, turns = fake_pair([2.0] * 99, [1.0] * 99)
    assert take_turns(case_with(), pair, Scale(rounds=30, budget=9.0)).first.rounds == 30


def test_a_side_that_fails_is_reported() -> None:
    pair, turns = fake_pair([1.0], [1.0], there_fails="AttributeError: no such thing")
    found = take_turns(case_with(), pair, Scale())
    assert (found.failed, turns) == ({"there": "AttributeError: no such thing"}, [])
    assert "not compared: there: AttributeError: no such thing" in compared_line(found)
    pair, _ = fake_pair([1.0] * 5, [1.0] * 99)
    assert take_turns(case_with(), pair, Scale()).failed == {"here": "ValueError: used up"}
    pair, _ = fake_pair([], [], "gone", "gone")
    assert "not compared: on both sides: gone" in compared_line(take_turns(case_with(), pair, Scale()))


def test_what_seems_to_differ_is_measured_again_in_new_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, once, same = (Case("compute", 2, label, FOUR, unit="bytes") for label in ("slow", "once", "same"))
    # One sample a round, case after case; the second time, only the two that seemed to differ.
    samples = [[2.0] * 2 * FEWEST + [1.0] * FEWEST, [2.0] * FEWEST + [1.0] * FEWEST]
    opened: list[Any] = []

    @contextlib.contextmanager
    def fake_sides(here: Any, there: Any) -> Any:
        opened.append(fake_pair(samples[len(opened)], [1.0] * 99)[0])
        yield opened[-1]

    monkeypatch.setattr("bench.compare.trees", lambda root, commit: contextlib.nullcontext((root, root)))
    monkeypatch.setattr("bench.compare.sides", fake_sides)
    told: list[str] = []
    scale = Scale(rounds=FEWEST)
    found = compare([slow, once, same], scale, Path(), "", lambda compared: told.append(compared.case.label))
    assert [compared.verdict for compared in found] == ["worse", "the same", "the same"]
    assert told == ["slow", "once", "same", "slow", "once"]
    assert len(opened) == 2


@pytest.mark.parametrize(("again", "status"), [(1.5, 1), (1.0, 0)])
def test_a_comparison_ends_with_its_verdict(
    again: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Compared(case_with(), like(1.5), like(again)), Compared(case_with(), failed={"there": "no [such] thing"})]
    monkeypatch.setattr("bench.cli.commit_of", lambda root, text: "1234567890abcdef")
    monkeypatch.setattr("bench.cli.compare", lambda *arguments: found)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    assert main(["--compare", "before", "--quick"]) == status
    shown = capsys.readouterr().out
    assert f"1 compared with 1234567890: {status} worse, 0 better, {1 - status} the same; 1 could not be" in shown
    assert "not compared: there: no [such] thing" in shown
    assert "A case differs if" in shown
    assert list(tmp_path.iterdir()) == []
    assert main(["--compare", "before", "--quick", "--json", "found.json"]) == status
    stored = json.loads(Path("found.json").read_text(encoding="utf-8"))
    assert stored["commit"] == "1234567890abcdef"
    assert [case["verdict"] for case in stored["cases"]] == ["worse" if status else "the same", "not compared"]


def test_a_wrong_commit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    with pytest.raises(SystemExit, match="2"):
        main(["--compare", "no-such-commit"])
    assert "--compare: must name a commit of the repository at" in capsys.readouterr().err

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=x", "-c", "user.email=x@x", *arguments], check=True)

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message=nothing")
    with pytest.raises(CommitError, match="that has syncmetrics/ in it, but 'HEAD' has not"):
        commit_of(tmp_path, "HEAD")
    for text in ("HEAD~9", "--help", ""):
        with pytest.raises(CommitError, match="must name a commit"):
            commit_of(tmp_path, text)


def test_a_side_that_cannot_begin_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: Any) -> list[Compared]:
        raise SideError("the side there cannot go on: AttributeError: no Metric")

    monkeypatch.setattr("bench.cli.commit_of", lambda root, text: text)
    monkeypatch.setattr("bench.cli.compare", fail)
    with pytest.raises(SystemExit, match="2"):  # 1 would mean that something is slower
        main(["--compare", "before"])
    assert "bench: the side there cannot go on: AttributeError: no Metric.\n" in capsys.readouterr().err


def test_sides_with_the_same_package_are_refused() -> None:
    (here, there), _ = fake_pair([], [])
    distinct(here, there)
    there.origin = here.origin
    with pytest.raises(SideError, match="here and there have both imported here"):
        distinct(here, there)


def test_names_are_found_wherever_a_version_has_them(tmp_path: Path) -> None:
    files = {
        "__init__.py": "Metric = 'flat'",
        "metrics/__init__.py": "MulticlassAccuracy = 'among the metrics'; Metric = 'not this one'",
        "classification.py": "BinaryAUROC = 'by task'",
        "foreign/__init__.py": "",
        "foreign/ignite.py": "attach = 'foreign'",
        "integrations/__init__.py": "",
        "integrations/torcheval.py": "import no_such_framework",
    }
    for name, text in files.items():
        file = tmp_path / "syncmetrics" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    code = """
from bench.ours import origin, ours
print(origin())
for name in "Metric MulticlassAccuracy BinaryAUROC ignite.attach torcheval.attach Nowhere nowhere.attach".split():
    try:
        print(ours(name))
    except (AttributeError, ImportError) as error:
        print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    first, *lines = done.stdout.splitlines()
    assert Path(first) == (tmp_path / "syncmetrics" / "__init__.py").resolve()
    assert lines[:5] == [
        "flat",
        "among the metrics",
        "by task",
        "foreign",
        "No module named 'no_such_framework'",
    ]
    assert [line.split(", neither")[0] for line in lines[5:]] == [
        "`syncmetrics` has no `Nowhere`",
        "`syncmetrics` has no `nowhere.attach`",
    ]


def test_editable_installs_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = type("Finder", (), {"__module__": "__editable___syncmetrics_0_1_0_finder"})
    before = [entry for entry in sys.meta_path if not getattr(entry, "__module__", "").startswith("__editable__")]
    monkeypatch.setattr(sys, "meta_path", [finder, *before, finder()])
    stay_in_this_tree()
    assert sys.meta_path == before
