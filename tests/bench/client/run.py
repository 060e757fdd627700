"""Measure what the client costs: a read against hvac's plain read, and a cache hit.

Both readers ask the same Vault in turns, in one process, so that the load of the machine hits both.
The ratio compares the medians of the quicker half of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import hvac

from resilient_vault_client import VaultClient
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.local.stack.launching import Stack, launch
from vault_harness.local.vault import approle
from vault_harness.settings import Settings

READ_BAR = 0.9
HIT_BAR_US = 2.0

PATH, KEY, MOUNT = "backend/django", "SECRET_KEY", "ecommerce"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="rounds of 100 reads each")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings.from_environment(engine="process")
        place = Path(directory)
        with (
            open_engine(settings, directory=place / "engine") as engine,
            launch(engine, Blueprint.default(), NodeSpec(directory=place / "vault")) as stack,
        ):
            return _measure(stack, options.rounds)


def _measure(stack: Stack, rounds: int) -> int:
    role_id = approle.role_id(stack.operator, "backend")
    secret_id = approle.new_secret_id(stack.operator, "backend").secret_id
    plain = hvac.Client(stack.node.address)
    plain.auth.approle.login(role_id, secret_id)

    def read_plainly() -> None:
        plain.secrets.kv.v2.read_secret_version(
            path=PATH, mount_point=MOUNT, raise_on_deleted_version=True
        )["data"]["data"][KEY]

    with VaultClient(
        environ={},
        address=stack.node.address,
        mount_point=MOUNT,
        role_id=role_id,
        secret_id=secret_id,
    ) as client:

        def read() -> None:
            client.get_secret(PATH, KEY)

        def hit() -> None:
            client.get_secret_cached(PATH, KEY)

        for warm_up in (read_plainly, read, hit):
            _time(warm_up, 50)
        plainly, ours, hits = [], [], []
        for _ in range(rounds):
            plainly.append(_time(read_plainly, 100))
            ours.append(_time(read, 100))
            hits.append(_time(hit, 20_000))
    ratio = _quick(ours) / _quick(plainly)
    hit_us = _quick(hits) * 1e6
    rows = [
        ("hvac, plain read", f"{_quick(plainly) * 1e6:9.1f} us", "", ""),
        ("get_secret", f"{_quick(ours) * 1e6:9.1f} us", f"{ratio:.2f} x", f"<= {READ_BAR} x"),
        ("get_secret_cached", f"{hit_us:9.2f} us", "", f"<= {HIT_BAR_US} us"),
    ]
    for name, value, compared, bar in [("", "median", "ratio", "bar"), *rows]:
        sys.stdout.write(f"{name:20}{value:>14}{compared:>10}{bar:>12}\n")
    return 0 if ratio <= READ_BAR and hit_us <= HIT_BAR_US else 1


def _time(call: Callable[[], None], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - started) / times


def _quick(seconds: list[float]) -> float:
    """Return the median of the quicker half: the other half measures the machine's other work."""
    return statistics.median(sorted(seconds)[: max(1, len(seconds) // 2)])


if __name__ == "__main__":
    raise SystemExit(main())
