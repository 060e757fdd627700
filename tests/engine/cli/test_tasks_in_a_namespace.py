from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from resilient_vault_client import VaultClient
from tests.walking import places
from vault_harness.cli.tasks import run
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.approle import accessors
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.kv import Kv
from vault_harness.recorder.history import History
from vault_harness.recorder.recorder import Recorder
from vault_harness.recorder.secrets import Secrets
from vault_harness.settings import resources

pytestmark = [
    pytest.mark.slow,  # each command line is a process
    pytest.mark.xdist_group("in a namespace"),  # they share a stack
]

Checkout = Any  # of conftest.py


class Place(NamedTuple):
    """Command lines in a namespace, its parent, and a neighbour that must not change."""

    checkout: Checkout
    above: str

    @property
    def here(self) -> str:
        """The blueprint's namespace below ``VAULT_NAMESPACE``."""
        return f"{self.above}/team-a/shop"

    @property
    def neighbour(self) -> str:
        return f"{self.above}/team-b"


# Requests that belong to the root namespace, each with its reason. No other one is allowed.
WHOLE_SERVER = re.compile(
    r"sys/(health|seal-status|seal|unseal|init|leader|ha-status|metrics|audit(-hash/.+)?"
    r"|storage/raft/.+|config/state/sanitized|generate-root(-token)?/.+)"
)
OF_THE_TOKEN = {
    "auth/token/lookup-self": "the tasks' tokens are the root namespace's",
    "auth/token/renew-self": "likewise",
    "auth/token/revoke-self": "root.revoke ends the root token",
    "auth/token/create-orphan": "root.revoke makes the operator's token",
    "sys/policies/acl/operator": "and its policy",
    "auth/token/accessors": "doctor --production looks for root tokens",
    "auth/token/lookup-accessor": "likewise",
}


@pytest.fixture
def blueprint(tmp_path: Path) -> Path:
    text = (resources() / "blueprints" / "ecommerce.toml").read_text()
    policies = resources() / "policies"
    text = text.replace("../policies", str(policies))
    file = tmp_path / "shop.toml"
    file.write_text(text.replace("\nname =", '\nnamespace = "team-a/shop"\nname =', 1))
    assert Blueprint.load(file).namespace == "team-a/shop"
    return file


@pytest.fixture
def root(checkout: Checkout) -> Iterator[VaultAdmin]:
    """Root, in the root namespace, past every recorder."""
    endpoints = StackRecord.load(checkout.data_dir).endpoints
    assert endpoints is not None
    token = Keyring.load(checkout.data_dir / "init.json").root_token
    with closing(VaultAdmin(endpoints.vault, token)) as op:
        yield op


@pytest.fixture
def place(checkout: Checkout, root: VaultAdmin, blueprint: Path) -> Iterator[Place]:
    """A namespace of the test's own, without the blueprint's namespace in it."""
    made = Place(checkout, f"org-{secrets.token_hex(3)}")
    root.request("POST", f"sys/namespaces/{made.above}")
    with closing(root.within(made.above)) as above:
        above.request("POST", "sys/namespaces/team-b", custom_metadata={"owner": "b"})
    checkout.environment |= {"VAULT_NAMESPACE": made.neighbour}
    # By name, since the last applied blueprint may be that of the test before.
    checkout.run("seed", "--blueprint", str(resources() / "blueprints" / "ecommerce.toml"))
    checkout.environment |= {"VAULT_NAMESPACE": made.above, "HARNESS_BLUEPRINT": str(blueprint)}
    yield made
    for name in ("VAULT_NAMESPACE", "HARNESS_BLUEPRINT"):
        checkout.environment.pop(name)


def everything(op: VaultAdmin) -> dict[str, object]:
    found: dict[str, object] = {}
    kv = Kv(op, "ecommerce")
    for path in kv.paths():
        secret = kv.read(path)
        found[path] = (secret.version, dict(secret.data))
    for kind in ("sys/policies/acl", "auth/approle/role"):
        for name in op.request("LIST", kind)["data"]["keys"]:
            found[f"{kind}/{name}"] = op.request("GET", f"{kind}/{name}")["data"]
    for role in op.request("LIST", "auth/approle/role")["data"]["keys"]:
        found[f"secret-ids of {role}"] = sorted(accessors(op, role))
    return found


def troubles(checkout: Checkout) -> list[dict[str, str]]:
    found = json.loads(checkout.run("doctor", "--json", code=None))
    return [each for each in found if each["state"] == "bad"]


@contextmanager
def leading(checkout: Checkout, real: str, other: str) -> Iterator[None]:
    record = checkout.data_dir / "stack.json"
    record.write_text(record.read_text().replace(f'"{real}"', f'"{other}"'))
    yield
    record.write_text(record.read_text().replace(f'"{other}"', f'"{real}"'))


