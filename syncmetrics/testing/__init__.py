"""What users test their own metrics with.

`assert_matches_single_process` asserts that a metric has one value however its data is spread. `run_ranks` runs a
function on real ranks, one process each; `run_ranks_outcomes` does so for tests in which ranks fail; `run_threads`
runs it on threads. `verify` tries to break a metric, and names its mistake. `plugin` has the former as fixtures of
pytest. It is loaded by every pytest of an environment that has this package, so nothing here is imported before it is
used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from syncmetrics.testing.parity import assert_matches_single_process
    from syncmetrics.testing.ranks import Outcome, RanksFailedError, run_ranks, run_ranks_outcomes
    from syncmetrics.testing.verification import verify
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

_WHERE = {
    "Outcome": "testing.ranks",
    "RanksFailedError": "testing.ranks",
    "assert_matches_single_process": "testing.parity",
    "run_ranks": "testing.ranks",
    "run_ranks_outcomes": "testing.ranks",
    "run_threads": "transport.threads",
    "verify": "testing.verification",
}


def __getattr__(name: str) -> object:
    """Import a name when it is first asked for (PEP 562)."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"syncmetrics.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
