"""However the bytes of a conversation are cut, the recorder passes on the same."""

from __future__ import annotations

import socket
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from vault_harness.recorder.history import History
from vault_harness.recorder.recorder import Recorder
from vault_harness.recorder.secrets import Secrets

BODY = b'{"errors":["permission denied"]}'
LOGIN = b'{"secret_id": "12345678-abcdefg"}'
AUTH = b'{"auth":{"client_token":"s.abcdefgh","accessor":"a","lease_duration":9}}'
TURNS = [
    (
        b"POST /v1/auth/approle/login HTTP/1.1\r\nHost: v\r\nContent-Length: %d\r\n\r\n%b"
        % (len(LOGIN), LOGIN),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
        % (len(AUTH), AUTH),
    ),
    (
        b"GET /v1/ecommerce/data/x HTTP/1.1\r\nHost: v\r\nX-Vault-Token: s.abcdefgh\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (BODY[:9], BODY[9:]))
        + b"0\r\n\r\n",
    ),
    (
        "GET /v1/ecommerce/data/größe?ü HTTP/1.1\r\nHost: v\r\n\r\n".encode(),
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\n" + b'{"errors":[]}',
    ),
    (
        b"LIST /v1/ecommerce/metadata/x HTTP/1.1\r\nHost: v\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\n" + b'{"errors":[]}',
    ),
    (
        b"HEAD /v1/sys/health HTTP/1.1\r\nHost: v\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n",
    ),
    (
        b"POST /v1/auth/token/revoke-self HTTP/1.1\r\nHost: v\r\n%b"
        % b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ),
]
SEEN = [
    ("login", 200, "token-1", "secret-id-1", "a", 9.0, ()),
    ("read", 403, "token-1", None, None, None, ("permission denied",)),
    ("read", 404, None, None, None, None, ()),
    ("metadata", 404, None, None, None, None, ()),
    ("status", 200, None, None, None, None, ()),
    ("revoke", 204, None, None, None, None, ()),
]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return the bytes, cut at these places (modulo their number)."""
    places = sorted({cut % len(data) for cut in cuts} - {0})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


cuts = st.lists(st.integers(0, 10_000), max_size=12)


def receive(sock: socket.socket, count: int) -> bytes:
    """Receive that many bytes, or fewer if the other side ends."""
    data = b""
    while len(data) < count and (more := sock.recv(65536)):
        data += more
    return data


@given(st.lists(st.tuples(cuts, cuts), min_size=len(TURNS), max_size=len(TURNS)))
def test_any_split_is_relayed_alike(splits: list[tuple[list[int], list[int]]]) -> None:
    history = History()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = f"127.0.0.1:{listener.getsockname()[1]}"
        with closing(Recorder(history, Secrets(), upstream=upstream)) as recorder:
            client = socket.create_connection(("127.0.0.1", recorder.port), 10)
            server, _ = listener.accept()
            with client, server:
                for sock in (client, server):
                    sock.settimeout(10)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for (request, answer), (there, back) in zip(TURNS, splits, strict=True):
                    for piece in pieces(request, there):
                        client.sendall(piece)
                    assert receive(server, len(request)) == request
                    for piece in pieces(answer, back):
                        server.sendall(piece)
                    assert receive(client, len(answer)) == answer
                _all_ended(history)
    seen = [
        (e.kind, e.status, e.token, e.secret_id, e.accessor, e.ttl, e.errors)
        for e in history.exchanges
    ]
    assert seen == SEEN


@given(cuts)
def test_requests_sent_ahead_are_exchanges_of_their_own(splits: list[int]) -> None:
    """They reach Vault one after the other."""
    history = History()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = f"127.0.0.1:{listener.getsockname()[1]}"
        with closing(Recorder(history, Secrets(), upstream=upstream)) as recorder:
            client = socket.create_connection(("127.0.0.1", recorder.port), 10)
            server, _ = listener.accept()
            with client, server:
                client.settimeout(10)
                server.settimeout(10)
                for piece in pieces(b"".join(request for request, _ in TURNS), splits):
                    client.sendall(piece)
                for request, answer in TURNS:
                    assert receive(server, len(request)) == request
                    server.sendall(answer)
                answers = b"".join(answer for _, answer in TURNS)
                assert receive(client, len(answers)) == answers
                _all_ended(history)
    assert [(e.kind, e.status) for e in history.exchanges] == [line[:2] for line in SEEN]


def _all_ended(history: History) -> None:
    """Wait: the client has the last byte a moment before the exchange is recorded as ended."""
    assert history.wait_for(
        lambda: len([e for e in history.exchanges if e.ended is not None]) == len(TURNS), 10
    )
