"""Metrics of text: perplexity, word and character error rates, edit distance, and BLEU."""

from syncmetrics.text.bleu import BLEUScore, SacreBLEUScore
from syncmetrics.text.edit_distance import EditDistance
from syncmetrics.text.error_rates import (
    CharErrorRate,
    MatchErrorRate,
    WordErrorRate,
    WordInfoLost,
    WordInfoPreserved,
)
from syncmetrics.text.perplexity import Perplexity

__all__ = [
    "BLEUScore",
    "CharErrorRate",
    "EditDistance",
    "MatchErrorRate",
    "Perplexity",
    "SacreBLEUScore",
    "WordErrorRate",
    "WordInfoLost",
    "WordInfoPreserved",
]
