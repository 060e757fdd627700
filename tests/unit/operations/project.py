"""A project that is migrated into a Vault in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tests.unit.operations.kv_in_memory import KvInMemory
from vault_harness.operator.migrate import (
    ClientSettings,
    Outcome,
    VariableMap,
    load_map,
    make_plan,
    migrate,
    previous_versions,
    read,
    undo,
)

Checkpoint = Callable[[str], None]


class Stop(Exception):
    """Raised to end a run at a step."""


def ends_at(step: int) -> Checkpoint:
    """Return a checkpoint that ends a run at its n-th step."""
    left = iter(range(step - 1, -1, -1))

    def stop(_: str) -> None:
        if next(left, None) == 0:
            raise Stop

    return stop


def goes_on(_: str) -> None:
    """Let the run go on."""


class Project:
    """A dotenv file; `places` says where its variables go: ``{"ONE": "a:ONE"}``."""

    def __init__(
        self, folder: Path, text: str, places: Mapping[str, str], **before: dict[str, str]
    ) -> None:
        self.kv = KvInMemory(before)
        self.folder, self.data_dir = folder, folder / "vault-data"
        self.env_file = folder / ".env"
        self.env_file.write_text(text)
        self.places = places
        self.settings = ClientSettings(
            "http://127.0.0.1:1", "backend", folder / "role", folder / "secret", "ecommerce"
        )

    def migrate(
        self,
        file: Path | None = None,
        *,
        overwrite: bool = False,
        role: str = "backend",
        checkpoint: Checkpoint = goes_on,
    ) -> Outcome:
        file = file or self.env_file
        lines = [f'{name} = "{place}"' for name, place in self.places.items()]
        (self.folder / "map.toml").write_text("\n".join(["[variables]", *lines]))
        plan = make_plan(
            self.kv,
            read(file),
            load_map(self.folder / "map.toml", default=VariableMap.guide()),
            written=previous_versions(self.kv, self.data_dir),
            overwrite=overwrite,
        )
        settings = replace(self.settings, role=role)
        return migrate(self.kv, plan, file, settings, data_dir=self.data_dir, checkpoint=checkpoint)

    def undo(self, file: Path | None = None, checkpoint: Checkpoint = goes_on) -> Outcome:
        file = file or self.env_file
        return undo(self.kv, file, data_dir=self.data_dir, checkpoint=checkpoint)

    def change(self, path: str, **keys: str) -> None:
        """Write as somebody else."""
        now = self.kv.read(path)
        self.kv.write(path, {**now.data, **keys}, cas=now.version)

    def in_vault(self) -> dict[str, dict[str, str]]:
        found = {path: self.kv.read(path) for path in self.kv.paths()}
        return {path: dict(each.data) for path, each in found.items() if each.state == "present"}
