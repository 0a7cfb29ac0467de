"""What `isthmus check` finds."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from homeserver import checks
from homeserver.clock import SystemClock, SystemIds
from homeserver.config import Config, load
from homeserver.config.formats import ListenAddress
from homeserver.config.initial import initialise
from homeserver.config.schema import Database, Federation, Media, Passwords


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A configuration as `isthmus init` writes it."""
    return load(initialise(tmp_path / "data", "hs1", 8008, SystemIds(), SystemClock()), {})


@contextmanager
def answering(body: bytes) -> Iterator[ListenAddress]:
    """A server that answers everything with `body`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield ListenAddress("127.0.0.1", server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_key_that_others_may_read_is_bad(config: Config) -> None:
    assert checks.signing_key(config).good
    Path(config.keys.signing_key).chmod(0o644)
    finding = checks.signing_key(config)
    assert not finding.good
    assert finding.mend == f"run: chmod 600 {config.keys.signing_key}"


@pytest.mark.parametrize("content", ["", "nonsense", "ed25519 a !!!!", "rsa a AAAA", "\u00fc"])
def test_a_file_without_a_key_is_bad(config: Config, content: str) -> None:
    Path(config.keys.signing_key).write_text(content, encoding="utf-8")
    assert not checks.signing_key(config).good


def test_a_sqlite_file_that_is_none_is_bad(config: Config) -> None:
    assert checks.database(config).good
    Path(config.database.url.removeprefix("sqlite:///")).write_bytes(b"not a database, for sure" * 100)
    finding = checks.database(config)
    assert not finding.good
    assert "file is not a database" in finding.text


def test_a_postgresql_that_does_not_answer_is_bad_and_its_password_is_not_told(config: Config) -> None:
    url = "postgresql://me:hunter2@127.0.0.1:1/isthmus"
    finding = checks.database(replace(config, database=Database(url=url)))
    assert not finding.good
    assert "hunter2" not in finding.text + finding.mend


@pytest.mark.skipif(not os.environ.get("ISTHMUS_TEST_POSTGRES"), reason="no PostgreSQL to look at")
def test_a_postgresql_that_answers_is_good(config: Config) -> None:
    url = os.environ["ISTHMUS_TEST_POSTGRES"]
    finding = checks.database(replace(config, database=Database(url=url)))
    assert finding.good, finding


def test_media_have_to_have_a_directory(config: Config, tmp_path: Path) -> None:
    assert checks.media(config).good
    assert checks.media(replace(config, media=Media(path=str(tmp_path / "a/b/c")))).good
    (tmp_path / "file").touch()
    assert not checks.media(replace(config, media=Media(path=str(tmp_path / "file")))).good


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://matrix.example.org", True),
        ("http://localhost:8008", True),
        ("http://10.0.0.1", True),
        ("http://hs1:8008", True),
        ("http://matrix.example.org", False),
        ("http://1.1.1.1", False),
    ],
)
def test_clients_are_only_sent_to_an_encrypted_url(config: Config, url: str, good: bool) -> None:
    assert checks.public_url(replace(config, public_url=url)).good is good


def test_hashing_must_fit_into_memory(config: Config) -> None:
    small = replace(config, passwords=Passwords(argon2_memory_kib=1024))
    assert checks.hashing(small).good
    huge = replace(config, passwords=Passwords(argon2_memory_kib=4194304, max_concurrent=64))
    assert not checks.hashing(huge).good


def test_certificates_that_cannot_be_read_are_bad(config: Config) -> None:
    assert list(checks.certificates(config)) == []
    tls = Federation(tls_certificate="/nowhere.pem", tls_key="/nowhere.key")
    (finding,) = checks.certificates(replace(config, federation=tls))
    assert not finding.good


def test_a_free_port_is_good() -> None:
    assert checks.port("http.listen", ListenAddress("127.0.0.1", 0)).good


def test_a_port_that_our_server_answers_is_good() -> None:
    with answering(b'{"versions": ["v1.11"]}') as address:
        assert checks.port("http.listen", address).good
    with answering(b"isthmus_live_waiters 1.0") as address:
        assert checks.port("metrics.listen", address).good


@pytest.mark.parametrize("body", [b"", b"[]", b"5", b'{"versions', b"\xff"])
def test_a_port_that_something_else_answers_is_bad(body: bytes) -> None:
    with answering(body) as address:
        finding = checks.port("http.listen", address)
    assert not finding.good
    assert "stop the program that uses it" in finding.mend


def test_a_port_that_accepts_and_says_nothing_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PATIENCE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = ListenAddress("127.0.0.1", listener.getsockname()[1])
        assert not checks.port("http.listen", address).good
