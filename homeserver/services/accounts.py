"""What a user does with their own account, and what ends it.

Sources: https://spec.matrix.org/v1.19/client-server-api/#password-management,
https://spec.matrix.org/v1.19/client-server-api/#account-deactivation
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from homeserver.clock import Clock
from homeserver.model.accounts import Requester
from homeserver.services.devices import Devices
from homeserver.services.interactive_auth import InteractiveAuth, Passed
from homeserver.services.passwords import Passwords
from homeserver.storage import accounts, tokens
from homeserver.storage.database import Database, Write

Departure = Callable[[Requester], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Accounts:
    """Changes passwords and deactivates accounts."""

    db: Database
    clock: Clock
    passwords: Passwords
    interactive_auth: InteractiveAuth
    devices: Devices
    departures: list[Departure] = field(default_factory=list)
    """What a user does before their account ends, such as leaving all rooms; filled by the composition root."""

    async def change_password(self, who: Requester, password: str, passed: Passed, *, log_others_out: bool) -> None:
        """Give the account a new password; end the user's other sessions if they say so.

        Raises `WeakPassword` or `InvalidParam`.
        """
        self.passwords.check_new(password)
        secured = await self.passwords.secure(password)

        def change(tx: Write) -> None:
            self.interactive_auth.use_up(tx, passed)
            accounts.set_password(tx, who.user, secured.hash, secured.keys)
            # A login token that was made before must not outlive the password that proved its maker.
            tokens.remove_of_user(tx, who.user)
            if log_others_out:
                self.devices.end(tx, who.user, but=who.device)

        await self.db.write(change)

    async def deactivate(self, who: Requester, passed: Passed, *, erase: bool) -> None:
        """End the account: nobody logs in to it again and nobody gets its name.

        With `erase` what the user kept for themselves goes too. What the user does before the end comes first, so that
        it is done again if the server stops in between.
        """
        for depart in self.departures:
            await depart(who)

        def end(tx: Write) -> None:
            self.interactive_auth.use_up(tx, passed)
            self.devices.end(tx, who.user)
            tokens.remove_of_user(tx, who.user)
            accounts.deactivate(tx, who.user, self.clock.now_ms())
            if erase:
                accounts.erase(tx, who.user)

        await self.db.write(end)
