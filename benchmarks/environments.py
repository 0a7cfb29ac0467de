"""The environments that servers run in: each has what it needs and nothing else, as with those who operate it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def of_isthmus() -> str:
    """Return the Python of an environment without development tools: libraries load what they find of those."""
    return python("BENCH_VENV", ROOT / ".venv-isthmus", "--editable", str(ROOT), newer_than=ROOT / "pyproject.toml")


def python(variable: str, directory: Path, *packages: str, newer_than: Path | None = None) -> str:
    """Return the Python of the environment that a variable names, else of one in a directory, which pip makes."""
    environment = Path(os.environ.get(variable) or directory).absolute()
    found, stamp = environment / "bin/python", environment / "installed"
    if variable in os.environ:
        if not found.exists():
            raise SystemExit(f"${variable} is {environment}, which is no environment")
        return str(found)
    if not stamp.exists() or (newer_than is not None and stamp.stat().st_mtime < newer_than.stat().st_mtime):
        print(f"installing {packages[-1]} into {environment}", file=sys.stderr)
        if not found.exists():
            subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        pip = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        stamp.touch()
    return str(found)
