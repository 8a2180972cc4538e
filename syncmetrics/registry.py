"""Tables that the core reads, and in which rooms above enter themselves: so no room of the core names one of them.

Three questions are asked: who wants to know that a metric was made (a host, as torchmetrics' containers and Lightning
are), who knows an object that is no metric of ours, and who draws. And something is asked for: the metric that an
operator gives. The rooms that answer are imported when it comes to that.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

__all__ = [
    "compose",
    "enter_composer",
    "enter_host",
    "enter_recogniser",
    "enter_room_of_pictures",
    "enter_room_of_recognisers",
    "meet_hosts",
    "painter",
    "recognise",
]

#: Modules of other packages, and the room of ours whose `meet` introduces our metrics to one that is loaded.
_hosts: dict[str, str] = {}
_met: set[str] = set()

#: Rooms to import before an object is called unknown, and what they have entered.
_rooms: list[str] = []
_recognisers: list[Callable[[Any], Any]] = []

#: The room that draws.
_painters: list[str] = []
#: The room whose `compose` gives what an operator makes of metrics.
_composers: list[str] = []


def enter_host(module: str, room: str) -> None:
    """Have `room.meet(module)` called once a metric is made in a process that has loaded a module."""
    _hosts[module] = room


def meet_hosts() -> None:
    """Make our metrics known to the hosts that this process has loaded by now.

    A metric asks for this whenever it is made, copied, moved, or put into training or evaluation, so that nobody has to
    import things in some order. No host is ever imported for it.
    """
    for module, room in _hosts.items():
        if module in sys.modules and module not in _met and importlib.import_module(room).meet(sys.modules[module]):
            _met.add(module)


def enter_room_of_recognisers(room: str) -> None:
    """Have a room imported before an object is called unknown: it then enters what recognises some."""
    _rooms.append(room)


def enter_recogniser(recogniser: Callable[[Any], Any]) -> None:
    """Have a function asked about objects that are no metrics of ours: it gives None for those it does not know."""
    _recognisers.append(recogniser)


def recognise(thing: Any) -> Any:
    """Give what takes the part of a metric for an object that is none of ours; None if nobody knows it."""
    for room in _rooms:
        importlib.import_module(room)  # which waits for another thread that has begun to
    for recogniser in _recognisers:
        known = recogniser(thing)
        if known is not None:
            return known
    return None


def enter_room_of_pictures(room: str) -> None:
    """Have a room imported when a metric or a collection is drawn: it has `plot_metric` and `plot_collection`."""
    _painters.append(room)


def painter() -> Any:
    """Give the room that draws."""
    return importlib.import_module(_painters[-1])


def enter_composer(room: str) -> None:
    """Have `room.compose(operator, *operands)` give the metric that an operator makes of others."""
    _composers.append(room)


def compose(operator: Callable[..., Any], *operands: Any) -> Any:
    """Give the metric that an operator makes of metrics, numbers and tensors; NotImplemented for anything else.

    Args:
        operator: What is done with the values.
        *operands: What they are, one or two.
    """
    return importlib.import_module(_composers[-1]).compose(operator, *operands)
