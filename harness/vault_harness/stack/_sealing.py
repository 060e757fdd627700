"""What opens a Vault that unseals itself: a key in a file, or another Vault that holds it.

Everything is below the data directory: the stanza and the static key in ``seal/``, the other Vault
with a keyring of its own in ``holder/``. Whoever loses the key has lost the Vault, whatever keys
the keyring has: a recovery key decrypts nothing.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
from pathlib import Path
from typing import Any, cast

from vault_harness import files
from vault_harness.commands import named
from vault_harness.engine import (
    HOLDER_NAME,
    SEAL_DIRECTORY,
    Endpoints,
    SealingProvider,
    SealKind,
    StackProvider,
    holds_data,
    seal_stanza,
    stanza_path,
)
from vault_harness.errors import CapabilityMissing, StackError
from vault_harness.stack._holder import KEY_NAME, transit_seal
from vault_harness.stack._opening import Opening
from vault_harness.vault import Operator

_STATIC_KEY = "static.key"
_TOKEN = "holder-token"  # noqa: S105 -- the name of a file


def seal_here(data_dir: Path, recorded: str) -> SealKind:
    """How the Vault of a data directory is sealed, also where its record was lost."""
    stanza = seal_stanza(data_dir)
    return cast("SealKind", next(iter(stanza), recorded))


def chosen_seal(data_dir: Path, recorded: str, wanted: SealKind | None) -> SealKind:
    """The seal that a Vault has, or a new one shall have.

    Raises:
        StackError: There is a Vault, and it has another one than is asked for.
    """
    present = seal_here(data_dir, recorded)
    if not holds_data(data_dir):
        return wanted or present
    if wanted is not None and wanted != present:
        raise StackError(
            f"this Vault has the seal {present}, and {wanted} is asked for",
            looked_at=str(data_dir),
            remedy=f"{named('up')} starts it with the seal that it has; a new Vault finds its "
            "place in another folder (HARNESS_DATA_DIR)",
        )
    return present


def check_engine(kind: SealKind, provider: StackProvider) -> None:
    """See that an engine can run a Vault of that seal.

    Raises:
        CapabilityMissing: It knows Shamir's seal alone.
    """
    if kind != "shamir" and not isinstance(provider, SealingProvider):
        raise CapabilityMissing(
            f"the {provider.name} engine cannot run a Vault with the seal {kind}",
            looked_at="HARNESS_ENGINE",
            remedy=f"HARNESS_ENGINE=process {named('up')} can",
        )


def prepare(kind: SealKind, provider: StackProvider, data_dir: Path) -> None:
    """See that Vault, once it is started, finds what it unseals itself with. Safe to repeat.

    Args:
        kind: Its seal.
        provider: Who will start it, and starts the holder.
        data_dir: Where all of it is kept.

    Raises:
        CapabilityMissing: That engine knows Shamir's seal alone.
        StackError: A key should be here and is not.
        HarnessError: What the holder says.
    """
    if kind == "shamir":
        return
    check_engine(kind, provider)
    assert isinstance(provider, SealingProvider)  # checked a line above
    directory = files.private_directory(data_dir / SEAL_DIRECTORY)
    stanza = (
        _static(directory, new=not holds_data(data_dir))
        if kind == "static"
        else _transit(provider, directory, data_dir)
    )
    files.write_private(stanza_path(data_dir), json.dumps({kind: stanza}, indent=2) + "\n")


def _static(directory: Path, *, new: bool) -> dict[str, Any]:
    path = directory / _STATIC_KEY
    if not path.exists():
        if not new:
            raise _key_missing(path)
        files.write_private(path, base64.b64encode(secrets.token_bytes(32)))
    return {"current_key_id": KEY_NAME, "current_key": f"file://{path.absolute()}"}


def _transit(provider: SealingProvider, directory: Path, data_dir: Path) -> dict[str, Any]:
    home = data_dir / HOLDER_NAME
    if holds_data(data_dir) and not (home / "data").is_dir():
        raise _key_missing(home)
    holder = provider.start_holder()
    opening = Opening(home)
    opening.open(provider.stop, Endpoints(nodes=(holder,), toxiproxy=""))
    keyring = opening.keyring()
    assert keyring is not None  # opened with it a moment ago
    with contextlib.closing(Operator(holder.address, keyring.root_token)) as root:
        return transit_seal(root, directory / _TOKEN)


def _key_missing(path: Path) -> StackError:
    return StackError(
        "this Vault unseals itself, and what it does that with is not here",
        looked_at=str(path),
        remedy=f"put {path.name} back from where it was copied to; the recovery keys cannot take "
        "its place. The data stays for the day when it turns up",
    )
