"""Files on disk, addressed by the SHA-256 of what is in them: `ab/cd/abcd…`, beside `incoming/` for what is on its way.

A file is whole and durable before its name appears: written elsewhere, synced, renamed, the directory synced. Equal
content is one file. Whoever is about to refer to a file has touched it, so a file that is old and has no row is
nobody's.
"""

import asyncio
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar

T = TypeVar("T")

THREADS = 4
"""Files written, read or looked for at the same time."""


class Incoming:
    """A file that is being received. Its methods block; `Store.run` runs them. It must end with `keep` or `discard`."""

    def __init__(self, directory: Path) -> None:
        """Make an empty file in `directory`. Raises OSError."""
        handle, name = tempfile.mkstemp(dir=directory)
        self.path = Path(name)
        self.size = 0
        self._file: BinaryIO = os.fdopen(handle, "wb")
        self._hash = hashlib.sha256()
        # Whoever gives up an upload does not wait for the write that is under way.
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Append `data`. Raises OSError, and ValueError once the file has been discarded."""
        with self._lock:
            self._file.write(data)
            self._hash.update(data)
            self.size += len(data)

    def finish(self) -> bytes:
        """Make what was written durable; return its SHA-256. Raises OSError or ValueError."""
        with self._lock:
            self._file.flush()
            os.fsync(self._file.fileno())
            return self._hash.digest()

    def discard(self) -> None:
        """Close the file and remove it, if it has not been moved to its place."""
        with self._lock:
            self._file.close()
            self.path.unlink(missing_ok=True)


class Store:
    """The directory of the configuration's `media.path`."""

    def __init__(self, root: Path) -> None:
        """Make the directories that are missing. Raises OSError."""
        self._root = root.resolve()
        self._incoming = self._root / "incoming"
        self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="media")
        # Between the pruner's last look at a file and its removal nobody may come to rely on it.
        self._placing = threading.Lock()

    def close(self) -> None:
        """Wait for what is being written."""
        self._threads.shutdown()

    async def run(self, blocking: Callable[..., T], *args: object) -> T:
        """Run a function that blocks on the disk; return what it returns."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, blocking, *args)

    def forget(self, incoming: Incoming) -> None:
        """Discard a file in the background, whatever is under way with it."""
        self._threads.submit(incoming.discard)

    def path(self, sha256: bytes) -> Path:
        """Return where the content with that hash is, or would be."""
        name = sha256.hex()
        return self._root / name[:2] / name[2:4] / name

    # All below block.

    def begin(self) -> Incoming:
        """Return a new file to be written. Raises OSError."""
        return Incoming(self._incoming)

    def keep(self, incoming: Incoming) -> bytes:
        """Put a written file into its place, durably; return its SHA-256. Raises OSError or ValueError."""
        sha256 = incoming.finish()
        target = self.path(sha256)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._placing:
            if self.size(sha256) == incoming.size:
                os.utime(target)
            else:
                incoming.path.replace(target)
        for directory in (target.parent, target.parent.parent, self._root):
            _sync_directory(directory)
        incoming.discard()
        return sha256

    def put(self, data: bytes) -> bytes:
        """Store bytes that are at hand, durably; return their SHA-256. Raises OSError."""
        incoming = self.begin()
        try:
            incoming.write(data)
            return self.keep(incoming)
        finally:
            incoming.discard()

    def size(self, sha256: bytes) -> int | None:
        """Return the size of a content, or None if it is not here."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    # For the pruner

    def remove_abandoned(self, before: float) -> int:
        """Remove what was on its way and has not grown since `before` (seconds since 1970); return how many."""
        old = [path for path in self._incoming.iterdir() if _is_older(path, before)]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def shelves(self) -> list[Path]:
        """Return the directories that files are in."""
        return sorted(self._root.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]"))

    def old_files(self, shelf: Path, before: float) -> list[bytes]:
        """Return the hashes of the files in a directory that nobody has touched since `before`."""
        return [bytes.fromhex(path.name) for path in shelf.glob("[0-9a-f]" * 64) if _is_older(path, before)]

    def remove(self, sha256: bytes, before: float) -> bool:
        """Remove a file unless someone has touched it since `before`; return whether it was removed."""
        path = self.path(sha256)
        with self._placing:
            if not _is_older(path, before):
                return False
            path.unlink(missing_ok=True)
            return True


def _is_older(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime < before
    except FileNotFoundError:
        return False


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
