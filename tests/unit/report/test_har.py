from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.unit.report.conftest import TOKEN, Record
from tests.unit.scenario.conftest import Story
from vault_harness.errors import SettingsError
from vault_harness.judge.report.formats import SCHEMA_VERSION
from vault_harness.judge.report.har import write_har

Make = Callable[..., Record]

# Required fields of the specification, with their types.
PAGE = {"startedDateTime": str, "id": str, "title": str, "pageTimings": dict}
ENTRY = {
    "startedDateTime": str,
    "time": (int, float),
    "request": dict,
    "response": dict,
    "cache": dict,
    "timings": dict,
}
REQUEST = {
    "method": str,
    "url": str,
    "httpVersion": str,
    "cookies": list,
    "headers": list,
    "queryString": list,
    "headersSize": int,
    "bodySize": int,
}
RESPONSE = {
    "status": int,
    "statusText": str,
    "httpVersion": str,
    "cookies": list,
    "headers": list,
    "content": dict,
    "redirectURL": str,
    "headersSize": int,
    "bodySize": int,
}


def has(found: dict[str, Any], fields: dict[str, Any]) -> bool:
    return all(isinstance(found.get(name), kind) for name, kind in fields.items())


@pytest.fixture
def journal(story: Story, record: Make, tmp_path: Path) -> Path:
    """A journal with a good read, a refused one, and one without an answer."""
    story.sent("read", 1.0).token = "token-1"
    refused = story.sent("login", 2.0, status=403)
    refused.errors = (f"no {TOKEN} here",)
    story.sent("renew", 3.0, status=None).closed = "client"
    file = tmp_path / "journal.json"
    whole = {
        "schema_version": SCHEMA_VERSION,
        "suite_version": "1",
        "complete": True,
        "summary": "",
        "subject": "reference",
        "product": "",
        "engine": "process",
        "scenarios": [record()],
    }
    file.write_text(json.dumps(whole))
    return file


def test_each_field_that_har_requires_is_there(journal: Path, tmp_path: Path) -> None:
    """Times are moments with a zone."""
    assert write_har(journal, tmp_path / "run.har") == 3
    log = json.loads((tmp_path / "run.har").read_text())["log"]
    assert log["version"] == "1.2"
    assert has(log["creator"], {"name": str, "version": str})
    assert all(has(page, PAGE) for page in log["pages"])
    for entry in log["entries"]:
        assert has(entry, ENTRY)
        assert has(entry["request"], REQUEST)
        assert has(entry["response"], RESPONSE)
        assert has(entry["response"]["content"], {"size": int, "mimeType": str})
        assert sum(entry["timings"].values()) == entry["time"] >= 0
        assert entry["pageref"] == log["pages"][0]["id"]
        assert datetime.fromisoformat(entry["startedDateTime"]).tzinfo is not None


def test_it_says_what_happened(journal: Path, tmp_path: Path) -> None:
    """The token is a label."""
    write_har(journal, tmp_path / "run.har")
    text = (tmp_path / "run.har").read_text()
    read, login, renew = json.loads(text)["log"]["entries"]
    assert read["request"]["headers"] == [{"name": "X-Vault-Token", "value": "token-1"}]
    assert (login["response"]["status"], login["response"]["statusText"]) == (403, "Forbidden")
    assert "no <token-1> here" in login["comment"]
    assert renew["response"]["status"] == 0
    assert "closed by the client" in renew["comment"]
    assert TOKEN not in text


def test_a_file_that_is_no_journal_is_refused(journal: Path, tmp_path: Path) -> None:
    """A request without a time is named."""
    broken = json.loads(journal.read_text())
    broken["scenarios"][0]["exchanges"] = [{"kind": "read"}]
    journal.write_text(json.dumps(broken))
    with pytest.raises(SettingsError, match="not of the form"):
        write_har(journal, tmp_path / "run.har")
    assert not (tmp_path / "run.har").exists()
