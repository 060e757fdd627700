from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

_PLACES = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
ADMIN_PASSWORD = "admin-of-the-test"


@dataclass
class Server:
    """A running server on 127.0.0.1. `restart` keeps its files."""

    port: int
    restart: Callable[[], None]


def find_program(name: str) -> str | None:
    """Find a server's program on PATH, or where Debian keeps PostgreSQL's."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_PLACES]))


@contextlib.contextmanager
def postgresql() -> Iterator[Server]:
    """Run a PostgreSQL with an administrator ``admin``, and SCRAM for TCP connections."""
    initdb, postgres = find_program("initdb"), find_program("postgres")
    assert initdb is not None
    assert postgres is not None
    with _private_folder() as folder:
        password = folder / "password"
        password.write_text(ADMIN_PASSWORD)
        _give_away(password)
        data = folder / "data"
        command = [initdb, "-D", str(data), "-U", "admin", "--auth=scram-sha-256", "-N"]
        subprocess.run(
            [*_unprivileged(), *command, f"--pwfile={password}"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        port = _free_port()
        settings = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]
        place = ["-D", str(data), "-p", str(port), "-k", str(folder)]
        with _running([postgres, *place, *settings], port, folder) as restart:
            _wait_for_login(port)
            yield Server(port, restart)


@contextlib.contextmanager
def redis(password: str) -> Iterator[Server]:
    """Run a Redis whose configuration file gives the default user ``password``."""
    program = find_program("redis-server")
    assert program is not None
    with _private_folder() as folder:
        port = _free_port()
        configuration = folder / "redis.conf"
        configuration.write_text(
            f'port {port}\nbind 127.0.0.1\ndir {folder}\nsave ""\nrequirepass {password}\n'
        )
        _give_away(configuration)
        with _running([program, str(configuration)], port, folder) as restart:
            yield Server(port, restart)


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    # Only its owner can enter pytest's tmp_path.
    with tempfile.TemporaryDirectory(prefix="harness-server-") as name:
        folder = Path(name)
        _give_away(folder)
        yield folder


@contextlib.contextmanager
def _running(command: list[str], port: int, folder: Path) -> Iterator[Callable[[], None]]:
    process: subprocess.Popen[bytes] | None = None

    def start() -> None:
        nonlocal process
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [*_unprivileged(), *command], stdout=log, stderr=log, cwd=folder
            )
        _wait_for(port, process, folder / "log")

    def stop() -> None:
        assert process is not None
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart() -> None:
        stop()
        start()

    start()
    try:
        yield restart
    finally:
        stop()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, f"the server ended: {log.read_text()[-2000:]}"
        assert time.monotonic() < deadline, f"port {port} does not open: {log.read_text()[-2000:]}"
        time.sleep(0.02)


def _wait_for_login(port: int) -> None:
    """PostgreSQL listens before it has finished its start."""
    url = f"postgresql://admin:{ADMIN_PASSWORD}@127.0.0.1:{port}/postgres"
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "PostgreSQL takes no login within 30 s"
            time.sleep(0.02)
        else:
            return


def _user() -> str | None:
    """Return the user to run a server as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), None)


def _unprivileged() -> list[str]:
    user = _user()
    if shutil.which("setpriv") is None:
        assert user is None, "setpriv (util-linux) is needed to leave root"
        return []
    leash = ["setpriv", "--pdeathsig", "KILL"]
    if user is None:
        return leash
    entry = pwd.getpwnam(user)
    return [*leash, "--reuid", str(entry.pw_uid), "--regid", str(entry.pw_gid), "--clear-groups"]


def _give_away(path: Path) -> None:
    user = _user()
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
