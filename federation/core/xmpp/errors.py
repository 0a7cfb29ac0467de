"""What can be wrong on an XMPP stream, by the names that the RFCs give it.

ProtocolError
├── InvalidIdentifier   not a JID (federation.core.errors)
├── StreamError         the stream ends: https://www.rfc-editor.org/rfc/rfc6120#section-4.9.3
├── StanzaError         one stanza is refused: https://www.rfc-editor.org/rfc/rfc6120#section-8.3.3
└── SaslError           a login fails: https://www.rfc-editor.org/rfc/rfc6120#section-6.5
"""

from enum import Enum, StrEnum

from federation.core.errors import ProtocolError


class StreamCondition(StrEnum):
    """Why a stream ends: https://www.rfc-editor.org/rfc/rfc6120#section-4.9.3."""

    BAD_FORMAT = "bad-format"
    BAD_NAMESPACE_PREFIX = "bad-namespace-prefix"
    CONFLICT = "conflict"
    CONNECTION_TIMEOUT = "connection-timeout"
    HOST_UNKNOWN = "host-unknown"
    INTERNAL_SERVER_ERROR = "internal-server-error"
    INVALID_FROM = "invalid-from"
    INVALID_NAMESPACE = "invalid-namespace"
    INVALID_XML = "invalid-xml"
    NOT_AUTHORIZED = "not-authorized"
    NOT_WELL_FORMED = "not-well-formed"
    POLICY_VIOLATION = "policy-violation"
    RESET = "reset"
    RESOURCE_CONSTRAINT = "resource-constraint"
    RESTRICTED_XML = "restricted-xml"
    SYSTEM_SHUTDOWN = "system-shutdown"
    UNDEFINED_CONDITION = "undefined-condition"
    UNSUPPORTED_ENCODING = "unsupported-encoding"
    UNSUPPORTED_STANZA_TYPE = "unsupported-stanza-type"
    UNSUPPORTED_VERSION = "unsupported-version"


class StreamError(ProtocolError):
    """The stream breaks a rule, and has to end."""

    def __init__(self, condition: StreamCondition, text: str = "") -> None:
        """Take the RFC's name for it, and a text for the client's developer."""
        super().__init__(text or condition.value)
        self.condition = condition
        self.text = text


class ErrorType(StrEnum):
    """What the sender of a refused stanza can do: https://www.rfc-editor.org/rfc/rfc6120#section-8.3.2."""

    AUTH = "auth"
    CANCEL = "cancel"
    CONTINUE = "continue"
    MODIFY = "modify"
    WAIT = "wait"


class StanzaCondition(Enum):
    """Why a stanza is refused, with the type that the RFC advises."""

    BAD_REQUEST = ("bad-request", ErrorType.MODIFY)
    CONFLICT = ("conflict", ErrorType.CANCEL)
    FEATURE_NOT_IMPLEMENTED = ("feature-not-implemented", ErrorType.CANCEL)
    FORBIDDEN = ("forbidden", ErrorType.AUTH)
    GONE = ("gone", ErrorType.CANCEL)
    INTERNAL_SERVER_ERROR = ("internal-server-error", ErrorType.CANCEL)
    ITEM_NOT_FOUND = ("item-not-found", ErrorType.CANCEL)
    JID_MALFORMED = ("jid-malformed", ErrorType.MODIFY)
    NOT_ACCEPTABLE = ("not-acceptable", ErrorType.MODIFY)
    NOT_ALLOWED = ("not-allowed", ErrorType.CANCEL)
    NOT_AUTHORIZED = ("not-authorized", ErrorType.AUTH)
    POLICY_VIOLATION = ("policy-violation", ErrorType.MODIFY)
    RECIPIENT_UNAVAILABLE = ("recipient-unavailable", ErrorType.WAIT)
    REDIRECT = ("redirect", ErrorType.MODIFY)
    REGISTRATION_REQUIRED = ("registration-required", ErrorType.AUTH)
    REMOTE_SERVER_NOT_FOUND = ("remote-server-not-found", ErrorType.CANCEL)
    REMOTE_SERVER_TIMEOUT = ("remote-server-timeout", ErrorType.WAIT)
    RESOURCE_CONSTRAINT = ("resource-constraint", ErrorType.WAIT)
    SERVICE_UNAVAILABLE = ("service-unavailable", ErrorType.CANCEL)
    SUBSCRIPTION_REQUIRED = ("subscription-required", ErrorType.AUTH)
    UNDEFINED_CONDITION = ("undefined-condition", ErrorType.CANCEL)
    UNEXPECTED_REQUEST = ("unexpected-request", ErrorType.WAIT)

    @property
    def element(self) -> str:
        """The name of its element."""
        return self.value[0]

    @property
    def type(self) -> ErrorType:
        """The type to send with it unless there is a better one."""
        return self.value[1]


class StanzaError(ProtocolError):
    """One stanza is refused; its sender is told, and the stream goes on."""

    def __init__(
        self,
        condition: StanzaCondition,
        text: str = "",
        *,
        type: ErrorType | None = None,  # noqa: A002
        address: str = "",
        detail: tuple[str, str] | None = None,
    ) -> None:
        """Take the RFC's name for it, a text for people, a type other than the usual one, and where to go instead.

        `detail` is name and namespace of what an extension says of it: `application-specific condition` of the RFC.
        """
        super().__init__(text or condition.element)
        self.condition = condition
        self.text = text
        self.address = address
        self.detail = detail
        self.type = type or condition.type


class SaslCondition(StrEnum):
    """Why a login fails: https://www.rfc-editor.org/rfc/rfc6120#section-6.5."""

    ABORTED = "aborted"
    ACCOUNT_DISABLED = "account-disabled"
    INCORRECT_ENCODING = "incorrect-encoding"
    INVALID_AUTHZID = "invalid-authzid"
    INVALID_MECHANISM = "invalid-mechanism"
    MALFORMED_REQUEST = "malformed-request"
    NOT_AUTHORIZED = "not-authorized"
    TEMPORARY_AUTH_FAILURE = "temporary-auth-failure"


class SaslError(ProtocolError):
    """A login fails; the client may try again."""

    def __init__(self, condition: SaslCondition, text: str = "") -> None:
        """Take the RFC's name for it, and a text for people."""
        super().__init__(text or condition.value)
        self.condition = condition
        self.text = text
