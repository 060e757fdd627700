"""No token, secret-id or secret in a log, an error, an event or a repr."""

from __future__ import annotations

import functools
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator

import pytest

from resilient_vault_client import VaultClient, VaultError
from tests.engine.client.gateway import http
from tests.engine.client.lab import Lab


def everything(error: BaseException) -> Iterator[BaseException]:
    """The error and all that hangs on it."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [one.__context__, one.__cause__]
        todo += [arg for arg in one.args if isinstance(arg, BaseException)]


def test_secrets_stay_inside(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever fails, what comes out holds none of the three, down to the last attribute."""
    caplog.set_level(logging.DEBUG)
    lab.make_role()
    environ = lab.environ()
    canaries = {
        "token": "",
        "secret-id": environ["VAULT_SECRET_ID"],
        "role-id": environ["VAULT_ROLE_ID"],
        "value": lab.value,
    }
    errors: list[BaseException] = []
    texts: list[str] = []
    tokens: set[str] = set()

    def new() -> VaultClient:
        client = lab.client(environ, timeout=0.4, backoff_cap=0.1, max_stale=0.0, renew=False)
        client.get_secret(lab.path)
        token = client._core().authenticator.current
        assert token is not None
        canaries["token"] = token.kv._adapter._headers["X-Vault-Token"]
        tokens.add(canaries["token"])
        texts.extend((repr(client), repr(client.config), repr(client.health()), repr(token)))
        texts.append(repr(client.read(lab.path)))
        return client

    def fail(call: Callable[[], object]) -> None:
        try:
            call()
        except VaultError as error:
            errors.append(error)

    def echo(method: str, path: str) -> str:
        """What a careless server could repeat: what it was sent."""
        sent = ["token"]
        sent += ["value"] if method == "POST" and "/data/" in path else []
        sent += ["secret-id", "role-id"] if "login" in path else []
        return '{"errors":["you sent ' + " ".join(canaries[name] for name in sent) + '"]}'

    for status in (400, 403, 404, 405, 412, 413, 429, 472, 500, 501, 502, 503):
        for write in (True, False):
            client = new()
            answering = functools.partial(_answer, status, echo)
            with lab.gateway.answering(answering):
                if write:
                    fail(functools.partial(client.put_secret, "backend/x", {"KEY": lab.value}))
                else:
                    fail(functools.partial(client.get_secret, lab.path))
    for breaking in (
        lab.gateway.refusing,
        lab.gateway.black_hole,
        lambda: lab.gateway.cutting(150),
    ):
        client, unused = new(), lab.client(environ, timeout=0.4)
        with breaking():
            fail(functools.partial(client.get_secret, lab.path))
            fail(functools.partial(unused.get_secret, lab.path))

    assert len(errors) > 20
    chain = [one for error in errors for one in everything(error)]
    assert {"resilient_vault_client._errors"} == {type(one).__module__ for one in chain}
    texts += [f"{one!r} {one.args} {vars(one)}" for one in chain]
    texts += ["".join(traceback.format_exception(error)) for error in errors]
    texts += [str(event) + repr(event) for event in lab.events]
    texts.append(caplog.text)
    hunted = {*tokens, *canaries.values()}
    assert not [text for text in texts for canary in hunted if canary in text]


def _answer(status: int, echo: Callable[[str, str], str], method: str, path: str) -> bytes:
    return http(status, echo(method, path))


def test_unexpected_error_of_a_lower_library(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception with the request inside never comes out, not even as a context."""
    client: VaultClient = lab.client(timeout=0.5)
    client.authenticate()

    def explode(*args: object, **kwargs: object) -> None:
        import requests

        raise requests.ConnectionError("boom", request=kwargs)  # type: ignore[arg-type]  # anything will do

    monkeypatch.setattr(client._core()._wire._session, "request", explode)
    with pytest.raises(VaultError) as caught:
        client.get_secret(lab.path)

    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert not hasattr(caught.value, "request")


def test_errors_can_be_pickled(lab: Lab) -> None:
    """An error survives the way to another process, with what it says."""
    client = lab.client()
    with pytest.raises(VaultError) as caught:
        client.get_secret("backend/never-written")
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own, a moment ago

    assert str(caught.value) == str(again)
    assert again.path == "backend/never-written"
