"""The base class of metrics that keep rows, and need not gather them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from syncmetrics.metric.metric import Metric
from syncmetrics.metric.module import StatefulModule
from syncmetrics.shuffle.node import Answered, ShuffleNode, told_alone
from syncmetrics.shuffle.peers import Peers, together
from syncmetrics.shuffle.plan import Question
from syncmetrics.states.spec import States
from syncmetrics.sync import Node, Route
from syncmetrics.transport import LocalTransport

__all__ = ["SHUFFLE_ABOVE", "ShuffledMetric"]

#: From how many rows on, of all ranks together, they are shuffled.
SHUFFLE_ABOVE = 1_000_000


class ShuffledMetric(Metric):
    """A metric whose states are rows, of all ranks in every rank's memory only while they are few.

    Its states are `"cat"` lists with one entry of shape `()` for each row. What it wants to know of the rows is a
    `question`, plain data; `solve` answers it, by the same exact arithmetic whether the rows are all here or shared
    among the ranks. Metrics that hold the same store are answered together, by one shuffle.

    While the rows of all ranks are shown (in `compute`, after `sync()`, inside `synced(...)`), the attributes hold
    those of this rank alone if they were shuffled.

    Args:
        shuffle_above: From how many rows on, of all ranks together, each rank gets a share of them in place of all;
            None for never, 0 for always. It must be equal on all ranks. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: `shuffle_above` is neither None nor an int of at least 0.
    """

    def __init__(self, *, shuffle_above: int | None = SHUFFLE_ABOVE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        whole = isinstance(shuffle_above, int) and not isinstance(shuffle_above, bool)
        if shuffle_above is not None and (not whole or shuffle_above < 0):
            raise ValueError(
                f"{type(self).__name__}: `shuffle_above` must be an int of at least 0, or None, but is"
                f" {shuffle_above!r} instead. Pass a number of rows, or None to gather them always."
            )
        self.shuffle_above = shuffle_above

    @property
    @abstractmethod
    def question(self) -> Question:
        """What this metric wants to know of the rows: plain data that is equal on all ranks."""

    @abstractmethod
    def solve(self, peers: Peers, states: States, questions: Sequence[Question]) -> Mapping[Question, Any]:
        """Answer questions about the rows of all ranks.

        Collective, through `peers`: every rank of the group must call this. The answers are the same on every rank.

        Args:
            peers: The ranks; a world of one if the rows are all here.
            states: The rows of this rank, which are left as they are.
            questions: Of all metrics that hold these rows.
        """

    def answer(self) -> Any:
        """Give the answer to this metric's question, inside `compute`. It does not communicate."""
        shown = self._holder.store.states
        if isinstance(shown, Answered) and self.question in shown.answers:
            return shown.answers[self.question]
        if isinstance(shown, Answered):
            raise RuntimeError(f"`{self._label}` was changed while it is synced: nobody asked for {self.question}.")
        states = {name: shown[name] for name in self._holder.specs}
        told = told_alone(states, self.device)
        return together(
            Route(LocalTransport()), self._label, told, lambda peers: self.solve(peers, states, [self.question])
        )[self.question]

    def _node(self, path: str, sharing: Sequence[tuple[str, StatefulModule]]) -> Node:
        node = super()._node(path, sharing)
        if self.shuffle_above is None:
            return node
        asking = [metric for _, metric in sharing if isinstance(metric, ShuffledMetric)]
        return ShuffleNode(
            node.path,
            node.label,
            node.holders,
            node.merge,
            node.metrics,
            above=self.shuffle_above,
            solve=self.solve,
            questions=lambda: tuple(dict.fromkeys(metric.question for metric in asking)),
        )
