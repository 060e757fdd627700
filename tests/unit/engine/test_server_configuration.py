"""One function writes the configuration for every engine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from vault_harness.local.dialect import OPENBAO, VAULT
from vault_harness.local.engine.configuration import Place, server_configuration
from vault_harness.local.engine.docker.inside import configuration as in_a_container
from vault_harness.local.engine.shape import NodeSpec

SPEC = NodeSpec(name="vault", directory=Path("/d"), storage="raft")
PLACE = Place(
    api="127.0.0.1:1",
    cluster="127.0.0.1:2",
    address="http://127.0.0.1:1",
    cluster_address="127.0.0.1:2",
    data="/d/data",
)


def written(spec: NodeSpec = SPEC, place: Place = PLACE) -> dict[str, Any]:
    return server_configuration(spec, OPENBAO, place)


def test_metrics_are_on_and_need_no_token() -> None:
    assert written()["telemetry"]["prometheus_retention_time"] != "0"
    assert written()["listener"]["tcp"]["telemetry"] == {"unauthenticated_metrics_access": True}


def test_without_tls_it_is_said() -> None:
    """The server requires it."""
    assert written()["listener"]["tcp"]["tls_disable"] is True


def test_with_tls_the_listener_has_its_files() -> None:
    """Joining nodes verify by the CA."""
    spec = dataclasses.replace(SPEC, retry_join=("https://127.0.0.1:3",))
    place = dataclasses.replace(
        PLACE, certificate="/c", key="/k", ca="/ca", join=("https://127.0.0.1:3",)
    )
    listener = written(spec, place)["listener"]["tcp"]
    assert (listener["tls_cert_file"], listener["tls_key_file"]) == ("/c", "/k")
    assert "tls_disable" not in listener
    assert written(spec, place)["storage"]["raft"]["retry_join"] == [
        {"leader_api_addr": "https://127.0.0.1:3", "leader_ca_cert_file": "/ca"}
    ]


def test_with_client_certificates_the_listener_verifies_them() -> None:
    """Joining nodes present one."""
    spec = dataclasses.replace(SPEC, retry_join=("https://127.0.0.1:3",))
    place = dataclasses.replace(PLACE, certificate="/c", key="/k", ca="/ca", clients="/clients")
    place = dataclasses.replace(place, own="/own", join=("https://127.0.0.1:3",))
    listener = written(spec, place)["listener"]["tcp"]
    assert listener["tls_require_and_verify_client_cert"] is True
    assert listener["tls_client_ca_file"] == "/clients"
    (leader,) = written(spec, place)["storage"]["raft"]["retry_join"]
    assert leader["leader_client_cert_file"] == leader["leader_client_key_file"] == "/own"


def test_a_listener_without_client_certificates_asks_for_none() -> None:
    place = dataclasses.replace(PLACE, certificate="/c", key="/k", ca="/ca")
    assert not any("client" in name for name in written(place=place)["listener"]["tcp"])


def test_a_seal_stanza_comes_with_the_specification() -> None:
    seal = {"seal": {"transit": {"key_name": "unseal"}}}
    assert written(dataclasses.replace(SPEC, extra=seal))["seal"] == seal["seal"]


def test_what_is_laid_over_leaves_the_rest_of_a_stanza() -> None:
    extra = {"listener": {"tcp": {"max_request_size": 1}}}
    listener = written(dataclasses.replace(SPEC, extra=extra))["listener"]["tcp"]
    assert (listener["max_request_size"], listener["address"]) == (1, "127.0.0.1:1")


@pytest.mark.parametrize("product", [OPENBAO, VAULT])
def test_a_container_and_a_process_differ_in_places_alone(product: Any) -> None:
    """A backup opens in both."""
    one = server_configuration(SPEC, product, PLACE)
    other = in_a_container(SPEC, product, address="http://127.0.0.1:1", host="vault")
    for differing in ("listener", "cluster_addr", "storage"):
        one.pop(differing), other.pop(differing)
    assert one == other
