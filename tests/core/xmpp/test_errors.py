"""Errors know their names, and what the other side can do about them."""

from federation.core.xmpp.errors import (
    ErrorType,
    SaslCondition,
    SaslError,
    StanzaCondition,
    StanzaError,
    StreamCondition,
    StreamError,
)


def test_an_error_without_a_text_says_its_name() -> None:
    assert str(StreamError(StreamCondition.RESET)) == "reset"
    assert str(StanzaError(StanzaCondition.GONE)) == "gone"
    assert str(SaslError(SaslCondition.ABORTED)) == "aborted"
    assert str(SaslError(SaslCondition.ABORTED, "why")) == "why"


def test_a_refusal_has_the_type_that_the_rfc_advises_unless_told_otherwise() -> None:
    assert StanzaError(StanzaCondition.FORBIDDEN).type is ErrorType.AUTH
    assert StanzaError(StanzaCondition.FORBIDDEN, type=ErrorType.CANCEL).type is ErrorType.CANCEL
