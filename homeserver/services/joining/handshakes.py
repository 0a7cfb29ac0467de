"""The handshakes with a resident server by which a user comes into a room of others, leaves it, or knocks.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms and the sections after it

Nothing here is stored. What a server answers is checked as if it lied: form, hashes and signatures of each event, which
room and version they are of, and that they let the user in by the rules.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog

from federation.core.auth.receipt import Received, VerdictKind, judge
from federation.core.auth.selection import CREATE, Slot
from federation.core.errors import BadEvent
from federation.core.events.content import Membership
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName, UserID
from federation.core.room_versions import ROOM_VERSIONS, RoomVersion
from federation.matrix.client import FederationClient
from federation.matrix.errors import BadAnswer
from homeserver.services.fetching import Fetching, Found, objects, parse
from homeserver.services.joining.offers import OLDEST_VERSION, Offer, read_offer, sign
from homeserver.services.member_events import VOUCHER
from homeserver.services.timeline import Timeline

log = structlog.get_logger()

CHECKED_AT_ONCE = 4
"""Rooms that are checked at the same time."""
MOST_TOLD = 100
"""Events of a room that one who knocks is told of; ten are usual."""
_STRIPPED = ("content", "sender", "state_key", "type")


@dataclass(frozen=True, slots=True)
class JoinedRoom:
    """A room as a resident server says it was before a join, and the join itself; all of it signed, and consistent."""

    version: RoomVersion
    create: Received
    auth_chain: list[Received]
    state: list[Received]
    join: Received


@dataclass(frozen=True, slots=True)
class Handshakes:
    """Makes handshakes. Every method raises `FederationError`."""

    client: FederationClient
    fetching: Fetching
    timeline: Timeline
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CHECKED_AT_ONCE))

    async def join(
        self, server: ServerName, room_id: RoomID, user_id: UserID, content: Mapping[str, Any]
    ) -> JoinedRoom:
        """Join a room; return it."""
        offer, pdu = await self._offered_join(server, room_id, user_id, content)
        answer = await self.client.send_join(server, room_id, pdu.event_id, pdu.fields)
        join = await self._signed(offer, pdu, answer)
        state, chain = objects(answer, "state"), objects(answer, "auth_chain")
        if answer.get("members_omitted") is True:
            raise BadAnswer("the state lacks members, which was not asked for")
        version = offer.version

        def parse_both() -> tuple[list[Pdu], list[EventID]]:
            of_state = parse(room_id, version, state)
            everything = {pdu.event_id: pdu for pdu in (*parse(room_id, version, chain), *of_state)}
            return list(everything.values()), [pdu.event_id for pdu in of_state]

        async with self._places:
            pdus, state_ids = await asyncio.to_thread(parse_both)
            found = await self.fetching.verified(room_id, pdus)
            return await asyncio.to_thread(_checked, version, join, found, state_ids)

    async def join_again(
        self, server: ServerName, room_id: RoomID, user_id: UserID, content: Mapping[str, Any]
    ) -> Received:
        """Let a server sign the join of a user to a room that this server is in already; return the join."""
        offer, pdu = await self._offered_join(server, room_id, user_id, content)
        answer = await self.client.send_join(server, room_id, pdu.event_id, pdu.fields)
        return await self._signed(offer, pdu, answer)

    async def leave(self, server: ServerName, room_id: RoomID, user_id: UserID, content: Mapping[str, Any]) -> Pdu:
        """Leave a room, refuse an invite or take back a knock; return the event."""
        answer = await self.client.make_leave(server, room_id, user_id)
        offer = read_offer(answer, room_id, user_id, Membership.LEAVE)
        pdu = sign(self.timeline, offer, room_id, user_id, content)
        await self.client.send_leave(server, room_id, pdu.event_id, pdu.fields)
        return pdu

    async def knock(
        self, server: ServerName, room_id: RoomID, user_id: UserID, content: Mapping[str, Any]
    ) -> tuple[Pdu, bytes]:
        """Knock on a room; return the event, and what the user is told of the room: a JSON list of stripped state."""
        versions = [version.id for version in ROOM_VERSIONS.values() if version.knocking]
        answer = await self.client.make_knock(server, room_id, user_id, versions)
        offer = read_offer(answer, room_id, user_id, Membership.KNOCK)
        if not offer.version.knocking:
            raise BadAnswer("a room of a version that knows no knocks")
        pdu = sign(self.timeline, offer, room_id, user_id, content)
        answer = await self.client.send_knock(server, room_id, pdu.event_id, pdu.fields)
        # COMPAT: some servers still use the name of the proposal.
        told = answer.get("knock_room_state", answer.get("knock_state_events", []))
        return pdu, stripped(told if isinstance(told, list) else [])

    async def _offered_join(
        self, server: ServerName, room_id: RoomID, user_id: UserID, content: Mapping[str, Any]
    ) -> tuple[Offer, Pdu]:
        answer = await self.client.make_join(server, room_id, user_id, list(ROOM_VERSIONS))
        offer = read_offer(answer, room_id, user_id, Membership.JOIN)
        content = dict(content)
        # Who lets the user in is all that the other server may add.
        if offer.version.restricted_joins and isinstance(offer.content.get(VOUCHER), str):
            content[VOUCHER] = offer.content[VOUCHER]
        return offer, sign(self.timeline, offer, room_id, user_id, content)

    async def _signed(self, offer: Offer, pdu: Pdu, answer: Mapping[str, Any]) -> Received:
        """Return our join with what the resident server has signed."""
        theirs = answer.get("event")
        if isinstance(theirs, dict):
            try:
                same = Pdu.from_wire(theirs, offer.version)
            except BadEvent as error:
                raise BadAnswer(f"the join came back as no event: {error}") from error
            if same.event_id != pdu.event_id:
                raise BadAnswer("the join came back as another event")
            own = self.timeline.server_name
            others = {server: each for server, each in same.fields["signatures"].items() if server != own}
            signatures = {**others, own: pdu.fields["signatures"][own]}
            pdu = Pdu.trusted({**pdu.fields, "signatures": signatures}, pdu.version, pdu.event_id)
        (outcome,) = await self.fetching.keyring.verify_events([pdu])
        if not isinstance(outcome, Received):
            raise BadAnswer(f"the join is not signed: {outcome.reason}")
        if outcome.fault is not None:
            raise BadAnswer(f"the join is {outcome.fault}")
        return outcome


def _checked(version: RoomVersion, join: Received, found: Found, state_ids: Sequence[EventID]) -> JoinedRoom:
    """Return a room in whose state a join is allowed. Raises `BadAnswer`."""
    state: dict[Slot, Received] = {}
    for event_id in state_ids:
        received = found.get(event_id)
        if received is None:
            # It was not signed as it must be. That others took it once is no reason to.
            continue
        if not received.event.is_state:
            raise BadAnswer("the state holds what is no state event")
        if received.event.slot in state:
            raise BadAnswer(f"the state holds two events of type {received.event.type} with one state key")
        state[received.event.slot] = received
    create = state.get(CREATE)
    if create is None:
        raise BadAnswer("the state holds no create event")
    if create.event.content.get("room_version", OLDEST_VERSION) != version.id:
        raise BadAnswer("the create event is of another room version")
    if any(r.event.type == CREATE[0] and r.event.event_id != create.event.event_id for r in found.values()):
        raise BadAnswer("there are two create events")
    cited = [found[event_id].event for event_id in join.event.auth_events if event_id in found]
    if len(cited) != len(join.event.auth_events):
        raise BadAnswer("an event that authorises the join is missing")
    before = {slot: received.event for slot, received in state.items()}
    verdict = judge(join, auth_events=cited, create=create.event, before=before)
    if verdict.kind is not VerdictKind.ACCEPTED:
        raise BadAnswer(f"the join is not allowed {verdict.reason}")
    of_state = set(state_ids)
    chain = [received for event_id, received in found.items() if event_id not in of_state]
    log.info("room_checked", room_id=join.event.room_id, state=len(state), auth_chain=len(chain))
    return JoinedRoom(version, create, chain, list(state.values()), join)


def stripped(several: Sequence[object]) -> bytes:
    """Return events, whole or stripped, as a JSON list of stripped state; what has not that form is left out."""
    told = [
        {name: entry[name] for name in _STRIPPED}
        for entry in several[:MOST_TOLD]
        if isinstance(entry, dict)
        and isinstance(entry.get("content"), dict)
        and all(isinstance(entry.get(name), str) for name in _STRIPPED[1:])
    ]
    try:
        return orjson.dumps(told)
    except orjson.JSONEncodeError as error:
        raise BadAnswer("what is told of the room is nested too deep") from error
