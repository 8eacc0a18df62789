"""Certificates for TLS servers of tests, made by openssl: one authority, and what it signed."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from parts import program

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True, slots=True)
class Certificates:
    """`good` names www.example.test and 127.0.0.1; `ca` signed it and `expired`."""

    directory: Path

    def pem(self, name: str) -> Path:
        return self.directory / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    def server(self, name: str) -> ssl.SSLContext:
        """The context of a server that shows this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem(name), self.key(name))
        return context


def make_certificates(directory: Path) -> Certificates:
    made = Certificates(directory)
    names = "subjectAltName=DNS:www.example.test,IP:127.0.0.1"
    for name in ("ca", "self-signed"):
        _openssl(
            *("req", "-x509", *_KEY, "-keyout", made.key(name), "-out", made.pem(name)),
            *("-subj", f"/CN={name}", "-addext", names, "-days", "2"),
        )
    for name, days in (("good", 2), ("expired", -1)):
        request = directory / f"{name}.csr"
        extension = directory / f"{name}.ext"
        extension.write_text(names + "\n")
        _openssl(
            *("req", *_KEY, "-keyout", made.key(name), "-out", request, "-subj", f"/CN={name}"),
        )
        _openssl(
            *("x509", "-req", "-in", request, "-CA", made.pem("ca"), "-CAkey", made.key("ca")),
            *("-CAcreateserial", "-days", days, "-extfile", extension, "-out", made.pem(name)),
        )
    return made


def _openssl(*arguments: object) -> None:
    argv = [program("openssl"), *map(str, arguments)]
    subprocess.run(argv, check=True, capture_output=True, timeout=30)
