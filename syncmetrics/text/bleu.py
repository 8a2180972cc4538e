"""BLEU of translations."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import (
    accumulate_dtype,
    check_bool,
    check_choice,
    check_int,
    rounded,
    safe_divide,
    zero_count,
)
from syncmetrics.metric import Metric
from syncmetrics.optional import load

__all__ = ["BLEUScore", "SacreBLEUScore"]

_TOKENIZERS = ("none", "13a", "zh", "intl", "char", "ja-mecab", "ko-mecab", "flores101", "flores200")
#: Lengths of the prediction and of the reference, and by length of n-gram, how many match and how many there are.
_Statistics = tuple[int, int, Sequence[int], Sequence[int]]


class BLEUScore(Metric):
    """Multiply the geometric mean of the n-gram precisions of all translations with a penalty for being too short.

    The formula is that of Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation" (2002),
    over the whole corpus: counts are summed, not scores of sentences. Words are what white space separates. Of
    references as close in length to the translation, the first counts. The value is 0 if no n-gram of some length
    matches.

    Args:
        n_gram: The length of the longest n-grams.
        smooth: Whether to add 1 to the counts of n-grams longer than 1 (Lin and Och 2004).
        weights: One for each length of n-gram; None for the same for all, `1 / n_gram`.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `n_gram` is not an int or `smooth` is not a bool.
        ValueError: If `n_gram` is smaller than 1, or there are not as many weights.

    Example:
        >>> from syncmetrics.text import BLEUScore
        >>> metric = BLEUScore()
        >>> metric.update(["the cat is on the mat"], [["there is a cat on the mat", "a cat is on the mat"]])
        >>> metric.compute()
        tensor(0.7598)
    """

    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    preds_len: Tensor
    target_len: Tensor
    numerator: Tensor
    denominator: Tensor

    def __init__(
        self, n_gram: int = 4, smooth: bool = False, weights: Sequence[float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_int(name, "n_gram", n_gram, minimum=1)
        check_bool(name, "smooth", smooth)
        if weights is not None and len(weights) != n_gram:
            raise ValueError(
                f"{name}: `weights` must be as many as `n_gram`, {n_gram}, but are {len(weights)} instead. "
                "Pass one for each length of n-gram, or None."
            )
        self.n_gram = n_gram
        self.smooth = smooth
        self.weights = (1.0 / n_gram,) * n_gram if weights is None else tuple(float(weight) for weight in weights)
        self.add_state("preds_len", zero_count(), dist_reduce_fx="sum")
        self.add_state("target_len", zero_count(), dist_reduce_fx="sum")
        self.add_state("numerator", zero_count(n_gram), dist_reduce_fx="sum")
        self.add_state("denominator", zero_count(n_gram), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Hashable | None:
        """The same for every `smooth` and `weights`: only `compute` reads them."""
        return ("bleu", self.n_gram)

    def update(self, preds: str | Sequence[str], target: Sequence[str | Sequence[str]]) -> None:
        """Add translations.

        Args:
            preds: A translation, or a list of them; one may be empty.
            target: For each translation its references, a list of texts; or a text, if there is but one.

        Raises:
            TypeError: If one is no string.
            ValueError: If there are more of the one than of the other, or a translation has no reference.
        """
        preds_len = target_len = 0
        numerator, denominator = [0] * self.n_gram, [0] * self.n_gram
        for predicted, references in _with_references(type(self).__name__, preds, target):
            length, reference_length, matching, there = self._statistics(predicted, references)
            preds_len += length
            target_len += reference_length
            for order in range(self.n_gram):
                numerator[order] += matching[order]
                denominator[order] += there[order]
        self.preds_len = self.preds_len + preds_len
        self.target_len = self.target_len + target_len
        self.numerator = _plus(self.numerator, numerator)
        self.denominator = _plus(self.denominator, denominator)

    def compute(self) -> Tensor:
        """Return the score in 0..1, 0-d in `torch.get_default_dtype()`; 0 without translations."""
        numerator, denominator = self.numerator, self.denominator
        if self.smooth:
            more = torch.ones_like(numerator)
            more[0] = 0
            numerator, denominator = numerator + more, denominator + more
        weights = torch.tensor(self.weights, dtype=accumulate_dtype(numerator.device), device=numerator.device)
        mean = (weights * safe_divide(numerator, denominator).log()).sum().exp()
        penalty = (1 - safe_divide(self.target_len, self.preds_len)).clamp(max=0).exp()
        return rounded(torch.where((self.numerator > 0).all(), mean * penalty, 0.0))

    def _statistics(self, predicted: str, references: Sequence[str]) -> _Statistics:
        words, others = predicted.split(), [reference.split() for reference in references]
        closest = min((len(other) for other in others), key=lambda length: abs(length - len(words)))
        matching, there = [], []
        for order in range(1, self.n_gram + 1):
            found = _n_grams(words, order)
            allowed: Counter[tuple[str, ...]] = Counter()
            for other in others:
                allowed |= _n_grams(other, order)
            matching.append((found & allowed).total())
            there.append(found.total())
        return len(words), closest, matching, there


class SacreBLEUScore(BLEUScore):
    """BLEU of words as `sacrebleu` cuts them, which must be installed (Post, "A Call for Clarity", 2018).

    Words and n-grams are those of that library, and so is the rule that of references as close in length the shortest
    counts. The value is in 0..1, without smoothing unless `smooth` is set.

    Args:
        n_gram: The length of the longest n-grams.
        smooth: Whether to add 1 to the counts of n-grams longer than 1 (Lin and Och 2004).
        tokenize: "none", "13a", "zh", "intl", "char", "ja-mecab", "ko-mecab", "flores101" or "flores200".
        lowercase: Whether to ignore case.
        weights: One for each length of n-gram; None for the same for all, `1 / n_gram`.
        **kwargs: Arguments of `Metric`.

    Raises:
        ImportError: If `sacrebleu` cannot be imported.
        TypeError: If `n_gram` is not an int, or `smooth` or `lowercase` is not a bool.
        ValueError: If `n_gram` is smaller than 1, there are not as many weights, or `tokenize` is none of these.

    Example:
        >>> from syncmetrics.text import SacreBLEUScore
        >>> metric = SacreBLEUScore()  # doctest: +SKIP
        >>> metric.update(["the cat is on the mat"], [["there is a cat on the mat"]])  # doctest: +SKIP
        >>> metric.compute()  # doctest: +SKIP
        tensor(0.)
    """

    def __init__(
        self,
        n_gram: int = 4,
        smooth: bool = False,
        tokenize: str = "13a",
        lowercase: bool = False,
        weights: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_gram, smooth, weights, **kwargs)
        name = type(self).__name__
        check_choice(name, "tokenize", tokenize, _TOKENIZERS)
        check_bool(name, "lowercase", lowercase)
        self.tokenize = tokenize
        self.lowercase = lowercase
        _counter(tokenize, lowercase, n_gram)

    @property
    def compute_group(self) -> Hashable | None:
        """The same for every `smooth` and `weights`: only `compute` reads them."""
        return ("sacre_bleu", self.n_gram, self.tokenize, self.lowercase)

    def _statistics(self, predicted: str, references: Sequence[str]) -> _Statistics:
        score = _counter(self.tokenize, self.lowercase, self.n_gram).sentence_score(predicted, list(references))
        return score.sys_len, score.ref_len, score.counts, score.totals


@functools.cache
def _counter(tokenize: str, lowercase: bool, n_gram: int) -> Any:
    """Make what counts n-grams; how it would smooth does not matter to the counts."""
    library = load("sacrebleu.metrics", needed_by="SacreBLEUScore", install="sacrebleu")
    return library.BLEU(
        lowercase=lowercase, tokenize=tokenize, max_ngram_order=n_gram, smooth_method="none", effective_order=True
    )


def _plus(counts: Tensor, more: list[int]) -> Tensor:
    """Add whole numbers to counts (N,), one by one: a tensor of them would have to be copied to the device."""
    return torch.stack([count + number for count, number in zip(counts.unbind(), more, strict=True)])


def _n_grams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


def _with_references(
    name: str, preds: str | Sequence[str], target: Sequence[str | Sequence[str]]
) -> list[tuple[str, list[str]]]:
    """Pair translations with their references.

    Raises:
        TypeError: One is no string.
        ValueError: There are more of the one than of the other, or a translation has no reference.
    """
    translations: list[Any] = [preds] if isinstance(preds, str) else list(preds)
    per_translation: list[Any] = [target] if isinstance(target, str) else list(target)
    references: list[list[Any]] = [[one] if isinstance(one, str) else list(one) for one in per_translation]
    wrong = next((text for texts in (translations, *references) for text in texts if not isinstance(text, str)), None)
    if wrong is not None:
        raise TypeError(
            f"{name}: `preds` and the references in `target` must be strings, but one is a {type(wrong).__name__} "
            "instead. Pass preds=[text, ...] and target=[[reference, ...], ...]."
        )
    if len(translations) != len(references):
        raise ValueError(
            f"{name}: `target` must have references for each of the {len(translations)} translations, but has "
            f"{len(references)} instead. Pass target=[[reference, ...], ...], one list for each."
        )
    without = next((place for place, texts in enumerate(references) if not texts), None)
    if without is not None:
        raise ValueError(
            f"{name}: every translation must have a reference, but `target[{without}]` is empty instead. "
            "Leave that translation out."
        )
    return list(zip(translations, references, strict=True))
