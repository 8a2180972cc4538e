"""The bench's arithmetic and its tables. Nothing is timed here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torcheval", reason="the peers are not installed")

from bench.cases import Case, Scale, Target
from bench.cli import main
from bench.duel import Found
from bench.ours import stay_in_this_tree
from bench.picture import draw
from bench.readme import BEGIN, END, between_markers, markdown, write_readme
from bench.report import cell, cells, reached
from bench.rows import ROWS, row_of
from bench.rows.cats import shares
from bench.units import amount, factor, tick
from bench.verdict import judged, outcome, slowest, spread

ROOT = Path(__file__).parents[2]
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
