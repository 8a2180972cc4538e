"""Rates of wrong words and characters in transcripts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from torch import Tensor

from syncmetrics.family.checks import accumulate_dtype, rounded, zero_count
from syncmetrics.metric import Metric
from syncmetrics.text._edits import edit_distance, text_pairs

__all__ = ["CharErrorRate", "MatchErrorRate", "WordErrorRate", "WordInfoLost", "WordInfoPreserved"]


class _WordErrors(Metric):
    """Count words and word errors; the subclasses divide. Metrics of one collection share the counts.

    Args:
        **kwargs: Arguments of `Metric`.
    """

    plot_lower_bound = 0.0
    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    errors: Tensor
    target_words: Tensor
    preds_words: Tensor
    longer_words: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("errors", zero_count(), dist_reduce_fx="sum")
        self.add_state("target_words", zero_count(), dist_reduce_fx="sum")
        self.add_state("preds_words", zero_count(), dist_reduce_fx="sum")
        self.add_state("longer_words", zero_count(), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Hashable | None:
        """There are no settings."""
        return ("word_errors",)

    def update(self, preds: str | Sequence[str], target: str | Sequence[str]) -> None:
        """Add transcripts. Words are what white space separates.

        Args:
            preds: A transcript, or a list of them; one may be empty.
            target: What was said, one text for each transcript.

        Raises:
            TypeError: If one is no string.
            ValueError: If there are more of the one than of the other.
        """
        errors = target_words = preds_words = longer_words = 0
        for predicted, spoken in text_pairs(type(self).__name__, preds, target):
            words, other_words = predicted.split(), spoken.split()
            errors += edit_distance(words, other_words)
            preds_words += len(words)
            target_words += len(other_words)
            longer_words += max(len(words), len(other_words))
        self.errors = self.errors + errors
        self.target_words = self.target_words + target_words
        self.preds_words = self.preds_words + preds_words
        self.longer_words = self.longer_words + longer_words

    def _preserved(self) -> Tensor:
        """Give the shares of matching words in both texts, multiplied; not rounded."""
        matches = (self.longer_words - self.errors).to(accumulate_dtype(self.errors.device))
        return (matches / self.target_words) * (matches / self.preds_words)


class WordErrorRate(_WordErrors):
    """Divide the word edits by the words that were said (Levenshtein 1966, as used in speech recognition).

    An edit is a word put in, left out or replaced. The value is above 1 if there are more edits than words.

    Args:
        **kwargs: Arguments of `Metric`.

    Example:
        >>> from syncmetrics.text import WordErrorRate
        >>> metric = WordErrorRate()
        >>> metric.update(["the cat sat", "hello"], ["the cat sat down", "hello"])
        >>> metric.compute()
        tensor(0.2000)
    """

    def compute(self) -> Tensor:
        """Return the rate, 0-d in `torch.get_default_dtype()`; NaN without words, infinite if none was said."""
        return _ratio(self.errors, self.target_words)


class MatchErrorRate(_WordErrors):
    """Divide the word edits by the words of the longer text of each pair.

    That is the match error rate of Morris, Maier and Green, "From WER and RIL to MER and WIL" (2004), with the length
    of the longer text in place of that of the alignment: it differs where one text both lacks words and has others too
    many.

    Args:
        **kwargs: Arguments of `Metric`.

    Example:
        >>> from syncmetrics.text import MatchErrorRate
        >>> metric = MatchErrorRate()
        >>> metric.update(["the cat sat down there"], ["the cat sat"])
        >>> metric.compute()
        tensor(0.4000)
    """

    def compute(self) -> Tensor:
        """Return the rate, 0-d in `torch.get_default_dtype()`; NaN without words."""
        return _ratio(self.errors, self.longer_words)


class WordInfoPreserved(_WordErrors):
    """Multiply the share of the words said that are in the transcript with the share of its words that were said.

    The formula is that of Morris, Maier and Green, "From WER and RIL to MER and WIL" (2004); matching words are the
    words of the longer text less the edits.

    Args:
        **kwargs: Arguments of `Metric`.

    Example:
        >>> from syncmetrics.text import WordInfoPreserved
        >>> metric = WordInfoPreserved()
        >>> metric.update(["the cat sat"], ["the cat sat down"])
        >>> metric.compute()  # (3 / 4) * (3 / 3)
        tensor(0.7500)
    """

    higher_is_better = True
    plot_upper_bound = 1.0

    def compute(self) -> Tensor:
        """Return the value, 0-d in `torch.get_default_dtype()`; NaN if one side has no words."""
        return rounded(self._preserved())


class WordInfoLost(_WordErrors):
    """Give what `WordInfoPreserved` leaves to 1 (Morris, Maier and Green, "From WER and RIL to MER and WIL", 2004).

    Args:
        **kwargs: Arguments of `Metric`.

    Example:
        >>> from syncmetrics.text import WordInfoLost
        >>> metric = WordInfoLost()
        >>> metric.update(["the cat sat"], ["the cat sat down"])
        >>> metric.compute()
        tensor(0.2500)
    """

    plot_upper_bound = 1.0

    def compute(self) -> Tensor:
        """Return the value, 0-d in `torch.get_default_dtype()`; NaN if one side has no words."""
        return rounded(1 - self._preserved())


class CharErrorRate(Metric):
    """Divide the character edits by the characters of the targets, white space among them.

    Args:
        **kwargs: Arguments of `Metric`.

    Example:
        >>> from syncmetrics.text import CharErrorRate
        >>> metric = CharErrorRate()
        >>> metric.update(["rain"], ["shine"])
        >>> metric.compute()
        tensor(0.6000)
    """

    plot_lower_bound = 0.0
    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    errors: Tensor
    total: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("errors", zero_count(), dist_reduce_fx="sum")
        self.add_state("total", zero_count(), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Hashable | None:
        """There are no settings."""
        return ("char_errors",)

    def update(self, preds: str | Sequence[str], target: str | Sequence[str]) -> None:
        """Add texts.

        Args:
            preds: A text, or a list of them; one may be empty.
            target: What it should be, one text for each.

        Raises:
            TypeError: If one is no string.
            ValueError: If there are more of the one than of the other.
        """
        pairs = text_pairs(type(self).__name__, preds, target)
        self.errors = self.errors + sum(edit_distance(predicted, wanted) for predicted, wanted in pairs)
        self.total = self.total + sum(len(wanted) for _, wanted in pairs)

    def compute(self) -> Tensor:
        """Return the rate, 0-d in `torch.get_default_dtype()`; NaN without characters."""
        return _ratio(self.errors, self.total)


def _ratio(errors: Tensor, total: Tensor) -> Tensor:
    return rounded(errors.to(accumulate_dtype(errors.device)) / total)
