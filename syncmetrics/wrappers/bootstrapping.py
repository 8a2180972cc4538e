"""How far the value of a metric may be off, from resampled data."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from syncmetrics.family.checks import check_bool, check_choice, check_int
from syncmetrics.metric import Metric
from syncmetrics.states.store import Mode
from syncmetrics.wrappers._draws import ids_of_place, poisson_counts, uniform_places
from syncmetrics.wrappers._inner import as_metric, parameters_of, policy_of, take_over

__all__ = ["BootStrapper"]

_STRATEGIES = ("poisson", "multinomial")


class BootStrapper(Metric):
    """Give the mean and the standard deviation of a metric over resampled data (Efron, "Bootstrap Methods", 1979).

    `num_bootstraps` copies of the metric see each batch resampled: with "poisson" each sample as often as a Poisson
    variable of mean 1 says, with "multinomial" as many samples as the batch has, drawn from it with replacement.

    How often a sample is drawn is computed from `generator` and from who the sample is, by SplitMix64, and from nothing
    else: no random state of torch is used or changed, and `forward` resamples as `update` does. Who it is, is said by
    `update(..., ids=...)`, with one whole number for each sample, its place in the data set say. Then "poisson" draws
    alike on any number of ranks, in any order, and however the samples are split into batches, and the value is that of
    one process. Without ids a sample is known by its rank, the number of updates of that rank before, and its place in
    the batch: every run on the same ranks with the same batches draws alike, and other numbers of ranks draw otherwise.
    "multinomial" draws within batches, so that it depends on these also with ids.

    Args:
        base_metric: A metric, of ours or of a library that has an adapter. Each replicate gets a copy.
        num_bootstraps: The number of replicates.
        mean: Whether to give the mean of their values, as "mean".
        std: Whether to give their standard deviation, as "std".
        quantile: Which quantiles of them to give, as "quantile": a number, or a 1-d tensor.
        raw: Whether to give all values, as "raw".
        sampling_strategy: "poisson" or "multinomial".
        generator: A seed, the same on every rank, or a `torch.Generator` that has it; left out, the seed is 0.
        **kwargs: Arguments of `Metric`; left out, those of `base_metric`.

    Raises:
        TypeError: `base_metric` is no metric, or another argument has a wrong type.
        ValueError: `num_bootstraps` is smaller than 1, or the strategy or a quantile is not one of those.

    Example:
        >>> import torch
        >>> from syncmetrics import BootStrapper, MeanMetric
        >>> metric = BootStrapper(MeanMetric(), num_bootstraps=200)
        >>> metric.update(torch.arange(100.0), ids=torch.arange(100))
        >>> value = metric.compute()
        >>> round(float(value["mean"])), round(float(value["std"]))
        (49, 3)
    """

    def __init__(
        self,
        base_metric: Any,
        num_bootstraps: int = 10,
        mean: bool = True,
        std: bool = True,
        quantile: float | Tensor | None = None,
        raw: bool = False,
        sampling_strategy: str = "poisson",
        generator: torch.Generator | int | None = None,
        **kwargs: Any,
    ) -> None:
        inner = as_metric("base_metric", base_metric)
        check_int("BootStrapper", "num_bootstraps", num_bootstraps, minimum=1)
        for name, flag in (("mean", mean), ("std", std), ("raw", raw)):
            check_bool("BootStrapper", name, flag)
        check_choice("BootStrapper", "sampling_strategy", sampling_strategy, _STRATEGIES)
        super().__init__(**{**policy_of([inner]), **kwargs})
        self.metrics = nn.ModuleList([copy.deepcopy(inner) for _ in range(num_bootstraps)])
        self.mean, self.std, self.raw = mean, std, raw
        self.quantile = _quantiles(quantile)
        self.sampling_strategy = sampling_strategy
        self.seed = _seed(generator)
        take_over(self, [inner])
        self.is_differentiable = False

    @property
    def num_bootstraps(self) -> int:
        """The number of replicates."""
        return len(self.metrics)

    def update(self, *args: Any, ids: Tensor | Sequence[int] | None = None, **kwargs: Any) -> None:
        """Update each replicate with a batch of its own.

        Args:
            *args: What the metric takes: tensors and lists with one entry for each sample are resampled, and whatever
                else is given goes to every replicate as it is.
            ids: Who the samples are, as a list or int64 of shape `(N,)` on the CPU.
            **kwargs: Likewise.

        Raises:
            TypeError: `ids` are no whole numbers.
            ValueError: Nothing that is given has samples, or `ids` has another number of them, or is not on the CPU.
        """
        count = _count((*args, *kwargs.values()))
        known = self._own_ids(count) if ids is None else _checked(ids, count)
        replicates = len(self.metrics)
        if self.sampling_strategy == "poisson":
            counts = poisson_counts(self.seed, replicates, known)
            places = [torch.repeat_interleave(own) for own in counts]
        else:
            places = list(uniform_places(self.seed, replicates, known))
        for metric, own in zip(self.metrics, places, strict=True):
            if len(own):
                given = [_chosen(value, own, count) for value in args]
                named = {name: _chosen(value, own, count) for name, value in kwargs.items()}
                metric.update(*given, **named)  # type: ignore[operator]  # torch types it as a Module

    def compute(self) -> dict[str, Tensor]:
        """Give what was asked for of the values of all replicates. Collective, as every `compute`."""
        values = torch.stack([metric.compute() for metric in self.metrics])  # type: ignore[operator]  # likewise
        found: dict[str, Tensor] = {}
        exact = values if values.is_floating_point() else values.to(torch.get_default_dtype())
        if self.mean:
            found["mean"] = exact.mean(0)
        if self.std:
            found["std"] = exact.std(0)
        if self.quantile is not None:
            wide = exact if exact.dtype in (torch.float32, torch.float64) else exact.float()  # torch takes no others
            wanted = torch.tensor(self.quantile, dtype=wide.dtype, device=wide.device)
            found["quantile"] = torch.quantile(wide, wanted, dim=0).to(exact.dtype)
        if self.raw:
            found["raw"] = values
        return found

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of what is given."""
        asked = {"mean": self.mean, "std": self.std, "quantile": self.quantile is not None, "raw": self.raw}
        return tuple(name for name, is_asked in asked.items() if is_asked)

    def _own_ids(self, count: int) -> Tensor:
        store = self._holder.store
        before = store.local[1] if store.mode is Mode.STEP else store.update_count - 1
        # A state dict brings the counts of the metrics inside, but not that of a metric without states.
        inside = [m._core._holder.store.local[1] for m in self.metrics.modules() if isinstance(m, Metric)]
        before = max(before, *inside)
        return ids_of_place(self._route().transport.rank, before, count)

    def _update_parameters(self) -> Mapping[str, inspect.Parameter]:
        own = inspect.signature(type(self).update).parameters["ids"]
        return {**parameters_of(self.metrics[0]), "ids": own}  # type: ignore[arg-type]  # likewise


