"""What clients look up first: https://spec.matrix.org/v1.19/client-server-api/#server-discovery."""

import base64
import hashlib
import hmac
from pathlib import Path

from federation.core.room_versions import ROOM_VERSIONS
from tests.support.people import administrator
from tests.support.world import CLIENT, User, World, ok, refused


async def test_clients_are_told_where_the_server_is(database_url: str, tmp_path: Path) -> None:
    url = "https://matrix.example.org"
    async with World.start(database_url, tmp_path, PUBLIC_URL=f"{url}/") as world:
        answer = ok(await world.request("GET", "/.well-known/matrix/client"))
        assert answer == {"m.homeserver": {"base_url": url}}


async def test_without_a_public_url_the_server_is_at_its_name(world: World) -> None:
    answer = ok(await world.request("GET", "/.well-known/matrix/client"))
    assert answer == {"m.homeserver": {"base_url": "https://hs1"}}


async def test_there_is_no_support_where_nobody_is_configured(world: World) -> None:
    refused(await world.request("GET", "/.well-known/matrix/support"), 404, "M_NOT_FOUND")


async def test_users_are_told_whom_to_turn_to(database_url: str, tmp_path: Path) -> None:
    async with World.start(
        database_url, tmp_path, SUPPORT__ADMIN_MATRIX_ID="@root:hs1", SUPPORT__ADMIN_EMAIL="root@hs1",
        SUPPORT__SECURITY_EMAIL="security@hs1", SUPPORT__PAGE="https://help.example.org",
    ) as world:  # fmt: skip
        assert ok(await world.request("GET", "/.well-known/matrix/support")) == {
            "contacts": [
                {"role": "m.role.admin", "matrix_id": "@root:hs1", "email_address": "root@hs1"},
                {"role": "m.role.security", "email_address": "security@hs1"},
            ],
            "support_page": "https://help.example.org",
        }


async def test_a_page_alone_is_support_enough(database_url: str, tmp_path: Path) -> None:
    async with World.start(database_url, tmp_path, SUPPORT__PAGE="https://help.example.org") as world:
        answer = ok(await world.request("GET", "/.well-known/matrix/support"))
        assert answer == {"support_page": "https://help.example.org"}


async def test_capabilities_say_what_a_user_can_do(world: World, alice: User) -> None:
    refused(await world.request("GET", f"{CLIENT}/capabilities"), 401, "M_MISSING_TOKEN")
    found = ok(await alice.get("/capabilities"))["capabilities"]
    versions = found.pop("m.room_versions")
    assert versions == {"default": "12", "available": dict.fromkeys(ROOM_VERSIONS, "stable")}
    assert {name: value["enabled"] for name, value in found.items()} == {
        "m.change_password": True,
        "m.set_displayname": True,
        "m.set_avatar_url": True,
        "m.3pid_changes": False,
        "m.get_login_token": True,
        "m.profile_fields": True,
        "m.forget_forced_upon_leave": False,
    }


async def test_administrators_can_moderate_accounts(world: World) -> None:
    found = ok(await (await administrator(world)).get("/capabilities"))["capabilities"]
    assert found["m.account_moderation"] == {"lock": True, "suspend": True}


async def test_there_are_no_turn_credentials_without_a_turn_server(alice: User) -> None:
    assert ok(await alice.get("/voip/turnServer")) == {}


async def test_turn_credentials_are_signed_with_the_shared_secret(database_url: str, tmp_path: Path) -> None:
    uri = "turn:turn.example.org?transport=udp"
    async with World.start(
        database_url, tmp_path, VOIP__TURN_URIS=uri, VOIP__TURN_SHARED_SECRET="secret",
        VOIP__TURN_USER_LIFETIME_SECONDS="600",
    ) as world:  # fmt: skip
        refused(await world.request("GET", f"{CLIENT}/voip/turnServer"), 401, "M_MISSING_TOKEN")
        alice = await world.user("alice")
        answer = ok(await alice.get("/voip/turnServer"))
        mac = hmac.digest(b"secret", answer["username"].encode(), hashlib.sha1)
        assert answer["password"] == base64.b64encode(mac).decode()
        assert (answer["uris"], answer["ttl"]) == ([uri], 600)
        expires, _, user_id = answer["username"].partition(":")
        assert user_id == alice.user_id
        assert abs(int(expires) - 600 - world.app.services.clock.now_ms() // 1000) < 60
