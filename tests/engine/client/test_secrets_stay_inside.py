from __future__ import annotations

import contextlib
import functools
import logging
import os
import pickle
import signal
import threading
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from resilient_vault_client import (
    ClientClosed,
    ConfigurationError,
    CredentialsRejected,
    Event,
    InternalError,
    PermissionDenied,
    RedirectRefused,
    TlsFailed,
    VaultClient,
    VaultError,
    VaultSealed,
    VaultTimeout,
    get_vault_secret,
)
from resilient_vault_client._deadline import Deadline
from tests.engine.client.lab import Lab, until
from tests.engine.client.route import http
from tests.engine.client.walking import chain, exposed, frames, texts
from vault_harness.recorder.fault import RequestKind, Stub

WRITTEN = "value-that-is-written-9f31"
WRAPPED = "hvs.wrapping-token-5d2e"


@dataclass
class Hunt:
    """Makes the client fail in many ways, and searches all output for canaries."""

    lab: Lab
    environ: dict[str, str]
    canaries: set[str]
    errors: list[BaseException] = field(default_factory=list)

    def client(self, **options: object) -> VaultClient:
        """Return a client that has read, and whose token is a canary too."""
        given = {"timeout": 0.4, "backoff_cap": 0.1, "max_stale": 0.0, "renew": False, **options}
        client: VaultClient = self.lab.client(self.environ, **given)
        until(lambda: reads(client, self.lab), "the first read, on a busy machine too")
        token = client._session().authenticator.current
        assert token is not None
        self.canaries.add(token.text)
        return client

    def fail(self, call: Callable[[], object]) -> BaseException:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is looked at
            self.errors.append(error)
            return error
        raise AssertionError("it did not fail")

    def leaks(self, found: Iterator[str]) -> list[str]:
        return sorted({one for text in found for one in self.canaries if one in text})


def reads(client: VaultClient, lab: Lab) -> bool:
    try:
        client.get_secret(lab.path)
    except VaultTimeout:
        return False
    return True


@pytest.fixture
def hunt(lab: Lab) -> Hunt:
    lab.make_role()
    environ = lab.environ()
    known = {environ["VAULT_SECRET_ID"], environ["VAULT_ROLE_ID"], lab.value, WRITTEN, WRAPPED}
    return Hunt(lab, environ, known)


def check(hunt: Hunt, error: BaseException) -> None:
    """The error must be the client's own, without inner frames, and expose nothing."""
    assert list(chain(error)) == [error]
    assert {frame.f_code.co_name for frame in frames(error)} == {"call"}
    assert hunt.leaks(exposed(error)) == []


def test_the_walk_finds_what_frames_hold(hunt: Hunt) -> None:
    session = hunt.client()._session()
    wanted = {hunt.environ["VAULT_SECRET_ID"], WRITTEN}

    def found() -> bool:
        late = hunt.fail(lambda: session.fetch("a/b", Deadline(0.2), version=None))
        lost = hunt.fail(lambda: session.write("a/b", {"K": WRITTEN}, Deadline(0.2), cas=None))
        there = set(hunt.leaks(text for error in (late, lost) for text in exposed(error)))
        return wanted <= there and len(there) >= 4

    with hunt.lab.route.black_hole():
        until(found, "both to be under way when their time is over, and to be found out")


@contextlib.contextmanager
def answering(hunt: Hunt, answer: Stub) -> Iterator[None]:
    with hunt.lab.route.answering(answer):
        yield


def fail_in_every_way(
    hunt: Hunt,
    client: VaultClient,
    new: VaultClient,
    fault: Callable[[], contextlib.AbstractContextManager[None]],
    brief: dict[str, str],
) -> None:
    path = hunt.lab.path
    with fault():
        hunt.fail(lambda: client.get_secret(path, "KEY"))
        hunt.fail(lambda: client.get_secret_cached("backend/other"))
        hunt.fail(lambda: client.put_secret(path, {"KEY": WRITTEN}))
        hunt.fail(lambda: client.unwrap(WRAPPED))
        hunt.fail(lambda: new.get_secret(path, "KEY"))
        hunt.fail(lambda: get_vault_secret("UNSET", path, "KEY", environ=brief))


def test_faults_of_the_network(hunt: Hunt) -> None:
    lab, route = hunt.lab, hunt.lab.route
    brief = hunt.environ | {"VAULT_CLIENT_TIMEOUT": "0.4"}
    for fault in (
        route.black_hole,
        functools.partial(route.dripping, 0.1),
        functools.partial(route.cutting, 30),
        functools.partial(route.cutting, 400),
        route.refusing,
    ):
        fail_in_every_way(hunt, hunt.client(), lab.client(brief, max_stale=0.0), fault, brief)
    assert len(hunt.errors) == 30
    assert VaultTimeout in {type(error) for error in hunt.errors}
    for error in hunt.errors:
        assert isinstance(error, VaultError)
        check(hunt, error)


