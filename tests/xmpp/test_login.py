"""Logging in by XMPP, with the passwords and the limits of Matrix."""

import datetime
import hashlib
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import slixmpp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from federation.core.xmpp import sasl
from homeserver.services.passwords import SCRAM_ITERATIONS
from homeserver.storage import accounts
from homeserver.xmpp.x509 import end_point_of
from tests.core.xmpp.scram import ScramClient
from tests.support.raw_xmpp import RawClient, bound, connected
from tests.support.talker import talker
from tests.support.waiting import asking, until
from tests.support.world import PASSWORD, User, World, ok

AUTH = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{}'>{}</auth>"
RESPONSE = "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{}</response>"


@pytest.fixture
async def client(world: World) -> AsyncIterator[RawClient]:
    """A client to whom mechanisms were offered."""
    async with connected(world) as raw:
        await raw.secures()
        await raw.opens()
        yield raw


def inside(said: str) -> bytes:
    """Return what a SASL element holds."""
    return sasl.decode(re.sub("<[^>]*>", "", said))


async def scram(client: RawClient, mechanism: str, name: str, password: str) -> tuple[str, ScramClient, bytes]:
    """Log in by SCRAM; return the server's last word, and the challenge."""
    knowing = ScramClient(sasl.HASHES[mechanism.removesuffix("-PLUS")], name, password)
    if mechanism.endswith("-PLUS"):
        tls = client.writer.get_extra_info("ssl_object")
        certificate = ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True))
        knowing.gs2, knowing.binding = "p=tls-server-end-point,,", end_point_of(certificate.encode()) or b""
    await client.says(AUTH.format(mechanism, sasl.encode(knowing.first())))
    challenge = inside(await client.hears("</challenge>"))
    await client.says(RESPONSE.format(sasl.encode(knowing.final(challenge))))
    return await client.hears("</success>|</failure>"), knowing, challenge


@pytest.mark.parametrize("mechanism", [name for name in sasl.offered(b"x") if name != "PLAIN"])
async def test_the_password_of_the_account_logs_in_by_scram(alice: User, client: RawClient, mechanism: str) -> None:
    said, knowing, _ = await scram(client, mechanism, "alice", PASSWORD)
    assert inside(said) == knowing.expects()
    assert "urn:ietf:params:xml:ns:xmpp-bind" in await client.opens()
    assert await client.binds("phone") == "alice@hs1/phone"
    assert alice.user_id == "@alice:hs1"


async def test_a_real_client_logs_in(world: World, alice: User) -> None:
    async with talker(world, "alice", resource="phone") as phone:
        assert str(phone.client.boundjid) == "alice@hs1/phone"
        assert "jabber:client" in (await phone.asks("hs1", "<ping xmlns='urn:xmpp:ping'/>")).tag


async def test_a_wrong_password_and_an_unknown_user_look_alike(world: World, alice: User, client: RawClient) -> None:
    first, _, known = await scram(client, "SCRAM-SHA-256", "alice", "wrong")
    again, _, unknown = await scram(client, "SCRAM-SHA-256", "nobody", "wrong")
    assert first == again
    assert "<not-authorized/>" in first
    form = rf"r=[!-~]+,s=[A-Za-z0-9+/=]{{32}},i={SCRAM_ITERATIONS['SCRAM-SHA-256']}"
    assert re.fullmatch(form, known.decode())
    assert re.fullmatch(form, unknown.decode())
    _, _, unknown_again = await scram(client, "SCRAM-SHA-256", "nobody", "other")
    assert unknown.split(b",")[1:] == unknown_again.split(b",")[1:]
    await client.says(AUTH.format("PLAIN", sasl.encode(b"\0alice\0wrong")))
    one = await client.hears("</failure>")
    await client.says(AUTH.format("PLAIN", sasl.encode(b"\0nobody\0wrong")))
    assert one == await client.hears("</failure>")


