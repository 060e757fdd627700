"""One look at a server over HTTP."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit


def get(url: str, *, timeout: float = 1.0) -> tuple[int, bytes] | None:
    """Status and body of a GET, or None if nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/")
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def is_ok(url: str, *, timeout: float = 1.0) -> bool:
    """Whether it answers 200."""
    answer = get(url, timeout=timeout)
    return answer is not None and answer[0] == 200