def exported(checkout: Checkout, service: str) -> dict[str, str]:
    words = [shlex.split(line)[1] for line in checkout.run("env", service).splitlines()]
    return dict(word.split("=", 1) for word in words)


def test_a_blueprint_with_a_namespace_from_the_first_day_on(place: Place, root: VaultAdmin) -> None:
    checkout = place.checkout
    with (
        closing(root.within(place.above)) as above,
        closing(root.within(place.neighbour)) as neighbour,
        closing(root.within(place.here)) as here,
    ):
        before = everything(neighbour), everything(root)
        named = above.request("GET", "sys/namespaces/team-b")["data"]
        assert [each["kind"] for each in troubles(checkout)] == ["namespace-missing"]
        assert "would replace 0" in checkout.run("seed", "--dry-run")
        assert [each["kind"] for each in troubles(checkout)] == ["namespace-missing"]
        first = checkout.run("seed")
        assert re.search(rf"created +namespace +{place.here}", first)
        again = checkout.run("seed")
        assert "0 created, 0 changed" in again
        assert troubles(checkout) == []
        status = json.loads(checkout.run("status", "--json"))
        assert (status["namespace"], status["namespace_trouble"]) == (place.here, "")
        assert status["seeded"]

        variables = exported(checkout, "backend")
        assert variables["VAULT_NAMESPACE"] == place.here
        assert "VAULT_ROLE_ID_FILE" in variables
        password = Kv(here).read("backend/database").data["DB_PASSWORD"]
        with closing(VaultClient(environ=variables)) as client:
            assert client.get_secret("backend/database", "DB_PASSWORD") == password
            checkout.run("rotate.secret-id", "backend")
            checkout.run("rotate.secrets", "database")
            rotated = Kv(here).read("backend/database").data["DB_PASSWORD"]
            assert rotated != password
            assert client.get_secret("backend/database", "DB_PASSWORD") == rotated
            assert "1 token of backend revoked" in checkout.run("break.revoke", "backend")
            checkout.run("rotate.rollback", "database")
            assert client.get_secret("backend/database", "DB_PASSWORD") == password
        # The next task accepts what `env` prints.
        checkout.environment["VAULT_NAMESPACE"] = variables["VAULT_NAMESPACE"]
        assert troubles(checkout) == []
        assert "backend/" in checkout.run("vault", "--", "kv", "list", "ecommerce/")
        report = checkout.run("audit.report")
        assert re.search(r"^ *backend +3 +0 ", report, re.MULTILINE), report
        assert f"namespace  {place.here}" in re.sub(" {3,}", "  ", checkout.run("status"))

        # The same as an external Vault, whose services' ids are not on this machine.
        elsewhere = {
            "HARNESS_ENGINE": "external",
            "HARNESS_DATA_DIR": str(checkout.data_dir / "not here"),
            "VAULT_ADDR": root.address,
            "VAULT_TOKEN": str(root.client.token),
        }
        own = dict(checkout.environment)
        checkout.environment |= elsewhere
        kinds = {each["kind"] for each in troubles(checkout)}
        assert kinds == {"role-id-missing", "secret-id-missing"}
        checkout.environment["VAULT_NAMESPACE"] = "nowhere"
        assert [each["kind"] for each in troubles(checkout)] == ["namespace-elsewhere"]
        checkout.environment.clear()
        checkout.environment |= own

        assert (everything(neighbour), everything(root)) == before
        assert above.request("GET", "sys/namespaces/team-b")["data"] == named


def test_a_missing_or_sealed_namespace_is_one_clear_error(place: Place, root: VaultAdmin) -> None:
    checkout = place.checkout
    checkout.run("seed")
    checkout.environment["VAULT_NAMESPACE"] = "nowhere"
    for line in (["seed"], ["rotate.secret-id", "backend"], ["unlock", "backend"]):
        printed = checkout.run(*line, code=6)
        assert "there is no namespace nowhere" in printed
        assert "what to do: correct VAULT_NAMESPACE" in printed
    assert [each["kind"] for each in troubles(checkout)] == ["namespace-elsewhere"]
    assert "there is no namespace nowhere" in checkout.run("status")
    make = ["vault", "--", "namespace", "create", "-namespace=root"]
    assert " ".join([*make, "nowhere"]) in checkout.run("audit.report", code=6)

    checkout.environment["VAULT_NAMESPACE"] = "sealed"
    seal = 'seal "shamir" {\n shares = 1\n threshold = 1\n}'
    made = root.request("POST", "sys/namespaces/sealed", seal=seal)["data"]
    for line in (
        ["seed"],
        ["rotate.secrets", "database"],
        ["break.revoke", "backend"],
        ["audit.report"],
    ):
        printed = checkout.run(*line, code=6)
        assert "is sealed" in printed
        assert "namespace unseal -namespace=" in printed
    assert [each["kind"] for each in troubles(checkout)] == ["namespace-sealed"]
    checkout.run(
        "vault", "--", "namespace", "unseal", "-namespace=root", "sealed", *made["key_shares"]
    )
    assert [each["kind"] for each in troubles(checkout)] == ["namespace-missing"]

    checkout.environment["VAULT_NAMESPACE"] = "sys"
    assert "one of Vault's own paths" in checkout.run("seed", code=4)


