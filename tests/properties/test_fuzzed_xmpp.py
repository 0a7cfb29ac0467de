"""Whatever an XMPP client sends: named errors and nothing else, one answer to each request, and no fault of ours.

Three games: bytes for the parser, dialogues for the machine of a stream, and stanzas for a session of a server that
runs, with a room and somebody else in it. `ISTHMUS_TEST_FUZZ_EXAMPLES` says how many are tried where 60 are not enough.
"""

import asyncio
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from federation.core.xmpp import namespaces, sasl
from federation.core.xmpp.element import Element, serialise
from federation.core.xmpp.errors import (
    SaslCondition,
    SaslError,
    StanzaCondition,
    StanzaError,
    StreamCondition,
    StreamError,
)
from federation.core.xmpp.framing import Framing, TcpFraming, WebSocketFraming
from federation.core.xmpp.jid import Jid
from federation.core.xmpp.stream import (
    BindWanted,
    Ended,
    Event,
    KeysWanted,
    PasswordGiven,
    Proven,
    Received,
    Settings,
    State,
    Stream,
    TlsWanted,
)
from federation.core.xmpp.xml import (
    AFTER_LOGIN,
    BEFORE_LOGIN,
    Completed,
    Limits,
    Parsed,
    Parser,
    parse_frame,
)
from tests.core.xmpp.scram import keys_of
from tests.properties.test_fuzzed_federation import Faults
from tests.support.hostile_xmpp import BYTES, MUC, stanzas
from tests.support.raw_xmpp import HEADER, RawClient, bound
from tests.support.world import World, ok

EXAMPLES = int(os.environ.get("ISTHMUS_TEST_FUZZ_EXAMPLES", "60"))
SECONDS = 30.0
"""What no answer may take."""
PLAY = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)  # fmt: skip
CONDITIONS = {condition.element for condition in StanzaCondition}
PING = "<ping xmlns='urn:xmpp:ping'/>"

# Bytes for the parser


def read(parser: Parser, pieces: list[bytes], rests: bool) -> tuple[list[Parsed], StreamCondition | None]:
    """Return what a parser finds in pieces of input, and by which error it ends."""
    found: list[Parsed] = []
    try:
        for piece in pieces:
            if rests:
                parser.rest_between_stanzas()
            found += parser.feed(piece)
    except StreamError as error:
        with pytest.raises(StreamError):
            parser.feed(b" ")
        return found + parser.rest(), error.condition
    return found, None


def size(element: Element) -> int:
    return 1 + sum(map(size, element.elements()))


def depth(element: Element) -> int:
    return 1 + max(map(depth, element.elements()), default=0)


@PLAY
@given(st.lists(BYTES, max_size=30), st.lists(st.integers(1, 40), min_size=1, max_size=5), st.booleans(), st.booleans())
def test_any_bytes_are_bounded_elements_or_a_named_error(
    pieces: list[bytes], cuts: list[int], greeted: bool, rests: bool
) -> None:
    whole = (HEADER.encode() if greeted else b"") + b"".join(pieces)
    found, condition = read(Parser(BEFORE_LOGIN), [whole], rests=False)
    for one in found:
        if isinstance(one, Completed):
            assert size(one.element) <= BEFORE_LOGIN.elements
            assert depth(one.element) <= BEFORE_LOGIN.depth
            # What is written again is what was read.
            assert parse_frame(serialise(one.element, "").encode(), AFTER_LOGIN) == one.element
    # However the network cuts it, and whether or not the parser rests in between, it is the same.
    cut, at = [], 0
    for number in range(len(whole)):
        if at >= len(whole):
            break
        step = cuts[number % len(cuts)] ** 2
        cut.append(whole[at : at + step])
        at += step
    again, other = read(Parser(BEFORE_LOGIN), cut, rests)
    too_much = StreamCondition.POLICY_VIOLATION
    assert again == found or too_much in (condition, other)
    assert condition == other or too_much in (condition, other)


# Dialogues for the machine

