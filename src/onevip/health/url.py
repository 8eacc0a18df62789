"""A request that is a whole URL: what a proxy is asked for, or that of a real server's own line.

With the latter the URL's host is asked instead of the real server, as ldirectord does it.
"""

from __future__ import annotations

import asyncio
import base64
import socket
from dataclasses import dataclass, replace
from ipaddress import ip_address
from urllib.parse import quote, unquote, urlsplit

from onevip.health.conversation import Unhealthy
from onevip.model import Check

DEFAULT_PORTS = {"http": 80, "https": 443}
#: What may stand in a request as it is: RFC 3986's reserved characters, and % for escapes.
_UNQUOTED = "%/:?#[]@!$&'()*+,;=~"


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of a whole URL. `authorization`: Basic's, of `user:password@`; never shown."""

    host: str
    port: int
    authority: str  # host and port as written: what the Host header of a proxied request says
    target: str  # path and query
    authorization: str = ""

    @classmethod
    def parsed(cls, text: str, scheme: str) -> Url:
        """Raises Unhealthy when it is none."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise Unhealthy(f"request is no good URL: {error}") from error
        if not parts.hostname:
            raise Unhealthy("request is a URL without a host")
        user, at, authority = parts.netloc.rpartition("@")
        path = parts.path or "/"
        return cls(
            host=parts.hostname,
            port=port or DEFAULT_PORTS[scheme],
            authority=authority,
            target=escaped(f"{path}?{parts.query}" if parts.query else path),
            authorization=_basic(user) if at else "",
        )


def is_url(request: str, scheme: str) -> bool:
    return request.startswith(f"{scheme}://")


def escaped(target: str) -> str:
    """What a request line may carry; escapes stay as they are."""
    return quote(target, safe=_UNQUOTED, errors="surrogateescape")


def _basic(user: str) -> str:
    """RFC 7617."""
    return "Basic " + base64.b64encode(unquote(user).encode("utf-8", "surrogateescape")).decode()


async def towards(check: Check, url: Url) -> list[Check]:
    """This check with each of the addresses of the URL's host, and its port.

    They take the common way: `checkpath=vip` is about the real server. Raises Unhealthy.
    """
    try:
        addresses = [ip_address(url.host)]
    except ValueError:
        addresses = [ip_address(text) for text in await _resolved(url)]
    return [replace(check, address=each, port=url.port, path=None) for each in addresses]


async def _resolved(url: Url) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no name of a host"
        raise Unhealthy(f"{url.host} of the request: {str(reason).lower()}") from error
    return [str(address[0]).partition("%")[0] for *_, address in found]
