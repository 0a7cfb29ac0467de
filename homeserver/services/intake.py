"""Taking in what other servers have sent: the checks on receipt, and the event's place in its room.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu, checks 4 to 7; those before them
have been made. Everything here runs inside a write or a read and asks nobody: what an event lacks is named by `Gap`, or
by `Unsigned`, to be fetched by whoever knows other servers.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy import Connection

from federation.core.auth.receipt import ACCEPTED, Received, Verdict, VerdictKind, judge
from federation.core.auth.rules import create_id_of
from federation.core.auth.selection import CREATE, Slot, auth_slots
from federation.core.errors import EventTooLarge, Rejected
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName, UserID
from federation.core.policy import PolicyServer, is_exempt, is_recommended
from federation.core.room_versions import RoomVersion
from homeserver.errors import MatrixError
from homeserver.model.events import Event, Status
from homeserver.model.nids import EventNid, RoomNid, SnapshotNid
from homeserver.services.policy.own import recommended_here
from homeserver.services.policy.recommendations import answers_of, policy_of
from homeserver.services.redactions import REDACTION
from homeserver.services.timeline import Timeline, Turn, standing_in
from homeserver.storage import awaited_events, memberships, relations, rooms
from homeserver.storage.database import Write
from homeserver.storage.events import Events, Standing
from homeserver.storage.snapshots import Snapshot

_LARGEST = 2**63 - 1
_VERDICTS = {
    Status.ACCEPTED: ACCEPTED,
    Status.OUTLIER: ACCEPTED,
    Status.SOFT_FAILED: Verdict(VerdictKind.SOFT_FAILED, "it was when it came first"),
    Status.REJECTED: Verdict(VerdictKind.REJECTED, "it was when it came first"),
    Status.UNJUDGED: Verdict(VerdictKind.DROPPED, "nobody knows whether it is allowed"),
}
_APART = (Status.OUTLIER, Status.UNJUDGED)
_NO_STATE = (Status.REJECTED, Status.UNJUDGED)


class Gap(Exception):
    """An event cannot be judged yet. Nothing has been stored."""

    def __init__(self, missing: Collection[EventID]) -> None:
        """Take the events that are not here: auth events, and previous events before which the state is not known."""
        super().__init__(f"{len(missing)} events are missing")
        self.missing = frozenset(missing)


@dataclass(frozen=True, slots=True)
class Intake:
    """Puts events of other servers into rooms."""

    timeline: Timeline

    @property
    def _events(self) -> Events:
        return self.timeline.events

    def unknown(self, conn: Connection, event_ids: Iterable[EventID]) -> set[EventID]:
        """Return those of the events that are not stored, in whatever standing."""
        wanted = set(event_ids)
        return wanted - self._events.known_ids(conn, wanted)

    def unplaced(self, conn: Connection, event_ids: Iterable[EventID]) -> set[EventID]:
        """Return those of the events that have not been taken in yet: not stored, or only apart from history."""
        wanted = set(event_ids)
        stored = self._events.by_ids(conn, wanted)
        return {each for each in wanted if each not in stored or stored[each].status in _APART}

    def stateless(self, conn: Connection, room: RoomNid, event_ids: Iterable[EventID]) -> set[EventID]:
        """Return those of the events of a room that `take` needs to have before what builds upon them: the state after
        them is not known."""
        wanted = set(event_ids)
        stored = self._events.by_ids(conn, wanted)
        unknown = {each for each in wanted if each not in stored or stored[each].snapshot is None}
        return unknown - awaited_events.states_after(conn, room, unknown).keys() if unknown else unknown

    def prepare(self, conn: Connection, room: RoomNid, prev_event_ids: Iterable[EventID]) -> None:
        """Work out beforehand the state that an event with these previous events meets, and how it changes the room's.

        To be called before the write, in a read: what takes long is done, and remembered, while others write.
        """
        events = self._events.by_ids(conn, prev_event_ids)
        before = {event.snapshot for event in events.values() if event.snapshot is not None}
        head = rooms.load(conn, room)
        self.timeline.resolution.prepare(conn, head.version, before)
        if len(before) == 1:
            others = self._events.by_nids(conn, head.extremities).values()
            beside = {event.snapshot for event in others if event.snapshot and event.event_id not in events}
            self.timeline.resolution.prepare(conn, head.version, before | beside)

    # Events of which only their auth events are known

    def outliers(self, tx: Write, room: RoomNid, received: Sequence[Received]) -> dict[EventID, Verdict]:
        """Store events without a place in the room's history: of auth chains, or of a state that a server gave.

        They may come in any order, and each is judged by its auth events, among these or stored before. One whose auth
        events are not all there is dropped.
        """
        turn = self.timeline.turn(tx, room)
        events = {each.event.event_id: each for each in received}
        cited = {event_id for each in received for event_id in each.event.auth_events}
        creates = {_create_id(each.event) for each in received}
        stored = self._events.by_ids(tx.conn, events.keys() | cited | {each for each in creates if each is not None})
        # What came without its room is judged when it comes with it, and until then nothing stands on it.
        unjudged = {each: event for each, event in stored.items() if event.status is Status.UNJUDGED}
        stored = {each: event for each, event in stored.items() if each not in unjudged}
        verdicts = {each: _ELSEWHERE for each, event in unjudged.items() if each in events and event.room != room}
        pdus: dict[EventID, Pdu] = {}
        rejected: set[EventID] = set()
        for event in stored.values():
            if event.status is Status.REJECTED:
                rejected.add(event.event_id)
            if event.event_id in events:
                verdicts[event.event_id] = _VERDICTS[event.status]
        new = {
            event_id: each for event_id, each in events.items() if event_id not in stored and event_id not in verdicts
        }
        kept: list[tuple[Pdu, Status]] = []
        for each in _after_auth_events(new):
            pdu = each.event
            verdict = _refusal(pdu, turn)
            if verdict is None:
                known = {}
                for event_id in (*pdu.auth_events, _create_id(pdu)):
                    if event_id is None:
                        continue
                    if event_id not in pdus and event_id in stored:
                        pdus[event_id] = stored[event_id].pdu
                    if event_id in pdus:
                        known[event_id] = pdus[event_id]
                if all(event_id in known for event_id in pdu.auth_events):
                    create_id = _create_id(pdu)
                    verdict = judge(
                        each, auth_events=[known[event_id] for event_id in pdu.auth_events], rejected=rejected,
                        create=known.get(create_id) if create_id is not None else None,
                    )  # fmt: skip
                else:
                    verdict = _LACKING
            verdicts[pdu.event_id] = verdict
            if verdict.kind is VerdictKind.DROPPED:
                continue
            pdus[pdu.event_id] = pdu
            if verdict.kind is VerdictKind.REJECTED:
                rejected.add(pdu.event_id)
            kept.append((pdu, Status.REJECTED if verdict.kind is VerdictKind.REJECTED else Status.OUTLIER))
        for event_id in events.keys() - verdicts.keys():
            verdicts[event_id] = _LACKING
        slots = self.timeline.names.intern_slots(tx, [pdu.slot for pdu, _ in kept if pdu.is_state])
        standings = [
            (pdu, Standing(status=status, slot=slots[pdu.slot] if pdu.is_state else None)) for pdu, status in kept
        ]
        self._events.insert_many(tx, room, [each for each in standings if each[0].event_id not in unjudged])
        for pdu, standing in standings:
            if pdu.event_id in unjudged:
                self._events.replace(tx, unjudged[pdu.event_id], pdu, standing)
        return verdicts

    # Events of the room's present

    def take(
        self, tx: Write, room: RoomNid, received: Received, *, state_before: Mapping[Slot, EventID] | None = None,
        soft_fail: str | None = None, relay_except: ServerName | None = None,
    ) -> Verdict:  # fmt: skip
        """Take in a new event of a room; return what became of it. One that is here already stays as it is.

        The state before it follows from its previous events. Where that is not known for all of them, `state_before`
        has to give it, its events being stored before. `soft_fail` says why an event that is allowed is not to be shown
        or built upon. With `relay_except`, all servers of the room but that one are sent the event.

        Raises `Gap`, with nothing stored, if events are missing, and `Unsigned`, which must undo the write, if the
        room's policy server has to be asked about the event.
        """
        turn = self.timeline.turn(tx, room)
        refusal = _refusal(received.event, turn)
        if refusal is not None:
            return refusal
        received = self._as_known(turn, received)
        pdu = received.event
        found = self._around(tx, pdu, room)
        if _leads_elsewhere(pdu, turn, found):
            return _ELSEWHERE
        known = found.get(pdu.event_id)
        # A create event that is known as part of the state is the one; it belongs to the past, where it has no news.
        if known is not None and (known.status not in _APART or pdu.type == CREATE[0]):
            return _VERDICTS[known.status]
        before = self._before(turn, pdu, found, state_before)
        verdict = self._judge(turn, received, found, before, is_told=state_before is not None)
        if verdict.kind is VerdictKind.ACCEPTED and soft_fail is not None:
            verdict = Verdict(VerdictKind.SOFT_FAILED, soft_fail)
        if verdict.kind is VerdictKind.ACCEPTED:
            signed = self._recommended(turn, received)
            if isinstance(signed, str):
                verdict = Verdict(VerdictKind.SOFT_FAILED, signed)
            else:
                pdu = signed
        if verdict.kind is VerdictKind.ACCEPTED:
            self._accept(turn, pdu, before, found, relay_except)
        elif verdict.kind is not VerdictKind.DROPPED:
            self._keep_aside(turn, pdu, before, known, verdict)
        return verdict

    def _around(self, tx: Write, pdu: Pdu, room: RoomNid) -> dict[EventID, Event]:
        """Return what of an event and those that it cites is stored, without what nobody has judged yet."""
        create_id = _create_id(pdu)
        wanted = {pdu.event_id, *pdu.auth_events, *pdu.prev_events, *((create_id,) if create_id is not None else ())}
        stored = self._events.by_ids(tx.conn, wanted)
        found = {event_id: event for event_id, event in stored.items() if event.status is not Status.UNJUDGED}
        known = stored.get(pdu.event_id)
        if known is not None and known.status is Status.UNJUDGED:
            as_it_is = Standing(status=Status.UNJUDGED, slot=known.slot)
            found[pdu.event_id] = self._events.replace(tx, known, pdu, as_it_is) if known.room == room else known
        return found

    def _as_known(self, turn: Turn, received: Received) -> Received:
        """Return an event as it is stored apart from history already, where its sender has chosen its ID.

        Two may bear it there, and what is judged must be what is stored.
        """
        if received.event.version.event_id_is_hash:
            return received
        known = self._events.by_id(turn.tx.conn, received.event.event_id)
        if known is None or known.status is not Status.OUTLIER or known.room != turn.room.nid:
            return received
        return replace(received, event=known.pdu)

    def _recommended(self, turn: Turn, received: Received) -> Pdu | str:
        """Make check 7: return the event, signed by the room's policy server if it uses one, or why it is not.

        https://spec.matrix.org/v1.19/server-server-api/#validating-policy-server-signatures
        """
        pdu = received.event
        policy = policy_of(turn.tx, self.timeline.current, turn.room.nid, turn.state)
        if policy is None or is_exempt(pdu) or is_recommended(pdu, policy):
            return pdu
        try:
            if policy.name == self.timeline.server_name:
                return self._recommended_here(turn, policy, received)
            return answers_of(turn.tx).about(policy, pdu)
        except (EventTooLarge, MatrixError) as error:
            return f"not signed by the room's policy server: {error}"

    def _recommended_here(self, turn: Turn, policy: PolicyServer, received: Received) -> Pdu | str:
        if received.redacted:
            # The signature would be good for the whole event, too, and nobody has seen what that says.
            return "its hash is wrong, so this server cannot recommend it"
        return recommended_here(turn.tx.conn, self.timeline.own_policy, policy, received.event)

    def _before(
        self, turn: Turn, pdu: Pdu, found: Mapping[EventID, Event], state: Mapping[Slot, EventID] | None
    ) -> Snapshot | None:
        """Return the state before an event; None if the room has nothing before it. Raises `Gap`."""
        missing = {event_id for event_id in pdu.auth_events if event_id not in found}
        if state is not None:
            stated = self._events.by_ids(turn.tx.conn, state.values())
            missing.update(event_id for event_id in state.values() if event_id not in stated)
            if missing:
                raise Gap(missing)
            return self._given(turn, stated.values())
        after = {each: found[each].snapshot for each in pdu.prev_events if each in found}
        unknown = [each for each in pdu.prev_events if after.get(each) is None]
        if unknown:
            after |= awaited_events.states_after(turn.tx.conn, turn.room.nid, unknown)
            missing.update(each for each in unknown if after.get(each) is None)
        if missing:
            raise Gap(missing)
        return self._met(turn, {nid for nid in after.values() if nid is not None})

    def _met(self, turn: Turn, nids: Collection[SnapshotNid]) -> Snapshot | None:
        """Return the state where some states meet."""
        if not nids:
            return None
        if turn.snapshot is not None and set(nids) == {turn.snapshot.nid}:
            return turn.snapshot
        loaded = self.timeline.snapshots.load_many(turn.tx.conn, nids)
        return self.timeline.resolution.of(turn.tx, turn.room.nid, turn.room.version, loaded.values())

    def _given(self, turn: Turn, events: Iterable[Event]) -> Snapshot:
        """Return a state that another server gave, stored; rejected events are no part of it."""
        state = {
            event.slot: event.nid
            for event in events
            if event.slot is not None and event.status not in _NO_STATE and event.room == turn.room.nid
        }
        return self.timeline.snapshots.store_state(turn.tx, turn.room.nid, turn.snapshot, state)

    def _judge(
        self, turn: Turn, received: Received, found: Mapping[EventID, Event], before: Snapshot | None,
        *, current: bool = True, is_told: bool = False,
    ) -> Verdict:  # fmt: skip
        """Make checks 4 to 6. `is_told` says that the state before the event is what another server says it was.

        By such a state no event is rejected for good: its teller could have it lack whatever the event stands on.
        """
        pdu = received.event
        create_id = _create_id(pdu)
        create = found.get(create_id) if create_id is not None else None
        if pdu.type == CREATE[0] and turn.snapshot is not None:
            return Verdict(VerdictKind.REJECTED, "the room has been created already")
        now = turn.snapshot if current and turn.snapshot is not None and turn.snapshot is not before else None
        judged = partial(
            judge,
            received,
            auth_events=[found[event_id].pdu for event_id in pdu.auth_events],
            rejected={event.event_id for event in found.values() if event.status is Status.REJECTED},
            create=create.pdu if create is not None else None,
        )
        verdict = judged(
            before=self._auth_state(turn.tx.conn, pdu, before),
            current=self._auth_state(turn.tx.conn, pdu, now) if now is not None else None,
        )
        if is_told and verdict.kind is VerdictKind.REJECTED and judged().kind is VerdictKind.ACCEPTED:
            return Verdict(VerdictKind.DROPPED, verdict.reason)
        return verdict

    def _auth_state(self, conn: Connection, pdu: Pdu, snapshot: Snapshot | None) -> dict[Slot, Pdu]:
        """Return what of a state the rules ask for to judge an event."""
        if snapshot is None:
            return {}
        wanted = auth_slots(pdu.type, pdu.sender, pdu.state_key, pdu.content, pdu.version)
        slots = self.timeline.names.slots(conn, wanted)
        nids = {pair: nid for pair, slot in slots.items() if (nid := snapshot.state.get(slot)) is not None}
        found = self._events.by_nids(conn, nids.values())
        return {pair: found[nid].pdu for pair, nid in nids.items()}

    def _accept(
        self, turn: Turn, pdu: Pdu, before: Snapshot | None, found: Mapping[EventID, Event],
        relay_except: ServerName | None,
    ) -> None:  # fmt: skip
        tx, room = turn.tx, turn.room.nid
        servers = self.timeline.current.servers
        there = servers.servers(tx.conn, room) if relay_except is not None else frozenset()
        waiting = self._waiting(tx.conn, room, pdu.event_id)
        target = self._events.by_id(tx.conn, pdu.redacts) if pdu.redacts is not None else None
        counts = target is not None and self.timeline.redactions.counts(tx.conn, pdu, before, target)
        event = self.timeline.store(
            turn, pdu, before, known=found.get(pdu.event_id), shown=pdu.redacts is None or counts,
            extremity=not any(
                pdu.event_id in other.pdu.prev_events and other.status is Status.ACCEPTED for other in waiting
            ),
        )  # fmt: skip
        self._link(turn, pdu, event, before, found, target if counts else None, awaits=target is None)
        self._redact_late(turn, event, waiting)
        if relay_except is not None:
            there |= servers.servers(tx.conn, room)
            self.timeline.deliver(tx, event, there - {relay_except, self.timeline.server_name})

    def _link(
        self, turn: Turn, pdu: Pdu, event: Event, before: Snapshot | None, found: Mapping[EventID, Event],
        redacted: Event | None, *, awaits: bool,
    ) -> None:  # fmt: skip
        """Tie a stored event to those it cites: remember what is not here, and redact what it redacts.

        `awaits` says that what it redacts, if it redacts anything, is not here.
        """
        lacking = [event_id for event_id in pdu.prev_events if _is_lacking(found.get(event_id))]
        self._await(turn, pdu, event, before, lacking)
        if pdu.redacts is not None and awaits:
            awaited_events.add(turn.tx, turn.room.nid, [pdu.redacts], event.nid)
        if redacted is not None:
            self.timeline.redactions.apply(turn.tx, redacted, event)

    def _await(self, turn: Turn, pdu: Pdu, event: Event, before: Snapshot | None, lacking: Collection[EventID]) -> None:
        """Remember the previous events that an event lacks, and what state the only one left behind."""
        if lacking:
            known = before.nid if before is not None and len(pdu.prev_events) == 1 else None
            awaited_events.add(turn.tx, turn.room.nid, lacking, event.nid, known)

    def _keep_aside(self, turn: Turn, pdu: Pdu, before: Snapshot | None, known: Event | None, verdict: Verdict) -> None:
        """Store an event that is rejected or soft-failed: nobody is shown it, and nothing is built upon it here.

        Events of others may be: what follows upon a soft-failed one has it in its state.
        """
        tx, room = turn.tx, turn.room.nid
        slot = self.timeline.names.intern_slot(tx, pdu.type, pdu.state_key) if pdu.state_key is not None else None
        nid = known.nid if known is not None else EventNid(tx.position())
        after, status = before, Status.REJECTED
        if verdict.kind is VerdictKind.SOFT_FAILED:
            status = Status.SOFT_FAILED
            if slot is not None:
                after = self.timeline.snapshots.store(tx, room, before, {slot: nid})
        standing = Standing(
            status=status, slot=slot, snapshot=after.nid if after is not None else None,
            stood=standing_in(before, slot),
        )  # fmt: skip
        if known is not None:
            self._events.replace_standing(tx, known, standing)
        else:
            self._events.insert(tx, pdu, nid=nid, room=room, standing=standing)

    # Redactions that came before what they redact

    def _waiting(self, conn: Connection, room: RoomNid, event_id: EventID) -> list[Event]:
        """Return the events that were waiting for this one."""
        nids = awaited_events.waiting_for(conn, room, event_id)
        return list(self._events.by_nids(conn, nids).values()) if nids else []

    def _redact_late(self, turn: Turn, event: Event, waiting: Iterable[Event]) -> None:
        """Carry out the redactions of an event that have been waiting for it, and show them."""
        tx = turn.tx
        waiting = list(waiting)
        if not waiting:
            return
        awaited_events.remove(tx, turn.room.nid, [event.event_id])
        for redaction in waiting:
            if redaction.type != REDACTION or redaction.redacts != event.event_id or redaction.snapshot is None:
                continue
            before = self.timeline.snapshots.load(tx.conn, redaction.snapshot)
            if redaction.status is Status.ACCEPTED and self.timeline.redactions.counts(
                tx.conn, redaction.pdu, before, event
            ):
                event = self.timeline.redactions.apply(tx, event, redaction)
                if redaction.place is None:
                    self.timeline.show(turn, redaction)

    # Events of the room's past

    def backfilled(
        self, tx: Write, room: RoomNid, received: Sequence[Received],
        states: Mapping[EventID, Mapping[Slot, EventID]],
    ) -> dict[EventID, Verdict]:  # fmt: skip
        """Take in events that are older than all of the room's timeline, the oldest first; return what became of each.

        `states` has the state before those whose previous events are not here, as `take` wants it. What has neither is
        dropped, as is what lacks auth events.
        """
        turn = self.timeline.turn(tx, room)
        verdicts: dict[EventID, Verdict] = {}
        place = min(0, self._events.lowest_place(tx.conn, room)) - len(received) - 1
        for each in received:
            place += 1
            pdu = each.event
            verdict = _refusal(pdu, turn)
            if verdict is None:
                try:
                    verdict = self._backfill(turn, each, states.get(pdu.event_id), place)
                except Gap:
                    verdict = _LACKING
            verdicts[pdu.event_id] = verdict
        return verdicts

    def _backfill(self, turn: Turn, received: Received, state: Mapping[Slot, EventID] | None, place: int) -> Verdict:
        received = self._as_known(turn, received)
        tx, room, pdu = turn.tx, turn.room.nid, received.event
        found = self._around(tx, pdu, room)
        if _leads_elsewhere(pdu, turn, found):
            return _ELSEWHERE
        known = found.get(pdu.event_id)
        if known is not None and known.status not in _APART:
            return _VERDICTS[known.status]
        if pdu.type == CREATE[0]:
            # Where it begins. There is one: that of the state, or that which the room ID names.
            if known is None or pdu.prev_events:
                return Verdict(VerdictKind.REJECTED, "it is not what created the room")
            before = None
        else:
            before = self._before(turn, pdu, found, state)
            verdict = self._judge(turn, received, found, before, current=False, is_told=state is not None)
            if verdict.kind is VerdictKind.DROPPED:
                return verdict
            if verdict.kind is not VerdictKind.ACCEPTED:
                self._keep_aside(turn, pdu, before, known, verdict)
                return verdict
        target = self._events.by_id(tx.conn, pdu.redacts) if pdu.redacts is not None else None
        counts = target is not None and self.timeline.redactions.counts(tx.conn, pdu, before, target)
        event = self._insert_past(turn, pdu, before, known, place if target is None or counts else None)
        self._link(turn, pdu, event, before, found, target if counts else None, awaits=target is None)
        self._redact_late(turn, event, self._waiting(tx.conn, room, pdu.event_id))
        return ACCEPTED

    def _insert_past(
        self, turn: Turn, pdu: Pdu, before: Snapshot | None, known: Event | None, place: int | None
    ) -> Event:
        tx, room = turn.tx, turn.room.nid
        nid = known.nid if known is not None else EventNid(tx.position())
        slot = self.timeline.names.intern_slot(tx, pdu.type, pdu.state_key) if pdu.state_key is not None else None
        after = self.timeline.snapshots.store(tx, room, before, {slot: nid}) if slot is not None else before
        standing = Standing(
            status=Status.ACCEPTED, place=place, slot=slot, snapshot=after.nid if after is not None else None,
            replaces=standing_in(before, slot), stood=standing_in(before, slot),
        )  # fmt: skip
        if known is not None:
            event = self._events.replace_standing(tx, known, standing)
        else:
            event = self._events.insert(tx, pdu, nid=nid, room=room, standing=standing)
        if place is not None:
            relations.store(tx, self.timeline.names, event)
        return event

    # Rooms that we come into

    def begin(
        self, tx: Write, room_id: RoomID, version: RoomVersion, *, create: Received, auth_chain: Sequence[Received],
        state: Sequence[Received], join: Received,
    ) -> RoomNid:  # fmt: skip
        """Take in a room that a user of ours has joined by way of another server, or joined again; return it.

        `state` is the room's before the join, and `auth_chain` what that stands on. Raises `Rejected`, with nothing
        stored, if the join is not allowed by it.
        """
        timeline, conn = self.timeline, tx.conn
        room = timeline.names.room(conn, room_id)
        if room is None:
            room = rooms.create(tx, timeline.names, room_id, version, timeline.clock.now_ms()).nid
        elif (head := rooms.load(conn, room)).snapshot is None and head.version is not version:
            # An invite from whoever it was has named another version.
            rooms.set_version(tx, room, version)
            self._events.forget_room(room)
            tx.after_commit(self._events.forget_room, room)
        every = {each.event.event_id: each for each in (create, *auth_chain, *state)}
        verdicts = self.outliers(tx, room, list(every.values()))
        before = {
            each.event.slot: each.event.event_id
            for each in state
            if each.event.is_state and verdicts[each.event.event_id].kind in _OF_STATE
        }
        pdu = join.event
        if timeline.server_name in timeline.current.servers.servers(conn, room):
            # Somebody else of ours was faster.
            self._insist(self.take(tx, room, join, state_before=before))
            return room
        turn = timeline.turn(tx, room)
        found = self._around(tx, pdu, room)
        try:
            snapshot = self._before(turn, pdu, found, before)
        except Gap as gap:
            raise Rejected("events that authorise the join are missing") from gap
        self._insist(self._judge(turn, join, found, snapshot, current=False))
        # What was known from an earlier stay is history: of that nobody here knows how it went on.
        turn.room = replace(turn.room, extremities=())
        user = timeline.names.intern_user(tx, UserID(pdu.state_key or ""))
        standing = memberships.of_user_in(conn, room, user)
        event = timeline.store(
            turn, pdu, snapshot, known=found.get(pdu.event_id),
            replaces=standing.event if standing is not None else None,
        )  # fmt: skip
        lacking = [each for each in pdu.prev_events if _is_lacking(found.get(each))]
        self._await(turn, pdu, event, snapshot, lacking)
        return room

    def _insist(self, verdict: Verdict) -> None:
        if verdict.kind is not VerdictKind.ACCEPTED:
            raise Rejected(verdict.reason)


_LACKING = Verdict(VerdictKind.DROPPED, "events that authorise it are missing")
_ELSEWHERE = Verdict(VerdictKind.DROPPED, "it, or what it builds on, is known as an event of another room")
_OF_STATE = (VerdictKind.ACCEPTED, VerdictKind.SOFT_FAILED)


def _create_id(pdu: Pdu) -> EventID | None:
    """Return the create event that an event's room ID names, where it does."""
    return create_id_of(pdu) if pdu.version.room_id_is_create_hash and pdu.type != CREATE[0] else None


