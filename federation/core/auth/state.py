"""The part of a room's state that the authorisation rules look at."""

from collections.abc import Mapping

from federation.core.auth.selection import JOIN_RULES, POWER_LEVELS, Slot
from federation.core.events.content import (
    JoinRule,
    Membership,
    PowerLevels,
    creators_of,
    join_rule_of,
    membership_of,
)
from federation.core.events.pdu import Pdu


class AuthState:
    """Answers what the rules ask. Making one is cheap: a field of an event is read when it is asked for."""

    __slots__ = ("_state", "create", "levels", "power_levels", "version")

    def __init__(self, state: Mapping[Slot, Pdu], create: Pdu) -> None:
        """Take the events that authorise an event, by type and state key, and the room's create event."""
        self._state = state
        self.create = create
        self.version = create.version
        self.power_levels = state.get(POWER_LEVELS)
        """The `m.room.power_levels` event, None in a room that has none yet."""
        self.levels = PowerLevels.of(
            None if self.power_levels is None else self.power_levels.content,
            self.version,
            creators_of(create),
        )

    def membership(self, user_id: str) -> Membership:
        """Return the membership of a user; one whom the room has never heard of has left it."""
        event = self._state.get(("m.room.member", user_id))
        return Membership.LEAVE if event is None else membership_of(event)

    def join_rule(self) -> JoinRule:
        """Return the join rule: `invite` where the room has none."""
        event = self._state.get(JOIN_RULES)
        return join_rule_of(None if event is None else event.content)

    def third_party_invite(self, token: str) -> Pdu | None:
        """Return the `m.room.third_party_invite` event with a token."""
        return self._state.get(("m.room.third_party_invite", token))
