"""A PostgreSQL of the harness, for scenarios about leases."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import signal
import threading
from pathlib import Path

from vault_harness import files
from vault_harness.closable import Closable
from vault_harness.errors import EngineError, HarnessError, ProgramMissing, ServerDied
from vault_harness.local.engine.folders import run_directory
from vault_harness.local.engine.ports import LOOPBACK, PortLease
from vault_harness.local.engine.process.spawn import LeashedProcess, child_environment
from vault_harness.local.programs import PostgresqlPrograms, find_postgresql
from vault_harness.waiting import wait_until

ADMIN = "harness"

_INITDB_SECONDS = 60.0
_STOP_SECONDS = 5.0
_LOG_LINES = 12

# Its data ends with the run.
_SETTINGS = ("fsync=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=200")

_SAYS_HOW_OFTEN = 16
"""The first version in which ``scram_iterations`` can be set."""


class Postgresql(Closable):
    """A PostgreSQL on loopback that ends with this process.

    Every connection needs a password, as in production. New passwords are hashed once instead of
    thousands of times. `close` or a later run deletes its folder.

    Args:
        host: The address to listen at. Its network may connect too.
        start_timeout: Seconds.
        started: Wait for the start. If not, only the data directory is begun, which takes a second.
    """

    user = ADMIN

    def __init__(
        self,
        programs: PostgresqlPrograms,
        *,
        host: str = LOOPBACK,
        start_timeout: float = 15.0,
        started: bool = True,
    ) -> None:
        self._programs = programs
        self.host = host
        # A folder of its own: under root it must be open to the server's user.
        self._held = run_directory()
        self._folder = self._held.__enter__()
        self._log = self._folder / "postgresql.log"
        self._password = secrets.token_hex(16)
        self._initdb: LeashedProcess | None = None
        self._process: LeashedProcess | None = None
        self._start_timeout = start_timeout
        self._port = PortLease()
        self.port = self._port.port
        try:
            self._initdb = self._begin_data()
            if started:
                self.start()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<PostgreSQL on {self.host}:{self.port}>"

    @property
    def password(self) -> str:
        return self._password

    @property
    def _data(self) -> Path:
        return self._folder / "server" / "data"

    @property
    def _initdb_log(self) -> Path:
        return self._data.parent / "initdb.log"

    @property
    def _password_file(self) -> Path:
        return self._data.parent / "password"

    def _begin_data(self) -> LeashedProcess:
        """Begin a data directory. It stores the password only as a hash."""
        home = files.private_directory(self._data.parent)
        files.write_private(self._password_file, self._password)
        user = self._programs.user
        if user is not None:
            self._folder.chmod(0o711)
            for path in (home, self._password_file):
                shutil.chown(path, user)
        command = [*self._programs.wrapper, str(self._programs.initdb), "-D", str(self._data)]
        command += ["-U", ADMIN, "--auth=scram-sha-256", "--locale=C", "--encoding=UTF8"]
        command += ["--no-sync", f"--pwfile={self._password_file}"]
        return LeashedProcess(command, log=self._initdb_log, environment=child_environment())

    def _finish_data(self, initdb: LeashedProcess) -> None:
        ended = initdb.wait(_INITDB_SECONDS)
        code = initdb.exit_code()
        initdb.kill()
        self._password_file.unlink()
        if not ended or code != 0:
            how = f"with exit code {code}" if ended else f"not within {_INITDB_SECONDS:g} s"
            raise EngineError(
                f"initdb ended {how}",
                looked_at=f"what it said:\n{self._said()}",
                remedy="fix what it reports; as root, see that the folder for temporary "
                "files (TMPDIR) is open to others",
            )
        self._write_rules()

    def _write_rules(self) -> None:
        """Let every user with a password connect."""
        file = self._data / "pg_hba.conf"
        rules = file.read_text()
        if self.host != LOOPBACK:  # containers connect from addresses of their own
            rules += "host all all samenet scram-sha-256\n"
        if not self._says_how_often:  # "md5" also accepts passwords that are stored for SCRAM
            rules = rules.replace("scram-sha-256", "md5")
        file.write_text(rules)

    @property
    def _says_how_often(self) -> bool:
        return int((self._data / "PG_VERSION").read_text()) >= _SAYS_HOW_OFTEN

    def _cheap_logins(self) -> str:
        """Return the setting that makes logins cheap.

        SCRAM hashes a password 4096 times for each login, three quarters of a client's cost.
        Passwords here are random and live for seconds, and lease scenarios log in ten times a
        second.
        """
        return "scram_iterations=1" if self._says_how_often else "password_encryption=md5"

    def start(self) -> None:
        if self._process is not None:
            return
        if (initdb := self._initdb) is not None:
            self._initdb = None
            self._finish_data(initdb)
        command = [*self._programs.wrapper, str(self._programs.postgres), "-D", str(self._data)]
        command += ["-p", str(self.port), "-h", self.host, "-k", ""]
        for setting in (*_SETTINGS, self._cheap_logins()):
            command += ["-c", setting]
        self._process = LeashedProcess(command, log=self._log, environment=child_environment())
        self.await_ready()

    def await_ready(self) -> None:
        """Wait until it accepts connections. A fork of the starting process may wait too."""
        wait_until(
            self._ready, "PostgreSQL to be ready", timeout=self._start_timeout, evidence=self._said
        )

    def _ready(self) -> bool:
        """Read the server's status file, as pg_ctl does."""
        if self._process is not None and not self._process.alive():
            raise ServerDied(
                "PostgreSQL ended before it was ready", looked_at=f"its log:\n{self._said()}"
            )
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready"

    def _said(self) -> str:
        logs = (self._log, self._initdb_log)
        said = next((log.read_text(errors="replace") for log in logs if log.is_file()), "")
        return _tail(said)

    def stop(self) -> None:
        """End it with all sessions; keep its data."""
        process, self._process = self._process, None
        if process is not None:
            process.signal(signal.SIGINT)  # "fast" shutdown, which does not wait for sessions
            if not process.wait(_STOP_SECONDS):
                process.kill()
            process.release()

    def close(self) -> None:
        if self._initdb is not None:
            self._initdb.kill()
        self.stop()
        self._port.release()
        self._held.__exit__(None, None, None)


