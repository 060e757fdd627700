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
from vault_harness.boundary import without_frames
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
from vault_harness.stack._opening import Opening
from vault_harness.vault import Operator
from vault_harness.vault.root import alive

KEY_NAME = "stack"
"""Of the key in the holder's transit engine, and the id of the static one."""

_STATIC_KEY = "static.key"
_TOKEN = "holder-token"  # noqa: S105 -- the name of a file
_POLICY = "unseal-stack"
_PERIOD = "768h"
"""Of the token: the server renews it while it runs, and a month of rest is survived."""

_RULES = f"""path "transit/encrypt/{KEY_NAME}" {{
  capabilities = ["update"]
}}

path "transit/decrypt/{KEY_NAME}" {{
  capabilities = ["update"]
}}
"""


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
        _give_key(root)
        _give_token(root, directory / _TOKEN)
    return {
        "address": holder.address,
        "token": f"file://{(directory / _TOKEN).absolute()}",
        "key_name": KEY_NAME,
        "mount_path": "transit/",
    }


@without_frames
def _give_key(root: Operator) -> None:
    """The key, which no one can export or delete, and the policy of who may use it."""
    if "transit/" not in root.request("GET", "sys/mounts").get("data", {}):
        root.request("POST", "sys/mounts/transit", type="transit")
    if not root.request("GET", f"transit/keys/{KEY_NAME}"):
        root.request("POST", f"transit/keys/{KEY_NAME}", type="aes256-gcm96")
    root.request("PUT", f"sys/policies/acl/{_POLICY}", policy=_RULES)


@without_frames
def _give_token(root: Operator, path: Path) -> None:
    """A token that lives for as long as somebody renews it, unless there is one that is good."""
    if path.exists():
        with contextlib.closing(root.with_token(path.read_text().strip())) as known:
            if alive(known) is not None:
                known.request("POST", "auth/token/renew-self")
                return
    made = root.request(
        "POST",
        "auth/token/create-orphan",
        policies=[_POLICY],
        period=_PERIOD,
        display_name=_POLICY,
    )
    files.write_private(path, str(made["auth"]["client_token"]))


def _key_missing(path: Path) -> StackError:
    return StackError(
        "this Vault unseals itself, and what it does that with is not here",
        looked_at=str(path),
        remedy=f"put {path.name} back from where it was copied to; the recovery keys cannot take "
        "its place. The data stays for the day when it turns up",
    )
