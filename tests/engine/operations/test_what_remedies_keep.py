from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.operations.remedy_states import move_away, request
from tests.engine.operations.remedy_worlds import RUNNER, World
from vault_harness.errors import SettingsError, StackError
from vault_harness.local.vault.kept import policy_text
from vault_harness.local.vault.kv import Kv

pytestmark = pytest.mark.slow  # each remedy takes a process or two

OWN = 'path "ecommerce/data/backend/*" { capabilities = ["read"] }\n'
ACCESS, ADOPT = f"{RUNNER} seed --only access", f"{RUNNER} seed --adopt backend"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.begin()
    yield made
    made.sh(f"{RUNNER} destroy --yes", code=None)


def make_policy(world: World, text: str = OWN) -> None:
    request(world, "POST", "sys/policies/acl/backend", policy=text)


def policy(world: World) -> str:
    with world.op() as op:
        return policy_text(op, "backend")


def copies(world: World) -> list[Path]:
    return sorted((world.data_dir / "replaced").glob("*"))


def write_back(world: World, copy: Path) -> None:
    world.sh(f"{RUNNER} vault -- policy write backend {shlex.quote(str(copy))}")


def test_a_policy_made_by_hand_is_kept(world: World) -> None:
    make_policy(world)
    said = world.sh(f"{RUNNER} doctor", code=1)
    assert f"+{OWN.strip()}" in said
    assert f"what to do: {ACCESS}\n" in said
    assert f"or, to keep it: {ADOPT}\n" in said
    assert len(said.splitlines()) < 20

    assert world.troubles(ACCESS) == []

    (copy,) = copies(world)
    assert re.fullmatch(r"policy-backend-\d{8}-\d{6}\.hcl", copy.name)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert policy(world) != OWN
    write_back(world, copy)
    assert policy(world) == OWN
    world.sh(ACCESS)
    assert copies(world) == [copy], "the same text is kept once"


def test_an_adopted_policy_counts(world: World) -> None:
    make_policy(world)

    assert world.troubles(ADOPT) == []

    assert "as it was adopted" in world.sh(ACCESS)
    assert policy(world) == OWN
    request(world, "DELETE", "sys/policies/acl/backend")
    assert world.troubles(ACCESS) == []
    assert policy(world) == OWN
    (world.data_dir / "adopted" / "backend.hcl").unlink()
    assert world.troubles() == [("policy-unlike", ACCESS)]


def test_a_missing_policy_cannot_be_adopted(world: World) -> None:
    request(world, "DELETE", "sys/policies/acl/backend")
    for name, whose in (("nope", "the blueprint ecommerce"), ("backend", "Vault")):
        said = world.sh(f"{RUNNER} seed --adopt {name}", code=SettingsError.exit_code)
        assert f"{whose} has no policy {name}" in said
    assert not (world.data_dir / "adopted").exists()


def test_a_policy_that_a_report_narrowed_is_left_alone(world: World) -> None:
    wide = policy(world)
    env = f'eval "$({RUNNER} env backend --direct)"'
    log_in = (
        "from resilient_vault_client import VaultClient\n"
        "VaultClient().get_secret('backend/django', 'SECRET_KEY')\n"
    )
    python = RUNNER.split()[0]
    world.sh(f"{env} && {python} -c {shlex.quote(log_in)}")
    said = world.sh(f"{RUNNER} audit.report --write 'my proposals'")
    apply, undo = re.findall(r"to (?:apply it|undo that): (.*)", said)
    assert world.troubles() == [], "nothing is applied yet"

    world.sh(apply)
    narrow = policy(world)
    assert narrow != wide
    assert world.troubles() == []

    request(world, "DELETE", "auth/approle/role/api-gateway")
    ((kind, remedy), *_) = world.troubles()
    assert kind == "role-missing"
    world.sh(remedy)
    assert policy(world) == narrow
    world.sh(undo)
    assert policy(world) == wide
    assert not list((world.data_dir / "adopted").iterdir())