ALICE = Jid.parse("alice@hs1")
SASL = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
MECHANISMS = (*sasl.offered(b"x"), "EXTERNAL", "", "SCRAM-SHA-1 ")
TEXTS = st.sampled_from(
    [
        "", "=", "AGFsaWNlAHNlY3JldA==", "biwsbj1hbGljZSxyPWFi", "cD10bHMtc2VydmVyLWVuZC1wb2ludCwsbj1hLHI9Yg==",
        sasl.encode(b"n,,n=alice,r=ab"), sasl.encode(b"y,a=x,n=alice,r=ab"), sasl.encode(b"c=biws,r=ab,p=AAAA"),
        sasl.encode(b"c=biws,r=abtoken1,p=" + b"A" * 28), sasl.encode(b"\0\0"), sasl.encode(b"\xff\0a\0b"),
        sasl.encode(b"n,,m=x,n=a,r=b"), sasl.encode(b"p=tls-unique,,n=a,r=b"), "A", "ü", "A===",
    ]
) | st.binary(max_size=20).map(sasl.encode)  # fmt: skip
SAID = (
    st.sampled_from(
        [
            HEADER, HEADER.replace("'hs1'", "'x'"), HEADER.replace("1.0'>", "0.9'>"),
            HEADER.replace("to=", "xml:lang="),
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='hs1' version='1.0'/>",
            "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>", "</stream:stream>",
            "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", f"<abort {SASL}/>", "<message/>", "<presence/>",
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource> </resource></bind></iq>",
            "<iq type='get' id='b'/>", "<iq type='set'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
            "<r xmlns='urn:xmpp:sm:3'/>", "<x/>", "<stream:error/>", " ", "<", "x", "<a>", "</a>",
        ]
    )
    | st.tuples(st.sampled_from(MECHANISMS), TEXTS).map(lambda of: f"<auth {SASL} mechanism='{of[0]}'>{of[1]}</auth>")
    | TEXTS.map(lambda text: f"<response {SASL}>{text}</response>")
)  # fmt: skip
ASKED = {
    "accept": (State.WANTS_VERDICT,),
    "refuse": (State.WANTS_KEYS, State.WANTS_VERDICT),
    "keys": (State.WANTS_KEYS,),
    "bind": (State.BINDING,),
    "refuse bind": (State.BINDING,),
    "resume": (State.USER,),
    "secured": (State.SECURING,),
}
"""When the application may answer what; besides, it may always come too late."""
STEPS = st.lists(
    st.tuples(SAID | st.sampled_from([*ASKED, "rest"]),
              st.booleans()),
    max_size=25,
)  # fmt: skip


class Dialogue:
    """A stream, an application that answers it now or never, and a client that understands what it says."""

    def __init__(self, *, secure: bool, websocket: bool) -> None:
        framing: Framing = WebSocketFraming(BEFORE_LOGIN) if websocket else TcpFraming(BEFORE_LOGIN)
        end_point = None if websocket else b"x"
        told = Settings("hs1", (Element("sm", "urn:xmpp:sm:3"),), frozenset({"urn:xmpp:sm:3"}), lambda: "token1")
        self.stream = Stream(told, framing, secure=secure or websocket, end_point=end_point)
        self.websocket = websocket
        self.wanted: list[Event] = []
        self.secured = secure or websocket
        self.ears = Parser(Limits(bytes=2**20))
        self.said: list[str] = []

    def hears(self) -> None:
        """Read what the server says, as a client does."""
        for text in self.stream.take_output():
            self.said.append(text)
            if self.websocket:
                element = parse_frame(text.encode(), AFTER_LOGIN)
                self.understands(element)
                continue
            if text.startswith("<?xml"):
                self.ears = Parser(Limits(bytes=2**20))
            for one in self.ears.feed(text.encode()):
                if isinstance(one, Completed):
                    self.understands(one.element)

    def understands(self, element: Element) -> None:
        if (element.name, element.namespace) == ("error", namespaces.STREAM):
            assert {child.name for child in element.elements()} - {"text"} <= set(StreamCondition)
        if (element.name, element.namespace) == ("failure", namespaces.SASL):
            assert {child.name for child in element.elements()} - {"text"} <= set(SaslCondition)

    def says(self, text: str) -> None:
        self.stream.receive(text.encode())
        while (event := self.stream.next_event()) is not None:
            assert not any(isinstance(before, Ended) for before in self.wanted)
            self.wanted.append(event)
            match event:
                case TlsWanted():
                    assert not self.secured
                case KeysWanted() | Proven() | PasswordGiven():
                    assert self.secured
                case BindWanted():
                    assert self.stream.jid == ALICE
                case Received(element):
                    assert self.stream.state in (State.USER, State.BOUND)
                    assert self.stream.state is State.BOUND or element.namespace == "urn:xmpp:sm:3"
                case Ended():
                    assert self.stream.state is State.CLOSED

    def answers(self, what: str, kind: bool) -> None:
        """Be the application, which may also be too late."""
        if self.stream.state not in (*ASKED.get(what, ()), State.CLOSED) and what != "rest":
            return
        match what:
            case "accept":
                self.stream.accept(ALICE)
            case "refuse":
                self.stream.refuse(SaslError(SaslCondition.NOT_AUTHORIZED if kind else SaslCondition.ACCOUNT_DISABLED))
            case "keys":
                self.stream.offer_keys(keys_of("sha256" if kind else "sha1", "secret", b"salt", 1))
            case "bind":
                self.stream.bind(ALICE.with_resource("x"))
            case "refuse bind":
                self.stream.refuse_bind(StanzaError(StanzaCondition.CONFLICT, "x" if kind else ""))
            case "resume":
                self.stream.resume(ALICE.with_resource("x"))
            case "secured":
                self.secured = True
                self.stream.secured(b"x" if kind else None)
            case _:
                self.stream.rest()
        self.says("")


