from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vault_harness.cli.breaking import _revoke_tokens
from vault_harness.errors import OperatorError, named
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.doctor import CheckResult, Deployment, State
from vault_harness.operator.practices import PRACTICES


class Vault(VaultAdmin):
    """A Vault with these tokens, by accessor; those in ``ended`` expire after the list.

    `ended` says what Vault answers for an expired token. A `mute` Vault answers its revocation with
    a warning, as OpenBao does.
    """

    def __init__(
        self,
        tokens: dict[str, dict[str, Any]],
        ended: dict[str, str],
        *,
        mute: bool = False,
        acts: str = "operator",
    ) -> None:
        super().__init__("http://127.0.0.1:1", acts)
        self.tokens, self.ended, self.mute = tokens, ended, mute
        self.revoked: list[str] = []

    def with_token(self, token: str) -> VaultAdmin:
        return Vault(self.tokens, self.ended, acts=token)

    def within(self, namespace: str) -> VaultAdmin:
        assert namespace == ""
        return self

    def request(self, method: str, path: str, **body: object) -> dict[str, Any]:
        if path == "auth/token/accessors":
            return {"data": {"keys": list(self.tokens)}}
        if path == "auth/token/lookup-self":
            acts = str(self.client.token)
            if acts not in self.tokens:
                raise OperatorError("cannot look: 1 error occurred: * permission denied")
            return {"data": {"accessor": acts}}
        accessor, revoking = str(body["accessor"]), path == "auth/token/revoke-accessor"
        said = self.ended.get(accessor, "")
        if revoking and self.mute and said:
            return {"data": None, "warnings": ["No token found with this accessor"]}
        if said and (revoking or not said.startswith("later: ")):
            raise OperatorError(f"cannot {method} {path}: {said.removeprefix('later: ')}")
        if revoking:
            self.revoked.append(accessor)
        return {} if revoking else {"data": self.tokens[accessor]}


BACKEND: dict[str, Any] = {"policies": ["backend"], "meta": {"role_name": "backend"}}
TOKENS: dict[str, dict[str, Any]] = {
    "first": BACKEND,
    "second": BACKEND,
    "other": {"meta": None},
    "third": BACKEND,
}


@pytest.mark.parametrize(
    ("said", "mute"),
    [
        ("1 error occurred: * invalid accessor", False),
        ("bad token", False),
        ("later: 1 error occurred: * invalid accessor", False),
        ("later: 1 error occurred: * invalid accessor", True),
    ],
)
def test_one_that_ends_keeps_no_other_from_being_revoked(said: str, mute: bool) -> None:
    """It is not counted."""
    vault = Vault(TOKENS, {"second": said}, mute=mute)
    assert _revoke_tokens(vault, "backend") == 2
    assert vault.revoked == ["first", "third"]


@pytest.mark.parametrize("said", ["1 error occurred: * permission denied", "later: it is sealed"])
def test_what_is_refused_is_raised(said: str) -> None:
    """A denial does not mean that the token expired."""
    with pytest.raises(OperatorError, match=said.removeprefix("later: ").replace("*", ".")):
        _revoke_tokens(Vault(TOKENS, {"first": said}), "backend")


@pytest.fixture
def stand(tmp_path: Path) -> Callable[[Vault], CheckResult]:
    """Check the practice "root token", with the keyring that a test may have written."""

    def look(vault: Vault) -> CheckResult:
        return PRACTICES["root token"](
            Deployment(
                operator=vault,
                addresses=(),
                keyring=tmp_path / "init.json",
                backups=tmp_path / "backups",
            )
        )

    return look


def test_a_token_that_ended_is_no_root_token(stand: Callable[[Vault], CheckResult]) -> None:
    vault = Vault(TOKENS, {"second": "1 error occurred: * invalid accessor"})
    assert stand(vault).state is State.GOOD


def test_who_may_look_up_none_cannot_tell(stand: Callable[[Vault], CheckResult]) -> None:
    """The practice is an error, not kept."""
    denied = dict.fromkeys(TOKENS, "1 error occurred: * permission denied")
    with pytest.raises(OperatorError, match="permission denied"):
        stand(Vault(TOKENS, denied))


ROOT: dict[str, Any] = {"policies": ["root"], "meta": None}


@pytest.mark.parametrize(
    ("roots", "kept", "acts", "commands"),
    [
        (["own"], "own", "own", ["root.revoke"]),
        (["own"], "own", "operator", ["root.revoke"]),
        (["own", "stray"], "own", "own", ["REVOKE stray", "root.revoke"]),
        (["stray"], "", "operator", ["root.generate", "REVOKE stray", "root.revoke"]),
        (["stray"], "own", "operator", ["root.generate", "REVOKE stray", "root.revoke"]),
        (["acts", "stray"], "", "acts", ["REVOKE stray", "REVOKE acts"]),
    ],
)
def test_each_root_token_has_the_command_that_ends_it(
    roots: list[str],
    kept: str,
    acts: str,
    commands: list[str],
    stand: Callable[[Vault], CheckResult],
    tmp_path: Path,
) -> None:
    """The keyring's token has `root.revoke`, any other another command."""
    if kept:
        Keyring(("a", "b"), 2, kept).save(tmp_path / "init.json")
    vault = Vault(
        {name: ROOT if name in roots else BACKEND for name in [*roots, acts]}, {}, acts=acts
    )
    found = stand(vault)
    assert found.state is State.BAD
    revoke = named("vault", "--", "token", "revoke", "-accessor")
    assert found.remedy.split(", then ") == [
        f"{revoke} {each.removeprefix('REVOKE ')}" if each.startswith("REVOKE") else named(each)
        for each in commands
    ]
    assert all(each in found.seen for each in roots if each != "own")


def test_many_root_tokens_are_named_as_far_as_a_person_reads(
    stand: Callable[[Vault], CheckResult],
) -> None:
    """Ten are named; the rest are counted."""
    vault = Vault({f"root-{number}": ROOT for number in range(12)}, {}, acts="nobody")
    found = stand(vault)
    assert "12 tokens are root" in found.seen
    assert "and 2 more" in found.seen
    assert found.remedy.count("-accessor") == 10
