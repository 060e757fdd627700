"""What a request is answered that fails: by Vault itself, or by who stands before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

JSON: Final[Mapping[str, str]] = {"Content-Type": "application/json"}
HTML: Final[Mapping[str, str]] = {"Content-Type": "text/html"}

INTERNAL_ERROR: Final = b'{"errors":["internal error"]}\n'
"""What Vault answers with 500."""

QUOTA: Final = b'{"errors":["rate limit quota exceeded"]}\n'
"""What Vault answers, with 429, to whom a quota turns away."""

NOTICE: Final = b'{"status":"maintenance","retry":true}'
"""JSON of somebody else: nothing in it has a name of Vault's."""

SIGN_IN: Final = b"<html><head><title>Sign in</title></head><body>Sign in to go on.</body></html>\n"
"""With 200, as a gateway or a network answers to who has to sign in there."""

_PAGE = b"""<!DOCTYPE html>
<html><head><title>%d</title></head><body><h1>The service is not there</h1></body></html>
"""


def a_page(status: int) -> bytes:
    """What a gateway answers with that status, to be sent as `HTML`."""
    return _PAGE % status
