import json
from pathlib import Path

import pytest

from vault_harness.errors import StackError
from vault_harness.local.engine.members import (
    known_cluster,
    known_members,
    next_name,
    node_directory,
    planned_members,
    refuse_other_engines_cluster,
)
from vault_harness.local.engine.provider import KnownServers
from vault_harness.local.engine.shape import EngineName

ADDRESSES = {"process": "https://127.0.0.1:41000", "docker": "https://vault-2:8201"}


def nodes(data_dir: Path, *names: str, by: str) -> list[str]:
    """Make data folders as an engine leaves them."""
    for name in names:
        data = node_directory(data_dir, name) / "data"
        data.mkdir(parents=True)
        (data / "vault.db").touch()
        text = json.dumps({"cluster_addr": ADDRESSES[by]})
        (data.parent / "vault.json").write_text(text)
    return list(names)


def test_without_a_record_folders_with_data_count(tmp_path: Path) -> None:
    """The first node always counts."""
    assert known_members(KnownServers(), tmp_path) == ["vault"]
    assert not known_cluster(KnownServers(), tmp_path)
    nodes(tmp_path, "vault-3", "vault-2", by="docker")
    (tmp_path / "nodes" / "vault-9").mkdir()
    assert known_members(KnownServers(), tmp_path) == ["vault", "vault-2", "vault-3"]
    assert known_cluster(KnownServers(), tmp_path)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    """It is not used again, even if only a folder is left."""
    (tmp_path / "nodes" / "vault-4").mkdir(parents=True)
    assert next_name(["vault", "vault-2", "vault-3"], tmp_path) == "vault-5"
    assert next_name(["vault", "vault-3"], tmp_path) == "vault-2"


@pytest.mark.parametrize(
    ("members", "nodes", "planned"),
    [
        (["vault"], 1, []),
        (["vault"], 3, ["vault-2", "vault-3"]),
        (["vault", "vault-3"], 3, ["vault-2"]),
        (["vault", "vault-2"], 3, ["vault-3"]),
        (["vault", "vault-2", "vault-3", "vault-4"], 3, []),
        (["vault", "vault-4"], 1, []),
    ],
)
def test_new_nodes_get_unused_names(members: list[str], nodes: int, planned: list[str]) -> None:
    assert planned_members(members, nodes) == [*members, *planned]


@pytest.mark.parametrize(("engine", "other"), [("process", "docker"), ("docker", "process")])
def test_the_other_engines_cluster_is_refused(
    tmp_path: Path, engine: EngineName, other: EngineName
) -> None:
    members = nodes(tmp_path, "vault", "vault-2", by=other)
    refuse_other_engines_cluster(other, members, tmp_path)
    with pytest.raises(StackError, match=f"addresses of the {other} engine") as caught:
        refuse_other_engines_cluster(engine, members, tmp_path)
    assert f"HARNESS_ENGINE={other} " in caught.value.remedy
    assert "node.remove" in caught.value.remedy


def test_a_single_node_goes_anywhere(tmp_path: Path) -> None:
    """It may become three."""
    nodes(tmp_path, "vault", by="docker")
    members = ["vault", "vault-2", "vault-3"]
    refuse_other_engines_cluster("process", members, tmp_path)


def test_what_cannot_be_read_is_not_held_against_it(tmp_path: Path) -> None:
    """The server reports it better."""
    members = nodes(tmp_path, "vault", "vault-2", by="docker")
    for name in members:
        (node_directory(tmp_path, name) / "vault.json").write_text("{")
    refuse_other_engines_cluster("process", members, tmp_path)
