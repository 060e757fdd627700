from __future__ import annotations

import pytest

from vault_harness.recorder.fault import RequestKind
from vault_harness.recorder.http1 import NotHttp, RequestReader, ResponseReader, kind_of, render

TABLE: list[tuple[str, str, RequestKind]] = [
    # logins, by any method of any mount
    ("POST", "/v1/auth/approle/login", "login"),
    ("PUT", "/v1/auth/approle/login", "login"),
    ("POST", "/v1/auth/team/approle/login", "login"),
    ("POST", "/v1/auth/userpass/login/alice", "login"),
    ("POST", "/v1/auth/kubernetes/login", "login"),
    ("POST", "/v1/auth/approle/login?x=1", "login"),
    ("GET", "/v1/auth/oidc/login", "other"),
    # the token
    ("POST", "/v1/auth/token/renew-self", "renew"),
    ("PUT", "/v1/auth/token/renew", "renew"),
    ("POST", "/v1/auth/token/renew-accessor", "renew"),
    ("GET", "/v1/auth/token/lookup-self", "lookup"),
    ("POST", "/v1/auth/token/lookup", "lookup"),
    ("POST", "/v1/auth/token/lookup-accessor", "lookup"),
    ("POST", "/v1/auth/token/revoke-self", "revoke"),
    ("PUT", "/v1/auth/token/revoke", "revoke"),
    ("POST", "/v1/auth/token/create", "other"),
    ("POST", "/v1/sys/capabilities-self", "capabilities"),
    ("POST", "/v1/sys/capabilities", "capabilities"),
    ("POST", "/v1/sys/wrapping/unwrap", "unwrap"),
    ("POST", "/v1/sys/wrapping/lookup", "other"),
    # the server
    ("GET", "/v1/sys/health", "status"),
    ("HEAD", "/v1/sys/health?standbyok=true", "status"),
    ("GET", "/v1/sys/seal-status", "status"),
    ("GET", "/v1/sys/leader", "status"),
    ("GET", "/v1/sys/init", "status"),
    ("GET", "/v1/sys/internal/ui/mounts/ecommerce", "status"),
    ("GET", "/v1/sys/mounts", "other"),
    ("PUT", "/v1/sys/seal", "other"),
    # leases
    ("POST", "/v1/sys/leases/renew", "lease"),
    ("PUT", "/v1/sys/renew/database/creds/x/1", "lease"),
    ("PUT", "/v1/sys/revoke", "lease"),
    ("GET", "/v1/ecommerce/data/creds/app", "read"),
    ("PUT", "/v1/sys/leases/revoke/database/creds/x/1", "lease"),
    # KV v2
    ("GET", "/v1/ecommerce/data/backend/django", "read"),
    ("GET", "/v1/ecommerce/data/backend/django?version=2", "read"),
    ("HEAD", "/v1/ecommerce/data/backend/django", "read"),
    ("GET", "/v1/ecommerce/data/metadata/x", "read"),
    ("POST", "/v1/ecommerce/data/backend/django", "write"),
    ("PATCH", "/v1/ecommerce/data/backend/django", "write"),
    ("DELETE", "/v1/ecommerce/data/backend/django", "write"),
    ("POST", "/v1/ecommerce/destroy/backend/django", "write"),
    ("GET", "/v1/ecommerce/metadata/backend/django", "metadata"),
    ("DELETE", "/v1/ecommerce/metadata/backend/django", "metadata"),
    ("LIST", "/v1/ecommerce/metadata/backend", "metadata"),
    ("GET", "/v1/ecommerce/metadata/backend?list=true", "metadata"),
    ("GET", "/v1/ecommerce/metadata/", "metadata"),
    # KV v1, dynamic secrets, a mount with a slash
    ("GET", "/v1/secret/django", "read"),
    ("GET", "/v1/database/creds/readonly", "credential"),
    ("GET", "/v1/team/kv/data/x", "read"),
    ("PUT", "/v1/transit/encrypt/key", "write"),
    # what is not a secret of a client
    ("GET", "/v1/identity/entity/name/x", "other"),
    ("GET", "/v1/cubbyhole/response", "other"),
    ("GET", "/v1/auth/approle/role/backend/role-id", "other"),
    ("GET", "/", "other"),
    ("GET", "/ui/", "other"),
    # spelt in other ways
    ("GET", "http://vault:8200/v1/ecommerce/data/x", "read"),
    ("GET", "/v1/ecommerce%2Fdata/x", "read"),
]


@pytest.mark.parametrize(("method", "target", "kind"), TABLE)
def test_kinds(method: str, target: str, kind: RequestKind) -> None:
    assert kind_of(method, target) == kind


def test_path_without_mount_is_no_secret() -> None:
    """`/v1/x` names a mount alone."""
    assert kind_of("GET", "/v1/ecommerce") == "other"


def test_a_messages_path_is_decoded() -> None:
    """It is below ``/v1/``, without the query."""
    reader = RequestReader()
    reader.feed(b"GET /v1/ecommerce/data/a%20b?version=1 HTTP/1.1\r\nHost: v\r\n\r\n")
    assert reader.message.path == "ecommerce/data/a b"


@pytest.mark.parametrize(
    ("head", "closes"),
    [
        (b"GET / HTTP/1.1\r\nHost: v\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: v\r\nConnection: close\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: v\r\nConnection: Keep-Alive, Close\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False),
    ],
)
def test_a_message_says_whether_the_connection_ends(head: bytes, closes: bool) -> None:
    """Its header tells, or its version of HTTP."""
    reader = RequestReader()
    reader.feed(head)
    assert reader.message.closes == closes


def test_empty_lines_before_a_request() -> None:
    reader = RequestReader()
    assert reader.feed(b"\r\n") == (b"\r\n", b"")
    sent = b"\r\nGET / HTTP/1.1\r\nHost: v\r\n\r\n"
    assert reader.feed(sent) == (sent, b"")
    assert reader.message.complete


def test_bytes_beyond_a_message_are_given_back() -> None:
    reader = RequestReader()
    one = b"POST / HTTP/1.1\r\nHost: v\r\nContent-Length: 2\r\n\r\n{}"
    assert reader.feed(one + b"GET /") == (one, b"GET /")


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET\r\n\r\n"])
def test_not_http(data: bytes) -> None:
    with pytest.raises(NotHttp, match=r"."):
        RequestReader().feed(data)


def test_answer_that_is_cut(story: object) -> None:
    reader = ResponseReader("GET")
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}")
    assert not reader.end()


def test_rendered_answer() -> None:
    raw = render(404, {"Content-Type": "text/html"}, b"<html>")
    assert raw.startswith(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n")
    reader = ResponseReader("GET")
    assert reader.feed(raw) == (raw, b"")
    assert (reader.message.status, bytes(reader.message.body)) == (404, b"<html>")


def test_rendered_answer_of_an_odd_status() -> None:
    """Vault has status codes of its own."""
    assert render(473, {}, b"").startswith(b"HTTP/1.1 473 ")


def test_body_that_is_no_object() -> None:
    """It counts as empty."""
    for body in (b"[1]", b'"x"', b'{"a":', b""):
        reader = ResponseReader("GET")
        reader.feed(render(200, {}, body))
        assert reader.message.json() == {}
