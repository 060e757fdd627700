from __future__ import annotations

import contextlib
import gc
import select
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from vault_harness import certificates
from vault_harness.local.engine.ports import answers

RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: a close becomes a reset."""


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://[::1]/v1/sys/seal-status", ("::1", 80)),
        ("http://[::1]:8200/", ("::1", 8200)),
        ("https://vault.example", ("vault.example", 443)),
    ],
)
def test_the_port_is_the_schemes_own(
    url: str, asked: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of an IPv6 address is not a port."""
    connected: list[tuple[str, int]] = []

    def nobody(host: str, port: int, *_: object, **__: object) -> NoReturn:
        connected.append((host, port))
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    assert not answers(url)
    assert connected == [asked]


class Late(ssl.SSLContext):
    """A TLS context that starts only after the server has reset the connection."""

    def wrap_socket(self, sock: socket.socket, *given: Any, **more: Any) -> ssl.SSLSocket:
        waiting = select.poll()
        waiting.register(sock, 0)  # errors and ends are always reported
        assert waiting.poll(10_000), "the server did not reset the connection within 10 s"
        return super().wrap_socket(sock, *given, **more)


@pytest.fixture
def resetting() -> Iterator[str]:
    """The base URL of a server that resets each connection at once."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    connection.close()

        serving = threading.Thread(target=serve)
        serving.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}/"
        listening.shutdown(socket.SHUT_RDWR)
        serving.join(10)


@contextlib.contextmanager
def nothing_open() -> Iterator[None]:
    """Check that the block leaves no socket open, by Python's warnings."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert [str(each.message) for each in told] == []


def context(kind: type[ssl.SSLContext]) -> ssl.SSLContext:
    """Return a TLS context that accepts any certificate."""
    made = kind(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


KINDS = pytest.mark.parametrize(
    "kind", [Late, ssl.SSLContext], ids=["before TLS", "in the handshake"]
)


@KINDS
def test_a_server_that_ends_the_connection_leaves_no_socket(
    kind: type[ssl.SSLContext], resetting: str
) -> None:
    with nothing_open():
        for _ in range(5):
            assert not answers(resetting, tls=context(kind), timeout=10.0)


@KINDS
def test_nor_does_a_look_at_its_certificate(
    kind: type[ssl.SSLContext], resetting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "client_context", lambda _: context(kind))
    with nothing_open():
        for _ in range(5):
            with pytest.raises(OSError, match=r"reset|EOF|[Cc]losed|pipe"):
                certificates.shown_by(resetting, ca_cert=None, timeout=10.0)
