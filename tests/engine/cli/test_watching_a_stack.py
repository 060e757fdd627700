from __future__ import annotations

import json
from typing import Any

import pytest
import requests


@pytest.mark.slow
def test_a_toxic_and_a_seal_are_shown(checkout: Any) -> None:
    seen = json.loads(checkout.run("watch", "--once", "--json"))
    assert (seen["sealed"], seen["leader"], seen["toxics"]) == (False, True, [])
    assert seen["tokens"] is not None
    assert seen["events"]
    checkout.run("break.latency")
    assert len(json.loads(checkout.run("watch", "--json"))["toxics"]) >= 1
    checkout.run("heal")
    checkout.run("seal")
    seen = json.loads(checkout.run("watch", "--json"))
    assert (seen["state"], seen["sealed"], seen["leader"]) == ("sealed", True, False)
    assert "sealed" in checkout.run("watch", "--once")
    checkout.run("unseal")


@pytest.mark.slow
def test_looking_leaves_no_trace(checkout: Any) -> None:
    events = json.loads(checkout.run("watch", "--json"))["events"]
    assert json.loads(checkout.run("watch", "--json"))["events"] == events
    shown = checkout.run("audit").splitlines()
    assert shown[-len(events) :] == events


@pytest.mark.slow
def test_only_logins_are_failed_logins(checkout: Any) -> None:
    """A refused request without a token is no failed login."""
    before = json.loads(checkout.run("watch", "--json"))
    asked = checkout.proxy()
    ids = {"role_id": "nobody", "secret_id": "wrong"}
    assert requests.post(f"{asked}/v1/auth/approle/login", json=ids, timeout=10).status_code == 400
    path = "sys/internal/ui/mounts/ecommerce"
    assert requests.get(f"{asked}/v1/{path}", timeout=10).status_code == 403
    seen = json.loads(checkout.run("watch", "--json"))
    assert seen["failed_logins"] == before["failed_logins"] + 1
    assert seen["refused"] == before["refused"] + 2
