from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from resilient_vault_client import (
    AnswerTruncated,
    NotReplicated,
    RateLimited,
    RedirectRefused,
    RequestTooLarge,
    SecretNotFound,
    ServerFailed,
    UnexpectedAnswer,
    VaultClient,
    VaultSealed,
    VaultTimeout,
    VaultUnavailable,
    VaultUnreachable,
)
from resilient_vault_client.events import OutageBegan
from tests.engine.client.lab import Lab, keep_reading, until
from tests.engine.client.route import http
from vault_harness.recorder.fault import Stub

# What a busy machine may add to a deadline. Without a deadline a call would last at least 15 s: a
# black hole never answers, and a dripping answer takes minutes.
SLACK = 4.0


def reads_again(client: VaultClient, lab: Lab, within: float) -> None:
    def fresh() -> bool:
        try:
            return client.read(lab.path, "KEY").source == "vault"
        except VaultUnavailable:
            return False

    until(fresh, "a fresh read", within + SLACK)


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_black_hole_ends_in_time(lab: Lab, known: bool) -> None:
    client = lab.client(timeout=1.0)
    if known:
        client.get_secret(lab.path)
    else:
        client.authenticate()
    started = time.monotonic()
    with lab.route.black_hole():
        if known:
            assert client.read(lab.path, "KEY").stale
        else:
            with pytest.raises(VaultTimeout):
                client.get_secret(lab.path)
    assert time.monotonic() - started < 1.0 + SLACK

    reads_again(client, lab, client.backoff_cap + 2)


def test_dripping_answer_ends_in_time(lab: Lab) -> None:
    client = lab.client(timeout=1.0)
    client.authenticate()
    started = time.monotonic()
    with lab.route.dripping(0.2), pytest.raises(VaultTimeout):
        client.get_secret(lab.path)

    assert time.monotonic() - started < 1.0 + SLACK


def test_writing_into_a_black_hole(lab: Lab) -> None:
    """A write is not repeated, and the error says that it may have happened."""
    client = lab.client(timeout=1.0)
    client.authenticate()
    with lab.route.black_hole(), pytest.raises(VaultTimeout) as late:
        client.put_secret(lab.path, {"KEY": "second"})

    assert late.value.sent
    assert lab.route.count(lab.path) == 1


