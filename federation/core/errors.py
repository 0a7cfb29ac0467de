"""What can be wrong with what another server, or a client, has sent.

    ProtocolError
    ├── InvalidIdentifier   not a user ID, room ID, server name, ...
    ├── BadJson             not representable as canonical JSON
    ├── BadEvent            not an event of its room version: dropped
    │   └── EventTooLarge   one of the size limits
    ├── BadSignature        not signed by whom it should be
    └── Rejected            an event that the authorisation rules refuse

The text of an error may be shown to whoever sent the thing; it holds no secrets.
"""


class ProtocolError(Exception):
    """Something breaks a rule of the protocol."""


class InvalidIdentifier(ProtocolError):
    """A text is not an identifier of the wanted kind."""


class BadJson(ProtocolError):
    """A value has no canonical JSON form, or a text is not the encoding it claims to be."""


class BadEvent(ProtocolError):
    """An event does not have the format of its room version; it must be dropped."""


class EventTooLarge(BadEvent):
    """An event, or one of its fields, is larger than the protocol allows."""


class BadSignature(ProtocolError):
    """A signature is missing, unreadable or wrong."""


class Rejected(ProtocolError):
    """The authorisation rules refuse an event."""
