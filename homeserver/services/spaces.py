"""The rooms of a space and of the spaces in it: https://spec.matrix.org/v1.19/client-server-api/#spaces.

A page is found by walking the tree anew from its root, which costs a few queries for each space on the way; so a token
holds only how far the page before it came, and nothing is kept in memory. Rooms that are not here are asked for at
other servers (`homeserver.services.remote_spaces`): a walk says of which it would have to know more, and is repeated
once those are known.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.events.content import Membership
from federation.core.ids import RoomID, ServerName, parse_room_id, parse_server_name
from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.model.accounts import Requester
from homeserver.model.events import Event
from homeserver.model.nids import RoomNid, SlotNid, UserNid
from homeserver.services.neighbours import Neighbours
from homeserver.services.remote_spaces import RemoteRoom, RemoteSpaces
from homeserver.services.room_views import SPACE, RoomView, RoomViews
from homeserver.storage import spaces
from homeserver.storage.database import Database

log = structlog.get_logger()

USUAL_PAGE = 50
LARGEST_PAGE = 100
DEEPEST = 50
MOST_ROOMS = 5_000
"""Rooms of one hierarchy; those after them are not told."""
MOST_ROUNDS = 10
"""How often a walk is repeated because more is known of rooms elsewhere."""
MOST_ASKED = 50
"""Rooms elsewhere that one request asks for; the next request asks for more."""
LONGEST_SECONDS = 15.0
"""How long a client waits for other servers."""

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
class _Place:
    """A room in the hierarchy, as it is told: its summary, and the children that it names, in order."""

    room_id: RoomID
    summary: Mapping[str, Any]
    children: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Spaces:
    """Walks through spaces."""

    db: Database
    views: RoomViews
    neighbours: Neighbours
    elsewhere: RemoteSpaces

    async def hierarchy(self, who: Requester, root: RoomID, wanted: Wanted, limit: int) -> Mapping[str, Any]:
        """Return a page of the rooms in a space, depth first, leaving out those that the user may not see.

        Raises `Forbidden` if the space cannot be found or is not for them.
        """
        size = min(limit, LARGEST_PAGE)
        left = MOST_ASKED
        page, unknown = await self._page(who, root, wanted, size)
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                for _ in range(MOST_ROUNDS):
                    asked = dict(list(unknown.items())[:left])
                    if not asked:
                        break
                    left -= len(asked)
                    await self.elsewhere.learn(asked)
                    page, unknown = await self._page(who, root, wanted, size)
        except TimeoutError:
            log.info("hierarchy_incomplete", room_id=root)
        if page is None:
            raise Forbidden("You are not allowed to view this room")
        return page

    async def _page(
        self, who: Requester, root: RoomID, wanted: Wanted, size: int
    ) -> tuple[Mapping[str, Any] | None, Mapping[RoomID, Sequence[ServerName]]]:
        """Return the page as far as the rooms are known, and the rooms that are not, with servers to ask.

        The page is None if the root is among those, or is not for the user to see.
        """

        def read(conn: Connection) -> tuple[Mapping[str, Any] | None, Mapping[RoomID, Sequence[ServerName]]]:
            walk = _Walk(conn, self.views, self.neighbours, self.elsewhere, who.user, wanted)
            shown: list[dict[str, Any]] = []
            place = -1
            for place, room in enumerate(walk.rooms(root)):
                if place >= MOST_ROOMS:
                    break
                if len(shown) == size:
                    return {"rooms": shown, "next_batch": wanted.after(size)}, walk.unknown
                if place >= wanted.skip:
                    shown.append({**room.summary, "children_state": room.children})
            return ({"rooms": shown} if place >= 0 else None), walk.unknown

        return await self.db.read(read)

    async def for_server(self, origin: ServerName, room_id: RoomID, *, suggested_only: bool) -> Mapping[str, Any]:
        """Return a room and those of its children that are here, as another server may see them.

        Raises `NotFound` if the room is not here, or not for that server.
        Source: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid
        """

        def read(conn: Connection) -> Mapping[str, Any]:
            walk = _Walk(conn, self.views, self.neighbours, None, None, Wanted(suggested_only, 1))
            slots = spaces.child_slots(conn)
            known = walk.here([room_id])
            may = self._open_to(conn, origin, known)
            if room_id not in may:
                raise NotFound("There is no such room here")
            events = walk.children_of(known[room_id], slots)
            below = walk.here([RoomID(child.state_key or "") for child in events])
            open_below = self._open_to(conn, origin, below)
            return {
                "room": {**known[room_id].summary(), "children_state": [_stripped(child) for child in events]},
                "children": [
                    {
                        **view.summary(),
                        "children_state": [_stripped(child) for child in walk.children_of(view, slots)],
                    }
                    for each, view in below.items()
                    if each in open_below
                ],
                "inaccessible_children": [each for each in below if each not in open_below],
            }

        return await self.db.read(read)

    def _open_to(self, conn: Connection, origin: ServerName, known: Mapping[RoomID, RoomView]) -> set[RoomID]:
        """Return those of the rooms that a server's users could read, join, or knock at."""
        found = set()
        for room_id, view in known.items():
            if view.is_open or origin in self.neighbours.of(conn, view.room.nid):
                found.add(room_id)
                continue
            allowed = self.views.names.room_nids(conn, view.restricted_to)
            if any(origin in self.neighbours.of(conn, room) for room in allowed.values()):
                found.add(room_id)
        return found


