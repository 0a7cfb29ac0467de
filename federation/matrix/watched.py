"""Files that are read again when they have changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class Watched(Generic[T]):
    """What a file says, read again when it has changed."""

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        """Take the file, which need not exist, and what reads it."""
        self._path = path
        self._read = read
        self._seen = self._stamp()
        self._content = read(path)

    def content(self) -> T:
        """Return what the file says now."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._content, self._seen = self._read(self._path), stamp
        return self._content

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size
