"""Somebody with aioxmpp and somebody with a Matrix client."""

from tests.xmpp_clients.conversation import Conversation, Corrections, Pictures
from tests.xmpp_clients.puppet_person import AioxmppPerson


class TestAioxmpp(Conversation, Corrections, Pictures):
    """aioxmpp, with the services that a client needs."""

    has = AioxmppPerson
