"""Apache httpd with a small configuration of its own, in one namespace. Never the host's Apache."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from onevip.lab.namespace import LabError, Namespace, end

MODULES = Path("/usr/lib/apache2/modules")
READY_S = 10.0
LISTENING = "0A"

CONFIGURATION = """\
ServerName {name}
ServerRoot {directory}
PidFile {directory}/httpd.pid
ErrorLog {directory}/error.log
Listen 0.0.0.0:80
# The kernel would hold a connection back until the request is there (TCP_DEFER_ACCEPT).
AcceptFilter http none
User www-data
Group www-data

LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule mime_module {modules}/mod_mime.so
LoadModule dir_module {modules}/mod_dir.so
StartServers 1
ServerLimit 4
ThreadsPerChild 64
MaxRequestWorkers 256
TypesConfig /dev/null
AddType text/html .html

DocumentRoot {directory}/pages
<Directory {directory}/pages>
    Require all granted
</Directory>
DirectoryIndex index.html
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 5
"""


@dataclass(slots=True)
class Apache:
    """One web server: its namespace, its directory, and its process while it runs."""

    host: Namespace
    name: str
    directory: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def write(self, pages: dict[str, str]) -> None:
        """Write the configuration and the pages, by file name."""
        documents = self.directory / "pages"
        documents.mkdir(parents=True)
        text = CONFIGURATION.format(name=self.name, directory=self.directory, modules=MODULES)
        (self.directory / "httpd.conf").write_text(text)
        for file, page in pages.items():
            (documents / file).write_text(page + "\n")

    def start(self) -> None:
        """Start it; `wait_until_ready` sees it listen."""
        with (self.directory / "output.log").open("ab") as log:
            self.process = self.host.start(
                "apache2", "-f", str(self.directory / "httpd.conf"), "-DFOREGROUND", output=log
            )

    def wait_until_ready(self) -> None:
        """Return when it listens on port 80; raises LabError with its log when it does not."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                break
            if self._listens(self.process.pid):
                return
            time.sleep(0.02)
        logs = (self.directory / "output.log", self.directory / "error.log")
        said = "".join(log.read_text() for log in logs if log.exists()).strip()
        raise LabError(f"Apache on {self.name} does not listen on port 80: {said}")

    def stop(self) -> None:
        """End it at once, connections included. Idempotent."""
        if self.process is not None:
            end([self.process.pid])
            self.process.wait()
            self.process = None

    @staticmethod
    def _listens(pid: int) -> bool:
        sockets = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
        return any(
            local.endswith(":0050") and state == LISTENING
            for local, _, state in (line.split()[1:4] for line in sockets)
        )
