"""A real mail server in a network namespace: exim4, which stores what it takes in one file.

It insists on a user of its own and reads /etc/passwd: it gets both, and the list of the libraries
that were unpacked with it, in a mount namespace.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import parts
from netns.waiting import appears
from onevip.lab.namespace import Namespace

USER = 65533  # nobody's
CONFIGURATION = """\
exim_path = {program}
exim_user = {user}
exim_group = {user}
deliver_drop_privilege
primary_hostname = mx.example.org
local_interfaces = {address}
spool_directory = {room}/spool
log_file_path = {room}/%slog
pid_file_path =
keep_environment =
tls_advertise_hosts =
hosts_treat_as_local =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = recipients
acl_smtp_data = all
begin acl
recipients:
  deny message = no such user here
       local_parts = nobody
  accept
all:
  accept
begin routers
everybody:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  file = {room}/box
  envelope_to_add
  return_path_add
"""
_START = """\
mount --bind "$0/ld.so.cache" /etc/ld.so.cache
mount --bind "$0/passwd" /etc/passwd
mount --bind "$0/group" /etc/group
exec "$1" -C "$0/exim.conf" -bdf
"""


class Exim:
    """Takes mails on port 25 of `address`, which is an address of the namespace."""

    def __init__(self, namespace: Namespace, room: Path, address: str) -> None:
        self._namespace = namespace
        self._room = room
        self._address = address
        self._process: subprocess.Popen[bytes] | None = None
        self.box = room / "box"

    def start(self) -> None:
        """Returns when it listens. It ends with the namespace."""
        program = parts.program("exim4")
        self._room.mkdir()
        self._write("exim.conf", self._configuration(program))
        user = f"Debian-exim:x:{USER}:{USER}"
        self._write("passwd", f"{Path('/etc/passwd').read_text()}{user}::{self._room}:/bin/false\n")
        self._write("group", f"{Path('/etc/group').read_text()}{user.rpartition(':')[0]}:\n")
        # Its deliveries are no root's and set-uid: these heed no LD_LIBRARY_PATH.
        libraries = parts.environment()["LD_LIBRARY_PATH"].split(":")
        cache = self._room / "ld.so.cache"
        subprocess.run(["/sbin/ldconfig", "-X", "-C", str(cache), *libraries], check=True)
        for path in (self._room, self._room / "spool"):
            path.mkdir(exist_ok=True)
            os.chown(path, USER, USER)
        self._process = self._namespace.start(
            *("unshare", "-m", "sh", "-ec", _START, str(self._room), program),
            output=subprocess.DEVNULL,
        )
        appears(self._room / "mainlog", "listening for SMTP")

    def ended(self) -> None:
        """To be called when the namespace is gone."""
        if self._process:
            self._process.wait()

    def has(self, text: str, times: int = 1) -> str:
        """Waits until this stands in the mails so often; then all of them."""
        return appears(self.box, text, times)

    def _configuration(self, program: str) -> str:
        return CONFIGURATION.format(
            program=program, user=USER, room=self._room, address=self._address
        )

    def _write(self, name: str, text: str) -> None:
        (self._room / name).write_text(text)
