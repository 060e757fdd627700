"""The client's settings, checked before use."""

from __future__ import annotations

import difflib
import math
import os
import re
import urllib.parse
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self, TypedDict

from resilient_vault_client._errors import ConfigurationError, boundary

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")


# About thirty years; locks and sockets accept about three hundred.
_MOST_SECONDS = 1e9


class Settings(TypedDict, total=False):
    """The settings that can be arguments, named as in `Config`."""

    enabled: bool | None
    address: str | None
    namespace: str | None
    mount_point: str | None
    auth_mount: str | None
    role_id: str | None
    secret_id: str | None
    role_id_file: Path | str | None
    secret_id_file: Path | str | None
    wrapped_secret_id_file: Path | str | None
    token_file: Path | str | None
    jwt_file: Path | str | None
    jwt_role: str | None
    ca_cert: Path | str | None
    client_cert: Path | str | None
    client_key: Path | str | None
    verify: bool | None
    timeout: float | None
    cache_ttl: float | None
    max_stale: float | None
    backoff_cap: float | None
    state_dir: Path | str | None
    redirect_hosts: Collection[str] | None
    testing: bool | None


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of one client; times are in seconds.

    Attributes:
        enabled: ``USE_VAULT``; False reads environment variables only.
        address: ``VAULT_ADDR``, e.g. ``https://vault.example.com:8200``.
        namespace: ``VAULT_NAMESPACE``.
        mount_point: ``VAULT_MOUNT_POINT``: the mount of the KV version 2 engine; by default
            ``secret``, as in Vault's documentation.
        auth_mount: ``VAULT_AUTH_MOUNT``: the mount of the login method; by default ``approle``, or
            ``jwt`` with a JWT.
        role_id, secret_id: Arguments only; ``VAULT_ROLE_ID`` and ``VAULT_SECRET_ID`` are read at
            every login.
        role_id_file, secret_id_file: ``VAULT_ROLE_ID_FILE``, ``VAULT_SECRET_ID_FILE``: read at
            every login, and preferred to the two variables; an argument overrides both.
        wrapped_secret_id_file: ``VAULT_WRAPPED_SECRET_ID_FILE``: holds a wrapping token for the
            secret-id, which is unwrapped once.
        token_file: ``VAULT_TOKEN_FILE``: holds a token that an agent keeps alive. The client
            neither logs in nor renews or revokes that token.
        jwt_file, jwt_role: ``VAULT_JWT_FILE``, ``VAULT_JWT_ROLE``: a JWT that the platform
            replaces, read at every login, and the role to log in as. For the JWT method, and for
            Kubernetes with its mount.
        ca_cert, client_cert, client_key: ``VAULT_CACERT``, ``VAULT_CLIENT_CERT``,
            ``VAULT_CLIENT_KEY``: read again when they change; the key is not encrypted. Without a
            CA file the client trusts the system's authorities, as OpenSSL finds them.
        verify: False with ``VAULT_SKIP_VERIFY=true``, for experiments only.
        timeout: ``VAULT_CLIENT_TIMEOUT``: the longest time for one call.
        cache_ttl: ``VAULT_CACHE_TTL``: `get_secret_cached` asks again after this time.
        max_stale: ``VAULT_MAX_STALE``: the greatest age of a last good value in an outage.
        backoff_cap: ``VAULT_BACKOFF_CAP``: the longest pause between two attempts, or a fifth of
            the token's life if that is shorter.
        state_dir: ``VAULT_STATE_DIR``: a folder in which a machine's processes count failed logins
            together, restarts included. Without it each counts for itself.
        redirect_hosts: ``VAULT_REDIRECT_HOSTS``: further ``host:port`` (comma separated) that may
            see the token after a redirect. The cluster's leader always may.
        testing: ``VAULT_CLIENT_TESTING``: for an application's own tests. One attempt per call, no
            pauses, no thread in the background.
    """

    enabled: bool = True
    address: str = ""
    namespace: str | None = None
    mount_point: str = "secret"
    auth_mount: str = "approle"
    role_id: str | None = field(default=None, repr=False)
    secret_id: str | None = field(default=None, repr=False)
    role_id_file: Path | None = None
    secret_id_file: Path | None = None
    wrapped_secret_id_file: Path | None = None
    token_file: Path | None = None
    jwt_file: Path | None = None
    jwt_role: str | None = None
    ca_cert: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    verify: bool = True
    timeout: float = 10.0
    cache_ttl: float = 60.0
    max_stale: float = 3600.0
    backoff_cap: float = 10.0
    state_dir: Path | None = None
    redirect_hosts: frozenset[str] = frozenset()
    testing: bool = False

    @classmethod
    @boundary
    def from_environ(cls, environ: Mapping[str, str], **given: Any) -> Self:
        """Read the settings; a ``given`` value that is not None comes first."""
        _check_names(given, [one.name for one in fields(cls)])
        found: dict[str, Any] = {
            "enabled": _flag(environ, "USE_VAULT"),
            "address": _text(environ, "VAULT_ADDR"),
            "namespace": _text(environ, "VAULT_NAMESPACE"),
            "mount_point": _text(environ, "VAULT_MOUNT_POINT"),
            "auth_mount": _text(environ, "VAULT_AUTH_MOUNT"),
            "role_id_file": _path(environ, "VAULT_ROLE_ID_FILE"),
            "secret_id_file": _path(environ, "VAULT_SECRET_ID_FILE"),
            "wrapped_secret_id_file": _path(environ, "VAULT_WRAPPED_SECRET_ID_FILE"),
            "token_file": _path(environ, "VAULT_TOKEN_FILE"),
            "jwt_file": _path(environ, "VAULT_JWT_FILE"),
            "jwt_role": _text(environ, "VAULT_JWT_ROLE"),
            "ca_cert": _path(environ, "VAULT_CACERT"),
            "client_cert": _path(environ, "VAULT_CLIENT_CERT"),
            "client_key": _path(environ, "VAULT_CLIENT_KEY"),
            "state_dir": _path(environ, "VAULT_STATE_DIR"),
            "testing": _flag(environ, "VAULT_CLIENT_TESTING"),
            "timeout": _seconds(environ, "VAULT_CLIENT_TIMEOUT"),
            "cache_ttl": _seconds(environ, "VAULT_CACHE_TTL"),
            "max_stale": _seconds(environ, "VAULT_MAX_STALE"),
            "backoff_cap": _seconds(environ, "VAULT_BACKOFF_CAP"),
        }
        skip = _flag(environ, "VAULT_SKIP_VERIFY")
        if skip is not None:
            found["verify"] = not skip
        hosts = _text(environ, "VAULT_REDIRECT_HOSTS")
        if hosts is not None:
            found["redirect_hosts"] = _hosts(hosts)
        kinds = {one.name: str(one.type) for one in fields(cls)}
        found.update(
            (name, _of_its_kind(name, value, kinds[name]))
            for name, value in given.items()
            if value is not None
        )
        if found["auth_mount"] is None and found["jwt_file"] is not None:
            found["auth_mount"] = "jwt"
        config = cls(**{name: value for name, value in found.items() if value is not None})
        return config.checked()

    def checked(self) -> Self:
        """Return this configuration, or raise `ConfigurationError`."""
        seconds_of_a_call(self.timeout, self.timeout)
        for name, least in (("timeout", 0.001), ("cache_ttl", 0.0), ("max_stale", 0.0)):
            _check_number(name, getattr(self, name), least)
        _check_number("backoff_cap", self.backoff_cap, 0.01)
        if not self.enabled:
            return self
        if not self.address:
            raise ConfigurationError(
                "VAULT_ADDR is not set: set it to Vault's address, or USE_VAULT=false to read "
                "environment variables instead"
            )
        senseless = _is_no_address(self.address)
        # First, since no message must repeat the part before the @.
        if "@" in (self.address if senseless else urllib.parse.urlsplit(self.address).netloc):
            raise ConfigurationError(
                "VAULT_ADDR holds a user name: Vault takes tokens only; it must look like "
                "https://vault.example.com:8200"
            )
        if senseless:
            raise ConfigurationError(
                f"VAULT_ADDR is {self.address!r}: it must look like https://vault.example.com:8200"
            )
        if self.namespace is not None and not _fits_a_header(self.namespace):
            raise ConfigurationError("VAULT_NAMESPACE has characters that no header can carry")
        if not self.mount_point.strip("/"):
            raise ConfigurationError("VAULT_MOUNT_POINT is empty: name the KV version 2 mount")
        if not self.auth_mount.strip("/"):
            raise ConfigurationError("VAULT_AUTH_MOUNT is empty: name the mount of the method")
        if self.client_key is not None and self.client_cert is None:
            raise ConfigurationError("VAULT_CLIENT_KEY is set and VAULT_CLIENT_CERT is not")
        if (self.jwt_file is None) != (self.jwt_role is None):
            raise ConfigurationError(
                "VAULT_JWT_FILE and VAULT_JWT_ROLE belong together: set both, or neither"
            )
        return self


def _check_names(given: Mapping[str, object], known: list[str]) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise ConfigurationError(
                f"there is no setting {name!r}: {meant}The settings are {', '.join(known)}"
            )


def _of_its_kind(name: str, value: object, kind: str) -> object:
    """Convert an argument to its type; an error does not repeat it, since it may be secret."""
    if kind.startswith("Path") and isinstance(value, str | os.PathLike):
        return Path(value)
    if kind.startswith("frozenset") and isinstance(value, Collection):
        return _hosts(value) if isinstance(value, str) else frozenset(value)
    wanted = {"bool": bool, "str": str, "str | None": str}.get(kind, object)
    if kind.startswith(("Path", "frozenset")) or not isinstance(value, wanted):
        raise ConfigurationError(f"{name} is of type {type(value).__name__}: it must be {kind}")
    return value


def _hosts(text: str) -> frozenset[str]:
    return frozenset(host.strip() for host in text.split(","))


def _fits_a_header(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _is_no_address(address: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(address)
        port = parts.port  # accessing an invalid port raises ValueError
        ascii_host(parts.hostname or "")
    except ValueError:
        return True
    scheme = parts.scheme in ("http", "https")
    return not scheme or not parts.hostname or port == 0 or not parts.path.isascii()


def ascii_host(host: str) -> str:
    """Return the name as the resolver needs it; raise ValueError for an impossible one."""
    name = host.encode("idna").decode()  # also checks ASCII names, as the resolver would
    return host if host.isascii() else name


def seconds_of_a_call(given: float | None, usual: float) -> float:
    """Return the seconds for a call; a negative number means none."""
    seconds: Any = usual if given is None else given  # may be anything
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not -math.inf < seconds <= _MOST_SECONDS:
        raise ConfigurationError(
            f"timeout is {seconds!r}: it must be a number of seconds, {_MOST_SECONDS:.0f} at most"
        )
    return float(seconds)


def _check_number(name: str, value: object, least: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < least:  # type: ignore[arg-type,operator]  # a number
        raise ConfigurationError(f"{name} is {value!r}: it must be a number of at least {least}")


def _text(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(name, "").strip() or None


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    text = _text(environ, name)
    return None if text is None else Path(text)


def _flag(environ: Mapping[str, str], name: str) -> bool | None:
    text = (_text(environ, name) or "").lower()
    if not text:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ConfigurationError(f"{name} is {text!r}: it must be true or false")


def _seconds(environ: Mapping[str, str], name: str) -> float | None:
    text = _text(environ, name)
    if text is None:
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ConfigurationError(
            f"{name} is {text!r}: it must be seconds, or look like 500ms, 30s, 5m"
        )
    return float(match[1]) * _UNITS[match[2]]
