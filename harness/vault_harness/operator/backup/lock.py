"""Encrypt backups with age, through pyrage.

https://age-encryption.org, https://github.com/str4d/rage, https://github.com/woodruffw/pyrage

age is a small, reviewed format for passphrases (scrypt) and public keys (X25519, SSH), without
options to get wrong. ``age -d`` and ``rage -d`` open these files without this project. pyrage has
wheels for every platform.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyrage  # type: ignore[import-untyped]  # it ships no types
from pyrage import passphrase as _passphrase
from pyrage import ssh, x25519

from vault_harness import files
from vault_harness.errors import HarnessError, SettingsError, named, without_frames

PASSPHRASE_VARIABLE = "HARNESS_BACKUP_PASSPHRASE"  # noqa: S105 -- the name of a variable, not a passphrase
SHORTEST_PASSPHRASE = 12
_MARK = "\ufeff"
"""Some editors' byte order mark. Earlier releases took it as part of the passphrase."""


@dataclass(frozen=True)
class Lock:
    """What locks a backup: a passphrase, or public keys.

    `recipients` are ``age1...`` or ``ssh-ed25519 ...`` lines.
    """

    passphrase: str | None = field(default=None, repr=False)
    recipients: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.passphrase is None) == (not self.recipients):
            raise SettingsError(
                "a backup is locked with a passphrase or with public keys"
                + (", and neither was given" if self.passphrase is None else ", not both"),
                looked_at=f"--recipient, --passphrase-file, {PASSPHRASE_VARIABLE}",
                remedy=f"Give one of them: --recipient age1..., say; `{named('backup.identity')}` "
                "makes a key pair.",
            )
        if self.passphrase is not None and len(self.passphrase) < SHORTEST_PASSPHRASE:
            raise SettingsError(
                f"the passphrase is shorter than {SHORTEST_PASSPHRASE} characters",
                remedy="Use several random words: a finder of the backup can try without limit.",
            )
        for line in self.recipients:
            _recipient(line)

    @property
    def kind(self) -> str:
        return (
            "passphrase" if self.passphrase is not None else f"{len(self.recipients)} public key(s)"
        )

    @without_frames
    def encrypt(self, data: bytes) -> bytes:
        if self.passphrase is not None:
            return bytes(_passphrase.encrypt(data, self.passphrase))
        return bytes(pyrage.encrypt(data, [_recipient(line) for line in self.recipients]))


@dataclass(frozen=True)
class Opener:
    """A passphrase or private keys. Never shown by ``repr``."""

    passphrase: str | None = field(default=None, repr=False)
    identities: tuple[str, ...] = field(default=(), repr=False)

    @without_frames
    def decrypt(self, data: bytes, *, source: str) -> bytes:
        refusal = ""
        for attempt in self._attempts():
            try:
                return attempt(data)
            except pyrage.DecryptError as error:
                refusal = refusal or str(error)
        raise HarnessError(
            f"{source} cannot be opened: {refusal}",
            looked_at="the passphrase"
            if self.passphrase is not None
            else f"{len(self.identities)} private key(s)",
            remedy="Give the passphrase or the private key that belongs to this backup (its "
            "manifest.json says which kind). If it is, the file is damaged: take another copy.",
        )

    def _attempts(self) -> Iterator[Callable[[bytes], bytes]]:
        """Yield ways to open a file. Each attempt with a passphrase takes a second.

        A passphrase may be encoded differently: one machine types ``u`` and a combining mark where
        another types one letter, and some editors add a byte order mark.
        """
        if self.passphrase is None:
            keys = [_identity(text) for text in self.identities]
            yield lambda data: bytes(pyrage.decrypt(data, keys))
            return
        given = self.passphrase
        forms = [given, *(unicodedata.normalize(form, given) for form in ("NFC", "NFD"))]
        for passphrase in dict.fromkeys((*forms, f"{_MARK}{given}")):
            yield partial(_decrypted, passphrase)


def _decrypted(passphrase: str, data: bytes) -> bytes:
    return bytes(_passphrase.decrypt(data, passphrase))


def new_identity() -> tuple[str, str]:
    """Make a key pair: private (``AGE-SECRET-KEY-1...``) and public (``age1...``)."""
    identity = x25519.Identity.generate()
    return str(identity), str(identity.to_public())


@without_frames
def lock_from(
    *,
    recipients: Sequence[str] = (),
    passphrase_file: Path | None = None,
    environ: Mapping[str, str],
    ask: Callable[[], str] | None = None,
) -> Lock:
    if recipients:
        return Lock(
            recipients=tuple(line for given in recipients for line in _recipient_lines(given))
        )
    found = _found_passphrase(passphrase_file, environ, ask)
    return Lock(passphrase=found)


@without_frames
def opener_from(
    *,
    identity_files: Sequence[Path] = (),
    passphrase_file: Path | None = None,
    environ: Mapping[str, str],
    ask: Callable[[], str] | None = None,
) -> Opener:
    if identity_files:
        return Opener(
            identities=tuple(
                key for path in identity_files for key in _keys(_read(path, "--identity"))
            )
        )
    found = _found_passphrase(passphrase_file, environ, ask)
    if found is None:
        raise SettingsError(
            "nothing was given that opens a backup",
            looked_at=f"--identity, --passphrase-file, {PASSPHRASE_VARIABLE}",
            remedy="Give the private key with --identity FILE, or the passphrase otherwise.",
        )
    return Opener(passphrase=found)


def _found_passphrase(
    path: Path | None, environ: Mapping[str, str], ask: Callable[[], str] | None
) -> str | None:
    if path is not None:
        return _read(path, "--passphrase-file").rstrip("\r\n")
    return environ.get(PASSPHRASE_VARIABLE) or (ask() if ask is not None else None)


def _read(path: Path, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # drops the mark
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        raise SettingsError(
            f"{files.told(path, f'the file that {option} names')} cannot be read: {reason}",
            looked_at=option,
            remedy="Check the path: give the path of the file, not its content.",
        ) from None


def _recipient_lines(given: str) -> list[str]:
    if given.startswith(("age1", "ssh-")):
        return [given]
    lines = [line.strip() for line in _read(Path(given), "--recipient").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _keys(text: str) -> list[str]:
    """Return an age key file's lines, or one SSH key."""
    if "PRIVATE KEY-----" in text:
        return [text]
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _recipient(line: str) -> Any:
    try:
        return (
            ssh.Recipient.from_str(line)
            if line.startswith("ssh-")
            else x25519.Recipient.from_str(line)
        )
    except pyrage.RecipientError as error:
        raise SettingsError(
            f"that is not a public key that a backup can be locked with: {error}",
            looked_at=f"{line[:12]}..."
            if line.startswith(("age1", "ssh-"))
            else "a line of the file given with --recipient",
            remedy="Give an age key (age1...) or an SSH key of the kind ssh-ed25519 or ssh-rsa.",
        ) from None


def _identity(text: str) -> Any:
    try:
        if "PRIVATE KEY-----" in text:
            return ssh.Identity.from_buffer(text.encode())
        return x25519.Identity.from_str(text)
    except pyrage.IdentityError as error:
        raise SettingsError(
            f"that is not a private key: {error}",
            looked_at="the file given with --identity",
            remedy="Give an age key file (AGE-SECRET-KEY-1...) or an unencrypted SSH key.",
        ) from None