def test_name_service_that_hangs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hanging name lookup costs each call its deadline, and the process one thread."""
    release = threading.Event()
    real = socket.getaddrinfo

    def hang(host: str, *args: Any, **kwargs: Any) -> object:
        if host == "vault.invalid" and not kwargs.get("flags"):
            release.wait(20)
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    lab.make_role()
    client = lab.client(lab.environ(VAULT_ADDR="http://vault.invalid:8200"), timeout=0.5)
    started = time.monotonic()
    for _ in range(3):
        with pytest.raises(VaultUnreachable):
            client.get_secret(lab.path)
    assert time.monotonic() - started < 3 * (0.5 + SLACK)
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("vault-resolver") == 1
    release.set()
    until(lambda: all(t.name != "vault-resolver" for t in threading.enumerate()), "its end")


def test_cut_answer_is_never_half_a_secret(lab: Lab) -> None:
    client = lab.client(timeout=1.0)
    client.authenticate()
    for size in (20, 100, 500):
        with lab.route.cutting(size):
            before = lab.route.count(lab.path)
            with pytest.raises((AnswerTruncated, VaultTimeout)):  # the last try may time out
                client.get_secret(lab.path)
            assert lab.route.count(lab.path) - before <= 4
    (began,) = [event for event in lab.events if isinstance(event, OutageBegan)]
    assert isinstance(began.error, AnswerTruncated)


def test_twenty_threads_are_no_storm(lab: Lab) -> None:
    client = lab.client()
    client.get_secret(lab.path)
    error = http(503, '{"errors":["Vault is sealed"]}')
    seconds = 3.0
    with lab.route.answering(error):
        started = time.monotonic()
        with ThreadPoolExecutor(20) as pool:
            seen = [
                one
                for many in pool.map(
                    lambda _: keep_reading(client, lab, seconds, every=0.02), range(20)
                )
                for one in many
            ]
        after = [r.at - started for r in lab.route.matching("", since=started)]
    assert {"stale"} == {one.source for one in seen}
    # Threads that call in the first moment all ask Vault.
    first = [at for at in after if at < 0.1]
    rest = [at for at in after if at >= 0.1]
    assert len(first) <= 20
    assert 1 <= len(rest) <= seconds + 2
    assert all(len([a for a in rest if at <= a < at + 1]) <= 5 for at in rest)
    gaps = [b - a for a, b in pairwise(rest)]
    assert all(b > a * 0.9 for a, b in pairwise(gaps) if b < 2.0)

    reads_again(client, lab, client.backoff_cap + 2)


def test_established_outage_answers_at_once(lab: Lab) -> None:
    """In a known outage a caller with a last good value does not wait."""
    client = lab.client(timeout=2.0)
    client.get_secret(lab.path)
    with lab.route.refusing():
        until(lambda: client.read(lab.path).stale, "a stale answer")
        times = []
        for _ in range(20):
            started = time.monotonic()
            assert client.read(lab.path).stale
            times.append(time.monotonic() - started)
    assert sorted(times)[10] < 0.05


def test_sealed_and_unsealed(own_lab: Lab) -> None:
    client = own_lab.client(timeout=1.0)
    client.get_secret(own_lab.path)
    own_lab.stack.operator.seal()
    with pytest.raises((VaultSealed, VaultTimeout)):  # the last try may time out
        client.get_secret("backend/never-read")
    (began,) = [event for event in own_lab.events if isinstance(event, OutageBegan)]
    assert isinstance(began.error, VaultSealed)
    assert client.read(own_lab.path, "KEY").stale
    health = client.health()
    assert not health.ok
    assert health.authenticated
    own_lab.stack.operator.unseal(own_lab.stack.keyring)

    reads_again(client, own_lab, client.backoff_cap + 2)
    assert client.health().ok
    assert own_lab.route.count("login") == 1
    assert "recovered" in own_lab.names()


def test_outage_longer_than_the_token(lab: Lab) -> None:
    """It costs one login, with or without readers."""
    lab.make_role(token_ttl="1s")
    client = lab.client()
    client.get_secret(lab.path)
    with lab.route.refusing():
        until(lambda: "token_lost" in lab.names(), "the token's end")
    reads_again(client, lab, client.backoff_cap + 2)

    assert lab.route.count("login") == 2


def test_fallback_only_when_vault_cannot_be_reached(lab: Lab) -> None:
    lab.make_role()
    environ = lab.environ(KEY="from-the-environment", OTHER="other")
    client = lab.client(environ, timeout=1.0)
    with pytest.raises(SecretNotFound):
        client.get_secret("backend/never-written", "KEY")
    with lab.route.refusing():
        started = time.monotonic()
        secret = client.read(lab.path, "KEY")
        assert (secret.value, secret.source) == ("from-the-environment", "environment")
        assert time.monotonic() - started < 1.0 + SLACK
        assert client.get_secret(lab.path, "KEY", env_var_name="OTHER") == "other"
        with pytest.raises(VaultUnavailable):
            client.get_secret(lab.path, "UNSET")
        with pytest.raises(VaultUnavailable):
            client.get_secret(lab.path)
    assert "fell_back" in lab.names()


def test_last_good_value_goes_before_the_variable(lab: Lab) -> None:
    lab.make_role()
    environ = lab.environ(KEY="from-the-environment")
    client = lab.client(environ, timeout=0.6, max_stale=1.5)
    client.get_secret(lab.path)
    with lab.route.refusing():
        sources = [secret.source for secret in keep_reading(client, lab, 2.2)]

    assert list(dict.fromkeys(sources)) == ["stale", "environment"]
    assert "served_stale" in lab.names()


def test_stale_is_no_older_than_allowed(lab: Lab) -> None:
    """After max_stale there is an error; before it a value that tells its age."""
    client = lab.client(timeout=0.5, max_stale=1.0)
    client.get_secret(lab.path)
    with lab.route.refusing():
        seen = keep_reading(client, lab, 1.7)
    stale = [one for one in seen if getattr(one, "stale", False)]
    errors = [one for one in seen if isinstance(one, VaultUnavailable)]
    assert stale
    assert errors
    assert all(one.age <= 1.0 + 0.1 for one in stale)
    assert seen.index(errors[0]) > seen.index(stale[-1])


def test_retry_after_is_obeyed(lab: Lab) -> None:
    client = lab.client(timeout=1.0)
    client.authenticate()
    limited = [http(429, '{"errors":["rate limit quota exceeded"]}', Retry_After="2")]
    with lab.route.answering(lambda _kind, _path: limited.pop() if limited else None):
        with pytest.raises(RateLimited) as told:
            client.get_secret(lab.path)
        assert told.value.retry_in is not None
        reads_again(client, lab, 4.0)
    first, second = [r.at for r in lab.route.matching(lab.path)][:2]
    assert second - first >= 2.0
    assert lab.route.count("login") == 1


@pytest.mark.slow
def test_quota_of_the_server(own_lab: Lab) -> None:
    client = own_lab.client(timeout=1.0)
    client.get_secret(own_lab.path)
    own_lab.vault.adapter.post(
        "/v1/sys/quotas/rate-limit/all", json={"rate": 1, "interval": "2s", "path": "ecommerce"}
    )
    started = time.monotonic()
    seen = keep_reading(client, own_lab, 2.0, every=0.01)
    own_lab.vault.adapter.delete("/v1/sys/quotas/rate-limit/all")
    assert "stale" in {getattr(one, "source", None) for one in seen}
    assert len(own_lab.route.matching(own_lab.path, since=started)) <= 10
    reads_again(client, own_lab, client.backoff_cap + 2)
    assert own_lab.route.count("login") == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (http(200, "<html>welcome</html>", Content_Type="text/html"), UnexpectedAnswer),
        (http(502, "<html>bad gateway</html>", Content_Type="text/html"), UnexpectedAnswer),
        (http(403, "<html>forbidden</html>", Content_Type="text/html"), UnexpectedAnswer),
        (http(404, "<html>not found</html>", Content_Type="text/html"), UnexpectedAnswer),
        (http(200, "[1, 2]", Content_Type="application/json"), AnswerTruncated),
        (
            http(200, '{"data": {"data": {"KEY": "ha', Content_Type="application/json"),
            AnswerTruncated,
        ),
        (http(500, '{"errors":["internal error"]}'), ServerFailed),
        (http(412, '{"errors":["required index state not present"]}'), NotReplicated),
        (http(307, "", Location="http://127.0.0.2:9/v1/x"), RedirectRefused),
    ],
    ids=["200-html", "502-html", "403-html", "404-html", "list", "cut", "500", "412", "307"],
)
def test_strange_answers(lab: Lab, answer: Stub, expected: type[VaultUnavailable]) -> None:
    """An answer that is not Vault's is a typed error, no value, and causes no login."""
    client = lab.client()
    client.authenticate()
    with lab.route.answering(answer):
        with pytest.raises(expected) as error:
            # The second try comes after 0.4 s at the latest, the third after 0.6 s at the earliest.
            client.get_secret(lab.path, timeout=0.55)
        assert error.value.outcome == "unavailable"
    assert lab.route.count("login") == 1
    assert 2 <= lab.route.count(lab.path) <= 6