def _is_lacking(prev: Event | None) -> bool:
    return prev is None or (prev.snapshot is None and prev.status is not Status.REJECTED)


def _refusal(pdu: Pdu, turn: Turn) -> Verdict | None:
    """Return why an event cannot be one of the room, whatever its signatures; None if it can."""
    if pdu.room_id != turn.room.room_id or pdu.version is not turn.room.version:
        return Verdict(VerdictKind.DROPPED, "it is of another room")
    # What PostgreSQL's texts and integers cannot hold. No server or client in use makes such events.
    if any("\0" in text for text in (pdu.event_id, pdu.type, pdu.sender, pdu.state_key or "")):
        return Verdict(VerdictKind.DROPPED, "its type or its state key has a NUL")
    if not -_LARGEST <= pdu.origin_server_ts <= _LARGEST:
        return Verdict(VerdictKind.DROPPED, "its timestamp is no time")
    return None


def _leads_elsewhere(pdu: Pdu, turn: Turn, found: Mapping[EventID, Event]) -> bool:
    """Return whether an event has the ID of one of another room, or builds on one: that room's state is none of its."""
    known = (found.get(event_id) for event_id in (pdu.event_id, *pdu.prev_events))
    return any(event is not None and event.room != turn.room.nid for event in known)


def _after_auth_events(events: Mapping[EventID, Received]) -> Iterable[Received]:
    """Yield events so that each comes after its auth events, as far as they are among them; circles are left out."""
    waiting = {
        event_id: {cited for cited in each.event.auth_events if cited in events} for event_id, each in events.items()
    }
    cited_by: dict[EventID, list[EventID]] = {}
    for event_id, cited in waiting.items():
        create_id = _create_id(events[event_id].event)
        if create_id is not None and create_id in events:
            cited.add(create_id)
        for one in cited:
            cited_by.setdefault(one, []).append(event_id)
    ready = [event_id for event_id, cited in waiting.items() if not cited]
    while ready:
        event_id = ready.pop()
        yield events[event_id]
        for other in cited_by.get(event_id, ()):
            waiting[other].discard(event_id)
            if not waiting[other]:
                ready.append(other)
