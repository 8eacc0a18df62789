"""https: what is asked of the certificate, what is said when it fails, what SNI asks for."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import threading
from collections.abc import AsyncIterator

import pytest

from certificates import Certificates, make_certificates
from onevip.health import tls
from onevip.health.tls import Contexts
from onevip.model import OnevipError, Outcome, Tls, Verify
from scripted import check, dripping, endless, found, saying, serving, silence, tried

PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nOKAY"
NAME = "www.example.test"
UP = Outcome(True, "status 200, body matches")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def outcome(certificates: Certificates, shown: str, verify: Verify, ca: str, host: str) -> Outcome:
    server = serving(saying(PAGE, b"\r\n\r\n"), certificates.server(shown))
    judged = Tls(verify, str(certificates.pem(ca)) if ca else "")
    return found("https", server, tls=judged, virtualhost=host, receive="OKAY")


@pytest.mark.parametrize(
    ("shown", "verify", "ca", "host"),
    [
        ("good", Verify.CHAIN, "ca", ""),
        ("good", Verify.CHAIN, "ca", "other.test"),  # the name is not looked at
        ("good", Verify.CHAIN, "good", ""),  # the certificate itself is trusted
        ("self-signed", Verify.CHAIN, "self-signed", ""),
        ("self-signed", Verify.NONE, "", ""),
        ("expired", Verify.NONE, "", ""),
        ("good", Verify.NAME, "ca", NAME),
        ("good", Verify.NAME, "ca", f"{NAME}:8443"),
        ("good", Verify.NAME, "ca", ""),  # the certificate names 127.0.0.1 too
        ("good", Verify.NAME, "ca", "127.0.0.1"),
    ],
)
def test_a_certificate_that_is_good_enough(certificates, shown, verify, ca, host):
    assert outcome(certificates, shown, verify, ca, host) == UP


FAILED = "certificate verify failed: "
UNKNOWN = (
    FAILED + "unable to get local issuer certificate; its authority is not known here: name it in "
    "tlscafile=, or set tlsverify=none"
)
SELF_SIGNED = FAILED + "self-signed certificate; name it in tlscafile=, or set tlsverify=none"
MISMATCH = "mismatch, certificate is not valid for "
EXPECTED = "; virtualhost= says which name is expected"


@pytest.mark.parametrize(
    ("shown", "judged", "host", "reason"),
    [
        ("self-signed", (Verify.CHAIN, ""), NAME, SELF_SIGNED),
        ("good", (Verify.CHAIN, ""), NAME, UNKNOWN),
        ("good", (Verify.CHAIN, "self-signed"), NAME, UNKNOWN),
        ("expired", (Verify.CHAIN, "ca"), NAME, FAILED + "certificate has expired"),
        (
            *("good", (Verify.NAME, "ca"), "other.test"),
            f"{FAILED}Hostname {MISMATCH}'other.test'{EXPECTED}",
        ),
        (
            *("good", (Verify.NAME, "ca"), "127.0.0.2"),
            f"{FAILED}IP address {MISMATCH}'127.0.0.2'{EXPECTED}",
        ),
        (
            *("good", (Verify.NAME, "ca"), "a..b"),
            "virtualhost=a..b is no name that a certificate could have",
        ),
    ],
)
def test_a_certificate_that_is_not_says_what_to_do(certificates, shown, judged, host, reason):
    assert outcome(certificates, shown, *judged, host) == Outcome(False, reason)


async def endless_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await endless(b"x")(reader, writer)


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (silence, "timed out after 0.3 s"),
        (dripping, "timed out after 0.3 s"),
        (saying(b"", b"\r\n\r\n"), "the server closed the connection before it answered"),
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "not a good HTTP answer: illegal status line"),
        (endless_body, "body does not match /OKAY/"),
    ],
)
def test_a_server_that_misbehaves_inside_tls(certificates, serve, reason, caplog):
    server = serving(serve, certificates.server("good"))
    judged = Tls(Verify.CHAIN, str(certificates.pem("ca")))
    limit_s = 0.3 if "timed out" in reason else 5
    outcome = found("https", server, limit_s, tls=judged, receive="OKAY")
    assert not outcome.healthy
    assert outcome.reason.startswith(reason)
    assert not caplog.records


def asked_for(certificates: Certificates, virtualhost: str, **details: object) -> str | None:
    """The name in SNI of a probe with this virtualhost."""
    seen = []
    context = certificates.server("good")
    context.sni_callback = lambda _socket, name, _context: seen.append(name)
    server = serving(saying(PAGE, b"\r\n\r\n"), context)
    judged = Tls(Verify.CHAIN, str(certificates.pem("ca")))
    found("https", server, tls=judged, virtualhost=virtualhost, **details)
    return seen[0]


def test_the_virtualhost_is_asked_for_by_sni(certificates):
    assert asked_for(certificates, NAME) == NAME
    assert asked_for(certificates, f"{NAME}:443") == NAME
    assert asked_for(certificates, "bücher.example") == "xn--bcher-kva.example"
    for other in ("", ".b", "a..b", "a\0b", "a" * 64, "a." * 127 + "b"):
        assert asked_for(certificates, other) is None
    assert asked_for(certificates, "192.0.2.1") is None
    assert asked_for(certificates, "[2001:db8::1]:443") is None


@contextlib.asynccontextmanager
async def alerting(context: ssl.SSLContext) -> AsyncIterator[int]:
    """A server that tells its client why a handshake fails; asyncio's only closes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        served = asyncio.get_running_loop().run_in_executor(None, _served, listening, context)
        yield listening.getsockname()[1]
        await served


