"""The lowest and the highest value that a metric has had."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from syncmetrics.metric import Metric
from syncmetrics.metric.update import pass_on
from syncmetrics.states.store import Mode
from syncmetrics.wrappers._inner import as_metric, parameters_of, policy_of, take_over

__all__ = ["MinMaxMetric"]


class MinMaxMetric(Metric):
    """Give the value of a metric as "raw", and as "min" and "max" the range of all values that `compute` has given.

    The range is over the values of `compute`, which are those of all ranks; NaN is in no range. `forward` gives the
    range with the value of the batch in it, and goes on with the range as it was. `reset` keeps it too, for the values
    are those of epochs mostly, with a reset between them; `reset_range` forgets it.

    Args:
        base_metric: A metric whose value is one number, of ours or of a library that has an adapter.
        **kwargs: Arguments of `Metric`; left out, those of `base_metric`.

    Raises:
        TypeError: `base_metric` is none.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryAccuracy, MinMaxMetric
        >>> metric = MinMaxMetric(BinaryAccuracy())
        >>> metric.update(torch.tensor([1, 0]), torch.tensor([1, 0]))
        >>> metric.compute()
        {'raw': tensor(1.), 'max': tensor(1.), 'min': tensor(1.)}
        >>> metric.update(torch.tensor([1, 0]), torch.tensor([0, 1]))
        >>> metric.compute()
        {'raw': tensor(0.5000), 'max': tensor(1.), 'min': tensor(0.5000)}
    """

    output_names = ("raw", "max", "min")
    range_kept: list[float]

    def __init__(self, base_metric: Any, **kwargs: Any) -> None:
        inner = as_metric("base_metric", base_metric)
        super().__init__(**{**policy_of([inner]), **kwargs})
        self._base_metric = inner
        take_over(self, [inner])
        # Plain numbers in a list: those of all ranks come together whether or not they have seen an update.
        self.add_state("range_kept", [], dist_reduce_fx=None)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update the metric inside."""
        pass_on([self._base_metric], args, kwargs)

    def compute(self) -> dict[str, Tensor]:
        """Give the value and the range. Collective, as every `compute`.

        Raises:
            ValueError: The value is not one number.
        """
        value = self._base_metric.compute()
        if not isinstance(value, Tensor) and isinstance(value, (int, float)):
            value = torch.tensor(value)
        if not isinstance(value, Tensor) or value.numel() != 1 or value.is_complex():
            given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise ValueError(
                f"`MinMaxMetric` needs a metric whose value is one number, but `{self._base_metric._label}` gave"
                f" {given}; construct it with an `average`, or take one of its values, `metric[0]`."
            )
        value = value.reshape(())
        store = self._holder.store
        kept = [*store.local[0]["range_kept"], *self.range_kept]
        if store.mode is not Mode.STEP:
            number = value.item()
            if number == number:
                kept.append(number)
            # What is shown is put back later, so the range is written beside it: it is no change of what is computed.
            store.local[0]["range_kept"] = [float(limit) for limit in (min(kept), max(kept))] if kept else []
        if not kept:
            return {"raw": value, "max": value, "min": value}
        low, high = (torch.full_like(value, limit) for limit in (min(kept), max(kept)))
        if value.is_floating_point():
            return {"raw": value, "max": torch.fmax(high, value), "min": torch.fmin(low, value)}
        return {"raw": value, "max": torch.maximum(high, value), "min": torch.minimum(low, value)}

    def reset(self) -> None:
        """Reset the metric inside. The range stays."""
        kept = self._holder.store.local[0]["range_kept"]
        super().reset()
        self._holder.store.local[0]["range_kept"] = kept

    def reset_range(self) -> None:
        """Forget the range. It does not communicate: every rank must do so."""
        self._holder.store.local[0]["range_kept"] = []
        self._books.forget()

    def _update_parameters(self) -> Mapping[str, inspect.Parameter]:
        return parameters_of(self._base_metric)
