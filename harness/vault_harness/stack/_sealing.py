"""What opens a Vault that unseals itself: a key in a file, another Vault that holds it, a cloud.

Everything is below the data directory: the stanza and the static key in ``seal/``, the other Vault
with a keyring of its own in ``holder/``. Whoever loses the key has lost the Vault, whatever keys
the keyring has: a recovery key decrypts nothing.
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
from vault_harness.commands import named
from vault_harness.engine import (
    ACCESS_KEYS_NAME,
    CLOUD_SEALS,
    HOLDER_NAME,
    SEAL_DIRECTORY,
    CloudSealingProvider,
    Endpoints,
    SealCheck,
    SealingProvider,
    SealKind,
    StackProvider,
    check_seal_of_product,
    cloud_stanza,
    holds_data,
    seal_stanza,
    stanza_path,
    static_key_path,
)
from vault_harness.errors import CapabilityMissing, SettingsError, StackError
from vault_harness.stack._holder import KEY_NAME, transit_seal
from vault_harness.stack._opening import Opening
from vault_harness.vault import Operator
from vault_harness.vault.keyring import keep_beside

_NO_URL = re.compile(r"%(?![0-9A-Fa-f]{2})|[\x00-\x1f\x7f]")
_TOKEN = "holder-token"  # noqa: S105 -- the name of a file


def seal_here(data_dir: Path, recorded: str) -> SealKind:
    """How the Vault of a data directory is sealed, also where its record was lost."""
    stanza = seal_stanza(data_dir)
    enabled = [kind for kind, body in stanza.items() if not body.get("disabled")]
    return cast("SealKind", next(iter([*enabled, *stanza]), recorded))


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
            remedy=f"{named('up')} starts it with the seal that it has; then "
            f"{named('seal.migrate', wanted)} exchanges it",
        )
    return present


def check_engine(kind: SealKind, provider: StackProvider) -> None:
    """See that an engine can run a Vault of that seal.

    Raises:
        CapabilityMissing: It knows Shamir's seal alone.
    """
    if kind in CLOUD_SEALS:
        able = isinstance(provider, CloudSealingProvider)
    else:
        able = kind == "shamir" or isinstance(provider, SealingProvider)
    if not able:
        raise CapabilityMissing(
            f"the {provider.name} engine cannot run a Vault with the seal {kind}",
            looked_at="HARNESS_ENGINE",
            remedy=f"HARNESS_ENGINE=process {named('up')} can",
        )


def check_product(kind: SealKind, provider: StackProvider) -> None:
    """See that the server of an engine is of a product that has that seal.

    Raises:
        CapabilityMissing: The other product alone has it.
        EngineError: There is no server to look at.
    """
    if kind == "static" and isinstance(provider, SealingProvider):
        dialect, origin = provider.whose_server()
        check_seal_of_product(kind, dialect, looked_at=origin)


def check_cloud(kind: SealKind, provider: StackProvider, data_dir: Path) -> SealCheck:
    """Have the server look at the configuration of a cloud's seal. Changes nothing of a stack.

    Args:
        kind: One of `CLOUD_SEALS`.
        provider: Whose server it is.
        data_dir: Where the stanza is, if there is one already.

    Raises:
        CapabilityMissing: Not by this engine, or the server does not know that seal.
        SettingsError: Parameters are missing.
        EngineError: The server does not take them, or does not get at the key.
    """
    check_engine(kind, provider)
    assert isinstance(provider, CloudSealingProvider)  # checked a line above
    return provider.check_seal({kind: cloud_stanza(kind, seal_stanza(data_dir).get(kind, {}))})


def prepare(kind: SealKind, provider: StackProvider, data_dir: Path, *, anew: bool = False) -> None:
    """See that Vault, once it is started, finds what it unseals itself with. Safe to repeat.

    Args:
        kind: Its seal.
        provider: Who will start it, and starts the holder.
        data_dir: Where all of it is kept.
        anew: Whether the environment may name a cloud's key otherwise than it is recorded: for a
            start of all nodes, before which it was checked. A shell has a region for other reasons.

    Raises:
        CapabilityMissing: That engine knows Shamir's seal alone.
        StackError: A key should be here and is not.
        HarnessError: What the holder says.
    """
    if kind == "shamir":
        return
    if kind in CLOUD_SEALS and kind in seal_stanza(data_dir) and not anew:
        check_engine(kind, provider)
        return
    stanza = key_at_hand(kind, provider, data_dir, new=not holds_data(data_dir))
    write_stanza(data_dir, {kind: stanza})


def write_stanza(data_dir: Path, stanza: Mapping[str, Any]) -> None:
    """Have the next start of Vault find that stanza; an empty one is Shamir's seal."""
    path = stanza_path(data_dir)
    if stanza:
        files.private_directory(path.parent)
        files.write_private(path, json.dumps(stanza, indent=2) + "\n")
    else:
        path.unlink(missing_ok=True)


