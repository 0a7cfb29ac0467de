"""Each user's push rules: kept, changed, and at hand compiled for whoever counts notifications."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection

from federation.core.ids import UserID
from homeserver.model.accounts import Requester
from homeserver.model.nids import UserNid
from homeserver.model.push_rules import Action, PushRule, RuleKind, StoredRules
from homeserver.services.live import Live
from homeserver.services.push import editing
from homeserver.services.push.rules import RuleSet, compile_rules, decode
from homeserver.storage import push_rules
from homeserver.storage.database import Database, Write
from homeserver.storage.remembered import Remembered


@dataclass(frozen=True, slots=True)
class PushRules:
    """Keeps users' push rules: https://spec.matrix.org/v1.19/client-server-api/#push-rules."""

    db: Database
    live: Live
    _compiled: Remembered[UserNid, RuleSet] = field(default_factory=Remembered)

    def rules_for(self, at: Connection | Write, users: Iterable[UserNid]) -> Mapping[UserNid, RuleSet]:
        """Return the compiled rules of each of these local users, in one query at most, and in none as a rule."""
        return self._compiled.find(at, users, _load)

    def known(self, user: UserNid) -> RuleSet | None:
        """Return a user's compiled rules if they are in memory."""
        return self._compiled.known(user)

    async def all(self, who: Requester) -> dict[str, list[dict[str, Any]]]:
        """Return the user's rules by kind, as clients get them."""
        return editing.ruleset(await self._stored(who), who.user_id)

    async def find(self, who: Requester, kind: RuleKind, rule_id: str) -> dict[str, Any]:
        """Return one rule as clients get it. Raises `NotFound`."""
        return editing.as_json(editing.find(await self._stored(who), kind, rule_id), kind, who.user_id)

    async def put(
        self, who: Requester, kind: RuleKind, rule: PushRule, *, before: str | None, after: str | None
    ) -> None:
        """Make or change a rule of the user's own. Raises what `editing.put` raises."""
        await self._change(who, lambda stored: editing.put(stored, kind, rule, before=before, after=after))

    async def delete(self, who: Requester, kind: RuleKind, rule_id: str) -> None:
        """Delete a rule of the user's own. Raises `NotFound` or `InvalidParam`."""
        await self._change(who, lambda stored: editing.delete(stored, kind, rule_id))

    async def enable(self, who: Requester, kind: RuleKind, rule_id: str, enabled: bool) -> None:
        """Turn a rule on or off. Raises `NotFound`."""
        await self._change(who, lambda stored: editing.enable(stored, kind, rule_id, enabled))

    async def set_actions(self, who: Requester, kind: RuleKind, rule_id: str, actions: Collection[Action]) -> None:
        """Change what a rule does. Raises `NotFound` or `TooLarge`."""
        await self._change(who, lambda stored: editing.set_actions(stored, kind, rule_id, actions))

    async def _stored(self, who: Requester) -> StoredRules:
        row = await self.db.read(lambda conn: push_rules.of_user(conn, who.user))
        return decode(row[1] if row is not None else None)

    def change(self, tx: Write, user: UserNid, change: Callable[[StoredRules], StoredRules]) -> None:
        """Change the rules of a user as part of a write. Raises what `change` raises."""
        row = push_rules.of_user(tx.conn, user)
        stored = decode(row[1] if row is not None else None)
        changed = change(stored)
        if changed == stored:
            return
        encoded = msgspec.json.encode(changed)
        position = push_rules.store(tx, user, encoded)
        tx.after_commit(self._compiled.learn, user, position, compile_rules(encoded))
        tx.after_commit(self.live.ring_users, position, [user])

    async def _change(self, who: Requester, change: Callable[[StoredRules], StoredRules]) -> None:
        await self.db.write(lambda tx: self.change(tx, who.user, change))


def event_content(stored: bytes | None, user_id: UserID) -> dict[str, Any]:
    """Return the content of `m.push_rules` for a stored row: https://spec.matrix.org/v1.19/client-server-api/#mpush_rules."""
    return {"global": editing.ruleset(decode(stored), user_id)}


def _load(conn: Connection, users: Collection[UserNid]) -> dict[UserNid, tuple[int, RuleSet]]:
    rows = push_rules.of_users(conn, users)
    loaded = {}
    for user in users:
        position, stored = rows.get(user, (0, None))
        loaded[user] = (position, compile_rules(stored))
    return loaded
