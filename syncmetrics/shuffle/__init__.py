"""Metrics over rows of all ranks that no rank has to hold as a whole: see `docs/shuffle.md`."""

from syncmetrics.shuffle.distinct import distinct_mask
from syncmetrics.shuffle.exchange import Share, send_back, share_by_key
from syncmetrics.shuffle.keys import decode_floats, encode_floats, key_dtype
from syncmetrics.shuffle.metric import SHUFFLE_ABOVE, ShuffledMetric
from syncmetrics.shuffle.peers import Peers
from syncmetrics.shuffle.plan import Question
from syncmetrics.shuffle.rows import Rows

__all__ = [
    "SHUFFLE_ABOVE",
    "Peers",
    "Question",
    "Rows",
    "Share",
    "ShuffledMetric",
    "decode_floats",
    "distinct_mask",
    "encode_floats",
    "key_dtype",
    "send_back",
    "share_by_key",
]
