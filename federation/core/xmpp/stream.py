"""A client's stream, seen from the server: a machine without input and output.

`receive` takes bytes, `next_event` says what they mean, and the methods that answer an event put bytes into what
`take_output` returns. `TRANSITIONS` is the whole order of events; what stands there for no state ends the stream.

    header ─ features ─ [STARTTLS ─ header ─ features] ─ SASL ─ header ─ features ─ bind (or resume) ─ stanzas

Sources: https://www.rfc-editor.org/rfc/rfc6120#section-4 and the sections named below.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from federation.core.errors import InvalidIdentifier
from federation.core.xmpp import namespaces, sasl
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import SaslCondition, SaslError, StanzaError, StreamCondition, StreamError
from federation.core.xmpp.framing import Framing
from federation.core.xmpp.jid import Jid, prepare_domain
from federation.core.xmpp.stanza import IQ, error, is_stanza, result
from federation.core.xmpp.xml import AFTER_LOGIN, Closed, Completed, Limits, Opened, Parsed

LARGE = 100
"""Elements of a stanza that counts for more than one of those that wait."""
MOST_ATTEMPTS = 5
"""Wrong passwords on one stream: https://www.rfc-editor.org/rfc/rfc6120#section-6.4.5."""
MOST_FAILURES = 16
"""Logins that may fail on one stream, for whatever reason: clients that do not understand a mechanism try the next one.

slixmpp up to 1.8 binds to a TLS channel in a way of its own, and comes to PLAIN as the seventh.
"""


class State(Enum):
    """Where a stream stands."""

    PLAIN_HEADER = auto()
    """Waits for a header, on a connection without TLS."""
    PLAIN = auto()
    """STARTTLS is all that it may ask for."""
    SECURING = auto()
    """TLS is being negotiated; nothing is read."""
    SECURE_HEADER = auto()
    LOGIN = auto()
    """Mechanisms are offered."""
    CHALLENGED = auto()
    """The client is to answer a challenge."""
    WANTS_KEYS = auto()
    """The application is asked for a user's keys."""
    WANTS_VERDICT = auto()
    """The application is asked whether that is the user."""
    USER_HEADER = auto()
    """Waits for the header of the stream of a user who is logged in."""
    USER = auto()
    """A resource is to be bound, or an earlier stream resumed."""
    BINDING = auto()
    """The application is asked for a resource."""
    BOUND = auto()
    CLOSED = auto()


class Input(Enum):
    """What can happen to a stream: what the client sends, and what the application answers."""

    HEADER = auto()
    STARTTLS = auto()
    SECURED = auto()
    AUTH = auto()
    RESPONSE = auto()
    ABORT = auto()
    ASKED_FIRST = auto()
    ASKED_KEYS = auto()
    ASKED_VERDICT = auto()
    KEYS = auto()
    ACCEPTED = auto()
    REFUSED = auto()
    BIND = auto()
    BIND_REFUSED = auto()
    BOUND = auto()
    STANZA = auto()
    EXTENSION = auto()
    OTHER = auto()


TRANSITIONS: Mapping[State, Mapping[Input, State]] = {
    State.PLAIN_HEADER: {Input.HEADER: State.PLAIN},
    State.PLAIN: {Input.STARTTLS: State.SECURING},
    State.SECURING: {Input.SECURED: State.SECURE_HEADER},
    State.SECURE_HEADER: {Input.HEADER: State.LOGIN},
    State.LOGIN: {
        Input.AUTH: State.LOGIN,
        Input.ASKED_FIRST: State.CHALLENGED,
        Input.ASKED_KEYS: State.WANTS_KEYS,
        Input.ASKED_VERDICT: State.WANTS_VERDICT,
        Input.REFUSED: State.LOGIN,
    },
    State.WANTS_KEYS: {Input.KEYS: State.CHALLENGED, Input.REFUSED: State.LOGIN},
    State.CHALLENGED: {
        Input.RESPONSE: State.CHALLENGED,
        Input.ABORT: State.LOGIN,
        Input.ASKED_KEYS: State.WANTS_KEYS,
        Input.ASKED_VERDICT: State.WANTS_VERDICT,
        Input.REFUSED: State.LOGIN,
    },
    State.WANTS_VERDICT: {Input.ACCEPTED: State.USER_HEADER, Input.REFUSED: State.LOGIN},
    State.USER_HEADER: {Input.HEADER: State.USER},
    State.USER: {Input.BIND: State.BINDING, Input.EXTENSION: State.USER, Input.BOUND: State.BOUND},
    State.BINDING: {Input.BOUND: State.BOUND, Input.BIND_REFUSED: State.USER},
    State.BOUND: {Input.STANZA: State.BOUND, Input.EXTENSION: State.BOUND},
    State.CLOSED: {},
}

