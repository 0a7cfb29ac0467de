"""The file with the key of a policy server, which is not one of the keys with which the server speaks."""

from contextlib import suppress
from pathlib import Path

from federation.core.policy import KEY_ID, KEY_NAME
from federation.core.signing import SigningKey
from homeserver.config import signing_keys
from homeserver.config.options import ConfigError
from homeserver.config.private_files import write_new

FILE_NAME = "policy.key"


def read_or_make(path: Path) -> SigningKey:
    """Return the key of a file, which is made if it is not there. Raises `ConfigError`."""
    try:
        if not path.exists():
            # Somebody else may be faster.
            with suppress(FileExistsError):
                write_new(path, SigningKey.generate(KEY_NAME).serialise().encode())
    except OSError as error:
        raise ConfigError(f"policy.signing_key: {path} cannot be written: {error.strerror}") from error
    (key, *others) = signing_keys.read(path, "policy.signing_key")
    if others or key.key_id != KEY_ID:
        raise ConfigError(f"policy.signing_key: {path} must hold one key, named {KEY_NAME}")
    return key
