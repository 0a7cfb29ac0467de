"""People who chat with matrix-nio."""

from collections.abc import Awaitable

import pytest
from nio import (
    ErrorResponse,
    MessageDirection,
    PushNotify,
    PushRuleKind,
    ReceiptType,
    Response,
    ToDeviceMessage,
)
from nio.api import RelationshipType

from tests.clients.conversation import Conversation
from tests.clients.nio_person import NioPerson


@pytest.mark.asyncio(loop_scope="class")
class TestTwoWithNio(Conversation):
    """Both have matrix-nio."""

    alice_has = NioPerson
    bob_has = NioPerson

    async def test_nio_understands_every_answer(self, alice: NioPerson, bob: NioPerson, room_id: str) -> None:
        """nio holds each answer against a schema of its own and makes an error of what does not fit."""
        client, device_id = alice.client, alice.client.device_id
        event_id = await alice.says(room_id, "Hello, Bob!")
        await bob.reacts(room_id, event_id, "👋")
        thread = {"rel_type": "m.thread", "event_id": event_id}
        await bob.sends(room_id, {"msgtype": "m.text", "body": "Hello!", "m.relates_to": thread})
        other_room = await alice.creates_room("Cellar")
        rule = ("global", PushRuleKind.content, "tea")
        asked: list[Awaitable[Response]] = [
            client.discovery_info(),
            client.login_info(),
            client.whoami(),
            client.devices(),
            client.update_device(device_id, {"display_name": "Kettle"}),
            client.content_repository_config(),
            client.get_openid_token(alice.user_id),
            client.set_displayname("Alice"),
            client.get_displayname(),
            client.set_avatar("mxc://hs1/nobody"),
            client.get_avatar(),
            client.get_profile(bob.user_id),
            client.get_presence(bob.user_id),
            client.upload_filter(room={"timeline": {"limit": 5}}),
            client.set_pushrule(*rule, actions=[PushNotify()], pattern="tea"),
            client.set_pushrule_actions(*rule, [PushNotify()]),
            client.enable_pushrule(*rule, False),
            client.delete_pushrule(*rule),
            client.to_device(ToDeviceMessage("org.example.ping", bob.user_id, "*", {"a": 1})),
            client.joined_rooms(),
            client.joined_members(room_id),
            client.room_get_state(room_id),
            client.room_get_state_event(room_id, "m.room.power_levels"),
            client.room_get_event(room_id, event_id),
            client.room_context(room_id, event_id),
            client.room_messages(room_id, client.next_batch, direction=MessageDirection.back),
            client.room_put_state(room_id, "m.room.topic", {"topic": "Tea"}),
            client.update_room_topic(room_id, "Tea and scones"),
            client.update_receipt_marker(room_id, event_id, ReceiptType.read_private),
            client.room_put_alias("#tea:hs1", room_id),
            client.room_resolve_alias("#tea:hs1"),
            client.room_delete_alias("#tea:hs1"),
            client.room_get_visibility(room_id),
            client.list_public_rooms(),
            client.space_get_hierarchy(room_id),
            client.room_enable_knocking(room_id),
            client.room_kick(room_id, bob.user_id, "for a while"),
            bob.client.room_knock(room_id),
            client.room_invite(room_id, bob.user_id),
            bob.client.join(room_id),
            client.room_ban(room_id, bob.user_id),
            client.room_unban(room_id, bob.user_id),
            client.room_leave(other_room),
            client.room_forget(other_room),
        ]
        for question in asked:
            answer = await question
            assert not isinstance(answer, ErrorResponse), answer

        related = client.room_get_event_relations(room_id, event_id, RelationshipType.annotation)
        assert [event.key async for event in related] == ["👋"]
        assert [root.event_id async for root in client.room_get_threads(room_id)] == [event_id]
        # Its sync has shown all of that too.
        await alice.until(room_id, lambda view: bob.user_id not in view.members)
