"""A real Prometheus, with the rules that we ship on a quicker clock."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import requests

from vault_harness.engine import Engine, PortLease, open_engine
from vault_harness.errors import HarnessError
from vault_harness.settings import Settings, resources
from vault_harness.waiting import wait_until

MONITORING = resources() / "monitoring"
_EXPORTER = "prometheus-blackbox-exporter"
_SECONDS = 60.0


class Prometheus:
    """A running one.

    Attributes:
        address: Its base URL.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def query(self, expression: str) -> list[dict[str, object]]:
        """What an expression gives now; Prometheus's objection is a failure."""
        answer = requests.get(f"{self.address}/api/v1/query", {"query": expression}, timeout=10)
        assert answer.status_code == 200, answer.text
        result: list[dict[str, object]] = answer.json()["data"]["result"]
        return result

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        answer = requests.get(f"{self.address}/api/v1/alerts", timeout=10).json()
        alerts = answer["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def await_samples(self, expression: str) -> None:
        """Wait until an expression gives something."""
        wait_until(lambda: bool(self.query(expression)), expression, timeout=_SECONDS)

    def await_alert(self, name: str) -> None:
        """Wait until an alert fires."""
        wait_until(
            lambda: name in self.firing(),
            f"the alert {name}",
            timeout=_SECONDS,
            interval=0.2,
            evidence=lambda: f"firing: {sorted(self.firing())}",
        )


@contextlib.contextmanager
def prometheus(
    directory: Path, targets: Sequence[str], *, blackbox: str = ""
) -> Iterator[Prometheus]:
    """Prometheus with the files of ``compose/monitoring``, each minute of a rule a second.

    Args:
        directory: Where it keeps its files.
        targets: ``host:port`` of each node.
        blackbox: ``host:port`` of the exporter that looks at certificates.
    """
    directory.mkdir()
    rules = (MONITORING / "rules.yml").read_text()
    # Never less than 3 s: Vault writes its gauges once a second.
    quick = re.sub(r"(?<=\[)\d+(?=m\])|(?<=for: )\d+(?=m)", lambda n: str(max(3, int(n[0]))), rules)
    quick = re.sub(r"(?<=\d)m(?=\])|(?<=for: \d)m", "s", quick)
    assert quick != rules
    assert not re.search(r"\[\d+m\]|for: \d+m", quick)
    (directory / "rules.yml").write_text(quick)
    text = (MONITORING / "prometheus.yml").read_text()
    assert text.count('["vault:8200"]') == 2
    text = text.replace('["vault:8200"]', str([*targets]))
    text = text.replace("blackbox:9115", blackbox or "127.0.0.1:1").replace(": 10s", ": 500ms")
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
    """The exporter that looks at certificates: its ``host:port``."""
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
    """A server that is ready; it ends with the block."""
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


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Servers as child processes."""
    settings = Settings(engine="process", start_timeout=60)
    with open_engine(settings, directory=tmp_path_factory.mktemp("engine")) as opened:
        yield opened


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[object]:
    """``watching(nodes)``: a Prometheus that asks these nodes, and has their answers."""
    if shutil.which("prometheus") is None:
        pytest.skip("no Prometheus here: apt-get install prometheus")
    with contextlib.ExitStack() as stack:

        def start(*addresses: str, certificate: bool = False) -> Prometheus:
            targets = [address.split("://")[1] for address in addresses]
            exporter = ""
            if certificate:
                exporter = stack.enter_context(certificates(tmp_path / "exporter"))
            asks = prometheus(tmp_path / "prometheus", targets, blackbox=exporter)
            started = stack.enter_context(asks)
            if not certificate:
                everyone = f'count(up{{job="vault"}} == 1) == {len(targets)}'
                started.await_samples(everyone)
                started.await_samples("vault:failed_logins")
            return started

        yield start
