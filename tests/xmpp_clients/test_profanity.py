"""Somebody with Profanity and somebody with a Matrix client."""

from tests.xmpp_clients.conversation import Conversation, Corrections, Pictures
from tests.xmpp_clients.terminal_person import ProfanityPerson


class TestProfanity(Conversation, Corrections, Pictures):
    """Profanity, as it comes with Debian."""

    has = ProfanityPerson
