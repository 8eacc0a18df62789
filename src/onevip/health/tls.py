"""TLS for probes: contexts, made in a thread and kept, and what fails in words for operators.

Sessions are not resumed: a resumed handshake shows no certificate, so one that has expired since,
or that no longer fits, would stay unseen.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from functools import lru_cache
from ipaddress import ip_address

from onevip.model import OnevipError, Tls, Verify, words_of

log = logging.getLogger(__name__)

#: How long a context is used until its CA file is read again. Making one reads all of the system's
#: authorities: some 30 ms, what twenty checks cost.
FRESH_S = 60.0

_UNTRUSTED = "its authority is not known here: name it in tlscafile=, or set tlsverify=none"
_NO_TLS = "the server does not speak TLS on this port"
_TOO_OLD = "the server speaks no TLS of version 1.2 or later"
#: OpenSSL's X509_V_ERR_… → what to do about it.
_TO_DO = {
    18: "name it in tlscafile=, or set tlsverify=none",
    19: _UNTRUSTED,
    20: _UNTRUSTED,
    21: _UNTRUSTED,
    62: "virtualhost= says which name is expected",
    64: "virtualhost= says which name is expected",
}
#: OpenSSL's reason → ours.
_WORDS = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "UNSUPPORTED_PROTOCOL": _TOO_OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": _TOO_OLD,
    "TLSV1_UNRECOGNIZED_NAME": "the server has no such virtualhost",
}


class Contexts:
    """One SSL context for each way of judging a server. Belongs to one event loop."""

    def __init__(self, fresh_s: float = FRESH_S) -> None:
        self._fresh_s = fresh_s
        self._made: dict[Tls, tuple[float, ssl.SSLContext]] = {}
        self._locks: dict[Tls, asyncio.Lock] = {}

    async def of(self, tls: Tls) -> ssl.SSLContext:
        """The context that judges so. Raises OnevipError when its CA file cannot be used.

        A file that becomes unusable leaves the context of before in force.
        """
        if context := self._fresh(tls):
            return context
        # One makes it, the others wait for that: a thousand checks begin together.
        async with self._locks.setdefault(tls, asyncio.Lock()):
            if context := self._fresh(tls):
                return context
            try:
                context = await asyncio.to_thread(make, tls)
            except OnevipError as error:
                if tls not in self._made:
                    raise
                context = self._made[tls][1]
                log.warning("%s; what it held before stays in force", error)
            self._made[tls] = (time.monotonic(), context)
        return context

    def _fresh(self, tls: Tls) -> ssl.SSLContext | None:
        made_s, context = self._made.get(tls, (0.0, None))
        return context if time.monotonic() - made_s < self._fresh_s else None


def make(tls: Tls) -> ssl.SSLContext:
    """Reads files. Raises OnevipError when the CA file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.verify is Verify.NAME
    if tls.verify is Verify.NONE:
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca_file:
        # An intermediate authority, or the server's own certificate, is trusted as it stands.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        _load(context, tls.ca_file)
    else:
        context.load_default_certs()
    return context


def _load(context: ssl.SSLContext, ca_file: str) -> None:
    try:
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError as error:
        raise OnevipError(f"tlscafile={ca_file} holds no certificates in PEM form") from error
    except OSError as error:
        raise OnevipError(f"tlscafile={ca_file}: {words_of(error)}") from error


@lru_cache(maxsize=4096)
def server_name(virtualhost: str) -> str:
    """The name to send and to expect, of a virtualhost that may carry a port.

    "" of none, and of one that TLS cannot send. Python sends no SNI for an address, as RFC 6066
    §3 wants it.
    """
    name, colon, port = virtualhost.rpartition(":")
    if not colon or not port.isdecimal() or (":" in name and not name.endswith("]")):
        name = virtualhost
    name = name.strip("[]")
    try:
        ip_address(name)
    except ValueError:
        return name if _is_sendable(name) else ""
    return name


def _is_sendable(name: str) -> bool:
    try:
        sent = name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return False
    labels = sent.removesuffix(".").split(".")
    return sent.isprintable() and len(sent) < 254 and all(0 < len(each) < 64 for each in labels)


def words(error: ssl.SSLError) -> str:
    """An error of TLS as an operator would say it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        to_do = _TO_DO.get(error.verify_code, "")
        failed = f"certificate verify failed: {error.verify_message.rstrip('.')}"
        return f"{failed}; {to_do}" if to_do else failed
    reason = getattr(error, "reason", None) or ""  # one that Python makes itself has none
    if known := _WORDS.get(reason):
        return known
    said = reason.lower().replace("_", " ") or str(error)
    if "alert" in said:
        return f"the server refused the TLS handshake: {said.partition('alert ')[2]}"
    return f"TLS failed: {said}"
