"""What was found, how bad it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["LEVELS", "Finding", "Level", "note", "ok", "problem", "worst"]

Level = Literal["ok", "note", "problem"]

#: From harmless to harmful.
LEVELS: tuple[Level, ...] = ("ok", "note", "problem")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: `"ok"`; `"note"`, which is good to know and breaks nothing here; `"problem"`, which breaks something.
        area: What it belongs to: `"network"`.
        about: What was looked at: `"host name"`.
        text: What is the case, in full sentences.
        advice: What to do about it, in full sentences; may be empty where all is well.
        ranks: The ranks of the job that it holds for; empty for all of them, or where there is no job.
    """

    level: Level
    area: str
    about: str
    text: str
    advice: str = ""
    ranks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"`level` must be one of {LEVELS}, but is {self.level!r} instead.")
        if self.level != "ok" and not self.advice:
            raise ValueError(f"a {self.level} must say what to do, but that of {self.about!r} does not: {self.text}")


def ok(area: str, about: str, text: str, advice: str = "") -> Finding:
    """Say that something is as it should be."""
    return Finding("ok", area, about, text, advice)


def note(area: str, about: str, text: str, advice: str) -> Finding:
    """Say something that is good to know."""
    return Finding("note", area, about, text, advice)


def problem(area: str, about: str, text: str, advice: str) -> Finding:
    """Say that something is broken, and how to mend it."""
    return Finding("problem", area, about, text, advice)


def worst(findings: Iterable[Finding]) -> Level:
    """Give the worst level of all.

    Example:
        >>> worst([ok("cores", "cores", "There are 2."), note("limits", "files", "There may be 64.", "Allow more.")])
        'note'
    """
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")
