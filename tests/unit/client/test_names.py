from __future__ import annotations

import socket
import threading
from typing import NoReturn

import pytest

from resilient_vault_client._network import Resolver


def none(_: threading.Thread) -> NoReturn:
    """Raise the error of Python 3.12 for a thread that starts at exit."""
    raise RuntimeError("can't create new thread at interpreter shutdown")


def test_at_the_end_of_the_program_the_last_answer_has_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The token can still be revoked."""
    resolver = Resolver()
    before = resolver.addresses("localhost", 8200, 10.0)
    monkeypatch.setattr(threading.Thread, "start", none)

    assert resolver.addresses("localhost", 8200, 10.0) == before


def test_at_exit_a_name_without_a_lookup_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threading.Thread, "start", none)

    with pytest.raises(OSError, match="no thread to look the name up in"):
        Resolver().addresses("localhost", 8200, 10.0)


def test_a_name_that_moves_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver()
    real = socket.getaddrinfo
    resolver.addresses("localhost", 8200, 10.0)
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, **more: real(host, port + 1, **more)
    )

    assert {one[4][1] for one in resolver.addresses("localhost", 8200, 10.0)} == {8201}