def test_too_large_is_not_repeated(lab: Lab) -> None:
    client = lab.client()
    with (
        lab.route.answering(
            lambda kind, _path: http(413, "too large") if kind == "write" else None
        ),
        pytest.raises(RequestTooLarge),
    ):
        client.put_secret(lab.path, {"KEY": "x" * 100})
    assert lab.route.count(lab.path) == 1


def test_token_does_not_follow_a_redirect(lab: Lab) -> None:
    """An unknown host gets no request; a named host gets one hop."""
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.2)
        port = elsewhere.getsockname()[1]
        location = f"http://127.0.0.1:{port}/v1/ecommerce/data/{lab.path}"
        answer = http(307, "", Location=location)
        client = lab.client(timeout=0.5)
        client.authenticate()
        with lab.route.answering(answer):
            with pytest.raises(RedirectRefused, match="VAULT_REDIRECT_HOSTS"):
                client.get_secret(lab.path)
            with pytest.raises(TimeoutError):
                elsewhere.accept()
    other = lab.stack.node.address.removeprefix("http://")
    trusting = lab.client(redirect_hosts=frozenset({other}))
    location = f"http://{other}/v1/ecommerce/data/{lab.path}"
    with lab.route.answering(
        lambda _kind, path: http(307, "", Location=location) if lab.path in path else None
    ):
        assert lab.value == trusting.get_secret(lab.path, "KEY")


