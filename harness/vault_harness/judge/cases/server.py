"""Serve cases over HTTP on the loopback."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import secrets
import select
import socket
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from vault_harness.closable import Closable
from vault_harness.errors import HarnessDefect, HarnessError
from vault_harness.judge.cases.case import IDLE, Case, NobodyThere
from vault_harness.judge.catalogue import Entry
from vault_harness.judge.environment import Environment
from vault_harness.judge.report import explain
from vault_harness.judge.run import Result, Scenario, judge_scenario
from vault_harness.judge.subjects import SubjectSpec


def functions_in(folder: Path) -> dict[str, Scenario]:
    """Return every function with the mark ``scenario("ID")`` in a folder's files."""
    found: dict[str, Scenario] = {}
    for file in sorted(folder.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"vault_harness_cases_{file.stem}", file)
        if spec is None or spec.loader is None:
            raise HarnessDefect("a file of scenarios cannot be imported", looked_at=str(file))
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look up their types there
        spec.loader.exec_module(module)
        for function in vars(module).values():
            for mark in getattr(function, "pytestmark", ()):
                if mark.name == "scenario":
                    found[mark.args[0]] = function
    return found


POLL = 20.0
"""Seconds that a request for an operation or a verdict waits."""

START = 60.0
"""Seconds until a case's environment is there."""

END = 60.0
"""Seconds in which an ended case stops its servers."""

KEPT = 50
"""Finished cases that are kept for their verdicts."""

LONGEST = 32 * 1024 * 1024
"""Bytes of a request, as of a subject's answer."""

Answer = tuple[int, Mapping[str, Any] | Iterator[bytes] | None]
"""A status, and a body: an object, or pieces that are sent as they come."""

Handler = Callable[[str, list[str], Mapping[str, Any], Callable[[], bool]], Answer]
"""Answers requests that are not for a case."""


