"""What a connection needs of its recorder."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Protocol

from vault_harness.recorder.ends import End
from vault_harness.recorder.history import History
from vault_harness.recorder.http1 import Message
from vault_harness.recorder.interference import Interference, RequestKind, Stub
from vault_harness.recorder.observations import Exchange

Rewrite = Callable[[dict[str, object]], dict[str, object]]
"""Takes the JSON of an accepted login and returns what the client gets instead."""


class Notes(Protocol):
    """The recorder, as far as a connection needs it. `Recorder` explains each member."""

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
