"""Tasks that keep the local stack under a name, and bring it back."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

from vault_harness.cli.backup import keys_here
from vault_harness.cli.backup_options import Locking, Opening
from vault_harness.cli.command import command
from vault_harness.cli.common import local_stack, warn_of_git, wrong
from vault_harness.cli.printing import plural, say
from vault_harness.cli.restore import put_into
from vault_harness.errors import SettingsError, named

if TYPE_CHECKING:
    from pathlib import Path

    from vault_harness.local.stack.local import LocalStack

_TO = "the folder that holds saves, default vault-saves beside the data directory"


@command(
    "save",
    group="every day",
    examples=("save before-the-bug", "save before-the-bug --recipient age1..."),
    fields=("recipient", "to", "passphrase_file"),
    help={"name": "letters, digits, dots and dashes", "to": _TO},
)
def save(locking: Locking, name: str) -> None:
    """Save the stack under a name, encrypted, for load.

    A save has all of Vault, its keys, and the ids of the AppRoles. The stack goes on meanwhile. It
    is a backup that `backup.verify` and `restore` can read too. Toxics, certificates and logs are
    not in it.
    """
    from vault_harness.operator.backup import make_backup
    from vault_harness.operator.backup.saves import PART, Saved, check_saveable

    stack = local_stack()
    place = _place(stack, name, locking.to)
    if place.exists():
        raise SettingsError(
            f"there is a save {name} already",
            looked_at=str(place),
            remedy="choose another name, or remove that folder",
        )
    stack.endpoints()
    check_saveable(stack.data_dir)
    lock = locking.lock()
    with stack.held(), closing(stack.operator()) as op:
        made = make_backup(
            *(op, keys_here(stack), place.parent, lock),
            mounts=stack.blueprint().mounts,
            name=place.name,
            others=lambda: {PART: Saved.of(stack).to_json()},
        )
    say(f"{made.directory}: {plural(made.secrets, 'secret')}, locked with {made.locked_with}")
    say("a person who can open it has this Vault's root token")
    warn_of_git(made.directory, "the save", pattern=f"{made.directory.parent.name}/")
    say(f"next: {named('load', made.directory.name)}, here or where you copied the folder to")


@command(
    "load",
    group="every day",
    examples=("load before-the-bug", "load before-the-bug --overwrite"),
    fields=("identity", "to", "passphrase_file"),
    help={
        "name": "the name that was given to save",
        "to": _TO,
        "overwrite": "replace the content of this Vault; a snapshot of it and its keys are kept",
    },
)
def load(opening: Opening, name: str, overwrite: bool = False) -> None:
    """Bring back a saved stack: start it, and put everything in.

    A new Vault gets the seal, the number of nodes and TLS of the saved one. A Vault that has
    something in it is replaced only with --overwrite. After an interruption, the same command goes
    on.
    """
    from vault_harness.operator.backup import Backup
    from vault_harness.operator.backup.saves import Saved

    stack = local_stack()
    place = _place(stack, name, opening.to)
    if not place.is_dir():
        known = sorted(each.parent.name for each in place.parent.glob("[!.]*/manifest.json"))
        raise SettingsError(
            f"there is no save {name}",
            looked_at=str(place.parent),
            remedy=f"name one of {', '.join(known)}" if known else named("save", name),
        )
    found, opener = Backup.load(place), opening.opener()
    saved = Saved.load(found, opener)
    opened = found.open(opener)
    say(f"{place} opens and is whole: {plural(len(opened.contents.secrets), 'secret')}")
    saved.start(stack, opened.keys)

    def put_files(step: str) -> None:
        # Before the restore is over: after it, the same command would find a full Vault.
        if step == "keyring in place":
            saved.put_files(stack.data_dir)

    done = put_into(stack, opened, overwrite=overwrite, checkpoint=put_files)
    for line in _unlike(stack, saved.blueprint):
        say(line)
    say(f"next: {named('status')}")
    if done.comparison.different:
        raise SystemExit(1)


def _unlike(stack: LocalStack, blueprint: str) -> list[str]:
    from pathlib import Path

    from vault_harness.local.vault import approle

    told = []
    if blueprint and not Path(blueprint).is_file():
        told.append(
            f"its blueprint {blueprint} is not here: {named('seed', '--blueprint', 'FILE')}"
        )
    ids = stack.ids_directory()
    with closing(stack.operator()) as op:
        there = [path.name.removesuffix("-role-id") for path in sorted(ids.glob("*-role-id"))]
        ended = [role for role in there if not approle.credentials_work(op, role, ids)]
    if ended:
        told.append(f"the ids of {', '.join(ended)} have ended: {named('seed')} makes new ones")
    return told


def _place(stack: LocalStack, name: str, to: str | None) -> Path:
    from pathlib import Path

    if not re.fullmatch(r"\w[\w.-]*", name):
        raise wrong(
            f"{name!r} is no name of a save",
            "use letters, digits, dots and dashes",
        )
    return (Path(to) if to else stack.data_dir.parent / "vault-saves") / name
