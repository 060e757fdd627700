from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from vault_harness.local.toxiproxy.server.connection import RECENT, Route, Traffic

if TYPE_CHECKING:
    from vault_harness.local.toxiproxy.server.connection import Connection


def connection(proxy: str, number: int) -> Connection:
    made = SimpleNamespace(
        route=Route(proxy=proxy, listener="127.0.0.1:1", upstream="127.0.0.1:2"),
        links=(),
        record=lambda: {"proxy": proxy, "number": number},
    )
    return cast("Connection", made)


def test_many_connections_of_one_proxy_push_out_no_others() -> None:
    traffic = Traffic()
    traffic.ended(connection("quiet", 0))
    for number in range(RECENT + 1):
        traffic.ended(connection("storm", number))
    assert traffic.records([], ["quiet"]) == [{"proxy": "quiet", "number": 0}]
    assert traffic.records([], ["storm"])[0] == {"proxy": "storm", "number": 1}
    assert len(traffic.records([])) == 1 + RECENT


def test_live_connections_are_listed_by_proxy() -> None:
    """They follow ended ones."""
    traffic = Traffic()
    traffic.ended(connection("quiet", 0))
    live = [connection("quiet", 1), connection("storm", 2)]
    assert [one["number"] for one in traffic.records(live, ["quiet"])] == [0, 1]
    assert [one["number"] for one in traffic.records(live)] == [0, 1, 2]
