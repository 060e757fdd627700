from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vault_harness.judge.lab import read_audit
from vault_harness.recorder.history import History


def line(when: str, kind: str = "response", **more: object) -> str:
    request = {"path": "ecommerce/data/x", "operation": "read"}
    return json.dumps(
        {"time": when, "type": kind, "request": request, "auth": {"accessor": "a"}, **more}
    )


def stamp(seconds: float, form: str = "%Y-%m-%dT%H:%M:%S.%fZ") -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(form)


def test_answered_requests(tmp_path: Path) -> None:
    """Each has a path, an operation, an accessor and an error."""
    log, now = tmp_path / "audit.log", time.time()
    log.write_text(
        "\n".join(
            [
                line(stamp(now), "request"),
                line(stamp(now + 1.25)),
                line(stamp(now + 2), auth=None, error="1 error occurred: permission denied"),
            ]
        )
    )
    history = History(started_wall=now)
    one, two = read_audit(log, history)
    assert one.at == pytest.approx(1.25, abs=1e-4)
    assert (one.path, one.operation, one.accessor, one.error) == (
        "ecommerce/data/x",
        "read",
        "a",
        None,
    )
    assert (two.accessor, two.error) == (None, "1 error occurred: permission denied")


@pytest.mark.parametrize(
    "form",
    [
        "%Y-%m-%dT%H:%M:%SZ",
        "%Y-%m-%dT%H:%M:%S.5Z",
        "%Y-%m-%dT%H:%M:%S.123456789Z",
        "%Y-%m-%dT%H:%M:%S.123456+00:00",
    ],
)
def test_times(tmp_path: Path, form: str) -> None:
    """Times have any number of digits, and UTC is written in two ways."""
    log, now = tmp_path / "audit.log", float(int(time.time()))
    log.write_text(line(stamp(now + 3, form)))
    (record,) = read_audit(log, History(started_wall=now))
    assert 3.0 <= record.at < 4.0


@pytest.mark.parametrize("text", ['{"type": "resp', "[]", "3", line("yesterday"), line(""), "\x00"])
def test_lines_that_make_no_sense(tmp_path: Path, text: str) -> None:
    log = tmp_path / "audit.log"
    log.write_text(f"{line(stamp(time.time()))}\n{text}")
    assert len(read_audit(log, History())) == 1
