"""Where a redirect may lead."""

from __future__ import annotations

import urllib.parse

import httpcore
import pytest

from resilient_vault_client import Config, RedirectRefused
from resilient_vault_client._transport import Transport

ASKED = "/v1/secret/data/a"


def led(address: str, location: str, **settings: frozenset[str]) -> str:
    """Where a client goes that asked at ``address`` and was answered with ``location``."""
    transport = Transport(Config(address=address, **settings))
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
