"""What a connection of the recorder needs of it: where Vault is, what acts, and who takes notes."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Protocol

from vault_harness.faults import Interference, RequestKind, Stub
from vault_harness.scenario._ends import End
from vault_harness.scenario._http1 import Message
from vault_harness.scenario.history import History
from vault_harness.scenario.observations import Exchange

Rewrite = Callable[[dict[str, object]], dict[str, object]]
"""Takes the JSON of an accepted login and returns what the client shall see instead."""


class Notes(Protocol):
    """The recorder, as far as a connection needs it; its own words explain each."""

    upstream: str
    upstream_tls: ssl.SSLContext | None
    history: History
    ends: set[End]
    defects: list[str]
    rewrite_login: Rewrite | None

    def interference(self, kind: RequestKind, path: str) -> Interference | None: ...

    async def rewritten(self, response: Message, rewrite: Rewrite) -> bool: ...

    def note_request(self, connection: int, request: Message) -> Exchange: ...

    def note_body(self, exchange: Exchange, request: Message) -> None: ...

    def note_stub(self, exchange: Exchange, stub: Stub) -> None: ...

    def note_response(self, exchange: Exchange, response: Message) -> None: ...
