"""Redactions: https://spec.matrix.org/v1.19/rooms/v11/#handling-redactions.

Since room version 3 any redaction is allowed into a room, and each server decides whether it has an effect, once it has
both it and what it redacts. Until then it is not shown.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.auth.selection import CREATE, POWER_LEVELS
from federation.core.events.content import PowerLevels, creators_of
from federation.core.events.pdu import Pdu
from federation.core.events.redaction import redact
from federation.core.ids import server_of
from homeserver.model.events import Event
from homeserver.services.current_state import MEMBER
from homeserver.services.recent import Recent
from homeserver.storage import chat_archive, memberships, relations
from homeserver.storage.database import Write
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.snapshots import EMPTY, Snapshot

REDACTION = "m.room.redaction"
REACTION = "m.reaction"
REPLACEMENT = "m.replace"


@dataclass(frozen=True, slots=True)
class Redactions:
    """Decides on redactions and carries them out."""

    names: Names
    events: Events
    recent: Recent

    def levels(self, conn: Connection, pdu: Pdu, before: Snapshot | None) -> PowerLevels:
        """Return the power levels of an event's room in the state before it."""
        state = before.state if before is not None else EMPTY
        slots = self.names.slots(conn, [CREATE, POWER_LEVELS])
        nids = {pair: nid for pair, slot in slots.items() if (nid := state.get(slot)) is not None}
        found = self.events.by_nids(conn, nids.values())
        levels = found[nids[POWER_LEVELS]].content if POWER_LEVELS in nids else None
        creators = creators_of(found[nids[CREATE]].pdu) if CREATE in nids else frozenset()
        return PowerLevels.of(levels, pdu.version, creators)

    def counts(self, conn: Connection, redaction: Pdu, before: Snapshot | None, target: Event) -> bool:
        """Return whether a redaction has an effect on its target."""
        if target.room_id != redaction.room_id:
            return False
        # Until v2 the authorisation rules have decided.
        if redaction.version.redactions_need_level or server_of(redaction.sender) == server_of(target.sender):
            return True
        levels = self.levels(conn, redaction, before)
        return levels.user_level(redaction.sender) >= levels.redact

    def apply(self, tx: Write, target: Event, by: Event) -> Event:
        """Redact an event, unless it is already; return it as it is now."""
        if target.redacted_by is not None:
            return target
        redacted = self.events.replace_redacted(tx, target, redact(target.pdu.fields, target.version), by.nid)
        relation = relations.relation_of(target.content)
        if relation is not None and (target.type == REACTION or relation[0] == REPLACEMENT):
            chat_archive.remember_removed(tx, by.nid, relation[1])
        relations.remove(tx, target)
        if target.type == MEMBER:
            memberships.forget_names(tx, target.nid)
        tx.after_commit(self.recent.replace, redacted)
        return redacted