@PLAY
@given(STEPS, st.booleans(), st.booleans())
def test_whatever_is_said_and_answered_a_stream_goes_on_or_ends_by_a_named_error(
    steps: list[tuple[str, bool]], secure: bool, websocket: bool
) -> None:
    talk = Dialogue(secure=secure, websocket=websocket)
    for what, kind in steps:
        if what in ASKED or what == "rest":
            talk.answers(what, kind)
        else:
            talk.says(what)
            # Most often the application does what it is asked.
            asked = talk.wanted[-1] if talk.wanted else None
            answer = {
                TlsWanted: "secured", KeysWanted: "keys", Proven: "accept", PasswordGiven: "accept", BindWanted: "bind",
            }.get(type(asked))  # fmt: skip
            if kind and answer is not None and asked is not None:
                talk.answers(answer, kind)
        talk.hears()
    ended = [event for event in talk.wanted if isinstance(event, Ended)]
    assert len(ended) <= 1
    if ended and not websocket:
        assert talk.said[-1].endswith("</stream:stream>")
        talk.says("<message/>")
        talk.hears()
        assert talk.wanted[-1] is ended[0]


# Stanzas for a session


class Session:
    """A session of a user, and everything that the server says to it."""

    def __init__(self, client: RawClient) -> None:
        self.client = client
        self.found: list[Element] = []
        self.ended: str | None = None
        self._ears = Parser(Limits(bytes=2**26, tag_bytes=2**22, elements=2**20))
        self._ears.feed(HEADER.encode())
        self._take(client.heard.encode())

    async def hears(self, name: str) -> list[Element]:
        """Return what the server says until it answers the ping of a name, or ends the stream."""
        async with asyncio.timeout(SECONDS):
            while self.ended is None and not any(one.get("id") == name for one in self.found):
                data = await self.client.reader.read(65536)
                if not data:
                    break
                self._take(data)
        found, self.found = self.found, []
        return found

    def _take(self, data: bytes) -> None:
        for one in self._ears.feed(data):
            if not isinstance(one, Completed):
                self.ended = self.ended or ""
                continue
            self.found.append(one.element)
            if (one.element.name, one.element.namespace) == ("error", namespaces.STREAM):
                named = {child.name for child in one.element.elements()} - {"text"}
                assert named <= set(StreamCondition), named
                self.ended = str(next(iter(named)))