WAITING = frozenset((State.SECURING, State.WANTS_KEYS, State.WANTS_VERDICT, State.BINDING))
"""Where the application has to answer before anything else is read."""


@dataclass(frozen=True, slots=True)
class TlsWanted:
    """TLS is to be negotiated after the output is written; then call `secured`."""


@dataclass(frozen=True, slots=True)
class KeysWanted:
    """Someone wants to log in by SCRAM; call `offer_keys` or `refuse`."""

    claim: sasl.Claim
    mechanism: str


@dataclass(frozen=True, slots=True)
class Proven:
    """Someone has proven to know the password; call `accept` or `refuse`."""

    claim: sasl.Claim


@dataclass(frozen=True, slots=True)
class PasswordGiven:
    """Someone wants to log in by a password; call `accept` or `refuse`."""

    claim: sasl.Claim
    password: str


@dataclass(frozen=True, slots=True)
class BindWanted:
    """A resource is wanted, any if it is None; call `bind` or `refuse_bind`."""

    resource: str | None


@dataclass(frozen=True, slots=True)
class Received:
    """A stanza of a bound stream, or an element of an extension."""

    element: Element


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream is over, and the connection to be closed after the output is written."""

    error: StreamError | None


Event = TlsWanted | KeysWanted | Proven | PasswordGiven | BindWanted | Received | Ended


@dataclass(frozen=True, slots=True)
class Settings:
    """What all streams of a server share."""

    domain: str
    features: Sequence[Element]
    """What is offered to users who are logged in, besides binding."""
    extensions: frozenset[str]
    """Namespaces of elements beside stanzas that the application handles, once a user is logged in."""
    token: Callable[[], str]
    """Returns texts that nobody can guess, without commas."""
    limits: Limits = AFTER_LOGIN


class Stream:
    """One stream. It ends for good with the event `Ended`."""

    def __init__(self, settings: Settings, framing: Framing, *, secure: bool, end_point: bytes | None = None) -> None:
        """Start on a connection, `secure` or with STARTTLS first; `end_point` is what its TLS is bound to."""
        self.state = State.SECURE_HEADER if secure else State.PLAIN_HEADER
        self.jid: Jid | None = None
        """The user, bare until a resource is bound."""
        self._settings = settings
        self._framing = framing
        self._end_point = end_point
        # Lists, of which one that is empty costs a tenth of an empty deque.
        self._waiting: list[Parsed | StreamError] = []
        self._events: list[Event] = []
        self._output: list[str] = []
        self._greeted = False
        self._scram: sasl.Scram | None = None
        self._claim = sasl.Claim("", None)
        self._success = b""
        self._mechanism = ""
        self._wrong = 0
        self._failures = 0
        self._bind = _NOTHING

    # What comes from the client

    def receive(self, data: bytes) -> None:
        """Take bytes of the connection, or one frame. Before TLS is there they are dropped: nobody vouches for them."""
        if self.state in (State.SECURING, State.CLOSED):
            return
        try:
            self._waiting.extend(self._framing.feed(data))
        except StreamError as broken:
            self._waiting.extend(self._framing.rest())
            self._waiting.append(broken)

    def next_event(self) -> Event | None:
        """Return the next thing that the application has to do; None if the client has to send more first."""
        while not self._events and self._waiting and self.state not in WAITING:
            found = self._waiting.pop(0)
            try:
                self._take(found)
            except StreamError as broken:
                self.close(broken)
        return self._events.pop(0) if self._events else None

    def pull(self, namespace: str, name: str) -> list[Element]:
        """Return the waiting elements of a bound stream that need not come in turn: those of one name."""
        if self.state is not State.BOUND:
            return []
        found = [
            each.element
            for each in self._waiting
            if isinstance(each, Completed) and (each.element.namespace, each.element.name) == (namespace, name)
        ]
        if found:
            self._waiting = [
                each for each in self._waiting if not (isinstance(each, Completed) and each.element in found)
            ]
        return found

    def rest(self) -> None:
        """Let go of what costs memory while the client sends nothing."""
        self._framing.rest_between_stanzas()

    @property
    def backlog(self) -> int:
        """How many stanzas the client has sent that wait for the application; large ones count for several."""
        elements = sum(each.elements for each in self._waiting if isinstance(each, Completed))
        return max(len(self._waiting), elements // LARGE)

    def take_output(self) -> list[str]:
        """Return what is to be sent: texts that may be joined for TCP, and are a frame each for WebSocket."""
        output, self._output = self._output, []
        return output

    # What the application answers

    def secured(self, end_point: bytes | None) -> None:
        """Go on after TLS was negotiated: https://www.rfc-editor.org/rfc/rfc6120#section-5.4.3.3."""
        if self._move(Input.SECURED):
            self._end_point = end_point
            self._restart()

    def offer_keys(self, keys: sasl.Keys) -> None:
        """Challenge the client by the keys of the user."""
        if self._move(Input.KEYS):
            assert self._scram is not None
            self._challenge(self._scram.challenge(keys))

    def accept(self, user: Jid) -> None:
        """Let the user in: https://www.rfc-editor.org/rfc/rfc6120#section-6.4.6."""
        if self._move(Input.ACCEPTED):
            self.jid = user
            data = sasl.encode(self._success) if self._success else None
            self.send(Element("success", namespaces.SASL, {}, *([data] if data else [])))
            self._framing.limits = self._settings.limits
            self._restart()

    def refuse(self, why: SaslError) -> None:
        """Tell the client that the login has failed; it may try again, but not for ever."""
        # Else it has failed before the password came into it.
        tried = self._scram is not None or self.state is State.WANTS_VERDICT
        if not self._move(Input.REFUSED):
            return
        self._scram = None
        failure = Element("failure", namespaces.SASL, {}, Element(why.condition.value, namespaces.SASL))
        if why.text:
            failure.add(Element("text", namespaces.SASL, {"xml:lang": "en"}, why.text))
        self.send(failure)
        self._wrong += tried
        self._failures += 1
        if self._wrong >= MOST_ATTEMPTS or self._failures >= MOST_FAILURES:
            self.close(StreamError(StreamCondition.POLICY_VIOLATION, "too many attempts to log in"))

    def bind(self, jid: Jid) -> None:
        """Give the stream its full address: https://www.rfc-editor.org/rfc/rfc6120#section-7.6."""
        if self._move(Input.BOUND):
            self.jid = jid
            bound = Element("bind", namespaces.BIND, {}, Element("jid", namespaces.BIND, {}, str(jid)))
            self.send(result(self._bind, bound))
            self._bind = _NOTHING

    def refuse_bind(self, why: StanzaError) -> None:
        """Tell the client that it cannot have that resource; it may try another one."""
        if self._move(Input.BIND_REFUSED):
            self.send(error(self._bind, why))

    def resume(self, jid: Jid) -> None:
        """Take an earlier stream's address, in the stead of binding one: https://xmpp.org/extensions/xep-0198.html."""
        if self._move(Input.BOUND):
            self.jid = jid

    def send(self, element: Element) -> None:
        """Send an element."""
        if self.state is not State.CLOSED:
            self._output.append(self._framing.write(element))

    def close(self, why: StreamError | None = None) -> None:
        """End the stream, telling why if something is wrong: https://www.rfc-editor.org/rfc/rfc6120#section-4.9."""
        if self.state is State.CLOSED:
            return
        if not self._greeted:
            # https://www.rfc-editor.org/rfc/rfc6120#section-4.9.1.2
            self._greet(None)
        if why is not None:
            told = Element("error", namespaces.STREAM, {}, Element(why.condition.value, namespaces.STREAM_ERRORS))
            if why.text:
                told.add(Element("text", namespaces.STREAM_ERRORS, {"xml:lang": "en"}, why.text))
            self.send(told)
        self._output.append(self._framing.footer())
        self.state = State.CLOSED
        self._waiting.clear()
        self._events.append(Ended(why))

    # How it works

    def _move(self, what: Input) -> bool:
        """Go to the state that the table names; return False if the stream is over, where nothing matters any more."""
        if self.state is State.CLOSED:
            return False
        self.state = TRANSITIONS[self.state][what]
        return True

    def _take(self, found: Parsed | StreamError) -> None:
        match found:
            case StreamError():
                raise found
            case Opened(header):
                self._opened(header)
            case Closed():
                self.close()
            case _:
                element = found.element
                what = self._classify(element)
                if what not in TRANSITIONS[self.state]:
                    raise _unexpected(self.state, what)
                handle = _HANDLERS.get(what)
                if handle is None:
                    self._events.append(Received(element))
                else:
                    handle(self, element)

    def _classify(self, element: Element) -> Input:
        named = _NAMED.get((element.namespace, element.name))
        if named is not None:
            return named
        if is_stanza(element):
            bind = element.name == IQ and element.get("type") == "set" and element.find("bind", namespaces.BIND)
            return Input.BIND if bind and self.state is not State.BOUND else Input.STANZA
        return Input.EXTENSION if element.namespace in self._settings.extensions else Input.OTHER

    def _opened(self, header: Element) -> None:
        if (header.namespace, header.name) != (namespaces.STREAM, "stream"):
            condition = StreamCondition.INVALID_NAMESPACE if header.name == "stream" else StreamCondition.BAD_FORMAT
            raise StreamError(condition, "expected the header of a stream")
        if Input.HEADER not in TRANSITIONS[self.state]:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "the stream is open already")
        to = header.get("to")
        if to is not None and not self._serves(to):
            raise StreamError(StreamCondition.HOST_UNKNOWN)
        if (header.get("version") or "0.9").partition(".")[0] in ("", "0"):
            # https://www.rfc-editor.org/rfc/rfc6120#section-4.7.5
            raise StreamError(StreamCondition.UNSUPPORTED_VERSION)
        self._greet(header.get("from"))
        self._move(Input.HEADER)
        self.send(Element("features", namespaces.STREAM, {}, *self._features()))

    def _serves(self, to: str) -> bool:
        try:
            return prepare_domain(to) == self._settings.domain
        except InvalidIdentifier:
            return False

    def _greet(self, to: str | None) -> None:
        self._greeted = True
        token = self._settings.token()
        named = {"id": token, "from": self._settings.domain, "to": to, "version": "1.0", "xml:lang": "en"}
        self._output.append(self._framing.header(named))

    def _features(self) -> Sequence[Element]:
        if self.state is State.PLAIN:
            # https://www.rfc-editor.org/rfc/rfc6120#section-5.3.1
            return [Element("starttls", namespaces.TLS, {}, Element("required", namespaces.TLS))]
        if self.state is State.USER:
            return [Element("bind", namespaces.BIND), *self._settings.features]
        mechanisms = Element("mechanisms", namespaces.SASL)
        for name in sasl.offered(self._end_point):
            mechanisms.add(Element("mechanism", namespaces.SASL, {}, name))
        if self._end_point is None:
            return [mechanisms]
        binding = Element("channel-binding", namespaces.CHANNEL_BINDING, {"type": sasl.END_POINT})
        return [mechanisms, Element("sasl-channel-binding", namespaces.CHANNEL_BINDING, {}, binding)]

    def _restart(self) -> None:
        """Begin a new stream; what the client sent too early is dropped."""
        self._waiting.clear()
        self._greeted = False
        self._framing.restart()

    def _starttls(self, _element: Element) -> None:
        self._move(Input.STARTTLS)
        self._waiting.clear()
        self.send(Element("proceed", namespaces.TLS))
        self._events.append(TlsWanted())

    def _auth(self, element: Element) -> None:
        self._move(Input.AUTH)
        self._mechanism, self._scram, self._success = element.get("mechanism") or "", None, b""
        if self._mechanism not in sasl.offered(self._end_point):
            self.refuse(SaslError(SaslCondition.INVALID_MECHANISM))
        elif element.text:
            self._respond(element)
        else:
            # https://www.rfc-editor.org/rfc/rfc6120#section-6.4.2: the initial response is asked for.
            self._move(Input.ASKED_FIRST)
            self._challenge(b"")

    def _respond(self, element: Element) -> None:
        try:
            data = sasl.decode(element.text)
            if self._mechanism == sasl.PLAIN:
                self._claim, password = sasl.read_plain(data)
                self._ask(Input.ASKED_VERDICT, PasswordGiven(self._claim, password))
            elif self._scram is None:
                scram = sasl.Scram(
                    self._mechanism,
                    self._settings.token(),
                    self._end_point,
                    plus_was_offered=self._end_point is not None,
                )
                self._claim = scram.begin(data)
                self._scram = scram
                self._ask(Input.ASKED_KEYS, KeysWanted(self._claim, scram.name))
            else:
                self._success = self._scram.finish(data)
                self._ask(Input.ASKED_VERDICT, Proven(self._claim))
        except SaslError as why:
            self.refuse(why)

    def _ask(self, what: Input, event: Event) -> None:
        self._move(what)
        self._events.append(event)

    def _challenge(self, data: bytes) -> None:
        self.send(Element("challenge", namespaces.SASL, {}, *([sasl.encode(data)] if data else [])))

    def _abort(self, _element: Element) -> None:
        self.refuse(SaslError(SaslCondition.ABORTED))

    def _bind_wanted(self, element: Element) -> None:
        bind = element.find("bind", namespaces.BIND)
        resource = bind.text_of("resource") if bind is not None else None
        self._bind = element
        self._ask(Input.BIND, BindWanted(resource or None))


_NOTHING = Element(IQ)
"""Stands for a request that there is not."""


def _unexpected(state: State, what: Input) -> StreamError:
    """Return the error for what may not come in a state, or never."""
    if what is Input.OTHER:
        return StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)
    if state is State.BOUND:
        return StreamError(StreamCondition.POLICY_VIOLATION, "that is negotiated already")
    # https://www.rfc-editor.org/rfc/rfc6120#section-4.9.3.12
    return StreamError(StreamCondition.NOT_AUTHORIZED)


_NAMED: Mapping[tuple[str, str], Input] = {
    (namespaces.TLS, "starttls"): Input.STARTTLS,
    (namespaces.SASL, "auth"): Input.AUTH,
    (namespaces.SASL, "response"): Input.RESPONSE,
    (namespaces.SASL, "abort"): Input.ABORT,
}

_HANDLERS: Mapping[Input, Callable[[Stream, Element], None]] = {
    Input.STARTTLS: Stream._starttls,
    Input.AUTH: Stream._auth,
    Input.RESPONSE: Stream._respond,
    Input.ABORT: Stream._abort,
    Input.BIND: Stream._bind_wanted,
}
