"""Looking names up, also where no thread is to be had for that."""

from __future__ import annotations

import socket
import threading
from typing import NoReturn

import pytest

from resilient_vault_client._resolver import Resolver


def none(_: threading.Thread) -> NoReturn:
    """What a thread's start says at the end of a program, since Python 3.12."""
    raise RuntimeError("can't create new thread at interpreter shutdown")


def test_at_the_end_of_the_program_the_last_answer_has_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A token is given back then, and the connection that was kept may have ended."""
    resolver = Resolver()
    before = resolver.addresses("localhost", 8200, 10.0)
    monkeypatch.setattr(threading.Thread, "start", none)

    assert resolver.addresses("localhost", 8200, 10.0) == before


def test_a_name_that_was_never_looked_up_is_not_known_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error says what was missing."""
    monkeypatch.setattr(threading.Thread, "start", none)

    with pytest.raises(OSError, match="no thread to look the name up in"):
        Resolver().addresses("localhost", 8200, 10.0)


def test_a_name_that_moves_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found last is not used while the name can be looked up."""
    resolver = Resolver()
    real = socket.getaddrinfo
    resolver.addresses("localhost", 8200, 10.0)
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, **more: real(host, port + 1, **more)
    )

    assert {one[4][1] for one in resolver.addresses("localhost", 8200, 10.0)} == {8201}
