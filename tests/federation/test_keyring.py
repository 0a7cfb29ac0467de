"""The keyring: whose keys it finds, whom it asks and how often, and whom it believes."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from federation.core.auth.receipt import Received, Verdict, VerdictKind
from federation.core.errors import BadSignature
from federation.core.events.draft import Draft, build
from federation.core.events.pdu import Pdu
from federation.core.ids import RoomID, ServerName, UserID
from federation.core.room_versions import ROOM_VERSIONS
from federation.core.server_keys import KeyDocument, RetiredKey, ServerKey, make
from federation.core.signing import SigningKey, sign_json
from federation.matrix import keyring as module
from federation.matrix.errors import Unreachable
from federation.matrix.keyring import Keyring
from federation.matrix.ports import KeysOfServer

US, THEM, NOTARY, OTHER = (ServerName(f"{name}.example") for name in ("us", "them", "notary", "other"))
OURS = SigningKey.generate("ours")
HOUR = 60 * 60 * 1000
DAY = 24 * HOUR
NOW = 1_700_000_000_000
FOR_EVER = 2**53 - 1


@dataclass
class Server:
    """A server with keys, as others see it."""

    name: ServerName
    key: SigningKey
    retired: tuple[RetiredKey, ...] = ()
    lives_ms: int = DAY
    down: bool = False
    says: Callable[[dict[str, Any]], Any] = lambda document: document
    """What becomes of its document."""


@dataclass
class Network:
    """Time, the other servers, and what is stored of them."""

    now: int = NOW
    servers: dict[ServerName, Server] = field(default_factory=dict)
    asked: Counter[tuple[ServerName, ...]] = field(default_factory=Counter)
    stored: dict[ServerName, KeysOfServer] = field(default_factory=dict)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when somebody is asked."""
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Answers come once it is set."""
    notarised: Callable[[dict[str, Any]], Any] = lambda document: document

    def now_ms(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1000

    def waits(self, seconds: float) -> None:
        self.now += int(seconds * 1000)

    def server(self, name: ServerName, **settings: Any) -> Server:
        self.servers[name] = Server(name, SigningKey.generate("one"), **settings)
        return self.servers[name]

    async def server_keys(self, destination: ServerName) -> Mapping[str, Any]:
        self.asked[(destination,)] += 1
        self.begun.set()
        await self.held.wait()
        return self._document(destination)

    async def query_keys(self, notary: ServerName, wants: Mapping[ServerName, Mapping[str, int]]) -> Mapping[str, Any]:
        self.asked[(notary, *sorted(wants))] += 1
        await self.held.wait()
        if self.servers[notary].down:
            raise Unreachable("the notary is down")
        known = [name for name in wants if name in self.servers]
        signed = [sign_json(self._document(name, even_down=True), notary, self.servers[notary].key) for name in known]
        return {"server_keys": [self.notarised(document) for document in signed]}

    def _document(self, name: ServerName, *, even_down: bool = False) -> Any:
        server = self.servers.get(name)
        if server is None or (server.down and not even_down):
            raise Unreachable(f"{name} is down")
        return server.says(make(name, [server.key], server.retired, self.now + server.lives_ms))

    async def load(self, servers: Collection[ServerName]) -> Mapping[ServerName, KeysOfServer]:
        return {name: self.stored[name] for name in servers if name in self.stored}

    async def save(self, learnt: Sequence[tuple[KeyDocument, KeysOfServer]]) -> None:
        for document, keys in learnt:
            self.stored[document.server] = keys

    def keyring(self, *notaries: ServerName) -> Keyring:
        own = {OURS.key_id: ServerKey(OURS.key_id, OURS.public_key, FOR_EVER, current=True)}
        return Keyring(lambda: (US, own), self, self, self, notaries)


@pytest.fixture
def network() -> Network:
    made = Network()
    made.held.set()
    return made


@pytest.fixture
async def keyring(network: Network) -> AsyncIterator[Keyring]:
    made = network.keyring()
    yield made
    await made.close()


@pytest.fixture
async def careful(network: Network) -> AsyncIterator[Keyring]:
    """A keyring that trusts a notary."""
    network.server(NOTARY)
    made = network.keyring(NOTARY)
    yield made
    await made.close()


def event(server: Server, *, version: str = "11", ts: int = NOW, text: str = "hi") -> Pdu:
    draft = Draft(RoomID("!room:other.example"), "m.room.message", UserID(f"@alice:{server.name}"), {"body": text})
    return build(
        draft, version=ROOM_VERSIONS[version], prev_events=[], auth_events=[], depth=2, now_ms=ts,
        server_name=server.name, key=server.key,
    )  # fmt: skip


def signed(server: Server, **fields: Any) -> dict[str, Any]:
    return sign_json(fields, server.name, server.key)


async def passes(keyring: Keyring, *events: Pdu) -> list[bool]:
    verdicts = await keyring.verify_events(events)
    for verdict in verdicts:
        assert isinstance(verdict, Received) or (isinstance(verdict, Verdict) and verdict.kind is VerdictKind.DROPPED)
    return [isinstance(verdict, Received) for verdict in verdicts]


async def test_a_server_is_asked_for_its_keys_once(network: Network, keyring: Keyring) -> None:
    them = network.server(THEM)
    assert await passes(keyring, event(them)) == [True]
    assert await passes(keyring, event(them)) == [True]
    await keyring.verify_json(signed(them, one=1), THEM, now_ms=network.now)
    assert network.asked == {(THEM,): 1}
    assert network.stored[THEM][them.key.key_id].public_key == them.key.public_key


async def test_what_is_stored_is_not_asked_for(network: Network, keyring: Keyring) -> None:
    them = network.server(THEM)
    await passes(keyring, event(them))
    after_a_restart = network.keyring()
    assert await passes(after_a_restart, event(them)) == [True]
    await after_a_restart.close()
    assert network.asked == {(THEM,): 1}


async def test_we_do_not_ask_ourselves(network: Network, keyring: Keyring) -> None:
    us = Server(US, OURS)
    stranger = Server(US, SigningKey.generate("stranger"))
    assert await passes(keyring, event(us), event(stranger), event(us, ts=NOW + 1000 * DAY)) == [True, False, True]
    assert not network.asked


async def test_many_events_are_checked_in_order_and_each_server_is_asked_once(
    network: Network, keyring: Keyring
) -> None:
    servers = [network.server(ServerName(f"s{number}.example"), down=number == 3) for number in range(5)]
    events = [event(server, text=str(number)) for number in range(50) for server in servers]
    verdicts = await keyring.verify_events(events)
    for sent, verdict in zip(events, verdicts, strict=True):
        if sent.sender.endswith(":s3.example"):
            assert isinstance(verdict, Verdict)
        else:
            assert isinstance(verdict, Received)
            assert verdict.event.event_id == sent.event_id
    assert set(network.asked.values()) == {1}


async def test_who_asks_at_the_same_time_waits_for_the_same_answer(network: Network, keyring: Keyring) -> None:
    them = network.server(THEM)
    network.held.clear()
    waiting = [asyncio.create_task(passes(keyring, event(them))) for _ in range(20)]
    await network.begun.wait()
    waiting[0].cancel()
    network.held.set()
    assert [await one for one in waiting[1:]] == [[True]] * 19
    assert network.asked == {(THEM,): 1}


async def test_a_silent_server_is_left_in_peace_for_longer_and_longer(network: Network, keyring: Keyring) -> None:
    them = network.server(THEM, down=True)
    tried = []
    for second in range(2000):
        before = network.asked.total()
        await passes(keyring, event(them))
        if network.asked.total() > before:
            tried.append(second)
        network.waits(1)
    pauses = [after - before for before, after in itertools.pairwise(tried)]
    assert pauses[:4] == [2, 4, 8, 16]
    assert pauses == sorted(pauses)
    assert pauses[-1] == module.LONGEST_SILENCE_SECONDS
    them.down = False
    network.waits(module.LONGEST_SILENCE_SECONDS)
    assert await passes(keyring, event(them)) == [True]


async def test_what_is_remembered_of_silent_servers_is_bounded(
    network: Network, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_RESTS", 10)
    monkeypatch.setattr(module, "MOST_SERVERS", 10)
    for number in range(30):
        network.server(ServerName(f"up{number}.example"))
        await passes(keyring, event(network.servers[ServerName(f"up{number}.example")]))
        await passes(keyring, event(Server(ServerName(f"down{number}.example"), OURS)))
    assert len(keyring._rests) == 10
    assert len(keyring._memory) == 10


async def test_a_new_key_is_fetched_when_it_is_first_used(network: Network, keyring: Keyring) -> None:
    them = network.server(THEM)
    old = event(them)
    await passes(keyring, old)
    network.waits(module.REST_SECONDS)
    them.retired = (RetiredKey(them.key.key_id, them.key.public_key, network.now),)
    before, them.key = them.key, SigningKey.generate("two")
    assert await passes(keyring, event(them, ts=network.now), old) == [True, True]
    assert network.asked == {(THEM,): 2}

    # The old key is for events of its time, and for nothing else.
    late = event(Server(THEM, before), ts=network.now + 1)
    assert await passes(keyring, late) == [False]
    with pytest.raises(BadSignature):
        await keyring.verify_json(sign_json({}, THEM, before), THEM, now_ms=network.now)
    assert await passes(keyring, event(Server(THEM, before), version="4", ts=network.now + 1)) == [True]


async def test_a_key_that_its_server_does_not_name_any_more_signs_no_requests(
    network: Network, keyring: Keyring
) -> None:
    them = network.server(THEM)
    await keyring.verify_json(signed(them), THEM, now_ms=network.now)
    before, them.key = them.key, SigningKey.generate("two")
    network.waits(module.REST_SECONDS)
    await keyring.verify_json(signed(them), THEM, now_ms=network.now)
    network.waits(module.REST_SECONDS)
    with pytest.raises(BadSignature):
        await keyring.verify_json(sign_json({}, THEM, before), THEM, now_ms=network.now)
    assert await passes(keyring, event(Server(THEM, before))) == [True], "it was good when it was sent"


async def test_a_document_that_has_run_out_is_fetched_anew(network: Network, keyring: Keyring) -> None:
    them = network.server(THEM, lives_ms=HOUR)
    await keyring.verify_json(signed(them), THEM, now_ms=network.now)
    network.waits(2 * 60 * 60)
    assert await passes(keyring, event(them, ts=NOW)) == [True]
    assert network.asked == {(THEM,): 1}, "for an old event the old document does"
    await keyring.verify_json(signed(them), THEM, now_ms=network.now)
    assert network.asked == {(THEM,): 2}

    them.down = True
    network.waits(2 * 60 * 60)
    with pytest.raises(BadSignature):
        await keyring.verify_json(signed(them), THEM, now_ms=network.now)
    assert await passes(keyring, event(them, ts=network.now)) == [False]
    assert await passes(keyring, event(them, ts=network.now, version="4")) == [True]


async def test_no_key_is_good_for_more_than_a_week(network: Network, keyring: Keyring) -> None:
    them = network.server(THEM, lives_ms=1000 * DAY)
    week = [event(them, ts=NOW + days * DAY) for days in (6, 7, 8, 100)]
    assert await passes(keyring, *week) == [True, True, False, False]
    network.waits(10)
    assert await passes(keyring, *week) == [True, True, False, False]
    assert network.asked == {(THEM,): 1}, "nobody is asked for a key that nobody can have"


async def test_a_server_that_changes_a_key_is_believed_for_what_comes(network: Network, keyring: Keyring) -> None:
    them = network.server(THEM)
    await passes(keyring, event(them))
    before, them.key = them.key, SigningKey.generate("one")
    network.waits(2 * 24 * 60 * 60)
    await keyring.verify_json(signed(them), THEM, now_ms=network.now)
    with pytest.raises(BadSignature):
        await keyring.verify_json(sign_json({}, THEM, before), THEM, now_ms=network.now)


LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "of another server": lambda document: {**document, "server_name": OTHER},
    "not signed": lambda document: {**document, "signatures": {}},
    "changed after it was signed": lambda document: {**document, "valid_until_ts": NOW + 5 * DAY},
    "no keys": lambda document: {**document, "verify_keys": {}},
    "a key that is none": lambda document: {**document, "verify_keys": {"ed25519:one": {"key": "AAAA"}}},
    "not a document": lambda _: {"errcode": "M_NOT_FOUND"},
    "nothing": lambda _: {},
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_server_that_lies_of_its_keys_has_none(network: Network, keyring: Keyring, lie: str) -> None:
    them = network.server(THEM, says=LIES[lie])
    assert await passes(keyring, event(them)) == [False]
    assert THEM not in network.stored


async def test_a_name_that_is_none_is_not_asked(network: Network, keyring: Keyring) -> None:
    nobody = Server(ServerName("999.999.999.999"), OURS)
    assert await passes(keyring, event(nobody)) == [False]
    assert not network.asked


async def test_a_server_that_fails_in_a_way_nobody_thought_of_costs_nothing_but_its_events(
    network: Network, keyring: Keyring
) -> None:
    def break_(_: object) -> Any:
        raise RuntimeError("a fault of ours")

    them, other = network.server(THEM, says=break_), network.server(OTHER)
    assert await passes(keyring, event(them), event(other)) == [False, True]


async def test_a_server_that_never_answers_is_waited_for_a_while(
    network: Network, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.02)
    them = network.server(THEM)
    network.held.clear()
    assert await passes(keyring, event(them)) == [False]


async def test_a_dead_servers_keys_come_from_a_notary(network: Network, careful: Keyring) -> None:
    them, other, up = network.server(THEM, down=True), network.server(OTHER, down=True), network.server(US)
    up.name = ServerName("up.example")
    network.servers[up.name] = up
    assert await passes(careful, *[event(server) for server in (them, other, up, them, other)]) == [True] * 5
    assert network.asked == {(THEM,): 1, (OTHER,): 1, (up.name,): 1, (NOTARY,): 1, (NOTARY, OTHER, THEM): 1}


@pytest.mark.parametrize("lie", [*LIES, "not signed by the notary", "signed wrongly by the notary"])
async def test_a_notary_that_lies_is_not_believed(network: Network, careful: Keyring, lie: str) -> None:
    them = network.server(THEM, down=True)
    if lie == "not signed by the notary":
        network.notarised = lambda document: {**document, "signatures": {THEM: document["signatures"][THEM]}}
    elif lie == "signed wrongly by the notary":
        network.notarised = lambda document: {
            **document, "signatures": {**document["signatures"], NOTARY: {"ed25519:one": "A" * 86}}
        }  # fmt: skip
    else:
        network.notarised = LIES[lie]
    assert await passes(careful, event(them)) == [False]
    assert THEM not in network.stored
    await passes(careful, event(them))
    assert network.asked[(NOTARY, THEM)] == 1, "it is left in peace, too"


@pytest.mark.parametrize("answer", [None, 5, {}, [None], [[]], [{"server_name": [THEM]}], [{"server_name": OTHER}]])
async def test_a_notary_that_answers_nonsense_is_not_believed(network: Network, answer: Any) -> None:
    them = network.server(THEM, down=True)
    network.server(NOTARY)

    async def query(notary: ServerName, wants: object) -> Mapping[str, Any]:
        return {"server_keys": answer}

    network.query_keys = query  # type: ignore[assignment]
    keyring = network.keyring(NOTARY)
    assert await passes(keyring, event(them)) == [False]
    await keyring.close()


async def test_a_notary_cannot_change_a_key_that_we_know(network: Network, careful: Keyring) -> None:
    them = network.server(THEM, lives_ms=HOUR)
    await passes(careful, event(them))
    network.waits(2 * 60 * 60)
    them.down = True
    forged = Server(THEM, SigningKey.generate("one"))
    network.servers[THEM] = Server(THEM, forged.key, down=True)
    assert await passes(careful, event(forged, ts=network.now), event(them)) == [False, True]


async def test_a_key_that_we_have_lost_comes_from_a_notary_for_old_events_alone(
    network: Network, careful: Keyring
) -> None:
    lost = network.server(US)
    ours = Server(US, OURS)
    assert await passes(careful, event(lost), event(ours), event(Server(US, SigningKey.generate("x")))) == [
        True,
        True,
        False,
    ]
    assert network.asked == {(NOTARY, US): 1, (NOTARY,): 1}
    with pytest.raises(BadSignature):
        await careful.verify_json(signed(lost), US, now_ms=network.now)
    await careful.verify_json(signed(ours), US, now_ms=network.now)


async def test_a_notary_does_not_change_a_key_of_ours(network: Network, careful: Keyring) -> None:
    forged = network.server(US)
    forged.key = SigningKey.generate("ours")
    other = SigningKey.generate("other")
    assert await passes(careful, event(Server(US, other))) == [False]
    assert await passes(careful, event(forged), event(Server(US, OURS))) == [False, True]


async def test_a_dead_notary_delays_nothing_but_what_depends_on_it(network: Network, careful: Keyring) -> None:
    network.servers[NOTARY].down = True
    them, other = network.server(THEM, down=True), network.server(OTHER)
    assert await passes(careful, event(them), event(other)) == [False, True]


async def test_the_notarys_own_keys_come_from_itself_alone(network: Network, careful: Keyring) -> None:
    them = network.server(THEM, down=True)
    real = network.servers[NOTARY]
    # Whoever answers in the notary's place has not got its key.
    network.servers[NOTARY] = Server(NOTARY, SigningKey.generate("one"))
    await careful.verify_json(sign_json({}, NOTARY, network.servers[NOTARY].key), NOTARY, now_ms=network.now)
    network.servers[NOTARY] = real
    assert await passes(careful, event(them)) == [False]


async def test_a_liar_that_names_hundreds_of_keys_costs_one_request(network: Network, careful: Keyring) -> None:
    them = network.server(THEM, down=True)
    fields = dict(event(them).fields)
    fields["signatures"] = {THEM: {f"ed25519:x{number}": "A" * 86 for number in range(500)}}
    asked: list[int] = []
    query = network.query_keys

    async def counting(notary: ServerName, wants: Mapping[ServerName, Mapping[str, int]]) -> Mapping[str, Any]:
        asked.extend(len(keys) for keys in wants.values())
        return await query(notary, wants)

    network.query_keys = counting  # type: ignore[method-assign]
    assert await passes(careful, Pdu.from_wire(fields, ROOM_VERSIONS["11"])) == [False]
    assert asked == [module.MOST_NAMED_KEYS]


async def test_what_is_not_signed_at_all_is_refused_without_asking(network: Network, keyring: Keyring) -> None:
    network.server(THEM)
    for obj in ({}, {"signatures": 5}, {"signatures": {THEM: {}}}, {"signatures": {THEM: {"falcon:1": "AA"}}}):
        with pytest.raises(BadSignature):
            await keyring.verify_json(obj, THEM, now_ms=network.now)
    assert not network.asked


async def test_one_wrong_signature_among_good_ones_is_refused(network: Network, keyring: Keyring) -> None:
    them = network.server(THEM)
    second = SigningKey.generate("two")
    them.says = lambda _: make(THEM, [them.key, second], (), NOW + DAY)
    good = sign_json(signed(them, one=1), THEM, second)
    await keyring.verify_json(good, THEM, now_ms=network.now)
    bad = {**good, "signatures": {THEM: {**good["signatures"][THEM], second.key_id: "A" * 86}}}
    with pytest.raises(BadSignature):
        await keyring.verify_json(bad, THEM, now_ms=network.now)


async def test_a_stop_ends_what_is_being_asked(network: Network) -> None:
    keyring = network.keyring()
    them = network.server(THEM)
    network.held.clear()
    waiting = asyncio.create_task(passes(keyring, event(them)))
    await network.begun.wait()
    await keyring.close()
    assert await waiting == [False]
