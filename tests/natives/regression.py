"""Metrics of predicted numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import special, stats
from sklearn import metrics as sk
from torch import Tensor

from tests.natives.native import Native, Samples

__all__ = ["ROWS"]


def numbers(n: int, gen: torch.Generator) -> Samples:
    target = 3.0 + torch.randn(n, generator=gen)
    return target + 0.3 * torch.randn(n, generator=gen), target


def columns(n: int, gen: torch.Generator) -> Samples:
    target = torch.tensor([1.0, -20.0, 300.0]) + torch.randn(n, 3, generator=gen)
    return target + 0.3 * torch.randn(n, 3, generator=gen), target


def positive(n: int, gen: torch.Generator) -> Samples:
    return torch.rand(n, generator=gen) + 0.2, torch.rand(n, generator=gen) + 0.1


def far(n: int, gen: torch.Generator) -> Samples:
    """Give numbers whose mean is large beside their deviations: sums of squares would lose all that matters."""
    preds, target = numbers(n, gen)
    return preds + 1e4, target + 1e4


def tied(n: int, gen: torch.Generator) -> Samples:
    target = torch.randint(0, 6, (n,), generator=gen)
    return (target + torch.randint(-2, 3, (n,), generator=gen)).float(), target.float()


def rows(n: int, gen: torch.Generator) -> Samples:
    return torch.randn(n, 4, generator=gen), torch.randn(n, 4, generator=gen)


def distributions(n: int, gen: torch.Generator) -> Samples:
    return torch.rand(n, 5, generator=gen) + 0.05, torch.rand(n, 5, generator=gen) + 0.05


def log_distributions(n: int, gen: torch.Generator) -> Samples:
    return tuple(value.double().log_softmax(dim=1) for value in distributions(n, gen))


def in_numpy(function: Callable[..., Any], **kwargs: Any) -> Callable[..., Any]:
    """Take tensors, targets first, as scikit-learn does."""
    return lambda preds, target: function(target.double().numpy(), preds.double().numpy(), **kwargs)


def each_column(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda preds, target: np.array(
        [function(p.numpy(), t.numpy()) for p, t in zip(preds.double().T, target.double().T, strict=True)]
    )


def mean_exactly(errors: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., float]:
    return lambda preds, target: math.fsum(errors(preds.double(), target.double()).tolist()) / preds.shape[0]


def relative(preds: Tensor, target: Tensor) -> Tensor:
    return (preds - target).abs() / target.abs().clamp(min=1.17e-06)


def symmetric(preds: Tensor, target: Tensor) -> Tensor:
    return 2 * (preds - target).abs() / (preds.abs() + target.abs()).clamp(min=1.17e-06)


def weighted(preds: Tensor, target: Tensor) -> float:
    return float((preds - target).abs().sum() / target.abs().sum())


def log_cosh(t: np.ndarray, p: np.ndarray) -> Any:
    return np.log(np.cosh(p - t)).mean(axis=0)


def minkowski(p: float) -> Callable[..., float]:
    return lambda preds, target: float((preds - target).abs().pow(p).sum() ** (1 / p))


def concordance(preds: np.ndarray, target: np.ndarray) -> float:
    cov = np.cov(preds, target)
    return float(2 * cov[0, 1] / (cov[0, 0] + cov[1, 1] + (preds.mean() - target.mean()) ** 2))


def relative_squared(t: np.ndarray, p: np.ndarray, squared: bool = True) -> float:
    value = ((t - p) ** 2).sum(axis=0) / ((t - t.mean(axis=0)) ** 2).sum(axis=0)
    return float(np.mean(value if squared else np.sqrt(value)))


def adjusted(t: np.ndarray, p: np.ndarray) -> float:
    return 1 - (1 - sk.r2_score(t, p)) * (len(t) - 1) / (len(t) - 5 - 1)


def cosines(preds: Tensor, target: Tensor) -> Tensor:
    return (preds * target).sum(1) / (preds.norm(dim=1) * target.norm(dim=1))


def divergences(p: Tensor, q: Tensor) -> Tensor:
    p, q = p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True)
    return torch.from_numpy(special.rel_entr(p.numpy(), q.numpy())).sum(1)


def kendall(**kwargs: Any) -> Callable[[np.ndarray, np.ndarray], Any]:
    def value(preds: np.ndarray, target: np.ndarray) -> Any:
        found = stats.kendalltau(preds, target, method="asymptotic", **kwargs)
        return found.statistic

    return value


def kendall_tested(preds: Tensor, target: Tensor) -> list[float]:
    found = stats.kendalltau(preds.numpy(), target.numpy(), method="asymptotic", alternative="greater")
    return [found.statistic, found.pvalue]


def kendall_a(preds: np.ndarray, target: np.ndarray) -> float:
    signs = np.sign(preds[:, None] - preds) * np.sign(target[:, None] - target)
    return float(signs.sum() / (len(preds) * (len(preds) - 1)))


def pearson(preds: np.ndarray, target: np.ndarray) -> float:
    return float(stats.pearsonr(preds, target).statistic)


def spearman(preds: np.ndarray, target: np.ndarray) -> float:
    return float(stats.spearmanr(preds, target).statistic)


def of(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda preds, target: function(preds.double().numpy(), target.double().numpy())


def _summed(name: str, truth: Callable[..., Any], draw: Any = numbers, **options: Any) -> list[Native]:
    """A sum of errors, and the same sum without rounding."""
    return [
        Native(name, draw, options, truth=truth, exact=False),
        Native(name, draw, {**options, "exact": True}, truth=truth, peer=False),
    ]


ROWS: list[Native] = [
    *_summed("MeanSquaredError", in_numpy(sk.mean_squared_error)),
    *_summed("MeanSquaredError", in_numpy(sk.root_mean_squared_error), squared=False),
    *_summed("MeanSquaredError", in_numpy(sk.mean_squared_error, multioutput="raw_values"), columns, num_outputs=3),
    *_summed("MeanAbsoluteError", in_numpy(sk.mean_absolute_error)),
    *_summed("MeanAbsoluteError", in_numpy(sk.mean_absolute_error, multioutput="raw_values"), columns, num_outputs=3),
    *_summed("MeanAbsolutePercentageError", mean_exactly(relative)),
    *_summed("SymmetricMeanAbsolutePercentageError", mean_exactly(symmetric)),
    *_summed("WeightedMeanAbsolutePercentageError", weighted),
    *_summed("MeanSquaredLogError", in_numpy(sk.mean_squared_log_error), positive),
    *_summed("LogCoshError", in_numpy(log_cosh)),
    *_summed("LogCoshError", in_numpy(log_cosh), columns, num_outputs=3),
    *_summed("MinkowskiDistance", minkowski(1), p=1),
    *_summed("MinkowskiDistance", minkowski(2.5), p=2.5),
    *(
        row
        for power in (-1.5, 0, 1, 1.5, 2, 3)
        for row in _summed(
            "TweedieDevianceScore", in_numpy(sk.mean_tweedie_deviance, power=power), positive, power=power
        )
    ),
    Native("R2Score", numbers, truth=in_numpy(sk.r2_score), exact=False),
    Native("R2Score", numbers, {"adjusted": 5}, truth=in_numpy(adjusted), exact=False),
    *(
        Native(name, columns, {"multioutput": how}, truth=in_numpy(truth, multioutput=how), exact=False, peer=False)
        for name, truth in (("R2Score", sk.r2_score), ("ExplainedVariance", sk.explained_variance_score))
        for how in ("raw_values", "uniform_average", "variance_weighted")
    ),
    Native("ExplainedVariance", numbers, truth=in_numpy(sk.explained_variance_score), exact=False),
    Native("RelativeSquaredError", numbers, truth=in_numpy(relative_squared), exact=False),
    Native(
        "RelativeSquaredError",
        columns,
        {"num_outputs": 3, "squared": False},
        truth=in_numpy(relative_squared, squared=False),
        exact=False,
        peer=False,
    ),
    Native("PearsonCorrCoef", numbers, truth=of(pearson), exact=False),
    Native("PearsonCorrCoef", columns, {"num_outputs": 3}, truth=each_column(pearson), exact=False, peer=False),
    Native("ConcordanceCorrCoef", numbers, truth=of(concordance), exact=False),
    Native("ConcordanceCorrCoef", columns, {"num_outputs": 3}, truth=each_column(concordance), exact=False, peer=False),
    Native("CosineSimilarity", rows, truth=lambda p, t: cosines(p, t).sum().item(), exact=False),
    Native("CosineSimilarity", rows, {"reduction": "mean"}, truth=lambda p, t: cosines(p, t).mean(), exact=False),
    Native("CosineSimilarity", rows, {"reduction": "none"}, truth=lambda p, t: cosines(p, t).numpy(), exact=False),
    Native("CosineSimilarity", rows, {"exact": True}, truth=lambda p, t: cosines(p, t).sum().item(), peer=False),
    Native("KLDivergence", distributions, truth=lambda p, q: divergences(p, q).mean().item(), exact=False),
    Native(
        "KLDivergence",
        distributions,
        {"reduction": "sum", "exact": True},
        truth=lambda p, q: divergences(p, q).sum().item(),
        peer=False,
    ),
    Native(
        "KLDivergence",
        log_distributions,
        {"log_prob": True, "reduction": "none"},
        truth=lambda p, q: (p.exp() * (p - q)).sum(1).numpy(),
        exact=False,
    ),
    Native("KendallRankCorrCoef", numbers, truth=of(kendall())),
    Native("KendallRankCorrCoef", tied, truth=of(kendall())),
    Native("KendallRankCorrCoef", tied, {"variant": "a"}, truth=of(kendall_a), peer=False),
    Native("KendallRankCorrCoef", tied, {"variant": "c"}, truth=of(kendall(variant="c"))),
    Native("KendallRankCorrCoef", tied, {"t_test": True, "alternative": "greater"}, truth=kendall_tested),
    Native("KendallRankCorrCoef", columns, {"num_outputs": 3}, truth=each_column(kendall())),
    Native("SpearmanCorrCoef", tied, truth=of(spearman)),
    Native(
        "SpearmanCorrCoef",
        numbers,
        {"shuffle_above": 4},
        truth=of(lambda p, t: stats.spearmanr(p, t).statistic),
        peer=False,
    ),
    Native("R2Score", far, {"multioutput": "raw_values"}, truth=in_numpy(sk.r2_score), exact=False, peer=False),
]