@dataclass(slots=True)
class _Walk:
    """One walk through a hierarchy, within one read."""

    conn: Connection
    views: RoomViews
    neighbours: Neighbours
    elsewhere: RemoteSpaces | None
    user: UserNid | None
    wanted: Wanted
    unknown: dict[RoomID, Sequence[ServerName]] = field(default_factory=dict)
    """Rooms of which other servers would have to be asked."""

    def rooms(self, root: RoomID) -> Iterator[_Place]:
        """Yield each room once, with its child events in order: first a space, then what is in it."""
        slots = spaces.child_slots(self.conn)
        waiting = [(place, 0) for place in self._accessible({root: ()}, slots, None)]
        seen: set[RoomID] = set()
        while waiting:
            place, depth = waiting.pop()
            if place.room_id in seen:
                continue
            seen.add(place.room_id)
            yield place
            if place.children and depth < self.wanted.max_depth:
                parent = self._remote(place.room_id)
                below = self._accessible(_named(place.children), slots, parent)
                waiting += [(each, depth + 1) for each in reversed(below)]

    def here(self, room_ids: Sequence[RoomID]) -> dict[RoomID, RoomView]:
        """Return those of the rooms in which this server takes part, in the order given."""
        found = self.views.names.room_nids(self.conn, room_ids)
        nids = [nid for room_id in room_ids if (nid := found.get(room_id)) is not None]
        views = self.views.load(self.conn, nids)
        return {
            views[nid].room.room_id: views[nid]
            for nid in nids
            if nid in views and self.neighbours.is_resident(self.conn, nid)
        }

    def children_of(self, view: RoomView, slots: Mapping[SlotNid, str]) -> list[Event]:
        """Return the events by which a space names its children, in order; none for a room that is no space."""
        if view.room_type != SPACE:
            return []
        assert view.room.snapshot is not None
        state = self.views.snapshots.state(self.conn, view.room.snapshot)
        # Whichever is shorter: the whole state, or the children of all spaces.
        if len(state) < len(slots):
            nids = [nid for slot, nid in state.items() if slot in slots]
        else:
            nids = [nid for slot in slots if (nid := state.get(slot)) is not None]
        events = self.views.events.by_nids(self.conn, nids).values()
        children = [event for event in events if _is_child(event.content)]
        if self.wanted.suggested_only:
            children = [event for event in children if event.content.get("suggested") is True]
        return sorted(children, key=lambda event: _place(event.content, event.sent_at, event.state_key or ""))

    def _accessible(
        self, wanted: Mapping[RoomID, Sequence[ServerName]], slots: Mapping[SlotNid, str], parent: RemoteRoom | None
    ) -> list[_Place]:
        """Return those of the rooms that are known and that the user may see, in the order given."""
        here = self.here(list(wanted))
        nids = {view.room.nid: view for view in here.values()}
        may = self.views.accessible(self.conn, self.user, nids, self.views.standings(self.conn, self.user, nids))
        found = []
        for room_id, via in wanted.items():
            view = here.get(room_id)
            if view is not None:
                if view.room.nid in may:
                    children = [_stripped(child) for child in self.children_of(view, slots)]
                    found.append(_Place(room_id, view.summary(), children))
                continue
            remote = self._remote(room_id)
            if remote is None and parent is not None:
                remote = parent.child(room_id)
            if remote is None:
                self.unknown[room_id] = via
            elif remote.summary and self._may_see(room_id, remote.summary):
                found.append(_Place(room_id, remote.summary, self._children_in(remote)))
        return found

    def _remote(self, room_id: RoomID) -> RemoteRoom | None:
        return self.elsewhere.known(room_id) if self.elsewhere is not None else None

    def _children_in(self, remote: RemoteRoom) -> list[Mapping[str, Any]]:
        children = [child for child in remote.children_state if _is_child(child["content"])]
        if self.wanted.suggested_only:
            children = [child for child in children if child["content"].get("suggested") is True]
        return sorted(children, key=lambda one: _place(one["content"], one["origin_server_ts"], one["state_key"]))

    def _may_see(self, room_id: RoomID, summary: Mapping[str, Any]) -> bool:
        """Return whether the user could read, join, or knock at a room that is not here."""
        if summary.get("world_readable") is True or summary.get("join_rule") in ("public", "knock", "knock_restricted"):
            return True
        allowed = summary.get("allowed_room_ids")
        conditions = [each for each in allowed if isinstance(each, str)] if isinstance(allowed, list) else []
        known = self.views.names.room_nids(self.conn, [room_id, *(RoomID(each) for each in conditions)])
        standings: Mapping[RoomNid, Membership] = self.views.standings(self.conn, self.user, known.values())
        own = standings.get(known[room_id]) if room_id in known else None
        if own in (Membership.JOIN, Membership.INVITE):
            return True
        return any(standings.get(nid) is Membership.JOIN for each, nid in known.items() if each != room_id)


