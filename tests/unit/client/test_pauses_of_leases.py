"""Pauses about double while Vault refuses a credential."""

from __future__ import annotations

import itertools
import time
from typing import Any, NoReturn

import pytest

from resilient_vault_client import PermissionDenied, RequestRefused, VaultTimeout
from resilient_vault_client._deadline import Deadline, clock
from resilient_vault_client._leases import Held
from resilient_vault_client._login import Authenticator
from resilient_vault_client._session import Session
from resilient_vault_client._transport import Api
from tests.unit.client.conftest import PATH

LONGER = 2.4
"""The largest factor between a pause and the one before it."""


def leased(*_: Any) -> dict[str, Any]:
    data = {"username": "u", "password": "p"}
    return {"lease_id": "l", "lease_duration": 600, "renewable": True, "data": data}


@pytest.fixture
def held(session: Session, monkeypatch: pytest.MonkeyPatch) -> Held:
    monkeypatch.setattr(Api, "lease", leased)
    session.leases.current(PATH, Deadline(5.0))
    return session.leases._by_path[PATH]


def denied(*_: Any) -> NoReturn:
    raise PermissionDenied("permission denied", status=403)


def test_each_failure_counts_once(
    session: Session, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not matter how many callers wait for it."""
    assert held.grant is not None
    held.grant.lost = "refused"
    monkeypatch.setattr(Api, "lease", denied)
    monkeypatch.setattr(Authenticator, "after_denial", lambda *_, **__: None)
    pauses = []
    for _ in range(3):  # the cap is larger
        held.blocked_until = 0.0
        assert session.leases._keep(held) == pytest.approx(held.pause, abs=0.1)
        assert held.pause is not None
        pauses.append(held.pause)
    assert pauses[0] < 0.5
    for before, after in itertools.pairwise(pauses):
        assert before < after <= LONGER * before


def test_no_pause_outlasts_the_lease(
    session: Session, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that cannot be renewed is replaced while it lives."""
    assert held.grant is not None
    # A tenth of its life is left, in which the lease is replaced.
    held.grant._expires_at = clock() + 60.0
    held.pause, held.due = 600.0, 0.0

    def refused(*_: Any) -> NoReturn:
        raise RequestRefused("failed to renew entry", status=400)

    monkeypatch.setattr(Api, "renew_lease", refused)
    wait = session.leases._keep(held)
    assert wait < 0.6 * held.grant.remaining
    then = clock() + wait
    monkeypatch.setattr(time, "clock_gettime", lambda _: then)
    session.leases._keep(held)
    assert held.grant.remaining > 500.0  # another credential


def test_work_within_a_call_has_the_time_of_the_call(
    session: Session, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without threads, renewals and revocations are such work."""
    assert held.grant is not None
    held.grant.lost = "refused"
    session.leases.current(PATH, Deadline(5.0))
    left: list[float] = []

    def hangs(*arguments: Any) -> NoReturn:
        left.append(arguments[-1].remaining())
        raise VaultTimeout("Vault did not answer in time")

    monkeypatch.setattr(Api, "renew_lease", hangs)
    monkeypatch.setattr(Api, "revoke_lease", hangs)
    held.due, held.leaving = 0.0, [(grant, 0.0) for grant, _ in held.leaving]
    assert session.leases.current(PATH, Deadline(0.5)).username == "u"
    assert len(left) == 2
    assert max(left) <= 0.5


def test_two_calls_that_give_the_same_back(
    session: Session, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second finds it done, without an error."""
    for _ in range(3):
        assert held.grant is not None
        held.grant.lost = "refused"
        session.leases.current(PATH, Deadline(5.0))
    held.leaving = [(grant, 0.0) for grant, _ in held.leaving]
    assert len(held.leaving) == 3
    given_back: list[object] = []

    def revoke(*_: Any) -> None:
        given_back.append(1)
        if len(given_back) == 1:
            session.leases._tend(held)  # as another thread would while this thread waits

    monkeypatch.setattr(Api, "revoke_lease", revoke)
    session.leases._tend(held)
    assert len(given_back) == 3
    assert held.leaving == []