async def test_after_a_few_failures_the_stream_ends(world: World, alice: User, client: RawClient) -> None:
    for _ in range(5):
        await client.says(AUTH.format("PLAIN", sasl.encode(b"\0alice\0wrong")))
        await client.hears("</failure>")
    assert "<policy-violation" in await client.hears_the_end()


async def test_a_client_that_binds_to_tls_in_another_way_comes_to_the_mechanism_that_it_can(
    world: World, alice: User, client: RawClient
) -> None:
    """As slixmpp 1.8 does it, which is in Debian 12, for Poezio and others."""
    for gs2, plus in (("p=tls-unique", True), ("y", False)):
        for name in sasl.offered(b"x"):
            if name.endswith("-PLUS") is plus and name != "PLAIN":
                await client.says(AUTH.format(name, sasl.encode(f"{gs2},,n=alice,r=b".encode())))
                await client.hears("</failure>")
    await client.says(AUTH.format("PLAIN", sasl.encode(f"\0alice\0{PASSWORD}".encode())))
    assert "<success" in await client.hears("</success>|</failure>|/>")


@pytest.mark.parametrize(
    ("authzid", "name", "right"),
    [
        ("", "alice", True),
        ("alice@hs1", "alice", True),
        ("alice@hs1", "ALICE", True),
        ("bob@hs1", "alice", False),
        ("@", "alice", False),
        ("nobody", "alice", False),
    ],
)
async def test_nobody_acts_for_somebody_else(
    alice: User, bob: User, client: RawClient, authzid: str, name: str, right: bool
) -> None:
    await client.says(AUTH.format("PLAIN", sasl.encode(f"{authzid}\0{name}\0{PASSWORD}".encode())))
    said = await client.hears("<success[^>]*/>|</failure>")
    assert ("<success" in said) is right
    assert ("<invalid-authzid/>" in said) is not right


async def test_a_locked_and_a_deactivated_account_are_said_to_be_disabled(
    world: World, alice: User, client: RawClient
) -> None:
    who = await world.app.services.sessions.authenticate(alice.token, address="", agent="")
    await world.app.services.db.write(lambda tx: accounts.set_locked(tx, who.user, True))
    said, _, _ = await scram(client, "SCRAM-SHA-1", "alice", PASSWORD)
    assert "<account-disabled/>" in said
    await client.says(AUTH.format("PLAIN", sasl.encode(f"\0alice\0{PASSWORD}".encode())))
    assert "<account-disabled/>" in await client.hears("</failure>")


async def test_a_session_is_a_device_of_the_account_as_long_as_it_lasts(world: World, alice: User) -> None:
    async with talker(world, "alice", resource="Phone"):
        devices = ok(await alice.get("/devices"))["devices"]
        assert {device["display_name"] for device in devices if "display_name" in device} == {"Phone (XMPP)"}
        assert len(devices) == 2
    await asking(lambda: alice.get("/devices"), lambda answer: len(answer[1]["devices"]) == 1)


async def test_a_device_that_is_logged_out_is_disconnected(world: World, alice: User) -> None:
    async with bound(world, "alice") as client:
        (device,) = [
            one["device_id"] for one in ok(await alice.get("/devices"))["devices"] if one["device_id"] != "ALICE1"
        ]
        path = f"/devices/{device}"
        status, asked = await alice.delete(path, {})
        assert status == 401
        auth = {
            "type": "m.login.password", "session": asked["session"], "password": PASSWORD,
            "identifier": {"type": "m.id.user", "user": "alice"},
        }  # fmt: skip
        ok(await alice.delete(path, {"auth": auth}))
        assert "<not-authorized" in await client.hears_the_end()
    async with bound(world, "alice") as client:
        ok(await alice.post("/logout/all"))
        assert "<not-authorized" in await client.hears_the_end()