def _served(listening: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listening.accept()
    with context.wrap_socket(
        connection, server_side=True, do_handshake_on_connect=False
    ) as secured:
        with contextlib.suppress(ssl.SSLError):
            secured.do_handshake()
        raw = socket.socket(fileno=secured.detach())
    with raw, contextlib.suppress(OSError):
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(4096):  # closing before all is read would be a reset
            pass


def test_a_server_too_old_says_so(certificates):
    context = certificates.server("good")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    refused = found("https", alerting(context))
    assert refused == Outcome(False, "the server speaks no TLS of version 1.2 or later")


def test_a_server_that_wants_a_certificate_of_ours_is_unhealthy(certificates):
    context = certificates.server("good")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates.pem("ca"))
    judged = Tls(Verify.CHAIN, str(certificates.pem("ca")))
    refused = found("https", alerting(context), tls=judged)
    assert refused.reason.startswith("the server refused the TLS handshake: ")
    assert "certificate required" in refused.reason


def test_an_error_that_openssl_did_not_make_has_words():
    assert "bad" in tls.words(ssl.SSLError("bad"))
    assert tls.words(ssl.SSLError(1, "[SSL: ODD] odd (_ssl.c:1)")).startswith("TLS failed: ")


def test_a_ca_file_that_cannot_be_used_says_so(certificates, tmp_path):
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    missing = tmp_path / "missing.pem"
    for file, reason in (
        (garbage, f"tlscafile={garbage} holds no certificates in PEM form"),
        (missing, f"tlscafile={missing}: no such file or directory"),
        (tmp_path, f"tlscafile={tmp_path}"),
    ):
        server = serving(saying(PAGE), certificates.server("good"))
        refused = found("https", server, tls=Tls(Verify.CHAIN, str(file)))
        assert not refused.healthy
        assert refused.reason.startswith(reason)


def test_a_thousand_checks_make_one_context(monkeypatch):
    made = []

    def make(judged: Tls) -> ssl.SSLContext:
        made.append(judged)
        return original(judged)

    original = tls.make
    monkeypatch.setattr(tls, "make", make)

    async def run() -> None:
        contexts = Contexts()
        judged = Tls(Verify.NONE)
        got = await asyncio.gather(*(contexts.of(judged) for _ in range(1000)))
        assert len(set(got)) == 1
        await contexts.of(Tls(Verify.CHAIN))

    asyncio.run(run())
    assert made == [Tls(Verify.NONE), Tls(Verify.CHAIN)]


def test_a_ca_file_is_read_again_and_the_last_good_one_stays_in_force(
    certificates, tmp_path, caplog
):
    file = tmp_path / "ca.pem"
    judged = Tls(Verify.CHAIN, str(file))

    async def run() -> None:
        contexts = Contexts(fresh_s=0)
        with pytest.raises(OnevipError):
            await contexts.of(judged)
        shutil.copy(certificates.pem("ca"), file)
        first = await contexts.of(judged)
        shutil.copy(certificates.pem("self-signed"), file)
        second = await contexts.of(judged)
        assert second.get_ca_certs() != first.get_ca_certs()
        file.write_text("half writ")
        assert await contexts.of(judged) is second

    asyncio.run(run())
    assert caplog.messages == [
        f"tlscafile={file} holds no certificates in PEM form; what it held before stays in force"
    ]


def test_a_whole_url_is_asked_for_by_its_own_name(certificates):
    async def run(verify: Verify) -> Outcome:
        async with serving(saying(PAGE, b"\r\n\r\n"), certificates.server("good")) as port:
            request = f"https://127.0.0.1:{port}/x"
            judged = Tls(verify, str(certificates.pem("ca")))
            return await tried(check("https", 1, request=request, tls=judged))

    assert asyncio.run(run(Verify.NAME)) == Outcome(True, "status 200")


def test_files_are_not_read_in_the_loop(monkeypatch):
    threads = []
    original = tls.make

    def make(judged: Tls) -> ssl.SSLContext:
        threads.append(threading.current_thread())
        return original(judged)

    monkeypatch.setattr(tls, "make", make)
    asyncio.run(Contexts().of(Tls()))
    assert threads != [threading.main_thread()]
