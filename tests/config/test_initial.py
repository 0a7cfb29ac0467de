"""`isthmus init` makes a server's first files."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from federation.core.signing import parse_keys
from homeserver.clock import SystemClock, SystemIds
from homeserver.config import Config, ConfigError, load
from homeserver.config.initial import initialise


def init(directory: Path, name: str = "localhost", port: int = 8008) -> Config:
    return load(initialise(directory, name, port, SystemIds(), SystemClock()), {})


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    config = init(tmp_path / "data", "example.org", 1234)

    assert config.server_name == "example.org"
    assert config.public_url == "https://example.org"
    assert config.http.listen == ("127.0.0.1:1234",)
    assert config.database.url == f"sqlite:///{tmp_path}/data/isthmus.db"
    assert config.media.path == f"{tmp_path}/data/media"
    assert len(config.registration.shared_secret) >= 40
    (key,) = parse_keys(Path(config.keys.signing_key).read_text(encoding="ascii"))
    assert key.key_id.startswith("ed25519:a_")


def test_paths_are_absolute_so_that_the_server_starts_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert init(Path("data")).media.path == f"{tmp_path}/data/media"


def test_two_servers_share_no_secret(tmp_path: Path) -> None:
    one, other = init(tmp_path / "one"), init(tmp_path / "other")
    assert one.registration.shared_secret != other.registration.shared_secret
    assert Path(one.keys.signing_key).read_bytes() != Path(other.keys.signing_key).read_bytes()


def test_only_the_owner_may_read_what_is_written(tmp_path: Path) -> None:
    init(tmp_path / "data")
    for path in (tmp_path / "data", *(tmp_path / "data").iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    init(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

    with pytest.raises(ConfigError, match=r"homeserver\.toml exists already"):
        init(tmp_path)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_signing_key_is_kept_when_only_the_configuration_was_lost(tmp_path: Path) -> None:
    config = init(tmp_path)
    key = Path(config.keys.signing_key).read_bytes()
    (tmp_path / "homeserver.toml").unlink()

    assert Path(init(tmp_path).keys.signing_key).read_bytes() == key


# Servers in closed networks have no certificate.
@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("localhost", "http://localhost:8008"),
        ("localhost:8448", "http://localhost:8008"),
        ("hs1", "http://hs1:8008"),
        ("[::1]", "http://[::1]:8008"),
        ("example.org:8448", "https://example.org"),
    ],
)
def test_the_public_url_follows_from_the_name(tmp_path: Path, name: str, url: str) -> None:
    assert init(tmp_path, name).public_url == url


def test_a_wrong_name_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="server name: expected a host name"):
        init(tmp_path / "data", "not a name")
    assert not (tmp_path / "data").exists()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file/data: cannot be written"):
        init(tmp_path / "file" / "data")


def test_servers_with_an_authority_of_their_own_trust_each_other(tmp_path: Path) -> None:
    made = [
        load(
            initialise(
                tmp_path / f"{port}", f"localhost:{port}", port - 440, SystemIds(), SystemClock(), tmp_path / "ca"
            ),
            {},
        )
        for port in (8448, 8449)
    ]
    for config, port in zip(made, (8448, 8449), strict=True):
        assert config.federation.listen == (f"127.0.0.1:{port}",)
        assert config.outgoing.extra_ca == f"{tmp_path}/ca/ca.pem"
        assert config.outgoing.allow_private_addresses
        shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        shown.load_cert_chain(config.federation.tls_certificate, config.federation.tls_key)
        trusted = x509.load_pem_x509_certificate(Path(config.outgoing.extra_ca).read_bytes())
        certificate = x509.load_pem_x509_certificate(Path(config.federation.tls_certificate).read_bytes())
        certificate.verify_directly_issued_by(trusted)
        assert Path(config.federation.tls_key).stat().st_mode & 0o077 == 0


def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "ca.key").write_text("no key")
    with pytest.raises(ConfigError, match="ca: "):
        initialise(tmp_path / "data", "localhost", 8008, SystemIds(), SystemClock(), tmp_path / "ca")