async def test_a_resource_that_is_taken_again_ends_the_session_before(world: World, alice: User) -> None:
    async with bound(world, "alice", "phone") as before, bound(world, "alice", "phone") as after:
        assert "<conflict" in await before.hears_the_end()
        assert "type='result'" in await after.asks("<ping xmlns='urn:xmpp:ping'/>")
        assert len(ok(await alice.get("/devices"))["devices"]) == 2


async def test_without_a_wish_a_resource_is_made(world: World, alice: User) -> None:
    async with connected(world) as client:
        await client.secures()
        await client.opens()
        await client.logs_in("alice")
        assert re.fullmatch("alice@hs1/[A-Za-z]{12}", await client.binds(""))


async def test_logins_are_limited_together_with_those_of_matrix(tmp_path: Path) -> None:
    options = {
        "RATE_LIMITS__ENABLED": "true", "RATE_LIMITS__LOGIN_BURST": "3", "RATE_LIMITS__LOGIN_PER_SECOND": "0.001",
    }  # fmt: skip
    async with World.start(f"sqlite:///{tmp_path}/isthmus.db", tmp_path, **options) as world:
        await world.user("alice")
        body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}, "password": "wrong"}
        for _ in range(3):
            assert (await world.request("POST", "/_matrix/client/v3/login", body))[0] == 403
        async with connected(world) as client:
            await client.secures()
            await client.opens()
            await client.says(AUTH.format("PLAIN", sasl.encode(f"\0alice\0{PASSWORD}".encode())))
            assert "<temporary-auth-failure/>" in await client.hears("</failure>")
            await client.says(AUTH.format("SCRAM-SHA-1", sasl.encode(b"n,,n=alice,r=x")))
            assert "<temporary-auth-failure/>" in await client.hears("</failure>")


async def test_a_password_that_is_not_ascii_logs_in_however_it_is_written(world: World) -> None:
    await world.user("zoe2", password="I\u00adX \u2168 straße")
    async with connected(world) as client:
        await client.secures()
        await client.opens()
        said, knowing, _ = await scram(client, "SCRAM-SHA-256", "zoe2", "IX IX straße")
        assert inside(said) == knowing.expects()


def test_an_end_point_is_hashed_as_its_certificate_is_signed(tmp_path: Path) -> None:
    def made(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, algorithm: hashes.SHA384 | None) -> bytes:
        name = x509.Name([])
        now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now)
        return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)

    pem = made(ec.generate_private_key(ec.SECP256R1()), hashes.SHA384())
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    assert end_point_of(pem) == hashlib.sha384(der).digest()
    assert end_point_of(made(ed25519.Ed25519PrivateKey.generate(), None)) is None
    with pytest.raises(ValueError, match="load"):
        end_point_of(b"nonsense")


async def test_slixmpp_is_told_when_it_may_not(world: World, alice: User) -> None:
    assert world.app.xmpp is not None
    host, _, port = world.app.xmpp.listening[0].rpartition(":")
    client = slixmpp.ClientXMPP("alice@hs1", "wrong")
    client.enable_direct_tls = False
    client.ssl_context.check_hostname, client.ssl_context.verify_mode = False, ssl.CERT_NONE
    failed: list[object] = []
    client.add_event_handler("failed_all_auth", failed.append)
    client.connect(host, int(port))
    await until(lambda: failed)
    client.abort()


async def test_devices_of_a_server_that_was_killed_are_logged_out_in_time(
    world: World, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    await alice.login_again("XMPP-LEFTOVER")
    assert world.app.xmpp is not None
    async with bound(world, "alice"):
        await world.app.xmpp.accounts.look_after()
        assert len(ok(await alice.get("/devices"))["devices"]) == 3
        monkeypatch.setattr("homeserver.xmpp.accounts.LEFT_OVER_MS", -60_000)
        await world.app.xmpp.accounts.look_after()
        names = {device["device_id"] for device in ok(await alice.get("/devices"))["devices"]}
        assert "XMPP-LEFTOVER" not in names
        assert "ALICE1" in names
