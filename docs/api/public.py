"""Lists the public names of rooms on the pages of the API, so that a new one is there without anybody adding it.

A line `::: public sync transport` becomes one for each name that `syncmetrics` has from these rooms.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import syncmetrics

_ROOT = Path(syncmetrics.__file__).parent


def _named(room: str, name: str) -> str:
    """Give the line for one name; a module that has this name too stands before it, and is not meant."""
    there = (_ROOT / room / f"{name}.py").exists()
    return f"::: syncmetrics.{room}.{name}" + (f".{name}" if there else "")


def _listed(match: re.Match[str]) -> str:
    rooms = match[1].split()
    return "\n\n".join(_named(room, name) for room in rooms for name in syncmetrics._ROOMS[room])


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Write the names out, before mkdocstrings reads the page."""
    return re.sub(r"^::: public (.+)$", _listed, markdown, flags=re.MULTILINE)
