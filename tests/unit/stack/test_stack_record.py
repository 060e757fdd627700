"""What the tasks remember of a stack."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vault_harness.certificates import Authority
from vault_harness.errors import StackError
from vault_harness.local.engine.provider import Endpoints, KnownServers, NodeEndpoint
from vault_harness.local.stack.record import FORMAT, StackRecord, StackRecordFile

FIRST_FORMAT = Path(__file__).with_name("data") / "stack.format-1.json"


def node(number: int) -> NodeEndpoint:
    return NodeEndpoint(
        name=f"vault-{number}",
        address=f"http://127.0.0.1:{8200 + number}",
        proxy=f"http://127.0.0.1:{8300 + number}",
        proxy_listen=f"127.0.0.1:{8300 + number}",
        upstream=f"127.0.0.1:{8200 + number}",
    )


ENDPOINTS = Endpoints(nodes=(node(1), node(2), node(3)), toxiproxy="http://127.0.0.1:8474")
RECORD = StackRecord(
    engine="process",
    choice="asked for",
    endpoints=ENDPOINTS,
    services={"vault": {"pid": 1, "born": 2.5}},
    seeded="ecommerce",
    blueprint="/x.toml",
)


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    record = replace(RECORD, seal="transit")
    record.save(tmp_path)

    assert StackRecord.load(tmp_path) == record
    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / "stack.json").read_text())["format"] == FORMAT


def test_nothing_there_is_an_empty_record(tmp_path: Path) -> None:
    assert StackRecord.load(tmp_path) == StackRecord()


def test_the_first_format_is_a_cluster_of_one(tmp_path: Path) -> None:
    """It is of version 0.1; saving upgrades it."""
    (tmp_path / "stack.json").write_text(FIRST_FORMAT.read_text())

    record = StackRecord.load(tmp_path)

    assert record.endpoints is not None
    assert [each.name for each in record.endpoints.nodes] == ["vault"]
    assert record.endpoints.vault == record.endpoints.node.address == "http://127.0.0.1:39153"
    assert record.endpoints.proxy == "http://127.0.0.1:44217"
    assert record.endpoints.toxiproxy == "http://127.0.0.1:43731"
    assert record.services["vault"]["pid"] == 14056
    assert (record.engine, record.seeded) == ("process", "ecommerce")
    record.save(tmp_path)
    assert StackRecord.load(tmp_path) == record
    assert json.loads((tmp_path / "stack.json").read_text())["format"] == FORMAT


@pytest.mark.parametrize(("number", "lacks"), [(2, "seal"), (2, "tls"), (4, "client_certs")])
def test_an_older_format_lacks_what_came_later(tmp_path: Path, number: int, lacks: str) -> None:
    """There is no CA, even if certificate files exist."""
    RECORD.save(tmp_path)
    path = tmp_path / "stack.json"
    content = json.loads(path.read_text())
    del content[lacks]
    path.write_text(json.dumps({**content, "format": number}))
    Authority().issue(tmp_path / "tls", "127.0.0.1")

    assert StackRecord.load(tmp_path) == RECORD
    assert RECORD.seal == "shamir"


def test_the_cas_path_follows_the_data_directory(tmp_path: Path) -> None:
    endpoints = replace(ENDPOINTS, ca_cert=Path("/elsewhere/tls/ca.pem"))
    replace(RECORD, tls=True, endpoints=endpoints).save(tmp_path)
    files = Authority().issue(tmp_path / "tls", "127.0.0.1")

    record = StackRecord.load(tmp_path)

    assert record.tls
    assert record.endpoints == replace(ENDPOINTS, ca_cert=files.ca)


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    text = json.dumps({"format": FORMAT + 1, "nodes": "who knows"})
    path.write_text(text)

    with pytest.raises(StackError, match="format that this program does not know") as caught:
        StackRecord.load(tmp_path)

    assert str(FORMAT + 1) in caught.value.looked_at
    assert path.read_text() == text


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"endpoints": {"vault": 1}}', '{"format": 2}', '{"format": []}']
)
def test_a_broken_record_is_an_error_with_a_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / "stack.json").write_text(text)

    with pytest.raises(StackError, match=r"stack\.json (cannot be read|has a format)"):
        StackRecord.load(tmp_path)


def test_what_an_engine_saves_keeps_the_rest(tmp_path: Path) -> None:
    """It keeps the blueprint and the chosen engine."""
    RECORD.save(tmp_path)
    memory = StackRecordFile(tmp_path)
    known: KnownServers = memory.load()
    known.services = {}
    memory.save(known)

    after = StackRecord.load(tmp_path)
    assert (after.seeded, after.choice, after.services) == ("ecommerce", "asked for", {})
    memory.save(KnownServers(engine="docker", tls=True, client_certs=True))
    after = StackRecord.load(tmp_path)
    assert (after.engine, after.tls, after.client_certs) == ("docker", True, True)
