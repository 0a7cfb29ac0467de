"""Files that only their owner may read, written whole or not at all: configuration, keys, certificates."""

import os
from pathlib import Path


def write_new(path: Path, content: bytes) -> None:
    """Write a file that must not be there. Raises FileExistsError if it is, and OSError."""
    draft = _draft(path, content)
    try:
        # The name appears with all of its content, and never over another.
        os.link(draft, path)
    finally:
        draft.unlink()


def write_over(path: Path, content: bytes) -> None:
    """Write a file in the place of one that may be there. Raises OSError; then the old one is as it was."""
    _draft(path, content).replace(path)


def _draft(path: Path, content: bytes) -> Path:
    """Write the content beside its place, durably; return where."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        draft.unlink()
        raise
    return draft
