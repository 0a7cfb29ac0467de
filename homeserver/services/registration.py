"""Making accounts: by people themselves, by tools with the shared secret, by the command line.

Sources: https://spec.matrix.org/v1.19/client-server-api/#legacy-account-registration,
https://spec.matrix.org/v1.19/client-server-api/#token-authenticated-registration
"""

from dataclasses import dataclass

from federation.core.errors import InvalidIdentifier
from federation.core.ids import ServerName, UserID, new_user_id
from homeserver.clock import Clock
from homeserver.config.schema import Registration as Options
from homeserver.errors import Forbidden, InvalidUsername, UserInUse
from homeserver.model.devices import NewDevice
from homeserver.model.nids import UserNid
from homeserver.model.tokens import Login
from homeserver.services.interactive_auth import DUMMY, REGISTRATION_TOKEN, Demand, InteractiveAuth, Passed
from homeserver.services.passwords import Passwords, Secured, check_length
from homeserver.services.sessions import Sessions
from homeserver.storage import accounts, registration_tokens
from homeserver.storage.database import Database, Write
from homeserver.storage.names import Names


@dataclass(frozen=True, slots=True)
class Registration:
    """Makes accounts."""

    options: Options
    server_name: ServerName
    db: Database
    clock: Clock
    names: Names
    passwords: Passwords
    interactive_auth: InteractiveAuth
    sessions: Sessions

    def demand(self) -> Demand:
        """Return what people must do to register. Raises `Forbidden` where they may not at all."""
        if not self.options.enabled:
            raise Forbidden("Registration is not open on this server")
        return Demand("register", ((REGISTRATION_TOKEN if self.options.tokens_required else DUMMY,),))

    def user_id_for(self, username: str) -> UserID:
        """Return the user ID that a name would get. Raises `InvalidUsername`.

        Names are lower-cased: two that differ in case alone would be taken for one another.
        """
        try:
            return new_user_id(username.lower(), self.server_name)
        except InvalidIdentifier as error:
            raise InvalidUsername(f"username: {error}") from error

    async def check_free(self, username: str) -> UserID:
        """Return the user ID for a name that nobody has. Raises `InvalidUsername` or `UserInUse`."""
        user_id = self.user_id_for(username)
        if await self.db.read(lambda conn: accounts.find(conn, user_id)) is not None:
            raise in_use()
        return user_id

    async def token_is_valid(self, token: str) -> bool:
        """Return whether one more account may be made with a registration token."""
        now = self.clock.now_ms()
        return await self.db.read(lambda conn: registration_tokens.is_usable(conn, token, now))

    async def register(
        self, user_id: UserID | None, password: str, passed: Passed, device: NewDevice | None
    ) -> tuple[UserID, Login | None]:
        """Make an account for someone who has passed, with a numbered name if they chose none; log `device` in.

        Raises `UserInUse`, `WeakPassword`, or `Forbidden` if what let them pass has been used up meanwhile.
        """
        self.passwords.check_new(password)
        secured = await self.passwords.secure(password)
        opening = self.sessions.prepare(device) if device is not None else None

        def make(tx: Write) -> tuple[UserID, Login | None]:
            self.interactive_auth.use_up(tx, passed)
            token = passed.results.get(REGISTRATION_TOKEN)
            if token is not None and not registration_tokens.use(tx, token, self.clock.now_ms()):
                raise Forbidden("auth.token: no longer a valid registration token")
            chosen = user_id or self._numbered(tx)
            user = self._create(tx, chosen, secured, admin=False)
            return chosen, self.sessions.open(tx, user, chosen, opening) if opening is not None else None

        return await self.db.write(make)

    async def make(
        self, user_id: UserID, password: str, *, admin: bool, device: NewDevice | None = None
    ) -> Login | None:
        """Make an account for an operator, who may choose any password; log `device` in.

        Raises `UserInUse`, or `InvalidParam` for a password that cannot be hashed.
        """
        check_length(password)
        secured = await self.passwords.secure(password)
        opening = self.sessions.prepare(device) if device is not None else None

        def make(tx: Write) -> Login | None:
            user = self._create(tx, user_id, secured, admin=admin)
            return self.sessions.open(tx, user, user_id, opening) if opening is not None else None

        return await self.db.write(make)

    def _create(self, tx: Write, user_id: UserID, secured: Secured, *, admin: bool) -> UserNid:
        if accounts.find(tx.conn, user_id) is not None:
            raise in_use()
        user = self.names.intern_user(tx, user_id)
        accounts.create(tx, user, admin=admin, now=self.clock.now_ms())
        accounts.set_password(tx, user, secured.hash, secured.keys)
        return user

    def _numbered(self, tx: Write) -> UserID:
        """Return a free user ID with a number for its name."""
        while True:
            user_id = new_user_id(str(tx.position()), self.server_name)
            if accounts.find(tx.conn, user_id) is None:
                return user_id


def in_use() -> UserInUse:
    """Return the error for a name that somebody has or had."""
    return UserInUse("username: taken already")
