"""The file with the key of a policy server, which is not one of the keys with which the server speaks."""

import os
from pathlib import Path

from federation.core.policy import KEY_ID, KEY_NAME
from federation.core.signing import SigningKey
from homeserver.config import signing_keys
from homeserver.config.options import ConfigError

FILE_NAME = "policy.key"


def read_or_make(path: Path) -> SigningKey:
    """Return the key of a file, which is made if it is not there. Raises `ConfigError`."""
    try:
        if not path.exists():
            _write(path, SigningKey.generate(KEY_NAME).serialise())
    except FileExistsError:
        # Somebody else was faster.
        pass
    except OSError as error:
        raise ConfigError(f"policy.signing_key: {path} cannot be written: {error.strerror}") from error
    (key, *others) = signing_keys.read(path, "policy.signing_key")
    if others or key.key_id != KEY_ID:
        raise ConfigError(f"policy.signing_key: {path} must hold one key, named {KEY_NAME}")
    return key


def _write(path: Path, content: str) -> None:
    # Written aside, then linked: the name appears with all of its content, and never over another.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink()