def test_settings_of_a_role_are_kept(world: World) -> None:
    """A role that `seed --only access` changed can be restored from its copy."""
    path = "auth/approle/role/backend"
    request(world, "POST", path, token_ttl="7m", token_policies=["default"])
    with world.op() as op:
        before = op.request("GET", path)["data"]

    assert world.troubles(ACCESS) == []

    (copy,) = copies(world)
    assert json.loads(copy.read_text())["token_ttl"] == 7 * 60
    world.sh(f"{RUNNER} vault -- write {path} {shlex.quote(f'@{copy}')}")
    with world.op() as op:
        assert op.request("GET", path)["data"] == before


IN_THE_WAY: dict[str, dict[str, Any]] = {
    "nothing": {},
    "transit": {"type": "transit"},
    "empty": {"type": "kv", "options": {"version": "2"}},
}


@pytest.mark.parametrize("state", IN_THE_WAY)
def test_secrets_that_were_moved_are_moved_back(world: World, state: str) -> None:
    """Whatever is in their place; `seed` refuses and names the remedy."""
    before = world.values()
    move_away(world, "ecommerce-kv")
    if body := IN_THE_WAY[state]:
        request(world, "POST", "sys/mounts/ecommerce", **body)

    ((kind, remedy),) = world.troubles()
    assert kind == "mount-moved"
    more = ("seed --dry-run", "seed --overwrite --yes") if state == "nothing" else ()
    for line in ("seed", *more):
        refused = world.sh(f"{RUNNER} {line}", code=StackError.exit_code)
        assert "ecommerce-kv/ has 12 of 12" in refused
        assert remedy in refused
    assert world.values() == before

    assert world.troubles(remedy) == []
    assert world.values() == before
    assert "0 created, 0 changed" in world.sh(f"{RUNNER} seed")


def test_new_values_are_seeded_beside_a_moved_mount(world: World) -> None:
    before = world.values()
    move_away(world)

    world.sh(f"{RUNNER} seed --new-values")

    assert before - world.values() == set()
    with world.op() as op:
        one, other = (Kv(op, mount).read("backend/django") for mount in ("ecommerce", "elsewhere"))
    assert one.data["SECRET_KEY"] != other.data["SECRET_KEY"]
    assert world.troubles() == []


def test_a_remedy_that_is_run_in_another_state(world: World) -> None:
    before = world.values()
    move = f"{RUNNER} vault -- secrets move ecommerce/ ecommerce-transit/"
    world.sh(f"{move} && {RUNNER} seed", code=StackError.exit_code)
    ((_, remedy),) = world.troubles()
    assert world.troubles(remedy) == []
    assert world.values() == before


def test_without_sight_of_other_mounts_no_new_values_are_proposed(world: World) -> None:
    """With root revoked the doctor cannot see other mounts."""
    before = world.values()
    move_away(world)
    world.sh(f"{RUNNER} root.revoke")

    ((kind, remedy),) = world.troubles()
    assert (kind, remedy) == ("mount-unseen", f"{RUNNER} root.generate")
    ((kind, remedy),) = world.troubles(remedy)
    assert kind == "mount-moved"
    assert world.troubles(remedy) == []
    world.keep_root()
    assert world.values() == before


def test_an_engine_on_a_taken_mount_is_not_disabled(world: World) -> None:
    for name in ("shop", "shop-transit"):
        request(world, "POST", f"sys/mounts/{name}", type="transit")
    text = 'name = "shop"\n[mounts.shop]\n[secrets.shop."a"]\nA = { value = "x" }\n'
    (world.directory / "shop.toml").write_text(text)
    said = world.sh(f"{RUNNER} seed --blueprint shop.toml", code=None)
    found = re.search(r"or move that one: (.*)", said)
    assert found is not None, said
    world.sh(f"{found[1]} && {RUNNER} seed --blueprint shop.toml")
    with world.op() as op:
        assert {"shop/", "shop-transit/", "shop-transit-2/"} <= set(
            op.request("GET", "sys/mounts")["data"]
        )
