from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import requests

from vault_harness.errors import HarnessError
from vault_harness.local.engine.ports import PortLease
from vault_harness.settings import resources
from vault_harness.waiting import wait_until

MONITORING = resources() / "monitoring"
_EXPORTER = "prometheus-blackbox-exporter"
_SECONDS = 60.0
_SHORTEST = 2
"""Seconds. Vault writes its gauges once a second."""
_KEPT = _SHORTEST + 1.0
"""Seconds: longer than any rule waits before it fires."""


class Prometheus:
    """A running Prometheus.

    Attributes:
        address: Its base URL.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def query(self, expression: str) -> list[float]:
        """Return the values that an expression has now; a wrong expression fails the test."""
        answer = requests.get(f"{self.address}/api/v1/query", {"query": expression}, timeout=10)
        assert answer.status_code == 200, answer.text
        return [float(series["value"][1]) for series in answer.json()["data"]["result"]]

    def firing(self) -> set[str]:
        answer = requests.get(f"{self.address}/api/v1/alerts", timeout=10).json()
        alerts = answer["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def fired(self) -> set[str]:
        """Return the alerts that have fired at any moment of this test."""
        ever = 'max_over_time(ALERTS{alertstate="firing"}[1h])'
        answer = requests.get(f"{self.address}/api/v1/query", {"query": ever}, timeout=10).json()
        return {series["metric"]["alertname"] for series in answer["data"]["result"]}

    def await_samples(self, expression: str) -> None:
        wait_until(lambda: bool(self.query(expression)), expression, timeout=_SECONDS)

    def await_exactly(self, alerts: frozenset[str]) -> None:
        """Wait until these alerts fire, and no other one for longer than a rule waits."""
        since: float | None = None

        def kept() -> bool:
            nonlocal since
            if self.firing() != alerts:
                since = None
                return False
            since = time.monotonic() if since is None else since
            return time.monotonic() - since >= _KEPT

        wait_until(
            kept,
            f"exactly these alerts to fire: {sorted(alerts)}",
            timeout=_SECONDS,
            interval=0.2,
            evidence=lambda: f"firing: {sorted(self.firing())}",
        )


def quick(text: str) -> str:
    """Turn the minutes of PromQL into seconds, the only change that the tests make to it."""
    return re.sub(
        r"(\[|for: )(\d+)m\b", lambda found: f"{found[1]}{max(_SHORTEST, int(found[2]))}s", text
    )


@contextlib.contextmanager
def prometheus(
    directory: Path, targets: Sequence[str], *, blackbox: str = "", ca: Path | None = None
) -> Iterator[Prometheus]:
    """Run Prometheus with the files of ``compose/monitoring``. A minute of a rule is one second.

    `targets` are the ``host:port`` of each node, and `blackbox` that of the exporter that checks
    certificates. `ca` is the authority of nodes that speak TLS.
    """
    directory.mkdir()
    rules = (MONITORING / "rules.yml").read_text()
    (directory / "rules.yml").write_text(quick(rules))
    text = (MONITORING / "prometheus.yml").read_text()
    assert text.count('["vault:8200"]') == 2
    text = text.replace('["vault:8200"]', str([*targets]))
    text = text.replace("blackbox:9115", blackbox or "127.0.0.1:1").replace(": 10s", ": 500ms")
    if ca is not None:
        job = "- job_name: vault\n"
        assert job in text
        text = text.replace(job, f"{job}    scheme: https\n    tls_config: {{ca_file: {ca}}}\n")
    (directory / "prometheus.yml").write_text(text)
    with _served(
        directory,
        "prometheus",
        "--web.listen-address={listen}",
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/data",
    ) as listen:
        yield Prometheus(f"http://{listen}")


@contextlib.contextmanager
def certificates(directory: Path) -> Iterator[str]:
    """Run the exporter that checks certificates, and yield its ``host:port``."""
    if shutil.which(_EXPORTER) is None:
        pytest.skip(f"no blackbox exporter here: apt-get install {_EXPORTER}")
    directory.mkdir()
    with _served(
        directory,
        _EXPORTER,
        "--web.listen-address={listen}",
        f"--config.file={MONITORING}/blackbox.yml",
        "--timeout-offset=0.1",  # of the 0.5 s that our Prometheus waits
        ready="/-/healthy",
    ) as listen:
        yield listen


@contextlib.contextmanager
def _served(
    directory: Path, program: str, *arguments: str, ready: str = "/-/ready"
) -> Iterator[str]:
    """Yield the server's ``host:port`` when it is ready."""
    lease = PortLease()
    log = directory / "log"
    command = [program, *(part.format(listen=lease.listen) for part in arguments)]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=directory)
    try:
        wait_until(
            lambda: _ready(process, f"http://{lease.listen}{ready}"),
            f"{program} to be ready",
            timeout=_SECONDS,
            evidence=log.read_text,
        )
        yield lease.listen
    finally:
        process.kill()
        process.wait(timeout=10)
        lease.release()


def _ready(process: subprocess.Popen[bytes], address: str) -> bool:
    if process.poll() is not None:
        raise HarnessError(f"{process.args!r} ended with {process.returncode}")
    try:
        return requests.get(address, timeout=2).status_code == 200
    except requests.RequestException:
        return False


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[object]:
    """Return ``watching(*addresses)``: a Prometheus that has the first answer of each node."""
    if shutil.which("prometheus") is None:
        pytest.skip("no Prometheus here: apt-get install prometheus")
    with contextlib.ExitStack() as stack:

        def start(*addresses: str, ca: Path | None = None) -> Prometheus:
            targets = [address.split("://")[1] for address in addresses]
            exporter = ""
            if ca is not None:
                exporter = stack.enter_context(certificates(tmp_path / "exporter"))
            asks = prometheus(tmp_path / "prometheus", targets, blackbox=exporter, ca=ca)
            started = stack.enter_context(asks)
            started.await_samples(f'count(up{{job="vault"}} == 1) == {len(targets)}')
            started.await_samples("vault:logins_refused_at_most")
            return started

        yield start
