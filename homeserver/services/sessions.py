"""Sessions: who makes a request, and the tokens by which the server knows.

The hot path is memory alone: what a token stands for is remembered by the token's hash, and forgotten right
after the commit that ends or changes it. When a device was last seen is gathered in memory too, and written
once a minute.

Sources: https://spec.matrix.org/v1.19/client-server-api/#using-access-tokens,
https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens,
https://spec.matrix.org/v1.19/client-server-api/#soft-logout,
https://spec.matrix.org/v1.19/client-server-api/#account-locking
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from federation.core.ids import DeviceID, UserID
from homeserver.clock import Clock, Ids
from homeserver.config.schema import Sessions as Options
from homeserver.errors import UnknownToken, UserLocked
from homeserver.model.accounts import Requester
from homeserver.model.devices import NewDevice
from homeserver.model.nids import DeviceNid, UserNid
from homeserver.model.tokens import Login, Pair, Session
from homeserver.storage import devices, tokens
from homeserver.storage.database import Database, Write

MOST_REMEMBERED = 50_000
"""Tokens kept in memory; the oldest are forgotten first."""
DEVICE_ID_LETTERS = 10
LONGEST_TEXT = 500
"""Characters kept of a client's address and of the name of its software."""


class Seen(NamedTuple):
    """When a device last made a request, and from where."""

    at: int
    ip: str
    agent: str


@dataclass(frozen=True, slots=True)
class Opening:
    """What a login gives to a device, made before the write that stores it."""

    device_id: DeviceID
    display_name: str | None
    pair: Pair


