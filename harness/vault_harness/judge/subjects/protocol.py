"""The line protocol: what a line holds, and what can be wrong with it.

Each line is a JSON object; requests have ids, and answers come in any order.
``docs/reference/line-protocol.md`` describes the protocol for authors of clients.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from typing import Any

from vault_harness import errors
from vault_harness.judge.subjects.shape import (
    Credential,
    OperationFailed,
    Reading,
    Whole,
    outcome_of,
)

Object = Mapping[str, Any]

MAX_LINE = 32 * 1024 * 1024
"""Bytes in one answer at most. By default Vault takes no larger request."""

_LIKE_AN_ID = re.compile(r"(?=[\w.+/=-]*\d)[\w.+/=-]{20,}")
"""The form of a secret-id, a token and most passwords."""


def encode(message: Object) -> bytes:
    """Return a message as a line, in ASCII, so that no character can be taken for a line end."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes | str) -> dict[str, Any]:
    """Return a line as an object; raise `SubjectError` if it is not a JSON object in UTF-8."""
    try:
        message = json.loads(line.decode("utf-8") if isinstance(line, bytes) else line)
    except (ValueError, RecursionError) as error:
        raise breach("the subject printed a line that is not JSON", line, _instead(line)) from error
    if not isinstance(message, dict):
        raise breach(
            "the subject printed JSON that is not an object", line, "print one object a line"
        )
    return message


def _instead(line: bytes | str) -> str:
    """Return what to print in place of a line that is not JSON, by its encoding."""
    if isinstance(line, bytes):
        if line.startswith(codecs.BOM_UTF8):
            return "write UTF-8 without a byte order mark before it"
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            return "print logs to stderr only, and write answers in UTF-8, whatever the locale says"
        if b"\0" in line:
            return "print logs to stderr only, and write answers in UTF-8, not in UTF-16"
    return "print logs to stderr only"


def excerpt(line: object, limit: int = 100) -> str:
    """Return the beginning of what a client sent, without what may be a secret.

    It ends before a value, and leaves out long words with a digit, as ids and tokens have.
    """
    if isinstance(line, bytes):
        line = line.decode("utf-8", errors="replace")
    elif not isinstance(line, str):
        line = json.dumps(line, default=str)
    head, value, _ = line.partition('"value"')
    shown = head[:limit] + ("…" if value or len(head) > limit else "")
    return ascii(_without_ids(shown))


def _without_ids(text: str) -> str:
    return _LIKE_AN_ID.sub("…", text)


def breach(cause: str, seen: object, remedy: str) -> errors.SubjectError:
    """Return an error about a breach of the protocol, with an excerpt of what was seen."""
    return errors.SubjectError(cause, looked_at=excerpt(seen), remedy=remedy)


def check(answer: Object) -> Object:
    """Return the answer itself if it reports success.

    Raises:
        OperationFailed: It reports a failure.
        SubjectError: It reports neither.
    """
    ok = answer.get("ok")
    if ok is True:
        return answer
    if ok is not False:
        raise breach("an answer has no 'ok' that is true or false", answer, "say how it went")
    word, message = answer.get("error"), answer.get("message", "")
    if word is not None and not isinstance(word, str):
        raise breach(
            "the 'error' of an answer is not a word", answer, "name an outcome, or leave it out"
        )
    if not isinstance(message, str):
        raise breach(
            "the 'message' of an answer is not text", answer, "write a sentence, or leave it out"
        )
    outcome = outcome_of(word)
    if outcome is None and word:
        message = f"{word}: {message}" if message else word
    raise OperationFailed(outcome, message)


def reading(answer: Object) -> Reading:
    """Return the secret in an answer to ``read`` or ``read_cached``."""
    value = check(answer).get("value")
    if not isinstance(value, str):
        raise breach(
            f"the value of an answer is {type(value).__name__}, not a string",
            answer,
            "answer with the value of the one key that was asked for",
        )
    return Reading(value, _stale(answer))


def _stale(answer: Object) -> bool:
    """Return whether an answer calls its value old."""
    stale = answer.get("stale", False)
    if not isinstance(stale, bool):
        raise breach(
            "the 'stale' of an answer is not true or false", answer, "leave it out if unknown"
        )
    return stale


def whole(answer: Object) -> Whole:
    """Return the keys and values in an answer to ``read_all``."""
    value = check(answer).get("value")
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise breach(
            "the value of a whole secret is no object of strings",
            answer,
            "answer with every key of the secret and its value",
        )
    return Whole(value, _stale(answer))


def forked(answer: Object) -> list[Reading | OperationFailed]:
    """Return the results of a child's reads, in an answer to ``fork``."""
    value = check(answer).get("value")
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise breach(
            "the value of a fork is no list of answers",
            answer,
            "answer with what each read of the child would have been answered with",
        )
    return [_read_or_failed(one) for one in value]


def _read_or_failed(answer: Object) -> Reading | OperationFailed:
    try:
        return reading(answer)
    except OperationFailed as failure:
        return failure


def forking(path: str, key: str, seconds: float, every: float) -> dict[str, str | float]:
    return {"path": path, "key": key, "seconds": seconds, "every": every}


def credential(answer: Object) -> Credential:
    """Return the credential in an answer to ``lease`` or ``static``."""
    value = check(answer).get("value")
    found = value if isinstance(value, Mapping) else {}
    username, password = found.get("username"), found.get("password")
    if not isinstance(username, str) or not isinstance(password, str):
        raise breach(
            "the value of a credential is no object with a username and a password",
            answer,
            "answer with both, as Vault gave them",
        )
    return Credential(username, password, _stale(answer))


def leasing(path: str, failed: str | None) -> dict[str, str]:
    return {"path": path} if failed is None else {"path": path, "failed": failed}


def flag(answer: Object) -> bool:
    """Return the flag in an answer to ``health``."""
    value = check(answer).get("value")
    if not isinstance(value, bool):
        raise breach(
            "the value of a health answer is not true or false", answer, "answer true or false"
        )
    return value
