"""Synapse beside us: the same database, no limits, its other settings as they come."""

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import environments

DEFAULT_ENVIRONMENT = environments.ROOT / ".venv-synapse"
UNLIMITED = {"per_second": 1_000_000, "burst_count": 1_000_000}


def python() -> str:
    """Return the Python of Synapse's environment."""
    return environments.python("SYNAPSE_VENV", DEFAULT_ENVIRONMENT, "matrix-synapse[postgres]")


def version() -> str:
    """Return which Synapse it is."""
    ask = [python(), "-c", "import importlib.metadata as m; print(m.version('matrix-synapse'))"]
    return subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()


def prepare(directory: Path, port: int, database_url: str) -> list[str]:
    """Write a configuration and keys; return the command that runs Synapse."""
    file = directory / "homeserver.yaml"
    # JSON is YAML.
    file.write_text(json.dumps(configuration(directory, port, database_url)))
    (directory / "log.yaml").write_text(json.dumps(LOG))
    command = [python(), "-m", "synapse.app.homeserver", "-c", str(file)]
    subprocess.run([*command, "--generate-keys"], check=True, cwd=directory)
    return command


LOG = {
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"level": "WARNING", "handlers": ["console"]},
    "disable_existing_loggers": False,
}


def configuration(directory: Path, port: int, database_url: str) -> dict[str, Any]:
    """Return the settings of a Synapse that serves clients at a port."""
    return {
        "server_name": "bench.test",
        "public_baseurl": f"http://127.0.0.1:{port}/",
        "pid_file": str(directory / "pid"),
        "listeners": [
            {"port": port, "type": "http", "bind_addresses": ["127.0.0.1"], "resources": [{"names": ["client"]}]}
        ],
        "database": _database(database_url),
        "log_config": str(directory / "log.yaml"),
        "media_store_path": str(directory / "media"),
        "signing_key_path": str(directory / "signing.key"),
        "macaroon_secret_key": "bench",
        "form_secret": "bench",
        "report_stats": False,
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "enable_registration": True,
        "enable_registration_without_verification": True,
        # Cheap, as ours: the benchmark makes thousands of accounts, and hashing is no part of any comparison.
        "bcrypt_rounds": 4,
        "rc_message": UNLIMITED,
        "rc_registration": UNLIMITED,
        "rc_login": {"address": UNLIMITED, "account": UNLIMITED, "failed_attempts": UNLIMITED},
        "rc_joins": {"local": UNLIMITED, "remote": UNLIMITED},
        "rc_joins_per_room": UNLIMITED,
        "rc_invites": {"per_room": UNLIMITED, "per_user": UNLIMITED, "per_issuer": UNLIMITED},
        "rc_room_creation": UNLIMITED,
        "rc_media_create": UNLIMITED,
        "rc_presence": {"per_user": UNLIMITED},
        "remote_media_download_per_second": "10G",
        "remote_media_download_burst_count": "10G",
    }


def _database(url: str) -> dict[str, Any]:
    if url.startswith("sqlite:///"):
        return {"name": "sqlite3", "args": {"database": url.removeprefix("sqlite:///")}}
    parts = urlsplit(url)
    return {
        "name": "psycopg2",
        # The size of the pool is that of Synapse's documentation.
        "args": {
            "user": parts.username, "dbname": parts.path[1:], "host": parts.hostname, "port": parts.port,
            "cp_min": 5, "cp_max": 10,
        },
    }  # fmt: skip
