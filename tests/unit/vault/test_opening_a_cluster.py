from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from vault_harness.errors import DeadlineExceeded, OperatorError
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.connection import SealStatus
from vault_harness.local.vault.keyring import Keyring

SHAMIR = Keyring(keys=("a", "b", "c"), threshold=3, root_token="")
RECOVERY = Keyring(keys=("a", "b", "c"), threshold=3, root_token="", kind="recovery")


class Node:
    """A node that refuses keys a few times and then has unsealed itself.

    After that it `lags`: that many times it says that it is between two seals. A node that `dies`
    ends at the first refusal.
    """

    def __init__(
        self,
        name: str,
        *,
        refusals: int = 0,
        leads: bool = False,
        lags: int = 0,
        dies: bool = False,
    ) -> None:
        self.address = f"http://{name}"
        self.refusals, self.leads, self.lags, self.dies = refusals, leads, lags, dies
        self.asked = 0

    def give_keys(self, _: Keyring, *, patience: float = 0.0) -> None:
        del patience
        self.asked += 1
        if self.asked <= self.refusals:
            raise OperatorError("it unseals itself, and does not")

    give_keys_between_seals = give_keys

    def see_that_it_answers(self) -> int:
        if self.dies:
            raise OperatorError(f"{self.address} does not answer")
        return 200

    def health(self, *, timeout: float) -> int:  # noqa: ARG002 -- as an operator's
        return (200 if self.leads else 429) if self.asked > self.refusals else 503

    def seal_status_between_seals(self, _: float = 0.0) -> SealStatus:
        self.lags -= 1
        return SealStatus(True, False, 5, 3, 0, "2.7.2", "openbao", migrating=self.lags >= 0)


def as_operators(*nodes: Node) -> Sequence[VaultAdmin]:
    return cast("Sequence[VaultAdmin]", nodes)


def test_recovery_keys_are_offered_until_a_node_has_opened_itself() -> None:
    """A node that has just started refuses them for a while."""
    first, second = Node("one", leads=True), Node("two", refusals=2)

    leader = cluster.unseal_all(as_operators(first, second), RECOVERY, timeout=10)

    assert leader is cast("VaultAdmin", first)
    assert (first.asked, second.asked) == (1, 3)


def test_a_node_that_died_is_not_waited_for() -> None:
    """The error does not blame keys."""
    with pytest.raises(OperatorError, match="two does not answer"):
        cluster.unseal_all(
            as_operators(Node("one", leads=True), Node("two", refusals=99, dies=True)),
            RECOVERY,
            timeout=10,
        )


def test_a_node_that_waits_for_the_others_keeps_none_of_them_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "_BY_ITSELF_SECONDS", 0.5)
    monkeypatch.setattr(cluster, "_TURN_SECONDS", 0.05)

    class Follower(Node):
        def give_keys(self, _: Keyring, *, patience: float = 0.0) -> None:
            self.asked += 1
            if not leader.asked:
                time.sleep(patience)
                raise OperatorError("barrier seal type does not match")

        give_keys_between_seals = give_keys

    leader = Node("two", leads=True)
    follower = Follower("one")

    cluster.migrate_seal(as_operators(follower, leader), RECOVERY, timeout=10)

    assert (follower.asked, leader.asked) == (2, 1)


def test_all_have_the_new_seal_before_they_are_said_to_serve() -> None:
    """A follower without the new seal could not restart."""
    first, second = Node("one", leads=True), Node("two", lags=3)

    cluster.migrate_seal(as_operators(first, second), RECOVERY, timeout=10)

    assert second.lags < 0


class GivesUp(Node):
    """A member that got the keyring too early: it accepts its keys and stays sealed."""

    def give_keys(self, _: Keyring, *, patience: float = 0.0) -> None:
        """Accept the keys without effect, and refuse them at the second call."""
        del patience
        self.asked += 1
        if self.asked == 2:
            raise OperatorError("stored unseal keys are supported, but none were found")


def test_a_member_that_stays_sealed_gets_its_keys_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that serves is left alone."""
    monkeypatch.setattr(cluster, "_AGAIN_SECONDS", 0.05)
    first, second = Node("one", leads=True), GivesUp("two", refusals=2)

    cluster.unseal_all(as_operators(first, second), SHAMIR, timeout=10)

    assert (first.asked, second.asked) == (1, 3)


def test_why_a_member_stays_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The member refuses keys, which may be another cluster's."""
    monkeypatch.setattr(cluster, "_AGAIN_SECONDS", 0.05)
    first, second = Node("one", leads=True), GivesUp("two", refusals=99)

    with pytest.raises(DeadlineExceeded) as caught:
        cluster.unseal_all(as_operators(first, second), SHAMIR, timeout=0.5)

    assert "http://two is sealed (stored unseal keys are" in caught.value.looked_at


class Leader:
    """A leader whose nodes are healthy since that many seconds; None means not healthy."""

    def __init__(self, *ages: float | None) -> None:
        self.ages = ages
        self.looks = 0

    def request(self, _: str, path: str) -> dict[str, object]:
        assert path == "sys/storage/raft/autopilot/state"
        self.looks += 1
        now = datetime.now(UTC)
        servers = {
            str(number): {
                "healthy": age is not None,
                "stable_since": (now - timedelta(seconds=age or 0)).isoformat(),
            }
            for number, age in enumerate(self.ages)
        }
        return {"data": {"servers": servers}}


@pytest.mark.parametrize("ages", [(7.0,), (60.0, 7.0, 3600.0)])
def test_nodes_that_have_served_are_not_waited_for(ages: tuple[float, ...]) -> None:
    """One look at the leader is enough."""
    leader = Leader(*ages)

    cluster.wait_until_no_unseal_attempts(cast("VaultAdmin", leader))

    assert leader.looks == 1


@pytest.mark.parametrize("ages", [(0.1,), (60.0, 0.1), (60.0, None), ()])
def test_new_nodes_are_waited_for_with_a_limit(
    ages: tuple[float | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server tries to unseal itself only so long."""
    monkeypatch.setattr(cluster, "_TRIES_SECONDS", 0.3)
    leader = Leader(*ages)

    cluster.wait_until_no_unseal_attempts(cast("VaultAdmin", leader))

    assert leader.looks > 1
