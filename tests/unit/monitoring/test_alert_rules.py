"""The alert rules pass Prometheus' own tester."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vault_harness.settings import resources

MONITORING = resources() / "monitoring"
CASES = Path(__file__).with_name("alert_rules.yml")

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool here: apt-get install prometheus"
)


def run(*arguments: object) -> None:
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_rules_by_their_cases() -> None:
    """Each rule keeps its threshold and its waiting time."""
    run("test", "rules", CASES)


@promtool
def test_configuration() -> None:
    run("check", "config", MONITORING / "prometheus.yml")


def test_dashboard_and_its_source_belong_together() -> None:
    dashboard = json.loads((MONITORING / "grafana/dashboards/vault.json").read_text())
    source = (MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text()
    (uid,) = re.findall(r"uid: (\w+)", source)
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    assert {target["datasource"]["uid"] for target in targets} == {uid}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_monitoring_is_for_this_machine_only() -> None:
    text = (MONITORING.parent / "monitoring.yml").read_text()
    ports = re.findall(r"^ +- (\S+:\d+)$", text, flags=re.MULTILINE)
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)
    images = re.findall(r"image: (\S+)", text)
    assert len(images) == 3
    assert all(re.search(r":v?\d+\.\d+\.\d+\}$", image) for image in images), "pinned"
