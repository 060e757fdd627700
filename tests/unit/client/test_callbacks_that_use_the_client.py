"""A callback may use the client at any moment and never waits for itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from resilient_vault_client import RequestRefused, VaultClient, VaultError, VaultUnreachable
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._transport import Api
from resilient_vault_client.events import Event
from tests.unit.client.conftest import ENVIRON, PATH, Vault

AT_ONCE = 1.0
"""Seconds, far below the client's deadline."""


class Application:
    """An application whose callback uses its client.

    `told` holds event names in the order in which their callbacks ended, `took` the seconds of each
    use and `failed` its errors.
    """

    def __init__(self, *, renew: bool) -> None:
        self.told: list[str] = []
        self.took: dict[str, float] = {}
        self.failed: dict[str, VaultError] = {}
        self.client = VaultClient(environ=ENVIRON, timeout=3.0, on_event=self, renew=renew)
        self.use: Callable[[], object] = lambda: None
        self._inside = threading.local()

    def __call__(self, event: Event) -> None:
        """Use the client, except for events that this use itself causes."""
        if not getattr(self._inside, "now", False):
            self._inside.now = True
            began = time.monotonic()
            try:
                self.use()
            except VaultError as error:
                self.failed[event.name] = error
            self.took[event.name] = time.monotonic() - began
            self._inside.now = False
        self.told.append(event.name)


@pytest.fixture(params=[False, True], ids=["without-threads", "with-threads"])
def application(vault: Vault, request: pytest.FixtureRequest) -> Iterator[Application]:
    made = Application(renew=request.param)
    yield made
    made.client.close()


def test_a_cached_read_in_the_middle_of_one(application: Application, vault: Vault) -> None:
    """There is no second read."""
    client, values = application.client, []
    application.use = lambda: values.append(client.get_secret_cached("a/b", "KEY"))

    assert client.get_secret_cached("a/b", "KEY") == "value"
    assert application.told == ["authenticated"]
    assert values == ["value"]
    assert vault.count("read") == 1
    assert max(application.took.values()) < AT_ONCE


@pytest.mark.parametrize("application", [False], indirect=True, ids=["without-threads"])
def test_a_lease_in_the_middle_of_its_renewal(
    application: Application, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The callback gets the next credential, and no outage."""

    def unknown(*_: Any) -> NoReturn:
        raise RequestRefused("lease not found", status=400)

    monkeypatch.setattr(Api, "renew_lease", unknown)
    lease, users = application.client.lease(PATH), []
    lease.current()
    application.use = lambda: users.append(lease.current().username)
    leases = application.client._session().leases
    leases._by_path[PATH].due = 0.0
    leases._keep(leases._by_path[PATH])

    assert application.failed == {}
    assert application.told[-2:] == ["lease_lost", "leased"]
    assert users == ["user-2", "user-2"]
    assert vault.count("lease") == 2
    assert max(application.took.values()) < AT_ONCE


def test_a_first_lease_in_the_middle_of_its_login(application: Application, vault: Vault) -> None:
    """The callback hears of the login once the credential is there."""
    lease, users = application.client.lease(PATH), []
    application.use = lambda: users.append(lease.current().username)
    lease.current()

    assert application.told == ["authenticated", "leased"]
    assert users == ["user-1", "user-1"]
    assert vault.count("lease") == 1


def test_one_outage_after_another(
    application: Application, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag that follows the events is right at the end."""
    gone = VaultUnreachable("refused", sent=False)
    logins: list[Any] = [gone, vault.log_in()]
    reads: list[Any] = [gone, vault.read_secret("t")]

    def next_of(answers: list[Any]) -> Callable[..., Any]:
        def answered(*_: Any, **__: Any) -> Any:
            answer = answers.pop(0)
            if isinstance(answer, VaultError):
                raise answer.again()
            return answer

        return answered

    monkeypatch.setattr(Api, "log_in", next_of(logins))
    monkeypatch.setattr(Api, "read_secret", next_of(reads))
    assert application.client.get_secret_cached("a/b", "KEY") == "value"

    told = [name for name in application.told if name in ("outage_began", "recovered")]
    assert told == ["outage_began", "recovered", "outage_began", "recovered"]


@pytest.mark.parametrize("what", ["read", "cached", "lease"])
def test_an_outage_in_the_middle_of_a_login(
    application: Application, vault: Vault, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A callback that uses the client gets the outage as an error."""
    client = application.client
    lease = client.lease(PATH)
    uses: dict[str, Callable[[], object]] = {
        "read": lambda: client.get_secret("a/b", "KEY"),
        "cached": lambda: client.get_secret_cached("a/b", "KEY"),
        "lease": lease.current,
    }
    application.use = uses[what]
    answers: list[Any] = [VaultUnreachable("refused", sent=False), vault.log_in()]
    before: list[list[str]] = []

    def log_in(*_: Any) -> Any:
        before.append(list(application.told))
        answer = answers.pop(0)
        if isinstance(answer, VaultError):
            raise answer
        return answer

    monkeypatch.setattr(Api, "log_in", log_in)
    uses[what]()

    assert before == [[], ["outage_began"]]
    assert application.told[:3] == ["outage_began", "recovered", "authenticated"]
    assert set(application.failed) == {"outage_began"}
    assert application.failed["outage_began"].outcome == "unavailable"
    assert not application.failed["outage_began"].sent
    assert max(application.took.values()) < AT_ONCE


def test_a_lease_in_the_middle_of_itself_says_so(application: Application, vault: Vault) -> None:
    """A thread that waits for itself gets an error at once."""
    held = application.client.lease(PATH)
    held.current()
    path = application.client._session().leases._by_path[PATH]
    began = time.monotonic()
    with (
        path.alone(Deadline(3.0)),
        pytest.raises(VaultError, match="callback"),
        path.alone(Deadline(3.0)),
    ):
        pass
    assert time.monotonic() - began < AT_ONCE
