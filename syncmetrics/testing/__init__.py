"""What users test their own metrics with.

`assert_matches_single_process` asserts that a metric has one value however its data is spread. `run_ranks` runs a
function on real ranks, one process each; `run_ranks_outcomes` does so for tests in which ranks fail; `run_threads`
runs it on threads. `verify` tries to break a metric, and names its mistake.
"""

from __future__ import annotations

from syncmetrics.testing.parity import assert_matches_single_process
from syncmetrics.testing.ranks import Outcome, RanksFailedError, run_ranks, run_ranks_outcomes
from syncmetrics.testing.verify import verify
from syncmetrics.transport.threads import run_threads

__all__ = [
    "Outcome",
    "RanksFailedError",
    "assert_matches_single_process",
    "run_ranks",
    "run_ranks_outcomes",
    "run_threads",
    "verify",
]