def key_at_hand(
    kind: SealKind, provider: StackProvider, data_dir: Path, *, new: bool
) -> dict[str, Any]:
    """See that a seal other than Shamir's finds its key: in its file, or at the holder that runs.

    Args:
        kind: Of the seal.
        provider: Who starts the holder.
        data_dir: Where all of it is kept.
        new: Make a key if there is none: nothing depends on an earlier one.

    Returns:
        The seal's stanza, which holds no secret.

    Raises:
        CapabilityMissing: That engine knows Shamir's seal alone.
        StackError: There should be a key, and there is none.
        SettingsError: A cloud has the key, and settings do not say which one it is; or the server
            could not be told of the key's file by its name.
        HarnessError: What the holder says.
    """
    check_engine(kind, provider)
    if kind in CLOUD_SEALS:
        return cloud_stanza(kind, seal_stanza(data_dir).get(kind, {}))
    assert isinstance(provider, SealingProvider)  # checked above
    _check_nameable(provider, data_dir / SEAL_DIRECTORY)
    directory = files.private_directory(data_dir / SEAL_DIRECTORY)
    if kind == "static":
        return _static(static_key_path(data_dir), new=new)
    return _transit(provider, directory, data_dir, new=new)


def static_key(data_dir: Path) -> str:
    """The key of a static seal that is in force, base64; empty for any other seal.

    Raises:
        StackError: It should be there, and is not.
    """
    if "static" not in seal_stanza(data_dir):
        return ""
    path = static_key_path(data_dir)
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise _key_missing(path, f"{named('restore.keys')} puts it back from a backup") from None


def check_key(kind: SealKind, data_dir: Path) -> None:
    """See that the key of a seal is where a started server looks for it. Starts nothing.

    Whether a cloud gives its key is not asked.

    Raises:
        StackError: It is not; recovery keys cannot take its place.
    """
    home = data_dir / HOLDER_NAME
    if kind == "static":
        static_key(data_dir)
    elif kind == "transit" and Opening(home).keyring() is None:
        raise _holder_missing(home)


def put_key_aside(kind: SealKind, data_dir: Path) -> Path | None:
    """Give the key of a seal that is given up another name: snapshots from before open with it.

    Access keys for a cloud are removed: they are no key, and the cloud gives others.

    Returns:
        Where it is now; None if there is nothing to rename.
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
    """See that a server can be told of a file there: ``file://`` and its name are a URL to it.

    What is none it takes for the key itself. In containers it has another name.

    Raises:
        SettingsError: It cannot.
    """
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
    provider: SealingProvider, directory: Path, data_dir: Path, *, new: bool
) -> dict[str, Any]:
    home = data_dir / HOLDER_NAME
    data, opening = home / "data", Opening(home)
    if not new and (not data.is_dir() or opening.keyring() is None):
        raise _holder_missing(home)

    def discard() -> None:
        """The holder alone: the Vault whose seal is being exchanged may be in use beside it."""
        with contextlib.suppress(OSError):  # it has ended; a full disk takes no note of that
            provider.end_holder()
        shutil.rmtree(data)

    holder = provider.start_holder()
    endpoints = Endpoints(nodes=(holder,), toxiproxy="")
    if opening.keyring() is None and opening.seal_status(endpoints).initialised:
        raise _holder_without_keys(home, opening.keyring_path)
    opening.open(discard, endpoints)
    keyring = opening.keyring()
    assert keyring is not None  # opened with it a moment ago
    with contextlib.closing(Operator(holder.address, keyring.root_token)) as root:
        # As Vault reaches it, which may not be how this machine does.
        return transit_seal(root, directory / _TOKEN, address=base_url(holder.upstream))


def _holder_missing(home: Path) -> StackError:
    return _key_missing(home, f"put {home.name} back from where it was copied to")


def _holder_without_keys(home: Path, keyring: Path) -> StackError:
    """A new one whose keys nobody has: what `Opening` would propose is for the stack's own Vault.

    Nothing is removed: a snapshot of before an earlier migration may need what is there.
    """
    return StackError(
        "the Vault that is to hold the seal's key is initialised, and its own keys are not here: a "
        "run that was ended half-way may have lost them. The seal does not depend on it yet",
        looked_at=str(keyring),
        remedy=f"{named('down')}, give the folder {home} another name, then this again, as it was "
        "called, which makes a new one; all other data stays where it is",
    )


def _key_missing(path: Path, back: str) -> StackError:
    return StackError(
        "this Vault unseals itself, and what it does that with is not here",
        looked_at=str(path),
        remedy=f"{back}; the recovery keys cannot take its place. The data stays for the day when "
        "it turns up",
    )
