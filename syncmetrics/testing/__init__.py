"""What users test their own metrics with.

`run_ranks` runs a function on real ranks, one process each; `run_ranks_outcomes` does so for tests in which ranks fail.
"""

from __future__ import annotations

from syncmetrics.testing.ranks import Outcome, RanksFailedError, run_ranks, run_ranks_outcomes

__all__ = ["Outcome", "RanksFailedError", "run_ranks", "run_ranks_outcomes"]
