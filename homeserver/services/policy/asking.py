"""Asking policy servers for their signatures, outside of writes.

https://spec.matrix.org/v1.19/server-server-api/#asking-for-a-policy-server-signature-on-an-event

A policy server is a stranger who can hold up a room: everything is bounded in time and in number, and what it answers
counts only as far as it is its valid signature.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TypeVar

import structlog

from federation.core.errors import ProtocolError
from federation.core.events.pdu import Pdu
from federation.core.ids import ServerName
from federation.core.policy import PolicyServer, is_exempt, is_recommended, recommended
from federation.matrix.client import FederationClient
from federation.matrix.errors import FederationError, RemoteError, Unreachable
from homeserver.clock import Clock
from homeserver.errors import Forbidden, LimitExceeded, MatrixError, NotFound, OtherServerFailed
from homeserver.services.policy.recommendations import Answers, Lacking, Unsigned
from homeserver.services.refusals import LONGEST_TEXT, public
from homeserver.storage.database import Database, Write

log = structlog.get_logger()
T = TypeVar("T")

SECONDS = 20.0
"""How long all that one write wants to know may take."""
ROUNDS = 8
"""How often a write is done again because the room has changed, or wants more."""
AT_ONCE = 50
"""Questions for events of ours, and as many for those of others, that are on their way at the same time."""
OF_ONE_WRITE = 5
ATTEMPTS = 3
LONGEST_WAIT_SECONDS = 3.0
"""For how long a policy server that is busy is waited for, before it is asked again."""
NEWS_SECONDS = 0.5
RETRY_MS = 5_000
REST_SECONDS = 10.0
"""For how long nobody asks a policy server about events of others after it did not answer."""
MOST_RESTS = 1_000


@dataclass(frozen=True, slots=True)
class PolicyAsking:
    """Asks policy servers."""

    client: FederationClient
    clock: Clock
    _for_ours: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _for_others: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _rests: OrderedDict[ServerName, float] = field(default_factory=OrderedDict)

    async def ask(self, lacking: Sequence[Lacking], seconds: float, *, ours: bool) -> list[Pdu | MatrixError]:
        """Return for each event its form with the policy server's signature, or why there is none.

        For an event of ours it is worth a try whatever was before; about those of others a policy server that did not
        answer just now is not asked.
        """
        until = self.clock.monotonic() + seconds
        places = asyncio.Semaphore(OF_ONE_WRITE)

        async def one(policy: PolicyServer, event: Pdu) -> Pdu | MatrixError:
            async with places, self._for_ours if ours else self._for_others:
                left = until - self.clock.monotonic()
                if left <= 0 or (not ours and self._rests_now(policy.name)):
                    return OtherServerFailed(f"The room's policy server {policy.name} does not answer")
                return await self._within(left, policy, event)

        return await asyncio.gather(*(one(policy, event) for policy, event in lacking))

    def forget(self) -> None:
        """Forget who did not answer."""
        self._rests.clear()

    async def _within(self, seconds: float, policy: PolicyServer, event: Pdu) -> Pdu | MatrixError:
        try:
            async with asyncio.timeout(seconds):
                return await self._signed(policy, event)
        except (FederationError, ProtocolError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            log.info("event_not_recommended", room_id=event.room_id, event_id=event.event_id, reason=reason)
            if isinstance(error, Unreachable | TimeoutError):
                self._rest(policy.name)
            return _refusal(error, policy.name)

    async def _signed(self, policy: PolicyServer, event: Pdu) -> Pdu:
        for attempt in count(1):
            try:
                answer = await self.client.policy_sign(policy.name, event.fields)
                break
            except RemoteError as error:
                wait = _worth_waiting(error)
                if wait is None or attempt == ATTEMPTS:
                    raise
                await self.clock.sleep(wait)
        return recommended(event, policy, answer)

    def _rests_now(self, server: ServerName) -> bool:
        return self._rests.get(server, 0.0) > self.clock.monotonic()

    def _rest(self, server: ServerName) -> None:
        self._rests[server] = self.clock.monotonic() + REST_SECONDS
        self._rests.move_to_end(server)
        if len(self._rests) > MOST_RESTS:
            self._rests.popitem(last=False)


@dataclass(frozen=True, slots=True)
class PolicedWrites:
    """Writes events into rooms, whatever policy servers these have."""

    db: Database
    asking: PolicyAsking
    clock: Clock

    async def write(self, fn: Callable[[Write], T], among: Sequence[Pdu] = ()) -> T:
        """Do a write that stores events; where policy servers want to be asked first, ask, and do it then.

        `among` are the events that it is to store, if they are of other servers; else it makes them. Raises what the
        write raises: for an event of ours that a policy server refuses, `Forbidden` in its words, and where it cannot
        be asked, `OtherServerFailed` or `LimitExceeded`.
        """
        try:
            return await self.db.write(fn)
        except Unsigned as unsigned:
            return await self._ask_and_write(fn, among, unsigned.lacking)

    async def _ask_and_write(self, fn: Callable[[Write], T], among: Sequence[Pdu], lacking: Sequence[Lacking]) -> T:
        answers = Answers(self.clock.now_ms())
        until = self.clock.monotonic() + SECONDS
        for asked in count(1):
            wanted = self._with_others(answers, lacking, among)
            seconds = until - self.clock.monotonic()
            answers.add(wanted, await self.asking.ask(wanted, seconds, ours=not among))
            answers.is_last = asked == ROUNDS
            try:
                return await self.db.write(partial(_carrying, fn, answers))
            except Unsigned as unsigned:
                lacking = unsigned.lacking
        raise AssertionError("the last write asks for nothing")

    def _with_others(self, answers: Answers, lacking: Sequence[Lacking], among: Sequence[Pdu]) -> list[Lacking]:
        """Return what is lacking, with the other events of the same room that will lack it when their turn comes."""
        wanted = {event.event_id: (policy, event) for policy, event in lacking}
        policy = lacking[0][0]
        for event in among:
            if not (is_exempt(event) or answers.has(policy, event) or is_recommended(event, policy)):
                wanted.setdefault(event.event_id, (policy, event))
        return list(wanted.values())


def _carrying(fn: Callable[[Write], T], answers: Answers, tx: Write) -> T:
    tx.carried = answers
    return fn(tx)


def _worth_waiting(error: RemoteError) -> float | None:
    """Return after how many seconds a policy server may say something else, None if that is not to be expected."""
    if error.status == LimitExceeded.status and error.retry_after_ms is not None:
        seconds = error.retry_after_ms / 1000
        return seconds if seconds <= LONGEST_WAIT_SECONDS else None
    # It may not have heard yet that it is the room's policy server.
    return NEWS_SECONDS if error.errcode == NotFound.errcode else None


def _refusal(error: Exception, server: ServerName) -> MatrixError:
    """Return what a client is told: as far as may be the policy server's own words."""
    if isinstance(error, RemoteError):
        if error.errcode == Forbidden.errcode:
            return Forbidden(error.error[:LONGEST_TEXT] or f"The room's policy server {server} refuses the event")
        if error.status == LimitExceeded.status:
            return LimitExceeded(error.retry_after_ms or RETRY_MS)
    if isinstance(error, FederationError):
        return public(error, server)
    if isinstance(error, ProtocolError):
        return OtherServerFailed(f"The room's policy server {server} gave no signature for the event: {error}")
    return OtherServerFailed(f"The room's policy server {server} took too long")
