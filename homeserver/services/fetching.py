"""Events from other servers: asked for, read, and their signatures checked, before anybody looks at what they say.

An event that is not what it should be is left out; it never spoils the others that came with it. Everything is bounded:
bytes and time by the carrier, numbers here.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from federation.core.auth.receipt import Received
from federation.core.errors import BadEvent, InvalidIdentifier
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName, parse_event_id
from federation.core.room_versions import RoomVersion
from federation.matrix.client import FederationClient
from federation.matrix.errors import BadAnswer, FederationError
from federation.matrix.keyring import Keyring
from federation.matrix.transactions import read_pdu

log = structlog.get_logger()

Found = dict[EventID, Received]

FEW = 50
"""Events that are read on the event loop; more are read in a thread."""
AT_ONCE = 6
"""Single events that one server is asked for at the same time."""
MOST_IN_A_STATE = 200_000
"""Events of a room's state, and of an auth chain, that are looked at."""


@dataclass(frozen=True, slots=True)
class Fetching:
    """Gets events of a room from a server that has them. Every method raises `FederationError`."""

    client: FederationClient
    keyring: Keyring

    async def read(self, room_id: RoomID, version: RoomVersion, several: Iterable[object]) -> Found:
        """Return those events of a room that are valid and signed, each once, in the order given."""
        wanted = list(several)
        if len(wanted) > FEW:
            pdus = await asyncio.to_thread(parse, room_id, version, wanted)
        else:
            pdus = parse(room_id, version, wanted)
        return await self.verified(room_id, pdus)

    async def verified(self, room_id: RoomID, pdus: Sequence[Pdu]) -> Found:
        """Return those of the events that are signed, each once, in the order given."""
        found: Found = {}
        for pdu, outcome in zip(pdus, await self.keyring.verify_events(pdus), strict=True):
            if isinstance(outcome, Received):
                found[pdu.event_id] = outcome
            else:
                log.info("event_not_taken", room_id=room_id, event_id=pdu.event_id, reason=outcome.reason)
        return found

    async def events(
        self, server: ServerName, room_id: RoomID, version: RoomVersion, wanted: Iterable[EventID]
    ) -> Found:
        """Return those of some events that a server has, asking for each; a few that fail are left out.

        Raises `FederationError` only if the server gave none for that reason.
        """
        slots = asyncio.Semaphore(AT_ONCE)

        async def ask(event_id: EventID) -> object:
            async with slots:
                answer = await self.client.event(server, event_id)
            pdus = answer.get("pdus")
            return pdus[0] if isinstance(pdus, list) and pdus else None

        ids = list(dict.fromkeys(wanted))
        answers = await asyncio.gather(*map(ask, ids), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, FederationError):
                raise answer
        good = [answer for answer in answers if not isinstance(answer, BaseException)]
        failures = [answer for answer in answers if isinstance(answer, FederationError)]
        if failures and not good:
            raise failures[0]
        found = await self.read(room_id, version, good)
        # A server may only give what it was asked for.
        asked = set(ids)
        return {event_id: received for event_id, received in found.items() if event_id in asked}

    async def auth_chain(
        self, server: ServerName, room_id: RoomID, version: RoomVersion, event_id: EventID, wanted: set[EventID]
    ) -> list[Pdu]:
        """Return those events of the auth chain of an event that are wanted, and what these stand on, not verified."""
        answer = await self.client.event_auth(server, room_id, event_id)
        several = objects(answer, "auth_chain")
        return await asyncio.to_thread(_chain, room_id, version, several, wanted)

    async def missing(
        self, server: ServerName, room_id: RoomID, version: RoomVersion, earliest: Sequence[EventID],
        latest: Sequence[EventID], limit: int, min_depth: int,
    ) -> Found:  # fmt: skip
        """Return events between the earliest, which we have, and the latest, whose predecessors we lack."""
        answer = await self.client.missing_events(server, room_id, list(earliest), list(latest), limit, min_depth)
        found = await self.read(room_id, version, objects(answer, "events")[:limit])
        return {event_id: received for event_id, received in found.items() if received.event.depth >= min_depth}

    async def state_ids(
        self, server: ServerName, room_id: RoomID, event_id: EventID
    ) -> tuple[list[EventID], list[EventID]]:
        """Return which events are the state before an event, and which their auth chain, as a server has it."""
        answer = await self.client.state_ids(server, room_id, event_id)
        return _ids(answer, "pdu_ids"), _ids(answer, "auth_chain_ids")

    async def state(
        self, server: ServerName, room_id: RoomID, version: RoomVersion, event_id: EventID, lacking: set[EventID]
    ) -> Found:
        """Return those of the events of the state before an event, and of their auth chain, that are lacking."""
        answer = await self.client.state(server, room_id, event_id)
        several = [*objects(answer, "pdus"), *objects(answer, "auth_chain")]
        pdus = await asyncio.to_thread(parse, room_id, version, several)
        # Signatures are what costs: those of events that we have were checked.
        return await self.verified(room_id, [pdu for pdu in pdus if pdu.event_id in lacking])


def objects(answer: Mapping[str, Any], name: str, most: int = MOST_IN_A_STATE) -> list[Any]:
    """Return a list in an answer. Raises `BadAnswer` if it is none, or too long."""
    value = answer.get(name)
    if not isinstance(value, list) or len(value) > most:
        raise BadAnswer(f"{name} is not a list of at most {most}")
    return value


def _ids(answer: Mapping[str, Any], name: str) -> list[EventID]:
    try:
        return [parse_event_id(value if isinstance(value, str) else "") for value in objects(answer, name)]
    except InvalidIdentifier as error:
        raise BadAnswer(f"{name} holds what is no event ID") from error


def parse(room_id: RoomID, version: RoomVersion, several: Sequence[object]) -> list[Pdu]:
    """Return those that are events of a room, each once, in the order given."""
    found: dict[EventID, Pdu] = {}
    for fields in several:
        try:
            pdu = read_pdu(fields, version, room_id)
        except BadEvent as error:
            log.info("event_not_taken", room_id=room_id, reason=str(error))
            continue
        found.setdefault(pdu.event_id, pdu)
    return list(found.values())


def _chain(room_id: RoomID, version: RoomVersion, several: Sequence[object], wanted: set[EventID]) -> list[Pdu]:
    """Return the events that are wanted, and those that authorise them, and so on."""
    pdus = {pdu.event_id: pdu for pdu in parse(room_id, version, several)}
    found: dict[EventID, Pdu] = {}
    waiting = list(wanted)
    while waiting:
        event_id = waiting.pop()
        if event_id in pdus and event_id not in found:
            found[event_id] = pdus[event_id]
            waiting += pdus[event_id].auth_events
    return list(found.values())
