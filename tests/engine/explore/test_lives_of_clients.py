from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import psutil
import pytest

from tests.mutants.catalogue import CATALOGUE
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import ClientError, UnavailableError
from vault_harness.judge.explore.life import Order, Seen
from vault_harness.judge.explore.points import Point
from vault_harness.judge.explore.schedule import FAULTS, Baseline, Schedule, Step, to_toml
from vault_harness.judge.explore.shared import Servers
from vault_harness.judge.explore.workers import Place, carry_out, opened, workers
from vault_harness.settings import Settings
from vault_harness.waiting import wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
LAZY = "python:tests.subjects.lazy_client:LazyClient"
DENIED = "python:tests.mutants.clients:LogsInOnEvery403"

LOGIN = Point("login", "auth/approle/login", "start", "first")
READ = Point("read", "secret", "steady", "first")
AGAIN = Point("read", "secret", "after a fault", "second")
NEAR = Point("renew", "auth/token/renew-self", "near max TTL", "first")
RENEW = Point("renew", "auth/token/renew-self", "renewal due", "first")
REPLACED = "the token is renewed, or replaced, before its end"
SURVIVES = "the token survives: no login"
DENIES = Step(READ, "policy-narrowed", FAULTS["policy-narrowed"].lasts)
BASELINE = Baseline(rate=8, own=1, keeps=True, revokes=True)


@pytest.fixture(scope="module", autouse=True)
def place() -> Iterator[Place]:
    with opened(Settings(engine="process"), LAZY, seed=1) as one:
        yield one


def lived(*steps: Step, number: int) -> Seen:
    seen = carry_out(LAZY, Order(number, Schedule(steps)))
    assert seen.word != "error", seen.why
    return seen


def test_a_life_without_faults_shows_its_points() -> None:
    seen = lived(number=1)
    assert seen.word == "pass", seen.why
    for point in (
        LOGIN,
        READ,
        RENEW,
        Point("revoke", "auth/token/revoke-self", "closing", "first"),
    ):
        assert any(point.fits(one) for one in seen.points), point


@pytest.mark.parametrize(
    "step",
    [
        Step(LOGIN, "503", 1.5),
        Step(READ, "token-revoked"),
        Step(READ, "refused", 1.5),
        Step(READ, "sealed", 1.5),
        Step(READ, "secret-deleted", 1.5),
        Step(replace(READ, phase="renewal due"), "404", 1.5),  # which no renewal meets
        Step(RENEW, "lost"),
        Step(RENEW, "silent", 1.5),
        Step(RENEW, "secret-id-gone", 1.5),
        Step(RENEW, "role-locked", 1.5),
    ],
    ids=lambda step: f"{step.point.kind}-{step.fault}",
)
def test_a_correct_client_meets_a_fault_and_survives(step: Step) -> None:
    seen = lived(step, number=100 + crc32(str(step).encode()) % 10_000)
    assert seen.begun == 1
    assert seen.findings == (), seen.findings


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Step(READ, "500"), Step(AGAIN, "503")),
        (Step(READ, "policy-narrowed", 1.5), Step(AGAIN, "sealed", 1.5)),
        (Step(READ, "policy-narrowed", 1.5), Step(AGAIN, "policy-narrowed", 1.5)),
        (Step(READ, "sealed", 1.5), Step(AGAIN, "secret-deleted", 1.5)),
        (Step(READ, "secret-id-gone", 1.5), Step(AGAIN, "secret-id-gone", 1.5)),
    ],
    ids=lambda step: step.fault,
)
def test_two_faults_come_in_their_order(first: Step, second: Step) -> None:
    """Both are undone, too: a sealed Vault cannot be changed, and two faults may be alike."""
    number = 50_000 + crc32(f"{first} {second}".encode()) % 10_000
    seen = lived(first, second, number=number)
    assert seen.begun == 2
    assert seen.findings == (), seen.findings


