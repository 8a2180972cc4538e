"""The command line: measure, or show again what was measured."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.cases import Case, Scale
from bench.compare import compare
from bench.crew import crews
from bench.difference import RULE, Compared, counts
from bench.facts import facts
from bench.picture import draw
from bench.readme import write_readme
from bench.report import compared_line, print_comparison, print_table, progress_line
from bench.rows import ROWS, row_of
from bench.sides import SideError
from bench.trees import ROOT, CommitError, commit_of
from bench.verdict import Result, outcome

__all__ = ["main"]

#: At most so many rounds a case, and the seconds after which no further round begins.
_SCALES = {"quick": (4, 0.3), "default": (60, 2.5), "full": (200, 10.0)}
#: The same for both sides of a comparison together.
_COMPARE_SCALES = {"quick": (12, 0.6), "default": (200, 6.0), "full": (600, 20.0)}
_RESULTS = Path("runs/bench/results.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or do what a subcommand says; give the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None and options.compare is not None:
        try:
            return _compare(options, commit_of(ROOT, options.compare))
        except CommitError as error:
            parser.error(f"argument --compare: {error}")
        except SideError as error:  # 1 is for what is slower
            parser.exit(2, f"bench: {error}.\n")
    if options.command is None:
        return _measure(options)
    stored = json.loads(options.json.read_text(encoding="utf-8"))
    if options.command == "table":
        for path in options.readme:
            write_readme(path, stored["results"], stored["facts"])
    elif options.command == "picture":
        draw(options.picture, stored["results"], stored["facts"])
    else:
        print_table(_console(), stored["results"], stored["facts"])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="Measure syncmetrics beside its peers.")
    size = parser.add_mutually_exclusive_group()
    for name, text in (("quick", "tiny, to see that it works"), ("full", "large sizes too; takes long")):
        size.add_argument(f"--{name}", dest="size", action="store_const", const=name, help=text)
    parser.set_defaults(size="default", command=None)
    rows = ", ".join(row.id for row in ROWS)
    parser.add_argument("--rows", type=_names, help=f"ids, separated by commas: {rows}")
    parser.add_argument("--worlds", type=_numbers, help="only these world sizes, separated by commas; 1 for no ranks")
    parser.add_argument("--compare", metavar="COMMIT", help="measure this tree beside a commit, not beside the peers")
    parser.add_argument("--json", type=Path, help=f"where results go; {_RESULTS} if there is no --compare")
    parser.add_argument("--picture", type=Path, default=Path("runs/bench/results.png"), help="where the picture goes")
    commands = parser.add_subparsers(dest="command", title="show again what was measured")
    for name, text in (
        ("table", "put the tables into READMEs and pages"),
        ("picture", "draw"),
        ("show", "print the table"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--json", type=Path, required=True)
        if name == "table":
            command.add_argument("--readme", type=Path, nargs="+", required=True, help="files with markers for a table")
        elif name == "picture":
            command.add_argument("--picture", type=Path, required=True)
    return parser


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in {row.id for row in ROWS}]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"must be among {[row.id for row in ROWS]}, but is {unknown} instead")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be numbers, but is {text!r} instead") from error


def _console() -> Console:
    """Give a console; one that is no terminal, and so tells no width, gets lines that hold the table."""
    return Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=200)


def _wanted(options: argparse.Namespace, scales: Mapping[str, tuple[int, float]]) -> tuple[Scale, list[Case]]:
    """Give how much to measure, and what."""
    rounds, budget = scales[options.size]
    scale = Scale(options.size, rounds, budget, options.worlds)
    rows = [row for row in ROWS if options.rows is None or row.id in options.rows]
    cases = [case for row in rows for case in row.cases(scale)]
    if not cases:
        raise SystemExit(f"bench: no row has a case for the world sizes {options.worlds}.")
    return scale, cases


def _compare(options: argparse.Namespace, commit: str) -> int:
    scale, cases = _wanted(options, _COMPARE_SCALES)
    console, start = _console(), time.monotonic()

    def tell(compared: Compared) -> None:
        console.print(compared_line(compared), markup=False, highlight=False, soft_wrap=True)

    found = compare(cases, scale, ROOT, commit, tell)
    print_comparison(console, found, commit)
    number = counts(found)
    if options.json is not None:
        machine: dict[str, Any] = {**facts(), "size": scale.size}
        stored = {"facts": machine, "commit": commit, "rule": RULE, "counts": number}
        _write(options.json, {**stored, "cases": [compared.as_data() for compared in found]})
    console.print(f"{time.monotonic() - start:.0f} s", soft_wrap=True)
    return int(number["worse"] > 0)


def _measure(options: argparse.Namespace) -> int:
    scale, cases = _wanted(options, _SCALES)
    path: Path = options.json or _RESULTS
    console, found = _console(), dict[str, Result]()
    machine: dict[str, Any] = {**facts(), "size": scale.size}
    start = time.monotonic()
    with crews(scale) as held:
        for case in sorted(cases, key=lambda case: (case.world, case.hosts)):  # processes are made once a world size
            row = row_of(case.row)
            skipped = row.skip()
            measured = None if skipped else held.measure(row, row.settle(case))
            result = outcome(case, row.title, measured, skipped)
            found[case.name] = result
            console.print(progress_line(result), markup=False, highlight=False, soft_wrap=True)
            results = [found[case.name] for case in cases if case.name in found]
            _write(path, {"facts": machine, "results": results})  # what is there stays, whatever comes
    results = [found[case.name] for case in cases]
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    draw(options.picture, results, machine)
    print_table(console, results, machine)
    console.print(f"{time.monotonic() - start:.0f} s; {path} and {options.picture}", soft_wrap=True)
    return int(any(c["role"] == "ours" and c["failed"] for result in results for c in result["contenders"].values()))


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_stored(content), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _stored(value: Any) -> Any:
    """Leave out the samples, of which the spread is enough, and the digits that mean nothing."""
    if isinstance(value, dict):
        return {key: _stored(item) for key, item in value.items() if key != "samples"}
    if isinstance(value, (list, tuple)):
        return [_stored(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
