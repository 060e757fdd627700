"""The way from a client to Vault: Toxiproxy, which breaks it, and the recorder of requests."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vault_harness.engine import Engine, ToxiproxyProcess
from vault_harness.faults import Interference, NetworkFaults, RequestKind, Stub
from vault_harness.faults.http import Choice
from vault_harness.scenario._secrets import Secrets
from vault_harness.scenario.history import History
from vault_harness.scenario.recorder import Recorder
from vault_harness.stack import Stack
from vault_harness.toxiproxy import Toxiproxy

Answers = Callable[[RequestKind, str], Stub | None]
"""What is answered in Vault's place to what a request is for, and its path; None: Vault answers."""


@dataclass(frozen=True)
class Request:
    """A request that got to the recorder."""

    at: float
    method: str
    path: str


class Way:
    """One test's way to Vault.

    Args:
        engine: Whose the Toxiproxy is.
        toxiproxy: A server that several tests share.
        stack: The Vault.
    """

    def __init__(self, engine: Engine, toxiproxy: ToxiproxyProcess, stack: Stack) -> None:
        self._history = History()
        self._recorder = Recorder(self._history, Secrets(), upstream=stack.node.upstream)
        self._proxy = Toxiproxy(toxiproxy.api).create(
            f"way-{self._recorder.port}",
            listen=toxiproxy.listen(),
            upstream=engine.reachable_from_toxiproxy(self._recorder.port),
        )
        self._listen = toxiproxy.reachable(self._proxy.listen)
        self._network = NetworkFaults(self._proxy, self._history)

    @property
    def address(self) -> str:
        """What the client connects to."""
        return f"{'http' if self._recorder.tls is None else 'https'}://{self._listen}"

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS from the next connection on, with that certificate."""
        self._recorder.tls = context

    @property
    def requests(self) -> list[Request]:
        """All that came, in order, on the clock of `time.monotonic`."""
        return [
            Request(self._history.started + one.began, one.method, one.path)
            for one in list(self._history.exchanges)
        ]

    @property
    def open_connections(self) -> int:
        """How many ends of connections there are now."""
        return len(self._recorder.ends)

    def count(self, part: str, since: float = 0.0) -> int:
        """How many requests with ``part`` in their path came since."""
        return len(self.matching(part, since))

    def matching(self, part: str, since: float = 0.0) -> list[Request]:
        """Those requests."""
        return [one for one in self.requests if part in one.path and one.at >= since]

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Nobody listens, and open connections break."""
        with self._network.down():
            yield

    @contextlib.contextmanager
    def black_hole(self) -> Iterator[None]:
        """Everything is accepted and nothing is answered; connections end afterwards."""
        with self._network.black_hole():
            yield

    @contextlib.contextmanager
    def dripping(self, seconds: float) -> Iterator[None]:
        """Answers come byte by byte."""
        with self._network.drip(pause=seconds):
            yield

    @contextlib.contextmanager
    def cutting(self, size: int) -> Iterator[None]:
        """Connections end after that many bytes of answers; those that are open end at once."""
        self.break_connections()
        with self._network.truncated(after=size):
            yield
        self.break_connections()

    @contextlib.contextmanager
    def slow(self, latency: float) -> Iterator[None]:
        """Answers come so many seconds late."""
        with self._network.slow(latency=latency):
            yield

    @contextlib.contextmanager
    def answering(self, answers: Answers | Stub) -> Iterator[None]:
        """Answer in Vault's place: always so, or where ``answers`` has something to say."""
        always = answers if isinstance(answers, Stub) else None
        asked = answers if callable(answers) else lambda _kind, _path: always
        with self._recorder.interfere(_Answering(asked)):
            yield

    @contextlib.contextmanager
    def losing_answer(self, path: str, *, nth: int) -> Iterator[None]:
        """Vault does what the n-th request for this path asks, and its answer is lost."""
        lost = Interference("losing", Choice(path=path, nth=nth), loses=True)
        with self._recorder.interfere(lost):
            yield

    def break_connections(self) -> None:
        """End every open connection."""
        self._network.drop_connections()

    def close(self) -> None:
        """End everything; whatever passed must have been understood."""
        self._proxy.delete()
        self._recorder.close()
        assert self._recorder.defects == []


class _Answering(Interference):
    """Answers as it is told. The recorder asks and answers in one thread, request by request."""

    def __init__(self, answers: Answers) -> None:
        super().__init__("answering", Choice())
        self._answers = answers

    def takes(self, kind: RequestKind, path: str) -> bool:
        """Whether there is an answer."""
        self.stub = self._answers(kind, path)
        return self.stub is not None


def http(status: int, body: str = "", **headers: str) -> Stub:
    """An answer; ``Retry_After`` is the header ``Retry-After``."""
    return Stub(
        status=status,
        body=body.encode(),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