@pytest.mark.parametrize(
    ("client", "step", "promise"),
    [
        ("clients:GivesUpRenewing", Step(RENEW, "500"), REPLACED),
        ("sea_seal:TreatsASealAsADeadToken", Step(READ, "sealed", 1.5), SURVIVES),
        ("sea_seal:TreatsASealAsADeadToken", Step(READ, "503"), SURVIVES),
    ],
)
def test_a_token_that_is_given_up_is_found(client: str, step: Step, promise: str) -> None:
    """A client must keep its token alive after a failed renewal, and keep it after an outage."""
    schedule = Schedule((step,), baseline=BASELINE)
    number = 20_000 + crc32(f"{client} {step}".encode()) % 10_000
    seen = carry_out(f"python:tests.mutants.{client}", Order(number, schedule))
    assert seen.promises == {promise}, seen


@pytest.mark.parametrize(
    ("client", "step", "promise"),
    [
        ("treats-a-gateway-page-as-a-missing-secret", Step(READ, "page-404"), "called missing"),
        ("returns-an-old-value-when-denied", DENIES, "fails as denied"),
        ("revokes-no-token-at-its-end-after-an-outage", Step(READ, "503", 4.0), "given back"),
        ("reports-silence-as-a-denial", Step(READ, "silent", 4.0), "reported as denied"),
    ],
)
def test_what_callers_see_in_a_fault_is_judged(client: str, step: Step, promise: str) -> None:
    schedule = Schedule((step,), baseline=BASELINE)
    number = 30_000 + crc32(f"{client} {step}".encode()) % 9_000
    seen = carry_out(CATALOGUE[client].subject, Order(number, schedule))
    assert promise in " ".join(seen.promises), seen


class StartsOnlyOnce(LazyClient):
    """Gives up if its first login fails, and is then in its own way."""

    _gave_up = False

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        try:
            if StartsOnlyOnce._gave_up:
                raise UnavailableError("another start left its lock")
            self._valid_token(time.monotonic() + 1.0)
        except ClientError:
            StartsOnlyOnce._gave_up = True
            self.close()
            raise


def test_a_client_that_does_not_start_again_is_found() -> None:
    client = f"python:{__name__}:{StartsOnlyOnce.__name__}"
    seen = carry_out(client, Order(61_000, Schedule((Step(LOGIN, "503", 4.0),))))
    assert seen.promises == {"it starts again once the faults are over"}, seen


@pytest.mark.parametrize(
    ("client", "promises"),
    [(LAZY, set()), ("python:tests.mutants.tok_replacement:IgnoresMaxTtl", {REPLACED})],
)
def test_a_token_is_replaced_at_its_max_ttl(client: str, promises: set[str]) -> None:
    """A fault near the max TTL costs no read, and a token that no login replaces is found."""
    schedule = Schedule((Step(NEAR, "500"),), max_ttl=12.0, baseline=BASELINE)
    seen = carry_out(client, Order(40_000 + len(promises), schedule))
    assert seen.begun == 1, seen
    assert promises <= seen.promises, seen
    assert bool(promises) == bool(seen.findings), seen


def test_two_processes_of_a_cluster_explore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster  # changes how exceptions are copied

    monkeypatch.setenv("HARNESS_ENGINE", "process")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with LocalCluster(n_workers=2, threads_per_worker=10, dashboard_address=":0") as cluster:
        words = ("--subject", DENIED, "--only", "policy-narrowed", "--singles")
        where = ("--cluster", cluster.scheduler_address, "--report", str(tmp_path))
        process = harness("explore", *words, *where)
        text, _ = process.communicate(timeout=300)
        with cluster.get_client() as client:
            started = client.run(lambda: [child.name() for child in psutil.Process().children()])
    assert process.returncode == 1, text
    assert re.search(r"^\d findings?$", text, re.MULTILINE), text
    assert len(started) == 2
    assert all("bao" in names for names in started.values()), started


def test_a_cluster_that_is_not_there_is_told() -> None:
    process = harness("explore", "--cluster", "tcp://127.0.0.1:1")
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 4, text
    assert "no Dask scheduler answers there" in text
    assert "tcp://127.0.0.1:1" in text


def test_a_cluster_without_workers_is_told() -> None:
    from distributed import LocalCluster  # changes how exceptions are copied

    with LocalCluster(n_workers=0, dashboard_address=":0") as cluster:
        process = harness("explore", "--cluster", cluster.scheduler_address)
        text, _ = process.communicate(timeout=60)
    assert process.returncode == 4, text
    assert "the cluster has no workers" in text
    assert f"dask worker {cluster.scheduler_address}" in text


