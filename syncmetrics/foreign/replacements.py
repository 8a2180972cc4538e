"""Attributes of another library's classes that are replaced for a while."""

from __future__ import annotations

from typing import Any

__all__ = ["Replacements"]


class Replacements:
    """What was replaced, and what stood there."""

    def __init__(self) -> None:
        self._before: list[tuple[type, str, Any]] = []

    def __bool__(self) -> bool:
        """Whether anything is replaced."""
        return bool(self._before)

    def __contains__(self, owner: type) -> bool:
        """Whether anything of this class is replaced."""
        return any(cls is owner for cls, _, _ in self._before)

    def replace(self, owner: type, name: str, new: Any) -> None:
        """Replace an attribute that the class itself has."""
        self._before.append((owner, name, vars(owner)[name]))
        setattr(owner, name, new)

    def original(self, cls: type, name: str) -> Any:
        """Give what a class or its base had before."""
        return next(before for owner, of, before in self._before if of == name and issubclass(cls, owner))

    def undo(self) -> None:
        """Put everything back."""
        while self._before:
            owner, name, before = self._before.pop()
            setattr(owner, name, before)
