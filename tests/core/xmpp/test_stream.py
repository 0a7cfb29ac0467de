"""A client's stream, as dialogues: what the client sends, what the server answers, what the application is asked."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core.xmpp import namespaces, sasl, stream
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import (
    SaslCondition,
    SaslError,
    StanzaCondition,
    StanzaError,
    StreamCondition,
    StreamError,
)
from federation.core.xmpp.framing import TcpFraming, WebSocketFraming
from federation.core.xmpp.jid import Jid
from federation.core.xmpp.sasl import Claim
from federation.core.xmpp.stream import (
    TRANSITIONS,
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
from federation.core.xmpp.xml import BEFORE_LOGIN, parse_frame
from tests.core.xmpp.scram import ScramClient, keys_of

ALICE = Jid.parse("alice@hs1")
SM = "urn:xmpp:sm:3"
HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
    "to='hs1' version='1.0'>"
)
AUTH = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{}'>{}</auth>"
PLAIN = AUTH.format("PLAIN", sasl.encode(b"\0alice\0secret"))
BIND = "<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>phone</resource></bind></iq>"
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"


class Talk:
    """A stream, and what goes back and forth on it."""

    def __init__(self, *, secure: bool = True, end_point: bytes | None = None, websocket: bool = False) -> None:
        numbers = itertools.count(1)
        settings = Settings("hs1", (Element("sm", SM),), frozenset({SM}), lambda: f"token{next(numbers)}")
        framing = WebSocketFraming(BEFORE_LOGIN) if websocket else TcpFraming(BEFORE_LOGIN)
        self.stream = Stream(settings, framing, secure=secure, end_point=end_point)

    def sends(self, text: str | bytes) -> list[Event]:
        """The client sends something; return what the application is asked."""
        self.stream.receive(text if isinstance(text, bytes) else text.encode())
        return self.events()

    def events(self) -> list[Event]:
        return list(iter(self.stream.next_event, None))

    def answers(self) -> str:
        """What the server has sent since the last look."""
        return "".join(self.stream.take_output())

    def logs_in(self) -> None:
        self.sends(HEADER)
        self.sends(PLAIN)
        self.stream.accept(ALICE)
        self.sends(HEADER)
        self.answers()

    def binds(self) -> None:
        self.logs_in()
        assert self.sends(BIND) == [BindWanted("phone")]
        self.stream.bind(ALICE.with_resource("phone"))
        self.answers()

    def fails(self, text: str | bytes, condition: StreamCondition) -> None:
        """The client sends something by which the stream ends."""
        events = self.sends(text)
        assert isinstance(events[-1], Ended), events
        assert events[-1].error is not None
        assert events[-1].error.condition is condition
        said = self.answers()
        assert f"<{condition.value} xmlns='{namespaces.STREAM_ERRORS}'/>" in said
        assert said.endswith("</stream:stream>")
        assert said.count("<stream:stream") <= 1
        assert self.sends("<iq/>") == []
        assert self.answers() == ""


def test_without_tls_starttls_is_all_there_is() -> None:
    talk = Talk(secure=False)
    assert talk.sends(HEADER) == []
    assert talk.answers() == (
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
        "id='token1' from='hs1' version='1.0' xml:lang='en'>"
        "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
    )
    assert talk.sends(STARTTLS) == [TlsWanted()]
    assert talk.answers() == "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    assert talk.stream.state is State.SECURING
    talk.stream.secured(b"end point")
    talk.sends(HEADER)
    answer = talk.answers()
    assert answer.startswith("<?xml")
    assert re.findall("<mechanism>([^<]*)", answer) == list(sasl.offered(b"end point"))
    assert "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-server-end-point'/>" in answer


def test_what_is_sent_before_tls_is_not_taken_for_sent_over_it() -> None:
    talk = Talk(secure=False)
    talk.sends(HEADER)
    assert talk.sends(STARTTLS + HEADER.partition("?>")[2] + PLAIN) == [TlsWanted()]
    assert talk.sends(HEADER + PLAIN) == []
    talk.stream.secured(None)
    assert talk.events() == []
    assert talk.stream.state is State.SECURE_HEADER


@pytest.mark.parametrize("what", [PLAIN, BIND, "<message/>", "<a xmlns='urn:xmpp:sm:3'/>"])
def test_without_tls_nobody_logs_in(what: str) -> None:
    talk = Talk(secure=False)
    talk.sends(HEADER)
    talk.fails(what, StreamCondition.NOT_AUTHORIZED)


def test_plain_asks_for_a_verdict() -> None:
    talk = Talk()
    talk.sends(HEADER)
    assert "sasl-channel-binding" not in talk.answers()
    assert talk.sends(PLAIN) == [PasswordGiven(Claim("alice", None), "secret")]
    assert talk.sends(BIND) == []
    assert talk.stream.backlog == 1
    talk.stream.accept(ALICE)
    assert talk.answers() == "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
    assert talk.stream.jid == ALICE
    # What was sent too early is gone.
    assert talk.events() == []
    talk.sends(HEADER)
    assert "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/>" in talk.answers()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
def test_scram_asks_for_keys_and_then_for_a_verdict(mechanism: str) -> None:
    talk = Talk(end_point=b"end point")
    client = ScramClient("sha256", "alice", "pencil")
    if mechanism.endswith("-PLUS"):
        client.gs2, client.binding = "p=tls-server-end-point,,", b"end point"
    talk.sends(HEADER)
    talk.answers()
    assert talk.sends(AUTH.format(mechanism, sasl.encode(client.first()))) == [
        KeysWanted(Claim("alice", None), "SCRAM-SHA-256")
    ]
    talk.stream.offer_keys(keys_of("sha256", "pencil", b"salt", 4096))
    final = client.final(sasl.decode(re.sub("<[^>]*>", "", talk.answers())))
    response = f"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{sasl.encode(final)}</response>"
    assert talk.sends(response) == [Proven(Claim("alice", None))]
    talk.stream.accept(ALICE)
    assert sasl.decode(re.sub("<[^>]*>", "", talk.answers())) == client.expects()


def test_the_first_message_may_come_with_the_response() -> None:
    talk = Talk()
    talk.sends(HEADER)
    talk.answers()
    assert talk.sends(AUTH.format("PLAIN", "")) == []
    assert talk.answers() == "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
    response = f"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{sasl.encode(b'=0a0x')}</response>"
    assert talk.sends(response) == []
    assert "<malformed-request/>" in talk.answers()


@pytest.mark.parametrize(
    ("sent", "failure"),
    [
        (AUTH.format("DIGEST-MD5", "="), "invalid-mechanism"),
        (AUTH.format("SCRAM-SHA-1-PLUS", "="), "invalid-mechanism"),
        ("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "invalid-mechanism"),
        (AUTH.format("PLAIN", "="), "malformed-request"),
        (AUTH.format("PLAIN", "!"), "incorrect-encoding"),
        (AUTH.format("PLAIN", "") + "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "aborted"),
    ],
)
def test_a_failed_login_may_be_tried_again(sent: str, failure: str) -> None:
    talk = Talk()
    talk.sends(HEADER)
    talk.answers()
    assert talk.sends(sent) == []
    assert f"<{failure}/>" in talk.answers()
    assert talk.sends(PLAIN) == [PasswordGiven(Claim("alice", None), "secret")]


def test_a_login_is_not_tried_for_ever() -> None:
    talk = Talk()
    talk.sends(HEADER)
    for _ in range(stream.MOST_ATTEMPTS - 1):
        talk.sends(PLAIN)
        talk.stream.refuse(SaslError(SaslCondition.NOT_AUTHORIZED, "no"))
    answer = talk.answers()
    assert "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/><text xml:lang='en'>no</text>" in answer
    assert talk.stream.state is State.LOGIN
    talk.sends(PLAIN)
    talk.stream.refuse(SaslError(SaslCondition.NOT_AUTHORIZED))
    (ended,) = talk.events()
    assert isinstance(ended, Ended)
    assert talk.answers().endswith("</stream:stream>")


def test_mechanisms_that_a_client_gets_wrong_are_no_wrong_passwords_and_not_tried_for_ever() -> None:
    talk = Talk()
    talk.sends(HEADER)
    for _ in range(stream.MOST_FAILURES - 1):
        assert talk.sends(AUTH.format("SCRAM-SHA-1", sasl.encode(b"p=tls-unique,,n=a,r=b"))) == []
        assert "<malformed-request/>" in talk.answers()
    assert talk.stream.state is State.LOGIN
    (ended,) = talk.sends(AUTH.format("SCRAM-SHA-1", "") + "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
    assert isinstance(ended, Ended)


def test_keys_may_be_refused() -> None:
    talk = Talk()
    talk.sends(HEADER)
    talk.sends(AUTH.format("SCRAM-SHA-1", sasl.encode(b"n,,n=a,r=b")))
    talk.stream.refuse(SaslError(SaslCondition.TEMPORARY_AUTH_FAILURE))
    assert "<temporary-auth-failure/>" in talk.answers()
    assert talk.stream.state is State.LOGIN


def test_a_resource_is_bound() -> None:
    talk = Talk()
    talk.logs_in()
    assert talk.sends(BIND.replace("<resource>phone</resource>", "")) == [BindWanted(None)]
    talk.stream.refuse_bind(StanzaError(StanzaCondition.RESOURCE_CONSTRAINT))
    assert "type='error' id='b1'" in talk.answers()
    assert talk.sends(BIND) == [BindWanted("phone")]
    talk.stream.bind(ALICE.with_resource("phone"))
    assert talk.answers() == (
        "<iq type='result' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
        "<jid>alice@hs1/phone</jid></bind></iq>"
    )
    assert str(talk.stream.jid) == "alice@hs1/phone"


def test_stanzas_wait_until_a_resource_is_bound() -> None:
    talk = Talk()
    talk.logs_in()
    assert talk.sends(BIND + "<presence/>") == [BindWanted("phone")]
    talk.stream.bind(ALICE.with_resource("phone"))
    assert talk.events() == [Received(Element("presence"))]


@pytest.mark.parametrize("what", ["<message/>", "<iq type='set' id='1'/>", STARTTLS, PLAIN])
def test_without_a_resource_nothing_is_sent(what: str) -> None:
    talk = Talk()
    talk.logs_in()
    talk.fails(what, StreamCondition.NOT_AUTHORIZED)


def test_a_stream_may_be_resumed_in_the_stead_of_binding() -> None:
    talk = Talk()
    talk.logs_in()
    (resume,) = talk.sends("<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>")
    assert resume == Received(Element("resume", SM, {"previd": "x", "h": "0"}))
    assert talk.stream.pull(SM, "resume") == []
    talk.stream.resume(ALICE.with_resource("phone"))
    assert talk.sends("<message/>") == [Received(Element("message"))]


def test_a_bound_stream_carries_stanzas_and_extensions() -> None:
    talk = Talk()
    talk.binds()
    assert talk.sends("<message/><r xmlns='urn:xmpp:sm:3'/>" + BIND) == [
        Received(Element("message")),
        Received(Element("r", SM)),
        Received(parse_frame(BIND.replace("<iq", "<iq xmlns='jabber:client'").encode(), BEFORE_LOGIN)),
    ]
    talk.stream.send(Element("message"))
    assert talk.answers() == "<message/>"
    talk.stream.receive(b"<message/><a xmlns='urn:xmpp:sm:3' h='1'/><presence/><a xmlns='urn:xmpp:sm:3' h='2'/> ")
    assert [each.get("h") for each in talk.stream.pull(SM, "a")] == ["1", "2"]
    assert talk.stream.backlog == 2
    talk.stream.receive(b"<x xmlns='urn:xmpp:sm:3'>" + b"<y/>" * 999 + b"</x>")
    assert talk.stream.backlog == 10
    assert len(talk.stream.pull(SM, "x")) == 1
    assert talk.stream.pull(SM, "a") == []
    assert talk.sends("") == [Received(Element("message")), Received(Element("presence"))]
    talk.stream.rest()
    assert talk.sends("<message/>") == [Received(Element("message"))]


@pytest.mark.parametrize(
    ("what", "condition"),
    [
        ("<message xmlns='jabber:server'/>", StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ("<x xmlns='urn:unknown'/>", StreamCondition.UNSUPPORTED_STANZA_TYPE),
        (STARTTLS, StreamCondition.POLICY_VIOLATION),
        (PLAIN, StreamCondition.POLICY_VIOLATION),
        ("<message></iq>", StreamCondition.NOT_WELL_FORMED),
        (b"<message>\xff</message>", StreamCondition.NOT_WELL_FORMED),
        ("<!-- x -->", StreamCondition.RESTRICTED_XML),
    ],
)
def test_what_may_not_come_ends_the_stream(what: str | bytes, condition: StreamCondition) -> None:
    talk = Talk()
    talk.binds()
    talk.fails(what, condition)


@pytest.mark.parametrize(
    ("header", "condition"),
    [
        (HEADER.replace("'hs1'", "'hs2'"), StreamCondition.HOST_UNKNOWN),
        (HEADER.replace("'hs1'", "'_'"), StreamCondition.HOST_UNKNOWN),
        (HEADER.replace(" version='1.0'>", ">"), StreamCondition.UNSUPPORTED_VERSION),
        (HEADER.replace(" version='1.0'>", " version='0.9'>"), StreamCondition.UNSUPPORTED_VERSION),
        (HEADER.replace(" version='1.0'>", " version='.1'>"), StreamCondition.UNSUPPORTED_VERSION),
        ("<stream to='hs1' version='1.0'>", StreamCondition.INVALID_NAMESPACE),
        ("<html>", StreamCondition.BAD_FORMAT),
        ("hello world", StreamCondition.NOT_WELL_FORMED),
    ],
)
def test_another_header_is_answered_by_ours_and_an_error(header: str, condition: StreamCondition) -> None:
    Talk().fails(header, condition)
    Talk(secure=False).fails(header, condition)


def test_a_header_tells_who_the_client_is() -> None:
    talk = Talk()
    talk.sends(HEADER.replace("to='hs1'", "from='alice@hs1'"))
    assert "to='alice@hs1'" in talk.answers()


def test_what_was_sent_before_an_error_counts() -> None:
    talk = Talk()
    talk.binds()
    message, ended = talk.sends("<message/><oops")[:1] + talk.sends("<")
    assert message == Received(Element("message"))
    assert isinstance(ended, Ended)


def test_a_client_may_close_its_stream() -> None:
    talk = Talk()
    talk.binds()
    assert talk.sends("</stream:stream>") == [Ended(None)]
    assert talk.answers() == "</stream:stream>"


def test_the_server_may_close_a_stream_and_says_why() -> None:
    talk = Talk()
    talk.binds()
    talk.stream.close(StreamError(StreamCondition.SYSTEM_SHUTDOWN, "bye"))
    talk.stream.close()
    (ended,) = talk.events()
    assert isinstance(ended, Ended)
    assert talk.answers() == (
        "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
        "<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>bye</text></stream:error></stream:stream>"
    )


def test_what_the_application_answers_too_late_does_nothing() -> None:
    talk = Talk(secure=False)
    talk.stream.close()
    talk.answers()
    talk.stream.secured(None)
    talk.stream.offer_keys(keys_of("sha1", "x", b"", 1))
    talk.stream.accept(ALICE)
    talk.stream.refuse(SaslError(SaslCondition.NOT_AUTHORIZED))
    talk.stream.bind(ALICE)
    talk.stream.refuse_bind(StanzaError(StanzaCondition.CONFLICT))
    talk.stream.resume(ALICE)
    talk.stream.send(Element("message"))
    assert talk.answers() == ""


def test_over_websocket_each_step_is_a_frame() -> None:
    talk = Talk(websocket=True)
    header = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='hs1' version='1.0'/>"
    talk.sends(header)
    opened, features = talk.stream.take_output()
    assert opened.startswith("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' id='token1' from='hs1'")
    assert features.startswith("<stream:features xmlns:stream='http://etherx.jabber.org/streams'>")
    assert talk.sends(PLAIN) == [PasswordGiven(Claim("alice", None), "secret")]
    talk.stream.accept(ALICE)
    talk.sends(header)
    assert talk.sends(header) != []
    assert talk.stream.state is State.CLOSED
    assert talk.answers().endswith("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")


def test_every_state_but_the_last_can_be_left() -> None:
    for state in State:
        ways = {to for to in TRANSITIONS[state].values() if to is not state}
        assert bool(ways) is (state not in (State.BOUND, State.CLOSED))


PIECES = st.sampled_from(
    [HEADER, STARTTLS, PLAIN, BIND, AUTH.format("SCRAM-SHA-1", "biwsbj1hLHI9Yg=="), AUTH.format("PLAIN", ""),
     "<message/>",
     "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>=</response>",
     "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
     "</stream:stream>", "<r xmlns='urn:xmpp:sm:3'/>", "<", "<x/>"]
)  # fmt: skip


@given(st.lists(PIECES.map(str.encode) | st.binary(max_size=5), max_size=12), st.booleans(), st.booleans())
def test_whatever_a_client_sends_the_machine_goes_on_or_ends(pieces: list[bytes], secure: bool, kind: bool) -> None:
    talk = Talk(secure=secure)
    for piece in pieces:
        for event in talk.sends(piece):
            match event:
                case TlsWanted():
                    talk.stream.secured(b"x")
                case KeysWanted():
                    talk.stream.offer_keys(keys_of("sha1", "x", b"salt", 1))
                case PasswordGiven() | Proven():
                    talk.stream.accept(ALICE) if kind else talk.stream.refuse(SaslError(SaslCondition.NOT_AUTHORIZED))
                case BindWanted():
                    talk.stream.bind(ALICE.with_resource("x"))
                case Ended():
                    assert talk.stream.state is State.CLOSED
                case Received():
                    assert talk.stream.state in (State.USER, State.BOUND)
