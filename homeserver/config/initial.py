"""Makes the first configuration of a server: the file, its signing key and its secrets."""

from pathlib import Path

from federation.core.ids import parse_server_name, split_server_name
from homeserver.clock import Clock, Ids
from homeserver.config import signing_keys
from homeserver.config.formats import check_server_name
from homeserver.config.options import ConfigError
from homeserver.config.private_files import write_new
from homeserver.config.rendering import toml

FILE_NAME = "homeserver.toml"


def initialise(
    directory: Path, server_name: str, port: int, ids: Ids, clock: Clock, authority: Path | None = None
) -> Path:
    """Write a configuration, a signing key and secrets into `directory`; return the file's path.

    With the directory of an authority of one's own, the server gets a certificate of it, trusts it, and speaks with
    other servers in a closed network. Only the owner may read what is written. A signing key that is there already is
    kept, for a server that loses its key cannot speak for itself any more. Raises `ConfigError` if the configuration
    exists.
    """
    try:
        check_server_name(server_name)
    except ValueError as error:
        raise ConfigError(f'server name: {error}, got "{server_name}"') from None
    directory = directory.resolve()
    file = directory / FILE_NAME
    if file.exists():
        raise ConfigError(f"{file} exists already and is left as it is")
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (directory / "media").mkdir(exist_ok=True, mode=0o700)
        key = directory / "signing.key"
        if not key.exists():
            write_new(key, signing_keys.generate(ids).serialise().encode())
        closed = _closed_network(directory, server_name, authority, clock) if authority is not None else None
        federation = closed if closed is not None else _federation(server_name)
        write_new(file, _content(directory, server_name, port, ids.token(), federation).encode())
    except OSError as error:
        raise ConfigError(f"{error.filename or directory}: cannot be written: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{authority}: {error}") from error
    return file


def _content(directory: Path, server_name: str, port: int, shared_secret: str, federation: str) -> str:
    return f"""\
# Configuration of Isthmus. `isthmus config example` prints all options, `isthmus check` looks for mistakes.

server_name = {toml(server_name)}
public_url = {toml(_public_url(server_name, port))}

[keys]
signing_key = {toml(str(directory / "signing.key"))}

[database]
url = {toml(f"sqlite:///{directory / 'isthmus.db'}")}

[http]
listen = [{toml(f"127.0.0.1:{port}")}]
{federation}
[registration]
shared_secret = {toml(shared_secret)}

[media]
path = {toml(str(directory / "media"))}
"""


def _federation(server_name: str) -> str:
    host, _ = split_server_name(parse_server_name(server_name))
    if "." not in host:
        return ""
    return """
[federation]
# Asked for the keys of servers that are gone, to check their events in old rooms. It is believed.
trusted_notaries = ["matrix.org"]
"""


def _closed_network(directory: Path, server_name: str, authority: Path, clock: Clock) -> str:
    # Here and not above: a server that runs does without the eight megabytes of a library for certificates.
    from homeserver.config.authority import Authority

    host, port = split_server_name(parse_server_name(server_name))
    ours = Authority.at(authority.resolve(), clock.now_ms())
    certificate, key = ours.certify(host, directory, clock.now_ms())
    listen = "127.0.0.1" if host == "localhost" else "0.0.0.0"  # noqa: S104 - it is there for other machines
    return f"""
[federation]
listen = [{toml(f"{listen}:{port or 8448}")}]
tls_certificate = {toml(str(certificate))}
tls_key = {toml(str(key))}

[outgoing]
# The servers of this network have certificates of its own authority, and private addresses.
extra_ca = {toml(str(ours.file))}
allow_private_addresses = true
"""


def _public_url(server_name: str, port: int) -> str:
    host, _ = split_server_name(parse_server_name(server_name))
    # A name without a dot is a machine in a closed network, where nobody gives out certificates.
    return f"https://{host}" if "." in host else f"http://{host}:{port}"