@pytest.mark.parametrize(
    "status", [307, 400, 403, 404, 405, 412, 413, 429, 472, 500, 501, 502, 503]
)
def test_secrets_that_a_server_repeats_are_hidden(hunt: Hunt, status: int) -> None:
    """If a careless server repeats ids, token and value, the client does not."""
    lab = hunt.lab
    client, new = hunt.client(), lab.client(hunt.environ, timeout=0.4)
    token = client._session().authenticator.current
    assert token is not None

    def answer(kind: RequestKind, path: str) -> Stub:
        sent = [] if "login" in path else [token.text]
        sent += [WRITTEN] if kind == "write" else []
        sent += [hunt.environ["VAULT_SECRET_ID"], hunt.environ["VAULT_ROLE_ID"]] * ("login" in path)
        return http(status, '{"errors":["you sent ' + " ".join(sent) + '"]}', Location="http://x/y")

    with lab.route.answering(answer):
        hunt.fail(lambda: client.put_secret(lab.path, {"KEY": WRITTEN}))
        hunt.fail(lambda: client.get_secret(lab.path))
        hunt.fail(lambda: client.get_secret_cached(lab.path))
        hunt.fail(lambda: new.get_secret(lab.path))
    for error in hunt.errors:
        assert isinstance(error, VaultError)
        check(hunt, error)


def test_other_refusals(hunt: Hunt) -> None:
    lab = hunt.lab
    # The error must tell what was refused, so no call may time out.
    environ, client = hunt.environ, hunt.client(timeout=2.0)
    bad = "5c1d2ad3-aaaa-bbbb-cccc-0123456789ab"
    hunt.canaries.add(bad)
    rejected = lab.client(environ | {"VAULT_SECRET_ID": bad})
    secure = environ | {"VAULT_ADDR": lab.stack.node.address.replace("http:", "https:")}
    untrusted = lab.client(secure, timeout=2.0)
    sealed = http(503, '{"errors":["Vault is sealed"]}')
    elsewhere = http(307, "", Location="http://127.0.0.2:9/v1/x")
    options = {"environ": environ, "secret_id": bad, "role_id": bad}
    assert isinstance(hunt.fail(lambda: rejected.get_secret(lab.path)), CredentialsRejected)
    assert isinstance(hunt.fail(lambda: rejected.get_secret(lab.path)), CredentialsRejected)
    assert isinstance(hunt.fail(lambda: client.get_secret("ai/openai")), PermissionDenied)
    assert isinstance(hunt.fail(lambda: untrusted.get_secret(lab.path)), TlsFailed)
    with answering(hunt, elsewhere):
        assert isinstance(hunt.fail(lambda: hunt_read(client, lab)), RedirectRefused)
    other = hunt.client(timeout=2.0)
    with answering(hunt, sealed):
        assert isinstance(hunt.fail(lambda: hunt_read(other, lab)), VaultSealed)
    hunt.fail(lambda: client.put_secret(lab.path, {"KEY": {WRITTEN}}))
    hunt.fail(lambda: client.get_secret("../" + WRITTEN[:3]))
    hunt.fail(lambda: client.get_secret(lab.path, "NO_SUCH_KEY"))
    hunt.fail(lambda: VaultClient(**options, mount="kv"))  # type: ignore[call-arg,arg-type]  # on purpose
    hunt.fail(lambda: VaultClient(**options, timeout="5"))  # type: ignore[arg-type]  # on purpose
    client.close()
    assert isinstance(hunt.fail(lambda: client.get_secret(lab.path)), ClientClosed)
    for error in hunt.errors:
        assert isinstance(error, VaultError)
        check(hunt, error)


def hunt_read(client: VaultClient, lab: Lab) -> object:
    return client.get_secret(lab.path)


def test_wrong_arguments_stay_a_type_error(hunt: Hunt) -> None:
    client = hunt.client()
    error = hunt.fail(lambda: client.put_secret(lab_path=WRITTEN))  # type: ignore[call-arg]  # on purpose

    assert isinstance(error, TypeError)
    check(hunt, error)


def test_mistake_in_the_client(hunt: Hunt, monkeypatch: pytest.MonkeyPatch) -> None:
    client = hunt.client()

    def explode(*args: object, **kwargs: object) -> None:
        "\udc80".encode()  # this error holds the bytes on which it failed

    monkeypatch.setattr(client._session()._transport._pool, "exchange", explode)
    error = hunt.fail(lambda: client.get_secret(hunt.lab.path))

    assert isinstance(error, InternalError)
    assert "UnicodeEncodeError at explode" in str(error)
    check(hunt, error)