class Sessions:
    """Knows who a token belongs to, gives tokens out and takes them back."""

    def __init__(self, db: Database, clock: Clock, ids: Ids, options: Options) -> None:
        """Take what the sessions are kept with; start with nothing in memory."""
        self._db = db
        self._clock = clock
        self._ids = ids
        self._access_ms = options.access_token_lifetime_seconds * 1000
        self._refresh_ms = options.refresh_token_lifetime_seconds * 1000
        self._known: dict[bytes, Session] = {}
        self._of_user: dict[UserNid, set[bytes]] = {}
        self._forgettings = 0
        self._seen: dict[DeviceNid, Seen] = {}
        self.on_forget: list[Callable[[UserNid], object]] = []
        """Told of each user whose sessions are to be read anew, by whoever keeps a session open."""

    async def authenticate(self, token: str, *, address: str, agent: str, even_locked: bool = False) -> Requester:
        """Return who makes a request with an access token.

        Raises `UnknownToken`, with `soft_logout` if the token has expired but its device lives on; and `UserLocked`
        unless the endpoint answers `even_locked` accounts.
        """
        token_hash = tokens.hash_of(token)
        session = self._known.get(token_hash)
        if session is None:
            session = await self._find(token_hash)
        now = self._clock.now_ms()
        if session.expires_at is not None and session.expires_at <= now:
            raise UnknownToken("The access token has expired", soft_logout=True)
        if session.locked and not even_locked:
            raise locked()
        requester = session.requester
        self._seen[requester.device] = Seen(now, address, agent)
        return requester

    async def _find(self, token_hash: bytes) -> Session:
        while True:
            before = self._forgettings
            session = await self._db.read(lambda conn: tokens.find_session(conn, token_hash))
            if session is None:
                raise UnknownToken("Unknown access token")
            if not session.confirms:
                break
            await self._db.write(lambda tx: self._confirm(tx, token_hash))
        # What was read before a commit that ends sessions must not be remembered after it.
        if before == self._forgettings:
            self._remember(token_hash, session)
        return session

    def _confirm(self, tx: Write, access_hash: bytes) -> None:
        """Note the first use of an access token: it ends the refresh token for which it was given out."""
        session = tokens.find_session(tx.conn, access_hash)
        if session is None:
            return
        who = session.requester
        current = tokens.refresh_of_access(tx.conn, who.device, access_hash)
        if current is not None:
            self._end_predecessors(tx, who.user, who.device, current)

    def _end_predecessors(self, tx: Write, user: UserNid, device: DeviceNid, refresh_hash: bytes) -> None:
        for old in tokens.predecessors(tx.conn, device, refresh_hash):
            tokens.remove_refresh(tx, old)
            tx.after_commit(self.forget, user)

    def _remember(self, token_hash: bytes, session: Session) -> None:
        if len(self._known) >= MOST_REMEMBERED:
            oldest = next(iter(self._known))
            self._drop(oldest, self._known.pop(oldest).requester.user)
        self._known[token_hash] = session
        self._of_user.setdefault(session.requester.user, set()).add(token_hash)

    def _drop(self, token_hash: bytes, user: UserNid) -> None:
        hashes = self._of_user[user]
        hashes.discard(token_hash)
        if not hashes:
            del self._of_user[user]

    def forget(self, user: UserNid) -> None:
        """Read a user's sessions anew from now on.

        Call it after every commit that removes tokens or devices, or changes what a `Requester` says.
        """
        self._forgettings += 1
        for token_hash in self._of_user.pop(user, ()):
            self._known.pop(token_hash, None)
        for tell in self.on_forget:
            tell(user)

    # Giving tokens out

    def new_pair(self, *, refreshable: bool) -> Pair:
        """Return fresh tokens. Only a client that can refresh gets an access token that expires."""
        if not refreshable:
            return Pair(self._ids.token())
        now = self._clock.now_ms()
        until = now + self._refresh_ms if self._refresh_ms else None
        return Pair(self._ids.token(), self._access_ms, now + self._access_ms, self._ids.token(), until)

    def prepare(self, device: NewDevice) -> Opening:
        """Return what a login will give to the device."""
        device_id = device.device_id or DeviceID(self._ids.letters(DEVICE_ID_LETTERS).upper())
        return Opening(device_id, device.display_name, self.new_pair(refreshable=device.refreshable))

    def open(self, tx: Write, user: UserNid, user_id: UserID, opening: Opening) -> Login:
        """Log a device in; tokens that it had before end.

        https://spec.matrix.org/v1.19/client-server-api/#relationship-between-access-tokens-and-devices
        """
        now = self._clock.now_ms()
        known = devices.find(tx.conn, user, opening.device_id)
        if known is None:
            device = devices.add(tx, user, opening.device_id, opening.display_name, now)
        else:
            device = known.nid
            tokens.remove_of_device(tx, device)
            tx.after_commit(self.forget, user)
        tokens.add_pair(tx, device, opening.pair, now)
        return Login(user_id, opening.device_id, opening.pair)

    async def refresh(self, refresh_token: str) -> Pair:
        """Return new tokens for a refresh token, which stays valid until one of the new ones is used.

        Raises `UnknownToken`, with `soft_logout` if the token has expired but its device lives on; and `UserLocked`.
        """
        old_hash = tokens.hash_of(refresh_token)
        pair = self.new_pair(refreshable=True)

        def rotate(tx: Write) -> None:
            now = self._clock.now_ms()
            old = tokens.find_refresh(tx.conn, old_hash)
            if old is None:
                raise UnknownToken("Unknown refresh token")
            if old.expires_at is not None and old.expires_at <= now:
                raise UnknownToken("The refresh token has expired", soft_logout=True)
            if old.locked:
                raise locked()
            self._end_predecessors(tx, old.user, old.device, old_hash)
            if old.successor_hash is not None:
                # The client never got, or lost, what it was given before.
                tokens.remove_refresh(tx, old.successor_hash)
                tx.after_commit(self.forget, old.user)
            assert pair.refresh is not None
            tokens.add_pair(tx, old.device, pair, now)
            tokens.set_successor(tx, old_hash, tokens.hash_of(pair.refresh))

        await self._db.write(rotate)
        return pair

    async def prune(self) -> None:
        """Remove tokens of every kind that have expired for good."""
        now = self._clock.now_ms()
        await self._db.write(lambda tx: tokens.prune(tx, now))

    # When devices were last seen

    def last_seen(self, device: DeviceNid) -> Seen | None:
        """Return when a device was last seen, if that has not been written yet."""
        return self._seen.get(device)

    async def write_seen(self) -> None:
        """Store when devices were last seen since the last call, in one write."""
        seen, self._seen = self._seen, {}
        if seen:
            await self._db.write(lambda tx: devices.seen(tx, _rows(seen.items())))


def locked() -> UserLocked:
    """Return the error for an account that an administrator has locked."""
    return UserLocked("This account has been locked", soft_logout=True)


def _rows(seen: Iterable[tuple[DeviceNid, Seen]]) -> Iterable[dict[str, object]]:
    for device, last in seen:
        yield {"device": device, "at": last.at, "ip": _text(last.ip), "agent": _text(last.agent)}


def _text(header: str) -> str:
    """Return what came in a header as text that every database stores."""
    return header[:LONGEST_TEXT].encode("utf-8", "replace").decode().replace("\0", "")