class Game:
    """A server that lives as long as the test, for Hypothesis calls a plain function many times."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.faults = Faults()
        self.serial = 0
        self.seen: Counter[str] = Counter()
        """How streams ended, and what was answered."""
        self.session: Session | None = None
        self.world = self.loop.run_until_complete(self._start())

    async def _start(self) -> World:
        directory = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        world = await self.stack.enter_async_context(
            World.start(f"sqlite:///{directory}/isthmus.db", directory, XMPP__LISTEN="127.0.0.1:0")
        )
        alice, bob = await world.user("alice"), await world.user("bob")
        await world.user("carol")
        logging.getLogger().addHandler(self.faults)
        self._configured = structlog.get_config()
        structlog.configure(processors=[self.faults.hear])
        ok(await alice.post("/createRoom", {"room_alias_name": "tea", "preset": "public_chat"}))
        ok(await bob.post("/join/%23tea%3Ahs1"))
        self.alice = alice
        client = await self.stack.enter_async_context(bound(world, "bob", "play"))
        self._reading = asyncio.create_task(self._reads(client))
        await client.says(f"<presence/><presence to='tea@rooms.hs1/bob'><x xmlns='{MUC}'/></presence>")
        return world

    async def _reads(self, client: RawClient) -> None:
        while data := await client.reader.read(65536):
            self.seen["bytes to somebody else"] += len(data)

    async def _connect(self) -> Session:
        self.own = AsyncExitStack()
        client = await self.own.enter_async_context(bound(self.world, "alice", "play"))
        await client.says(f"<presence/><presence to='tea@rooms.hs1/alice'><x xmlns='{MUC}'/></presence>")
        return Session(client)

    async def play(self, asked: list[Element], broken: bytes) -> None:
        """Send stanzas and then perhaps something that is none, and see that each is answered as it must be."""
        if self.session is None:
            self.session = await self._connect()
        session, wanted, nameless = self.session, [], 0
        for stanza in asked:
            self.serial += 1
            asks = stanza.name == "iq" and stanza.get("type") not in ("result", "error")
            if not asks:
                stanza.attributes["id"] = "m1" if self.serial % 3 else f"m{self.serial}"
            elif stanza.attributes.get("id") is None and self.serial % 5:
                stanza.attributes["id"] = f"q{self.serial}"
            name = stanza.get("id") or ""
            # An ID that is empty or too long is none; and what somebody else's client is asked is its matter.
            named = 0 < len(name) <= 1024
            wanted += [name] if asks and named and stanza.get("to") != "bob@hs1/play" else []
            nameless += asks and not named
            await session.client.says(serialise(stanza))
        self.serial += 1
        end = f"p{self.serial}"
        await session.client.says(f"<iq type='get' id='{end}' to='hs1'>{PING}</iq>")
        found = await session.hears(end)
        self._judge(found, asked)
        if session.ended is None:
            # What a session sends to itself comes back as it is.
            got = [one.get("id") or "" for one in found if one.name == "iq"]
            assert Counter(name for name in got if name in wanted) == Counter(wanted), (asked, found)
            refused = [one for one in found if one.name == "iq" and one.get("type") == "error"]
            assert sum(not 0 < len(one.get("id") or "") <= 1024 for one in refused) == nameless, (asked, found)
            if broken:
                # Whatever was begun ends with that, and then the stream.
                await session.client.says(broken + b"]]>'\"<!---->")
                self._judge(await session.hears("nothing"), [])
        if session.ended is not None:
            self.seen[f"stream: {session.ended}"] += 1
            await self.own.aclose()
            self.session = None
        assert session.ended is not None or not broken, (asked, broken)

    def _judge(self, found: list[Element], asked: list[Element]) -> None:
        assert self.faults.found == [], (asked, self.faults.found)
        for one in found:
            error = one.find("error") if one.namespace == namespaces.CLIENT and one.get("type") == "error" else None
            if error is not None:
                named = {each.name for each in error.elements() if each.namespace == namespaces.STANZA_ERRORS}
                condition = named - {"text"}
                assert len(condition) == 1, one
                assert condition <= CONDITIONS, one
                assert "internal-server-error" not in condition, one
                self.seen[f"{one.name}: {next(iter(condition))}"] += 1
            else:
                self.seen[f"{one.name}: {one.get('type')}"] += 1

    def end(self) -> None:
        """Stop."""
        try:
            if self.session is not None:
                self.loop.run_until_complete(self.own.aclose())
            self._reading.cancel()
            self.loop.run_until_complete(self.stack.aclose())
        finally:
            structlog.configure(**self._configured)
            logging.getLogger().removeHandler(self.faults)
            self.loop.close()
        assert self.faults.found == [], self.faults.found


@pytest.fixture
def game() -> Iterator[Game]:
    started = Game()
    yield started
    started.end()


@pytest.mark.timeout(0 if EXAMPLES > 60 else 120)
def test_every_request_of_a_session_has_one_answer_and_nothing_is_our_fault(game: Game, record_property: Any) -> None:
    broken = st.just(b"") | st.just(b"") | st.just(b"") | BYTES.filter(lambda data: len(data) < 4000)

    @PLAY
    @given(st.lists(stanzas(), min_size=1, max_size=12), broken)
    def play(asked: list[Element], broken: bytes) -> None:
        game.loop.run_until_complete(game.play(asked, broken))

    play()
    record_property("seen", dict(game.seen))
    if EXAMPLES > 60:
        print(*(f"{count:8} {what}" for what, count in game.seen.most_common()), sep="\n")
