"""Which slots hold the rules of moderation policy lists."""

import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import SlotNid
from homeserver.storage.schema.rooms import event_types, state_slots

USER_RULE = "m.policy.rule.user"
SERVER_RULE = "m.policy.rule.server"


def rule_slots(conn: Connection) -> tuple[list[SlotNid], list[SlotNid]]:
    """Return all slots of rules about users, and all of rules about servers."""
    found: dict[str, list[SlotNid]] = {USER_RULE: [], SERVER_RULE: []}
    for kind, nid in conn.execute(_RULES):
        found[kind].append(SlotNid(nid))
    return found[USER_RULE], found[SERVER_RULE]


_RULES = (
    sa.select(event_types.c.type, state_slots.c.nid)
    .join(event_types, event_types.c.nid == state_slots.c.type)
    .where(event_types.c.type.in_([USER_RULE, SERVER_RULE]))
)
