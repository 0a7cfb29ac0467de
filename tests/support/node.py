"""Packages of npm that tests want, each set in a folder with a lock file."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

OLDEST_NODE = 20


def have_packages(folder: Path) -> Path:
    """Install what a folder's lock file names, once; return where it is. Skip the test without Node; CI has one."""
    if not _node_is_there():
        missing = f"npm and Node {OLDEST_NODE} or later are missing"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    packages = folder / "node_modules"
    installed = packages / ".installed"
    with (folder / "package-lock.json").open("rb") as held:
        # Tests in several processes want the same packages.
        fcntl.flock(held, fcntl.LOCK_EX)
        wanted = hashlib.sha256(held.read()).hexdigest()
        if not installed.exists() or installed.read_text() != wanted:
            done = subprocess.run(["npm", "ci"], cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            installed.write_text(wanted)
    return packages


def _node_is_there() -> bool:
    if shutil.which("node") is None or shutil.which("npm") is None:
        return False
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.removeprefix("v").split(".")[0]) >= OLDEST_NODE