def test_connections_that_break_by_chance(lab: Lab) -> None:
    client = lab.client()
    client.get_secret(lab.path)
    stop = threading.Event()

    def break_now_and_then() -> None:
        while not stop.wait(0.15):
            lab.route.break_connections()

    breaker = threading.Thread(target=break_now_and_then)
    breaker.start()
    try:
        seen = keep_reading(client, lab, 2.0, every=0.01)
    finally:
        stop.set()
        breaker.join()
    sources = Counter(getattr(one, "source", type(one).__name__) for one in seen)
    assert set(sources) <= {"vault", "stale"}, sources
    assert sources["vault"] > 0.8 * len(seen)
    assert lab.route.count("login") == 1


def test_one_broken_path_does_not_stop_the_others(lab: Lab) -> None:
    client = lab.client(timeout=2.0)
    client.get_secret(lab.path)
    with lab.route.answering(
        lambda _kind, path: http(500, '{"errors":["x"]}') if "broken" in path else None
    ):
        took = []
        for _ in range(3):  # a busy machine delays one of them, not all
            with pytest.raises(ServerFailed):
                client.get_secret("backend/broken")
            started = time.monotonic()
            assert client.read(lab.path, "KEY").source == "vault"
            took.append(time.monotonic() - started)
        assert min(took) < 0.3
    assert "outage_began" not in lab.names()


def test_latency_is_no_outage(lab: Lab) -> None:
    client = lab.client(timeout=2.0)
    with lab.route.slow(0.4):
        assert lab.value == client.get_secret(lab.path, "KEY")
        assert client.health().ok


def test_health_sees_what_sys_health_does_not(lab: Lab) -> None:
    """A server whose reads fail is unhealthy even if its own health is green."""
    client = lab.client(timeout=0.5)
    client.get_secret(lab.path)
    assert client.health().ok
    client._session().last_success = None  # as if the last read were long ago
    with lab.route.answering(
        lambda _kind, path: http(500, '{"errors":["internal error"]}') if lab.path in path else None
    ):
        health = client.health()
        assert not health.ok
        assert any("internal error" in reason for reason in health.reasons)
    until(lambda: client.health().ok, "health", client.backoff_cap + 2)


def test_the_health_of_an_unused_client_is_found_by_a_login(lab: Lab) -> None:
    client = lab.client()
    health = client.health()

    assert health.ok
    assert health.authenticated
    assert health.token_ttl is not None
    assert 0 < health.token_ttl <= 30
    assert bool(health)


def test_closing_while_vault_hangs(lab: Lab) -> None:
    client = lab.client(timeout=20.0)
    client.get_secret(lab.path)
    lost: list[BaseException] = []

    def read() -> None:
        try:
            client.get_secret(lab.path)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            lost.append(error)

    with lab.route.black_hole():
        reader = threading.Thread(target=read)
        reader.start()
        until(lambda: lab.route.count(lab.path) == 2, "the read to be under way")
        started = time.monotonic()
        client.close(timeout=2.0)
        assert time.monotonic() - started < 2.0 + SLACK
        reader.join(2.0 + SLACK)
        assert not reader.is_alive()
    assert [type(error).__name__ for error in lost] == ["ClientClosed"]


def test_no_thread_stays_behind(lab: Lab) -> None:
    client = lab.client(timeout=0.3)
    client.get_secret(lab.path)
    with lab.route.black_hole(), ThreadPoolExecutor(10, thread_name_prefix="reader") as pool:
        list(pool.map(lambda _: keep_reading(client, lab, 1.0), range(10)))

    left = [t.name for t in threading.enumerate() if t.name.startswith("vault-")]
    assert left == ["vault-renewer"]
