"""A person with matrix-nio and one with matrix-js-sdk, in one room."""

from tests.clients.conversation import Conversation
from tests.clients.js_person import JsPerson
from tests.clients.nio_person import NioPerson


class TestNioInvitesTheJsSdk(Conversation):
    """Alice has matrix-nio, Bob has matrix-js-sdk."""

    alice_has = NioPerson
    bob_has = JsPerson


class TestTheJsSdkInvitesNio(Conversation):
    """Alice has matrix-js-sdk, Bob has matrix-nio."""

    alice_has = JsPerson
    bob_has = NioPerson
