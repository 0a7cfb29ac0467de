"""Somebody with Profanity and somebody with a Matrix client."""

from tests.xmpp_clients.conversation import ChatArchives, Conversation, Corrections, Pictures
from tests.xmpp_clients.terminal_person import ProfanityPerson


class TestProfanity(Conversation, ChatArchives, Corrections, Pictures):
    """Profanity, as it comes with Debian."""

    has = ProfanityPerson
