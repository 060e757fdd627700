"""Where a look at a server goes."""

from __future__ import annotations

import socket
from typing import NoReturn

import pytest

from vault_harness.engine import answers


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
    """Where the URL names none; the end of an IPv6 address is no port."""
    connected: list[tuple[str, int]] = []

    def nobody(address: tuple[str, int], *_: object, **__: object) -> NoReturn:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", nobody)
    assert not answers(url)
    assert connected == [asked]
