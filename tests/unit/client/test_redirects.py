from __future__ import annotations

import json

import httpcore
import pytest

from resilient_vault_client import Config, RedirectRefused, VaultUnreachable
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._network import Pool
from resilient_vault_client._transport import Transport


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
    """Some proxies require that the default port is left out."""
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


def led(
    address: str, location: str, trusted: str = "a:1", *, status: int = 307, leader: str = ""
) -> str:
    """Return the host that a redirected request reaches."""
    reached: list[str] = []

    def exchange(_: Pool, request: httpcore.Request, deadline: Deadline) -> httpcore.Response:
        del deadline
        headers = dict(request.headers)
        if request.url.target == b"/v1/sys/leader":
            assert b"X-Vault-Token" not in headers
            answer = httpcore.Response(200, content=json.dumps({"leader_address": leader}).encode())
        elif reached:
            answer = httpcore.Response(204)
        else:
            there = [(b"Location", location.encode("latin-1"))]
            answer = httpcore.Response(status, headers=there)
        if b"X-Vault-Token" in headers:
            reached.append(headers[b"Host"].decode())
        answer.read()
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pool, "exchange", exchange)
        transport = Transport(Config(address=address, redirect_hosts=frozenset([trusted])))
        transport.request("GET", "secret/data/a", token="canary", deadline=Deadline(30.0))
    return reached[-1]


@pytest.mark.parametrize(
    "location",
    ["http://vault..example.com/v1/x", "http://" + "a" * 64 + "/v1/x", "/v1/\xe4", "http://v:0/"],
)
def test_a_location_that_no_request_can_reach(location: str) -> None:
    with pytest.raises(RedirectRefused, match="redirects to nowhere"):
        led("http://vault:8200", location)


@pytest.mark.parametrize(
    ("address", "location", "trusted", "host"),
    [
        ("https://vault.example.com", "https://vault.example.com:443/v1/x", "a:1", None),
        ("https://vault.example.com:443", "https://vault.example.com/v1/x", "a:1", None),
        ("http://vault:8200", "http://VAULT:8200/v1/x", "a:1", None),
        ("http://[::1]:80", "http://[::1]/v1/x", "a:1", None),
        ("https://vault:8200", "https://vault-2/v1/x", "vault-2:443", "vault-2"),
        ("https://vault:8200", "https://vault-2/v1/x", "vault-2", "vault-2"),
        ("https://vault:8200", "https://vault-2:8200/v1/x", "Vault-2:8200", "vault-2:8200"),
    ],
)
def test_a_redirect_to_a_known_host_is_followed(
    address: str, location: str, trusted: str, host: str | None
) -> None:
    """Vault's own host and VAULT_REDIRECT_HOSTS are known, in any spelling."""
    same = led(address, "/v1/x")
    assert led(address, location, trusted) == (host or same)


def test_a_redirect_to_the_leader_is_followed() -> None:
    """`sys/leader` of a standby names its leader."""
    assert (
        led("https://vault:8200", "https://10.0.0.7:8200/v1/x", leader="https://10.0.0.7:8200")
        == "10.0.0.7:8200"
    )


@pytest.mark.parametrize("status", [301, 302, 308])
def test_only_a_307_leads_to_a_leader(status: int) -> None:
    """Vault sends no other redirect."""
    there = "https://10.0.0.7:8200"
    with pytest.raises(RedirectRefused, match="neither the cluster's leader nor"):
        led("https://vault:8200", f"{there}/v1/x", status=status, leader=there)


@pytest.mark.parametrize(
    ("address", "location", "leader"),
    [
        ("https://vault:8200", "https://vault/v1/x", ""),
        ("https://vault:8200", "https://vault:8200.example.com/v1/x", ""),
        ("https://vault:8200", "https://vault:8200@example.com/v1/x", ""),
        ("https://vault:8200", "http://vault:8200/v1/x", ""),
        ("https://vault:8200", "http://b:8200/v1/x", "http://b:8200"),
        ("http://vault", "http://vault:443/v1/x", ""),
        ("https://vault:8200", "https://a/v1/x", ""),
        ("https://vault:8200", "https://a/v1/x", "https://b"),
        ("https://vault:8200", "https://a/v1/x", "no address"),
    ],
)
def test_the_token_travels_nowhere_else(address: str, location: str, leader: str) -> None:
    with pytest.raises(RedirectRefused):
        led(address, location, leader=leader)


def test_an_error_names_the_host_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby redirects to a dead leader."""
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
