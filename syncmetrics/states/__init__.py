"""What a metric holds: states as values, how they are declared and merged, and the stores that they live in.

Nothing in here knows ranks: how the states of several become one is said in `reductions`, and done in `sync`.
"""

from syncmetrics.states.exact_sum import exact_add, exact_value
from syncmetrics.states.joined import JoinedRows, joined_of
from syncmetrics.states.merge import own_copy
from syncmetrics.states.rows import RowBuffer, dim_zero_cat
from syncmetrics.states.spec import State, States, StateSpec, declare_state, spec_of_value
from syncmetrics.states.store import Holder, Mode, Store

__all__ = [
    "Holder",
    "JoinedRows",
    "Mode",
    "RowBuffer",
    "State",
    "StateSpec",
    "States",
    "Store",
    "declare_state",
    "dim_zero_cat",
    "exact_add",
    "exact_value",
    "joined_of",
    "own_copy",
    "spec_of_value",
]