class CaseServer(Closable):
    """Cases, each with servers of its own, until the block ends.

    Args:
        at_once: Cases that may be under way at once.
        others: The handlers of other paths, by the path's first word.

    Attributes:
        url: Its base URL, with the secret that every request needs.
    """

    def __init__(
        self,
        environment: Environment,
        scenarios: Mapping[str, tuple[Entry, Scenario]],
        *,
        port: int = 0,
        at_once: int = 2,
        others: Mapping[str, Handler] | None = None,
    ) -> None:
        self._others = others or {}
        self._environment = environment
        self._scenarios = scenarios
        self._at_once = at_once
        self._closing = False
        self._lock = threading.Lock()
        self._cases: dict[str, Case] = {}
        self._secret = secrets.token_urlsafe(24)
        self._server = _Server(("127.0.0.1", port), type("_Asked", (_Asked,), {"cases": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}/{self._secret}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="cases")
        self._thread.daemon = True
        self._thread.start()

    def close(self) -> None:
        with self._lock:
            self._closing = True
            cases = list(self._cases.values())
        for case in cases:
            case.give_up()
        for case in cases:
            case.end(END)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def handle(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any],
        gone: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Answer one request. `gone` tells whether the runner has hung up."""
        words = urlsplit(path).path.strip("/").split("/")
        if not secrets.compare_digest(words[0].encode(), self._secret.encode()):
            return 403, _error("the URL lacks the secret that the server printed at its start")
        if (other := self._others.get("".join(words[1:2]))) is not None:
            return other(method, words[2:], body, gone)
        match method, words[1:]:
            case "GET", ["cases"]:
                return 200, {"scenarios": {n: e.promise for n, (e, _) in self._scenarios.items()}}
            case "POST", ["cases", scenario]:
                return self._start(scenario.upper())
        case_id, *rest = words[2:] or [""]
        with self._lock:
            found = self._cases.get(case_id)
        if words[1:2] != ["cases"] or found is None:
            return 404, _error(
                "there is no such case; POST /cases/TOK-11 starts one, POST /vaults lends a Vault"
            )
        if (method, rest) == ("GET", ["next"]):
            operation = found.next(POLL, gone)
            if operation is not None:
                return 200, operation
            return (410, {"over": True}) if found.over else (204, None)
        return self._of_case(found, method, rest, body)

    def _of_case(self, case: Case, method: str, rest: list[str], body: Mapping[str, Any]) -> Answer:
        match method, rest:
            case "POST", ["answers"]:
                return (
                    (204, None)
                    if case.answer(body)
                    else (404, _error("no operation waits for this answer"))
                )
            case "GET", ["verdict"]:
                result = case.await_result(POLL)
                if result is not None:
                    return 200, _verdict(result)
                return (200, self._broken(case)) if case.over else (202, {"over": False})
            case "DELETE", []:
                return self._end(case)
            # The scenario's operations, by the protocol of HTTP subjects.
            case "POST", ["subject", "configure"]:
                return 200, case.configure(body["environ"])
            case "POST", ["subject"]:
                return 200, case.ask(body)
        return 404, _error("a case has next, answers and verdict")

    def _start(self, scenario: str) -> Answer:
        if scenario not in self._scenarios:
            return 404, _error(f"there is no scenario {scenario}; GET /cases names all")
        with self._lock:
            busy = [case for case in self._cases.values() if not case.over]
            if self._closing:
                return 503, _error("the server is ending")
            if same := [case.id for case in busy if case.scenario == scenario]:
                return 409, {
                    **_error(f"{scenario} is already running as {same[0]}; DELETE it, or wait"),
                    "cases": same,
                }
            if len(busy) >= self._at_once:
                ids = [case.id for case in busy]
                return 429, {
                    **_error(
                        f"no more cases can run at once: {', '.join(ids)}; DELETE one, wait, or "
                        "give serve a larger --at-once"
                    ),
                    "cases": ids,
                }
            case_id = f"{scenario}-{secrets.token_hex(4)}"
            case = Case(case_id, scenario, self._runner(case_id, scenario), idle=IDLE)
            self._cases[case_id] = case
            for old in [c for c in self._cases.values() if c.over][:-KEPT]:
                del self._cases[old.id]
        if not case.await_start(START):
            self._end(case)
            return 503, _error(f"{scenario} had no environment within {START:g} s")
        return 201, {"id": case_id, "scenario": scenario, "env": case.environ, "over": case.over}

    def _runner(self, case_id: str, scenario: str) -> Callable[[], Result]:
        url = f"{self.url}/cases/{case_id}/subject"
        subject = SubjectSpec("case", "http", url=url)  # the name is shown, without the secret
        entry, function = self._scenarios[scenario]
        return lambda: judge_scenario(self._environment, entry, function, subject)

    def _broken(self, case: Case) -> Mapping[str, Any]:
        return {
            **_asked(self._scenarios[case.scenario][0]),
            "word": "error",
            "why": case.broke,
            "findings": [],
            "text": f"{case.scenario}  error: the harness broke down: {case.broke}",
        }

    def _end(self, case: Case) -> Answer:
        if not case.end(END):
            return 503, _error(f"its servers are still there after {END:g} s")
        with self._lock:
            self._cases.pop(case.id, None)
        return 204, None


def _verdict(result: Result) -> Mapping[str, Any]:
    """Return a result for a person and a program.

    A leak fails every scenario here: a case has no other line that could report it.
    """
    record = {**result.record, "trace": result.trace}
    leaks = list(record["leaks"])
    word, why = result.word, result.why
    if leaks and word != "fail":
        record["word"] = word = "fail"
        why = f"a secret came out: {leaks[0]['seen']}"
    return {
        **_asked(result.entry),
        "word": word,
        "why": why,
        "findings": [*record["findings"], *leaks],
        "text": explain(record),
    }


def _asked(entry: Entry) -> Mapping[str, Any]:
    """Return the promise and its severity: a runner may excuse a SHOULD, as a run does."""
    return {
        "scenario": entry.id,
        "promise": entry.promise,
        "severity": entry.severity,
        "obligation": entry.obligation,
    }


def told(error: HarnessError) -> Mapping[str, Any]:
    return {
        "error": error.in_a_line,
        "cause": error.cause,
        "looked_at": error.looked_at,
        "remedy": error.remedy,
    }


def _error(text: str, looked_at: str = "the request") -> Mapping[str, Any]:
    cause, _, remedy = text.partition("; ")
    return {"error": text, "cause": cause, "looked_at": looked_at, "remedy": remedy}


class _Refused(Exception):
    """Raised for a request that is not read to its end."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing if the runner hung up before the answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _length(headers: Message) -> int:
    if headers.get("Transfer-Encoding"):
        raise _Refused(411, "send the body with a Content-Length, not in chunks")
    given = (headers.get("Content-Length") or "0").strip()
    if not (given.isascii() and given.isdigit()):
        raise _Refused(400, "Content-Length is not a number of bytes")
    length = int(given)
    if length > LONGEST:
        raise _Refused(413, f"a body may have {LONGEST} bytes, and this has {length}")
    return length


def _has_hung_up(connection: socket.socket) -> bool:
    """Return whether the runner, which may wait for less time than the server, has hung up."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    try:
        # Nothing to read means that the runner waits. Data means that another request follows.
        return bool(poll.poll(0)) and not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


class _Asked(BaseHTTPRequestHandler):
    cases: CaseServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits 40 ms for the head's acknowledgement
    timeout = 2 * POLL + START  # seconds of silence on a connection

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_DELETE = do_GET  # noqa: N815 - what http.server calls them

    def _answer(self) -> None:
        try:
            status, body = self.cases.handle(
                self.command, self.path, self._body(), lambda: _has_hung_up(self.connection)
            )
        except NobodyThere:
            self.close_connection = True  # as a subject that has died does
            return
        except _Refused as refused:
            # The unread body would be taken for the next request.
            self.close_connection = True
            status, body = refused.status, _error(str(refused))
        except (ValueError, KeyError, RecursionError):
            status, body = 400, _error("the body is not the JSON object that is wanted")
        if isinstance(body, Iterator):
            self._stream(status, body)
            return
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        if self.close_connection:
            self.send_header("Connection", "close")
        if status != 204:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, status: int, pieces: Iterator[bytes]) -> None:
        """Send pieces as they come; the end of the connection is their end."""
        self.close_connection = True
        with contextlib.closing(cast("Generator[bytes]", pieces)):
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Connection", "close")
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)

    def _body(self) -> Mapping[str, Any]:
        found = json.loads(self.rfile.read(_length(self.headers)) or b"{}")
        if not isinstance(found, dict):
            raise ValueError(type(found).__name__)
        return found

    def log_message(self, *_: object) -> None:
        """Print nothing: the paths contain the secret."""
