"""The README's table, made from the JSON file and put between two markers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.report import cell, named, reached
from bench.units import factor
from bench.verdict import Result

__all__ = ["BEGIN", "END", "between_markers", "markdown", "write_readme"]

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
_HEAD = (
    "what",
    "ranks",
    "syncmetrics",
    "peer",
    "by hand",
    "faster than the peer",
    "times by hand",
    "target",
    "reached",
)


def _line(result: Result) -> list[str]:
    ratios = result["ratios"]
    return [
        f"{result['title']}: {result['label']}",
        str(result["world"]),
        cell(result, "ours"),
        named(result, "peer"),
        named(result, "raw"),
        factor(ratios["peer"]["median"]) if "peer" in ratios else "-",
        factor(ratios["raw"]["median"]) if "raw" in ratios else "-",
        ", ".join(target["text"] for target in result["targets"]) or "-",
        reached(result),
    ]


def markdown(results: Sequence[Result], facts: dict[str, Any]) -> str:
    """Write the results that go into the README as a table in Markdown."""
    shown = [result for result in results if result["headline"] and not result["skipped"]]
    rows = [_HEAD, ["---"] * len(_HEAD), *(_line(result) for result in shown)]
    table = "\n".join("| " + " | ".join(item.replace("|", "\\|") for item in row) + " |" for row in rows)
    peers = ", ".join(f"{name} {version}" for name, version in facts["peers"].items() if version)
    where = f"torch {facts['torch']}, {facts['backend']}, {facts['cores']} cores ({facts['processor']}); {peers}."
    notes = "Medians; ratios are medians over rounds in which both ran; in brackets: collectives."
    return f"{table}\n\n{notes} {where}"


def between_markers(text: str, table: str) -> str:
    """Put a table where the markers are.

    Raises:
        ValueError: The text has not exactly one of each, in that order.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end or text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the text must have `{BEGIN}` and then `{END}`, once each, but has not.")
    return f"{head}{begin}\n{table}\n{end}{tail}"


def write_readme(path: Path, results: Sequence[Result], facts: dict[str, Any]) -> None:
    """Replace the table of a README."""
    path.write_text(between_markers(path.read_text(encoding="utf-8"), markdown(results, facts)), encoding="utf-8")
