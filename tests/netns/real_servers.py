"""One machine with real servers of every protocol that is probed: nginx, Apache, nsd, exim4.

Each runs with a configuration of its own in a directory of the test; none is the host's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from certificates import Certificates
from onevip.lab.apache import MODULES
from onevip.lab.namespace import Namespace
from parts import environment, program

READY_S = 20.0
UNPRIVILEGED = 65533  # exim's user, in a passwd file of its own

NGINX = """\
daemon off;
worker_processes 1;
user nobody nogroup;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
    uwsgi_temp_path {directory}; scgi_temp_path {directory};
    ssl_certificate {good}.pem; ssl_certificate_key {good}.key;
    server {{
        listen 80; listen [::]:80; listen 443 ssl; listen [::]:443 ssl;
        location / {{ return 200 "OKAY from nginx"; }}
        location /busy {{ return 503; }}
        location /moved {{ return 302 /; }}
    }}
    server {{ listen 444 ssl default_server; ssl_reject_handshake on; }}
    server {{ listen 444 ssl; server_name www.example.test; location / {{ return 200 "OKAY"; }} }}
    server {{
        listen 445 ssl;
        ssl_certificate {self_signed}.pem; ssl_certificate_key {self_signed}.key;
        location / {{ return 200 "OKAY"; }}
    }}
}}
"""

APACHE = """\
ServerName proxy
ServerRoot {directory}
PidFile {directory}/httpd.pid
ErrorLog {directory}/apache-error.log
Listen 0.0.0.0:3128
User nobody
Group nogroup
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
StartServers 1
ServerLimit 1
ThreadsPerChild 8
MaxRequestWorkers 8
ProxyRequests On
"""

NSD = """\
server:
  ip-address: 0.0.0.0
  ip-address: ::0
  username: ""
  zonesdir: "{directory}"
  database: ""
  pidfile: "{directory}/nsd.pid"
  xfrdfile: "{directory}/xfrd.state"
  xfrdir: "{directory}"
  zonelistfile: "{directory}/zone.list"
  server-count: 1
remote-control:
  control-enable: no
zone:
  name: example.test
  zonefile: example.test
zone:
  name: 2.0.192.in-addr.arpa
  zonefile: reverse
"""
SOA = "$TTL 60\n@ IN SOA ns.example.test. hostmaster.example.test. 1 60 60 60 60\n@ IN NS ns\n"
ZONE = (
    SOA
    + """\
ns IN A 192.0.2.53
www IN A 192.0.2.1
www IN AAAA 2001:db8::1
six IN AAAA 2001:db8::6
alias IN CNAME www
text IN TXT "nothing else"
"""
    + "".join(f"many IN A 198.51.100.{number}\n" for number in range(1, 201))
)
REVERSE = SOA + "1 IN PTR www.example.test.\nns IN A 192.0.2.53\n"

EXIM = """\
primary_hostname = mx.example.test
daemon_smtp_ports = 25 : 587
local_interfaces = <; 0.0.0.0 ; ::0
spool_directory = {directory}/spool
log_file_path = {directory}/spool/%slog
pid_file_path = {directory}/exim.pid
keep_environment =
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
acl_smtp_connect = refuse_some
never_users =
begin acl
refuse_some:
  deny condition = ${{if eq{{$received_port}}{{587}}}}
       message = submission is closed today
  accept
"""


@dataclass(slots=True)
class RealServers:
    """The servers, their namespace, and how to make them all hang."""

    host: Namespace
    directory: Path
    processes: list[subprocess.Popen[bytes]]

    def stop(self) -> None:
        """End them, and their namespace."""
        self.host.remove()
        for process in self.processes:
            process.wait()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """All stand still: the kernel accepts for them, and nobody answers."""
        pids = self.host.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def start(host: Namespace, directory: Path, certificates: Certificates) -> RealServers:
    """Start them all in this namespace; return when they listen."""
    names = {
        "directory": directory,
        "modules": MODULES,
        "good": certificates.directory / "good",
        "self_signed": certificates.directory / "self-signed",
    }
    texts = {"nginx.conf": NGINX, "httpd.conf": APACHE, "nsd.conf": NSD, "exim.conf": EXIM}
    for name, text in texts.items():
        (directory / name).write_text(text.format(**names))
    (directory / "example.test").write_text(ZONE)
    (directory / "reverse").write_text(REVERSE)
    spool = directory / "spool"
    spool.mkdir()
    os.chown(spool, UNPRIVILEGED, UNPRIVILEGED)
    argv = ("env", f"LD_LIBRARY_PATH={environment()['LD_LIBRARY_PATH']}", "sh", "-c")
    commands = (
        f"{program('nginx')} -p {directory} -c nginx.conf -e nginx-error.log",
        f"{program('apache2')} -f {directory}/httpd.conf -DFOREGROUND",
        f"{program('nsd')} -d -c {directory}/nsd.conf",
        f"sh -c '{_with_user(directory)} && exec {program('exim4')} -bdf -C {directory}/exim.conf'",
    )
    servers = RealServers(host, directory, [])
    with (directory / "output.log").open("ab") as log:
        for command in commands:
            servers.processes.append(host.start(*argv, f"exec {command}", output=log))
    _await_listening(servers, {25, 53, 80, 443, 444, 445, 587, 3128})
    return servers


def _with_user(directory: Path) -> str:
    """A command that gives exim the user it was compiled for. The namespace keeps it to itself."""
    lines = {
        "passwd": f"Debian-exim:x:{UNPRIVILEGED}:{UNPRIVILEGED}::/nonexistent:/bin/false\n",
        "group": f"Debian-exim:x:{UNPRIVILEGED}:\n",
    }
    for name, line in lines.items():
        (directory / name).write_text(Path("/etc", name).read_text() + line)
    return " && ".join(f"mount --bind {directory}/{name} /etc/{name}" for name in lines)


def _await_listening(servers: RealServers, ports: set[int]) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        lines = Path(f"/proc/{servers.processes[0].pid}/net/tcp").read_text().splitlines()[1:]
        rows = [line.split() for line in lines]
        listening = {int(row[1].partition(":")[2], 16) for row in rows if row[3] == "0A"}
        if ports <= listening:
            return
        time.sleep(0.05)
    logs = [servers.directory / "output.log", *servers.directory.glob("*error.log")]
    said = "".join(log.read_text() for log in logs)
    pytest.fail(f"nobody listens at {sorted(ports - listening)}: {said}")
