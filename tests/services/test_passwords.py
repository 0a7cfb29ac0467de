"""How passwords are kept."""

import asyncio
import base64
import hashlib
import hmac

import pytest

from homeserver.clock import SystemIds
from homeserver.config.schema import Passwords as Options
from homeserver.errors import InvalidParam, Unavailable, WeakPassword
from homeserver.services import passwords as module
from homeserver.services.passwords import LONGEST, Passwords, check_length, scram_keys
from homeserver.services.saslprep import saslprep
from tests.support.world import SCRAM_AS_SHIPPED


@pytest.fixture
def passwords() -> Passwords:
    """Passwords at the least cost."""
    return Passwords(Options(argon2_memory_kib=1024, argon2_iterations=1), SystemIds())


async def test_a_password_is_kept_as_argon2id_and_verified(passwords: Passwords) -> None:
    secured = await passwords.secure("pässword")
    assert secured.hash.startswith("$argon2id$v=19$m=1024,t=1,p=1$")
    assert await passwords.verify("pässword", secured.hash)
    assert not await passwords.verify("password", secured.hash)
    assert not await passwords.verify("", secured.hash)
    assert not passwords.is_outdated(secured.hash)


async def test_one_password_is_never_kept_the_same_way_twice(passwords: Passwords) -> None:
    first, second = await passwords.secure("password"), await passwords.secure("password")
    assert first.hash != second.hash
    assert not {key.stored_key for key in first.keys} & {key.stored_key for key in second.keys}


async def test_without_a_hash_the_same_work_is_done_and_nothing_is_right(passwords: Passwords) -> None:
    done = []
    verify = passwords._hasher.verify

    class Counting:
        def verify(self, password_hash: str, password: str) -> bool:
            done.append(password_hash)
            return verify(password_hash, password)

    passwords._hasher = Counting()  # type: ignore[assignment]
    assert not await passwords.verify("password", None)
    assert len(done) == 1
    assert done[0].startswith("$argon2id$v=19$m=1024,t=1,p=1$")


async def test_what_is_no_hash_fits_no_password(passwords: Passwords) -> None:
    assert not await passwords.verify("password", "not a hash")


async def test_only_so_many_wait(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    answers = await asyncio.gather(*(passwords.verify("x", None) for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers].count(Unavailable) == 2
    assert not await passwords.verify("x", None)


def test_a_new_password_has_a_length(passwords: Passwords) -> None:
    passwords.check_new("8 chars!")
    passwords.check_new("x" * LONGEST)
    with pytest.raises(WeakPassword):
        passwords.check_new("7 chars")
    with pytest.raises(InvalidParam):
        passwords.check_new("x" * (LONGEST + 1))
    check_length("x")
    with pytest.raises(InvalidParam):
        check_length("")


@pytest.mark.parametrize(
    ("mechanism", "algorithm", "client_nonce", "server_nonce", "salt", "proof", "signature"),
    [
        # https://www.rfc-editor.org/rfc/rfc5802#section-5
        (
            "SCRAM-SHA-1", "sha1", "fyko+d2lbbFgONRv9qkxdawL", "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
            "QSXCR+Q6sek8bf92", "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        # https://www.rfc-editor.org/rfc/rfc7677#section-3
        (
            "SCRAM-SHA-256", "sha256", "rOprNGfwEbeRWgbNEkqO",
            "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "W22ZaJ0SNY7soEsUEjb6gQ==", "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
    ],
)  # fmt: skip
def test_scram_keys_are_those_of_the_rfcs(
    mechanism: str, algorithm: str, client_nonce: str, server_nonce: str, salt: str, proof: str, signature: str
) -> None:
    keys = scram_keys(mechanism, b"pencil", base64.b64decode(salt), 4096)
    message = f"n=user,r={client_nonce},r={server_nonce},s={salt},i=4096,c=biws,r={server_nonce}".encode()
    assert hmac.digest(keys.server_key, message, algorithm) == base64.b64decode(signature)
    mask = hmac.digest(keys.stored_key, message, algorithm)
    client_key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), mask, strict=True))
    assert hashlib.new(algorithm, client_key).digest() == keys.stored_key


async def test_keys_are_derived_for_each_mechanism(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCRAM_ITERATIONS", SCRAM_AS_SHIPPED)
    secured = await passwords.secure("password")
    assert {key.mechanism: key.iterations for key in secured.keys} == {
        "SCRAM-SHA-1": 4096,
        "SCRAM-SHA-256": 10_000,
        "SCRAM-SHA-512": 10_000,
    }
    for key in secured.keys:
        assert scram_keys(key.mechanism, b"password", key.salt, key.iterations) == key


async def test_a_password_that_scram_cannot_carry_is_good_for_the_rest(passwords: Passwords) -> None:
    secured = await passwords.secure("pass\u0007word")
    assert secured.keys == ()
    assert await passwords.verify("pass\u0007word", secured.hash)


# https://www.rfc-editor.org/rfc/rfc4013#section-3
@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("", ""),
        ("\u0627\u0628", "\u0627\u0628"),
        ("\u0627 1\u0628", "\u0627 1\u0628"),
    ],
)
def test_saslprep_makes_one_text_of_many(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@pytest.mark.parametrize(
    "text", ["\u0007", "\u06271", "\u0627a\u0628", chr(0xD800), "\ufffd", "\u0221", "\ue000", "\u200e\u0340"]
)
def test_saslprep_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        saslprep(text)
