"""What tests of accounts share: passwords as authentication, administrators, the accounts as they are stored."""

from typing import Any

from federation.core.ids import UserID
from homeserver.model.accounts import Account
from homeserver.storage import accounts
from tests.support.world import PASSWORD, User, World, ok

LOGIN = "/_matrix/client/v3/login"


def password_of(user: User, password: str = PASSWORD, **more: Any) -> dict[str, Any]:
    """Return the user's password as user-interactive authentication wants it."""
    identifier = {"type": "m.id.user", "user": user.user_id}
    return {"type": "m.login.password", "identifier": identifier, "password": password, **more}


async def logs_in(world: World, name: str, password: str = PASSWORD, **body: Any) -> tuple[int, Any]:
    """Log in by name and password."""
    body = {"identifier": {"type": "m.id.user", "user": name}, **body}
    return await world.request("POST", LOGIN, {"type": "m.login.password", "password": password, **body})


async def administrator(world: World) -> User:
    """Make an administrator and log them in."""
    registration = world.app.services.registration
    user_id = registration.user_id_for("root")
    await registration.make(user_id, PASSWORD, admin=True)
    answer = ok(await logs_in(world, "root"))
    return User(world, user_id, answer["access_token"], answer["device_id"])


async def account_of(world: World, user_id: str) -> Account:
    """Return an account as it is stored."""
    account = await world.app.db.read(lambda conn: accounts.find(conn, UserID(user_id)))
    assert account is not None
    return account
