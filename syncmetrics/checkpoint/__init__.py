"""How metrics are saved, and resumed: with a module, in its `state_dict`; and all ranks at once, by `save_state`."""

from syncmetrics.checkpoint.state import load_state, save_state
from syncmetrics.checkpoint.stateful import StatefulMetrics

__all__ = ["StatefulMetrics", "load_state", "save_state"]
