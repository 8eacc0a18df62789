"""`service=http_proxy`: the real server is a proxy, and is asked for the URL of `request`.

The Host header is the URL's, whatever virtualhost says, as with ldirectord.
"""

from __future__ import annotations

from onevip.health.probes.http import Request, converse
from onevip.health.tools import Tools
from onevip.health.url import Url, escaped, is_url
from onevip.model import Check, Outcome


async def probe(check: Check, tools: Tools) -> Outcome:
    """A request that is no URL is one of the proxy's own pages (`/squid-internal-mgr/info`)."""
    text = check.request.removeprefix("/")
    if not is_url(text, "http"):
        host = f"[{check.address}]" if check.address.version == 6 else str(check.address)
        text = f"http://{host}:{check.port}/{text}"
    url = Url.parsed(text, "http")
    request = Request(
        f"http://{escaped(url.authority)}{url.target}", url.authority, url.authorization
    )
    return await converse(check, tools, await tools.connect(check), request)
