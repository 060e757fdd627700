from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.mounts import new_kv
from vault_harness.errors import OperatorError, SettingsError, StackError
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import Stack
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.kv import Kv, stored_size
from vault_harness.operator.migrate import (
    ClientSettings,
    Outcome,
    Plan,
    VariableMap,
    make_plan,
    migrate,
    parse,
    previous_versions,
    read,
    undo,
)

NASTY = """\
# an application's settings
export SECRET_KEY='it'"'"'s # not a comment'
DEBUG=False  # a comment
DB_PASSWORD="first"
DB_PASSWORD='p\\\\ss"w\u00f6rd'
DATABASE_URL="postgres://u:p@h/db?options=-c%20x#frag"
STRIPE_WEBHOOK_SECRET="-----BEGIN KEY-----\r
line two\\tof it
-----END KEY-----"
OPENAI_API_KEY=\u00a0sk-\u2028${NOT_EXPANDED}
EMAIL_HOST_PASSWORD=
COMPANY_MOTTO=unknown
"""
VALUES = {
    "backend/django": {"SECRET_KEY": "it's # not a comment", "DEBUG": "False"},
    "backend/database": {
        "DB_PASSWORD": 'p\\ss"w\u00f6rd',
        "DATABASE_URL": "postgres://u:p@h/db?options=-c%20x#frag",
    },
    "shared/stripe": {
        "STRIPE_WEBHOOK_SECRET": "-----BEGIN KEY-----\r\nline two\tof it\n-----END KEY-----"
    },
    "ai/openai": {"OPENAI_API_KEY": "\u00a0sk-\u2028${NOT_EXPANDED}"},
    "shared/email": {"EMAIL_HOST_PASSWORD": ""},
}


class Project:
    """An application's directory with a dotenv file and a mount for it."""

    def __init__(self, directory: Path, kv: Kv) -> None:
        self.kv = kv
        self.data_dir = directory / "vault-data"
        self.data_dir.mkdir()
        self.env_file = directory / ".env"
        self.env_vault = directory / ".env.vault"
        self.settings = ClientSettings(
            kv.op.address, "backend", self.data_dir / "role", self.data_dir / "secret", kv.mount
        )
        self.arguments = {
            "address": kv.op.address,
            "token": kv.op.client.token,
            "mount": kv.mount,
            "env_file": str(self.env_file),
            "data_dir": str(self.data_dir),
        }

    def write(self, text: str) -> None:
        self.env_file.write_bytes(text.encode())

    def plan(self, *, overwrite: bool = False) -> Plan:
        return make_plan(
            self.kv,
            read(self.env_file),
            VariableMap.guide(),
            written=previous_versions(self.kv, self.data_dir),
            overwrite=overwrite,
        )

    def migrate(self, plan: Plan | None = None, *, keep: bool = False) -> Outcome:
        plan = plan or self.plan()
        return migrate(
            self.kv, plan, self.env_file, self.settings, data_dir=self.data_dir, keep=keep
        )

    def undo(self) -> Outcome:
        return undo(self.kv, self.env_file, data_dir=self.data_dir)

    def in_vault(self) -> dict[str, dict[str, str]]:
        found = {path: self.kv.read(path) for path in self.kv.paths()}
        return {path: dict(s.data) for path, s in found.items() if s.state == "present"}


@pytest.fixture
def project(tmp_path: Path, kv: Kv) -> Project:
    return Project(tmp_path, kv)


def test_a_nasty_file_arrives_byte_for_byte(project: Project) -> None:
    project.write(NASTY)
    plan = project.plan()
    project.migrate(plan)
    assert project.in_vault() == VALUES
    assert plan.unknown == ("COMPANY_MOTTO",)
    assert any(note.name == "DB_PASSWORD" and "2 times" in note.text for note in plan.notes)


def test_the_original_is_kept_and_its_copy_is_private(project: Project) -> None:
    project.write(NASTY)
    backup = project.migrate().backup
    assert project.env_file.read_bytes() == backup.read_bytes() == NASTY.encode()
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


