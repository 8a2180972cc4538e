"""The table at the end of a run, and the lines while it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.difference import HIDDEN, RULE, Compared, counts, hidden
from bench.units import amount, factor
from bench.verdict import Result

__all__ = [
    "best_of",
    "cell",
    "cells",
    "compared_line",
    "named",
    "print_comparison",
    "print_table",
    "progress_line",
    "reached",
]

_COLUMNS = ("row", "case", "ranks", "ours", "peer", "raw", "peer / ours", "ours / raw", "also", "target", "reached")


def best_of(result: Result, role: str) -> Mapping[str, Any] | None:
    """Give the fastest contender with a role; one that failed only if all did."""
    found = [contender for contender in result["contenders"].values() if contender["role"] == role]
    fit = [contender for contender in found if not contender["failed"]]
    if role != "raw":
        return fit[0] if fit else found[0] if found else None
    return min(fit, key=lambda contender: contender["spread"]["median"]) if fit else found[0] if found else None


def cell(result: Result, role: str) -> str:
    """Write one contender: median, and number of collectives if there are any."""
    contender = best_of(result, role)
    if contender is None:
        return "-"
    if contender["failed"]:
        return f"failed: {contender['failed'][:60]}"
    number = sum(contender["calls"].values())
    collectives = f" ({number})" if number else ""
    return amount(contender["spread"]["median"], result["unit"]) + collectives


def named(result: Result, role: str) -> str:
    """Write one contender with its name."""
    best = best_of(result, role)
    name = next((name for name, contender in result["contenders"].items() if contender is best), None)
    return "-" if name is None else f"{name}: {cell(result, role)}"


def _ratio(result: Result, role: str) -> str:
    ratio = result["ratios"].get(role)
    if ratio is None:
        return "-"
    if ratio["q1"] == ratio["q3"]:
        return factor(ratio["median"])
    return f"{factor(ratio['median'])} ({factor(ratio['q1'])}-{factor(ratio['q3'])})".replace("x-", "-")


def reached(result: Result) -> str:
    """Say yes or no for each target; an unreached one with what was read."""
    return ", ".join("yes" if t["reached"] else f"no: {t['shown']}" for t in result["targets"]) or "-"


def cells(result: Result) -> list[str]:
    """Write a result as one line of the table."""
    head = [result["row"], result["label"], str(result["world"])]
    if result["skipped"]:
        return [*head, f"skipped: {result['skipped']}", *["-"] * 7]
    return [
        *head,
        *(cell(result, role) for role in ("ours", "peer", "raw")),
        _ratio(result, "peer"),
        _ratio(result, "raw"),
        named(result, "other"),
        ", ".join(target["text"] for target in result["targets"]) or "-",
        reached(result),
    ]


def _head(row: str, label: str, world: str) -> str:
    return f"{row:<10} {label:<40} {world:>2}  "


def progress_line(result: Result) -> str:
    """Write a result as it comes in."""
    row, label, world, *rest = cells(result)
    head = _head(row, label, world)
    if result["skipped"]:
        return head + rest[0]
    return head + "  |  ".join(rest[:3]) + f"   peer / ours {rest[3]}, ours / raw {rest[4]}"


def print_table(console: Console, results: Sequence[Result], facts: Mapping[str, Any]) -> None:
    """Print all results."""
    brackets = "in brackets: collectives, and quartiles of the ratios"
    title = f"torch {facts['torch']}, {facts['cores']} cores, {facts['backend']}; {brackets}"
    table = Table(*_COLUMNS, title=title)
    for result in results:
        bad = any(not target["reached"] for target in result["targets"])
        table.add_row(*cells(result), style="dim" if result["skipped"] else "yellow" if bad else None)
    console.print(table)
    wanted = [target for result in results for target in result["targets"]]
    console.print(f"targets reached: {sum(target['reached'] for target in wanted)} of {len(wanted)}")


def _whys(failed: Mapping[str, str]) -> str:
    """Say where a case could not be measured, and why."""
    if len(failed) > 1 and len(set(failed.values())) == 1:
        return f"on both sides: {next(iter(failed.values()))}"
    return "; ".join(f"{side}: {why}" for side, why in failed.items())


def _compared_cells(compared: Compared) -> list[str]:
    """Write the two medians, the ratio with its spread, the interval, and what that means."""
    shown = compared.shown
    if compared.verdict == "not compared" or shown is None:
        return [f"not compared: {_whys(compared.failed) or 'too few rounds'}"]
    unit = compared.case.unit
    return [
        amount(shown.there, unit),
        amount(shown.here, unit),
        f"{factor(shown.ratio)} ({factor(shown.q1)}-{factor(shown.q3)})".replace("x-", "-"),
        f"{factor(shown.low)}-{factor(shown.high)}".replace("x-", "-"),
        "seems to differ: to be measured again" if compared.suspect else compared.verdict,
    ]


def compared_line(compared: Compared) -> str:
    """Write a case of a comparison as it comes in."""
    case = compared.case
    head = _head(case.row, case.label, str(case.world))
    if compared.verdict == "not compared":
        return head + _compared_cells(compared)[0]
    there, here, ratio, interval, verdict = _compared_cells(compared)
    again = "again: " if compared.again is not None else ""
    return f"{head}{there} there, {here} here: {ratio}, median within {interval}   {again}{verdict}"


def print_comparison(console: Console, found: Sequence[Compared], commit: str) -> None:
    """Print the cases that differ beyond noise, those that could not be compared, and how many there are of each."""
    number = counts(found)
    differing = [compared for compared in found if compared.verdict in ("worse", "better")]
    if differing:
        ratio, interval = "here / there (quartiles)", "interval of the median"
        table = Table("row", "case", "ranks", f"there: {commit[:10]}", "here", ratio, interval, "here is")
        for compared in sorted(differing, key=lambda compared: compared.verdict, reverse=True):
            case, style = compared.case, "yellow" if compared.verdict == "worse" else "green"
            table.add_row(case.row, case.label, str(case.world), *_compared_cells(compared), style=style)
        console.print(table)
    for compared in found:
        if compared.verdict == "not compared":
            console.print(compared_line(compared), markup=False, highlight=False, soft_wrap=True)
    done = len(found) - number["not compared"]
    parts = ", ".join(f"{number[verdict]} {verdict}" for verdict in ("worse", "better", "the same"))
    unseen = hidden(found)
    noisy = f" ({unseen} of them {HIDDEN})" if unseen else ""
    left_out = f"; {number['not compared']} could not be compared" if number["not compared"] else ""
    console.print(f"{done} compared with {commit[:10]}: {parts}{noisy}{left_out}.", highlight=False, soft_wrap=True)
    console.print(RULE, highlight=False, soft_wrap=True)
