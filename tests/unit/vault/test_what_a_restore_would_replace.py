"""Only an empty Vault is restored into unasked, and no earlier token is lost."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from vault_harness.errors import HarnessError, StackError
from vault_harness.local.vault import cluster
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.backup import (
    Comparison,
    Contents,
    Keys,
    Opened,
    progress,
    put_in,
    restore,
    restoring,
    unfinished_keyring,
)
from vault_harness.operator.backup.progress import CATCH_UP_SECONDS, SETTLE_SECONDS

FRESH: dict[str, dict[str, Any]] = {
    "sys/mounts": {
        "sys/": {"type": "system"},
        "identity/": {"type": "identity"},
        "cubbyhole/": {"type": "cubbyhole"},
    },
    "sys/auth": {"token/": {"type": "token"}},
    "sys/policies/acl": {"keys": ["default", "root"]},
    "sys/namespaces": {},
    "sys/audit": {"file/": {"type": "file"}},
}
"""The answers of a server that ``up`` has just initialised."""


def vault(more: dict[str, dict[str, Any]], *, product: str = "openbao") -> Any:
    answers = {path: {**FRESH[path], **more.get(path, {})} for path in FRESH}

    def request(_method: str, path: str) -> dict[str, Any]:
        return {"data": answers[path]}

    status = SimpleNamespace(product=product, version="2.7.2")
    return SimpleNamespace(request=request, seal_status=lambda: status)


@pytest.mark.parametrize("product", ["openbao", "vault"])
def test_a_fresh_vault_is_empty(product: str) -> None:
    """Audit devices and the server's own mounts do not count."""
    assert put_in(vault({}, product=product)) == ()


def test_a_policy_of_the_tasks_is_nothing_that_could_be_lost() -> None:
    """``root.revoke`` leaves the operator's policy behind."""
    assert put_in(vault({"sys/policies/acl": {"keys": ["default", "operator", "root"]}})) == ()


