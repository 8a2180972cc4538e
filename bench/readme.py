"""The tables of the README and of the pages, made from the JSON file and put between two markers.

`docs/benchmarks.md` has all headline rows. The README, in both languages, and `docs/comparison.md` have those of
`_SHORT`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.report import cell, named, reached
from bench.units import factor
from bench.verdict import Result

__all__ = ["BEGIN", "END", "between_markers", "markdown", "short", "short_chinese", "write_readme"]

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

#: The rows of the short table, each with its words in the README and in the Chinese one: row, label, ranks.
_SHORT = {
    ("compute", "18 metrics", 2): ("`compute()` of 18 classification metrics", "18 个分类指标的 `compute()`"),
    ("compute", "18 metrics", 4): ("`compute()` of 18 classification metrics", "18 个分类指标的 `compute()`"),
    ("per-step", "forward of 18 metrics, synced", 2): (
        "`forward()` of 18 metrics, synced in every step",
        "18 个指标每步同步的 `forward()`",
    ),
    ("update", "512 labels", 1): ("`update()` of 18 metrics in one collection", "同一集合中 18 个指标的 `update()`"),
    ("flat", "forward at step 3,000, cat state", 1): (
        "`forward()` at step 3,000 of a metric that keeps rows",
        "保留所有样本的指标在第 3,000 步的 `forward()`",
    ),
    ("cat", "16 MB, skewed", 4): ("16 MB of rows, most of them on one rank", "合计 16 MB、分布严重不均的样本"),
    ("torcheval", "sync_and_compute of 5 metrics", 2): ("5 metrics of torcheval", "torcheval 的 5 个指标"),
    ("ignite", "an epoch of one batch, 5 metrics attached", 2): (
        "5 metrics on an engine of ignite",
        "ignite 引擎上的 5 个指标",
    ),
}
_SHORT_HEAD = ("what", "ranks", "syncmetrics", "peer", "faster")
_SHORT_HEAD_CHINESE = ("内容", "进程数", "syncmetrics", "对照", "快多少")


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


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(item.replace("|", "\\|") for item in row) + " |" for row in rows)


def _where(facts: Mapping[str, Any]) -> str:
    peers = ", ".join(f"{name} {version}" for name, version in facts["peers"].items() if version)
    return f"torch {facts['torch']}, {facts['backend']}, {facts['cores']} cores ({facts['processor']}); {peers}."


def _shown(results: Sequence[Result]) -> list[Result]:
    return [result for result in results if result["headline"] and not result["skipped"]]


def markdown(results: Sequence[Result], facts: Mapping[str, Any]) -> str:
    """Write all headline results as a table in Markdown."""
    table = _table(_HEAD, [_line(result) for result in _shown(results)])
    notes = "Medians; ratios are medians over rounds in which both ran; in brackets: collectives."
    return f"{table}\n\n{notes} {_where(facts)}"


def _short_lines(results: Sequence[Result], language: int) -> list[list[str]]:
    found = {(result["row"], result["label"], result["world"]): result for result in _shown(results)}
    return [
        [words[language], str(key[2]), *_line(found[key])[2:4], _line(found[key])[5]]
        for key, words in _SHORT.items()
        if key in found
    ]


def _targets(results: Sequence[Result]) -> tuple[int, int]:
    """Give how many targets the headline rows reach, and how many there are."""
    targets = [target["reached"] for result in _shown(results) for target in result["targets"]]
    return sum(targets), len(targets)


def short(results: Sequence[Result], facts: Mapping[str, Any]) -> str:
    """Write some results as a table, and of all of them how many reach their targets."""
    hit, all_of_them = _targets(results)
    notes = f"Medians; in brackets: collectives. {hit} of our own {all_of_them} targets are reached."
    return f"{_table(_SHORT_HEAD, _short_lines(results, 0))}\n\n{notes} {_where(facts)}"


def short_chinese(results: Sequence[Result], facts: Mapping[str, Any]) -> str:
    """Write the same in Chinese."""
    hit, all_of_them = _targets(results)
    notes = f"均为中位数；括号内是集合通信次数。我们给自己定的 {all_of_them} 个目标中达到了 {hit} 个。"  # noqa: RUF001
    return f"{_table(_SHORT_HEAD_CHINESE, _short_lines(results, 1))}\n\n{notes} {_where(facts)}"


#: What stands between which markers.
_TABLES: dict[tuple[str, str], Callable[[Sequence[Result], Mapping[str, Any]], str]] = {
    (BEGIN, END): markdown,
    ("<!-- bench, short -->", "<!-- /bench, short -->"): short,
    ("<!-- bench, short, zh -->", "<!-- /bench, short, zh -->"): short_chinese,
}


def between_markers(text: str, table: str, begin: str = BEGIN, end: str = END) -> str:
    """Put a table where the markers are.

    Raises:
        ValueError: The text has not exactly one of each, in that order.
    """
    head, first, rest = text.partition(begin)
    _, last, tail = rest.partition(end)
    if not first or not last or text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"the text must have `{begin}` and then `{end}`, once each, but has not.")
    return f"{head}{begin}\n{table}\n{end}{tail}"


def write_readme(path: Path, results: Sequence[Result], facts: Mapping[str, Any]) -> None:
    """Replace the table of a README or a page, the long or a short one.

    Raises:
        ValueError: There are no markers, or not exactly one of each, in their order.
    """
    text = path.read_text(encoding="utf-8")
    there = [markers for markers in _TABLES if markers[0] in text]
    for begin, end in there or [(BEGIN, END)]:
        text = between_markers(text, _TABLES[begin, end](results, facts), begin, end)
    path.write_text(text, encoding="utf-8")
