"""Perplexity of a language model."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import check_bool, check_int, check_tensor, zero_count, zero_sum
from syncmetrics.family.exact import summed
from syncmetrics.family.offenders import labels_in_range, raise_for_offenders
from syncmetrics.metric import Metric
from syncmetrics.states.exact_sum import exact_add

__all__ = ["Perplexity"]


class Perplexity(Metric):
    """Give the exponential of the mean negative log likelihood of the target tokens (Jelinek et al. 1977).

    The mean is over all tokens that count, so that a long batch weighs more than a short one. Logits in half precision
    become float32 before the softmax, and the losses are summed in float64.

    Args:
        ignore_index: A target token to leave out, such as that of padding; it need not be in the vocabulary.
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the tokens lie in
            batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `ignore_index` is neither None nor an int, or `exact` is not a bool.

    Example:
        >>> import torch
        >>> from syncmetrics.text import Perplexity
        >>> logits = torch.tensor([[[0.5, 0.5], [0.9, 0.1], [0.3, 0.7]]]).log()
        >>> target = torch.tensor([[0, 0, -100]])
        >>> metric = Perplexity(ignore_index=-100)
        >>> metric.update(logits, target)
        >>> round(metric.compute().item(), 4)  # (0.5 * 0.9) ** (-1 / 2)
        1.4907
    """

    plot_lower_bound = 0.0
    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    total_log_probs: Tensor
    count: Tensor
    invalid: Tensor

    def __init__(self, ignore_index: int | None = None, *, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        if ignore_index is not None:
            check_int(name, "ignore_index", ignore_index)
        check_bool(name, "exact", exact)
        self.ignore_index = ignore_index
        self.exact = exact
        self.add_state("total_log_probs", zero_sum(), dist_reduce_fx="exact_sum" if exact else "sum")
        self.add_state("count", zero_count(), dist_reduce_fx="sum")
        self.add_state("invalid", zero_count(), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Hashable | None:
        """One group per setting."""
        return ("perplexity", self.ignore_index, self.exact)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add tokens.

        Args:
            preds: Logits, or log probabilities, of any float dtype and of shape (B, T, V); a softmax is applied over V.
            target: Integer tokens of shape (B, T), in 0..V-1 or equal to `ignore_index`.

        Raises:
            TypeError: If one is not a tensor, `preds` is not float, or `target` is not integer.
            ValueError: If the shapes do not fit, or a token is out of range (on a device other than a CPU, `compute`
                raises that).
        """
        name = type(self).__name__
        _check_logits(name, preds, target)
        vocabulary = preds.shape[-1]
        tokens = target.long()
        counted = None if self.ignore_index is None else tokens != self.ignore_index
        counted, offenders = labels_in_range(name, "target", tokens, counted, vocabulary)
        if offenders is not None:
            self.invalid = self.invalid + offenders
        dtype = torch.float64 if preds.dtype is torch.float64 else torch.float32
        log_probs = torch.log_softmax(preds.detach(), dim=-1, dtype=dtype)
        losses = -log_probs.gather(-1, tokens.clamp(0, vocabulary - 1).unsqueeze(-1)).squeeze(-1)
        if counted is not None:
            losses = torch.where(counted, losses, 0.0)
        if self.exact:
            self.total_log_probs = exact_add(self.total_log_probs, losses)
        else:
            self.total_log_probs = self.total_log_probs + losses.sum(dtype=self.total_log_probs.dtype)
        self.count = self.count + (tokens.numel() if counted is None else counted.sum())

    def compute(self) -> Tensor:
        """Return the perplexity, 0-d in float64; NaN without tokens.

        Raises:
            ValueError: If tokens were out of range.
        """
        raise_for_offenders(self, self.invalid)
        total = summed(self, self.total_log_probs) if self.exact else self.total_log_probs
        return (total / self.count).exp()


def _check_logits(name: str, preds: Tensor, target: Tensor) -> None:
    check_tensor(name, "preds", preds)
    check_tensor(name, "target", target)
    if not preds.is_floating_point():
        raise TypeError(
            f"{name}: `preds` must be logits in a float dtype, but is {preds.dtype} instead. "
            "Pass what the model gives before it chooses tokens."
        )
    if target.is_floating_point() or target.dtype is torch.bool:
        raise TypeError(
            f"{name}: `target` must be integer tokens, but is {target.dtype} instead. Pass `target.long()`."
        )
    if target.ndim != 2 or preds.ndim != 3:
        raise ValueError(
            f"{name}: `preds` must have the shape (B, T, V) and `target` the shape (B, T), but they have "
            f"{tuple(preds.shape)} and {tuple(target.shape)} instead. Pass one logit for each token of the vocabulary, "
            "and `unsqueeze(0)` a single sequence."
        )
    if preds.shape[:2] != target.shape:
        by_class = preds.shape[0] == target.shape[0] and preds.shape[2] == target.shape[1]
        advice = "Pass `preds.transpose(1, 2)`." if by_class else "Cut both to the same tokens."
        raise ValueError(
            f"{name}: `preds` must have the shape (B, T, V) where `target` has (B, T), but they have "
            f"{tuple(preds.shape)} and {tuple(target.shape)} instead. {advice}"
        )
    if preds.shape[2] == 0:
        raise ValueError(
            f"{name}: `preds` must have a logit for each token of the vocabulary, but has the shape "
            f"{tuple(preds.shape)} instead. Pass logits (B, T, V)."
        )
