"""User-interactive authentication: one mechanism for every endpoint that asks who you are once more.

A door says what it demands, and gets a `Passed` or an error with the flows; the write of the endpoint then uses
the `Passed` up, so that it works once. A session is bound to its user and to its purpose: the endpoint and what
it is to do.

Source: https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from homeserver.clock import Clock, Ids
from homeserver.errors import BadJson, Forbidden, InteractiveAuthRequired, MatrixError
from homeserver.model.accounts import Requester
from homeserver.storage import interactive_sessions
from homeserver.storage.database import Database, Write
from homeserver.storage.interactive_sessions import InteractiveSession

PASSWORD = "m.login.password"  # noqa: S105 - the name of a stage
DUMMY = "m.login.dummy"
REGISTRATION_TOKEN = "m.login.registration_token"  # noqa: S105 - the name of a stage

SESSION_MS = 3_600_000

AuthData = Mapping[str, Any]
Flow = tuple[str, ...]
Stage = Callable[[Requester | None, AuthData], Awaitable[Any]]
"""Performs a stage; returns what is to be kept of it as JSON. Raises `Forbidden` if the attempt failed."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What an endpoint wants proven, by one of the flows."""

    purpose: str
    flows: tuple[Flow, ...]
    who: Requester | None = None


@dataclass(frozen=True, slots=True)
class Passed:
    """A demand that has been met; good for one write."""

    session_id: str | None
    results: Mapping[str, Any] = field(default_factory=dict)
    """What the stages said, by their types."""


@dataclass(frozen=True, slots=True)
class InteractiveAuth:
    """Leads clients through the flows."""

    db: Database
    clock: Clock
    ids: Ids
    stages: Mapping[str, Stage]

    async def check(self, demand: Demand, auth: AuthData | None) -> Passed:
        """Take what the client says in `auth`, and return once one of the flows is completed.

        Raises `InteractiveAuthRequired` with the flows, what is completed, and why an attempt failed; `BadJson`
        for `auth` of a wrong form; `LimitExceeded` and what else a stage raises.
        """
        kind = _text(auth, "type")
        session_id = _text(auth, "session")
        stored = await self._find(demand, session_id) if session_id is not None else None
        session = stored or self._new(demand)
        if auth is None or (session_id is None and kind is None):
            raise await self._ask(demand, session, stored)
        if session_id is not None and stored is None:
            raise await self._ask(
                demand, session, stored, Forbidden("auth.session: unknown, expired, or of another request")
            )
        # A completed stage is not tried again.
        if kind is not None and kind not in session.completed:
            try:
                result = await self._perform(demand, session, kind, auth)
            except Forbidden as error:
                raise await self._ask(demand, session, stored, error) from error
            session = replace(session, completed=(*session.completed, kind), results={**session.results, kind: result})
        if session.completed in demand.flows:
            return Passed(stored.session_id if stored is not None else None, session.results)
        raise await self._ask(demand, session, stored)

    def use_up(self, tx: Write, passed: Passed) -> None:
        """End the session in the write that it was for. Raises `Forbidden` if another request has used it already."""
        if passed.session_id is not None and not interactive_sessions.remove(tx, passed.session_id):
            raise Forbidden("auth.session: has been used already")

    async def prune(self) -> None:
        """Remove expired sessions."""
        now = self.clock.now_ms()
        await self.db.write(lambda tx: interactive_sessions.prune(tx, now))

    async def _find(self, demand: Demand, session_id: str) -> InteractiveSession | None:
        if "\0" in session_id:
            return None  # PostgreSQL cannot even look for it.
        now = self.clock.now_ms()
        found = await self.db.read(lambda conn: interactive_sessions.find(conn, session_id, now))
        user = demand.who.user if demand.who is not None else None
        if found is None or found.purpose != demand.purpose or found.user != user:
            return None
        return found

    def _new(self, demand: Demand) -> InteractiveSession:
        user = demand.who.user if demand.who is not None else None
        return InteractiveSession(self.ids.token(), demand.purpose, user, (), {}, self.clock.now_ms() + SESSION_MS)

    async def _perform(self, demand: Demand, session: InteractiveSession, kind: str, auth: AuthData) -> Any:
        reached = len(session.completed)
        if not any(flow[: reached + 1] == (*session.completed, kind) for flow in demand.flows):
            raise Forbidden(f"auth.type: {kind} is not the next stage of any flow")
        return await self.stages[kind](demand.who, auth)

    async def _ask(
        self, demand: Demand, session: InteractiveSession, stored: InteractiveSession | None,
        error: MatrixError | None = None,
    ) -> InteractiveAuthRequired:  # fmt: skip
        """Store how far the client has come; return the answer with what is left to do."""
        if stored is None:
            await self.db.write(lambda tx: interactive_sessions.add(tx, session))
        elif session is not stored:
            await self.db.write(lambda tx: interactive_sessions.set_completed(tx, session))
        body: dict[str, Any] = {
            "flows": [{"stages": list(flow)} for flow in demand.flows],
            "params": {},
            "session": session.session_id,
        }
        if session.completed:
            body["completed"] = list(session.completed)
        if error is not None:
            body |= {"errcode": error.errcode, "error": error.message}
        return InteractiveAuthRequired(body)


def _text(auth: AuthData | None, name: str) -> str | None:
    value = auth.get(name) if auth is not None else None
    if value is not None and not isinstance(value, str):
        raise BadJson(f"auth.{name}: expected a text")
    return value
