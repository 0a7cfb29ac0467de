"""What services refuse, told in the words of XMPP: https://www.rfc-editor.org/rfc/rfc6120#section-8.3.3."""

from collections.abc import Sequence

from federation.core.xmpp.errors import SaslCondition, SaslError, StanzaCondition, StanzaError
from homeserver.errors import (
    Forbidden,
    InvalidParam,
    LimitExceeded,
    MatrixError,
    NotFound,
    TooLarge,
    Unavailable,
    UserDeactivated,
    UserLocked,
)

_STANZAS: Sequence[tuple[type[MatrixError], StanzaCondition]] = (
    (LimitExceeded, StanzaCondition.RESOURCE_CONSTRAINT),
    (Unavailable, StanzaCondition.RESOURCE_CONSTRAINT),
    (NotFound, StanzaCondition.ITEM_NOT_FOUND),
    (TooLarge, StanzaCondition.NOT_ACCEPTABLE),
    (Forbidden, StanzaCondition.FORBIDDEN),
    (InvalidParam, StanzaCondition.BAD_REQUEST),
    (MatrixError, StanzaCondition.NOT_ACCEPTABLE),
)
_LOGINS: Sequence[tuple[type[MatrixError], SaslCondition]] = (
    (UserDeactivated, SaslCondition.ACCOUNT_DISABLED),
    (UserLocked, SaslCondition.ACCOUNT_DISABLED),
    (Forbidden, SaslCondition.NOT_AUTHORIZED),
    (MatrixError, SaslCondition.TEMPORARY_AUTH_FAILURE),
)


def refusal(error: MatrixError) -> StanzaError:
    """Return the stanza error for what a service refuses; its text is meant for people."""
    return StanzaError(next(condition for kind, condition in _STANZAS if isinstance(error, kind)), error.message)


def login_refusal(error: MatrixError) -> SaslError:
    """Return the SASL failure for a login that a service refuses."""
    return SaslError(next(condition for kind, condition in _LOGINS if isinstance(error, kind)), error.message)
