"""The keys of other servers: from memory, from the store, from the server itself, or through a notary, in this order.

https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys

However many ask for a server's keys at the same time, it is asked once; and after it was asked it is left in peace for
a while, which grows as it stays silent. All that is remembered is bounded.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import structlog

from federation.core.auth.receipt import Received, Verdict, keys_wanted, verify
from federation.core.errors import BadSignature, ProtocolError
from federation.core.events.pdu import Pdu
from federation.core.ids import ServerName, parse_server_name
from federation.core.server_keys import LONGEST_MS, KeyDocument, merge, read
from federation.core.signing import key_ids_of, verify_json
from federation.matrix.errors import BadAnswer, FederationError
from federation.matrix.ports import KeysOfServer, KeySource, KeyStore, Time

log = structlog.get_logger()

MOST_SERVERS = 10_000
"""Servers whose keys are kept in memory."""
MOST_RESTS = 10_000
"""Servers of which is remembered that they are not to be asked now."""
MOST_AT_ONCE = 100
"""Servers that are asked at the same time."""
PATIENCE_SECONDS = 15.0
NOTARY_PATIENCE_SECONDS = 30.0
MOST_OF_A_NOTARY = 100
"""Servers that a notary is asked about in one request."""
MOST_NAMED_KEYS = 16
"""Keys that a notary is asked for, of one server: a server has one or two, and a liar names hundreds."""
REST_SECONDS = 5.0
"""How long a server is not asked again after it has answered, whatever it has left out."""
FIRST_SILENCE_SECONDS = 2.0
LONGEST_SILENCE_SECONDS = 300.0
FEW_EVENTS = 2
"""So many are checked where they are; more go to a thread, by `PORTION` at a time."""
PORTION = 100

Question = tuple[ServerName, ServerName]
"""Who is asked for keys, and for whose."""


@dataclass(frozen=True, slots=True)
class _Want:
    """A key that is looked for, and what it must be good for."""

    server: ServerName
    key_id: str
    until_ts: int
    """It must be good until then at least."""
    for_requests: bool = False

    def is_met_by(self, keys: KeysOfServer) -> bool:
        """Return whether there is no need to ask for it."""
        key = keys.get(self.key_id)
        if key is None:
            return False
        if self.for_requests:
            return key.signs_requests_at(self.until_ts)
        # A key that is out of use will not live longer for being asked for once more.
        return not key.current or key.signs_events_at(self.until_ts)


@dataclass(frozen=True, slots=True)
class _Rest:
    """Until when somebody is not to be asked, and how often in a row that was in vain."""

    until: float
    failures: int


class Keyring:
    """Finds the keys that have signed something, and checks the signatures."""

    def __init__(
        self,
        own: Callable[[], tuple[ServerName, KeysOfServer]],
        store: KeyStore,
        source: KeySource,
        time: Time,
        notaries: Sequence[ServerName] = (),
    ) -> None:
        """Take our own name and keys, where those of others are kept and asked for, and who is trusted to know them."""
        self._own = own
        self._store = store
        self._source = source
        self._time = time
        self._notaries = notaries
        self._memory: OrderedDict[ServerName, KeysOfServer] = OrderedDict()
        self._rests: OrderedDict[Question, _Rest] = OrderedDict()
        self._asking: dict[Question, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="signatures")

    async def close(self) -> None:
        """Ask nobody any more, and end the thread."""
        asking = set(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def verify_events(self, events: Sequence[Pdu]) -> list[Received | Verdict]:
        """Check signatures and hashes of events; return for each, in order, what to go on with or why it is dropped.

        https://spec.matrix.org/v1.19/server-server-api/#validating-hashes-and-signatures-on-received-events
        """
        # No key is good for longer than that, so nobody need be asked for one.
        longest = self._time.now_ms() + LONGEST_MS
        if len(events) <= FEW_EVENTS:
            return _check(events, await self._find(_wants(events, longest)))
        loop = asyncio.get_running_loop()
        known = await self._find(await loop.run_in_executor(self._thread, _wants, events, longest))
        found: list[Received | Verdict] = []
        for start in range(0, len(events), PORTION):
            found += await loop.run_in_executor(self._thread, _check, events[start : start + PORTION], known)
        return found

    async def verify_json(self, obj: Mapping[str, Any], server: ServerName, *, now_ms: int) -> None:
        """Raise `BadSignature` unless `server` signed `obj` with a key that it uses now, and none of these wrongly.

        https://spec.matrix.org/v1.19/appendices/#checking-for-a-signature
        """
        keys = await self.keys_in_use(server, key_ids_of(obj, server), now_ms=now_ms)
        if not keys:
            raise BadSignature(f"not signed with a known key that {server} uses now")
        for key_id, public_key in keys.items():
            verify_json(obj, server, key_id, public_key)

    async def keys_in_use(self, server: ServerName, key_ids: Iterable[str], *, now_ms: int) -> dict[str, bytes]:
        """Return those of a server's keys that can be had and are good for requests, which are no events, now."""
        wants = {_Want(server, key_id, now_ms, for_requests=True) for key_id in key_ids}
        keys = (await self._find(wants)).get(server, {})
        named = [keys[want.key_id] for want in wants if want.key_id in keys]
        return {key.key_id: key.public_key for key in named if key.signs_requests_at(now_ms)}

    async def ask(self, servers: Collection[ServerName]) -> None:
        """Ask servers themselves for their keys, but those that are to be left in peace; what they say is stored."""
        await self._ask_servers([server for server in servers if server != self._own()[0]])

    async def _find(self, wants: Collection[_Want]) -> dict[ServerName, KeysOfServer]:
        """Return the keys of the servers named, with those that are looked for among them if they can be had."""
        own, _ = self._own()
        known = await self._known({want.server for want in wants})
        if lacking := _lacking(wants, known) - {own}:
            await self._ask_servers(lacking)
            known.update(await self._known(lacking))
        for notary in self._notaries:
            # A notary may know keys of ours that were lost, with which we have signed events that come back to us.
            if lacking := _lacking(wants, known) - {notary}:
                await self._ask_notary(notary, [want for want in wants if want.server in lacking])
                known.update(await self._known(lacking))
        return known

    async def _known(self, servers: Iterable[ServerName]) -> dict[ServerName, KeysOfServer]:
        """Return what memory and store have, an empty mapping for servers of which they have nothing."""
        name, keys = self._own()
        known: dict[ServerName, KeysOfServer] = {}
        unknown = []
        for server in servers:
            if server in self._memory:
                self._memory.move_to_end(server)
                known[server] = self._memory[server]
            else:
                unknown.append(server)
        if unknown:
            stored = await self._store.load(unknown)
            for server in unknown:
                # Who was asked in the meantime has told more than was stored before.
                known[server] = self._memory.get(server) or stored.get(server, {})
                if known[server] or server == name:
                    self._remember(server, known[server])
        if name in known:
            known[name] = {**{key_id: replace(key, current=False) for key_id, key in known[name].items()}, **keys}
        return known

    def _remember(self, server: ServerName, keys: KeysOfServer) -> None:
        self._memory[server] = keys
        self._memory.move_to_end(server)
        if len(self._memory) > MOST_SERVERS:
            self._memory.popitem(last=False)

    async def _ask_servers(self, servers: Collection[ServerName]) -> None:
        for server in servers:
            self._begin([(server, server)], self._ask_server, server)
        await self._end([(server, server) for server in servers])

    async def _ask_server(self, server: ServerName) -> None:
        try:
            parse_server_name(server)
            async with self._slots, asyncio.timeout(PATIENCE_SECONDS):
                answer = await self._source.server_keys(server)
            await self._learn([read(answer, server, self._time.now_ms())], first_hand=True)
        except (FederationError, ProtocolError, TimeoutError) as error:
            log.info("server_keys_unknown", server=server, reason=str(error) or type(error).__name__)
            self._rest((server, server), failed=True)
        else:
            self._rest((server, server), failed=False)

    async def _ask_notary(self, notary: ServerName, wants: Sequence[_Want]) -> None:
        by_server: dict[ServerName, dict[str, int]] = {}
        for want in wants:
            keys = by_server.setdefault(want.server, {})
            if want.key_id in keys or len(keys) < MOST_NAMED_KEYS:
                keys[want.key_id] = max(want.until_ts, keys.get(want.key_id, 0))
        open_ = [server for server in by_server if self._may_ask((notary, server))]
        for start in range(0, len(open_), MOST_OF_A_NOTARY):
            portion = {server: by_server[server] for server in open_[start : start + MOST_OF_A_NOTARY]}
            self._begin([(notary, server) for server in portion], self._query, notary, portion)
        await self._end([(notary, server) for server in by_server])

    async def _query(self, notary: ServerName, wants: Mapping[ServerName, Mapping[str, int]]) -> None:
        told: set[ServerName] = set()
        try:
            async with self._slots, asyncio.timeout(NOTARY_PATIENCE_SECONDS):
                answer = await self._source.query_keys(notary, wants)
            documents = answer.get("server_keys")
            if not isinstance(documents, list):
                raise BadAnswer(f"{notary} answered without server_keys")
            for document in documents[: MOST_NAMED_KEYS * len(wants)]:
                read_ = await self._read_notarised(document, notary, wants)
                if read_ is not None:
                    await self._learn([read_], first_hand=False)
                    told.add(read_.server)
        except (FederationError, ProtocolError, TimeoutError) as error:
            log.info("notary_failed", notary=notary, reason=str(error) or type(error).__name__)
        for server in wants:
            self._rest((notary, server), failed=server not in told)

    async def _read_notarised(
        self, fields: Any, notary: ServerName, wants: Mapping[ServerName, object]
    ) -> KeyDocument | None:
        """Return a document that a notary has signed, and so has the server; None if it is no good."""
        server = fields.get("server_name") if isinstance(fields, dict) else None
        if not isinstance(server, str) or server not in wants:
            return None
        now_ms = self._time.now_ms()
        try:
            keys = await self._keys_of_notary(notary, key_ids_of(fields, notary), now_ms)
            for key_id, public_key in keys.items():
                verify_json(fields, notary, key_id, public_key)
            return read(fields, ServerName(server), now_ms) if keys else None
        except ProtocolError as error:
            log.info("notary_lies", notary=notary, server=server, reason=str(error))
            return None

    async def _keys_of_notary(self, notary: ServerName, key_ids: Iterable[str], now_ms: int) -> dict[str, bytes]:
        """Return the notary's own keys, for which no other notary is asked."""
        wants = {_Want(notary, key_id, now_ms, for_requests=True) for key_id in key_ids}
        known = await self._known([notary])
        if _lacking(wants, known):
            await self._ask_servers([notary])
            known = await self._known([notary])
        named = [known[notary][want.key_id] for want in wants if want.key_id in known[notary]]
        return {key.key_id: key.public_key for key in named if key.signs_requests_at(now_ms)}

    async def _learn(self, documents: Sequence[KeyDocument], *, first_hand: bool) -> None:
        known = await self._known([document.server for document in documents])
        learnt: list[tuple[KeyDocument, KeysOfServer]] = []
        for document in documents:
            before = known[document.server]
            after = merge(before, document, first_hand=first_hand)
            for key_id in before.keys() & after.keys():
                if before[key_id].public_key != after[key_id].public_key:
                    log.warning("server_key_replaced", server=document.server, key_id=key_id)
            known[document.server] = after
            learnt.append((document, after))
            self._remember(document.server, after)
        await self._store.save(learnt)

    def _begin(
        self, questions: Sequence[Question], ask: Callable[..., Coroutine[Any, Any, None]], *about: object
    ) -> None:
        """Ask, unless that is being done or was done just now."""
        if any(question in self._asking or not self._may_ask(question) for question in questions):
            return
        task = asyncio.create_task(ask(*about), name="server-keys")
        for question in questions:
            self._asking[question] = task
        task.add_done_callback(lambda done: self._ended(questions, done))

    def _ended(self, questions: Sequence[Question], done: asyncio.Task[None]) -> None:
        for question in questions:
            del self._asking[question]
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("server_keys_failed", exc_info=error)
            for question in questions:
                self._rest(question, failed=True)

    async def _end(self, questions: Sequence[Question]) -> None:
        """Wait for all that is being asked; whoever waits may go away, and the others still get their answer."""
        asking = {self._asking[question] for question in questions if question in self._asking}
        if asking:
            await asyncio.wait(asking)

    def _may_ask(self, question: Question) -> bool:
        rest = self._rests.get(question)
        return question not in self._asking and (rest is None or self._time.monotonic() >= rest.until)

    def _rest(self, question: Question, *, failed: bool) -> None:
        before = self._rests.pop(question, None)
        failures = (before.failures if before is not None else 0) + 1 if failed else 0
        seconds = min(FIRST_SILENCE_SECONDS * 2 ** min(failures - 1, 10), LONGEST_SILENCE_SECONDS)
        self._rests[question] = _Rest(self._time.monotonic() + (seconds if failed else REST_SECONDS), failures)
        if len(self._rests) > MOST_RESTS:
            self._rests.popitem(last=False)


def _lacking(wants: Iterable[_Want], known: Mapping[ServerName, KeysOfServer]) -> set[ServerName]:
    return {want.server for want in wants if not want.is_met_by(known.get(want.server, {}))}


def _wants(events: Iterable[Pdu], longest: int) -> set[_Want]:
    wants = set()
    for event in events:
        ts = _validity_needed(event) or 0
        for server, key_id in keys_wanted(event):
            wants.add(_Want(server, key_id, ts if ts <= longest else 0))
    return wants


def _validity_needed(event: Pdu) -> int | None:
    """Return when a key must have been good to have signed the event; None if that does not matter."""
    return event.origin_server_ts if event.version.enforce_key_validity else None


def _check(events: Sequence[Pdu], known: Mapping[ServerName, KeysOfServer]) -> list[Received | Verdict]:
    def of(at: int | None) -> Callable[[ServerName, str], bytes | None]:
        def key_of(server: ServerName, key_id: str) -> bytes | None:
            key = known.get(server, {}).get(key_id)
            return key.public_key if key is not None and key.signs_events_at(at) else None

        return key_of

    return [verify(event, of(_validity_needed(event))) for event in events]
