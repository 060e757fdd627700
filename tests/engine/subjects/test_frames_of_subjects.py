"""No error of a client under test holds a secret, except in the client's own words.

Clients in this process, in their own process and behind HTTP are asked everything in states in
which little works. Clients that break their contract are asked too. Each error is walked: its
texts, its causes, and all locals of all frames.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import socketserver
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.running import Handler, answering, serving
from tests.subjects.lazy_client import LazyClient
from tests.walking import places
from vault_harness.judge.subjects import Subject, open_subject, parse_subject
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.ports import PortLease
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import Stack, launch
from vault_harness.local.vault import approle
from vault_harness.local.vault.kv import Kv

pytestmark = pytest.mark.xdist_group("frames of subjects")  # they share a stack

VALUE = "value-of-a-secret-4711"
WRITTEN = "value-that-is-written-4711"
FALLBACK = "value-of-a-variable-4711"
LAZY = "python:tests.subjects.lazy_client:LazyClient"
SERVED = f"command:{sys.executable} -m vault_harness.judge.subjects"


@dataclass
class Case:
    """The variables of a client, and the secrets that no error may hold."""

    environ: dict[str, str]
    stack: Stack
    secrets: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("vault")
    with launch(engine, Blueprint.default(), NodeSpec(directory=directory)) as made:
        kv = Kv(made.operator)
        kv.write("backend/django", {"SECRET_KEY": VALUE}, cas=kv.read("backend/django").version)
        yield made


@pytest.fixture
def case(stack: Stack, tmp_path: Path) -> Case:
    ids = approle.write_credentials(stack.operator, "backend", tmp_path)
    environ = {
        "USE_VAULT": "true",
        "VAULT_ADDR": stack.node.address,
        "VAULT_MOUNT_POINT": "ecommerce",
        "VAULT_CLIENT_TIMEOUT": "0.5",
        "VAULT_ROLE_ID": ids.role_id_file.read_text().strip(),
        "VAULT_SECRET_ID": ids.secret_id_file.read_text().strip(),
        "OPENAI_API_KEY": FALLBACK,
    }
    return Case(environ, stack, {VALUE, WRITTEN, FALLBACK, environ["VAULT_SECRET_ID"]})


@contextlib.contextmanager
def _well(case: Case) -> Iterator[None]:
    yield


@contextlib.contextmanager
def _sealed(case: Case) -> Iterator[None]:
    case.stack.operator.seal()
    try:
        yield
    finally:
        case.stack.operator.unseal(case.stack.keyring)


@contextlib.contextmanager
def _wrong_secret_id(case: Case) -> Iterator[None]:
    case.environ["VAULT_SECRET_ID"] = "5c1d2ad3-4711-bbbb-cccc-0123456789ab"
    case.secrets.add(case.environ["VAULT_SECRET_ID"])
    yield


@contextlib.contextmanager
def _refused(case: Case) -> Iterator[None]:
    lease = PortLease()
    lease.release()
    case.environ["VAULT_ADDR"] = f"http://127.0.0.1:{lease.port}"
    yield


class _Half(socketserver.BaseRequestHandler):
    """Answers everything with half of a login and half of a secret."""

    def handle(self) -> None:
        peer: socket.socket = self.request
        peer.recv(65536)
        body = {"auth": {"client_token": "s.token-4711-cut"}, "data": {"data": {"K": VALUE}}}
        text = json.dumps(body).encode()
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(text) + 9) + text)


@contextlib.contextmanager
def _cut_off(case: Case) -> Iterator[None]:
    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Half)) as server:
        server.daemon_threads = True
        case.environ["VAULT_ADDR"] = f"http://127.0.0.1:{server.server_address[1]}"
        case.secrets.add("s.token-4711-cut")
        yield


STATES: dict[str, Callable[[Case], contextlib.AbstractContextManager[None]]] = {
    "well": _well,
    "sealed": _sealed,
    "wrong secret-id": _wrong_secret_id,
    "refused": _refused,
    "cut off": _cut_off,
}

ASKED: dict[str, Callable[[Subject], object]] = {
    "a read": lambda s: s.read("backend/django", "SECRET_KEY", timeout=20),
    "a cached read": lambda s: s.read_cached("backend/django", "SECRET_KEY", timeout=20),
    "a denied read": lambda s: s.read("ai/openai", "OPENAI_API_KEY", timeout=20),
    "a missing secret": lambda s: s.read("backend/no-such", "SECRET_KEY", timeout=20),
    "a write": lambda s: s.write("ai/openai", {"K": WRITTEN}, timeout=20),
    "health": lambda s: s.health(timeout=20),
    "a read that is given up": lambda s: s.read("backend/other", "SECRET_KEY", timeout=0.0),
    "a write that is given up": lambda s: s.write("backend/other", {"K": WRITTEN}, timeout=0.0),
    "the end": lambda s: s.close(timeout=20),
    "a write after it": lambda s: s.write("backend/other", {"K": WRITTEN}, timeout=20),
}


class _Front(Handler):
    """The lazy client behind HTTP, which names a secret when it says that it is missing."""

    client: LazyClient | None = None

    def answer(self) -> None:
        asked = json.loads(self.sent())
        try:
            told = {"ok": True, **self._do(asked)}
        except Exception as error:  # noqa: BLE001 -- told to whoever asked
            told = {"ok": False, "error": getattr(error, "outcome", None), "message": str(error)}
        self.say(json.dumps(told))

    def _do(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        kind = type(self)
        if self.path == "/configure":
            kind.client = LazyClient(asked["environ"])
            return {}
        assert kind.client is not None
        match asked["op"]:
            case "hello":
                return {"capabilities": ["read", "outcomes"]}
            case "read":
                return {"value": kind.client.read(asked["path"], asked["key"])}
            case "close":
                kind.client.close()
                return {}
        raise ValueError("there is no such operation")


@pytest.fixture
def front() -> Iterator[str]:
    with answering(_Front) as url:
        yield url


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("client", ["reference", LAZY, f"{SERVED} reference", "http"])
def test_no_frame_of_a_subjects_error_holds_a_secret(
    client: str, state: str, case: Case, front: str, tmp_path: Path
) -> None:
    raised = {}
    with STATES[state](case):
        spec = parse_subject(front if client == "http" else client)
        one = open_subject(spec, case.environ, log=tmp_path / "log", timeout=20)
        try:
            for what, ask in ASKED.items():
                error = _error_of(lambda ask=ask: ask(one))  # type: ignore[misc]  # bound at once
                if error is not None:
                    raised[what] = places(error, case.secrets, of=__file__)
        finally:
            one.kill()
    assert {what: found for what, found in raised.items() if found} == {}
    # These fail in any state. Without a failure nothing would be shown.
    wanted = {"a missing secret", "a write that is given up", "a write after it"}
    assert wanted <= set(raised), raised


VARIABLES = {"VAULT_SECRET_ID": "5c1d2ad3-4711-bbbb-cccc-0123456789ab"}

BREACHES = {
    "says what it was given": "print(os.environ['VAULT_SECRET_ID'], flush=True); time.sleep(60)",
    "says it in JSON": (
        "print(json.dumps({'id': 1, 'ok': True, 'capabilities': "
        "[os.environ['VAULT_SECRET_ID']]}), flush=True); time.sleep(60)"
    ),
    "ends": "sys.exit(3)",
    "hangs": "time.sleep(60)",
    "answers with a number": (
        "print(json.dumps({'id': 1, 'ok': True, 'secret_id': os.environ['VAULT_SECRET_ID'], "
        "'declares': 7}), flush=True); time.sleep(60)"
    ),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_program_that_breaks_its_contract(breach: str, tmp_path: Path) -> None:
    command = shlex.join(
        [sys.executable, "-I", "-c", f"import json, os, sys, time\n{BREACHES[breach]}"]
    )
    spec = parse_subject(f"command:{command}")
    error = _error_of(lambda: open_subject(spec, VARIABLES, log=tmp_path / "log", timeout=2.0))
    assert error is not None
    assert places(error, set(VARIABLES.values()), of=__file__) == []


def _raises(environ: Mapping[str, str]) -> object:
    given = dict(environ)
    raise RuntimeError(f"no client for {sorted(given)}")


def test_a_factory_that_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.subjects.lazy_client.LazyClient", _raises)
    error = _error_of(
        lambda: open_subject(parse_subject(LAZY), VARIABLES, log=tmp_path / "log", timeout=20)
    )
    assert "no client for ['VAULT_SECRET_ID']" in str(error)
    assert f"{Path(__file__).name}:" in str(error)
    assert error is not None
    assert places(error, set(VARIABLES.values()), of="nowhere") == []


def _error_of(doing: Callable[[], object]) -> BaseException | None:
    try:
        doing()
    except Exception as error:  # noqa: BLE001 -- whatever it raises
        return error
    return None
