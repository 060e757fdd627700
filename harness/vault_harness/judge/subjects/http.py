"""Test a client behind a running HTTP server, with a JSON object for each request."""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import filelock
import requests
import urllib3

from vault_harness import errors
from vault_harness.errors import named, without_frames
from vault_harness.judge.subjects import protocol
from vault_harness.judge.subjects.protocol import Subject
from vault_harness.judge.subjects.python_object import Workers
from vault_harness.judge.subjects.shape import (
    Kind,
    OperationFailed,
    SubjectHung,
    SubjectSpec,
    log_text,
)

_TURN = 600.0  # seconds to wait for another scenario to leave a server that serves one at a time
_LOG = 5.0  # seconds for GET /logs
_SOON = 2.0  # the same where the client waits to be closed, or the last GET failed
_LONGEST = protocol.MAX_LINE  # bytes of that log at most


class HttpSubject(Subject):
    """A client in a server: ``POST /configure`` makes it, and ``POST`` of an operation uses it.

    Scenarios take turns by a lock, unless the server gives each client a path of its own.

    Args:
        timeout: Seconds for ``configure`` and ``hello``.

    Attributes:
        alone: Whether the server holds only this client.
    """

    kind: Kind = "http"

    @without_frames
    def __init__(
        self, spec: SubjectSpec, environ: Mapping[str, str], *, log: Path, timeout: float = 10.0
    ) -> None:
        super().__init__(spec.text, log)
        self._base = self._url = spec.url
        self._gone = False
        self._no_log = False
        self._kept = ""
        self.alone = True
        self._numbers = itertools.count(1)
        self._workers = Workers(spec.text)
        self._session = requests.Session()
        self._session.trust_env = False  # ignore the developer's proxy and netrc
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))
        self._turn = filelock.FileLock(_lock_file(spec.url), thread_local=False)
        self._take_turn()
        try:
            self._configure(environ, timeout)
            self._introduced(protocol.hello(self._exchange("hello", {}, timeout)))
        except BaseException:
            self.kill()
            raise

    @without_frames
    def close(self, *, timeout: float, beyond: float = 0.0) -> None:
        """Let the server close its client; the server keeps running."""
        if self._workers.closed:
            return
        # A server may forget the log together with the client.
        comes = not self._no_log and self._fetch_log(_SOON)
        try:
            self._ask("close", {}, protocol.check, timeout + beyond)
        finally:
            self._fetch_log(_LOG if comes else _SOON)  # a busy server may be free now
            self.kill()

    def kill(self) -> None:
        """Release the server. Its client lives until the next ``configure``."""
        self._workers.close()
        self._session.close()
        self._turn.release()

    def logs(self) -> str:
        if not self._no_log:
            # This fails no scenario, and is not tried again.
            self._no_log = not self._fetch_log(_LOG)
        return log_text(self._log)

    def _fetch_log(self, seconds: float) -> bool:
        """Return False if there was no answer."""
        if self._workers.closed or self._gone:
            return True
        try:
            said = self._workers.run(lambda: self._its_log(seconds), "logs", seconds + 1.0)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, SubjectHung):
            return False
        if said is not None:
            self._keep(said)
        return True

    def _its_log(self, seconds: float) -> str | None:
        """Return at most `_LONGEST` bytes, as some logs never end; None without a page."""
        with self._session.get(self._url + "/logs", timeout=seconds, stream=True) as answer:
            if not answer.ok:
                return None
            content = answer.raw.read(_LONGEST, decode_content=True)
            said = "charset=" in answer.headers.get("Content-Type", "").lower()
            charset = answer.encoding if said and answer.encoding else "utf-8"
        try:
            return str(content, charset, "replace")
        except LookupError:  # an unknown charset
            return str(content, "utf-8", "replace")

    def _keep(self, said: str) -> None:
        """Add to the log and drop nothing: a server may restart or truncate its log."""
        kept = self._kept
        if said.startswith(kept):
            self._kept = said
        elif said.strip():
            self._kept = f"{kept.rstrip()}\n{said}"
        self._log.touch(mode=0o600)
        self._log.write_text(self._kept, encoding="utf-8", errors="backslashreplace")

    def is_alive(self) -> bool:
        return not self._workers.closed and not self._gone

    def _take_turn(self) -> None:
        try:
            self._turn.acquire(timeout=_TURN)
        except filelock.Timeout as error:
            raise errors.SubjectError(
                f"another scenario has used the subject for more than {_TURN:g} s",
                looked_at=self._turn.lock_file,
                remedy="run one scenario at a time (--workers 1 of scenarios, --vault-workers 1 of "
                "pytest), or answer /configure with a 'path' for each client",
            ) from error

    def _configure(self, environ: Mapping[str, str], timeout: float) -> None:
        url = self._base + "/configure"
        try:
            answer = protocol.check(self._post(url, {"environ": dict(environ)}, timeout))
        except OperationFailed as failure:
            raise errors.SubjectError(
                f"the subject cannot be configured: {failure.message or 'it does not say why'}",
                looked_at=url,
                remedy="make a client from 'environ' at each POST /configure, "
                f"see {named('docs', 'how-to/http-service')}",
            ) from failure
        path = answer.get("path", "")
        if not isinstance(path, str) or (path and not path.startswith("/")):
            raise errors.SubjectError(
                "the 'path' that the subject gave its client does not start with a slash",
                looked_at=url,
                remedy="answer with a path on the same server, or leave it out",
            )
        if path.strip("/"):
            self._url = self._base + path.rstrip("/")
            self.alone = False
            self._turn.release()

    def _exchange(self, op: str, fields: protocol.Object, timeout: float) -> protocol.Object:
        if self._workers.closed:
            raise protocol.closed(self.name, op)
        return self._post(self._url, {"op": op, **fields}, timeout)

    def _post(self, url: str, message: protocol.Object, timeout: float) -> protocol.Object:
        number = next(self._numbers)
        body = protocol.encode({"id": number, **message})
        answer = self._workers.run(lambda: self._send(url, body, timeout), _what(message), timeout)
        if "id" in answer and answer["id"] != number:
            raise errors.SubjectError(
                f"the subject answered request {number} with another id",
                looked_at=f"POST {url}: {protocol.excerpt(answer)}",
                remedy="repeat the request's id, or leave it out",
            )
        return answer

    def _send(self, url: str, body: bytes, timeout: float) -> protocol.Object:
        try:
            with self._session.post(
                url,
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=timeout,
                stream=True,
                allow_redirects=False,
            ) as response:
                content = response.raw.read(protocol.MAX_LINE + 1, decode_content=True)
                status = response.status_code
        except requests.Timeout as error:
            raise SubjectHung(
                f"the subject did not answer within {timeout:g} s",
                looked_at=f"POST {url}",
                remedy="answer every request, also with an error",
            ) from error
        except (
            requests.RequestException,
            OSError,
            urllib3.exceptions.HTTPError,
        ) as error:
            self._gone = True
            raise errors.SubjectDied(
                f"the subject does not answer: {type(error).__name__}",
                looked_at=f"POST {url}",
                remedy="start the server before the suite, and see why it ended if it was there",
            ) from error
        return _answer(url, status, content)


def _answer(url: str, status: int, content: bytes) -> protocol.Object:
    try:
        answer = protocol.decode(content)
        if isinstance(answer.get("ok"), bool):
            return answer  # any status counts: 503 for "unavailable" is as good as 200
    except errors.SubjectError:
        pass
    raise errors.SubjectError(
        f"the subject answered with HTTP {status} and no object that has an 'ok'",
        looked_at=f"POST {url}: {protocol.excerpt(content)}",
        remedy=f"answer each POST with one JSON object, see {named('docs', 'how-to/http-service')}",
    )


def _what(message: protocol.Object) -> str:
    return str(message.get("op", "configure"))


def _lock_file(url: str) -> Path:
    mark = hashlib.sha256(f"{os.getuid()} {url}".encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"vault-harness-subject-{mark}.lock"
