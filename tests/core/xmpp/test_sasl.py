"""Logins, by the vectors of the RFCs and by a client of our own."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core.xmpp import sasl
from federation.core.xmpp.errors import SaslCondition, SaslError
from federation.core.xmpp.sasl import Claim, Scram
from tests.core.xmpp.scram import ScramClient, keys_of

END_POINT = b"hash of a certificate"


@pytest.mark.parametrize(
    ("mechanism", "hash_name", "server_nonce", "salt", "first", "challenge", "final", "success"),
    [
        (  # https://www.rfc-editor.org/rfc/rfc5802#section-5
            "SCRAM-SHA-1", "sha1", "3rfcNHYJY1ZVvWVs7j", "QSXCR+Q6sek8bf92",
            "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        (  # https://www.rfc-editor.org/rfc/rfc7677#section-3
            "SCRAM-SHA-256", "sha256", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", "W22ZaJ0SNY7soEsUEjb6gQ==",
            "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
    ],
)  # fmt: skip
def test_the_examples_of_the_rfcs_work(
    mechanism: str, hash_name: str, server_nonce: str, salt: str, first: str, challenge: str, final: str, success: str
) -> None:
    login = Scram(mechanism, server_nonce, None, plus_was_offered=False)
    assert login.begin(first.encode()) == Claim("user", None)
    assert login.challenge(keys_of(hash_name, "pencil", base64.b64decode(salt), 4096)) == challenge.encode()
    assert login.finish(final.encode()) == success.encode()


@pytest.mark.parametrize("mechanism", list(sasl.HASHES))
@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("password", ["pencil", "wrong"])
def test_the_right_password_logs_in_and_no_other(mechanism: str, plus: bool, password: str) -> None:
    hash_name = sasl.HASHES[mechanism]
    client = ScramClient(hash_name, "a=2Cb=3Dc", password)
    if plus:
        client.gs2, client.binding = f"p={sasl.END_POINT},,", END_POINT
    login = Scram(mechanism + ("-PLUS" if plus else ""), "nonce", END_POINT, plus_was_offered=True)
    assert login.name == mechanism
    assert login.begin(client.first()) == Claim("a,b=c", None)
    final = client.final(login.challenge(keys_of(hash_name, "pencil", b"salt", 4096)))
    if password == "pencil":
        assert login.finish(final) == client.expects()
    else:
        with pytest.raises(SaslError) as raised:
            login.finish(final)
        assert raised.value.condition is SaslCondition.NOT_AUTHORIZED


@pytest.mark.parametrize(
    ("mechanism", "first", "condition"),
    [
        ("SCRAM-SHA-1", b"", SaslCondition.MALFORMED_REQUEST),
        ("SCRAM-SHA-1", b"\xff", SaslCondition.MALFORMED_REQUEST),
        ("SCRAM-SHA-1", b"n,,n=a=b,r=x", SaslCondition.MALFORMED_REQUEST),
        ("SCRAM-SHA-1", b"n,a=a=,n=a,r=x", SaslCondition.MALFORMED_REQUEST),
        ("SCRAM-SHA-1", b"n,,m=ext,n=a,r=x", SaslCondition.MALFORMED_REQUEST),
        ("SCRAM-SHA-1", b"n,,n=a,r=x y", SaslCondition.MALFORMED_REQUEST),
        ("SCRAM-SHA-1", b"p=tls-server-end-point,,n=a,r=x", SaslCondition.MALFORMED_REQUEST),
        ("SCRAM-SHA-1-PLUS", b"p=tls-unique,,n=a,r=x", SaslCondition.MALFORMED_REQUEST),
        ("SCRAM-SHA-1-PLUS", b"n,,n=a,r=x", SaslCondition.MALFORMED_REQUEST),
        # Somebody took the -PLUS mechanisms out of the offer.
        ("SCRAM-SHA-1", b"y,,n=a,r=x", SaslCondition.NOT_AUTHORIZED),
    ],
)
def test_a_first_message_of_another_form_fails(mechanism: str, first: bytes, condition: SaslCondition) -> None:
    with pytest.raises(SaslError) as raised:
        Scram(mechanism, "nonce", END_POINT, plus_was_offered=True).begin(first)
    assert raised.value.condition is condition


def test_where_nothing_can_be_bound_a_client_may_say_that_it_could() -> None:
    assert Scram("SCRAM-SHA-1", "nonce", None, plus_was_offered=False).begin(b"y,a=b,n=a,r=x") == Claim("a", "b")


@pytest.mark.parametrize(
    ("final", "condition"),
    [
        ("", SaslCondition.MALFORMED_REQUEST),
        ("c=biws,r=clientserver", SaslCondition.MALFORMED_REQUEST),
        ("c=biw,r=clientserver,p=AAAA", SaslCondition.MALFORMED_REQUEST),
        ("c=biws,r=clientserver,p=A", SaslCondition.MALFORMED_REQUEST),
        ("c=eSws,r=clientserver,p=AAAA", SaslCondition.NOT_AUTHORIZED),
        ("c=biws,r=client,p=AAAA", SaslCondition.NOT_AUTHORIZED),
        ("c=biws,r=clientserver,p=AAAA", SaslCondition.NOT_AUTHORIZED),
    ],
)
def test_a_last_message_that_does_not_fit_fails(final: str, condition: SaslCondition) -> None:
    login = Scram("SCRAM-SHA-1", "server", None, plus_was_offered=False)
    login.begin(b"n,,n=a,r=client")
    login.challenge(keys_of("sha1", "pencil", b"salt", 4096))
    with pytest.raises(SaslError) as raised:
        login.finish(final.encode())
    assert raised.value.condition is condition


def test_plain_names_who_and_the_password() -> None:
    assert sasl.read_plain(b"\0alice\0p\xc3\xa4ss") == (Claim("alice", None), "päss")
    assert sasl.read_plain(b"alice@hs1\0alice\0x") == (Claim("alice", "alice@hs1"), "x")


@pytest.mark.parametrize("data", [b"", b"alice", b"\0a\0b\0c", b"\0\xff\0x", b"\0\0x", b"\0a\0"])
def test_plain_of_another_form_fails(data: bytes) -> None:
    with pytest.raises(SaslError):
        sasl.read_plain(data)


def test_mechanisms_are_offered_strongest_first_and_bound_ones_only_where_there_is_a_binding() -> None:
    assert sasl.offered(None) == ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN")
    assert sasl.offered(b"x")[0] == "SCRAM-SHA-512-PLUS"
    assert len(sasl.offered(b"x")) == 7


def test_whoever_has_no_account_is_challenged_like_others_the_same_each_time() -> None:
    one = sasl.decoy("SCRAM-SHA-256", "nobody", b"secret", 10_000)
    assert one == sasl.decoy("SCRAM-SHA-256", "nobody", b"secret", 10_000)
    others = [
        sasl.decoy("SCRAM-SHA-256", "nobody2", b"secret", 10_000),
        sasl.decoy("SCRAM-SHA-1", "nobody", b"secret", 10_000),
        sasl.decoy("SCRAM-SHA-256", "nobody", b"other", 10_000),
    ]
    assert len({one.salt, *(other.salt for other in others)}) == 4
    assert (len(one.salt), len(one.stored_key)) == (22, 32)


def test_elements_hold_base64() -> None:
    assert sasl.decode("=") == b""
    assert sasl.encode(b"") == "="
    assert sasl.decode(sasl.encode(b"x")) == b"x"
    for text in ("a", "ü", "a b=", "===="):
        with pytest.raises(SaslError) as raised:
            sasl.decode(text)
        assert raised.value.condition is SaslCondition.INCORRECT_ENCODING


@given(st.binary() | st.text().map(str.encode), st.binary() | st.text().map(str.encode))
def test_any_bytes_log_nobody_in(first: bytes, final: bytes) -> None:
    login = Scram("SCRAM-SHA-256", "server", None, plus_was_offered=False)
    try:
        login.begin(first)
        login.challenge(keys_of("sha256", "pencil", b"salt", 1))
        login.finish(final)
    except SaslError:
        return
    raise AssertionError("logged in")
