"""The lazy client's timers, in cases that a scenario would rarely meet."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping

import pytest

from tests.subjects.lazy_client import LazyClient
from tests.subjects.lazy_wire import Gate, GivenUpError, Reply, UnavailableError, Wire

ENVIRON = {"VAULT_ROLE_ID": "role", "VAULT_SECRET_ID": "secret", "VAULT_CLIENT_TIMEOUT": "20"}


class _Noted(Wire):
    """Vault's answers without a Vault; each token lives for ten minutes."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.paths: list[str] = []
        self.instead: dict[str, dict[str, object]] = {}

    def send(
        self, method: str, path: str, *, deadline: float, token: str = "", body: object = None
    ) -> Reply:
        del method, deadline, token, body
        self.paths.append(path)
        if (answer := self.instead.get(path)) is not None:
            return Reply(200, answer)
        auth = {"client_token": f"token-{len(self.paths)}", "lease_duration": 600}
        return Reply(200, {"auth": {**auth, "renewable": True}, "data": {"data": {"K": "v"}}})


class _Client(LazyClient):
    wire_type = _Noted

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.wants_the_token = threading.Event()

    @contextlib.contextmanager
    def _held(self, deadline: float) -> Iterator[None]:
        self.wants_the_token.set()
        with super()._held(deadline):
            yield

    @property
    def asked(self) -> list[str]:
        """The requested paths, in order."""
        assert isinstance(self._wire, _Noted)
        return self._wire.paths

    def timer(self) -> threading.Timer:
        assert self._timer is not None
        return self._timer

    def tick_now(self) -> threading.Timer:
        """Run the timer now, and return it."""
        due = self._timer = threading.Timer(0.0, self._tick)
        due.start()
        due.join(20.0)
        return due


@pytest.fixture
def client() -> Iterator[_Client]:
    """With a token and its timer."""
    one = _Client(ENVIRON)
    one.read("backend/django", "K")
    yield one
    one.close()


def test_a_timer_that_another_has_replaced_does_nothing(client: _Client) -> None:
    """It waited for a login, which has set a new timer."""
    late = threading.Timer(0.0, client._tick)
    with client._changing:
        client.wants_the_token.clear()
        client._timer = late
        late.start()
        assert client.wants_the_token.wait(20.0)
        client._log_in(deadline=1e9)
    late.join(20.0)
    login = "auth/approle/login"
    assert client.asked == [login, "ecommerce/data/backend/django", login]
    assert client.timer() is not late


def test_a_timer_that_is_still_set_renews(client: _Client) -> None:
    due = client.tick_now()
    assert client.asked[-1] == "auth/token/renew-self"
    assert client.timer() is not due


def test_a_notice_with_200_is_a_renewal_that_failed(client: _Client) -> None:
    """It grants nothing: the token stays, and is renewed a little later."""
    token = client._token
    assert token is not None
    until = token.since + token.ttl
    wire = client._wire
    assert isinstance(wire, _Noted)
    wire.instead["auth/token/renew-self"] = {"status": "maintenance", "retry": True}
    client.tick_now()

    assert client._token is token
    assert token.since + token.ttl == until
    assert token.renewable
    assert client.asked.count("auth/approle/login") == 1

    wire.instead.clear()
    client.tick_now()

    assert token.since + token.ttl > until
    assert client.asked.count("auth/approle/login") == 1


def test_an_earlier_request_does_not_shorten_a_wait() -> None:
    """Vault has asked to wait; an earlier request's success does not open the gate."""
    gate = Gate(longest=1.0)
    with gate.passage(deadline=time.monotonic() + 1):  # in flight during the failure
        limited = UnavailableError("429")
        limited.pause = 60.0  # type: ignore[attr-defined]  # as the wire sets it
        with pytest.raises(UnavailableError), gate.passage(deadline=time.monotonic() + 1):
            raise limited
    with pytest.raises(GivenUpError), gate.passage(deadline=time.monotonic() + 1):
        pytest.fail("it was let through")
