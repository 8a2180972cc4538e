"""What a verification found: for each law whether it holds, and for what does not the mistake and an example."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Check", "Mistake", "Outcome", "Report"]

#: A note says something that may well be meant.
Outcome = Literal["holds", "broken", "note", "not checked"]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake, by its name.

    Attributes:
        name: Of the mistake: "a mean of means".
        says: What the metric does, with its names and numbers.
        instead: What to write in place of it.
        example: Code that shows it, to be pasted into a Python session.
    """

    name: str
    says: str
    instead: str
    example: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One law, and whether it holds.

    Attributes:
        law: In words.
        outcome: Whether it holds; "note" where it does not and that may be meant.
        mistakes: Why it does not.
    """

    law: str
    outcome: Outcome
    mistakes: tuple[Mistake, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` found.

    Attributes:
        metric: What was verified.
        checks: All laws, in the order in which they were looked at.
        inputs: What `update` was called with, in words.
        seconds: How long it took.
    """

    metric: str
    checks: tuple[Check, ...]
    inputs: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether no law is broken."""
        return not any(check.outcome == "broken" for check in self.checks)

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """All mistakes and notes."""
        return tuple(mistake for check in self.checks for mistake in check.mistakes)

    def as_dict(self) -> dict[str, Any]:
        """Give it as plain data, for JSON."""
        return {**asdict(self), "ok": self.ok}

    def __str__(self) -> str:
        lines = [f"{self.metric}: {'right' if self.ok else 'wrong'} ({self.inputs}; {self.seconds:.1f} s)"]
        for check in self.checks:
            lines.append(f"  {check.outcome:11} {check.law}")
            for mistake in check.mistakes:
                lines += [f"    {mistake.name}: {mistake.says}", f"    {mistake.instead}"]
                lines += [f"      {line}" for line in mistake.example.splitlines()]
        return "\n".join(lines)