def _quantiles(quantile: Any) -> float | tuple[float, ...] | None:
    if quantile is None:
        return None
    if isinstance(quantile, Tensor):
        quantile = quantile.tolist()
    several = tuple(quantile) if isinstance(quantile, (list, tuple)) else (quantile,)
    if not several or any(isinstance(q, bool) or not isinstance(q, (int, float)) for q in several):
        raise TypeError(f"BootStrapper: `quantile` must be a number or a 1-d tensor, but is {quantile!r} instead.")
    if not all(0 <= q <= 1 for q in several):
        raise ValueError(f"BootStrapper: `quantile` must be in 0..1, but is {quantile!r} instead. Pass 0.95, say.")
    return several if isinstance(quantile, (list, tuple)) else float(quantile)


def _seed(generator: Any) -> int:
    if isinstance(generator, torch.Generator):
        return generator.initial_seed()
    if generator is None:
        return 0
    check_int("BootStrapper", "generator", generator)
    return int(generator)


def _count(given: Sequence[Any]) -> int:
    for value in given:
        if isinstance(value, Tensor) and value.ndim:
            return value.shape[0]
        if isinstance(value, (list, tuple)):
            return len(value)
    raise ValueError("BootStrapper: nothing that `update` was given has samples. Pass a tensor with a first dimension.")


def _checked(ids: Any, count: int) -> Tensor:
    found = ids if isinstance(ids, Tensor) else torch.tensor(list(ids), dtype=torch.int64, device="cpu")
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise TypeError(f"BootStrapper: `ids` must be whole numbers, but are {found.dtype} instead.")
    if found.shape != (count,):
        raise ValueError(
            f"BootStrapper: `ids` must have the shape ({count},), one for each sample, but has {tuple(found.shape)}"
            " instead."
        )
    if not found.is_cpu:
        raise ValueError(
            f"BootStrapper: `ids` must be on the CPU, for the resampled batches have sizes that depend on them, but is"
            f" on {found.device} instead. Pass them as they come from the data set, before they are moved."
        )
    return found.to(torch.int64)


def _chosen(value: Any, places: Tensor, count: int) -> Any:
    """Give the samples at some places; what has no samples as it is."""
    if isinstance(value, Tensor) and value.ndim and value.shape[0] == count:
        return value.index_select(0, places.to(value.device, non_blocking=True))
    if isinstance(value, (list, tuple)) and len(value) == count:
        return [value[place] for place in places.tolist()]
    return value
