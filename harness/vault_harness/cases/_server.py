"""The HTTP side of cases, on the loopback: for the author's runner, and for the scenario itself."""

from __future__ import annotations

import json
import secrets
import select
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from vault_harness.cases._case import IDLE, Case, NobodyThere
from vault_harness.closable import Closable
from vault_harness.report import explain
from vault_harness.scenario import Entry, Environment, Result, Scenario, run_scenario
from vault_harness.subjects import SubjectSpec

POLL = 20.0
"""Seconds for which a request for an operation or a verdict waits at most."""

START = 60.0
"""Seconds from a case's start until its environment is there."""

END = 60.0
"""Seconds in which a case that is ended must have taken its servers down."""

KEPT = 50
"""Cases that are over and remembered, for their verdicts."""

LONGEST = 32 * 1024 * 1024
"""Bytes of a request at most, as of an answer of a subject."""

Answer = tuple[int, Mapping[str, Any] | None]


class CaseServer(Closable):
    """Cases, each with servers of its own, until the block ends.

    Args:
        environment: What they share.
        catalogue: The scenarios' data by id.
        functions: The scenarios themselves.
        port: Where to listen on 127.0.0.1; 0 for any.
        at_once: How many may be under way.
        idle: Seconds without a request after which a case is given up.

    Attributes:
        url: Its base URL, with the secret that everybody needs who asks for anything.
    """

    def __init__(
        self,
        environment: Environment,
        catalogue: Mapping[str, Entry],
        functions: Mapping[str, Scenario],
        *,
        port: int = 0,
        at_once: int = 2,
        idle: float = IDLE,
    ) -> None:
        self._environment = environment
        self._catalogue = {name: catalogue[name] for name in functions if name in catalogue}
        self._functions = functions
        self._at_once = at_once
        self._idle = idle
        self._closing = False
        self._lock = threading.Lock()
        self._cases: dict[str, Case] = {}
        self._secret = secrets.token_urlsafe(24)
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}/{self._secret}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="cases")
        self._thread.daemon = True
        self._thread.start()

    def close(self) -> None:
        """End every case, and the server."""
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
        """Answer one request; its status and body.

        Args:
            method: HTTP's.
            path: With the secret.
            body: What it says.
            gone: Whether who asks has hung up by now.
        """
        words = urlsplit(path).path.strip("/").split("/")
        if not secrets.compare_digest(words[0].encode(), self._secret.encode()):
            return 403, _error("the URL lacks the secret that the server printed at its start")
        match method, words[1:]:
            case "GET", ["cases"]:
                return 200, {"scenarios": {n: e.promise for n, e in self._catalogue.items()}}
            case "POST", ["cases", scenario]:
                return self._start(scenario.upper())
        case_id, *rest = words[2:] or [""]
        with self._lock:
            found = self._cases.get(case_id)
        if words[1:2] != ["cases"] or found is None:
            return 404, _error("there is no such case; POST /cases/TOK-11 starts one")
        if (method, rest) == ("GET", ["next"]):
            operation = found.next(POLL, gone)
            if operation is not None:
                return 200, operation
            return (410, {"over": True}) if found.over else (204, None)
        return self._of_case(found, method, rest, body)

    def _of_case(self, case: Case, method: str, rest: list[str], body: Mapping[str, Any]) -> Answer:
        match method, rest:
            case "POST", ["answers"]:
                return (204, None) if case.answer(body) else (404, _error("nobody waits for it"))
            case "GET", ["verdict"]:
                result = case.await_result(POLL)
                if result is not None:
                    return 200, _verdict(result)
                return (200, self._broken(case)) if case.over else (202, {"over": False})
            case "DELETE", []:
                return self._end(case)
            # What the scenario asks of its subject, by the protocol of HTTP subjects.
            case "POST", ["subject", "configure"]:
                return 200, case.configure(body["environ"])
            case "POST", ["subject"]:
                return 200, case.ask(body)
        return 404, _error("a case has next, answers and verdict")

    def _start(self, scenario: str) -> Answer:
        if scenario not in self._catalogue:
            return 404, _error(f"there is no scenario {scenario}; GET /cases names all")
        with self._lock:
            busy = [case for case in self._cases.values() if not case.over]
            if self._closing:
                return 503, _error("the server is coming to its end")
            if same := [case.id for case in busy if case.scenario == scenario]:
                return 409, {
                    **_error(f"{scenario} is under way already as {same[0]}; DELETE it, or wait"),
                    "cases": same,
                }
            if len(busy) >= self._at_once:
                ids = [case.id for case in busy]
                return 429, {
                    **_error(
                        f"as many cases as may be are under way: {', '.join(ids)}; DELETE one, "
                        "wait, or let --at-once of serve be more"
                    ),
                    "cases": ids,
                }
            case_id = f"{scenario}-{secrets.token_hex(4)}"
            case = Case(case_id, scenario, self._runner(case_id, scenario), idle=self._idle)
            self._cases[case_id] = case
            for old in [c for c in self._cases.values() if c.over][:-KEPT]:
                del self._cases[old.id]
        if not case.await_start(START):
            self._end(case)
            return 503, _error(f"{scenario} had no environment within {START:g} s")
        return 201, {"id": case_id, "scenario": scenario, "env": case.environ, "over": case.over}

    def _runner(self, case_id: str, scenario: str) -> Callable[[], Result]:
        url = f"{self.url}/cases/{case_id}/subject"
        subject = SubjectSpec("case", "http", url=url)  # its name is shown: without the secret
        entry, function = self._catalogue[scenario], self._functions[scenario]
        return lambda: run_scenario(self._environment, entry, function, subject=subject)

    def _broken(self, case: Case) -> Mapping[str, Any]:
        """The verdict of a case that the harness could not bring to one."""
        return {
            **_asked(self._catalogue[case.scenario]),
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
    """What a scenario came to, as a person and a program want it.

    A secret that came out is no pass, whatever the scenario was about, as in a whole run: here is
    no other row that would tell.
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
    """What was asked, and how much it weighs: a runner may let a SHOULD fail, as a run does."""
    return {
        "scenario": entry.id,
        "promise": entry.promise,
        "severity": entry.severity,
        "obligation": entry.obligation,
    }


def _error(text: str) -> Mapping[str, Any]:
    return {"error": text}


class _Refused(Exception):
    """A request that is not read to its end."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of somebody who has gone before the answer: that is a runner's right."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _length(headers: Message) -> int:
    """Bytes of a request's body.

    Raises:
        _Refused: It is not said how many, or there are too many.
    """
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
    """Whether nobody is there any more: a runner may wait for less than the server does."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    try:
        # Else there is nothing to read: it waits. Or another request follows already.
        return bool(poll.poll(0)) and not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


def _handler(cases: CaseServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 2 * POLL + START  # seconds of silence on a connection

        def do_GET(self) -> None:
            self._answer()

        do_POST = do_DELETE = do_GET  # noqa: N815 - what http.server calls them

        def _answer(self) -> None:
            try:
                status, body = cases.handle(
                    self.command, self.path, self._body(), lambda: _has_hung_up(self.connection)
                )
            except NobodyThere:
                self.close_connection = True  # as of a subject that has died
                return
            except _Refused as refused:
                # What follows on this connection would be the body that nobody has read.
                self.close_connection = True
                status, body = refused.status, _error(str(refused))
            except (ValueError, KeyError, RecursionError):
                status, body = 400, _error("the body is not the JSON object that is wanted")
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            if self.close_connection:
                self.send_header("Connection", "close")
            if status != 204:
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _body(self) -> Mapping[str, Any]:
            found = json.loads(self.rfile.read(_length(self.headers)) or b"{}")
            if not isinstance(found, dict):
                raise ValueError(type(found).__name__)
            return found

        def log_message(self, *_: object) -> None:
            """Print nothing: the paths have the secret in them."""

    return Handler
