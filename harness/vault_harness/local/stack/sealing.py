"""The key of a Vault that unseals itself: in a file, in another Vault, or in a cloud.

``seal/`` in the data directory holds the stanza and a static key; ``holder/`` the other Vault. If
the key is lost, the Vault is lost: recovery keys decrypt nothing.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.errors import SettingsError, StackError, named
from vault_harness.local.engine.configuration import check_seal_of_product
from vault_harness.local.engine.provider import (
    HOLDER_NAME,
    Endpoints,
    SealCheck,
    StackProvider,
    holds_data,
)
from vault_harness.local.engine.seal import (
    ACCESS_KEYS_NAME,
    CLOUD_SEALS,
    SEAL_DIRECTORY,
    SealKind,
    cloud_stanza,
    seal_stanza,
    stanza_path,
    static_key_path,
)
from vault_harness.local.stack.launching import KEY_NAME, transit_seal
from vault_harness.local.stack.opening import Opening
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import keep_beside

_NO_URL = re.compile(r"%(?![0-9A-Fa-f]{2})|[\x00-\x1f\x7f]")
_TOKEN = "holder-token"  # noqa: S105 -- the name of a file


def seal_here(data_dir: Path) -> SealKind:
    """Return the seal of the stanza, else of the record."""
    stanza = seal_stanza(data_dir)
    enabled = [kind for kind, body in stanza.items() if not body.get("disabled")]
    return cast("SealKind", next(iter([*enabled, *stanza]), StackRecord.load(data_dir).seal))


def chosen_seal(data_dir: Path, wanted: SealKind | None) -> SealKind:
    present = seal_here(data_dir)
    if not holds_data(data_dir):
        return wanted or present
    if wanted is not None and wanted != present:
        raise StackError(
            f"this Vault has the seal {present}, and {wanted} is asked for",
            looked_at=str(data_dir),
            remedy=f"{named('up')} starts it with the seal that it has; then "
            f"{named('seal.migrate', wanted)} exchanges it",
        )
    return present


def check_product(kind: SealKind, provider: StackProvider) -> None:
    if kind == "static":
        dialect, origin = provider.whose_server()
        check_seal_of_product(kind, dialect, looked_at=origin)


def check_cloud(kind: SealKind, provider: StackProvider, data_dir: Path) -> SealCheck:
    """Let the server test a cloud seal. Changes nothing."""
    return provider.check_seal({kind: cloud_stanza(kind, seal_stanza(data_dir).get(kind, {}))})


def prepare(
    kind: SealKind, provider: StackProvider, data_dir: Path, *, full_start: bool = False
) -> None:
    """Give Vault the key of its seal before it starts. Safe to repeat.

    `full_start` lets the environment override the recorded key of a cloud. Only for a checked start
    of all nodes: a shell may name a region for other reasons.
    """
    if kind == "shamir":
        return
    if kind in CLOUD_SEALS and kind in seal_stanza(data_dir) and not full_start:
        return
    stanza = key_at_hand(kind, provider, data_dir, new=not holds_data(data_dir))
    write_stanza(data_dir, {kind: stanza})


def write_stanza(data_dir: Path, stanza: Mapping[str, Any]) -> None:
    """Write the stanza for Vault's next start; empty means Shamir's seal."""
    path = stanza_path(data_dir)
    if stanza:
        files.private_directory(path.parent)
        files.write_private(path, json.dumps(stanza, indent=2) + "\n")
    else:
        path.unlink(missing_ok=True)


def key_at_hand(
    kind: SealKind, provider: StackProvider, data_dir: Path, *, new: bool
) -> dict[str, Any]:
    """Make a key available, in its file or at the running holder. Return the seal's stanza.

    The stanza contains no secret. `new` allows to make a missing key.
    """
    if kind in CLOUD_SEALS:
        return cloud_stanza(kind, seal_stanza(data_dir).get(kind, {}))
    _check_nameable(provider, data_dir / SEAL_DIRECTORY)
    directory = files.private_directory(data_dir / SEAL_DIRECTORY)
    if kind == "static":
        return _static(static_key_path(data_dir), new=new)
    return _transit(provider, directory, data_dir, new=new)


def static_key(data_dir: Path) -> str:
    """Return the key of an enabled static seal, base64; else empty."""
    if "static" not in seal_stanza(data_dir):
        return ""
    path = static_key_path(data_dir)
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise _key_missing(path, f"{named('restore.keys')} puts it back from a backup") from None


def check_key(kind: SealKind, data_dir: Path) -> None:
    """Check that a seal's key is where a server looks. Asks no cloud."""
    home = data_dir / HOLDER_NAME
    if kind == "static":
        static_key(data_dir)
    elif kind == "transit" and Opening(home).keyring() is None:
        raise _holder_missing(home)


