"""To whom a request is made, and where a redirect may lead."""

from __future__ import annotations

import urllib.parse

import httpcore
import pytest

from resilient_vault_client import Config, RedirectRefused, VaultUnreachable
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._pool import Pool
from resilient_vault_client._transport import Transport

ASKED = "/v1/secret/data/a"


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://vault.example.com", "vault.example.com"),
        ("https://vault.example.com:443", "vault.example.com"),
        ("http://vault:80", "vault"),
        ("https://vault:8200", "vault:8200"),
        ("http://[::1]:8200", "[::1]:8200"),
        ("https://[::1]", "[::1]"),
        ("https://b\xfccher.example", "xn--bcher-kva.example"),
    ],
)
def test_the_host_is_named_as_others_name_it(
    address: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that goes by it may know no name with the usual port behind it."""
    sent: list[httpcore.Request] = []

    def exchange(_: Pool, request: httpcore.Request, deadline: Deadline) -> httpcore.Response:
        del deadline
        sent.append(request)
        response = httpcore.Response(204)
        response.read()
        return response

    monkeypatch.setattr(Pool, "exchange", exchange)
    Transport(Config(address=address)).request("GET", "sys/x", deadline=Deadline(30.0))
    assert [dict(request.headers)[b"Host"] for request in sent] == [host.encode()]


def led(address: str, location: str, trusted: str = "a:1") -> str:
    """Where a client goes that asked at ``address`` and was answered with ``location``."""
    transport = Transport(Config(address=address, redirect_hosts=frozenset([trusted])))
    asked = urllib.parse.urlsplit(f"{address}{ASKED}")
    response = httpcore.Response(307, headers=[(b"Location", location.encode("latin-1"))])
    return transport._redirected(asked, response).geturl()


@pytest.mark.parametrize(
    "location",
    ["http://vault..example.com/v1/x", "http://" + "a" * 64 + "/v1/x", "/v1/\xe4", "http://v:0/"],
)
def test_what_leads_nowhere_is_told_as_that(location: str) -> None:
    """A name that nothing can have, or a path that no request can carry, is no mistake of ours."""
    with pytest.raises(RedirectRefused, match="redirects to nowhere"):
        led("http://vault:8200", location)


@pytest.mark.parametrize(
    ("address", "location", "trusted"),
    [
        ("https://vault.example.com", "https://vault.example.com:443/v1/x", "a:1"),
        ("https://vault.example.com:443", "https://vault.example.com/v1/x", "a:1"),
        ("http://vault:8200", "http://VAULT:8200/v1/x", "a:1"),
        ("http://[::1]:80", "http://[::1]/v1/x", "a:1"),
        ("https://vault:8200", "https://vault-2/v1/x", "vault-2:443"),
        ("https://vault:8200", "https://vault-2/v1/x", "vault-2"),
        ("https://vault:8200", "https://vault-2:8200/v1/x", "Vault-2:8200"),
    ],
)
def test_the_same_host_may_be_written_in_another_way(
    address: str, location: str, trusted: str
) -> None:
    """The port of the scheme goes without saying, and letters are not told apart in a name."""
    assert led(address, location, trusted) == location


@pytest.mark.parametrize(
    ("address", "location"),
    [
        ("https://vault:8200", "https://vault/v1/x"),
        ("https://vault:8200", "https://vault:8200.example.com/v1/x"),
        ("https://vault:8200", "https://vault:8200@example.com/v1/x"),
        ("https://vault:8200", "http://vault:8200/v1/x"),
        ("http://vault", "http://vault:443/v1/x"),
        ("https://vault:8200", "https://a/v1/x"),
    ],
)
def test_the_token_travels_nowhere_else(address: str, location: str) -> None:
    """Another port, another host or no encryption: the token stays here."""
    with pytest.raises(RedirectRefused):
        led(address, location)


def test_an_error_names_the_host_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a standby leads to a leader that is dead, nobody looks for the fault at the standby."""
    redirect = httpcore.Response(307, headers=[(b"Location", b"https://vault-2:8200/v1/x")])
    redirect.read()

    def exchange(_: Pool, request: httpcore.Request, deadline: Deadline) -> httpcore.Response:
        del deadline
        if request.url.host == b"vault-1":
            return redirect
        raise httpcore.ConnectError

    monkeypatch.setattr(Pool, "exchange", exchange)
    hosts = frozenset(["vault-2:8200"])
    transport = Transport(Config(address="https://vault-1:8200", redirect_hosts=hosts))
    with pytest.raises(VaultUnreachable) as failed:
        transport.request("GET", "sys/x", deadline=Deadline(30.0))
    where = "https://vault-2:8200 (to which https://vault-1:8200 redirects)"
    assert str(failed.value).startswith(f"no connection to {where}: ")
