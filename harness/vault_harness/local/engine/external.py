"""The external engine: a Vault that already runs, behind our Toxiproxy."""

from __future__ import annotations

import re
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

from vault_harness import files
from vault_harness.addresses import joined
from vault_harness.certificates import CA_NAME, OPERATOR, client_context
from vault_harness.closable import Closable
from vault_harness.errors import CapabilityMissing, DeadlineExceeded, SettingsError, without_frames
from vault_harness.local.engine.ports import LOOPBACK, answers, seal_status_url
from vault_harness.local.engine.process.engine import ProcessToxiproxy
from vault_harness.local.engine.shape import OF_SOMEBODY_ELSE, Capability, EngineName, NodeSpec
from vault_harness.local.programs import find_toxiproxy
from vault_harness.settings import Settings

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----")
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


@without_frames  # the key is read
def external_trust(settings: Settings, directory: Path) -> Path | None:
    """Return the CA file for the Vault of ``VAULT_ADDR``; None for the system's own.

    With `VAULT_CLIENT_CERT`, CA file, client certificate and key are copied into `directory`, which
    the caller removes; see `vault_harness.certificates.shown_beside`.
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
        raise _unreadable(path, variable, "it is not text") from None


def _content(path: Path, variable: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, variable, str(error.strerror)) from None


def _unreadable(path: Path, variable: str, why: str) -> SettingsError:
    here = Path.cwd()  # the settings resolved relative paths against this folder
    given = path.relative_to(here) if path.is_relative_to(here) else path
    return SettingsError(
        f"{variable} names a file that cannot be read",
        looked_at=files.told(given, variable),
        remedy=f"put it there ({why}), or unset the variable",
    )


def _check_authorities(path: Path) -> None:
    _content(path, "VAULT_CACERT")  # not decoded: remarks in it may have any encoding
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
        # An empty password prevents a prompt for a passphrase.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(own, password=lambda: "")
    except (ssl.SSLError, ValueError):
        own.unlink()
        raise _unusable(
            shown, key, "the key is another certificate's, has a passphrase, or is damaged"
        ) from None


def _unusable(shown: Path, key: Path | None, why: str) -> SettingsError:
    return SettingsError(
        f"the client certificate for the external Vault cannot be used: {why}",
        looked_at=f"VAULT_CLIENT_CERT={shown}, VAULT_CLIENT_KEY={key or 'not set'}",
        remedy="name a certificate in VAULT_CLIENT_CERT and its key, without a passphrase, in "
        "VAULT_CLIENT_KEY",
    )


def _authorities(ca_cert: Path | None) -> bytes:
    if ca_cert is not None:
        return _content(ca_cert, "VAULT_CACERT")
    import certifi

    return Path(ssl.get_default_verify_paths().cafile or certifi.where()).read_bytes()


class ExternalNode:
    """A Vault that only gets requests: never started, stopped, paused or read from disk."""

    def __init__(self, name: str, address: str, *, ca_cert: Path | None = None) -> None:
        self._name = name
        self._address = address.rstrip("/")
        self._ca_cert = ca_cert
        self._tls = client_context(ca_cert) if address.startswith("https:") else None

    def __repr__(self) -> str:
        return f"<ExternalNode {self.name} {self.address}>"

    @property
    def name(self) -> str:
        return self._name

    @property
    def address(self) -> str:
        return self._address

    @property
    def inner_address(self) -> str:
        return self._address

    @property
    def cluster_address(self) -> str:
        """Its other nodes are unknown."""
        return ""

    @property
    def hosts(self) -> tuple[str, ...]:
        return (urlsplit(self._address).hostname or "",)

    @property
    def ca_cert(self) -> Path | None:
        """The CA certificate; its folder may also have the client certificate."""
        return self._ca_cert

    @property
    def upstream(self) -> str:
        return joined(self._address)

    @property
    def capabilities(self) -> frozenset[Capability]:
        return OF_SOMEBODY_ELSE

    @property
    def audit_path(self) -> Path | None:
        return None

    @property
    def server_audit_path(self) -> str | None:
        return None

    def start(self, *, timeout: float = 15.0) -> None:
        """Wait until it answers: it cannot be started from here."""
        deadline = time.monotonic() + timeout
        while not self.is_running():
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"the external Vault did not answer within {timeout:.1f} s",
                    looked_at=f"GET {seal_status_url(self._address)}",
                    remedy="check VAULT_ADDR (VAULT_CACERT for https; VAULT_CLIENT_CERT and "
                    "VAULT_CLIENT_KEY if it asks for a certificate), and that this Vault runs",
                )
            time.sleep(0.05)  # between two checks, bounded by the deadline

    def stop(self, *, timeout: float = 10.0) -> None:  # noqa: ARG002 -- the protocol has it
        raise self._cannot("be stopped")

    def kill(self) -> None:
        raise self._cannot("be killed")

    def pause(self) -> None:
        raise self._cannot("be paused")

    def resume(self) -> None:
        """Do nothing."""

    def restart(self, *, timeout: float = 15.0) -> None:  # noqa: ARG002 -- the protocol has it
        raise self._cannot("be restarted")

    def reload(self) -> None:
        raise self._cannot("be told to reload")

    def disconnect(self) -> None:
        raise self._cannot("be cut off")

    def reconnect(self) -> None:
        """Do nothing."""

    def is_running(self) -> bool:
        return answers(seal_status_url(self._address), timeout=2.0, tls=self._tls)

    def logs(self, *, tail: int | None = None) -> str:  # noqa: ARG002 -- the protocol has it
        return ""

    def close(self) -> None:
        """Do nothing."""

    def _cannot(self, verb: str) -> CapabilityMissing:
        return CapabilityMissing(
            f"an external Vault cannot {verb} from here",
            looked_at=f"HARNESS_ENGINE=external, VAULT_ADDR={self._address}",
            remedy="use HARNESS_ENGINE=process or docker for that",
        )


class ExternalEngine(Closable):
    """Gives access to the Vault of ``VAULT_ADDR``."""

    def __init__(self, settings: Settings, *, directory: Path) -> None:
        missing = [
            name
            for name, value in (
                ("VAULT_ADDR", settings.vault_addr),
                ("VAULT_TOKEN", settings.vault_token),
            )
            if value is None
        ]
        if missing or settings.vault_addr is None or settings.vault_token is None:
            raise SettingsError(
                f"HARNESS_ENGINE=external needs {' and '.join(missing)}",
                looked_at="the environment",
                remedy="set VAULT_ADDR to its URL and VAULT_TOKEN to an operator's token for it",
            )
        self.settings = settings
        self.address = settings.vault_addr
        self.token = settings.vault_token
        self.choice = f"external: the Vault at {self.address}"
        self._directory = directory
        self._toxiproxies: list[ProcessToxiproxy] = []

    @property
    def name(self) -> EngineName:
        return "external"

    @property
    def capabilities(self) -> frozenset[Capability]:
        return OF_SOMEBODY_ELSE

    @property
    def dialect(self) -> None:
        """The server was not asked yet."""
        return None

    def node(self, spec: NodeSpec) -> ExternalNode:
        """Return the external Vault, whatever the specification says."""
        trusted = external_trust(self.settings, self._directory / "external-tls")
        return ExternalNode(spec.name, self.address, ca_cert=trusted)

    def toxiproxy(
        self, *, seed: int | None = None, port: int = 0, detached: bool = False
    ) -> ProcessToxiproxy:
        server = ProcessToxiproxy(
            find_toxiproxy(self.settings),
            directory=self._directory / f"toxiproxy-{len(self._toxiproxies) + 1}",
            seed=seed,
            port=port,
            detached=detached,
        )
        self._toxiproxies.append(server)
        server.start(timeout=self.settings.start_timeout)
        return server

    def reachable_from_toxiproxy(self, port: int) -> str:
        return f"{LOOPBACK}:{port}"

    def bind_host(self) -> str:
        return LOOPBACK

    def close(self) -> None:
        """End only the Toxiproxy servers."""
        for server in self._toxiproxies:
            server.close()
        self._toxiproxies.clear()