@pytest.mark.parametrize(
    ("path", "more", "told"),
    [
        ("sys/mounts", {"mine/": {"type": "kv"}}, "mount mine/"),
        ("sys/mounts", {"database/": {"type": "database"}}, "mount database/"),
        ("sys/auth", {"userpass/": {"type": "userpass"}}, "auth method userpass/"),
        ("sys/auth", {"approle/": {"type": "approle"}}, "auth method approle/"),
        ("sys/policies/acl", {"keys": ["default", "mine", "root"]}, "policy mine"),
        ("sys/namespaces", {"keys": ["team/"]}, "namespace team/"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_somebody_put_there_is_told(path: str, more: dict[str, Any], told: str) -> None:
    """The backup may have nothing of that name."""
    assert put_in(vault({path: more})) == (told,)


def test_an_operator_is_told_what_is_there() -> None:
    """Namespaces may not be listed."""
    here = vault({"sys/mounts": {"mine/": {"type": "kv"}}})
    allowed = here.request

    def request(method: str, path: str) -> dict[str, Any]:
        assert path != "sys/namespaces"
        answer: dict[str, Any] = allowed(method, path)
        return answer

    here.request = request
    assert put_in(here) == ("mount mine/",)


def test_a_token_that_is_replaced_stays_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It acts in the Vault of the old keyring and snapshot."""
    monkeypatch.setattr(progress, "lives", lambda *_: False)
    (tmp_path / "operator-token").write_text("of before")
    keys = Keys(Keyring(("a key",), 1, "root"), "of the backup")

    kept = progress.put_keys(SimpleNamespace(), keys, tmp_path / "init.json")  # type: ignore[arg-type]

    assert (tmp_path / "operator-token").read_text() == "of the backup"
    assert kept is not None
    assert kept.read_text() == "of before"


def test_a_copy_that_is_not_whole_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the snapshot is damaged, nothing is overwritten or kept."""
    monkeypatch.setattr(restoring, "take_snapshot", lambda _: b"the first half of an arch")
    root: Any = SimpleNamespace(address="http://vault")

    with pytest.raises(HarnessError, match="not whole"):
        restoring._keep_snapshot(root, tmp_path / "init.json")

    assert list(tmp_path.iterdir()) == []


def test_two_copies_of_one_second_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter([b"first", b"second"])
    monkeypatch.setattr(restoring, "take_snapshot", lambda _: next(made))
    monkeypatch.setattr(restoring, "check_snapshot", lambda *_, **__: None)
    monkeypatch.setattr(time, "strftime", lambda *_: "20251026-023000")
    root: Any = SimpleNamespace(address="http://vault")

    kept = [restoring._keep_snapshot(root, tmp_path / "init.json") for _ in range(2)]

    assert [path.read_bytes() for path in kept] == [b"first", b"second"]


@pytest.mark.parametrize("before", ["", "the same"])
def test_nothing_is_kept_where_nothing_is_lost(tmp_path: Path, before: str) -> None:
    """There was no token, or the backup's own."""
    if before:
        (tmp_path / "operator-token").write_text(before)
    assert progress.put_operator_token("the same", tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["operator-token"]


def opened(keys: Keys, snapshot: str) -> Opened:
    return Opened(snapshot.encode(), Contents((), {}, (), ()), keys)


def test_which_backup_is_on_its_way(tmp_path: Path) -> None:
    """Its snapshot tells, and its keys tell the Vault."""
    way, first = tmp_path / "init.json.restoring", Keys(Keyring(("a", "b"), 2, "root"))
    second = Keys(first.keyring.without_root())
    assert restoring._unfinished(way, opened(first, "one")) == (None, False)

    restoring._note(way, tmp_path, opened(first, "one"), restoring._Beside())
    assert restoring._unfinished(way, opened(first, "one")) == (first.keyring, True)
    assert restoring._unfinished(way, opened(second, "two")) == (first.keyring, False)
    other = Keys(Keyring(("c",), 1, "root"))
    assert restoring._unfinished(way, opened(other, "one")) == (None, False)


def test_keys_on_their_way_are_on_no_other_disk_than_the_keys(tmp_path: Path) -> None:
    """A link may lead to the keys. An old note stays."""
    path, here = tmp_path / "init.json", tmp_path / "init.json.restoring"
    assert unfinished_keyring(path) == here
    (tmp_path / "stick").mkdir()
    path.symlink_to(tmp_path / "stick" / "keys.json")
    assert unfinished_keyring(path) == tmp_path / "stick" / "keys.json.restoring"
    here.touch()
    assert unfinished_keyring(path) == here


def test_an_earlier_release_noted_no_snapshot(tmp_path: Path) -> None:
    """The same keyring is enough."""
    way, first = tmp_path / "init.json.restoring", Keys(Keyring(("a", "b"), 2, "root"))
    first.keyring.save(way)
    assert restoring._unfinished(way, opened(first, "one")) == (first.keyring, True)
    second = Keys(first.keyring.without_root())
    assert restoring._unfinished(way, opened(second, "two")) == (first.keyring, False)


def test_what_an_ended_restore_has_kept_is_told_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, keys = tmp_path / "init.json", Keys(Keyring(("a", "b"), 2, "root"))
    kept = [tmp_path / f"init.json.20251231-235959{end}" for end in ("", ".snap")]
    for each in kept:
        each.write_text("of before")
    way = tmp_path / "init.json.restoring"
    contents: Any = SimpleNamespace(vault="a Vault", namespace="", approles=())
    opened = Opened(b"snapshot", contents, keys)
    restoring._note(way, tmp_path, opened, restoring._Beside(kept=kept[0], overwritten=kept[1]))
    there: Any = SimpleNamespace(close=lambda: None)
    there.within = lambda _: there
    for name, answer in {
        **dict.fromkeys(("check_nodes", "_check_seal", "await_taken", "put_keys")),
        "must_start_again": False,
        "parted": ([there], []),
        "_open": there,
        "acting_on": there,
        "_compare_all": Comparison(same=0, different=()),
    }.items():
        monkeypatch.setattr(restoring, name, lambda *_, answer=answer, **__: answer)

    done = restore([there], path, opened, overwrite=True)

    assert done.resumed
    assert [done.kept, done.overwritten] == kept
    assert not way.exists()


@pytest.mark.parametrize(
    ("start_again", "seconds"), [(True, SETTLE_SECONDS), (False, CATCH_UP_SECONDS)]
)
def test_nodes_that_were_just_started_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_again: bool, seconds: float
) -> None:
    """Nothing more will arrive from them."""
    path, keys = tmp_path / "init.json", Keys(Keyring(("a", "b"), 2, "root"))
    way = tmp_path / "init.json.restoring"
    contents: Any = SimpleNamespace(vault="a Vault")
    opened = Opened(b"snapshot", contents, keys)
    restoring._note(way, tmp_path, opened, restoring._Beside())
    waited: list[float] = []

    def parted(*_: object, patience: float) -> NoReturn:
        waited.append(patience)
        raise StackError("here it ends")

    for name in ("check_nodes", "_check_seal", "_let_catch_up"):
        monkeypatch.setattr(restoring, name, lambda *_: None)
    monkeypatch.setattr(restoring, "must_start_again", lambda _: start_again)
    monkeypatch.setattr(cluster, "wait_for_all", lambda *_, **__: None)
    monkeypatch.setattr(restoring, "parted", parted)
    with pytest.raises(StackError, match="here it ends"):
        restore([], path, opened, restart=lambda: None)
    assert waited == [seconds]