TASKS = (
    "seed",
    "seed --overwrite --yes",
    "status",
    "doctor",
    "doctor --production",
    "env backend",
    "unlock backend",
    "rotate.secret-id backend",
    "rotate.secrets database",
    "rotate.rollback database",
    "migrate ENV --overwrite",
    "migrate ENV --undo",
    "audit",
    "audit.report",
    "watch --once",
    "break.revoke backend",
    "vault -- kv list ecommerce/",
    "backup --to BACKUPS",
    "seal",
    "doctor",
    "unseal",
    "root.revoke",
    "doctor",
    "seed",
    "rotate.secret-id backend",
    "rotate.secrets database",
    "unlock backend",
    "audit.report",
    "backup --to BACKUPS",
    "root.generate",
)


def test_every_request_of_every_task_names_it(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Only requests about the whole server go outside the namespace, as a recorder sees them."""
    checkout, here = place.checkout, place.here
    history = History()
    record = StackRecord.load(checkout.data_dir)
    assert record.endpoints is not None
    real = record.endpoints.node.address
    given: list[dict[str, str]] = []
    passphrase = "passphrase-of-a-backup-4711"
    (tmp_path / "ENV").write_text("SECRET_KEY=value-of-the-file-4711\n")
    monkeypatch.setattr(os, "execve", lambda _program, _words, environ: given.append(environ))
    for name, value in {**checkout.environment, "HARNESS_BACKUP_PASSPHRASE": passphrase}.items():
        monkeypatch.setenv(name, value)
    with (
        closing(Recorder(history, Secrets(), upstream=real.removeprefix("http://"))) as recorder,
        leading(checkout, real, f"http://127.0.0.1:{recorder.port}"),
    ):
        ended: dict[str, object] = {}
        found: dict[str, list[str]] = {}
        keyring = Keyring.load(checkout.data_dir / "init.json")
        known = {*keyring.keys, keyring.root_token}
        for line in TASKS:
            words = [
                str(tmp_path / word) if word in {"ENV", "BACKUPS"} else word
                for word in line.split()
            ]
            monkeypatch.setattr(sys, "argv", ["vault-harness", *words])
            seen = len(history.exchanges)
            try:
                run(words)
            except SystemExit as ending:
                ended[line] = ending.code
                found[line] = places(ending, known | {passphrase}, of=__file__)
            printed = "".join(capsys.readouterr())
            assert ended.get(line, 0) in {0, 1}, (line, printed)
            assert line == "env backend" or len(history.exchanges) > seen, (line, printed)
        assert recorder.defects == []
    assert {line for line, code in ended.items() if code} <= {"doctor --production", "doctor"}
    assert {line: at for line, at in found.items() if at} == {}
    told = given[0]
    assert (told["VAULT_NAMESPACE"], told["BAO_NAMESPACE"]) == (here, here)

    stray = {
        (exchange.method, exchange.path, exchange.namespace)
        for exchange in history.exchanges
        if exchange.namespace != here
        and not (WHOLE_SERVER.fullmatch(exchange.path) and not exchange.namespace)
        and not (exchange.path in OF_THE_TOKEN and not exchange.namespace)
    }
    # The checks of the namespaces above, and their creation.
    on_the_way = {
        ("GET", "sys/internal/ui/mounts", place.above),
        ("GET", "sys/internal/ui/mounts", f"{place.above}/team-a"),
        ("POST", "sys/namespaces/team-a", place.above),
        ("POST", "sys/namespaces/shop", f"{place.above}/team-a"),
    }
    assert stray == on_the_way
    inside = {exchange.path for exchange in history.exchanges if exchange.namespace == here}
    assert not {path for path in inside if WHOLE_SERVER.fullmatch(path)}
    for path in ("ecommerce/data/backend/database", "sys/policies/acl/backend", "sys/mounts"):
        assert path in inside
    for path in ("auth/approle/login", "auth/approle/role/backend", "sys/locked-users"):
        assert path in inside