class TimeLimit(Exception):
    """What an application raises when its own time is over."""


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, TimeLimit])
def test_interruption_in_the_middle_of_a_call(hunt: Hunt, kind: type[BaseException]) -> None:
    """A signal handler's exception comes out unchanged, without the interrupted frames."""
    client = hunt.client(timeout=20.0)
    route, path = hunt.lab.route, hunt.lab.path

    def interrupt(number: int, frame: types.FrameType | None) -> None:
        raise kind

    def interrupt_once_it_is_under_way(before: int) -> None:
        until(lambda: route.count(path) > before, "the write to be under way")
        os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with route.black_hole():
            thread = threading.Thread(
                target=interrupt_once_it_is_under_way, args=(route.count(path),)
            )
            thread.start()
            error = hunt.fail(lambda: client.put_secret(path, {"KEY": WRITTEN}))
            thread.join(20)
    finally:
        signal.signal(signal.SIGALRM, before)

    assert type(error) is kind
    check(hunt, error)


def test_close_during_a_call(hunt: Hunt) -> None:
    client = hunt.client(timeout=20.0)
    with hunt.lab.route.black_hole():
        before = hunt.lab.route.count(hunt.lab.path)
        thread = threading.Thread(
            target=lambda: hunt.fail(lambda: client.put_secret(hunt.lab.path, {"KEY": WRITTEN}))
        )
        thread.start()
        until(lambda: hunt.lab.route.count(hunt.lab.path) > before, "the write to be under way")
        client.close(timeout=1.0)
        thread.join(10)
    (error,) = hunt.errors

    assert isinstance(error, ClientClosed)
    check(hunt, error)


def test_events_and_the_log(hunt: Hunt, caplog: pytest.LogCaptureFixture) -> None:
    """Callbacks and log handlers get no secret, not even inside an error."""
    caplog.set_level(logging.DEBUG)

    def callback(event: Event) -> None:
        hunt.lab.events.append(event)
        raise RuntimeError(WRITTEN)

    client = hunt.client(on_event=callback, max_stale=60.0)
    with hunt.lab.route.refusing():
        assert client.read(hunt.lab.path).stale
        hunt.fail(lambda: client.put_secret(hunt.lab.path, {"KEY": WRITTEN}))

    def denied() -> bool:
        hunt.fail(lambda: client.get_secret("ai/openai"))
        return "denied" in hunt.lab.names()

    until(denied, "an answer within the time of a call")
    told = [event.error for event in hunt.lab.events if hasattr(event, "error")]

    assert {"outage_began", "served_stale", "denied"} <= set(hunt.lab.names())
    for error in told:
        assert isinstance(error, VaultError)
        assert frames(error) == []
        assert hunt.leaks(exposed(error)) == []
    assert hunt.leaks(texts(hunt.lab.events)) == []
    assert hunt.leaks(texts([record.__dict__ for record in caplog.records], caplog.text)) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_renewing_thread(hunt: Hunt, monkeypatch: pytest.MonkeyPatch) -> None:
    """The death of the renewing thread is reported without the thread's frames."""

    class Mishap(BaseException):
        """Not an Exception, so that it ends the thread."""

    def callback(event: Event) -> None:
        if event.name == "renewed":
            raise Mishap

    reported: list[BaseException] = []
    monkeypatch.setattr(
        threading, "excepthook", lambda hook: reported.append(hook.exc_value or SystemExit())
    )
    hunt.lab.make_role(token_ttl="1s")
    hunt.client(on_event=callback, renew=True, timeout=5.0)
    until(lambda: bool(reported), "the thread's end")

    assert type(reported[0]) is Mishap
    assert {frame.f_code.co_name for frame in frames(reported[0])} <= {
        "call",
        "run",
        "_bootstrap_inner",
    }
    assert hunt.leaks(f"{one!r}" for one in chain(reported[0])) == []
    inner = [frame for frame in frames(reported[0]) if frame.f_code.co_name == "call"]
    assert hunt.leaks(texts([frame.f_locals for frame in inner])) == []


def test_reprs(hunt: Hunt) -> None:
    client = hunt.client(timeout=5.0)
    token = client._session().authenticator.current
    shown = [client, client.config, client.health(), token, client.read(hunt.lab.path)]
    entry = client._session().memory.stand_in(hunt.lab.path)

    assert hunt.leaks(iter([*map(repr, shown), repr(entry)])) == []


def test_errors_can_be_pickled(lab: Lab) -> None:
    client = lab.client()
    with pytest.raises(VaultError) as caught:
        client.get_secret("backend/never-written")
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own, a moment ago

    assert str(caught.value) == str(again)
    assert again.path == "backend/never-written"


def test_traceback_as_it_is_printed(hunt: Hunt) -> None:
    client = hunt.client()
    with hunt.lab.route.refusing():
        error = hunt.fail(lambda: client.get_secret("backend/other"))
    printed = "".join(traceback.format_exception(error))

    assert "_errors.py" in printed
    assert "httpcore" not in printed
    assert "During handling" not in printed


def test_configuration_errors(hunt: Hunt) -> None:
    error = hunt.fail(lambda: VaultClient(environ=hunt.environ | {"VAULT_CACHE_TTL": "soon"}))

    assert isinstance(error, ConfigurationError)
    check(hunt, error)
