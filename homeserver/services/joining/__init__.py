"""Rooms of other servers: coming into them, leaving them, knocking on them.

A join is a job. It is stored before it begins and forgotten when it ends, so a restart finds those that did not; what
it fetches is stored all at once, or not at all. The client's request waits for it, but not for ever: see
`docs/decisions/0010-joining-at-a-distance.md`. One thing goes on in a room at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
import structlog
from sqlalchemy import Connection

from federation.core.auth.receipt import VerdictKind
from federation.core.errors import Rejected
from federation.core.events.content import Membership
from federation.core.events.draft import Draft, build
from federation.core.ids import RoomID, ServerName, UserID
from federation.matrix.errors import BadAnswer, FederationError
from homeserver.errors import Forbidden, LimitExceeded, MatrixError, NotFound, OtherServerFailed, UnableToAuthoriseJoin
from homeserver.model.nids import UserNid
from homeserver.model.rooms import RoomMembership
from homeserver.services import member_events
from homeserver.services.access import NOT_IN_ROOM
from homeserver.services.intake import Intake
from homeserver.services.joining.candidates import Candidates
from homeserver.services.joining.handshakes import Handshakes, JoinedRoom
from homeserver.services.local_joins import LocalJoins, NotHere
from homeserver.services.outside import OutsideMemberships
from homeserver.services.receiving.arrivals import Arrivals
from homeserver.services.refusals import most_telling, public
from homeserver.services.room_turns import RoomTurns
from homeserver.services.timeline import MEMBER, Timeline
from homeserver.storage import memberships, rooms, unfinished_joins
from homeserver.storage.database import Database, Write

log = structlog.get_logger()

T = TypeVar("T")

PATIENCE_SECONDS = 20.0
"""How long a client's request waits for a join; it goes on after that."""
ONE_SERVER_SECONDS = 600.0
"""How long one server may take to let a user in, with all that is told of a large room."""
MOST_OF_ONE = 5
"""Joins of one user that go on: servers that are slow must not take what is needed for the joins of others."""
RETRY_MS = 30_000
KNOCKING_SECONDS = 60.0
"""How long other servers are asked to take a knock."""
LEAVING_SECONDS = 20.0
"""How long other servers are asked to let a user go, before that is settled here."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A join as it was asked for."""

    user: UserNid
    user_id: UserID
    room_id: RoomID
    servers: tuple[ServerName, ...]
    reason: str | None

    def content(self, names: dict[str, str]) -> dict[str, Any]:
        """Return the content of the membership event."""
        content: dict[str, Any] = {**names, "membership": str(Membership.JOIN)}
        if self.reason is not None:
            content["reason"] = self.reason
        return content


@dataclass(frozen=True, slots=True)
class _Job:
    asked: Asked
    task: "asyncio.Task[None]"


