from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import OperatorError
from vault_harness.operator.doctor import CheckResult, State
from vault_harness.operator.practices import PRACTICES

DAY = 86400
NEVER = "0001-01-01T00:00:00Z"


class Vault:
    """A Vault with one AppRole.

    `ids` says when each secret-id ends, by accessor. Those in `gone` end between the list and the
    lookup.
    """

    def __init__(
        self,
        role: dict[str, int],
        ids: dict[str, str] | None = None,
        *,
        gone: tuple[str, ...] = (),
        mount: str = "approle",
    ) -> None:
        self.role, self.ids, self.gone, self.mount = role, ids or {}, gone, mount

    def request(self, method: str, path: str, **body: str) -> dict[str, Any]:
        role = f"auth/{self.mount}/role/backend"
        if path == "sys/auth":
            return {"data": {f"{self.mount}/": {"type": "approle"}}}
        if path == f"auth/{self.mount}/role":
            return {"data": {"keys": ["backend"]}}
        if path == role:
            return {"data": self.role}
        if (method, path) == ("LIST", f"{role}/secret-id"):
            return {"data": {"keys": list(self.ids)}}
        assert path == f"{role}/secret-id-accessor/lookup"
        accessor = body["secret_id_accessor"]
        if accessor in self.gone:
            del self.ids[accessor]
            raise OperatorError("cannot look: failed to find accessor entry")
        if self.ids[accessor] == "denied":
            raise OperatorError("cannot look: permission denied")
        made = "2026-01-01T00:00:00.123456789Z"
        return {"data": {"creation_time": made, "expiration_time": self.ids[accessor]}}


def look(name: str, vault: Vault) -> CheckResult:
    deployment: Any = SimpleNamespace(operator=vault, now=datetime(2026, 1, 2, tzinfo=UTC))
    return PRACTICES[name](deployment)


def test_secret_ids_that_end() -> None:
    """One that expired meanwhile does not count."""
    ids = {"a": "2026-03-01T00:00:00.123456789Z", "b": NEVER}
    found = look("secret-ids", Vault({"secret_id_ttl": 90 * DAY}, ids, gone=("b",)))
    assert found.state is State.GOOD


@pytest.mark.parametrize(
    ("end", "seen"), [(NEVER, "never end"), ("2026-06-01T00:00:00Z", "too long")]
)
@pytest.mark.parametrize(
    ("mount", "remedy"),
    [("approle", "rotate.secret-id backend --end-others"), ("other", "secret_id_accessor=b")],
)
def test_secret_ids_of_before_the_role_had_an_end(
    end: str, seen: str, mount: str, remedy: str
) -> None:
    ids = {"a": "2026-03-01T00:00:00Z", "b": end}
    found = look("secret-ids", Vault({"secret_id_ttl": 90 * DAY}, ids, mount=mount))
    assert found.state is State.BAD
    assert seen in found.seen
    assert "accessor b" in found.seen
    assert remedy in found.remedy


def test_secret_ids_that_may_not_be_looked_at() -> None:
    """The practice is not called kept."""
    with pytest.raises(OperatorError, match="permission denied"):
        look("secret-ids", Vault({"secret_id_ttl": 90 * DAY}, {"a": "denied"}))


@pytest.mark.parametrize(
    ("role", "seen"),
    [
        ({"token_max_ttl": 3600}, ""),
        ({"token_max_ttl": 7200}, "token_ttl is not set, so that it is token_max_ttl: 7200 s"),
        ({}, "32 days"),
        ({"token_ttl": 3600}, "token_max_ttl is not set"),
        ({"token_ttl": 3600, "token_max_ttl": DAY}, ""),
    ],
)
def test_how_long_tokens_live(role: dict[str, int], seen: str) -> None:
    """Without a token_ttl they live until their token_max_ttl."""
    found = look("token lives", Vault(role))
    assert found.state is (State.BAD if seen else State.GOOD)
    assert seen in found.seen
