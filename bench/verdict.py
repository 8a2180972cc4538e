"""From samples to medians, ratios and judgements. Pure functions: plain data in, plain data out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.cases import Case, Target
from bench.duel import Found
from bench.units import amount, factor

__all__ = ["Result", "judged", "outcome", "reason", "slowest", "spread"]

#: A case with everything found about it, as it goes into the JSON file.
Result = dict[str, Any]


def spread(samples: Sequence[float]) -> dict[str, float] | None:
    """Give median and quartiles; None without samples."""
    if not samples:
        return None
    if len(samples) == 1:
        return {"median": samples[0], "q1": samples[0], "q3": samples[0]}
    q1, median, q3 = statistics.quantiles(samples, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3}


def slowest(by_rank: Sequence[Sequence[float]]) -> list[float]:
    """Give, round by round, the sample of the rank that needed most: nobody is done before it is."""
    return [max(samples) for samples in zip(*by_rank, strict=False)]


def reason(by_rank: Sequence[Found]) -> str | None:
    """Say why a contender failed, if it did."""
    reasons = [found.failed for found in by_rank if found.failed is not None]
    # A rank that only saw another one fail does not know why.
    return next((why for why in reasons if why != "failed on another rank"), reasons[0] if reasons else None)


def _merged(role: str, by_rank: Sequence[Found]) -> dict[str, Any]:
    """Make one contender of what each rank found about it."""
    failed = reason(by_rank)
    samples = [] if failed else slowest([found.samples for found in by_rank])
    if not samples and failed is None:
        failed = "no samples"
    return {
        "role": role,
        "rounds": len(samples),
        "spread": spread(samples),
        "samples": samples,
        "calls": by_rank[0].calls,
        "sent": sum(found.sent for found in by_rank),
        "shown": by_rank[0].shown,
        "failed": failed,
    }


def _first(contenders: Mapping[str, Any], role: str) -> str | None:
    return next((name for name, found in contenders.items() if found["role"] == role and not found["failed"]), None)


def _best(contenders: Mapping[str, Any], role: str) -> str | None:
    fit = [name for name, found in contenders.items() if found["role"] == role and not found["failed"]]
    return min(fit, key=lambda name: contenders[name]["spread"]["median"], default=None)


def _pairs(contenders: Mapping[str, Any], one: str, other: str) -> list[tuple[float, float]]:
    return list(zip(contenders[one]["samples"], contenders[other]["samples"], strict=False))


def _ratios(contenders: Mapping[str, Any]) -> dict[str, Any]:
    """Compare, in each round, what ran in that round: drift hits both sides of a ratio."""
    ours = _first(contenders, "ours")
    found: dict[str, Any] = {}
    if ours is None:
        return found
    for role, against in (
        ("peer", _first(contenders, "peer")),
        ("raw", _best(contenders, "raw")),
        ("other", _first(contenders, "other")),
    ):
        if against is not None:
            pairs = [(a, b) for a, b in _pairs(contenders, ours, against) if a > 0 and b > 0]
            ratios = spread([b / a if role == "peer" else a / b for a, b in pairs])
            if ratios is not None:
                found[role] = {"name": against, **ratios}
    return found


def _reading(target: Target, contenders: Mapping[str, Any], ratios: Mapping[str, Any]) -> float | None:
    """Give the number that a target is about."""
    ours = _first(contenders, "ours")
    if ours is None:
        return None
    if target.kind == "value":
        return float(contenders[ours]["spread"]["median"])
    if target.kind == "over raw":
        raw = _best(contenders, "raw")
        return None if raw is None else statistics.median(a - b for a, b in _pairs(contenders, ours, raw))
    if target.kind == "same":
        other = _first(contenders, "other")
        return None if other is None else float(contenders[ours]["shown"] == contenders[other]["shown"])
    ratio = ratios.get(target.kind)
    return None if ratio is None else float(ratio["median"])


def judged(target: Target, reading: float | None, unit: str) -> dict[str, Any]:
    """Say what was wanted, what was read, and whether that is enough; without a reading it is not."""
    texts = {
        "peer": f"≥ {target.limit:g}x faster than the peer",
        "raw": f"≤ {target.limit:g}x raw",
        "value": f"≤ {amount(target.limit, unit)}",
        "over raw": f"≤ {amount(target.limit, unit)} over raw",
        "other": f"≤ {target.limit:g}x the other",
        "same": "the same value",
    }
    enough = target.kind in ("peer", "same")
    reached = reading is not None and (reading >= target.limit if enough else reading <= target.limit)
    as_amount = target.kind in ("value", "over raw")
    shown = amount(reading, unit) if as_amount else factor(reading)
    if target.kind == "same" and reading is not None:
        shown = "the same" if reached else "another"
    return {"text": texts[target.kind], "limit": target.limit, "reading": reading, "shown": shown, "reached": reached}


def outcome(case: Case, title: str, found: Mapping[str, Sequence[Found]] | None, skipped: str | None = None) -> Result:
    """Give everything about a case.

    Args:
        case: What was measured.
        title: That of its row.
        found: By contender, what each rank found; None for a case that was skipped.
        skipped: Why.
    """
    contenders = {name: _merged(case.contenders[name], by_rank) for name, by_rank in (found or {}).items()}
    ratios = _ratios(contenders)
    targets = [judged(target, _reading(target, contenders, ratios), case.unit) for target in case.targets]
    return {
        "row": case.row,
        "title": title,
        "world": case.world,
        "label": case.label,
        "unit": case.unit,
        "headline": case.headline,
        "params": dict(case.params),
        "skipped": skipped,
        "contenders": contenders,
        "ratios": ratios,
        "targets": [] if skipped else targets,
    }
