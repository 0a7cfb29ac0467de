"""Somebody with Poezio and somebody with a Matrix client."""

from tests.xmpp_clients.conversation import ChatArchives, Conversation, Corrections
from tests.xmpp_clients.terminal_person import PoezioPerson


class TestPoezio(Conversation, ChatArchives, Corrections):
    """Poezio, as it comes with Debian."""

    has = PoezioPerson
