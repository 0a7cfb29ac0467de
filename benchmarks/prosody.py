"""Prosody as Debian ships it, configured as its own example is, in a directory of its own.

It stores in files, its default. What limits clients is off, as it is in Isthmus; addresses are shown in rooms, as they
are there; and passwords are stored as they are, since hashing them is no part of the comparison.
"""

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.client import PASSWORD

CONFIG = """
pidfile = "{directory}/prosody.pid"
data_path = "{directory}/data"
daemonize = false
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
s2s_ports = {{ }}
s2s_direct_tls_ports = {{ }}
http_ports = {{ }}
https_ports = {{ }}
log = {{ warn = "*console" }}
ssl = {{ certificate = "{certificate}"; key = "{key}" }}
c2s_require_encryption = true
authentication = "internal_plain"
archive_expires_after = "1w"
modules_enabled = {{
    "disco"; "roster"; "saslauth"; "tls"; "blocklist"; "bookmarks"; "carbons"; "csi_simple"; "pep"; "private"; "smacks";
    "vcard4"; "vcard_legacy"; "ping"; "time"; "uptime"; "version"; "mam"; "posix";
}}
modules_disabled = {{ "s2s"; "offline" }}
VirtualHost "{domain}"
Component "{rooms}" "muc"
    modules_enabled = {{ "muc_mam" }}
    muc_room_default_public_jids = true
    muc_room_default_persistent = true
"""


def version() -> str:
    """Return the version that is installed."""
    found = subprocess.run(["prosodyctl", "about"], capture_output=True, text=True, check=False).stdout
    named = re.search(r"^Prosody (\d\S*)", found, re.MULTILINE)
    return named[1] if named is not None else ""


def prepare(
    directory: Path, domain: str, rooms: str, port: int, certificate: tuple[Path, Path], users: int
) -> list[str]:  # fmt: skip
    """Write the configuration and the accounts `user0` and so on; return the command that runs the server."""
    if shutil.which("prosody") is None:
        raise SystemExit("prosody is not installed: apt-get install prosody")
    accounts = directory / "data" / _encoded(domain) / "accounts"
    accounts.mkdir(parents=True)
    for number in range(users):
        (accounts / f"user{number}.dat").write_text(f'return {{ ["password"] = "{PASSWORD}"; }};\n')
    own = [Path(shutil.copy(file, directory)) for file in certificate]
    settings = {
        "directory": directory, "domain": domain, "rooms": rooms, "port": port, "certificate": own[0], "key": own[1]
    }  # fmt: skip
    config = directory / "prosody.cfg.lua"
    config.write_text(CONFIG.format(**settings))
    command = ["prosody", "--config", str(config), "-F"]
    if os.getuid() != 0:
        return command
    # It refuses to run as root.
    user = pwd.getpwnam("prosody")
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *command]


def _encoded(text: str) -> str:
    return "".join(char if char.isalnum() else f"%{ord(char):02x}" for char in text)