def test_env_vault_has_addresses_and_paths_and_no_secret(project: Project) -> None:
    project.write(NASTY)
    text = project.migrate().env_vault.read_text()
    assert {name: v.value for name, v in parse(text).variables.items()} == {
        "USE_VAULT": "true",
        "VAULT_ADDR": project.kv.op.address,
        "VAULT_MOUNT_POINT": project.kv.mount,
        "VAULT_ROLE_ID_FILE": str(project.data_dir / "role"),
        "VAULT_SECRET_ID_FILE": str(project.data_dir / "secret"),
    }


def test_a_second_run_changes_nothing(project: Project) -> None:
    """It writes no version, no copy and no record."""
    project.write(NASTY)
    project.migrate()
    before = sorted(project.env_file.parent.rglob("*"))
    assert project.migrate().changed == {}
    assert sorted(project.env_file.parent.rglob("*")) == before
    assert {project.kv.read(path).version for path in VALUES} == {1}


def test_keep_and_overwrite_decide_a_conflict(project: Project) -> None:
    """`keep` keeps Vault's value and writes the others; `overwrite` takes the file's."""
    project.kv.write("backend/database", {"DB_PASSWORD": "vault's"}, cas=0)
    project.write("SECRET_KEY=x\nDB_PASSWORD=file's\n".replace("file's", "file"))
    with pytest.raises(OperatorError, match="another value than Vault") as refusal:
        project.migrate()
    assert "vault's" not in str(refusal.value)
    assert project.in_vault() == {"backend/database": {"DB_PASSWORD": "vault's"}}
    project.migrate(keep=True)
    assert project.in_vault() == {
        "backend/django": {"SECRET_KEY": "x"},
        "backend/database": {"DB_PASSWORD": "vault's"},
    }
    project.migrate(project.plan(overwrite=True))
    assert project.in_vault()["backend/database"] == {"DB_PASSWORD": "file"}


def test_a_write_between_plan_and_migration_is_seen(project: Project) -> None:
    project.write("SECRET_KEY=x\n")
    plan = project.plan()
    project.kv.write("backend/django", {"SECRET_KEY": "somebody's"}, cas=0)
    with pytest.raises(OperatorError, match="SECRET_KEY"):
        project.migrate(plan)
    assert project.in_vault() == {"backend/django": {"SECRET_KEY": "somebody's"}}


def test_a_write_of_another_key_in_the_last_moment_survives(project: Project) -> None:
    """If check-and-set fails the secret is read again, and both writers' keys stay."""
    project.write("SECRET_KEY=x\n")

    def intrude(step: str) -> None:
        if (
            step == "about to write backend/django"
            and project.kv.read("backend/django").version < 2
        ):
            now = project.kv.read("backend/django")
            project.kv.write(
                "backend/django", {**now.data, f"K{now.version}": "1"}, cas=now.version
            )

    migrate(
        project.kv,
        project.plan(),
        project.env_file,
        project.settings,
        data_dir=project.data_dir,
        checkpoint=intrude,
    )
    assert project.in_vault()["backend/django"] == {"K0": "1", "K1": "1", "SECRET_KEY": "x"}


def test_placeholders_of_the_blueprint_are_replaced(shared: Stack, tmp_path: Path) -> None:
    """A person's value is not."""
    mount = "seeded"
    default = Blueprint.default()
    blueprint = default.model_copy(update={"secrets": {mount: default.secrets["ecommerce"]}})
    placeholder = blueprint.secrets[mount]["backend/django"]["SECRET_KEY"].new()
    shared.operator.request("POST", f"sys/mounts/{mount}", type="kv", options={"version": "2"})
    kv = Kv(shared.operator, mount)
    kv.write("backend/django", {"SECRET_KEY": placeholder}, cas=0)
    kv.write("backend/redis", {"REDIS_PASSWORD": "a person's"}, cas=0)
    (tmp_path / ".env").write_text("SECRET_KEY=a\nREDIS_PASSWORD=b\n")
    plan = make_plan(
        kv,
        read(tmp_path / ".env"),
        VariableMap.guide(),
        blueprint=blueprint,
    )
    assert {p.name: p.action for p in plan.placements} == {
        "SECRET_KEY": "change",
        "REDIS_PASSWORD": "conflict",
    }