def _named(children: Sequence[Mapping[str, Any]]) -> dict[RoomID, Sequence[ServerName]]:
    """Return the rooms that child events name, with the servers to ask for each."""
    found: dict[RoomID, Sequence[ServerName]] = {}
    for child in children:
        servers = []
        for text in child["content"]["via"]:
            try:
                servers.append(parse_server_name(text if isinstance(text, str) else ""))
            except InvalidIdentifier:
                continue
        try:
            found[parse_room_id(child["state_key"])] = servers
        except InvalidIdentifier:
            continue
    return found


def _is_child(content: Mapping[str, Any]) -> bool:
    via = content.get("via")
    return isinstance(via, list) and any(isinstance(server, str) for server in via)


def _place(content: Mapping[str, Any], sent_at: int, state_key: str) -> tuple[bool, str, int, str]:
    """Return what orders children: https://spec.matrix.org/v1.19/client-server-api/#ordering-of-children-within-a-space."""
    order = content.get("order")
    if not isinstance(order, str) or _order(order) is None:
        return True, "", sent_at, state_key
    return False, order, sent_at, state_key


def _stripped(event: Event) -> dict[str, Any]:
    return {
        "type": event.type,
        "state_key": event.state_key,
        "content": event.content,
        "sender": event.sender,
        "origin_server_ts": event.sent_at,
    }
