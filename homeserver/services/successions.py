"""What a user has set for a room goes with them into the room that replaces it.

Source: https://spec.matrix.org/v1.19/client-server-api/#room-upgrades
"""

from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from federation.core.auth.selection import CREATE
from federation.core.ids import RoomID
from homeserver.errors import MatrixError
from homeserver.model.nids import RoomNid, UserNid
from homeserver.model.push_rules import PushRule, RuleKind, StoredRules
from homeserver.services.account_data import TAGS
from homeserver.services.push import editing
from homeserver.services.push_rules import PushRules
from homeserver.services.timeline import Timeline, Turn
from homeserver.storage import account_data, memberships

TOMBSTONE = ("m.room.tombstone", "")
DIRECT = "m.direct"
_BY_ROOM = (RuleKind.OVERRIDE, RuleKind.ROOM)
"""Kinds of rules that clients make for one room, with its ID as theirs."""


@dataclass(frozen=True, slots=True)
class Successions:
    """Carries tags, push rules and the mark of a direct chat from a room to its successor."""

    timeline: Timeline
    push_rules: PushRules

    def follow(self, turn: Turn, user: UserNid) -> None:
        """Carry a user's settings over, if the room replaces one that they have been in and that says so itself."""
        tx = turn.tx
        old_id = self._predecessor(turn)
        old = self.timeline.names.room(tx.conn, old_id) if old_id is not None else None
        if old is None or old_id is None:
            return
        standing = memberships.of_user_in(tx.conn, old, user)
        if standing is None or standing.forgotten:
            return
        new_id = turn.room.room_id
        tombstone = self.timeline.entry(self.timeline.turn(tx, old), *TOMBSTONE)
        if tombstone is None or tombstone.content.get("replacement_room") != new_id:
            return
        self._carry_tags(turn, user, old)
        self._carry_direct(turn, user, old_id)
        self.push_rules.change(tx, user, lambda stored: _with_successor(stored, old_id, new_id))

    def _predecessor(self, turn: Turn) -> RoomID | None:
        create = self.timeline.entry(turn, *CREATE)
        predecessor = create.content.get("predecessor") if create is not None else None
        room_id = predecessor.get("room_id") if isinstance(predecessor, dict) else None
        return RoomID(room_id) if isinstance(room_id, str) else None

    def _carry_tags(self, turn: Turn, user: UserNid, old: RoomNid) -> None:
        tx, new = turn.tx, turn.room.nid
        tags = account_data.find_in_room(tx.conn, user, old, TAGS)
        if tags is None or account_data.find_in_room(tx.conn, user, new, TAGS) is not None:
            return
        position = account_data.store_in_room(tx, user, new, TAGS, tags)
        tx.after_commit(self.timeline.live.ring_users, position, [user])

    def _carry_direct(self, turn: Turn, user: UserNid, old_id: RoomID) -> None:
        tx, new_id = turn.tx, turn.room.room_id
        stored = account_data.find(tx.conn, user, DIRECT)
        chats: Any = orjson.loads(stored) if stored is not None else None
        if not isinstance(chats, dict):
            return
        changed = False
        for rooms in chats.values():
            if isinstance(rooms, list) and old_id in rooms and new_id not in rooms:
                rooms.append(new_id)
                changed = True
        if changed:
            position = account_data.store(tx, user, DIRECT, orjson.dumps(chats))
            tx.after_commit(self.timeline.live.ring_users, position, [user])


def _with_successor(stored: StoredRules, old: RoomID, new: RoomID) -> StoredRules:
    """Return push rules in which what was said of one room is said of another too."""
    for kind in _BY_ROOM:
        rules = {rule.rule_id: rule for rule in stored.of(kind)}
        if old in rules and new not in rules:
            try:
                stored = editing.put(stored, kind, _for_room(rules[old], old, new), after=old)
            except MatrixError:
                # There are too many rules already: the room notifies as any other.
                continue
    return stored


def _for_room(rule: PushRule, old: RoomID, new: RoomID) -> PushRule:
    conditions = tuple(
        {name: new if value == old else value for name, value in condition.items()} for condition in rule.conditions
    )
    return msgspec.structs.replace(rule, rule_id=new, conditions=conditions)
