"""Write the requests of a run as HAR 1.2, for browsers' developer tools and proxies.

http://www.softwareishard.com/blog/har-12-spec/. Each scenario is a page. The journal has neither
bodies nor headers, and labels in place of secrets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from vault_harness.files import write_text
from vault_harness.judge.report.formats import suite_version
from vault_harness.judge.report.journal import load, malformed

VERSION = "1.2"
_UNKNOWN = -1  # HAR's word for a size that nobody noted


def write_har(journal: Path, to: Path) -> int:
    with malformed(journal, "a request"):
        made = har(load(journal))
    write_text(to, json.dumps(made, indent=1) + "\n")
    return len(made["log"]["entries"])


def har(journal: Mapping[str, Any]) -> dict[str, Any]:
    ran = [one for one in journal["scenarios"] if one.get("exchanges")]
    return {
        "log": {
            "version": VERSION,
            "creator": {"name": "vault-harness", "version": suite_version()},
            "pages": [_page(one) for one in ran],
            "entries": [entry for one in ran for entry in _entries(one)],
            "comment": str(journal["subject"]),
        }
    }


def _page(record: Mapping[str, Any]) -> dict[str, Any]:
    faults = [
        f"{one['name']} from {one['began']:.2f} s"
        + (f" to {one['ended']:.2f} s" if one.get("ended") is not None else "")
        for one in record.get("faults") or ()
    ]
    return {
        "startedDateTime": _moment(record, 0.0),
        "id": record["id"],
        "title": f"{record['id']} {record['word']}: {record['promise']}",
        "pageTimings": {},
        "comment": "; ".join(faults),
    }


def _entries(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for one in record["exchanges"]:
        took = round(((one.get("ended") or one["began"]) - one["began"]) * 1000, 3)
        yield {
            "pageref": record["id"],
            "startedDateTime": _moment(record, one["began"]),
            "time": took,
            "request": _request(one),
            "response": _response(one),
            "cache": {},
            "timings": {"send": 0, "wait": took, "receive": 0},
            "connection": str(one.get("connection", "")),
            "comment": _comment(one),
        }


def _request(one: Mapping[str, Any]) -> dict[str, Any]:
    sent = {"X-Vault-Token": one.get("token"), "X-Vault-Namespace": one.get("namespace")}
    return {
        "method": one["method"],
        "url": f"http://vault/v1/{one['path']}",
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": [{"name": name, "value": value} for name, value in sent.items() if value],
        "queryString": [],
        "headersSize": _UNKNOWN,
        "bodySize": _UNKNOWN,
    }


def _response(one: Mapping[str, Any]) -> dict[str, Any]:
    status = one.get("status") or 0
    known = status in HTTPStatus.__members__.values()
    return {
        "status": status,
        "statusText": HTTPStatus(status).phrase if known else "",
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": [],
        "content": {"size": 0, "mimeType": "application/json"},
        "redirectURL": "",
        "headersSize": _UNKNOWN,
        "bodySize": _UNKNOWN,
    }


def _comment(one: Mapping[str, Any]) -> str:
    words = [str(one["kind"]), *map(str, one.get("errors") or ())]
    if one.get("by") == "stub":
        words.append("answered by the harness")
    if one.get("interference"):
        words.append(f"fault: {one['interference']}")
    if one.get("closed"):
        words.append(f"closed by the {one['closed']} before the answer was complete")
    return "; ".join(words)


def _moment(record: Mapping[str, Any], at: float) -> str:
    return datetime.fromtimestamp(record["started"] + at, UTC).isoformat(timespec="milliseconds")