_STATUS_LINE = 7  # in postmaster.pid, counted from 0


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-_LOG_LINES:])


class SharedPostgresql:
    """One server for all scenarios of a run, each with its own users.

    A given `server` belongs to the process from which this one was forked. Without it, a server
    starts when the first scenario needs it.
    """

    def __init__(self, *, host: str = LOOPBACK, server: Postgresql | None = None) -> None:
        self._host = host
        self._given = server
        self._lock = threading.Lock()
        self._server: Postgresql | None = None

    def lacking(self) -> str:
        """Return why no server is possible here, or ``""``."""
        if importlib.util.find_spec("psycopg") is None:
            return "psycopg is not installed (pip install vault-harness[postgresql])"
        try:
            find_postgresql()
        except ProgramMissing as missing:
            return f"{missing.cause} (looked at: {missing.looked_at})"
        return ""

    def server(self) -> Postgresql:
        if self._given is not None:
            self._given.await_ready()
            return self._given
        with self._lock:
            server = self._begun()
            try:
                server.start()
            except HarnessError:  # the next scenario tries again
                self._server = None
                server.close()
                raise
            return server

    def begin(self) -> Postgresql:
        """Prepare the server's data in advance."""
        with self._lock:
            return self._begun()

    def _begun(self) -> Postgresql:
        if self._server is None:
            self._server = Postgresql(find_postgresql(), host=self._host, started=False)
        return self._server

    def close(self) -> None:
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.close()
