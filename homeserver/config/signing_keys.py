"""The file of the server's signing keys: the first line is the key in use, the lines after it are older ones."""

import os
from pathlib import Path

from federation.core.errors import ProtocolError
from federation.core.signing import SigningKey, parse_keys
from homeserver.clock import Ids
from homeserver.config.options import ConfigError


def read(path: Path, option: str = "keys.signing_key") -> tuple[SigningKey, ...]:
    """Return the keys of a file that an option names, that in use first. Raises `ConfigError`."""
    try:
        keys = parse_keys(path.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError, ProtocolError) as error:
        raise ConfigError(f"{option}: {path} cannot be read: {error}") from error
    if not keys:
        raise ConfigError(f"{option}: {path} holds no key")
    return keys


def generate(ids: Ids) -> SigningKey:
    """Return a new key under a name that no other key of the server has."""
    return SigningKey.generate(f"a_{ids.letters(4)}")


def rotate(path: Path, ids: Ids) -> SigningKey:
    """Put a new key before those of the file, and return it. Raises `ConfigError`; then the file is as it was."""
    keys = read(path)
    new = generate(ids)
    while any(new.key_id == key.key_id for key in keys):
        new = generate(ids)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        owner = path.stat()
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                # Whoever calls this need not be who runs the server.
                if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                file.write("".join(key.serialise() for key in (new, *keys)))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise ConfigError(f"keys.signing_key: {path} cannot be written: {error.strerror}") from error
    return new
