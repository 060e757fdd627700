"""Oracles on a client whose name for Vault resolves to another address now."""

from __future__ import annotations

from vault_harness.judge.oracles.base import Oracle, counted
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import FIRST_ADDRESS, SLACK, History
from vault_harness.recorder.observations import Exchange


def reads_at(
    history: History, address: str, *, since: float = 0.0, until: float | None = None
) -> list[Exchange]:
    """Return the good reads that came by an address of the recorder in that time."""
    return history.find(
        "read",
        since=since,
        until=until,
        where=lambda e: e.good and history.address_of(e.connection) == address,
    )


def reaches_address(address: str, within: float, *, since: float) -> Oracle:
    """Check that a good read comes by an address in time after the name was led there."""
    promise = f"reads go to {address} within {within:g} s after the name of Vault was led there"

    def oracle(history: History) -> list[Finding]:
        end = since + within
        came = reads_at(history, address, since=since)
        if not came:
            seen = f"none came up to +{history.now():.2f} s"
            return [Finding(promise, seen, since, until=end)]
        ended = came[0].ended if came[0].ended is not None else history.now()
        over = ended - end - SLACK
        if over <= 0:
            return []
        text = f"the first came after {ended - since:.2f} s"
        return [Finding(promise, text, since, missed=over, until=ended)]

    return oracle


def leaves_address(address: str, *, since: float) -> Oracle:
    """Check that no connection is opened at an address any more.

    A connection that the machine itself refuses cannot be observed.
    """
    where = "the first address" if address == FIRST_ADDRESS else address
    promise = f"nobody asks at {where} any more once the name leads elsewhere and is followed"

    def oracle(history: History) -> list[Finding]:
        opened = [
            at
            for number, at in enumerate(list(history.connections), start=1)
            if at >= since and history.address_of(number) == address
        ]
        if not opened:
            return []
        text = f"{counted(len(opened), 'connection')}, the first at +{opened[0]:.2f} s"
        return [Finding(promise, text, opened[0], rests_on=())]

    return oracle
