"""Whom the harness trusts, and what it shows, at a Vault of somebody else."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from vault_harness import files
from vault_harness.boundary import without_frames
from vault_harness.certificates import CA_NAME, OPERATOR
from vault_harness.errors import SettingsError
from vault_harness.settings import Settings

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----")
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


@without_frames  # the key is read
def external_trust(settings: Settings, directory: Path) -> Path | None:
    """The CA certificates by which the Vault of ``VAULT_ADDR`` is checked.

    Where `VAULT_CLIENT_CERT` is set, they are in a folder of their own, with what is shown beside
    them; see `vault_harness.certificates.shown_beside`. Each call reads the files anew.

    Args:
        settings: Address, CA certificate, certificate and key.
        directory: Private; that folder's place. It has the key, and whoever made it removes it.

    Returns:
        None for the system's authorities.

    Raises:
        SettingsError: A file is not there, or certificate and key are not what they should be.
    """
    shown, key = settings.vault_client_cert, settings.vault_client_key
    if shown is None and key is not None:
        raise SettingsError(
            "VAULT_CLIENT_KEY is set, and VAULT_CLIENT_CERT is not",
            looked_at="the environment",
            remedy="set both; one file may have both, and is named twice then",
        )
    over_tls = (settings.vault_addr or "").startswith("https:")
    if over_tls and settings.vault_cacert is not None:
        _check_authorities(settings.vault_cacert)
    if shown is None or not over_tls:
        return settings.vault_cacert
    own = _read(shown, "VAULT_CLIENT_CERT")
    if key is not None and key != shown:
        own = f"{own.rstrip()}\n{_read(key, 'VAULT_CLIENT_KEY')}"
    if not (_CERTIFICATE.search(own) and _KEY.search(own)):
        raise _unusable(shown, key, "a certificate and a private key in PEM are not both there")
    folder = files.private_directory(directory)
    files.write_private(folder / f"{OPERATOR}.pem", own)
    _check(folder / f"{OPERATOR}.pem", shown, key)
    trusted = folder / CA_NAME
    files.write_private(trusted, _authorities(settings.vault_cacert))
    return trusted


def _read(path: Path, variable: str) -> str:
    try:
        return _content(path, variable).decode()
    except ValueError:
        raise _unreadable(path, variable, "it is no text") from None


def _content(path: Path, variable: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, variable, str(error.strerror)) from None


def _unreadable(path: Path, variable: str, why: str) -> SettingsError:
    here = Path.cwd()  # the settings made a word that is no path one of this folder
    given = path.relative_to(here) if path.is_relative_to(here) else path
    return SettingsError(
        f"{variable} names a file that cannot be read",
        looked_at=files.told(given, variable),
        remedy=f"put it there ({why}), or unset the variable",
    )


def _check_authorities(path: Path) -> None:
    _content(path, "VAULT_CACERT")  # whose remarks may be in any encoding: nobody reads them
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise SettingsError(
            "VAULT_CACERT names a file that has no certificate in it",
            looked_at=str(path),
            remedy="name a PEM file with the CA certificate of that Vault, or unset the variable",
        ) from None


def _check(own: Path, shown: Path, key: Path | None) -> None:
    try:
        # A key with a passphrase is asked for it nowhere: nobody may be there to type it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(own, password=lambda: "")
    except (ssl.SSLError, ValueError):
        own.unlink()
        raise _unusable(
            shown, key, "the key is another certificate's, has a passphrase, or is damaged"
        ) from None


def _unusable(shown: Path, key: Path | None, why: str) -> SettingsError:
    return SettingsError(
        f"what is to be shown to the external Vault cannot be used: {why}",
        looked_at=f"VAULT_CLIENT_CERT={shown}, VAULT_CLIENT_KEY={key or 'not set'}",
        remedy="name a certificate in VAULT_CLIENT_CERT and its key, without a passphrase, in "
        "VAULT_CLIENT_KEY",
    )


def _authorities(ca_cert: Path | None) -> bytes:
    """Those of the setting, else the system's."""
    if ca_cert is not None:
        return _content(ca_cert, "VAULT_CACERT")
    import certifi

    return Path(ssl.get_default_verify_paths().cafile or certifi.where()).read_bytes()
