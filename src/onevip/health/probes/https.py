"""`service=https`: as http, inside TLS. The virtualhost is asked for by SNI.

What is asked of the certificate: `tlsverify`. By default its chain must end at an authority that
is known here, as with ldirectord; unlike there, the authority can be named (`tlscafile`).
"""

from __future__ import annotations

from onevip.health.conversation import connect_tls
from onevip.health.probes import http
from onevip.health.tools import Streams, Tools
from onevip.health.url import Url, is_url
from onevip.model import Check, Outcome


async def probe(check: Check, tools: Tools) -> Outcome:
    if not is_url(check.request, "https"):
        streams = await connect_tls(check, tools)
        return await http.converse(check, tools, streams, http.request_of(check))
    url = Url.parsed(check.request, "https")

    async def connect(there: Check) -> Streams:
        return await connect_tls(there, tools, named=url.host)

    return await http.at_url(check, tools, url, connect)
