"""Change a Redis user's password, through redis-py."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from vault_harness.operator.rotate.password_server import (
    CONNECT_SECONDS,
    Account,
    ServerRefusedError,
    library,
    refused,
    unreachable,
)

_BOTH = "It accepts the new password, which Vault has, and the old one; run it again to end that."

_TLS = ("ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_keyfile")


class Redis:
    """Adds a second password (ACL, Redis 6 and newer). The old one ends last."""

    title = "Redis"
    keeps_old = True

    OPTIONS = f"rediss:// takes {', '.join(_TLS)}; redis:// takes none."

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._options = dict(parse_qsl(self._parts.query, keep_blank_values=True))

    def __repr__(self) -> str:
        return f"<Redis {self._parts.hostname}:{self._parts.port or 6379}>"

    def unknown_options(self) -> list[str]:
        """Return options of the URL that would have no effect."""
        known = _TLS if self._parts.scheme == "rediss" else ()
        return sorted(set(self._options) - set(known))

    @contextmanager
    def changing(self, account: Account) -> Iterator[Callable[[], None]]:
        """Change it; both passwords open the account inside this context."""
        redis = library("redis", "redis")
        user = account.user or "default"
        with self._refusals(redis, "change the password"), self._connect(redis, account) as client:
            if "nopass" in (client.acl_getuser(user) or {}).get("flags", []):
                raise refused(self, "change the password", ValueError("the account has none"))
            # A verifier: no password appears in the slow log or in MONITOR.
            client.execute_command("ACL", "SETUSER", user, f"#{_sha256(account.new)}")
            confirmed = False

            def confirm() -> None:
                nonlocal confirmed
                confirmed = True
                self._persist(redis, client)

            try:
                yield confirm
            finally:
                if not confirmed:
                    client.execute_command("ACL", "SETUSER", user, f"!{_sha256(account.new)}")

    def accepts(self, account: Account, password: str) -> bool:
        redis = library("redis", "redis")
        try:
            with self._open(redis, account.user, password) as client:
                client.ping()
        except redis.AuthenticationError:
            return False
        except redis.exceptions.NoPermissionError:
            return True  # checked after the password
        except redis.RedisError as error:
            raise unreachable(self, error) from None
        return True

    def retire_old(self, account: Account) -> None:
        """Remove every password of the account except the new one.

        ``requirepass`` stays: the user's line overrides it, and setting it would put the password
        itself into the configuration file.
        """
        redis = library("redis", "redis")
        user, keep = account.user or "default", _sha256(account.new)
        with (
            self._refusals(redis, "end the old password", so_far=_BOTH),
            self._connect(redis, account, password=account.new) as client,
        ):
            present = (client.acl_getuser(user) or {}).get("passwords") or []
            if keep not in present:
                raise self._forgotten()
            for verifier in present:
                if verifier != keep:
                    client.execute_command("ACL", "SETUSER", user, f"!{verifier}")
            self._persist(redis, client)

    def _forgotten(self) -> ServerRefusedError:
        """Describe a server that lost the new password: without the old one nobody could log in."""
        return ServerRefusedError(
            "Redis does not have the new password any more, so the old one stays valid",
            looked_at=repr(self),
            remedy="It may have restarted without an ACL file to keep the password. Run this again "
            "to set it again.",
        )

    def _persist(self, redis: Any, client: Any) -> None:
        """Make the change survive a restart, if the server has a file for it."""
        for command in (("ACL", "SAVE"), ("CONFIG", "REWRITE")):
            try:
                client.execute_command(*command)
            except redis.ResponseError:
                continue  # no such file: each start gives the password
            return

    def _connect(self, redis: Any, account: Account, password: str | None = None) -> Any:
        if self._parts.username or self._parts.password:
            return self._open(
                redis, unquote(self._parts.username or ""), unquote(self._parts.password or "")
            )
        return self._open(redis, account.user, account.old if password is None else password)

    def _open(self, redis: Any, user: str, password: str) -> Any:
        return redis.Redis(
            host=self._parts.hostname,
            port=self._parts.port or 6379,
            username=user or None,
            password=password or None,
            ssl=self._parts.scheme == "rediss",
            socket_timeout=CONNECT_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            # By default it tries four times, with pauses, even after a wrong password.
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
            decode_responses=True,
            **self._options,
        )

    @contextmanager
    def _refusals(
        self, redis: Any, what: str, *, so_far: str = "Nothing was changed."
    ) -> Iterator[None]:
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if isinstance(error, redis.AuthenticationError):
                raise refused(self, what, error, so_far=so_far) from None
            raise unreachable(self, error) from None
        except redis.RedisError as error:
            raise refused(self, what, error, so_far=so_far) from None


def _sha256(password: str) -> str:
    """Return what ``ACL SETUSER ... #<hash>`` takes."""
    return hashlib.sha256(password.encode()).hexdigest()
