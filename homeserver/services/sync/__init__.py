"""/sync: what changed for a user, told as soon as it happens.

Source: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync
"""

from dataclasses import dataclass, field

from homeserver.clock import Clock
from homeserver.model.nids import DeviceNid, RoomNid, UserNid
from homeserver.model.positions import SyncToken
from homeserver.model.sync import SyncRequest
from homeserver.services.encryption.key_counts import CountsOfKeys
from homeserver.services.live import Feed, Live
from homeserver.services.sync import pieces
from homeserver.services.sync.assemble import Assembled, Assembler
from homeserver.services.sync.memory import FromMemory
from homeserver.services.sync.passing import PassingNews
from homeserver.storage import memberships, to_device
from homeserver.storage.database import Database, current_position

LONGEST_WAIT_MS = 120_000


@dataclass(frozen=True, slots=True)
class Sync:
    """Answers /sync requests."""

    db: Database
    live: Live
    passing: PassingNews
    memory: FromMemory
    assembler: Assembler
    clock: Clock
    key_counts: CountsOfKeys
    given: dict[DeviceNid, int] = field(default_factory=dict)
    """Up to which position each device was given to-device messages that it has not acknowledged."""

    async def sync(self, request: SyncRequest) -> bytes:
        """Return the answer's body: at once if there is something to tell, else when there is or time is over."""
        body = await self._answer(request)
        device = request.who.device
        counts = self.key_counts.known(device)
        if counts is None:
            counts = await self.db.read(lambda conn: self.key_counts.of_device(conn, device))
        return b"".join((body[:-1], b",", counts, b"}"))

    async def _answer(self, request: SyncRequest) -> bytes:
        """Return the answer but for the counts of keys, which stand in every one."""
        since = request.since
        if since is not None:
            await self._acknowledge(request, since)
        wait_ms = 0 if request.full_state or since is None else min(request.timeout_ms, LONGEST_WAIT_MS)
        deadline = self.clock.monotonic() + wait_ms / 1000
        feed = await self.live.enter(request.who.user, self._joined_rooms)
        try:
            while True:
                quiet = self.memory.quiet_since(request, feed)
                if quiet is None:
                    answer = await self._look(request, feed)
                    if answer.mail is not None:
                        self.given[request.who.device] = answer.mail
                    if not answer.empty:
                        return answer.body
                    quiet = answer.token
                    if since is not None and self.key_counts.changed_since(request.who.device, since.position):
                        return pieces.nothing(quiet)
                left = deadline - self.clock.monotonic()
                if left <= 0 or since is None or self.live.closing:
                    return pieces.nothing(quiet)
                await self.live.wait(feed, quiet.position, quiet.ephemeral, left)
        finally:
            self.live.leave(feed)

    async def _look(self, request: SyncRequest, feed: Feed) -> Assembled:
        """Return what there is to tell now."""
        since = request.since
        same_boot = since is not None and since.boot == self.assembler.boot
        passing = self.passing.since(since.ephemeral if since is not None and same_boot else 0, feed)
        if since is not None and not request.full_state:
            found = self.memory.answer(request, since, feed, passing)
            if found is not None:
                body, token = found
                return Assembled(body, not body, token)
        return await self.db.read(lambda conn: self.assembler.assemble(conn, request, passing))

    async def _joined_rooms(self, user: UserNid) -> tuple[int, set[RoomNid]]:
        return await self.db.read(lambda conn: (current_position(conn), set(memberships.joined_rooms(conn, user))))

    async def _acknowledge(self, request: SyncRequest, since: SyncToken) -> None:
        """Delete the to-device messages that the client has shown to have got, if there are any."""
        device = request.who.device
        given = self.given.get(device)
        if given is None or given > since.to_device:
            return
        del self.given[device]
        await self.db.write(lambda tx: to_device.acknowledge(tx, device, since.to_device))
