"""Metrics of text."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tests.natives.native import Native, Samples

__all__ = ["ROWS", "distance"]

_WORDS = ("the", "a", "cat", "mat", "sat", "on", "down", "there")


def texts(n: int, gen: torch.Generator) -> Samples:
    return [text(gen) for _ in range(n)], [text(gen) for _ in range(n)]


def translations(n: int, gen: torch.Generator) -> Samples:
    return [text(gen, 12) for _ in range(n)], [[text(gen, 12) for _ in range(1 + i % 3)] for i in range(n)]


def logits(n: int, gen: torch.Generator) -> Samples:
    return torch.randn(n, 4, 7, generator=gen), torch.randint(0, 7, (n, 4), generator=gen)


def text(gen: torch.Generator, longest: int = 8) -> str:
    length = int(torch.randint(0, longest + 1, (), generator=gen))
    return " ".join(_WORDS[int(place)] for place in torch.randint(0, len(_WORDS), (length,), generator=gen))


def distance(one: Sequence[str], other: Sequence[str], substitution_cost: int = 1) -> int:
    """Fill the table of costs, row by row."""
    row = list(range(len(other) + 1))
    for i, element in enumerate(one, start=1):
        before, row = row, [i]
        for j, wanted in enumerate(other, start=1):
            replaced = before[j - 1] + (element != wanted) * substitution_cost
            row.append(min(before[j] + 1, row[-1] + 1, replaced))
    return row[-1]


def word_counts(preds: list[str], target: list[str]) -> tuple[int, int, int, int]:
    words = [(one.split(), other.split()) for one, other in zip(preds, target, strict=True)]
    return (
        sum(distance(one, other) for one, other in words),
        sum(len(one) for one, _ in words),
        sum(len(other) for _, other in words),
        sum(max(len(one), len(other)) for one, other in words),
    )


def word_error_rate(preds: list[str], target: list[str]) -> float:
    errors, _, said, _ = word_counts(preds, target)
    return errors / said if said else math.nan if not errors else math.inf


def match_error_rate(preds: list[str], target: list[str]) -> float:
    errors, _, _, longer = word_counts(preds, target)
    return errors / longer if longer else math.nan


def word_info_preserved(preds: list[str], target: list[str]) -> float:
    errors, written, said, longer = word_counts(preds, target)
    return (longer - errors) ** 2 / (written * said) if written and said else math.nan


def char_error_rate(preds: list[str], target: list[str]) -> float:
    errors = sum(distance(*pair) for pair in zip(preds, target, strict=True))
    total = sum(map(len, target))
    return errors / total if total else math.nan if not errors else math.inf


def perplexity(preds: Tensor, target: Tensor, ignore_index: int | None = None) -> float:
    losses = torch.nn.functional.cross_entropy(preds.double().flatten(0, 1), target.flatten(), reduction="none")
    kept = target.flatten() != ignore_index if ignore_index is not None else torch.ones(target.numel()).bool()
    return float(losses[kept].mean().exp())


def distances(preds: list[str], target: list[str], cost: int = 1) -> list[int]:
    return [distance(one, other, cost) for one, other in zip(preds, target, strict=True)]


def mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else math.nan


ROWS: list[Native] = [
    Native("Perplexity", logits, truth=perplexity, exact=False, digits=1e-6),
    Native(
        "Perplexity",
        logits,
        {"ignore_index": 3},
        truth=lambda preds, target: perplexity(preds, target, 3),
        exact=False,
        digits=1e-6,
    ),
    Native("Perplexity", logits, {"exact": True}, truth=perplexity, peer=False, digits=1e-6),
    Native("WordErrorRate", texts, truth=word_error_rate),
    Native("MatchErrorRate", texts, truth=match_error_rate),
    Native("WordInfoPreserved", texts, truth=word_info_preserved),
    Native("WordInfoLost", texts, truth=lambda preds, target: 1 - word_info_preserved(preds, target)),
    Native("CharErrorRate", texts, truth=char_error_rate),
    Native("EditDistance", texts, truth=lambda preds, target: mean(distances(preds, target))),
    Native(
        "EditDistance",
        texts,
        {"substitution_cost": 2, "reduction": "sum"},
        truth=lambda preds, target: sum(distances(preds, target, 2)),
    ),
    Native("EditDistance", texts, {"reduction": "none"}, truth=distances),
    Native("BLEUScore", translations),
    Native("BLEUScore", translations, {"n_gram": 2, "smooth": True, "weights": [0.7, 0.3]}),
]
if importlib.util.find_spec("sacrebleu") is not None:
    ROWS += [
        Native("SacreBLEUScore", translations, {"n_gram": 2}, peer=False),
        Native("SacreBLEUScore", translations, {"tokenize": "char", "lowercase": True}, peer=False),
    ]
