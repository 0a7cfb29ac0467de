"""The rooms of a space and of the spaces in it: https://spec.matrix.org/v1.19/client-server-api/#spaces.

A page is found by walking the tree anew from its root, which costs a few queries for each space on the way; so a token
holds only how far the page before it came, and nothing is kept in memory.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from federation.core.ids import RoomID
from homeserver.errors import Forbidden, InvalidParam
from homeserver.model.accounts import Requester
from homeserver.model.events import Event
from homeserver.model.nids import RoomNid, SlotNid, UserNid
from homeserver.services.room_views import SPACE, RoomView, RoomViews
from homeserver.storage import spaces
from homeserver.storage.database import Database

USUAL_PAGE = 50
LARGEST_PAGE = 100
DEEPEST = 50
MOST_ROOMS = 5_000
"""Rooms of one hierarchy; those after them are not told."""

_token = re.compile(r"h(\d{1,6})_(\d{1,4})_([01])").fullmatch
_order = re.compile(r"[\x20-\x7E]{1,50}").fullmatch


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part of a hierarchy is asked for."""

    suggested_only: bool
    max_depth: int
    skip: int = 0

    @classmethod
    def of(cls, suggested_only: bool | None, max_depth: int | None, token: str | None) -> "Wanted":
        """Return what parameters and a token say. Raises `InvalidParam` if they disagree."""
        if token is None:
            return cls(bool(suggested_only), min(DEEPEST if max_depth is None else max_depth, DEEPEST))
        match = _token(token)
        if match is None:
            raise InvalidParam("from: not a token of a hierarchy")
        wanted = cls(match[3] == "1", int(match[2]), int(match[1]))
        if suggested_only not in (None, wanted.suggested_only):
            raise InvalidParam("suggested_only: cannot change from page to page")
        if max_depth is not None and min(max_depth, DEEPEST) != wanted.max_depth:
            raise InvalidParam("max_depth: cannot change from page to page")
        return wanted

    def after(self, count: int) -> str:
        """Return the token for what comes after `count` more rooms."""
        return f"h{self.skip + count}_{self.max_depth}_{int(self.suggested_only)}"


@dataclass(frozen=True, slots=True)
class Spaces:
    """Walks through spaces."""

    db: Database
    views: RoomViews

    async def hierarchy(self, who: Requester, root: RoomID, wanted: Wanted, limit: int) -> Mapping[str, Any]:
        """Return a page of the rooms in a space, depth first, leaving out those that the user may not see.

        Raises `Forbidden` if the space is not here or not for them.
        """
        size = min(limit, LARGEST_PAGE)

        def read(conn: Connection) -> Mapping[str, Any]:
            walk = _Walk(conn, self.views, who.user, wanted)
            shown: list[dict[str, Any]] = []
            for place, (view, children) in enumerate(walk.rooms(root)):
                if place >= MOST_ROOMS:
                    break
                if len(shown) == size:
                    return {"rooms": shown, "next_batch": wanted.after(size)}
                if place >= wanted.skip:
                    shown.append({**view.summary(), "children_state": [_stripped(child) for child in children]})
            return {"rooms": shown}

        return await self.db.read(read)


@dataclass(slots=True)
class _Walk:
    """One walk through a hierarchy, within one read."""

    conn: Connection
    views: RoomViews
    user: UserNid
    wanted: Wanted

    def rooms(self, root: RoomID) -> Iterator[tuple[RoomView, list[Event]]]:
        """Yield each room once, with its child events in order: first a space, then what is in it."""
        slots = spaces.child_slots(self.conn)
        first = self._accessible([root])
        if not first:
            raise Forbidden("You are not allowed to view this room")
        waiting = [(view, 0) for view in first.values()]
        seen: set[RoomNid] = set()
        while waiting:
            view, depth = waiting.pop()
            if view.room.nid in seen:
                continue
            seen.add(view.room.nid)
            children = self._children(view, slots) if view.room_type == SPACE else []
            yield view, children
            if children and depth < self.wanted.max_depth:
                below = self._accessible([RoomID(child.state_key or "") for child in children])
                waiting += [(each, depth + 1) for each in reversed(below.values())]

    def _accessible(self, room_ids: list[RoomID]) -> dict[RoomNid, RoomView]:
        """Return those of the rooms that are here and that the user may see, in the order given."""
        conn = self.conn
        found = self.views.names.room_nids(conn, room_ids)
        nids = [found[room_id] for room_id in room_ids if room_id in found]
        views = self.views.load(conn, nids)
        may = self.views.accessible(conn, self.user, views, self.views.standings(conn, self.user, nids))
        return {nid: views[nid] for nid in nids if nid in may}

    def _children(self, view: RoomView, slots: Mapping[SlotNid, str]) -> list[Event]:
        assert view.room.snapshot is not None
        state = self.views.snapshots.state(self.conn, view.room.snapshot)
        # Whichever is shorter: the whole state, or the children of all spaces.
        if len(state) < len(slots):
            nids = [nid for slot, nid in state.items() if slot in slots]
        else:
            nids = [nid for slot in slots if (nid := state.get(slot)) is not None]
        events = self.views.events.by_nids(self.conn, nids).values()
        children = [event for event in events if _is_child(event)]
        if self.wanted.suggested_only:
            children = [event for event in children if event.content.get("suggested") is True]
        return sorted(children, key=_place)


def _is_child(event: Event) -> bool:
    via = event.content.get("via")
    return isinstance(via, list) and any(isinstance(server, str) for server in via)


def _place(event: Event) -> tuple[bool, str, int, str]:
    """Return what orders children: https://spec.matrix.org/v1.19/client-server-api/#ordering-of-children-within-a-space."""
    order = event.content.get("order")
    if not isinstance(order, str) or _order(order) is None:
        return True, "", event.sent_at, event.state_key or ""
    return False, order, event.sent_at, event.state_key or ""


def _stripped(event: Event) -> dict[str, Any]:
    return {
        "type": event.type,
        "state_key": event.state_key,
        "content": event.content,
        "sender": event.sender,
        "origin_server_ts": event.sent_at,
    }
