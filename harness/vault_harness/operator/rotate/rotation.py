"""Give secrets new values in KV, and on the server that knows the password too.

Clients can log in at any moment. The next run finishes an interrupted one: the record names the
earlier versions, KV has both values, and a login tells which one the server accepts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from vault_harness.errors import (
    HarnessError,
    OperatorError,
    SettingsError,
    StackError,
    named,
    without_frames,
)
from vault_harness.interrupts import telling_what_is_left
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.vault.kv import Kv
from vault_harness.local.written_ahead import Checkpoint
from vault_harness.operator.rotate.exchange import (
    SecretRotation,
    Work,
    account_in,
    exchange,
    holding,
    need_the_one_before,
    resumable,
    resume,
    to_rotate,
)
from vault_harness.operator.rotate.password_server import PasswordServer, ServerUnreachableError
from vault_harness.operator.rotate.postgresql import PostgreSQL
from vault_harness.operator.rotate.record import Target, load, record_file
from vault_harness.operator.rotate.redis import Redis
from vault_harness.urls import ServerKind

FindServer = Callable[[ServerKind], PasswordServer | None]
_Of = TypeVar("_Of")
_Came = TypeVar("_Came")

_SAID = (ServerUnreachableError,)
"""Their text already names the task to continue with."""


@dataclass(frozen=True)
class SecretPlan:
    """What a rotation would do.

    Attributes:
        resumes: It would only finish an earlier run, whose new value is in that version.
    """

    version: int
    resumes: bool
    missed: tuple[str, ...] = ()


@dataclass(frozen=True)
class How:
    """How a value is exchanged.

    Attributes:
        grace: Seconds for which the old password stays valid on a server with two passwords
            (Redis). It should be longer than clients cache a value.
    """

    servers: FindServer = lambda _kind: None
    grace: float = 0.0
    checkpoint: Checkpoint = lambda _step: None


IN_VAULT_ALONE = How()


class NothingToRollBack(StackError):
    """There is no rotation of that value in this Vault, or it changed since."""


@without_frames
def rotate_secret(
    kv: Kv,
    target: Target,
    directory: Path,
    how: How = IN_VAULT_ALONE,
    *,
    blueprint: Blueprint | None = None,
) -> SecretRotation:
    """Give one secret a new value, in Vault and on the server that knows it.

    ``blueprint`` may set length and alphabet of the new value.
    """
    work = _work(kv, target, directory, how)
    with telling_what_is_left(partial(_left, work, "rotate.secrets"), but=_SAID):
        record = load(work.file)
        if record is not None and record.state == "running":
            finished = resume(work, record)
            if finished is not None and record.ends_as == "done":
                return finished
        new = target.new_value(blueprint, kv.mount)
        return exchange(work, new, ends_as="done")


@without_frames
def plan_secret(kv: Kv, target: Target, directory: Path, how: How = IN_VAULT_ALONE) -> SecretPlan:
    """Return what `rotate_secret` would do; change nothing, and ask no server."""
    now = to_rotate(kv, target)
    work = _work(kv, target, directory, how)
    record = load(work.file)
    resumes = record is not None and record.ends_as == "done" and resumable(kv, target, record)
    if work.server is not None and not resumes:
        need_the_one_before(kv, target, work.server)
    if resumes:
        return SecretPlan(now.version, resumes)
    return SecretPlan(now.version, resumes, holding(work, account_in(target, now))[1])


@without_frames
def roll_back(
    kv: Kv,
    target: Target,
    directory: Path,
    how: How = IN_VAULT_ALONE,
) -> SecretRotation:
    """Return to the value before the newest rotation, in Vault and on the server."""
    work = _work(kv, target, directory, how)
    with telling_what_is_left(partial(_left, work, "rotate.rollback"), but=_SAID):
        record = load(work.file)
        if record is not None and record.state == "running":
            finished = resume(work, record)
            if finished is not None and record.ends_as == "rolled back":
                return finished
        earlier, _ = _find_earlier(work)
        return exchange(work, earlier, ends_as="rolled back")


@without_frames
def find_rollback(kv: Kv, target: Target, directory: Path, how: How = IN_VAULT_ALONE) -> int:
    """Return the version that `roll_back` would return to; change nothing, and ask no server."""
    work = _work(kv, target, directory, how)
    record = load(work.file)
    if record is not None and resumable(kv, target, record):  # a rollback finishes it first
        done = record if record.ends_as == "done" else record.settled
        if done is not None:
            return done.before
    before = _find_earlier(work)[1]
    if work.server is not None:
        need_the_one_before(kv, target, work.server)
    return before


def each_of(
    targets: Iterable[_Of], turn: Callable[[_Of], _Came]
) -> Iterator[tuple[_Of, _Came | HarnessError]]:
    """Run ``turn`` for each target, and continue after an error."""
    for target in targets:
        try:
            yield target, turn(target)
        except HarnessError as error:
            yield target, error


def _work(kv: Kv, target: Target, directory: Path, how: How) -> Work:
    server = how.servers(target.server) if target.server else None
    return Work(kv, target, server, record_file(directory, kv, target), how.grace, how.checkpoint)


def _left(work: Work, task: str) -> str:
    record = None
    with contextlib.suppress(StackError):  # the file is not a record of this run
        record = load(work.file)
    if record is None or record.state != "running":
        return ""
    knows = f", and {work.server.title} accepts one of the two or both" if work.server else ""
    both = work.server is not None and work.server.keeps_old and work.grace
    words = [work.target.name, *(["--grace", f"{work.grace:g}"] if both else [])]
    return (
        f"{work.target.name} is half-way: Vault has the old value or the new one{knows}. "
        f"{named(task, *words)} finds out which, and continues from there"
    )


def _find_earlier(work: Work) -> tuple[object, int]:
    kv, target = work.kv, work.target
    present = load(work.file)
    record = present.settled if present is not None else None
    command = named("vault", "--", "kv", "metadata", "get", f"{kv.mount}/{target.path}")
    versions = f"See its versions: {command}"
    if record is None or record.state != "done":
        raise NothingToRollBack(
            f"there is no rotation of {target.name} in this Vault to take back",
            looked_at=str(work.file),
            remedy=versions,
        )
    now = kv.read(target.path)
    if not record.wrote(now.data.get(target.key)):
        raise NothingToRollBack(
            f"{target.key} of {kv.mount}/{target.path} is not what the rotation wrote: somebody "
            "changed it since, and it stays",
            looked_at=f"version {now.version}, which is {now.state}; {work.file}",
            remedy=versions,
        )
    earlier = record.earlier(kv)
    if earlier is None:
        raise OperatorError(
            f"version {record.before} of {kv.mount}/{target.path} has no {target.key} any more",
            looked_at="KV keeps a limited number of versions, and deleted ones cannot be read",
            remedy=f"Rotate it again: {named('rotate.secrets', target.name)}",
        )
    return earlier, record.before


POSTGRESQL_VARIABLE = "HARNESS_POSTGRESQL_URL"
REDIS_VARIABLE = "HARNESS_REDIS_URL"

_ENCODE = (
    "In the password, percent-encode / # ? [ ] @ : and %: "
    "python3 -c 'import getpass, urllib.parse as u; print(u.quote(getpass.getpass(), safe=\"\"))'"
)


@without_frames
def configured(kind: str, environ: Mapping[str, str]) -> PasswordServer | None:
    """Return the database server that the environment names, or None.

    psycopg and redis-py are optional (``pip install 'vault-harness[postgresql,redis]'``).

    ``HARNESS_POSTGRESQL_URL=postgresql://[admin[:password]@]host:port/database`` and
    ``HARNESS_REDIS_URL=redis://[admin[:password]@]host:port``. Without a user, the rotated account
    changes its own password. Options after a ``?`` belong to the library, such as ``sslmode`` or
    ``ssl_ca_certs``.
    """
    variable = POSTGRESQL_VARIABLE if kind == "postgresql" else REDIS_VARIABLE
    url = environ.get(variable)
    if not url:
        return None
    parts = _parts(variable, url)
    schemes = {"postgresql", "postgres"} if kind == "postgresql" else {"redis", "rediss"}
    if parts.scheme not in schemes or not parts.hostname:
        raise SettingsError(
            f"{variable} is not the URL of a {kind} server",
            looked_at=f"scheme {parts.scheme or 'missing'}, host "
            f"{'given' if parts.hostname else 'missing'}",
            remedy=f"Write it as {min(schemes)}://host:port/, with user and password before the "
            "host if the account cannot change its own password.",
        )
    server: PostgreSQL | Redis = PostgreSQL(url) if kind == "postgresql" else Redis(url)
    unknown = server.unknown_options()
    if unknown:
        raise SettingsError(
            f"{variable} has options that this server does not know: {', '.join(unknown)}",
            looked_at="the text after its ?",
            remedy=f"Correct them, or leave them out. {server.OPTIONS}",
        )
    return server


def _parts(variable: str, url: str) -> SplitResult:
    """Split the URL, and check that each part can be read.

    The error shows no part, which may hold a piece of a password with special characters.
    """
    try:
        parts = urlsplit(url)
        split_wrongly = parts.port == 0 or parts.fragment or "@" in parts.path + parts.query
    except ValueError:  # not chained, since it quotes a part of the URL
        split_wrongly = True
    if split_wrongly:
        raise SettingsError(
            f"{variable} cannot be split into user, password, host, port and options",
            looked_at=f"the URL in {variable}, which may have a password in it and is not shown",
            remedy=f"Write it as scheme://user:password@host:port/. {_ENCODE}",
        )
    return parts
