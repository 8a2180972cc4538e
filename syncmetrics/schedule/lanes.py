"""Which way the per-step syncs of a group go: inside of `join`, over a lane of their own."""

from __future__ import annotations

import weakref
from dataclasses import replace

from syncmetrics.sync.route import Route
from syncmetrics.transport.base import Transport

__all__ = ["close_lane", "open_lane", "step_lane"]

_lanes: weakref.WeakKeyDictionary[Transport, Transport] = weakref.WeakKeyDictionary()


def open_lane(transport: Transport, lane: Transport) -> None:
    """Have the per-step syncs of a group go over a lane."""
    _lanes[transport] = lane


def close_lane(transport: Transport) -> None:
    """Have them go over the group itself again."""
    _lanes.pop(transport, None)


def step_lane(route: Route) -> Route:
    """Give the route of a per-step sync."""
    lane = _lanes.get(route.transport) if _lanes else None
    return route if lane is None else replace(route, transport=lane)
