"""Somebody with slixmpp and somebody with a Matrix client."""

from tests.xmpp_clients.conversation import ChatArchives, Conversation, Corrections, Pictures, Reactions
from tests.xmpp_clients.puppet_person import SlixmppPerson


class TestSlixmpp(Conversation, ChatArchives, Corrections, Reactions, Pictures):
    """slixmpp, with the plugins that a client needs."""

    has = SlixmppPerson