@dataclass(frozen=True, slots=True)
class Joining:
    """Lets users of this server come and go where it is not."""

    db: Database
    timeline: Timeline
    local: LocalJoins
    intake: Intake
    arrivals: Arrivals
    handshakes: Handshakes
    candidates: Candidates
    outside: OutsideMemberships
    turns: RoomTurns
    _jobs: dict[tuple[UserNid, RoomID], "_Job"] = field(default_factory=dict)

    # Joining

    async def join(
        self, user: UserNid, user_id: UserID, room_id: RoomID, given: Sequence[str], reason: str | None
    ) -> None:
        """Join a room, through the servers that are `given` or any other that may be there.

        Returns once the user is in the room, or when it has taken so long that the client should not wait any more.
        Raises `NotFound` if nobody is known who could be asked, `OtherServerFailed` if nobody of those answered, or
        what a server says against it; `LimitExceeded` if several joins of the user go on.
        """
        job = self._jobs.get((user, room_id))
        if job is None:
            if sum(whose == user for whose, _ in self._jobs) >= MOST_OF_ONE:
                raise LimitExceeded(RETRY_MS)
            servers = await self.db.read(lambda conn: self.candidates.find(conn, room_id, user, given))
            if not servers:
                raise NotFound(f"There is no room {room_id} here, and no server is known that may be in it")
            asked = Asked(user, user_id, room_id, tuple(servers), reason)
            job = await self._begin(asked)
        done, _ = await asyncio.wait({job.task}, timeout=PATIENCE_SECONDS)
        if done:
            await job.task

    async def resume(self) -> None:
        """Go on with the joins that a restart has interrupted."""
        now = self.timeline.clock.now_ms()
        await self.db.write(lambda tx: unfinished_joins.prune(tx, now))
        for found in await self.db.read(unfinished_joins.load):
            request = orjson.loads(found.request)
            servers = tuple(ServerName(name) for name in request["servers"])
            asked = Asked(found.user, found.user_id, found.room_id, servers, request["reason"])
            log.info("join_resumed", user_id=asked.user_id, room_id=asked.room_id)
            self._start(asked)

    async def close(self) -> None:
        """Interrupt the joins that go on; `resume` finds them."""
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self, asked: Asked) -> _Job:
        request = orjson.dumps({"servers": asked.servers, "reason": asked.reason})
        now = self.timeline.clock.now_ms()
        await self.db.write(lambda tx: unfinished_joins.begin(tx, asked.user, asked.room_id, request, now))
        # Somebody may have been faster meanwhile.
        return self._jobs.get((asked.user, asked.room_id)) or self._start(asked)

    def _start(self, asked: Asked) -> _Job:
        key = (asked.user, asked.room_id)
        task = asyncio.create_task(self._run(asked), name=f"join {asked.room_id}")
        job = self._jobs[key] = _Job(asked, task)

        def end(done: "asyncio.Task[None]") -> None:
            self._jobs.pop(key, None)
            if not done.cancelled() and (error := done.exception()) is not None:
                log.info("join_failed", user_id=asked.user_id, room_id=asked.room_id, reason=str(error))

        task.add_done_callback(end)
        return job

    async def _run(self, asked: Asked) -> None:
        try:
            async with self.turns.of(asked.room_id):
                await self._in_turn(asked)
        except asyncio.CancelledError:
            # It stays stored: whoever cancels it for good forgets it.
            raise
        except Exception:
            await self._forget(asked.user, asked.room_id)
            raise
        await self._forget(asked.user, asked.room_id)

    async def _forget(self, user: UserNid, room_id: RoomID) -> None:
        await self.db.write(lambda tx: unfinished_joins.end(tx, user, room_id))

    async def _in_turn(self, asked: Asked) -> None:
        try:
            # Who has waited for somebody else's join need not go through it again.
            await self.local.join(asked.user, asked.user_id, asked.room_id, asked.reason)
        except NotHere:
            await self._any(asked.servers, lambda server: self._join_through(server, asked))
        except UnableToAuthoriseJoin:
            await self._any(asked.servers, lambda server: self._be_let_in(server, asked))

    async def _join_through(self, server: ServerName, asked: Asked) -> None:
        names = await self.db.read(lambda conn: member_events.names_of(conn, asked.user))
        async with asyncio.timeout(ONE_SERVER_SECONDS):
            joined = await self.handshakes.join(server, asked.room_id, asked.user_id, asked.content(names))
        try:
            await self.db.write(lambda tx: self._store(tx, asked, joined))
        except Rejected as refusal:
            raise BadAnswer(f"a room that does not let the user in: {refusal}") from refusal
        log.info("room_joined", user_id=asked.user_id, room_id=asked.room_id, server=server)

    def _store(self, tx: Write, asked: Asked, joined: JoinedRoom) -> None:
        room = self.intake.begin(
            tx,
            asked.room_id,
            joined.version,
            create=joined.create,
            auth_chain=joined.auth_chain,
            state=joined.state,
            join=joined.join,
        )
        self.local.successions.follow(self.timeline.turn(tx, room), asked.user)

    async def _be_let_in(self, server: ServerName, asked: Asked) -> None:
        """Join a restricted room that this server is in, by the word of a user of another."""
        names = await self.db.read(lambda conn: member_events.names_of(conn, asked.user))
        join = await self.handshakes.join_again(server, asked.room_id, asked.user_id, asked.content(names))
        room = await self.db.read(lambda conn: rooms.load(conn, self._known(conn, asked.room_id)))
        verdicts = await self.arrivals.take(room, server, {join.event.event_id: join})
        verdict = verdicts[join.event.event_id]
        if verdict.kind is not VerdictKind.ACCEPTED:
            raise Forbidden(f"The room does not allow it: {verdict.reason}")

    def _known(self, conn: Connection, room_id: RoomID) -> Any:
        room = self.timeline.names.room(conn, room_id)
        if room is None:
            raise NotFound(f"There is no room {room_id} here")
        return room

    # Knocking and leaving

    async def knock(
        self, user: UserNid, user_id: UserID, room_id: RoomID, given: Sequence[str], reason: str | None
    ) -> None:
        """Knock on a room that this server is not in. Raises what `join` raises."""
        servers = await self.db.read(lambda conn: self.candidates.find(conn, room_id, user, given))
        if not servers:
            raise NotFound(f"There is no room {room_id} here, and no server is known that may be in it")
        names = await self.db.read(lambda conn: member_events.names_of(conn, user))
        content: dict[str, Any] = {**names, "membership": str(Membership.KNOCK)}
        if reason is not None:
            content["reason"] = reason
        async with self.turns.of(room_id):
            try:
                async with asyncio.timeout(KNOCKING_SECONDS):
                    pdu, told = await self._any(
                        servers, lambda server: self.handshakes.knock(server, room_id, user_id, content)
                    )
            except TimeoutError as error:
                raise OtherServerFailed("No server that may be in the room gives an answer") from error
            await self.db.write(lambda tx: self.outside.store(tx, pdu, told))

    async def leave(self, user: UserNid, user_id: UserID, room_id: RoomID, reason: str | None) -> None:
        """Leave a room that this server is not in: turn down an invite, take back a knock, give up a join.

        If no server can be reached, or none knows of it, the user is rid of the room all the same.
        """
        given_up = await self._give_up(user, room_id)
        content: dict[str, Any] = {"membership": str(Membership.LEAVE)}
        if reason is not None:
            content["reason"] = reason
        async with self.turns.of(room_id):
            standing, servers = await self.db.read(lambda conn: self._outside(conn, room_id, user, given_up))
            try:
                async with asyncio.timeout(LEAVING_SECONDS):
                    pdu = await self._any(
                        servers, lambda server: self.handshakes.leave(server, room_id, user_id, content)
                    )
            except (MatrixError, TimeoutError) as error:
                log.info("left_only_here", user_id=user_id, room_id=room_id, reason=str(error))
                if standing is not None:
                    await self.db.write(lambda tx: self._leave_here(tx, standing, user_id, content))
            else:
                await self.db.write(lambda tx: self.outside.store(tx, pdu))

    async def _give_up(self, user: UserNid, room_id: RoomID) -> Asked | None:
        """End a join that goes on; return what it was."""
        job = self._jobs.get((user, room_id))
        if job is None:
            return None
        job.task.cancel()
        await asyncio.wait({job.task})
        await self._forget(user, room_id)
        return job.asked

    def _outside(
        self, conn: Connection, room_id: RoomID, user: UserNid, given_up: Asked | None
    ) -> tuple[RoomMembership | None, list[ServerName]]:
        """Return how a user stands to a room, and through whom to leave it."""
        room = self.timeline.names.room(conn, room_id)
        standing = memberships.of_user_in(conn, room, user) if room is not None else None
        if standing is None and given_up is None:
            raise Forbidden(NOT_IN_ROOM)
        given = given_up.servers if given_up is not None else ()
        return standing, self.candidates.find(conn, room_id, user, given)

    def _leave_here(self, tx: Write, standing: RoomMembership, user_id: UserID, content: dict[str, Any]) -> None:
        """Store that a user has left, by an event that nobody else gets."""
        room = rooms.load(tx.conn, standing.room)
        before = self.timeline.events.by_nid(tx.conn, standing.event)
        version = room.version
        pdu = build(
            Draft(room.room_id, MEMBER, user_id, content, user_id),
            version=version,
            prev_events=[before.event_id],
            auth_events=[before.event_id],
            depth=before.depth + 1,
            now_ms=self.timeline.clock.now_ms(),
            server_name=self.timeline.server_name,
            key=self.timeline.key,
            opaque_id="" if version.event_id_is_hash else self.timeline.ids.letters(18),
        )
        self.outside.store(tx, pdu)

    # The common way

    async def _any(self, servers: Sequence[ServerName], ask: Callable[[ServerName], Awaitable[T]]) -> T:
        """Return what the first of some servers gives that gives it. Raises what says most of why none did."""
        refusals: list[MatrixError] = []
        for server in servers:
            try:
                return await ask(server)
            except FederationError as error:
                log.info("server_did_not_help", server=server, reason=str(error))
                refusals.append(public(error, server))
            except TimeoutError:
                refusals.append(OtherServerFailed(f"{server} took too long"))
        raise most_telling(refusals) if refusals else OtherServerFailed("No server is known that may be in the room")
