"""Where a thread of this process stands, in the words of the user's code: as data that can be sent as text.

Nothing is ever unpickled from another rank, and what it sends is bounded: a few lines, each cut to a length, read with
care. Whoever asks gets either a `Standing` or nothing.
"""

from __future__ import annotations

import json
import linecache
import os
import sys
import sysconfig
import threading
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType
from typing import Any

import torch

from syncmetrics.errors import StackLine, Standing

__all__ = [
    "decode_standing",
    "encode_standing",
    "line_of_user",
    "stack_of_thread",
    "standing_of_thread",
    "thread_to_show",
    "with_sources",
]

#: So many lines of a stack are told, the innermost ones.
MOST_LINES = 6
#: So many are looked at: a recursion may be deep.
_MOST_FRAMES = 1000
_FILE, _NAME, _SOURCE, _TEXT = 300, 100, 120, 300

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
_LIBRARIES = tuple(f"{os.sep}{folder}{os.sep}" for folder in ("site-packages", "dist-packages"))
_PYTHON = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})


def stack_of_thread(ident: int | None) -> list[StackLine]:
    """Give the lines at which a thread stands, the innermost first, without their sources.

    Args:
        ident: As `threading.Thread.ident`.

    Returns:
        None at all if there is no such thread.
    """
    frame: FrameType | None = sys._current_frames().get(ident or 0)
    lines: list[StackLine] = []
    while frame is not None and len(lines) < _MOST_FRAMES:
        code = frame.f_code
        lines.append(StackLine(code.co_filename, frame.f_lineno or 0, code.co_name))
        frame = frame.f_back
    return lines


def line_of_user(lines: Sequence[StackLine]) -> StackLine | None:
    """Give the innermost line of the user's own code: not of ours, of torch, of Python, or of another library.

    Where there is none, it is the innermost of another library, and where there is none either, the innermost.

    Example:
        >>> stack = [StackLine("<frozen runpy>", 88, "_run_code"), StackLine("train.py", 41, "main")]
        >>> print(line_of_user(stack))
        train.py:41 in `main`
    """
    return min(lines, key=lambda line: _strangeness(line.file), default=None)


def _strangeness(file: str) -> int:
    if file.startswith(("<frozen ", _OURS, _TORCH)):
        return 2
    if any(folder in file for folder in _LIBRARIES):
        return 1
    return 2 if file.startswith(_PYTHON) else 0


def thread_to_show(last: int) -> threading.Thread:
    """Give the thread that a rank is told by: the one that synced last, if it is one of the user's, else the main one.

    Args:
        last: Which thread synced last over the group; 0 if none has.
    """
    for thread in threading.enumerate():
        if last and thread.ident == last and not thread.name.startswith("syncmetrics "):
            return thread
    return threading.main_thread()


def encode_standing(standing: Standing) -> str:
    """Give it as one line of text."""
    lines = [[line.file, line.line, line.function, line.source] for line in standing.stack]
    place = standing.place
    told = None if place is None else [place.file, place.line, place.function, place.source]
    words = standing.thread, standing.within, standing.last_sync, standing.silence, standing.host
    return json.dumps([standing.rank, standing.pid, told, lines, *words])


def decode_standing(text: str) -> Standing | None:
    """Read it; None if it is something else. Whatever it is, little comes of it, and nothing that moves a cursor."""
    try:
        rank, pid, place, lines, *words = json.loads(text)
        if not isinstance(rank, int) or not isinstance(pid, int) or not isinstance(lines, list):
            return None
        stack = tuple(_line(line) for line in lines[-MOST_LINES:])
        thread, within, last_sync, silence, host = (_clean(word, _TEXT) for word in words)
        told = None if place is None else _line(place)
        return Standing(rank, told, stack, thread, within, last_sync, silence, pid, host)
    except (ValueError, TypeError, RecursionError):
        return None


def _line(given: Any) -> StackLine:
    file, line, function, source = given
    return StackLine(_clean(file, -_FILE), int(line), _clean(function, _NAME), _clean(source, _SOURCE))


def _clean(text: Any, most: int) -> str:
    """Cut a text to a length, from its end if that is negative, and leave out what a terminal would obey."""
    if not isinstance(text, str):
        raise TypeError(f"a text was expected, not {type(text).__name__}")
    cut = text[most:] if most < 0 else text[:most]
    return cut if cut.isprintable() else "".join(one if one.isprintable() else "?" for one in cut)


def standing_of_thread(rank: int, thread: threading.Thread, last_sync: str, within: str = "") -> Standing:
    """Say where a thread of this process stands, without the sources of the lines.

    Args:
        rank: The rank that is to be told by it.
        thread: The thread.
        last_sync: The last sync over the group that came to its end.
        within: The sync that the thread is in; nothing if it is in none.
    """
    lines = stack_of_thread(thread.ident)
    name = "" if thread is threading.main_thread() or thread.name == f"rank {rank}" else thread.name
    return Standing(rank, line_of_user(lines), tuple(reversed(lines[:MOST_LINES])), name, within, last_sync)


def with_sources(standing: Standing) -> Standing:
    """Give the same, with what stands in each line. It reads files, which may take long, or for ever."""
    place = None if standing.place is None else _with_source(standing.place)
    return replace(standing, place=place, stack=tuple(map(_with_source, standing.stack)))


def _with_source(line: StackLine) -> StackLine:
    try:
        return replace(line, source=_clean(linecache.getline(line.file, line.line).strip(), _SOURCE))
    except Exception:  # a loader of somebody else's, a file that is no text: it can be done without
        return line
