"""Only an empty Vault is restored into unasked, and no token of the one before is lost."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from vault_harness.errors import HarnessError, StackError
from vault_harness.vault import Keyring, cluster
from vault_harness.vault.backup import (
    Comparison,
    Keys,
    _acting,
    _restore,
    keyring_on_the_way,
    put_in,
    restore,
    restore_keys,
)
from vault_harness.vault.backup._progress import CATCH_UP_SECONDS, SETTLE_SECONDS

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
"""What a server says of itself that ``up`` has just initialised."""


def vault(more: dict[str, dict[str, Any]], *, product: str = "openbao") -> Any:
    """A fresh Vault with something more."""
    answers = {path: {**FRESH[path], **more.get(path, {})} for path in FRESH}

    def request(_method: str, path: str) -> dict[str, Any]:
        return {"data": answers[path]}

    status = SimpleNamespace(product=product, version="2.7.2")
    return SimpleNamespace(request=request, seal_status=lambda: status)


@pytest.mark.parametrize("product", ["openbao", "vault"])
def test_a_fresh_vault_is_empty(product: str) -> None:
    """An audit device and what the server mounts by itself are nobody's."""
    assert put_in(vault({}, product=product)) == ()


def test_a_policy_of_the_tasks_is_nothing_that_could_be_lost() -> None:
    """``root.revoke`` left it in a Vault that has nothing else."""
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
    """Also where the backup has nothing of that name."""
    assert put_in(vault({path: more})) == (told,)


def test_an_operator_is_told_what_is_there() -> None:
    """Root is revoked, and namespaces may not be listed: what was found is enough."""
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
    """With the keyring of before and its snapshot it is what acts in the Vault that was there."""
    monkeypatch.setattr(_acting, "lives", lambda *_: False)
    (tmp_path / "operator-token").write_text("of before")
    keys = Keys(Keyring(("a key",), 1, "root"), "of the backup")

    kept = _acting.put_keys(SimpleNamespace(), keys, tmp_path / "init.json")  # type: ignore[arg-type]

    assert (tmp_path / "operator-token").read_text() == "of the backup"
    assert kept is not None
    assert kept.read_text() == "of before"


def test_a_copy_that_is_not_whole_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be all that is left of what is overwritten: nothing is, and nothing is kept."""
    monkeypatch.setattr(_restore, "take_snapshot", lambda _: b"the first half of an arch")
    root: Any = SimpleNamespace(address="http://vault")

    with pytest.raises(HarnessError, match="not whole"):
        _restore._keep_snapshot(root, tmp_path / "init.json")

    assert list(tmp_path.iterdir()) == []


def test_two_copies_of_one_second_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is all that is left of what was overwritten."""
    made = iter([b"first", b"second"])
    monkeypatch.setattr(_restore, "take_snapshot", lambda _: next(made))
    monkeypatch.setattr(_restore, "check_snapshot", lambda *_, **__: None)
    monkeypatch.setattr(time, "strftime", lambda *_: "20251026-023000")
    root: Any = SimpleNamespace(address="http://vault")

    kept = [_restore._keep_snapshot(root, tmp_path / "init.json") for _ in range(2)]

    assert [path.read_bytes() for path in kept] == [b"first", b"second"]