def put_key_aside(kind: SealKind, data_dir: Path) -> Path | None:
    """Rename a former seal's key, which old snapshots need, and return its path.

    A cloud's access keys are deleted: the cloud can issue others.
    """
    if kind == "transit":
        home = data_dir / HOLDER_NAME
        return home if home.exists() else None
    if kind == "awskms":
        (data_dir / SEAL_DIRECTORY / ACCESS_KEYS_NAME).unlink(missing_ok=True)
    path = static_key_path(data_dir)
    if kind != "static" or not path.exists():
        return None
    kept = keep_beside(path)
    files.led_to(path).unlink()
    return kept


def _check_nameable(provider: StackProvider, directory: Path) -> None:
    """Refuse a folder that cannot be in a ``file://`` URL, which would be taken for the key."""
    wrong = _NO_URL.search(str(directory))
    if provider.name == "process" and wrong is not None:
        raise SettingsError(
            f"a server does not find its seal's key in a folder that has {wrong[0]!r} in its name",
            looked_at=str(directory),
            remedy="give that folder another name, or let HARNESS_DATA_DIR name one elsewhere",
        )


def _static(path: Path, *, new: bool) -> dict[str, Any]:
    if not path.exists():
        if not new:
            raise _key_missing(path, f"{named('restore.keys')} puts it back from a backup")
        files.write_private(files.led_to(path), base64.b64encode(secrets.token_bytes(32)))
    return {"current_key_id": KEY_NAME, "current_key": f"file://{path.absolute()}"}


def _transit(
    provider: StackProvider, directory: Path, data_dir: Path, *, new: bool
) -> dict[str, Any]:
    home = data_dir / HOLDER_NAME
    data, opening = home / "data", Opening(home)
    if not new and (not data.is_dir() or opening.keyring() is None):
        raise _holder_missing(home)

    def discard() -> None:
        """Delete only the holder; the Vault whose seal is migrated may be in use."""
        with contextlib.suppress(OSError):  # it has ended; only the record failed on a full disk
            provider.end_holder()
        shutil.rmtree(data)

    holder = provider.start_holder()
    endpoints = Endpoints(nodes=(holder,), toxiproxy="")
    if opening.keyring() is None and opening.seal_status(endpoints).initialised:
        raise _holder_without_keys(home, opening.keyring_path)
    opening.open(discard, endpoints)
    keyring = opening.keyring()
    assert keyring is not None  # opened with it a moment ago
    with contextlib.closing(VaultAdmin(holder.address, keyring.root_token)) as root:
        # The address for Vault may differ from the one for this machine.
        return transit_seal(root, directory / _TOKEN, address=base_url(holder.upstream))


def _holder_missing(home: Path) -> StackError:
    return _key_missing(home, f"put {home.name} back from where it was copied to")


def _holder_without_keys(home: Path, keyring: Path) -> StackError:
    """Return the error for a new holder without keys. An old snapshot may need its folder."""
    return StackError(
        "the Vault that is to hold the seal's key is initialised, and its own keys are not here: a "
        "run that was ended half-way may have lost them. The seal does not depend on it yet",
        looked_at=str(keyring),
        remedy=f"{named('down')}, give the folder {home} another name, then repeat this, "
        "which makes a new one; all other data stays where it is",
    )


def _key_missing(path: Path, back: str) -> StackError:
    return StackError(
        "this Vault unseals itself, and the key for that is not here",
        looked_at=str(path),
        remedy=f"{back}; the recovery keys cannot replace it. Keep the data until it turns up",
    )