def test_a_worker_of_a_cluster_chooses_its_engine() -> None:
    process = harness("explore", "--cluster", "tcp://127.0.0.1:1", "--engine", "process")
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 4, text
    assert "HARNESS_ENGINE" in text


def test_servers_follow_each_other(place: Place) -> None:
    """The next Vault runs before the last one stops, which waits for its last run."""
    with closing(Servers(place.environment, most=1)) as servers:
        first = servers.take()
        assert servers.take() is first, "the next one is started only now"
        wait_until(lambda: servers.take() is not first, "the next Vault", timeout=20)
        address = first.shared.address.removeprefix("http://").split(":")
        while first.busy:
            socket.create_connection((address[0], int(address[1])), timeout=5).close()
            servers.give_back(first)
        wait_until(lambda: refuses(address[0], int(address[1])), "the first to stop", timeout=20)


def refuses(host: str, port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex((host, port)) != 0


class TakesAnErrorAfterALostAnswerAsFinal(LazyClient):
    """Retries a renewal that got no answer and one that failed, and gives up if both happen."""

    _unheard = _broken = False

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            renewed = super()._renewed(token, deadline)
        except UnavailableError as error:
            answered = "Vault answered" in str(error)
            self._broken = self._broken or (answered and self._unheard)
            self._unheard = not answered
            raise
        self._unheard = False
        return renewed

    def _arm(self, seconds: float) -> None:
        if not self._broken:
            super()._arm(seconds)


def test_a_pair_breaks_a_client_that_survives_each_fault() -> None:
    with workers(4) as pool:
        fragile = f"python:{__name__}:{TakesAnErrorAfterALostAnswerAsFinal.__name__}"
        again = replace(RENEW, phase="after a fault")
        lost, failed = Step(RENEW, "lost"), Step(again, "500")
        runs = [
            pool.submit(
                carry_out, subject, Order(number, Schedule(steps, ttl=12.0, baseline=BASELINE))
            )
            for number, (subject, steps) in enumerate(
                [
                    (fragile, (lost,)),
                    (fragile, (Step(RENEW, "500"),)),
                    (fragile, (lost, failed)),
                    (LAZY, (lost, failed)),
                ],
                start=3,
            )
        ]
        seen = [run.result() for run in runs]
    assert [one.begun for one in seen] == [1, 1, 2, 2]
    assert [one.word for one in seen] == ["pass", "pass", "fail", "pass"]
    assert seen[2].promises == {REPLACED}


def harness(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vault_harness", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HARNESS_ENGINE": "process"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_a_schedule_is_replayed(tmp_path: Path) -> None:
    """A client that logs in on every denial breaks three times of three."""
    file = tmp_path / "schedule.toml"
    file.write_text(to_toml(Schedule((Step(READ, "policy-narrowed", 1.5),), DENIED)))
    process = harness("replay", str(file))
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 1, text
    assert len(re.findall(r"run \d of 3: fail", text)) == 3, text
    assert "logins" in text


def children_of(session: int) -> list[int]:
    """Return the processes whose session is this one, or whose parent was in it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(folder.name))
    return found


def told(process: subprocess.Popen[str], words: str) -> None:
    """Read a process's output up to a line with these words."""
    assert process.stdout is not None
    assert any(words in line for line in process.stdout), words


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_search_leaves_nothing_and_goes_on(
    number: signal.Signals, tmp_path: Path
) -> None:
    words = ("--subject", LAZY, "--only", "503", "--workers", "4", "--report", str(tmp_path))
    process = harness("explore", *words)
    told(process, "points observed")
    passed = tmp_path / "schedules" / "passed.jsonl"
    wait_until(passed.exists, "a run that passes, while others live", timeout=60)
    process.send_signal(number)
    rest = process.communicate(timeout=60)[0]
    wait_until(lambda: not children_of(process.pid), "its processes to end", timeout=20)
    if number == signal.SIGTERM:
        assert process.returncode == 143, rest
        assert "interrupted; this goes on: " in rest
        assert f"explore {shlex.join(words)}" in rest
    again = harness("explore", *words)
    told(again, "of an interrupted search are not repeated")
    again.terminate()
    again.communicate(timeout=60)