def test_derived_urls_follow_their_password(stack: Stack, tmp_path: Path) -> None:
    """URLs that the blueprint derives from a password follow it; undo restores both."""
    kv = Kv(stack.operator)
    env_file = tmp_path / ".env"
    env_file.write_text("REDIS_PASSWORD=migrated\nCELERY_BROKER_URL=redis://own/1\n")
    before = {path: dict(kv.read(path).data) for path in ("backend/redis", "backend/celery")}
    plan = make_plan(kv, read(env_file), VariableMap.guide(), blueprint=stack.blueprint)
    settings = ClientSettings(kv.op.address, "backend", tmp_path / "r", tmp_path / "s", kv.mount)
    migrate(kv, plan, env_file, settings, data_dir=tmp_path)
    assert kv.read("backend/redis").data["REDIS_URL"] == "redis://:migrated@redis:6379/0"
    assert kv.read("backend/celery").data == {
        "CELERY_BROKER_URL": "redis://own/1",
        "CELERY_RESULT_BACKEND": "redis://:migrated@redis:6379/2",
    }
    undo(kv, env_file, data_dir=tmp_path)
    assert before == {path: dict(kv.read(path).data) for path in before}


def test_a_mount_of_another_kind_is_refused(shared: Stack, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECRET_KEY=x\n")
    for mount in ("sys", "nowhere"):
        with pytest.raises(OperatorError, match="not a KV v2 mount"):
            previous_versions(Kv(shared.operator, mount), tmp_path)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(value=st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_value_is_the_same_in_vault(project: Project, value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    project.write(f"SECRET_KEY='{escaped}'\n")
    project.migrate(project.plan(overwrite=True))
    assert project.in_vault()["backend/django"] == {"SECRET_KEY": value}


@pytest.mark.slow  # a process that dies for each step
def test_a_migration_killed_after_any_step_is_finished_by_the_next(
    project: Project, killable: Callable[..., Any]
) -> None:
    project.kv.write("backend/django", {"OTHER": "mine"}, cas=0)
    project.write("SECRET_KEY=x\nDB_PASSWORD=y\n")
    wanted = {
        "backend/django": {"OTHER": "mine", "SECRET_KEY": "x"},
        "backend/database": {"DB_PASSWORD": "y"},
    }
    step, ended = 1, killable("migrate", 1, **project.arguments)
    while ended.killed:
        assert project.env_file.read_text() == "SECRET_KEY=x\nDB_PASSWORD=y\n"
        assert project.in_vault()["backend/django"]["OTHER"] == "mine"
        finished = killable("migrate", None, **project.arguments)
        assert finished.error is None
        assert project.in_vault() == wanted
        assert project.env_vault.exists()
        # Then undo it, killed once after each of its own steps, and begin again.
        undone = killable("undo", step, **project.arguments)
        while undone.killed:
            undone = killable("undo", None, **project.arguments)
        assert undone.error is None
        assert project.in_vault() == {"backend/django": {"OTHER": "mine"}}
        step += 1
        ended = killable("migrate", step, **project.arguments)
    assert ended.error is None
    assert step > 8


def test_unknown_names_alone_are_not_called_migrated(project: Project) -> None:
    project.write("COMPANY_MOTTO=x\n")
    with pytest.raises(SettingsError, match="nothing was migrated") as refusal:
        project.migrate()
    assert "COMPANY_MOTTO" in refusal.value.looked_at
    assert "keep it" in refusal.value.remedy
    assert [path.name for path in project.env_file.parent.iterdir()] != []
    assert not project.env_vault.exists()


def test_undo_does_without_the_copy_where_it_can(project: Project) -> None:
    project.write("SECRET_KEY=x\n")
    outcome = project.migrate()
    outcome.backup.unlink()
    project.env_file.write_bytes(project.env_vault.read_bytes())
    undone = project.undo()
    assert project.in_vault() == {}
    assert any(str(outcome.backup) in line for line in undone.kept)


def test_undo_names_the_copy_that_it_needs(project: Project, killable: Callable[..., Any]) -> None:
    """After a kill only the copy knows what was written: the remedy is to put it back."""
    project.write("SECRET_KEY=x\n")
    step = 1
    while not any("wrote" in s for s in killable("migrate", step, **project.arguments).steps):
        step += 1
    (record,) = (project.data_dir / "migrations").glob("*.json")
    copy = Path(json.loads(record.read_text())["backup"])
    content = copy.read_bytes()
    copy.unlink()
    with pytest.raises(StackError, match="copy of the original") as refusal:
        project.undo()
    assert str(copy) in refusal.value.looked_at
    copy.write_bytes(content)
    project.undo()
    assert project.in_vault() == {}


@pytest.mark.parametrize("configured", [0, 150_000])
def test_a_value_that_is_too_large_is_refused_first(
    engine: Engine, tmp_path: Path, configured: int
) -> None:
    """The plan knows raft's limit, and so nothing is written."""
    more = {"storage": {"raft": {"max_entry_size": str(configured)}}} if configured else {}
    spec = NodeSpec(name="raft", directory=tmp_path / "raft", storage="raft", extra=more)
    node = engine.node(spec)
    node.start()
    op = VaultAdmin(node.address)
    keyring = op.init()
    op.unseal(keyring)
    kv = new_kv(op.with_token(keyring.root_token), "kv")
    project = Project(tmp_path, kv)
    limit = configured or 2**20
    project.write(f"DEBUG=1\nSECRET_KEY={'x' * limit}\n")
    with pytest.raises(OperatorError, match=f"SECRET_KEY is too large: it has {limit} b") as told:
        project.plan()
    assert f"max_entry_size of raft storage is {limit}" in told.value.looked_at
    assert "xx" not in str(told.value)
    assert project.in_vault() == {}

    # Just below the limit Vault takes the value. Go's JSON writes each of its letters in six bytes.
    taken, around = kv.limit()[0], len('{"SECRET_KEY":""}')
    project.write(f"SECRET_KEY='{'<' * ((taken - around) // 6)}'\n")
    assert project.migrate().changed == {"backend/django": 1}
    for letter in ("<", "\u2028", "\n", "\u00e9"):
        own = stored_size({"A": letter}) - stored_size({"A": ""})
        with pytest.raises(OperatorError, match="is larger than this Vault takes"):
            kv.write("x", {"A": letter * (limit // own)}, cas=0)
    node.kill()


def test_an_empty_variable_replaces_no_value_of_the_blueprint(stack: Stack, tmp_path: Path) -> None:
    kv = Kv(stack.operator)
    env_file = tmp_path / ".env"
    env_file.write_text("EMAIL_HOST_PASSWORD=\n")
    settings = ClientSettings(kv.op.address, "backend", tmp_path / "r", tmp_path / "s", kv.mount)
    before = kv.read("shared/email").data

    def run(*, overwrite: bool = False, keep: bool = False) -> object:
        plan = make_plan(
            kv,
            read(env_file),
            VariableMap.guide(),
            blueprint=stack.blueprint,
            overwrite=overwrite,
        )
        migrate(kv, plan, env_file, settings, data_dir=tmp_path, keep=keep)
        return kv.read("shared/email").data["EMAIL_HOST_PASSWORD"]

    with pytest.raises(OperatorError, match="another value than Vault") as told:
        run()
    assert "EMAIL_HOST_PASSWORD: it is empty" in told.value.looked_at
    assert run(keep=True) == before["EMAIL_HOST_PASSWORD"]
    assert run(overwrite=True) == ""


def test_a_secret_written_again_with_the_same_version_stays(project: Project) -> None:
    """A secret that was deleted and written again has the same version number."""
    project.write("SECRET_KEY=ours\n")
    project.migrate()
    project.kv.op.request("DELETE", f"{project.kv.mount}/metadata/backend/django")
    project.kv.write("backend/django", {"SECRET_KEY": "a person's"}, cas=0)
    project.write("SECRET_KEY=newer\n")
    assert [each.name for each in project.plan().conflicts] == ["SECRET_KEY"]
    outcome = project.undo()
    assert outcome.changed == {}
    assert project.in_vault() == {"backend/django": {"SECRET_KEY": "a person's"}}
