from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest

from vault_harness.errors import ProgramMissing
from vault_harness.local.engine.process.postgresql import Postgresql
from vault_harness.local.programs import PostgresqlPrograms, find_postgresql
from vault_harness.waiting import wait_until


@pytest.fixture
def programs() -> PostgresqlPrograms:
    try:
        return find_postgresql()
    except ProgramMissing as missing:
        pytest.skip(str(missing))


def _ask(server: Postgresql, password: str) -> str:
    with psycopg.connect(
        host=server.host, port=server.port, user=server.user, password=password, dbname="postgres"
    ) as connection:
        row = connection.execute("SELECT current_user").fetchone()
    assert row is not None
    return str(row[0])


def test_it_takes_its_own_password_only(programs: PostgresqlPrograms) -> None:
    with Postgresql(programs) as server:
        assert _ask(server, server.password) == server.user
        with pytest.raises(psycopg.OperationalError, match="password"):
            _ask(server, "another")


def test_it_listens_where_containers_reach_it(programs: PostgresqlPrograms) -> None:
    with Postgresql(programs, host="127.0.0.2") as server:
        assert server.host == "127.0.0.2"
        assert _ask(server, server.password) == server.user
        with pytest.raises(psycopg.OperationalError, match="password"):
            _ask(server, "another")
        assert not _listens(server.port, at="127.0.0.1")


def test_a_login_costs_little(programs: PostgresqlPrograms) -> None:
    """A user's password is hashed once."""
    with Postgresql(programs) as server:
        where = f"host={server.host} port={server.port} dbname=postgres"
        administrator = f"{where} user={server.user} password={server.password}"
        with psycopg.connect(administrator) as connection:
            connection.execute("CREATE ROLE app LOGIN PASSWORD 'its-own'")
            stored = connection.execute(
                "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'"
            ).fetchone()
        assert stored is not None
        assert stored[0].startswith(("SCRAM-SHA-256$1:", "md5"))
        psycopg.connect(f"{where} user=app password=its-own").close()
        for password in ("another", "", stored[0]):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(f"{where} user=app password='{password}'")


def test_it_comes_back_with_its_data(programs: PostgresqlPrograms) -> None:
    with Postgresql(programs) as server:
        where = (
            f"host={server.host} port={server.port} user={server.user} "
            f"password={server.password} dbname=postgres"
        )
        with psycopg.connect(where) as connection:
            connection.execute("CREATE TABLE kept (word text)")
        server.stop()
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            _ask(server, server.password)
        server.start()
        server.start()
        with psycopg.connect(where) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_fork_waits_for_what_its_parent_starts(programs: PostgresqlPrograms) -> None:
    """A server that begins before a fork and starts after it serves both processes."""
    with Postgresql(programs, started=False) as server:
        assert not _listens(server.port)
        ours, theirs = multiprocessing.Pipe()

        def ask() -> None:
            theirs.send("waits")
            server.await_ready()
            theirs.send(_ask(server, server.password))

        fork = multiprocessing.get_context("fork").Process(target=ask)
        fork.start()
        try:
            assert ours.recv() == "waits"
            server.start()
            assert ours.poll(15.0), "the fork has not been let in"
            assert ours.recv() == server.user
        finally:
            fork.kill()
            fork.join()
        assert _ask(server, server.password) == server.user


def test_an_unfinished_server_is_ended(programs: PostgresqlPrograms) -> None:
    server = Postgresql(programs, started=False)
    initdb = server._initdb
    assert initdb is not None
    server.close()
    assert not initdb.alive()
    assert not server._folder.exists()


def test_its_password_is_shown_nowhere(programs: PostgresqlPrograms) -> None:
    with Postgresql(programs) as server:
        lines = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
        assert server.password not in f"{lines} {server!r}"


def test_close_leaves_nothing(
    programs: PostgresqlPrograms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        monkeypatch.setattr(tempfile, "tempdir", name)
        server = Postgresql(programs)
        connection = psycopg.connect(
            host=server.host, port=server.port, user=server.user, password=server.password,
            dbname="postgres",
        )  # fmt: skip
        server.close()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        connection.close()
        assert list(folder.iterdir()) == []


def test_it_dies_with_its_harness(programs: PostgresqlPrograms) -> None:
    script = (
        "import sys, time\n"
        "from vault_harness.local.engine.process.postgresql import Postgresql\n"
        "from vault_harness.local.programs import find_postgresql\n"
        "server = Postgresql(find_postgresql())\n"
        "print(server.port, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as harness:
        assert harness.stdout is not None
        port = int(harness.stdout.readline())
        harness.send_signal(signal.SIGKILL)
        wait_until(lambda: not _listens(port), "the server to be gone", timeout=10)


def _listens(port: int, *, at: str | None = None) -> bool:
    return any(
        found.laddr
        and found.laddr.port == port
        and found.status == psutil.CONN_LISTEN
        and at in (None, found.laddr.ip)
        for found in psutil.net_connections("tcp")
    )


def test_the_error_repeats_what_initdb_said(programs: PostgresqlPrograms) -> None:
    broken = PostgresqlPrograms(
        initdb=Path("/bin/false"), postgres=programs.postgres, user=programs.user
    )
    with pytest.raises(Exception, match="initdb ended with exit code 1"):
        Postgresql(broken)