@pytest.mark.parametrize("before", ["", "the same"])
def test_nothing_is_kept_where_nothing_is_lost(tmp_path: Path, before: str) -> None:
    """No token was there, or the backup's own."""
    if before:
        (tmp_path / "operator-token").write_text(before)
    assert _acting.put_operator_token("the same", tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["operator-token"]


def test_keys_of_a_backup_bring_a_token_too(tmp_path: Path) -> None:
    """Vault is away, and nobody can tell which of two tokens lives: both are kept."""
    (tmp_path / "operator-token").write_text("newer than the backup")
    done = restore_keys(Keys(Keyring(("a",), 1, ""), "older"), tmp_path / "init.json")
    assert (tmp_path / "operator-token").read_text() == "older"
    assert done.kept_token is not None
    assert done.kept_token.read_text() == "newer than the backup"


def test_which_backup_is_on_its_way(tmp_path: Path) -> None:
    """By its snapshot; that it is of this Vault its keys tell, whose root token may have ended."""
    way, first = tmp_path / "init.json.restoring", Keys(Keyring(("a", "b"), 2, "root"))
    second = Keys(first.keyring.without_root())
    assert _restore._on_the_way(way, first, "one") == (None, False)

    _restore._note(way, tmp_path, first, "one", _restore._Beside())
    assert _restore._on_the_way(way, first, "one") == (first.keyring, True)
    assert _restore._on_the_way(way, second, "two") == (first.keyring, False)
    assert _restore._on_the_way(way, Keys(Keyring(("c",), 1, "root")), "one") == (None, False)


def test_keys_on_their_way_are_on_no_other_disk_than_the_keys(tmp_path: Path) -> None:
    """Where a link leads to those; what an earlier release has begun beside the link goes on."""
    path, here = tmp_path / "init.json", tmp_path / "init.json.restoring"
    assert keyring_on_the_way(path) == here
    (tmp_path / "stick").mkdir()
    path.symlink_to(tmp_path / "stick" / "keys.json")
    assert keyring_on_the_way(path) == tmp_path / "stick" / "keys.json.restoring"
    here.touch()
    assert keyring_on_the_way(path) == here


def test_an_earlier_release_noted_no_snapshot(tmp_path: Path) -> None:
    """It was of the backup with the very keyring, as far as anybody can tell."""
    way, first = tmp_path / "init.json.restoring", Keys(Keyring(("a", "b"), 2, "root"))
    first.keyring.save(way)
    assert _restore._on_the_way(way, first, "one") == (first.keyring, True)
    second = Keys(first.keyring.without_root())
    assert _restore._on_the_way(way, second, "two") == (first.keyring, False)


def test_what_an_ended_restore_has_kept_is_told_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended once the snapshot is in, it has told nobody where that is which it has replaced."""
    path, keys = tmp_path / "init.json", Keys(Keyring(("a", "b"), 2, "root"))
    kept = [tmp_path / f"init.json.20251231-235959{end}" for end in ("", ".snap")]
    for each in kept:
        each.write_text("of before")
    way, of = tmp_path / "init.json.restoring", hashlib.sha256(b"snapshot").hexdigest()
    _restore._note(way, tmp_path, keys, of, _restore._Beside(kept=kept[0], overwritten=kept[1]))
    there: Any = SimpleNamespace(close=lambda: None)
    there.within = lambda _: there
    contents: Any = SimpleNamespace(vault="a Vault", namespace="", approles=())
    for name, answer in {
        **dict.fromkeys(("check_nodes", "_check_seal", "await_taken", "put_keys")),
        "must_start_anew": False,
        "parted": ([there], []),
        "_open": there,
        "acting_on": there,
        "_compare_all": Comparison(same=0, different=()),
    }.items():
        monkeypatch.setattr(_restore, name, lambda *_, answer=answer, **__: answer)

    done = restore([there], path, b"snapshot", contents, keys, overwrite=True)

    assert done.resumed
    assert [done.kept, done.overwritten] == kept
    assert not way.exists()


@pytest.mark.parametrize(("anew", "seconds"), [(True, SETTLE_SECONDS), (False, CATCH_UP_SECONDS)])
def test_nodes_that_were_just_started_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: bool, seconds: float
) -> None:
    """What one of them has not got by then it never gets: half a minute would go by for nothing."""
    path, keys = tmp_path / "init.json", Keys(Keyring(("a", "b"), 2, "root"))
    way, of = tmp_path / "init.json.restoring", hashlib.sha256(b"snapshot").hexdigest()
    _restore._note(way, tmp_path, keys, of, _restore._Beside())
    waited: list[float] = []

    def parted(*_: object, patience: float) -> NoReturn:
        waited.append(patience)
        raise StackError("here it ends")

    for name in ("check_nodes", "_check_seal", "_let_catch_up"):
        monkeypatch.setattr(_restore, name, lambda *_: None)
    monkeypatch.setattr(_restore, "must_start_anew", lambda _: anew)
    monkeypatch.setattr(cluster, "wait_for_all", lambda *_, **__: None)
    monkeypatch.setattr(_restore, "parted", parted)
    contents: Any = SimpleNamespace(vault="a Vault")
    with pytest.raises(StackError, match="here it ends"):
        restore([], path, b"snapshot", contents, keys, restart=lambda: None)
    assert waited == [seconds]
