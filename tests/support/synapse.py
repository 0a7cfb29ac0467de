"""A real Synapse in a process of its own, which federates with servers of ours over TLS on loopback.

What it is made of is of no concern: it is asked as clients and servers ask it.
"""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.synapse import DEFAULT_ENVIRONMENT, LOG, UNLIMITED, configuration, python
from tests.support.certificates import Authority
from tests.support.ports import free_port

START_SECONDS = 90
STOP_SECONDS = 30


def wanted() -> None:
    """Skip the test where there is no Synapse, and nobody said that there must be."""
    if "SYNAPSE_VENV" not in os.environ and "CI" not in os.environ and not DEFAULT_ENVIRONMENT.exists():
        pytest.skip("there is no Synapse: set SYNAPSE_VENV")


@dataclass(slots=True)
class Synapse:
    """A Synapse called `localhost:PORT`."""

    name: str
    base: str
    directory: Path
    command: list[str]
    running: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def start(cls, authority: Authority, directory: Path, **settings: Any) -> Iterator["Synapse"]:
        """Start one on SQLite; `settings` are those of its configuration. It is gone afterwards."""
        directory.mkdir(parents=True, exist_ok=True)
        client, federation = free_port(), free_port()
        file = directory / "homeserver.yaml"
        # JSON is YAML.
        file.write_text(json.dumps({**_settings(authority, directory, client, federation), **settings}))
        (directory / "log.yaml").write_text(json.dumps(LOG))
        command = [python(), "-m", "synapse.app.homeserver", "-c", str(file)]
        subprocess.run([*command, "--generate-keys"], check=True, cwd=directory)
        synapse = cls(f"localhost:{federation}", f"http://127.0.0.1:{client}", directory, command)
        try:
            synapse.starts()
            yield synapse
        finally:
            synapse.stops()

    def starts(self) -> None:
        """Start the process; return when it answers."""
        with (self.directory / "synapse.log").open("ab") as log:
            self.running = subprocess.Popen(
                self.command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.running.poll() is None, f"Synapse does not start:\n{self.written()}"
            assert time.monotonic() < deadline, f"Synapse does not answer:\n{self.written()}"
            time.sleep(0.1)

    def stops(self) -> None:
        """Ask the process to end, and see to it."""
        if self.running is None:
            return
        self.running.terminate()
        try:
            self.running.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.wait()
        self.running = None

    def written(self) -> str:
        """Return what the process has logged so far."""
        return (self.directory / "synapse.log").read_text(encoding="utf-8", errors="replace")

    def _answers(self) -> bool:
        with (
            suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"{self.base}/_matrix/client/versions", timeout=5) as response,
        ):
            return bool(response.status == 200)
        return False


def _settings(authority: Authority, directory: Path, client: int, federation: int) -> dict[str, Any]:
    shown = authority.certificate()
    here = {"bind_addresses": ["127.0.0.1"], "type": "http"}
    return {
        **configuration(directory, client, f"sqlite:///{directory}/homeserver.db"),
        "server_name": f"localhost:{federation}",
        "listeners": [
            {**here, "port": client, "resources": [{"names": ["client"]}]},
            {**here, "port": federation, "tls": True, "resources": [{"names": ["federation"]}]},
        ],
        "tls_certificate_path": str(shown.certificate),
        "tls_private_key_path": str(shown.key),
        "federation_verify_certificates": True,
        "federation_custom_ca_list": [str(authority.ca)],
        "ip_range_blacklist": [],
        "allow_public_rooms_over_federation": True,
        "allow_public_rooms_without_auth": True,
        "room_list_publication_rules": [{"action": "allow"}],
        "registration_shared_secret": "secret",
        # Servers here come and go: whoever is back is to be spoken to at once.
        "federation": {
            "client_timeout": "10s",
            "destination_min_retry_interval": 100,
            "destination_max_retry_interval": "1s",
            "destination_retry_multiplier": 1,
        },
        "rc_federation": {"window_size": 1000, "sleep_limit": 10000, "sleep_delay": 1, "reject_limit": 10000},
        "rc_admin_redaction": UNLIMITED,
        "rc_third_party_invite": UNLIMITED,
    }
